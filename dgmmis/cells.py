"""Cells along features, and over pairs of them, in which what belongs to points is summed."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from dgmmis.types import Vector


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """As many cells along each of f features. A cell holds its lower edge, the last one its upper edge as well.

    Args:
        edges: of the b cells along each feature (f, b + 1), rising; the outer ones may be infinite.
    """

    edges: Float[np.ndarray, "f edges"]

    @classmethod
    def even(cls, window: Float[np.ndarray, "f 2"], b: int) -> "Cells":
        """b cells of one width from and to where a window ends along each feature."""
        return cls(np.linspace(window[:, 0], window[:, 1], b + 1, axis=1))

    @property
    def b(self) -> int:
        """Along a feature."""
        return int(self.edges.shape[1]) - 1

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The features that cells are over, the later one first."""
        return [(i, j) for j, i in combinations(range(len(self.edges)), 2)]

    def numbers(self, points: Float[np.ndarray, "n f"]) -> Int[np.ndarray, "f n"]:
        """Which cell along each feature points are in; -1 where outside, or not known (NaN)."""
        out = np.empty((len(self.edges), len(points)), dtype=np.intp)
        for own, edges, y in zip(out, self.edges, points.T, strict=True):
            own[:] = np.searchsorted(edges, y, "right") - 1
            own[y == edges[-1]] = self.b - 1
            own[(own >= self.b) | np.isnan(y)] = -1
        return out

    def along(
        self, points: Float[np.ndarray, "n f"], values: Float[np.ndarray, "n v"], *, into: np.ndarray | None = None
    ) -> Float[np.ndarray, "f b v"]:
        """Sums of what belongs to points, in the cells along each feature; added to those in `into`, in place."""
        out = np.zeros((len(self.edges), self.b, values.shape[1])) if into is None else into
        for own, numbers in zip(out, self.numbers(points), strict=True):
            _add(own, numbers, values)
        return out

    def over(
        self, points: Float[np.ndarray, "n f"], values: Float[np.ndarray, "n v"], *, into: np.ndarray | None = None
    ) -> Float[np.ndarray, "m b b v"]:
        """The same over each of the pairs, rows along the later feature; points that lack either are in none."""
        numbers, b = self.numbers(points), self.b
        out = np.zeros((len(self.pairs), b, b, values.shape[1])) if into is None else into
        for own, (i, j) in zip(out, self.pairs, strict=True):
            both = np.where((numbers[i] < 0) | (numbers[j] < 0), -1, numbers[i] * b + numbers[j])
            _add(own.reshape(b * b, -1), both, values)
        return out

    def middles(self, i: int) -> Vector:
        """Of the cells along one of the features (b,)."""
        return np.asarray((self.edges[i, 1:] + self.edges[i, :-1]) / 2)


def _add(sums: Float[np.ndarray, "c v"], numbers: Int[np.ndarray, " n"], values: Float[np.ndarray, "n v"]) -> None:
    """Add the rows of each cell, in their order and in place; those of cell -1 go nowhere.

    Only cells with rows are touched: there may be far more of the others.
    """
    rows = np.flatnonzero(numbers >= 0)
    if values.shape[1] == 1:
        sums[:, 0] += np.bincount(numbers[rows], weights=values[rows, 0], minlength=len(sums))
        return
    found, which = np.unique(numbers[rows], return_inverse=True)
    where = csr_array((np.ones(len(rows)), (which, rows)), shape=(len(found), len(numbers)))
    sums[found] += where @ values
