"""Selections with edges: boxes, balls, half spaces. An edge itself is outside."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from dgmmis.errors import DataError, ShapeError
from dgmmis.reals import real, reals
from dgmmis.selection.algebra import Composable
from dgmmis.selection.points import points_of_width, refuse_missing
from dgmmis.types import Feature, Points, Vector


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Box(Composable):
    """Seen where lower < y < upper in every feature that was measured; infinite edges leave a side open."""

    lower: Feature
    upper: Feature

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        _store_vectors(self, lower=lower, upper=upper)
        if self.lower.shape != self.upper.shape or not np.all(self.lower < self.upper):
            raise DataError("Box: `lower` must be below `upper` in every feature", got=(self.lower, self.upper))

    def __call__(self, points: Points) -> Vector:
        points = points_of_width(points, len(self.lower), "Box")
        with np.errstate(invalid="ignore"):  # a comparison with NaN is false: what is missing is not outside
            outside = (points <= self.lower) | (points >= self.upper)
        return np.asarray(~np.any(outside, axis=1), dtype=float)


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Ball(Composable):
    """Seen where |y - center| < radius; it needs every feature."""

    center: Feature
    radius: float

    def __init__(self, center: ArrayLike, radius: float) -> None:
        _store_vectors(self, center=center)
        object.__setattr__(self, "radius", real(radius, "Ball: `radius`"))
        if not (np.isfinite(self.radius) and self.radius > 0):
            raise DataError("Ball: `radius` must be positive", got=self.radius)

    def __call__(self, points: Points) -> Vector:
        points = points_of_width(points, len(self.center), "Ball")
        refuse_missing(points, range(len(self.center)), "Ball")
        offset = points - self.center
        return np.asarray(np.einsum("ni,ni->n", offset, offset) < self.radius**2, dtype=float)


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class HalfSpace(Composable):
    """Seen where normal . y < offset; with softness s > 0 graded: Omega = 1 / (1 + exp((normal . y - offset) / s)).

    It looks at the features where the normal is not zero, and needs those.
    """

    normal: Feature
    offset: float
    softness: float = 0.0

    def __init__(self, normal: ArrayLike, offset: float, softness: float = 0.0) -> None:
        _store_vectors(self, normal=normal)
        object.__setattr__(self, "offset", real(offset, "HalfSpace: `offset`"))
        object.__setattr__(self, "softness", real(softness, "HalfSpace: `softness`"))
        if not np.any(self.normal):
            raise DataError("HalfSpace: `normal` must not be zero", got=self.normal)
        if np.isnan(self.offset):
            raise DataError("HalfSpace: `offset` must be a number", got=self.offset)
        if not (np.isfinite(self.softness) and self.softness >= 0):
            raise DataError("HalfSpace: `softness` must be >= 0", got=self.softness)

    def __call__(self, points: Points) -> Vector:
        points = points_of_width(points, len(self.normal), "HalfSpace")
        features = np.flatnonzero(self.normal)
        refuse_missing(points, features, "HalfSpace")
        # feature by feature: the sum of a point does not depend on how many come with it, as a matrix product's may
        depth = np.full(len(points), self.offset)
        for feature in features:
            depth -= self.normal[feature] * points[:, feature]
        if self.softness == 0:
            return np.asarray(depth > 0, dtype=float)
        return np.asarray(expit(depth / self.softness))


def _store_vectors(value: object, **given: ArrayLike) -> None:
    for name, numbers in given.items():
        vector = np.atleast_1d(reals(numbers, f"{type(value).__name__}: `{name}`"))
        if vector.ndim != 1 or np.any(np.isnan(vector)):
            raise ShapeError(f"{type(value).__name__}: `{name}` must be one number a feature", got=numbers)
        object.__setattr__(value, name, vector)
