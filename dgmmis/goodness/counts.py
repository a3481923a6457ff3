"""Counts: objects in the cells of features, and of pairs of them, chunk by chunk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.cells import Cells
from dgmmis.dataset.arrays import Catalogue
from dgmmis.read_once import Reader, read_once
from dgmmis.types import Vector


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Objects along each of f features, and over each pair of them, by weight; chunks of a catalogue add up.

    Args:
        edges: of the b cells along each feature (f, b + 1).
        along: objects in them (f, b).
        over: objects in the cells of two features (f, f, b, b), rows along the first; filled where the first is the
            later one, zero elsewhere.
        measured: of how many objects both features are known, within the edges or not (f, f).
        weight: of all objects.
        squares: sum of the squares of their weights.
    """

    edges: Float[np.ndarray, "f edges"]
    along: Float[np.ndarray, "f b"]
    over: Float[np.ndarray, "f f b b"]
    measured: Float[np.ndarray, "f f"]
    weight: float
    squares: float

    @classmethod
    def of(
        cls,
        points: Float[np.ndarray, "n f"],
        edges: Float[np.ndarray, "f edges"],
        weights: Vector | None = None,
    ) -> "Counts":
        """Count some objects, NaN where a feature is not known."""
        f, b = len(edges), edges.shape[1] - 1
        w = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=float)
        cells, over = Cells(edges), np.zeros((f, f, b, b))
        along = cells.along(points, w[:, None])[..., 0]
        for (i, j), counts in zip(cells.pairs, cells.over(points, w[:, None]), strict=True):
            over[i, j] = counts[..., 0]
        known = ~np.isnan(points)
        measured = (known * w[:, None]).T @ known
        return cls(edges, along, over, measured, float(w.sum()), float(w @ w))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.edges,
            self.along + other.along,
            self.over + other.over,
            self.measured + other.measured,
            self.weight + other.weight,
            self.squares + other.squares,
        )

    @property
    def unit(self) -> float:
        """The variance of a count of weights, for one that is expected."""
        return self.squares / self.weight if self.weight > 0 else 1.0

    @property
    def widths(self) -> Vector:
        """Of the cells along each feature (f,)."""
        return np.asarray(self.edges[:, 1] - self.edges[:, 0])

    def density_along(self, i: int) -> Vector:
        """Objects per unit along a feature (b,), those that lack it shared out among the others."""
        return np.asarray(self.along[i] * (self.weight / max(self.measured[i, i], 1e-300) / self.widths[i]))

    def density_over(self, i: int, j: int) -> Float[np.ndarray, "b b"]:
        """Objects per unit area over two features, i > j, shared out likewise."""
        area = self.widths[i] * self.widths[j]
        return np.asarray(self.over[i, j] * (self.weight / max(self.measured[i, j], 1e-300) / area))


def counting(edges: Float[np.ndarray, "f edges"], *, features: Sequence[int]) -> Reader[Counts]:
    """Read along, and count the rows of a catalogue without projections along some features.

    Args:
        edges: of the cells along each of the features.
        features: their numbers.
    """
    total = Counts.of(np.zeros((0, len(edges))), edges)
    while (part := (yield)) is not None:
        _, chunk = part
        total = total + Counts.of(chunk.points[:, list(features)], edges, chunk.weights)
    return total


def counted(
    data: Catalogue,
    edges: Float[np.ndarray, "f edges"],
    *,
    features: Sequence[int],
    on_rows: Callable[[int, int | None], None] | None = None,
) -> Counts:
    """The same in a reading of its own; `on_rows` is called with the rows done, and the rows in all."""
    return read_once(data, [counting(edges, features=features)], on_rows=on_rows)[0]
