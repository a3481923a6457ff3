"""How sure the means are, once all that q keeps apart answers to them.

q keeps the parameters apart from one another, from the labels and from the true values, and so counts each object as
if whose it is, and where, were known: its intervals are too narrow by what that would tell. In their place stands, in
the space of weights, means and covariances, the curvature of the likelihood, which knows of all of these, and what the
prior adds to it (the idea of linear response: Giordano, Broderick & Jordan 2018):

    precision = J + I(a, kappa, nu_0),    I(a, b, c) = blocks of [a / alpha^2, b P, c tr(P D P E) / 2], P = nu W;

q alone would have I(a + N, beta, nu). Without noise, and of one component, both agree of the mean, and the interval is
that of the exact posterior. Of one component on a line, of 6 to 20 objects with noise of 0.25 to 4 times its variance,
they were 1.01 to 1.04 times as wide as those of the exact posterior; by q alone, 0.92 to 0.57 times.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from dgmmis.information import LEAST, component_curvature, component_places, free_directions, n_directions
from dgmmis.linalg import covariance_root
from dgmmis.model import Model
from dgmmis.prior import Constraints, Dirichlet, Frozen
from dgmmis.types import Means, Weights
from dgmmis.variational.posterior import Posterior


@dataclass(frozen=True, slots=True, eq=False)
class MeanSpread:
    """The posterior of the means: Student's t, of this centre and scale.

    Args:
        centre: m (k, d).
        covariance: of all of them together (k d, k d), were the covariances known.
        degrees_of_freedom: nu of the covariances (k,).
    """

    centre: Means
    covariance: Float[np.ndarray, "p p"]
    degrees_of_freedom: Weights

    @classmethod
    def of(cls, posterior: Posterior, curvature: Float[np.ndarray, "p p"], present: np.ndarray) -> "MeanSpread":
        """From minus the second derivatives of the log-likelihood at `posterior.expectation_model()`.

        Args:
            posterior: of the parameters.
            curvature: of all objects, in the order of `gradient`.
            present: which components have objects (k,); what there is of the others is the prior.
        """
        model, components, family = posterior.expectation_model(), posterior.components, posterior.family
        k, d = components.means.shape
        kappa, nu_0 = family.components.mean_precision, family.components.degrees_of_freedom
        beta, nu = components.mean_precision, components.degrees_of_freedom
        weights = family.weights
        a = weights.vector(k) if isinstance(weights, Dirichlet) else np.full(k, weights.concentration / k)
        prior = _known(model, a, np.full(k, kappa), np.full(k, nu_0), family.components.pull(components.means))
        complete = _known(model, a + beta - kappa, beta, nu, np.zeros((k, d)))
        places = component_places(model)
        absent = places[~present].ravel()
        seen = np.array(curvature)
        seen[absent] = seen[:, absent] = 0.0
        if family.background is not None:  # its fraction: as many objects as there are, about
            behind = model.background_fraction * (1 - model.background_fraction)
            complete[-1, -1] = np.sum(beta - kappa) / max(behind, 1e-12)
        frozen = Frozen(weights=frozenset(np.flatnonzero(~present).tolist()))
        free = free_directions(model, Constraints(family.covariance_type, frozen=frozen))
        unit = covariance_root(np.linalg.inv(free.T @ complete @ free))
        inner = unit.T @ free.T @ (prior + seen) @ free @ unit
        values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
        # short of the maximum it may be flatter than the prior alone, which is known at least
        half = free @ unit @ vectors / np.sqrt(np.maximum(values, np.min(kappa / beta)))
        means = half[places[:, 1 : 1 + d].ravel()]
        return cls(components.means, means @ means.T, nu)

    def interval(self, level: float = 0.68) -> tuple[Means, Means]:
        """The central interval (k, d) of each feature of each mean that holds it with probability `level`."""
        k, d = self.centre.shape
        left = self.degrees_of_freedom - d + 1
        variances = np.diagonal(self.covariance).reshape(k, d) * (self.degrees_of_freedom / left)[:, None]
        reach = student.ppf(0.5 + level / 2, left)[:, None] * np.sqrt(variances)
        return self.centre - reach, self.centre + reach


def _known(model: Model, of_weights: Weights, of_means: Weights, of_shapes: Weights, away: Means) -> np.ndarray:
    """I(a, b, c) (p, p): what so many objects (k,) tell of each component, were they known to be its own.

    Where they would have the means elsewhere, by `away` (k, d), they tell b P D P away between mean and covariance.
    """
    mixture = model.mixture
    out, places = np.zeros((n_directions(model),) * 2), component_places(model)
    counts = of_weights / np.maximum(mixture.weights, LEAST) ** 2
    for (weight, *rest), covariance, count, b, c, delta in zip(
        places, mixture.covariances, counts, of_means, of_shapes, away, strict=True
    ):
        out[weight, weight] = count
        known = component_curvature(covariance, c * covariance, count=c, mean_precision=b, away=delta)
        out[np.ix_(rest, rest)] = known
    return out
