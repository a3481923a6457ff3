"""The uniform background: objects that belong to no component, convolved with the noise of each measurement."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr

from dgmmis.errors import DataError, RefusedError, ShapeError
from dgmmis.linalg import LOG_TWO_PI
from dgmmis.noise import Noise
from dgmmis.types import Feature, Points, Vector

SHORT = 1e-3
"""Half an interval, in sigma, below which two terms of the series are exact to 1e-13."""

FAR = 1e6
"""Distance from the box, in sigma, beyond which its far side and its curvature are below 1e-12."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Uniform:
    """A uniform density on the box lower <= x <= upper (d,), in the units of the features.

    With noise it is convolved: prod_e [Phi((u_e - y_e)/s_e) - Phi((l_e - y_e)/s_e)] / (u_e - l_e) for variances
    s_e^2 (Melchior & Goulding 2018, sec. 3.4); missing features drop out of the product.
    """

    lower: Feature
    upper: Feature

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        lower, upper = (np.atleast_1d(np.asarray(edge, dtype=float)) for edge in (lower, upper))
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        if lower.ndim != 1 or lower.shape != upper.shape:
            raise ShapeError("Uniform needs one lower and one upper edge a feature", got=(lower.shape, upper.shape))
        if not np.all(np.isfinite(lower) & np.isfinite(upper) & (lower < upper)):
            raise DataError("Uniform: `lower` must be below `upper`, both finite", got=(lower, upper))

    @property
    def n_features(self) -> int:
        return len(self.lower)

    def log_density(self, points: Points, noise: Noise) -> Vector:
        """Log density (n,) of measured points (n, d); NaN features are marginalised.

        Raises:
            RefusedError: noise with correlated features, for which the box has no product form.
        """
        if points.shape[1] != self.n_features:
            raise ShapeError("background and data differ", expected=f"{self.n_features} features", got=points.shape[1])
        if correlated(noise, points):
            raise RefusedError(
                "a uniform background under correlated noise is not supported",
                expected="no noise, or variances per feature",
                got="noise covariances with off-diagonal terms",
                do="pass variances, or fit without background",
            )
        variances = noise.variances(points.shape[1])
        seen = ~np.isnan(points)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inside = np.where((points >= self.lower) & (points <= self.upper), 0.0, -np.inf)
            sigma = np.sqrt(variances)
            low, high = (self.lower - points) / sigma, (self.upper - points) / sigma
            softened = _log_interval(low, high, 0.5 * (self.upper - self.lower) / sigma)
            per_feature = np.where(variances > 0, softened, inside) - np.log(self.upper - self.lower)
        return np.asarray(np.sum(np.where(seen, per_feature, 0.0), axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> Points:
        """Draw n points (n, d)."""
        return rng.uniform(self.lower, self.upper, size=(n, self.n_features))


def correlated(noise: Noise, points: Points) -> bool:
    """Whether any off-diagonal noise couples two measured features."""
    if noise.kind not in ("shared", "full"):
        return False
    m = points.shape[1]
    packed = noise.packed(range(m)).T
    i, j = np.tril_indices(m)
    seen = ~np.isnan(points)
    return bool(np.any((packed != 0) & (i != j) & seen[:, i] & seen[:, j]))


def _log_interval(low: np.ndarray, high: np.ndarray, half: np.ndarray) -> np.ndarray:
    """log [Phi(high) - Phi(low)], half = (high - low) / 2, exact in both tails: mirrored to the left.

    Where the interval is short, the difference has no digits left, and the integral of the density's Taylor series
    about the middle m serves: phi(m) 2h [1 + (m^2 - 1) h^2 / 6]. Far outside, at a distance a, the density falls
    exponentially: phi(a) [1 - exp(-2ha)] / a.
    """
    mirror = low > 0
    low, high = np.where(mirror, -high, low), np.where(mirror, -low, high)
    top = log_ndtr(high)
    difference = top + np.log1p(-np.exp(log_ndtr(low) - top))
    middle = 0.5 * (low + high)
    short = _log_normal(middle) + np.log(2 * half) + np.log1p((middle**2 - 1) * half**2 / 6)
    far = _log_normal(high) + np.log(-np.expm1(2 * half * high)) - np.log(-high)
    outside = np.where(high < -FAR, far, difference)
    return np.asarray(np.where(half * np.maximum(1, np.abs(middle)) < SHORT, short, outside))


def _log_normal(x: np.ndarray) -> np.ndarray:
    return np.asarray(-0.5 * (x * x + LOG_TWO_PI))
