"""The probability of a rectangle under Gaussians, and its derivatives by their means and covariances."""

from dataclasses import dataclass

import numpy as np

from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import logsumexp, require_positive_definite
from dgmmis.truncation.interval import log_normal
from dgmmis.truncation.probability import EXACT, condition, log_probability, unit_points
from dgmmis.types import Covariances, Means, Weights

ROTATIONS = 8
"""Independent sets of points, from whose scatter the error follows."""

OUT = 1e100
"""Standard deviations beyond which distance makes no difference: there is no probability."""

STEEP = 300.0
"""log of the greatest slope over P; reached only where log P is so large that its rounding is beyond all slopes."""

SIGNS = np.array([1.0, -1.0])
"""What the lower and the upper edge contribute when the mean moves up."""


@dataclass(frozen=True, slots=True, eq=False)
class Rectangle:
    """P_k = Prob(lower < y < upper), y ~ N(mean_k, covariance_k), and how it changes.

    Attributes:
        probability: P (k,).
        log_probability: log P (k,), right where P underflows.
        mean_slope: dP / dmean (k, r).
        covariance_slope: the symmetric G (k, r, r) with dP = sum_ij G_ij dC_ij: half the Hessian of P by the mean.
        error: standard error of P (k,); 0 where the result is exact.
    """

    probability: Weights
    log_probability: Weights
    mean_slope: Means
    covariance_slope: Covariances
    error: Weights


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """log P (k,), gradient and Hessian of P by the mean over P, in units of each variable's standard deviation."""

    log_probability: np.ndarray
    first: np.ndarray
    second: np.ndarray
    relative_error: np.ndarray


def rectangle(
    means: np.ndarray,
    covariances: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    n_points: int = 4096,
    seed: int = 0,
) -> Rectangle:
    """The probability that Gaussians put into one rectangle, with derivatives.

    dP/dmu_i = f_i(lower_i) - f_i(upper_i), f_i the density of y_i times the probability of the rest given y_i; the
    Hessian takes the densities at the corners of each pair in the same way (Tallis 1961; Plackett 1954). One and two
    variables in closed form, three by an integral over one (about 1e-12), more by quasi-Monte Carlo (Genz 1992), where
    the derivatives are estimates of their own, not derivatives of the estimate of P.

    Args:
        means, covariances: of the Gaussians, (k, r) and (k, r, r).
        lower, upper: edges (r,); infinite ones leave a side open.
        n_points: a power of two, points in each of ROTATIONS sets; used beyond three variables.
        seed: of those points; the same seed gives the same bits.

    Raises:
        ShapeError: arrays that do not fit one another.
        DataError: a lower edge that is not below the upper one, or covariances that are not positive definite.
    """
    scale, rotations = scores(means, covariances, lower, upper, n_points=n_points, seed=seed)
    count = len(rotations)
    log_p = logsumexp(np.array([one.log_probability for one in rotations])) - np.log(count)
    probability = np.exp(log_p)
    estimates = np.array([np.exp(one.log_probability) for one in rotations])
    first = np.mean([np.exp(one.log_probability)[:, None] * one.first for one in rotations], axis=0)
    second = np.mean([np.exp(one.log_probability)[:, None, None] * one.second for one in rotations], axis=0)
    return Rectangle(
        probability=probability,
        log_probability=log_p,
        mean_slope=first / scale,
        covariance_slope=0.5 * second / (scale[:, :, None] * scale[:, None, :]),
        error=estimates.std(axis=0, ddof=1) / np.sqrt(count)
        if count > 1
        else probability * rotations[0].relative_error,
    )


