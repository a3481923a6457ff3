"""The uniform background: objects spread evenly over a box."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dgmmis.box_integral import box_posterior, log_box_integral
from dgmmis.box_integral.interval import log_interval
from dgmmis.errors import DataError, ShapeError
from dgmmis.noise import Noise
from dgmmis.reals import reals
from dgmmis.types import Feature, Points, Vector


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Uniform:
    """A uniform density on the box lower <= x <= upper (d,), in the units of the features.

    With uncorrelated noise it is convolved: prod_e [Phi((u_e - y_e)/s_e) - Phi((l_e - y_e)/s_e)] / (u_e - l_e) for
    variances s_e^2 (Melchior & Goulding 2018, sec. 3.4); missing features drop out of the product. Correlated noise
    and projections: `box_integral`.
    """

    lower: Feature
    upper: Feature

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        lower, upper = (np.atleast_1d(reals(edge, "Uniform: edges")) for edge in (lower, upper))
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        if lower.ndim != 1 or lower.shape != upper.shape:
            raise ShapeError("Uniform needs one lower and one upper edge a feature", got=(lower.shape, upper.shape))
        if not np.all(np.isfinite(lower) & np.isfinite(upper) & (lower < upper)):
            raise DataError("Uniform: `lower` must be below `upper`, both finite", got=(lower, upper))

    @property
    def n_features(self) -> int:
        return len(self.lower)

    @property
    def envelope(self) -> "Uniform":
        return self

    @property
    def log_volume(self) -> float:
        """log of the volume of the box."""
        return float(np.sum(np.log(self.upper - self.lower)))

    def log_density(
        self, points: Float[np.ndarray, "n m"], noise: Noise, projection: Float[np.ndarray, "n m d"] | None = None
    ) -> Vector:
        """Log density (n,) of measured points (n, m); NaN values are marginalised."""
        check_features(self.n_features, points, projection)
        if projection is None and not _correlated(noise, points):
            return self._product(points, noise.variances(points.shape[1]))
        return log_box_integral(points, noise, projection, lower=self.lower, upper=self.upper)

    def sample(self, n: int, rng: np.random.Generator) -> Points:
        """Draw n points (n, d)."""
        return rng.uniform(self.lower, self.upper, size=(n, self.n_features))

    def posterior(
        self,
        points: Float[np.ndarray, "n m"],
        noise: Noise,
        projection: Float[np.ndarray, "n m d"] | None = None,
        *,
        n_points: int,
    ) -> tuple[Float[np.ndarray, "n j d"], Float[np.ndarray, "n j"]]:
        """Positions (n, J, d) in the box and log weights (n, J), as in `Background`."""
        check_features(self.n_features, points, projection)
        return box_posterior(points, noise, projection, lower=self.lower, upper=self.upper, n_points=n_points)

    def _product(self, points: Points, variances: np.ndarray) -> Vector:
        seen = ~np.isnan(points)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inside = np.where((points >= self.lower) & (points <= self.upper), 0.0, -np.inf)
            sigma = np.sqrt(variances)
            low, high = (self.lower - points) / sigma, (self.upper - points) / sigma
            softened = log_interval(low, high, 0.5 * (self.upper - self.lower) / sigma)
            per_feature = np.where(variances > 0, softened, inside) - np.log(self.upper - self.lower)
        return np.asarray(np.sum(np.where(seen, per_feature, 0.0), axis=1))


def check_features(d: int, points: np.ndarray, projection: np.ndarray | None) -> None:
    """Raise ShapeError unless points (n, m), seen through the projection (n, m, d) if any, are of d features."""
    got = points.shape[1] if projection is None else projection.shape[2]
    if got != d:
        raise ShapeError("background and data differ", expected=f"{d} features", got=got)


def _correlated(noise: Noise, points: Points) -> bool:
    """Whether any off-diagonal noise couples two measured features."""
    if noise.kind not in ("shared", "full"):
        return False
    m = points.shape[1]
    packed = noise.packed(range(m)).T
    i, j = np.tril_indices(m)
    seen = ~np.isnan(points)
    return bool(np.any((packed != 0) & (i != j) & seen[:, i] & seen[:, j]))
