"""The posterior of means and covariances: Normal-Wishart distributions, whatever their structure.

q(mu, Lambda) = N(mu | m, (beta Lambda)^-1) Wishart(Lambda | Psi^-1, nu), Lambda = C^-1 (Bishop 2006, ch. 10.2). With
another structure than "full" the family is restricted, not the model: Psi is diagonal, a multiple of one, or the same
(with nu) for all components. The best of such a family has the diagonal of Psi, its mean variance, or the mean of Psi
and nu over the components, since

    KL(Wishart(Psi^-1, nu) | Wishart(Psi*^-1, nu*)) = nu* log|Psi| / 2 + nu tr(Psi* Psi^-1) / 2 + terms in nu alone,

so the bound stays one, and never goes down. scikit-learn's BayesianGaussianMixture has the same four.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.special import digamma, gammaln, multigammaln

from dgmmis.linalg import cholesky_inverse, symmetrize
from dgmmis.moments import Expected
from dgmmis.prior import NormalInverseWishart
from dgmmis.types import Covariances, Means, Points, Weights


@dataclass(frozen=True, slots=True, eq=False)
class NormalWisharts:
    """Of each component.

    Args:
        means: m (k, d).
        mean_precision: beta (k,): objects that tell of the mean.
        scale: Psi (k, d, d).
        degrees_of_freedom: nu (k,).
    """

    means: Means
    mean_precision: Weights
    scale: Covariances
    degrees_of_freedom: Weights

    @classmethod
    def after(
        cls, expected: Expected, means: Means, *, prior: NormalInverseWishart, covariance_type: str
    ) -> "NormalWisharts":
        """The posterior after what is expected of true values, about means (k, d)."""
        beta = prior.mean_precision + expected.weight
        shift = (expected.first + prior.mean_precision * prior.pull(means)) / beta[:, None]
        new = means + shift
        scale = symmetrize(expected.moved(shift).second + prior.scatter(new))
        freedom = prior.degrees_of_freedom + expected.weight
        d = means.shape[1]
        match covariance_type:
            case "diag":
                scale = scale * np.eye(d)
            case "spherical":
                scale = np.trace(scale, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
            case "tied":
                scale = np.repeat(scale.mean(axis=0)[None], len(beta), axis=0)
                freedom = np.full(len(beta), freedom.mean())
        return cls(new, beta, np.asarray(scale), freedom)

    @property
    def covariances(self) -> Covariances:
        """(E Lambda)^-1 = Psi / nu (k, d, d)."""
        return np.asarray(self.scale / self.degrees_of_freedom[:, None, None])

    @property
    def log_factor(self) -> Weights:
        """By how much E log N(x | mu, Lambda^-1) is below log N(x | m, Psi / nu), whatever x (k,); negative."""
        d, nu = self.means.shape[1], self.degrees_of_freedom
        return np.asarray(0.5 * (self._digammas + d * np.log(2 / nu) - d / self.mean_precision))

    @property
    def _digammas(self) -> Weights:
        """E log|Lambda| = this + log|2 Psi^-1| (k,)."""
        d = self.means.shape[1]
        return np.asarray(digamma((self.degrees_of_freedom[:, None] - np.arange(d)) / 2).sum(axis=1))

    def divergence(self, prior: NormalInverseWishart) -> float:
        """Kullback-Leibler divergence from the prior, of all components together."""
        d, nu, beta = self.means.shape[1], self.degrees_of_freedom, self.mean_precision
        nu_0, beta_0 = prior.degrees_of_freedom, prior.mean_precision
        of_means = 0.5 * d * (beta_0 / beta - 1 + np.log(beta / beta_0))
        root, log_det = cholesky_inverse(self.scale)
        traces = np.sum(root * (root @ prior.scatter(self.means)), axis=(1, 2))
        log_det = log_det - np.linalg.slogdet(prior.matrix(d))[1]
        gammas = multigammaln(nu / 2, d) - multigammaln(nu_0 / 2, d)
        of_shapes = 0.5 * ((nu - nu_0) * self._digammas + nu * (traces - d) + nu_0 * log_det) - gammas
        return float(np.sum(of_means + of_shapes))

    def log_predictive(self, points: Points, features: Int[np.ndarray, " m"]) -> np.ndarray:
        """Log density (k, n) of new noise-free values of some of the features, by component: Student's t about m with
        nu - d + 1 degrees of freedom and the scale Psi (beta + 1) / (beta (nu - d + 1))."""
        freedom = self.degrees_of_freedom - self.means.shape[1] + 1
        wider = (1 + 1 / self.mean_precision) / freedom
        shape = self.scale[:, features[:, None], features] * wider[:, None, None]
        root, log_det = cholesky_inverse(shape)
        offset = points[:, features] - self.means[:, None, features]
        squares = np.sum((offset @ np.swapaxes(root, 1, 2)) ** 2, axis=2)
        m = len(features)
        peak = gammaln((freedom + m) / 2) - gammaln(freedom / 2) - 0.5 * (m * np.log(freedom * np.pi) + log_det)
        return np.asarray(peak[:, None] - 0.5 * (freedom + m)[:, None] * np.log1p(squares / freedom[:, None]))