def scores(
    means: np.ndarray, covariances: np.ndarray, lower: np.ndarray, upper: np.ndarray, *, n_points: int, seed: int
) -> tuple[Means, list[Scores]]:
    """Standard deviations (k, r) and the scores, once where they are exact, else once for each rotation."""
    _check(means, covariances, lower, upper)
    r = means.shape[1]
    scale = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    correlation = covariances / (scale[:, :, None] * scale[:, None, :])
    low, high = (_bounded((edge - means) / scale) for edge in (lower, upper))
    if r <= EXACT:
        return scale, [_scores(low, high, correlation, None)]
    sets = (unit_points(r, n_points, seed, rotation) for rotation in range(ROTATIONS))
    return scale, [_scores(low, high, correlation, points) for points in sets]


def _bounded(edges: np.ndarray) -> np.ndarray:
    """Edges of which the square is a number; infinite ones stay."""
    return np.where(np.isinf(edges), edges, np.clip(edges, -OUT, OUT))


def _scores(low: np.ndarray, high: np.ndarray, correlation: np.ndarray, points: np.ndarray | None) -> Scores:
    k, r = low.shape
    log_p, error = log_probability(low, high, correlation, points)
    some = np.where(np.isfinite(log_p), log_p, 0.0)
    first, second = np.zeros((k, r)), np.zeros((k, r, r))
    slanted = np.zeros((k, r))  # sum over the edges of the density's own slope
    for i in range(r):
        edges = np.stack([low[:, i], high[:, i]], axis=1)
        x = np.where(np.isfinite(edges), edges, 0.0)
        density = np.where(np.isfinite(edges), log_normal(x), -np.inf)
        below, above, partial, sigma = condition(low, high, correlation, i, x)
        flat = below.reshape(2 * k, r - 1), above.reshape(2 * k, r - 1), np.repeat(partial, 2, axis=0)
        rest = log_probability(*flat, points)[0].reshape(k, 2)
        edge = SIGNS * _exp(density + rest - some[:, None])
        first[:, i] = edge.sum(axis=1)
        slanted[:, i] = (x * edge).sum(axis=1)
        for j in range(i, r - 1):  # variable j + 1 of all
            pair = _edge_densities(*flat, j, points).reshape(k, 2, 2) + (density - some[:, None])[:, :, None]
            second[:, i, j + 1] = np.einsum("kab,a,b->k", _exp(pair), SIGNS, SIGNS) / sigma[:, j]
            second[:, j + 1, i] = second[:, i, j + 1]
    diagonal = slanted - np.einsum("kij,kij->ki", correlation, second)  # the diagonal of `second` is still zero
    second[:, range(r), range(r)] = diagonal
    return Scores(log_p, first, second, error)


def _exp(logs: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.minimum(logs, STEEP)))


def _edge_densities(
    low: np.ndarray, high: np.ndarray, correlation: np.ndarray, j: int, points: np.ndarray | None
) -> np.ndarray:
    """log of the density at the two edges of variable j times the probability of the rest there, (k, 2)."""
    k, r = low.shape
    edges = np.stack([low[:, j], high[:, j]], axis=1)
    x = np.where(np.isfinite(edges), edges, 0.0)
    density = np.where(np.isfinite(edges), log_normal(x), -np.inf)
    if r == 1:
        return density
    below, above, partial, _ = condition(low, high, correlation, j, x)
    flat = below.reshape(2 * k, r - 1), above.reshape(2 * k, r - 1), np.repeat(partial, 2, axis=0)
    return np.asarray(density + log_probability(*flat, points)[0].reshape(k, 2))


def _check(means: np.ndarray, covariances: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
    k, r = means.shape
    if covariances.shape != (k, r, r) or lower.shape != (r,) or upper.shape != (r,):
        raise ShapeError(
            "a rectangle needs means (k, r), covariances (k, r, r), lower (r,) and upper (r,)",
            got=(means.shape, covariances.shape, lower.shape, upper.shape),
        )
    if not np.all(lower < upper):
        raise DataError("a rectangle: `lower` must be below `upper` in every variable", got=(lower, upper))
    if not np.all(np.isfinite(means)):
        raise DataError("a rectangle: means must be finite", got=means[~np.isfinite(means)][:5])
    require_positive_definite(covariances, "the covariance of a Gaussian", "component")
