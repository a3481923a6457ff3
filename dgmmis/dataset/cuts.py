"""Cuts: the top of a k-d tree, found on a sample of rows, which sends every row to one of 2^depth buckets."""

import typing
from dataclasses import dataclass

import numpy as np
from numba import njit

from dgmmis.ordering import missing_patterns

BY_PATTERN, BY_ROW = -1, -2
"""In the place of a feature: cuts between patterns of missing values, and between row numbers."""

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """A binary tree of cuts; the children of cut c are 2 c + 1 and 2 c + 2.

    Args:
        feature: that each cut is in (c,), or BY_PATTERN or BY_ROW.
        value: of the feature at the cut (c,).
        number: of the row at the cut (c,): rows of the same value are cut between their numbers, so that each side has
            some rows however often a value is repeated. For BY_PATTERN the last pattern of the left side.
    """

    feature: np.ndarray
    value: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, numbers: np.ndarray, depth: int, scale: np.ndarray) -> "Cuts":
        """Cuts that share out a sample evenly: patterns of missing values first, then the longest side of the box in
        units of scale (d,), at the median.

        Args:
            points: (n, d) of the sample, n >= 2; NaN: missing.
            numbers: of its rows (n,), distinct.
            depth: cuts one below the other, at least 1.
            scale: unit of each feature (d,).
        """
        n = (1 << depth) - 1
        cuts = cls(np.full(n, BY_ROW), np.zeros(n), np.full(n, NEVER))
        parts = [np.lexsort((numbers,))]
        patterns = missing_patterns(points)
        for cut in range(n):  # parts come out in the order of the tree's levels
            left, right = cuts._place(cut, parts[cut], points, numbers, patterns, scale)
            parts += [left, right]
        return cuts

    def buckets(self, points: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The bucket (n,) of each row, from left to right in the tree."""
        points = np.ascontiguousarray(points, dtype=float)
        out = np.empty(len(points), dtype=np.int64)
        _descend(
            points, np.ascontiguousarray(numbers), missing_patterns(points), self.feature, self.value, self.number, out
        )
        return out

    def _place(
        self,
        cut: int,
        rows: np.ndarray,
        points: np.ndarray,
        numbers: np.ndarray,
        patterns: np.ndarray,
        scale: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make one cut; the rows of the sample on either side."""
        if len(rows) < 2:  # nothing is known here: all goes to the left
            return rows, rows[:0]
        own = patterns[rows]
        if own.min() < own.max():
            ordered = np.sort(own)
            edges = np.flatnonzero(np.diff(ordered))
            pattern = ordered[edges[np.argmin(np.abs(edges + 1 - len(rows) / 2))]]
            self.feature[cut], self.number[cut] = BY_PATTERN, pattern
            return rows[own <= pattern], rows[own > pattern]
        there = points[rows]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            widths = np.where(scale > 0, (there.max(axis=0) - there.min(axis=0)) / scale, 0)
        widths = np.nan_to_num(widths, nan=0.0)
        feature, half = int(np.argmax(widths)), (len(rows) + 1) // 2
        if widths[feature] > 0:
            ordered = rows[np.lexsort((numbers[rows], points[rows, feature]))]
            self.feature[cut], self.value[cut] = feature, points[ordered[half - 1], feature]
        else:
            ordered = rows[np.argsort(numbers[rows])]
        self.number[cut] = numbers[ordered[half - 1]]
        return ordered[:half], ordered[half:]


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def _descend(points, numbers, patterns, feature, value, number, out):
    n_cuts = len(feature)
    for i in range(len(points)):
        cut = 0
        while cut < n_cuts:
            f = feature[cut]
            if f == -1:
                left = patterns[i] <= number[cut]
            elif f == -2:
                left = numbers[i] <= number[cut]
            else:  # a value that is missing here and nowhere in the sample goes right
                x = points[i, f]
                left = x < value[cut] or (x == value[cut] and numbers[i] <= number[cut])
            cut = 2 * cut + (1 if left else 2)
        out[i] = cut - n_cuts
