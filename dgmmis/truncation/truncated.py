"""The moments of a Gaussian inside a rectangle."""

from dataclasses import dataclass

import numpy as np

from dgmmis.errors import NumericalError
from dgmmis.linalg import is_positive_definite, symmetrize
from dgmmis.truncation.bivariate import DEPTH
from dgmmis.truncation.rectangle import scores
from dgmmis.types import Feature, Matrix

NODES = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, slots=True, eq=False)
class Truncated:
    """A Gaussian inside a rectangle.

    Attributes:
        log_probability: log of the mass inside.
        mean: E[y | inside] (r,).
        covariance: Cov[y | inside] (r, r).
        error: the greatest standard error of log_probability, and of means and covariances in units of the standard
            deviations before the truncation; 0 where the result is exact.
    """

    log_probability: float
    mean: Feature
    covariance: Matrix
    error: float


def truncated_moments(
    mean: np.ndarray,
    covariance: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    n_points: int = 4096,
    seed: int = 0,
) -> Truncated:
    """E[y | inside] = mu + C g and Cov[y | inside] = C + C (H - g g') C, g and H the gradient and the Hessian of P by
    mu, over P (Tallis 1961; Manjunath & Wilhelm 2021); for one variable by a sum of positive terms.

    In more than one, the covariance is a difference of terms of order M^2 for a rectangle M standard deviations out,
    and loses about 4 log10(M) of the 16 digits.

    Raises:
        NumericalError: the rectangle is so far out that the covariance has no digits left.
        ShapeError, DataError: as `rectangle`.
    """
    if mean.shape == (1,) and covariance.shape == (1, 1):
        return _univariate(mean, covariance, lower, upper)
    scale, rotations = scores(mean[None], covariance[None], lower, upper, n_points=n_points, seed=seed)
    logs = np.array([one.log_probability[0] for one in rotations])
    sigma = scale[0]
    correlation = covariance / (sigma[:, None] * sigma)
    means, spreads = [], []
    for one in rotations:
        first, second = one.first[0], one.second[0]
        means.append(correlation @ first)
        spreads.append(correlation + correlation @ (second - np.outer(first, first)) @ correlation)
    count = len(rotations)
    log_p = float(np.logaddexp.reduce(logs) - np.log(count))
    if count == 1:
        error = float(rotations[0].relative_error[0])
    else:
        scatter = [np.exp(logs - log_p), np.array(means), np.array(spreads)]
        error = float(max(np.max(np.std(values, axis=0, ddof=1)) for values in scatter) / np.sqrt(count))
    spread = symmetrize(np.mean(spreads, axis=0))
    if not is_positive_definite(spread[None])[0]:
        raise NumericalError("the rectangle is so far out that its moments have no digits left", got=f"log P = {log_p}")
    return Truncated(
        log_probability=log_p,
        mean=mean + sigma * np.mean(means, axis=0),
        covariance=spread * sigma[:, None] * sigma,
        error=error,
    )


def _univariate(mean: np.ndarray, covariance: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Truncated:
    """With e the point of the interval nearest to the mean and t = x - e, the density falls as exp(-e t - t^2 / 2)."""
    scale, (one,) = scores(mean[None], covariance[None], lower, upper, n_points=1, seed=0)
    sigma = scale[0, 0]
    low, high = (lower[0] - mean[0]) / sigma, (upper[0] - mean[0]) / sigma
    e = float(np.clip(0.0, low, high))
    reach = 2 * DEPTH / (np.hypot(e, np.sqrt(2 * DEPTH)) + abs(e))  # t^2 / 2 + |e| t = DEPTH
    start, stop = max(low - e, -reach), min(high - e, reach)
    t = start + (stop - start) * 0.5 * (NODES[0] + 1)
    weights = NODES[1] * np.exp(-t * (e + 0.5 * t))
    weights /= weights.sum()
    first = float(weights @ t)
    return Truncated(
        log_probability=float(one.log_probability[0]),
        mean=mean + sigma * np.array([e + first]),
        covariance=np.array([[sigma**2 * float(weights @ (t - first) ** 2)]]),
        error=0.0,
    )
