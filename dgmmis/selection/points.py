"""The points that a selection is asked about: of the right width, and measured in what it looks at.

NaN says that a feature was not measured, as in the chunks of a survey."""

from collections.abc import Sequence

import numpy as np

from dgmmis.errors import RefusedError, ShapeError, rows_named
from dgmmis.types import Points


def points_of_width(points: Points, d: int, name: str, *, or_more: bool = False) -> Points:
    """The points (n, d) as floats; those of a selection on some features may have more than d."""
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or not (points.shape[1] == d or (or_more and points.shape[1] > d)):
        expected = f"points (n, {d})" + (" or wider" if or_more else "")
        raise ShapeError(f"{name} does not fit the data", expected=expected, got=points.shape)
    return points


def refuse_missing(points: Points, features: Sequence[int] | np.ndarray, name: str) -> None:
    """Raise RefusedError if a feature that the selection looks at was not measured."""
    for feature in features:
        missing = np.isnan(points[:, feature])
        if missing.any():
            raise RefusedError(
                f"{name} needs feature {feature}, which was not measured in {rows_named(np.flatnonzero(missing))}",
                do="select on features that every object has, or pass a function of points with NaN",
            )
