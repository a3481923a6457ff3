"""Steadiness: what a user's functions say of a point they must say again, or sums over passes mean nothing."""

from collections.abc import Callable, Iterator

import numpy as np

from dgmmis.asking import N_POINTS, require_same
from dgmmis.chunk import Chunk
from dgmmis.errors import DataError, DgmmisError, ShapeError
from dgmmis.noise_law import ImportedNoise, NoiseFunction
from dgmmis.selection import Both, Complement, Either, FromFunction, Imported, Selection
from dgmmis.survey import Survey
from dgmmis.types import Points


def require_steady(survey: Survey, sample: Chunk) -> None:
    """Ask each function of a survey about some rows twice, the second time in the reverse order.

    Raises:
        ShapeError: a selection of another number of features.
        DataError: it gives other values, or changes the points that it is given.
        DgmmisError: what it gives is no selection, or no noise law.
    """
    if survey.selection is None and survey.noise_law is None:
        return
    points = sample.points[:N_POINTS]
    if survey.selection_on != "available":
        with np.errstate(invalid="ignore"):
            there = np.where(np.all(np.isnan(sample.points), axis=0), 0.0, sample.points)
            points = np.where(np.isnan(points), np.nanmedian(there, axis=0), points)
    projected = sample.projection is not None
    if not (projected and survey.selection_on == "true"):
        for function in _functions(survey.selection):
            _ask_twice(function, points, "selection")
        if survey.selection is not None:
            try:
                survey.selection(points)
            except ShapeError:
                raise
            except DgmmisError:  # of these points, at which it need not be known: the fit says so where it asks
                pass
    if isinstance(survey.noise_law, (NoiseFunction, ImportedNoise)) and not projected and not np.isnan(points).any():
        _ask_twice(survey.noise_law, points, "noise law")


def _functions(selection: Selection | None) -> Iterator[Selection]:
    match selection:
        case Both(left=left, right=right) | Either(left=left, right=right):
            yield from _functions(left)
            yield from _functions(right)
        case Complement(inner=inner):
            yield from _functions(inner)
        case FromFunction() | Imported():
            yield selection


def _ask_twice(function: Callable[[Points], np.ndarray], points: Points, what: str) -> None:
    given = points.copy()
    first = np.array(function(given), dtype=float)
    if not np.array_equal(given, points, equal_nan=True):
        raise DataError(f"the {what} changes the points that it is given", do="let it work on a copy: points.copy()")
    again = np.asarray(function(points[::-1].copy()), dtype=float)[::-1]
    require_same(first, again, points, what=f"the {what}", checker=f"check_{what.replace(' ', '_')}", precision=8)
