"""Slope and curvature of the log prior (`Constraints.log_prior`) by the parameters, in the order of `gradient`.

With P = C^-1, Psi = scale + kappa delta delta', delta = m - mu, a component's log prior is -[r log|C| + tr(Psi P)] / 2.
"""

import numpy as np

from dgmmis.information.parameters import component_places, gradient, n_directions
from dgmmis.linalg import pack, packed_indices
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.prior import Constraints

LEAST = 1e-300
"""A weight below it is divided by as if it were this."""


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
    i, j = packed_indices(d)
    changes = np.zeros((len(i), d, d))
    changes[np.arange(len(i)), i, j] = changes[np.arange(len(i)), j, i] = 1.0
    scatter, pull, places = prior.scatter(mixture.means), prior.pull(mixture.means), component_places(model)
    kappa, count = prior.mean_precision, prior.count(d)
    for c, covariance in enumerate(mixture.covariances):
        inverse, means, entries = np.linalg.inv(covariance), places[c, 1 : 1 + d], places[c, 1 + d :]
        if c not in frozen.means:
            out[means[:, None], means] = kappa * inverse
        if c in frozen.covariances:
            continue
        both = np.einsum("sab,btc->satc", changes @ inverse, changes.transpose(1, 0, 2))  # D P E
        outer = np.einsum("ca,satc->st", inverse @ scatter[c] @ inverse, both)
        plain = np.einsum("ca,satc->st", inverse, both)
        out[entries[:, None], entries] = 0.5 * (outer + outer.T - count * plain)
        if c not in frozen.means:
            cross = kappa * inverse @ changes @ inverse @ pull[c]
            out[entries[:, None], means] = cross
            out[means[:, None], entries] = cross.T
    return out
