"""The maximum of the literal likelihood by direct search, and errors from its second differences."""

from dataclasses import replace
from itertools import product

import numpy as np
from likelihood import Catalogue, Survey, literal_log_likelihood
from population import Population
from scipy import optimize


def as_vector(population: Population) -> np.ndarray:
    """alpha but the last, mu, the lower triangles of C, and nu where there is a background."""
    i, j = np.tril_indices(population.means.shape[1])
    tail = [] if population.background is None else [population.nu]
    return np.concatenate(
        [population.weights[:-1], population.means.ravel(), population.covariances[:, i, j].ravel(), tail]
    )


def from_vector(values: np.ndarray, like: Population) -> Population:
    """The population with these parameters."""
    k, d = like.means.shape
    i, j = np.tril_indices(d)
    alpha, means, lower, tail = np.split(values, np.cumsum([k - 1, k * d, k * len(i)]))
    covariances = np.empty((k, d, d))
    covariances[:, i, j] = covariances[:, j, i] = lower.reshape(k, -1)
    nu = float(tail[0]) if len(tail) else 0.0
    return replace(
        like, weights=np.append(alpha, 1 - alpha.sum()), means=means.reshape(k, d), covariances=covariances, nu=nu
    )


def maximise(catalogue: Catalogue, start: Population, survey: Survey) -> tuple[Population, float]:
    """The maximum of log L and its value: one feature, by BFGS on (log-odds, means, log C), then by Nelder and Mead."""
    k, shares = len(start.weights), as_vector(start)
    n_odds = k - 1

    def population(free: np.ndarray) -> Population:
        alpha = np.exp(np.append(free[:n_odds], 0.0))
        values = [(alpha / alpha.sum())[:-1], free[n_odds : n_odds + k], np.exp(free[n_odds + k : n_odds + 2 * k])]
        return from_vector(np.concatenate([*values, 1 / (1 + np.exp(-free[n_odds + 2 * k :]))]), start)

    def loss(free: np.ndarray) -> float:
        value = -literal_log_likelihood(catalogue, population(free), survey).total
        return value if np.isfinite(value) else 1e300

    nu = shares[n_odds + 2 * k :]
    odds = np.log(start.weights[:-1] / start.weights[-1])
    first = np.concatenate([odds, start.means.ravel(), np.log(start.covariances.ravel()), np.log(nu / (1 - nu))])
    near = optimize.minimize(loss, first, method="BFGS", jac="3-point", options={"gtol": 1e-4})
    best = optimize.minimize(loss, near.x, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9})
    return population(best.x), -float(best.fun)


def standard_errors(catalogue: Catalogue, at: Population, survey: Survey, step: float = 1e-3) -> np.ndarray:
    """Errors of `as_vector(at)`: the inverse of minus the second differences of log L."""
    center = as_vector(at)
    steps = step * np.eye(len(center))

    def value(offset: np.ndarray) -> float:
        return literal_log_likelihood(catalogue, from_vector(center + offset, at), survey).total

    hessian = np.empty((len(center), len(center)))
    for i, j in product(range(len(center)), repeat=2):
        if i <= j:
            a, b = steps[i], steps[j]
            hessian[i, j] = hessian[j, i] = (value(a + b) - value(a - b) - value(b - a) + value(-a - b)) / (4 * step**2)
    return np.sqrt(np.diagonal(np.linalg.inv(-hessian)))
