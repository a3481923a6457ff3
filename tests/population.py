"""The population of the literal likelihood: normal components on a background, and its density under noise."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from panels import blocks, panels, panels_between
from scipy.special import ndtr

REACH = 9.0
"""Normal densities stop at so many sigma."""


@dataclass(frozen=True)
class Background:
    """A density (n, d) -> (n,) that is zero outside the box; None: uniform on it."""

    lower: np.ndarray
    upper: np.ndarray
    density: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        inside = np.all((x >= self.lower) & (x <= self.upper), axis=1)
        values = np.full(len(x), 1 / np.prod(self.upper - self.lower)) if self.density is None else self.density(x)
        return np.where(inside, values, 0.0)


@dataclass(frozen=True)
class Population:
    """alpha (k,), mu (k, d), C (k, d, d), nu, b."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    nu: float = 0.0
    background: Background | None = None


def density(y: np.ndarray, R: np.ndarray, S: np.ndarray, population: Population) -> np.ndarray:
    """p(y | R_n, S_n) (n, g) at y (n, g, m) or (1, g, m), for R (n, m, d) and S (n, m, m)."""
    total = np.zeros((len(R), y.shape[1]))
    for weight, mean, covariance in zip(population.weights, population.means, population.covariances, strict=True):
        T = R @ covariance @ np.swapaxes(R, 1, 2) + S
        total += (1 - population.nu) * weight * normal(y - (R @ mean)[:, None], T)
    if population.background is not None and population.nu > 0:
        for n in range(len(R)):
            total[n] += population.nu * background_density(y[n % len(y)], R[n], S[n], population.background)
    return total


def intrinsic_density(x: np.ndarray, population: Population) -> np.ndarray:
    """p(x) (g,)."""
    unit = np.eye(x.shape[1])[None]
    return density(x[None], unit, 0 * unit, population)[0]


def background_density(y: np.ndarray, R: np.ndarray, S: np.ndarray, b: Background) -> np.ndarray:
    """integral b(x) N(y | R x, S) dx (g,) at y (g, m), for one R (m, d) and S (m, m)."""
    (m, d), volume = R.shape, float(np.prod(b.upper - b.lower))
    if m == d and not np.array_equal(R, np.eye(d)):
        turn = np.linalg.inv(R)
        return background_density(y @ turn.T, np.eye(d), turn @ S @ turn.T, b) * abs(np.linalg.det(turn))
    if m == d and not S.any():
        return b(y)
    if b.density is None and m == d and not np.any(S - np.diag(np.diag(S))):
        sides = [interval(y[:, i], S[i, i], b.lower[i], b.upper[i]) for i in range(d)]
        return np.prod(sides, axis=0) / volume
    if b.density is None and m == d:  # the first value's error, then the second's given it
        sigma = np.sqrt(S[0, 0])
        low = np.maximum(y[:, 0] - b.upper[0], -REACH * sigma)
        error, weights = panels_between(low, np.maximum(np.minimum(y[:, 0] - b.lower[0], REACH * sigma), low), 8)
        second = y[:, 1:] - S[1, 0] / S[0, 0] * error
        inside = interval(second, S[1, 1] - S[1, 0] ** 2 / S[0, 0], b.lower[1], b.upper[1])
        return (
            np.sum(weights * inside * np.exp(-0.5 * error**2 / S[0, 0]), axis=1) / sigma / np.sqrt(2 * np.pi) / volume
        )
    if b.density is None and m == 1 and np.count_nonzero(R) == 1:  # a multiple of one feature
        i = int(np.flatnonzero(R[0])[0])
        return interval(y[:, 0] / R[0, i], S[0, 0] / R[0, i] ** 2, b.lower[i], b.upper[i]) / (
            (b.upper[i] - b.lower[i]) * abs(R[0, i])
        )
    narrow = np.sqrt(1 / np.linalg.eigvalsh(R.T @ np.linalg.solve(S, R)).max())
    axes = [panels(b.lower[i], b.upper[i], 2 * narrow, []) for i in range(d)]
    x = np.array(list(product(*[nodes for nodes, _ in axes])))
    share = np.prod(list(product(*[weights for _, weights in axes])), axis=1) * b(x)
    parts = [normal((y[some][:, None] - x @ R.T)[None].reshape(1, -1, m), S[None]) for some in blocks(len(y), len(x))]
    return np.concatenate([part.reshape(-1, len(x)) @ share for part in parts])


def normal(offset: np.ndarray, T: np.ndarray) -> np.ndarray:
    """N(offset | 0, T) (n, g) for offset (n, g, m) or (1, g, m), and T (n, m, m)."""
    chi = np.sum((offset @ np.linalg.inv(T)) * offset, axis=2)
    return np.exp(-0.5 * chi) / np.sqrt(np.linalg.det(2 * np.pi * T))[:, None]


def interval(y: np.ndarray, variance: float, lower: float, upper: float) -> np.ndarray:
    """Probability that y less its error is between the two."""
    if variance == 0:
        return ((y >= lower) & (y <= upper)).astype(float)
    return ndtr((upper - y) / np.sqrt(variance)) - ndtr((lower - y) / np.sqrt(variance))
