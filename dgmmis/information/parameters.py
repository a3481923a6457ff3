"""theta (p,): the parameters in their order, and how they follow those that are free."""

import numpy as np

from dgmmis.linalg import packed_indices, packed_size
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.prior import Constraints


def n_directions(model: Model) -> int:
    """p, the length of theta: weights, means, lower triangles of the covariances, the background's fraction."""
    k, d = model.mixture.means.shape
    return int(k + k * d + k * packed_size(d) + 1)


def component_places(model: Model) -> np.ndarray:
    """Where in theta the weight, the mean and the covariance of each component are (k, 1 + d + t)."""
    k, d = model.mixture.means.shape
    t = packed_size(d)
    c = np.arange(k)[:, None]
    return np.concatenate([c, k + c * d + np.arange(d), k + k * d + c * t + np.arange(t)], axis=1)


def gradient(moments: Moments, model: Model) -> np.ndarray:
    """d/dtheta (p,) of a log-likelihood, or of a mass, from its moments: weights, means, covariances, fraction.

    Covariances by their lower triangles, an entry off the diagonal standing for both; weights as if they were free.
    """
    mixture, nu = model.mixture, model.background_fraction
    i, j = packed_indices(mixture.n_features)
    slope = moments.covariance_score * np.where(i == j, 0.5, 1.0)
    weights = moments.weight / np.maximum(mixture.weights, 1e-300)
    behind = moments.background / nu if nu > 0 else 0.0
    fraction = behind - float(moments.weight.sum()) / (1 - nu)
    return np.concatenate([weights, moments.mean_score.ravel(), slope.ravel(), [fraction]])


def free_directions(model: Model, constraints: Constraints) -> np.ndarray:
    """d theta / d phi (p, f): how the parameters follow those that are free."""
    k, d = model.mixture.means.shape
    t = packed_size(d)
    i, j = packed_indices(d)
    frozen = constraints.frozen
    columns: list[np.ndarray] = []
    p = n_directions(model)

    def column(*entries: int, values: tuple[float, ...] | None = None) -> None:
        one = np.zeros(p)
        one[list(entries)] = 1.0 if values is None else values
        columns.append(one)

    free = [c for c in range(k) if c not in frozen.weights]
    for c in free[:-1]:  # what one gains the last one loses
        column(c, free[-1], values=(1.0, -1.0))
    for c in range(k):
        if c not in frozen.means:
            for e in range(d):
                column(k + c * d + e)
    first = k + k * d
    free = [c for c in range(k) if c not in frozen.covariances]
    diagonal = np.flatnonzero(i == j).tolist()
    match constraints.covariance_type:
        case "tied":
            for entry in range(t):
                column(*(first + c * t + entry for c in free))
        case "spherical":
            for c in free:
                column(*(first + c * t + entry for entry in diagonal))
        case _:
            for c in free:
                for entry in diagonal if constraints.covariance_type == "diag" else range(t):
                    column(first + c * t + entry)
    low, high = constraints.background_bounds
    if model.background is not None and low < high:
        column(p - 1)
    return np.stack(columns, axis=1) if columns else np.zeros((p, 0))
