"""Slope and curvature of the log prior (`Constraints.log_prior`) by the parameters, in the order of `gradient`.

With P = C^-1, Psi = scale + kappa delta delta', delta = m - mu, a component's log prior is -[r log|C| + tr(Psi P)] / 2.
"""

import numpy as np

from dgmmis.information.parameters import component_places, gradient, n_directions
from dgmmis.linalg import pack, packed_indices, packed_size
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.prior import Constraints
from dgmmis.types import Feature, Matrix

LEAST = 1e-150
"""A weight below it is divided by as if it were this, whose square is still a number."""


def prior_slope(model: Model, constraints: Constraints) -> np.ndarray:
    """d log prior / dtheta (p,) of what is free: (a - 1) / alpha, kappa P delta, [P Psi P - r P] / 2."""
    mixture, frozen = model.mixture, constraints.frozen
    k, d = mixture.means.shape
    numbers = np.arange(k)
    weight, of_means, of_covariances = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    if constraints.weights_prior is not None:
        free = ~np.isin(numbers, list(frozen.weights))
        weight[free] = (constraints.weights_prior.vector(k) - 1)[free]
    prior = constraints.components_prior
    if prior is not None:
        inverse = np.linalg.inv(mixture.covariances)
        free = ~np.isin(numbers, list(frozen.means))
        of_means[free] = prior.mean_precision * np.einsum("kij,kj->ki", inverse, prior.pull(mixture.means))[free]
        free = ~np.isin(numbers, list(frozen.covariances))
        of_covariances[free] = (inverse @ prior.scatter(mixture.means) @ inverse - prior.count(d) * inverse)[free]
    slope = gradient(Moments(weight, of_means, pack(of_covariances), 0.0, 0.0, 0.0), model)
    slope[-1] = 0.0  # the counts that a prior adds are of no background's objects
    return slope


def prior_curvature(model: Model, constraints: Constraints) -> np.ndarray:
    """Minus the second derivatives (p, p) of the log prior of what is free.

    With Q = P Psi P and changes D, E of a covariance: [tr(Q D P E) + tr(Q E P D) - r tr(P D P E)] / 2 between these,
    kappa P between means, kappa P D P delta from one to the other; (a - 1) / alpha^2 of weights.
    """
    out = np.zeros((n_directions(model),) * 2)
    mixture, frozen = model.mixture, constraints.frozen
    k, d = mixture.means.shape
    if constraints.weights_prior is not None:
        counts = (constraints.weights_prior.vector(k) - 1) / np.maximum(mixture.weights, LEAST) ** 2
        free = [c for c in range(k) if c not in frozen.weights]
        out[free, free] = counts[free]
    prior = constraints.components_prior
    if prior is None:
        return out
    scatter, away, places = prior.scatter(mixture.means), prior.pull(mixture.means), component_places(model)
    kappa, count = prior.mean_precision, prior.count(d)
    for c, covariance in enumerate(mixture.covariances):
        found = component_curvature(covariance, scatter[c], count=count, mean_precision=kappa, away=away[c])
        places_of = np.arange(d + packed_size(d))
        own = places_of[np.where(places_of < d, c not in frozen.means, c not in frozen.covariances)]
        rows = places[c, 1 + own]
        out[rows[:, None], rows] = found[own[:, None], own]
    return out


def component_curvature(
    covariance: Matrix, scatter: Matrix, *, count: float, mean_precision: float, away: Feature
) -> np.ndarray:
    """Minus the second derivatives (d + t, d + t), by mean and packed covariance, of -[r log|C| + tr(Psi P)] / 2.

    With Psi = c C, r = c and b for kappa it is what is known of a component by b objects whose mean, and c whose
    spread, are its own: b P, and c tr(P D P E) / 2.

    Args:
        covariance: C (d, d).
        scatter: Psi (d, d).
        count: r.
        mean_precision: kappa.
        away: delta (d,), from the mean.
    """
    inverse, d = np.linalg.inv(covariance), len(away)
    i, j = packed_indices(d)
    changes = np.zeros((len(i), d, d))
    changes[np.arange(len(i)), i, j] = changes[np.arange(len(i)), j, i] = 1.0
    both = np.einsum("sab,btc->satc", changes @ inverse, changes.transpose(1, 0, 2))  # D P E
    outer = np.einsum("ca,satc->st", inverse @ scatter @ inverse, both)
    plain = np.einsum("ca,satc->st", inverse, both)
    cross = mean_precision * inverse @ changes @ inverse @ away
    return np.block([[mean_precision * inverse, cross.T], [cross, 0.5 * (outer + outer.T - count * plain)]])
