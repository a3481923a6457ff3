"""Ordering: rows along a k-d tree, so that rows that follow one another lie near one another.

Then any few hundred consecutive rows have a tight bounding box, from which a kernel can tell which components matter.
"""

import typing

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from dgmmis.errors import JobError
from dgmmis.types import Points

PATTERN_FEATURES = 62
"""Features whose absence makes a pattern of its own: as many as the bits of a whole number."""

SPREAD_ROWS = 1024
"""Rows, evenly spaced, from which the spread of a feature is taken."""


def kd_order(points: Points, leaf_rows: int, scale: Float[np.ndarray, " d"] | None = None) -> Int[np.ndarray, " n"]:
    """The permutation that puts rows in the order of the leaves of a k-d tree: ordered = points[permutation].

    Rows with the same features missing come together (see `missing_patterns`). Each such group is cut in two in the
    feature in which it is widest, in units of `scale`, until no part has more than leaf_rows. The first part of a cut
    gets as many rows as the largest leaf_rows 2^j below all, so that every aligned run of 2^j leaves, a group's rows
    counted from its first, is a node of the tree: blocks, leaves of a sum and chunks all have tight boxes. Within a
    leaf rows keep their order, and equal values are cut between row numbers, so that the permutation is a function of
    the points alone.

    Args:
        points: (n, d); NaN: missing.
        leaf_rows: most rows of a leaf.
        scale: the unit of each feature (d,), >= 0; features of scale 0 are not cut. None: `spread(points)`.

    Raises:
        JobError: leaf_rows below 1.
    """
    if leaf_rows < 1:
        raise JobError("leaf_rows must be at least 1", got=leaf_rows)
    points = np.asarray(points, dtype=float)
    scale = spread(points) if scale is None else np.array(scale, dtype=float)
    n = len(points)
    if not np.isnan(points).any():
        order = np.arange(n)
        _cut(np.array(points.T, order="C"), order, leaf_rows, scale)
        return order
    patterns = missing_patterns(points)
    order = np.argsort(patterns, kind="stable")
    edges = np.array([0, *np.flatnonzero(np.diff(patterns[order])) + 1, n])
    for group in np.flatnonzero(np.diff(edges) > leaf_rows):
        own = order[edges[group] : edges[group + 1]]
        values = np.array(points[own].T, order="C")
        _cut(np.where(np.isnan(values), np.inf, values), own, leaf_rows, scale)
    return order


def missing_patterns(points: Points) -> Int[np.ndarray, " n"]:
    """A number for the features that each row lacks, of the first PATTERN_FEATURES; 0 where it lacks none of them."""
    patterns = np.zeros(len(points), dtype=np.int64)
    for feature in range(min(points.shape[1], PATTERN_FEATURES)):
        patterns |= np.isnan(points[:, feature]).astype(np.int64) << feature
    return patterns


def spread(points: Points) -> Float[np.ndarray, " d"]:
    """The interquartile range of each feature (d,), from rows evenly spaced; that between the extremes where more than
    half of the values are the same, and 0 where all of them are, or none is there.
    """
    some = points[:: max(1, len(points) // SPREAD_ROWS)]
    out = np.zeros(points.shape[1])
    for feature, column in enumerate(some.T):
        values = np.sort(column[np.isfinite(column)])
        if len(values):
            quarter = len(values) // 4
            out[feature] = values[-1 - quarter] - values[quarter] or values[-1] - values[0]
    return out


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def _smaller(values, start, stop, pivot, with_equal):
    """Bring what is smaller than the pivot (or equal) to the front of values[start:stop]; where the rest begins."""
    place = start
    if with_equal:
        for i in range(start, stop):  # without a branch: one that cannot be foretold costs ten times the rest
            value = values[i]
            values[i] = values[place]
            values[place] = value
            place += value <= pivot
    else:
        for i in range(start, stop):
            value = values[i]
            values[i] = values[place]
            values[place] = value
            place += value < pivot
    return place


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def _median_of_three(a, b, c):
    return max(min(a, b), min(max(a, b), c))


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def _select(values, n, k):
    """The k-th smallest, from 0, of the first n values, which lose their order."""
    start, stop = 0, n
    while stop - start > 1:
        step = (stop - start) // 9
        if step == 0:
            pivot = values[(start + stop) // 2]
        else:
            at = start + step // 2
            pivot = _median_of_three(
                _median_of_three(values[at], values[at + step], values[at + 2 * step]),
                _median_of_three(values[at + 3 * step], values[at + 4 * step], values[at + 5 * step]),
                _median_of_three(values[at + 6 * step], values[at + 7 * step], values[at + 8 * step]),
            )
        place = _smaller(values, start, stop, pivot, False)
        if k < place:
            stop = place
            continue
        start = _smaller(values, place, stop, pivot, True)
        if k < start:
            return pivot
    return values[start]


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def _widest(points, start, stop, scale):
    """The feature of the longest side of the box around points[:, start:stop]; -1 where it is a point.

    The box, not the variance: it is what a kernel bounds components from, and costs a third less.
    """
    widest, feature = 0.0, -1
    for d in range(points.shape[0]):
        if scale[d] > 0:
            low, high = points[d, start], points[d, start]
            for i in range(start + 1, stop):
                low = min(low, points[d, i])
                high = max(high, points[d, i])
            width = (high - low) / scale[d]
            if width > widest:
                widest, feature = width, d
    return feature


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def _divide(row, goes_left, spare):
    """Bring the entries that go left to the front; both parts keep their order."""
    left = right = 0
    for i in range(len(row)):
        entry = row[i]
        row[left] = entry  # an entry that does not stay there is written over by the next that does
        spare[right] = entry
        left += goes_left[i]
        right += 1 - goes_left[i]
    for i in range(right):
        row[left + i] = spare[i]


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def _cut(points, order, leaf_rows, scale):
    """Put points (d, n) and their numbers `order` (n,) in the order of the leaves."""
    D, N = points.shape
    values, numbers, goes_left = np.empty(N), np.empty(N, np.int64), np.empty(N, np.int64)
    starts, stops = np.empty(128, np.int64), np.empty(128, np.int64)  # parts still to be cut: one or two a level
    starts[0], stops[0] = 0, N
    parts = 1
    while parts > 0:
        parts -= 1
        start, stop = starts[parts], stops[parts]
        n = stop - start
        feature = _widest(points, start, stop, scale) if n > leaf_rows else -1
        if feature < 0:
            continue
        n_left = leaf_rows
        while 2 * n_left < n:
            n_left *= 2
        column = points[feature, start:stop]
        values[:n] = column
        median = _select(values, n, n_left - 1)
        equal = n_left
        for i in range(n):
            equal -= column[i] < median
        for i in range(n):
            takes = (column[i] == median) & (equal > 0)
            equal -= takes
            goes_left[i] = takes | (column[i] < median)
        for d in range(D):
            _divide(points[d, start:stop], goes_left, values)
        _divide(order[start:stop], goes_left, numbers)
        starts[parts], stops[parts] = start, start + n_left
        starts[parts + 1], stops[parts + 1] = start + n_left, stop
        parts += 2
