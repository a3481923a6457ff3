"""Triangle: features one by one on a diagonal, and two at a time below it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dgmmis.cells import Cells
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.palette import NIGHT, dress
from dgmmis.plotting.shown import Shown

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
        return cls(shown, chosen, Cells.even(window, n_cells).edges)

    @property
    def cells(self) -> Cells:
        """Of its features, not of those that it leaves out."""
        return Cells(self.edges)

    def points(self, of: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n f"]:
        """Points in the features that are chosen."""
        return of[:, list(self.chosen)]

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
