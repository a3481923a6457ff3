"""residuals_figure(): where the data are more, or fewer, than a model and its survey let expect."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dgmmis.cells import Cells
from dgmmis.dataset.arrays import Catalogue, as_catalogue
from dgmmis.goodness.counts import counting
from dgmmis.goodness.residuals import Residuals
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.layers import require_matplotlib
from dgmmis.plotting.palette import NIGHT, NOTHING, POPULATION, QUIET, SEEN, dress
from dgmmis.plotting.section import draw_edges
from dgmmis.plotting.shown import Fitted, Shown
from dgmmis.read_once import Reader, read_once
from dgmmis.survey import Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

LIMIT = 4.0
"""Of the colours, in errors."""

PER_CELL, FEWEST, MOST = 20.0, 8, 50
"""Objects in a cell, were they spread over all of them, and the cells along each axis."""

DRAWS, FEWEST_DRAWN, MOST_DRAWN = 4, 1 << 18, 1 << 21
"""Objects drawn for one that was seen, and their limits."""


def residuals_figure(
    fitted: Fitted,
    data: Catalogue | np.ndarray,
    *,
    features: Sequence[str | int] | None = None,
    survey: Survey | None = None,
    seed: int = 0,
    on_rows: Callable[[int, int | None], None] | None = None,
) -> "Figure":
    """Observed minus expected objects in cells of each pair of features, in units of their errors: orange where there
    are more, teal where there are fewer than expected, grey where there are none and none is expected.

    What is expected is counted among objects that are drawn from the model, measured with the survey's noise, and
    selected, four for each that was seen (from 2^18 to 2^21); data are counted chunk by chunk. Written over a panel:
    chi^2, and the number of cells in it, those where five objects are expected at least. About as large as their number
    says that the model describes what was seen. Dashed lines are the survey's edges, where Omega has any in the two
    features; what is drawn ends there as the data do, so that a cell that an edge crosses is judged by its seen part.

    Args:
        fitted: a run, a fit, a model or a mixture.
        data: the catalogue, or an array (n, d).
        features: by name or number, two to six; None: all.
        survey: as for `corner_figure`.
        seed: of the objects that are drawn.
        on_rows: called with the rows that were counted, and the rows in all.

    Returns:
        A figure with a panel for each pair, f - 1 by f - 1 of them, those above the diagonal left out.

    Raises:
        JobError: features that are unknown, fewer than two, or more than six.
        RefusedError: data with projections; a survey of injections, which do not say Omega at a point; features that
            were never measured.
        ShapeError: a model that does not fit the data.
    """
    require_matplotlib()
    catalogue = as_catalogue(data)
    drawing = residuals_drawing(Shown.of(fitted, catalogue, survey), features=features, seed=seed)
    return read_once(catalogue, [drawing], on_rows=on_rows)[0]


def residuals_drawing(shown: Shown, *, features: Sequence[str | int] | None = None, seed: int = 0) -> Reader["Figure"]:
    """Read the data along, and draw the same."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    chosen = shown.chosen(features, least=2)
    shown.require_foreseen()
    edges = _edges(shown, chosen)
    counts = yield from counting(edges, features=chosen)
    n = int(np.clip(DRAWS * shown.n_rows, FEWEST_DRAWN, MOST_DRAWN))
    drawn = shown.expected(edges, features=chosen, n=n, seed=seed)

    f = len(chosen) - 1
    figure = Figure(figsize=(1.6 + 2.4 * f, 0.9 + 2.2 * f), dpi=160, layout="constrained")
    panels = figure.subplots(f, f, squeeze=False)
    colours = LinearSegmentedColormap.from_list("residuals", [SEEN, NIGHT, POPULATION])
    for (row, column), ax in np.ndenumerate(panels):
        if row < column:
            ax.set_visible(False)
            continue
        residuals = Residuals.between(counts, drawn, (row + 1, column))
        extent = Extent(*edges[column, [0, -1]].tolist(), *edges[row + 1, [0, -1]].tolist())
        _draw(ax, residuals, extent, colours)
        draw_edges(shown, ax, extent, features=(chosen[column], chosen[row + 1]))
        if row == f - 1:
            ax.set_xlabel(shown.label(chosen[column]), fontsize=8)
        if column == 0:
            ax.set_ylabel(shown.label(chosen[row + 1]), fontsize=8)
        ax.tick_params(labelbottom=row == f - 1, labelleft=column == 0)
    bar = figure.colorbar(panels[-1, 0].images[0], ax=list(panels.flat), pad=0.02, shrink=0.8, extend="both")
    bar.set_label("(observed - expected) / error", fontsize=7, color=QUIET)
    bar.ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
    bar.outline.set_visible(False)
    return figure


def _edges(shown: Shown, chosen: Sequence[int]) -> Float[np.ndarray, "f edges"]:
    """Of cells (f, b + 1) in the window of the data."""
    n_cells = int(np.clip(np.sqrt(shown.n_rows / PER_CELL), FEWEST, MOST))
    return Cells.even(shown.measured_window(chosen), n_cells).edges


def _draw(ax: "Axes", residuals: Residuals, extent: Extent, colours: "Colormap") -> None:
    ax.imshow(
        residuals.values,
        origin="lower",
        extent=extent.box,
        vmin=-LIMIT,
        vmax=LIMIT,
        cmap=colours,
        aspect="auto",
        interpolation="nearest",
    )
    dress(ax, face=NOTHING)
    chi_square = f"chi² {residuals.chi_square:,.0f} in {np.sum(residuals.judged):,} cells"
    ax.set_title(chi_square, loc="left", fontsize=7, color=QUIET)
