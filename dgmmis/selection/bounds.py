"""Selections that are bounds on linear combinations of the features, for which completeness has closed forms."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, ShapeError
from dgmmis.selection.algebra import Both, Complement, Selection
from dgmmis.selection.shapes import Box, HalfSpace
from dgmmis.types import Vector

PARALLEL = 1e-14
"""Rows that agree to this much of their length are the same row."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class LinearBounds:
    """Omega(y) = 1 where lower < rows y < upper in every row, else 0; without rows it is 1 everywhere.

    Args:
        rows: (r, d); no two are parallel, yet they may depend on one another when there are three or more.
        lower: (r,), -inf for none.
        upper: (r,), above `lower`, inf for none.
    """

    rows: Float[np.ndarray, "r d"]
    lower: Vector
    upper: Vector

    def __init__(self, rows: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> None:
        matrix, low, high = (np.asarray(values, dtype=float) for values in (rows, lower, upper))
        object.__setattr__(self, "rows", matrix)
        object.__setattr__(self, "lower", low)
        object.__setattr__(self, "upper", high)
        if matrix.ndim != 2 or low.shape != (len(matrix),) or high.shape != low.shape:
            raise ShapeError("LinearBounds: rows (r, d) and bounds (r,)", got=(matrix.shape, low.shape, high.shape))
        if not np.all(low < high):
            raise DataError("LinearBounds: `lower` must be below `upper` in every row", got=(low, high))


def linear_bounds(selection: Selection, d: int) -> LinearBounds | None:
    """The bounds that a selection of d features is, up to its edges; None for any other selection.

    A Box, a HalfSpace with a hard edge, the complement of what has a single edge, and products of these.

    Raises:
        ShapeError: a selection of another number of features.
    """
    match selection:
        case Box(lower=lower, upper=upper):
            _check_width(len(lower), d)
            edged = np.isfinite(lower) | np.isfinite(upper)
            return LinearBounds(np.eye(d)[edged], lower[edged], upper[edged])
        case HalfSpace(normal=normal, offset=offset, softness=0.0):
            _check_width(len(normal), d)
            return LinearBounds(normal[None], [-np.inf], [offset]) if np.isfinite(offset) else None
        case Complement(inner=Complement(inner=inner)):
            return linear_bounds(inner, d)
        case Complement(inner=inner):
            bounds = linear_bounds(inner, d)
            return None if bounds is None else _complement(bounds)
        case Both(left=left, right=right):
            parts = linear_bounds(left, d), linear_bounds(right, d)
            return None if parts[0] is None or parts[1] is None else _intersection(parts[0], parts[1])
    return None


def _check_width(found: int, d: int) -> None:
    if found != d:
        raise ShapeError("the selection does not fit the data", expected=f"{d} features", got=found)


def _complement(bounds: LinearBounds) -> LinearBounds | None:
    """What is beyond a single edge; more edges leave a union, none leaves nothing."""
    if len(bounds.rows) != 1 or np.isfinite(bounds.lower[0]) == np.isfinite(bounds.upper[0]):
        return None
    if np.isfinite(bounds.lower[0]):
        return LinearBounds(bounds.rows, [-np.inf], bounds.lower)
    return LinearBounds(bounds.rows, bounds.upper, [np.inf])


def _intersection(a: LinearBounds, b: LinearBounds) -> LinearBounds | None:
    """Both bounds: parallel rows become one, the others stand one after the other; None where nothing is left."""
    rows, lower, upper = list(a.rows), list(a.lower), list(a.upper)
    for row, low, high in zip(b.rows, b.lower, b.upper, strict=True):
        for i, other in enumerate(rows):
            factor = float(row @ other) / float(other @ other)  # row = factor * other if parallel
            if np.linalg.norm(row - factor * other) > PARALLEL * np.linalg.norm(row):
                continue
            edges = sorted((low / factor, high / factor))
            lower[i], upper[i] = max(lower[i], edges[0]), min(upper[i], edges[1])
            if lower[i] >= upper[i]:
                return None
            break
        else:
            rows.append(row)
            lower.append(low)
            upper.append(high)
    return LinearBounds(np.array(rows).reshape(-1, a.rows.shape[1]), lower, upper)
