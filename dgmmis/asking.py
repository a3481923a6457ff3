"""Asking a user's function of points: what it raises is said with its name, and asked again it must say the same."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dgmmis.errors import DataError, DgmmisError
from dgmmis.types import Points

N_POINTS = 64
"""Points that a function is asked about twice."""

ROUNDING = 1e-9
"""A point's value may differ by this much of the largest: matrix products round as the number of rows has it."""


def answer(
    function: Callable[[Points], Any],
    points: Points,
    *,
    read: Callable[[Any], np.ndarray] = np.asarray,
    kind: str,
    expected: str,
    checker: str,
) -> np.ndarray:
    """What a function gives at points, as an array.

    Args:
        function, points: of the user.
        read: makes an array of what it gives.
        kind: what it is, in words: a selection, a noise law, a density.
        expected: what it should give.
        checker: the name of what tries it, in `testing`.

    Raises:
        DataError: it raised an error that is none of ours.
    """
    try:
        return read(function(points))
    except DgmmisError:
        raise
    except Exception as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise DataError(
            f"the {kind} '{name}' raised {type(error).__name__}: {error}",
            expected=expected,
            got=f"points {points.shape}",
            do=f"try it with dgmmis.testing.{checker}",
        ) from error


def require_same(
    first: np.ndarray, again: np.ndarray, points: Points, *, what: str, checker: str, precision: int = 6
) -> None:
    """Raise DataError unless two answers, one value a point (n, ...), are the same but for rounding; `precision` is of
    the point that the message names."""
    scale = float(np.abs(first).max(initial=0.0))
    differs = np.abs(first - again).reshape(len(points), -1).max(axis=1, initial=0.0) > ROUNDING * scale
    bad = np.flatnonzero(differs)
    if len(bad):
        n = int(bad[0])
        raise DataError(
            f"{what} says something else of the same point when it is asked again",
            expected="a function of each point alone, without chance or memory",
            got=f"{first[n]} and then {again[n]} at {np.array2string(points[n], precision=precision)}",
            do=f"look at it with dgmmis.testing.{checker}",
        )
