"""Triangle: features one by one on a diagonal, and two at a time below it."""

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from dgmmis.plotting.extent import Extent
from dgmmis.plotting.palette import NIGHT, dress
from dgmmis.plotting.shown import Shown
from dgmmis.types import Vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, eq=False)
class Triangle:
    """The panels of a picture, and the cells that things are summed in.

    Args:
        shown: what is drawn.
        chosen: features (f,).
        edges: of the cells along each of them (f, b + 1).
    """

    shown: Shown
    chosen: tuple[int, ...]
    edges: Float[np.ndarray, "f edges"]

    @classmethod
    def of(cls, shown: Shown, chosen: tuple[int, ...], window: Float[np.ndarray, "f 2"], n_cells: int) -> "Triangle":
        """Of some features in a window, with so many cells along each."""
        return cls(shown, chosen, np.linspace(window[:, 0], window[:, 1], n_cells + 1, axis=1))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Row and column of each panel below the diagonal."""
        return [(i, j) for j, i in combinations(range(len(self.chosen)), 2)]

    def cells(self, points: Float[np.ndarray, "n d"]) -> Int[np.ndarray, "f n"]:
        """Which cell along each of the features points are in (f, n); -1 where outside, or not known."""
        b = self.edges.shape[1] - 1
        values = points[:, list(self.chosen)].T
        low, high = self.edges[:, :1], self.edges[:, -1:]
        inside = (values >= low) & (values <= high)  # NaN is not
        places = (np.where(inside, values, low) - low) / (high - low) * b
        return np.where(inside, np.minimum(places.astype(int), b - 1), -1)

    def along(self, points: Float[np.ndarray, "n d"], values: Float[np.ndarray, "n v"]) -> Float[np.ndarray, "f b v"]:
        """Sums of what belongs to points, in the cells along each feature (f, b, v)."""
        b = self.edges.shape[1] - 1
        return np.stack([_summed(cells, values, b) for cells in self.cells(points)])

    def over(self, points: Float[np.ndarray, "n d"], values: Float[np.ndarray, "n v"]) -> Float[np.ndarray, "m b b v"]:
        """The same in the cells over each of the pairs (m, b, b, v), rows along the first."""
        b, cells = self.edges.shape[1] - 1, self.cells(points)
        out = np.zeros((len(self.pairs), b, b, values.shape[1]))
        for number, (i, j) in enumerate(self.pairs):
            both = np.where((cells[i] < 0) | (cells[j] < 0), -1, cells[i] * b + cells[j])
            out[number] = _summed(both, values, b * b).reshape(b, b, -1)
        return out

    def middles(self, i: int) -> Vector:
        """Of the cells along one of the features (b,)."""
        return np.asarray((self.edges[i, 1:] + self.edges[i, :-1]) / 2)

    def extent(self, i: int, j: int) -> Extent:
        """The window of row i and column j."""
        return Extent(*self.edges[j, [0, -1]].tolist(), *self.edges[i, [0, -1]].tolist())

    def panels(self, *, face: str = NIGHT, least: int = 1) -> "tuple[Figure, dict[tuple[int, int], Axes]]":
        """A figure, and its panels on and below the diagonal, by row and column, dressed and named; in a grid with some
        columns at least."""
        from matplotlib.figure import Figure

        f, columns = len(self.chosen), max(least, len(self.chosen))
        figure = Figure(figsize=(1.6 + 2.0 * columns, 1.2 + 1.9 * f), dpi=160, layout="constrained")
        grid = figure.add_gridspec(f, columns)
        panels = {}
        for i in range(f):
            for j in range(i + 1):
                ax = panels[i, j] = figure.add_subplot(grid[i, j])
                dress(ax, face=face)
                ax.set_xlim(*self.edges[j, [0, -1]].tolist())
                if i == f - 1:
                    ax.set_xlabel(self.shown.label(self.chosen[j]), fontsize=8)
                if i != j:
                    ax.set_ylim(*self.edges[i, [0, -1]].tolist())
                    if j == 0:
                        ax.set_ylabel(self.shown.label(self.chosen[i]), fontsize=8)
                ax.tick_params(labelbottom=i == f - 1, labelleft=i != j and j == 0)
        return figure, panels


def _summed(cells: Int[np.ndarray, " n"], values: Float[np.ndarray, "n v"], n_cells: int) -> np.ndarray:
    """Sums (c, v) over the rows of each cell; those of cell -1 are in none."""
    rows = np.flatnonzero(cells >= 0)
    where = csr_array((np.ones(len(rows)), (cells[rows], rows)), shape=(n_cells, len(cells)))
    return np.asarray(where @ values)
