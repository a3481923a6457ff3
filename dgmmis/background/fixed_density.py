"""A background of any shape on a box: a function, normalised once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dgmmis.asking import N_POINTS, answer, require_same
from dgmmis.background.uniform import Uniform, check_features
from dgmmis.box_integral.points import scrambled
from dgmmis.errors import DataError, ShapeError
from dgmmis.noise import Noise
from dgmmis.types import Feature, Points, Vector

REPLICATES = 8
"""Scramblings of the points that the function is normalised on: their scatter is the error."""

NORMALISATION_POINTS = 65_536
"""Points of each."""

QUADRATURE_POINTS = 1024
"""Positions a row, over which the function is averaged under noise: good to about 1e-3 where it varies over more than
the noise does, to a few per cent where it is narrower; worse in the tails of a narrow one, which few of them reach."""

PROPOSALS = 32
"""Points of the box a sample is chosen from."""

BLOCK_NUMBERS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False, init=False)
class FixedDensity:
    """A density b(x) on the box lower <= x <= upper (d,) that is proportional to a function.

    Args:
        function: points (n, d) -> numbers (n,), finite and not negative; it must be picklable to travel to a cluster.
        lower, upper: the box, in the units of the features; the function is not asked outside it.

    `log_norm` is the log of its integral over the box, by quasi-Monte-Carlo points; `norm_error` its relative standard
    error, from the scatter of replicates: what is thinner than the points are dense is missed by both.

    Raises:
        ShapeError, DataError: a box without volume, or a function whose values are no density.
    """

    function: Callable[[Points], Vector]
    lower: Feature
    upper: Feature
    log_norm: float
    norm_error: float

    def __init__(self, function: Callable[[Points], Vector], lower: ArrayLike, upper: ArrayLike) -> None:
        if not callable(function):
            raise DataError("FixedDensity: `function` must be callable: (n, d) -> (n,)", got=type(function).__name__)
        box = Uniform(lower, upper)
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "lower", box.lower)
        object.__setattr__(self, "upper", box.upper)
        means = np.array([self._values(self._in_box(shares)).mean() for shares in _replicates(box.n_features)])
        if not means.mean() > 0:
            raise DataError("FixedDensity: the function is zero all over the box", got=(box.lower, box.upper))
        self._require_steady(self._in_box(next(_replicates(box.n_features))[:N_POINTS]))
        object.__setattr__(self, "log_norm", float(np.log(means.mean())) + box.log_volume)
        object.__setattr__(self, "norm_error", float(np.std(means, ddof=1) / np.sqrt(REPLICATES) / means.mean()))

    @property
    def n_features(self) -> int:
        return len(self.lower)

    @property
    def envelope(self) -> Uniform:
        return Uniform(self.lower, self.upper)

    def log_density(
        self, points: Float[np.ndarray, "n m"], noise: Noise, projection: Float[np.ndarray, "n m d"] | None = None
    ) -> Vector:
        """Log density (n,) of measured points (n, m); an average over QUADRATURE_POINTS positions, but where every
        feature was measured exactly, or none."""
        check_features(self.n_features, points, projection)
        out = np.empty(len(points))
        direct = np.zeros(len(points), dtype=bool)
        if projection is None:
            exact = noise.variances(points.shape[1]) == 0
            direct = np.all(~np.isnan(points) & exact, axis=1)
            at = points[direct]
            out[direct] = np.where(
                np.all((at >= self.lower) & (at <= self.upper), axis=1), self._log_values(at) - self.log_norm, -np.inf
            )
        nothing = np.all(np.isnan(points), axis=1)
        out[nothing] = 0.0  # the integral over all of it, without the error of a quadrature
        others = np.flatnonzero(~direct & ~nothing)
        for rows in _blocks(others, QUADRATURE_POINTS * self.n_features):
            part = None if projection is None else projection[rows]
            weights = self.posterior(points[rows], noise.take(rows), part, n_points=QUADRATURE_POINTS)[1]
            out[rows] = np.logaddexp.reduce(weights, axis=1) - np.log(QUADRATURE_POINTS)
        return out

    def sample(self, n: int, rng: np.random.Generator) -> Points:
        """Draw n points (n, d) by importance resampling: each is chosen among PROPOSALS times as many uniform ones.

        No bound on the function is needed. Where it is much more peaked than 1 / PROPOSALS of the box, points repeat.
        """
        out = np.empty((n, self.n_features))
        for rows in _blocks(np.arange(n), PROPOSALS * self.n_features):
            proposals = self.envelope.sample(PROPOSALS * max(len(rows), 4096), rng)
            heights = np.cumsum(self._values(proposals))
            if not heights[-1] > 0:
                raise DataError(
                    "FixedDensity: the function is zero at every point that was tried", do="give a tighter box"
                )
            levels = (rng.permutation(len(rows)) + rng.random()) / len(rows) * heights[-1]
            out[rows] = proposals[np.minimum(np.searchsorted(heights, levels, side="right"), len(proposals) - 1)]
        return out

    def posterior(
        self,
        points: Float[np.ndarray, "n m"],
        noise: Noise,
        projection: Float[np.ndarray, "n m d"] | None = None,
        *,
        n_points: int,
    ) -> tuple[Float[np.ndarray, "n j d"], Float[np.ndarray, "n j"]]:
        """Positions (n, J, d) in the box and log weights (n, J), as in `Background`: those of the uniform one, times
        the function."""
        box = self.envelope
        positions, log_weights = box.posterior(points, noise, projection, n_points=n_points)
        log_ratio = self._log_values(positions.reshape(-1, self.n_features)) - self.log_norm + box.log_volume
        return positions, log_weights + log_ratio.reshape(log_weights.shape)

    def _require_steady(self, points: Points) -> None:
        """Raise DataError unless the values of some points are the same in another order."""
        values, again = self._values(points.copy()), self._values(points[::-1].copy())[::-1]
        require_same(values, again, points, what="FixedDensity: the function", checker="check_background")

    def _in_box(self, shares: Points) -> Points:
        return np.asarray(self.lower + shares * (self.upper - self.lower))

    def _log_values(self, points: Points) -> Vector:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self._values(np.clip(points, self.lower, self.upper))))

    def _values(self, points: Points) -> Vector:
        """The function's values (n,), once they are shown to be densities."""
        values = answer(
            self.function,
            points,
            read=np.atleast_1d,  # scipy's densities of one point are scalars
            kind="density",
            expected="numbers (n,), finite and not negative",
            checker="check_background",
        )
        if values.shape != (len(points),) or values.dtype.kind not in "bfiu":
            raise ShapeError(
                "FixedDensity: the function returned no density",
                expected=f"numbers ({len(points)},) for points {points.shape}",
                got=f"{values.dtype} {values.shape}",
                do="return one number a point",
            )
        values = values.astype(float)
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if len(bad):
            where = np.array2string(points[bad[0]], precision=6)
            raise DataError(
                "FixedDensity: the function returned no density",
                expected="finite numbers >= 0 all over the box",
                got=f"{values[bad[0]]} at {where}",
            )
        return values


def _replicates(d: int) -> Iterator[Points]:
    return (scrambled(NORMALISATION_POINTS, d, replicate) for replicate in range(1, REPLICATES + 1))


def _blocks(rows: np.ndarray, numbers: int) -> Iterator[np.ndarray]:
    size = max(1, BLOCK_NUMBERS // numbers)
    return (rows[start : start + size] for start in range(0, len(rows), size))
