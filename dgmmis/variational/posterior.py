"""Posterior: what is believed of a mixture's parameters, and the mixture that an E-step under it amounts to.

For a given q of the parameters, and with the true values x_n latent as well,

    exp E log alpha_k N(x | mu_k, C_k) = a_k N(x | m_k, Psi_k / nu_k)

(Bishop 2006, eqs. 10.46, 10.64 and 10.65), so that the E-step of noisy, incomplete objects y = R x + e is that of a
mixture with weights a_k, whose sum is below one. `Model` wants weights that sum to one: `log_mass` is what they lack.
"""

from dataclasses import dataclass

import numpy as np

from dgmmis.background import Background
from dgmmis.linalg import logsumexp
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Expected
from dgmmis.noise import NoNoise
from dgmmis.patterns import rows_by_pattern
from dgmmis.prior import Dirichlet, DirichletProcess, NormalInverseWishart
from dgmmis.types import Means, Points, Vector
from dgmmis.variational.components import NormalWisharts
from dgmmis.variational.shares import DirichletShares, Fraction, StickShares, shares_after


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """The posteriors among which the best is sought: conjugate to a prior, of a structure.

    Args:
        weights: prior of the weights.
        components: of means and covariances.
        covariance_type: "full", "diag", "tied" or "spherical": of the posterior (`components`).
        background: a fixed density whose fraction may be any at first; None: there is none.
    """

    weights: Dirichlet | DirichletProcess
    components: NormalInverseWishart
    covariance_type: str = "full"
    background: Background | None = None

    def after(self, expected: Expected, means: Means) -> "Posterior":
        """The best posterior after what is expected of true values, about means (k, d)."""
        counts = np.maximum(expected.weight, 0.0)
        return Posterior(
            self,
            shares_after(self.weights, counts),
            NormalWisharts.after(expected, means, prior=self.components, covariance_type=self.covariance_type),
            None if self.background is None else Fraction(1 + expected.background, 1 + float(counts.sum())),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """q, a product over weights, components and the background's fraction.

    Args:
        family: what it is one of.
        weights: of the weights.
        components: of means and covariances.
        background: of the fraction; None: there is no background.
    """

    family: Family
    weights: DirichletShares | StickShares
    components: NormalWisharts
    background: Fraction | None = None

    @property
    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior: what the bound is below the data's part of it."""
        behind = 0.0 if self.background is None else self.background.divergence
        return self.weights.divergence + self.components.divergence(self.family.components) + behind

    @property
    def log_mass(self) -> float:
        """log of the sum of a_k and of the background's share, below zero."""
        return float(logsumexp(self._log_shares))

    @property
    def mixture(self) -> GaussianMixture:
        """The mixture of the parameters' means: E alpha, E mu, (E Lambda)^-1. A density under any noise; that of
        noise-free values with the parameters integrated out is `log_predictive`."""
        return GaussianMixture(self.weights.mean, self.components.means, self.components.covariances)

    @property
    def mean_model(self) -> Model:
        """`mixture`, and the background with the mean of its fraction."""
        nu = 0.0 if self.background is None else self.background.mean
        return Model(self.mixture, self.family.background, nu)

    def expectation_model(self) -> Model:
        """The model whose E-step is that of the posterior; its densities are too large by exp(-log_mass)."""
        shares = np.exp(self._log_shares - self.log_mass)
        signal, nu = shares[:-1], float(shares[-1])
        mixture = GaussianMixture(signal / signal.sum(), self.components.means, self.components.covariances)
        return Model(mixture, self.family.background, nu)

    def log_predictive(self, points: Points) -> Vector:
        """Log density (n,) of new noise-free points (n, d), NaN = missing, the parameters integrated out: a mixture of
        Student's t distributions (Bishop 2006, eq. 10.81), and the background."""
        out = np.empty(len(points))
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights.mean)
        nu = 0.0 if self.background is None else self.background.mean
        for rows, there in rows_by_pattern(~np.isnan(points)):
            log_t = self.components.log_predictive(points[rows], there)
            terms = log_weights[:, None] + np.log1p(-nu) + log_t
            if self.family.background is not None:
                behind = self.family.background.log_density(points[rows], NoNoise())
                terms = np.concatenate([terms, np.log(nu) + behind[None]])
            out[rows] = logsumexp(terms)
        return out

    @property
    def _log_shares(self) -> np.ndarray:
        """log a_k of the components, with the signal's share, and at the end of the background (k + 1,)."""
        log_a = self.weights.expected_log + self.components.log_factor
        if self.background is None:
            return np.append(log_a, -np.inf)
        behind, before = self.background.expected_log
        return np.append(log_a + before, behind)
