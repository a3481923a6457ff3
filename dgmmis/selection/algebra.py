"""Selection Omega(y), and its algebra: `a & b` both must see it (product), `a | b` either sees it (union of
independent looks), `~a` what a misses. Functions are checked whenever they are called."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from dgmmis.asking import answer
from dgmmis.errors import DataError, ShapeError
from dgmmis.selection.injections import Injections
from dgmmis.selection.spoken import Spoken
from dgmmis.types import Points, Vector


@runtime_checkable
class Selection(Protocol):
    """Omega: points (n, d) in the units of the features, NaN where not measured -> probabilities (n,) in [0, 1]."""

    def __call__(self, points: Points) -> Vector:
        """Probability of each point to be in the catalogue."""


class Composable(Spoken):
    """A selection that is known at every point."""

    __slots__ = ()

    def __and__(self, other: Selection) -> "Both":
        return Both(as_selection(self), as_selection(other))

    def __or__(self, other: Selection) -> "Either":
        return Either(as_selection(self), as_selection(other))

    def __invert__(self) -> "Complement":
        return Complement(as_selection(self))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FromFunction(Composable):
    """Any function (n, d) -> (n,) of probabilities, or of truth values; picklable, to travel to a cluster."""

    function: Callable[[Points], Vector]

    def __call__(self, points: Points) -> Vector:
        return probabilities(self.function, points)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Both(Composable):
    """Omega_a Omega_b."""

    left: Selection
    right: Selection

    def __post_init__(self) -> None:
        _refuse_injections(self.left, self.right)

    def __call__(self, points: Points) -> Vector:
        return np.asarray(self.left(points) * self.right(points))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Either(Composable):
    """1 - (1 - Omega_a)(1 - Omega_b)."""

    left: Selection
    right: Selection

    def __post_init__(self) -> None:
        _refuse_injections(self.left, self.right)

    def __call__(self, points: Points) -> Vector:
        return np.asarray(1 - (1 - self.left(points)) * (1 - self.right(points)))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Complement(Composable):
    """1 - Omega."""

    inner: Selection

    def __post_init__(self) -> None:
        _refuse_injections(self.inner)

    def __call__(self, points: Points) -> Vector:
        return 1 - self.inner(points)


def as_selection(selection: object) -> Selection:
    """A Selection from one of ours, or from any callable, which is then checked whenever it is called."""
    if isinstance(selection, (Composable, Injections)):
        return selection
    if callable(selection):
        return FromFunction(selection)
    raise DataError("selection must be callable: points (n, d) -> probabilities (n,)", got=type(selection).__name__)


def probabilities(function: Callable[[Points], Vector], points: Points) -> Vector:
    """What the function gives, once it is shown to be probabilities (n,)."""
    result = answer(function, points, kind="selection", expected="probabilities (n,)", checker="check_selection")
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


def _refuse_injections(*parts: Selection) -> None:
    for part in parts:
        if isinstance(part, Injections):
            part.refuse_composition()
