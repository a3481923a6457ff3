"""Selection Omega(y): the probability that an object measured at y is in the catalogue.

A Selection is any callable (n, d) -> (n,) of probabilities. Those here are values: picklable, vectorised, composable:
`a & b` both must see it (product), `a | b` either sees it (union of independent looks), `~a` what a misses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from dgmmis.errors import DataError, ShapeError
from dgmmis.types import Feature, Points, Vector


@runtime_checkable
class Selection(Protocol):
    """Omega: points (n, d) in the units of the features -> probabilities (n,) in [0, 1]."""

    def __call__(self, points: Points) -> Vector:
        """Probability of each point to be in the catalogue."""


class Composable:
    """The algebra of selections."""

    __slots__ = ()

    def __call__(self, points: Points) -> Vector:
        raise NotImplementedError

    def __and__(self, other: Selection) -> "Both":
        return Both(as_selection(self), as_selection(other))

    def __or__(self, other: Selection) -> "Either":
        return Either(as_selection(self), as_selection(other))

    def __invert__(self) -> "Complement":
        return Complement(as_selection(self))


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Box(Composable):
    """Seen where lower < y < upper in every feature; infinite edges leave a side open."""

    lower: Feature
    upper: Feature

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        _store_vectors(self, lower=lower, upper=upper)
        if self.lower.shape != self.upper.shape or not np.all(self.lower < self.upper):
            raise DataError("Box: `lower` must be below `upper` in every feature", got=(self.lower, self.upper))

    def __call__(self, points: Points) -> Vector:
        points = _checked(points, len(self.lower), "Box")
        return np.asarray(np.all((points > self.lower) & (points < self.upper), axis=1), dtype=float)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Ball(Composable):
    """Seen where |y - center| < radius."""

    center: Feature
    radius: float

    def __init__(self, center: ArrayLike, radius: float) -> None:
        _store_vectors(self, center=center)
        object.__setattr__(self, "radius", float(radius))
        if not (np.isfinite(self.radius) and self.radius > 0):
            raise DataError("Ball: `radius` must be positive", got=self.radius)

    def __call__(self, points: Points) -> Vector:
        points = _checked(points, len(self.center), "Ball")
        offset = points - self.center
        return np.asarray(np.einsum("ni,ni->n", offset, offset) < self.radius**2, dtype=float)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class HalfSpace(Composable):
    """Seen where normal . y < offset; with softness s > 0 graded: Omega = 1 / (1 + exp((normal . y - offset) / s))."""

    normal: Feature
    offset: float
    softness: float = 0.0

    def __init__(self, normal: ArrayLike, offset: float, softness: float = 0.0) -> None:
        _store_vectors(self, normal=normal)
        object.__setattr__(self, "offset", float(offset))
        object.__setattr__(self, "softness", float(softness))
        if not np.any(self.normal):
            raise DataError("HalfSpace: `normal` must not be zero", got=self.normal)
        if not (np.isfinite(self.softness) and self.softness >= 0):
            raise DataError("HalfSpace: `softness` must be >= 0", got=self.softness)

    def __call__(self, points: Points) -> Vector:
        points = _checked(points, len(self.normal), "HalfSpace")
        depth = self.offset - points @ self.normal
        if self.softness == 0:
            return np.asarray(depth > 0, dtype=float)
        return np.asarray(expit(depth / self.softness))


@dataclass(frozen=True, slots=True, eq=False)
class FromFunction(Composable):
    """Any function (n, d) -> (n,) of probabilities; it must be picklable to travel to a cluster."""

    function: Callable[[Points], Vector]

    def __call__(self, points: Points) -> Vector:
        return _probabilities(self.function, points)


@dataclass(frozen=True, slots=True, eq=False)
class Both(Composable):
    """Omega_a Omega_b."""

    left: Selection
    right: Selection

    def __call__(self, points: Points) -> Vector:
        return np.asarray(self.left(points) * self.right(points))


@dataclass(frozen=True, slots=True, eq=False)
class Either(Composable):
    """1 - (1 - Omega_a)(1 - Omega_b)."""

    left: Selection
    right: Selection

    def __call__(self, points: Points) -> Vector:
        return np.asarray(1 - (1 - self.left(points)) * (1 - self.right(points)))


@dataclass(frozen=True, slots=True, eq=False)
class Complement(Composable):
    """1 - Omega."""

    inner: Selection

    def __call__(self, points: Points) -> Vector:
        return 1 - self.inner(points)


def as_selection(selection: object) -> Selection:
    """A Selection from one of ours, or from any callable, which is then checked whenever it is called."""
    if isinstance(selection, Composable):
        return selection
    if callable(selection):
        return FromFunction(selection)
    raise DataError("selection must be callable: points (n, d) -> probabilities (n,)", got=type(selection).__name__)


def _probabilities(function: Callable[[Points], Vector], points: Points) -> Vector:
    """What the function gives, once it is shown to be probabilities (n,)."""
    result = np.asarray(function(points))
    if result.shape != (len(points),):
        raise ShapeError(
            "selection returned the wrong shape",
            expected=f"({len(points)},) for points {points.shape}",
            got=result.shape,
            do="return one probability a point",
        )
    if result.dtype.kind not in "bfiu":
        raise DataError("selection returned the wrong type", expected="numbers", got=result.dtype)
    result = result.astype(float)
    bad = np.flatnonzero(~((result >= 0) & (result <= 1)))
    if len(bad):
        where = np.array2string(points[bad[0]], precision=6)
        raise DataError(
            "selection must return probabilities", expected="0 <= Omega <= 1", got=f"{result[bad[0]]} at {where}"
        )
    return result


def _store_vectors(value: object, **given: ArrayLike) -> None:
    for name, numbers in given.items():
        vector = np.atleast_1d(np.asarray(numbers, dtype=float))
        if vector.ndim != 1 or np.any(np.isnan(vector)):
            raise ShapeError(f"{type(value).__name__}: `{name}` must be one number a feature", got=numbers)
        object.__setattr__(value, name, vector)


def _checked(points: Points, d: int, name: str) -> Points:
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != d:
        raise ShapeError(f"{name} does not fit the data", expected=f"points (n, {d})", got=points.shape)
    return points
