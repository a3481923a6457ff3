"""corner_figure(): a mixture of many features, two at a time, as it was seen and as it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from dgmmis.cells import Cells
from dgmmis.dataset.arrays import Catalogue, as_catalogue
from dgmmis.goodness.counts import Counts, counting
from dgmmis.plotting.contours import curves
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.layers import (
    PIXELS,
    confidence_ellipses,
    density_grid,
    draw_image,
    require_matplotlib,
    shares_checked,
    square_root,
)
from dgmmis.plotting.palette import COUNTED, INK, NIGHT, POPULATION, QUIET, SEEN, dress
from dgmmis.plotting.section import draw_edges
from dgmmis.plotting.shown import Fitted, Shown
from dgmmis.read_once import Reader, read_once
from dgmmis.survey import Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ONE_AND_TWO_SIGMA = (1 - np.exp(-0.5), 1 - np.exp(-2.0))
"""What a normal distribution of two features has within them."""

DRAWN, CELLS = 1 << 18, 60
"""Objects that stand for what the survey would see of the model, and the cells along a feature that they are counted
in: some per cent in a cell of a curve. Data are counted in no more cells."""


def corner_figure(
    fitted: Fitted,
    data: Catalogue | np.ndarray | None = None,
    *,
    features: Sequence[str | int] | None = None,
    survey: Survey | None = None,
    levels: Sequence[float] = ONE_AND_TWO_SIGMA,
    contours: Sequence[float] | None = None,
    seed: int = 0,
    on_rows: Callable[[int, int | None], None] | None = None,
) -> "Figure":
    """A mixture two features at a time: below the diagonal as the survey saw it, above it as it is.

    Below: the data, counted chunk by chunk, and curves of equal density of the model with the survey's noise, selection
    and gaps. Above: the population, corrected for all of that. Both in objects per unit area, in one scale for each
    pair. On the diagonal: the data, the model as the survey would see it (teal), and the population (orange).
    Ellipses are the components, and hold given shares of their objects; curves of equal density hold shares of what is
    seen, or of the population: 39 % and 86 %, as one and two sigma do, if no others are asked for. The survey's edges
    are there where Omega has any in the two features.

    Where neither the data nor what the survey would see is known, the population is below, and nothing above.

    Args:
        fitted: a run, a fit, a model or a mixture.
        data: the catalogue, or an array (n, d); None: the model alone.
        features: by name or number, one to six; None: all.
        survey: that of a model; or of a run that has a function: `run.survey(allow_code=True)`.
        levels: the shares of its objects, between 0 and 1, that a component's ellipses hold; none: no ellipses.
        contours: the shares of all objects that curves hold; none: no curves; None: those of the ellipses.
        seed: of the objects that are drawn to see what the survey would see.
        on_rows: called with the rows that were counted, and the rows in all.

    Returns:
        A figure with f by f panels, its first f^2 axes, row by row.

    Raises:
        DataError: levels that are no shares.
        JobError: features that are unknown, or more than six; a survey of a model without data.
        RefusedError: data with projections.
        ShapeError: a model that does not fit the data.
    """
    require_matplotlib()
    catalogue = None if data is None else as_catalogue(data)
    shares = tuple(shares_checked(levels))
    held = shares if contours is None else tuple(shares_checked(contours))
    shown = Shown.of(fitted, catalogue, survey)
    drawing = corner_drawing(shown, features=features, levels=shares, contours=held, seed=seed)
    return read_once(catalogue, [drawing], on_rows=on_rows)[0]


def corner_drawing(
    shown: Shown,
    *,
    features: Sequence[str | int] | None = None,
    levels: tuple[float, ...] = ONE_AND_TWO_SIGMA,
    contours: tuple[float, ...] = ONE_AND_TWO_SIGMA,
    seed: int = 0,
) -> Reader["Figure"]:
    """Read the data along, if there are any, and draw the same."""
    from matplotlib.figure import Figure

    chosen = shown.chosen(features)
    window = shown.wide_window(chosen, seed=seed)
    edges = Cells.even(window, CELLS).edges
    counts = (yield from counting(_coarser(window, shown.n_rows), features=chosen)) if shown.n_rows else None
    expected = shown.expected(edges, features=chosen, n=DRAWN, seed=seed) if shown.is_foreseen else None
    f = len(chosen)
    populations = {
        (i, j): density_grid(shown.model, _extent(edges, i, j), (chosen[j], chosen[i]))
        for i in range(f)
        for j in range(i)
    }
    corner = _Corner(shown, chosen, edges, counts, expected, populations, levels, contours)
    figure = Figure(figsize=(1.2 + 2.0 * f, 1.5 + 1.9 * f), dpi=160, layout="constrained")
    for (row, column), ax in np.ndenumerate(figure.subplots(f, f, squeeze=False)):
        corner.draw(ax, row, column)
        corner.dress(ax, row, column)
    first = figure.axes[0]
    place, alpha = (figure, 1.0) if f > 1 else (first, 0.7)  # beside the title there is room, but for a single panel's
    handles, labels = first.get_legend_handles_labels()
    legend = place.legend(handles, labels, fontsize=6, labelcolor=INK, loc="upper right")
    legend.get_frame().set(facecolor=NIGHT, edgecolor="none", alpha=alpha)
    figure.suptitle(corner.title, x=0.01, ha="left", fontsize=8, color=QUIET)
    return figure


@dataclass(frozen=True, slots=True, eq=False)
class _Corner:
    """The panels of a picture.

    Args:
        shown: what is drawn.
        chosen: features.
        edges: of the cells along them, and of the window.
        counts: of the data; None: there are none.
        expected: what the survey would see of the model; None: it is not known.
        populations: densities over pairs of features, rows along the later one.
        levels, contours: shares that ellipses and curves hold.
    """

    shown: Shown
    chosen: tuple[int, ...]
    edges: Float[np.ndarray, "f edges"]
    counts: Counts | None
    expected: Counts | None
    populations: dict[tuple[int, int], np.ndarray]
    levels: tuple[float, ...]
    contours: tuple[float, ...]

    @property
    def n(self) -> float:
        """Objects that were seen; without data one, so that densities are those of an object."""
        return 1.0 if self.counts is None else self.counts.weight

    @property
    def n_population(self) -> float:
        return self.n / self.shown.completeness

    @property
    def is_one_sided(self) -> bool:
        """Whether there is nothing but the population."""
        return self.counts is None and self.expected is None

    @property
    def title(self) -> str:
        below, above = ("Below: ", "Above, orange") if len(self.chosen) > 1 else ("", "Orange")
        parts = []
        if self.counts is not None:
            parts.append(f"{below}{self.n:,.6g} objects that were seen")
        if self.expected is not None:
            parts.append(f"{'Below, teal' if below else 'Teal'}: the model as the survey sees it")
        of = "" if self.counts is None else f", {self.n_population:,.0f} objects"
        parts = [*parts, f"{above}: the population{of}"] if parts else ["The population"]
        if len(self.chosen) > 1 and self.contours:
            parts.append(f"Curves hold {', '.join(f'{100 * share:.3g} %' for share in self.contours)} of the objects")
        return "\n".join(parts)

    def draw(self, ax: "Axes", row: int, column: int) -> None:
        if row == column:
            self._along(ax, row)
        elif row < column and self.is_one_sided:
            ax.set_visible(False)
        else:
            self._over(ax, row, column)

    def _along(self, ax: "Axes", row: int) -> None:
        """Objects per unit along one feature."""
        edges, feature = self.edges[row], self.chosen[row]
        if self.counts is not None:
            seen = self.counts.density_along(row)
            ax.stairs(seen, self.counts.edges[row], fill=True, color=COUNTED, label="seen")
        if self.expected is not None:
            foreseen = self.n / self.expected.weight * self.expected.density_along(row)
            ax.plot(_middles(edges), foreseen, color=SEEN, lw=1.1, label="model, as seen")
        x = np.linspace(edges[0], edges[-1], PIXELS)
        points = np.full((len(x), self.shown.model.mixture.n_features), np.nan)  # what is not measured is marginalised
        points[:, feature] = x
        population = self.n_population * np.exp(self.shown.model.log_density(points))
        ax.plot(x, population, color=POPULATION, lw=1.1, label="population")
        ax.set_xlim(edges[0], edges[-1])
        ax.set_ylim(0, None)

    def _over(self, ax: "Axes", row: int, column: int) -> None:
        """Objects per unit area over two features, in colours that say the same on either side of the diagonal."""
        extent = _extent(self.edges, row, column)
        pair = (self.chosen[column], self.chosen[row])
        population = self.n_population * self.populations[max(row, column), min(row, column)]
        population = population if row > column else population.T
        norm = square_root(float(population.max()))
        ax.set(xlim=(extent.left, extent.right), ylim=(extent.bottom, extent.top))
        if row < column or self.is_one_sided:
            draw_image(ax, population, extent, norm)
            self._curves(ax, population, extent, self.n_population, POPULATION)
        else:
            if self.counts is not None:
                draw_image(ax, self.counts.density_over(row, column), extent, norm)
            if self.expected is not None:
                # a cell holds some hundreds of drawn objects: smoothing over a neighbour takes out their scatter
                smooth = gaussian_filter(self.expected.density_over(row, column), 1.0, mode="constant")
                self._curves(ax, smooth, extent, self.expected.weight, SEEN)
        confidence_ellipses(self.shown.model.mixture, ax, features=pair, levels=self.levels)
        draw_edges(self.shown, ax, extent, features=pair)

    def _curves(self, ax: "Axes", values: np.ndarray, extent: Extent, n: float, colour: str) -> None:
        """Of densities (b, b) of n objects."""
        area = (extent.right - extent.left) * (extent.top - extent.bottom) / values.size
        curves(values, ax, extent, levels=self.contours, whole=n / area, colour=colour)

    def dress(self, ax: "Axes", row: int, column: int) -> None:
        """Axes in one style: names below the last row and left of the first column; right of the last one, too, where
        nothing else names the first feature upright."""
        last = len(self.chosen) - 1
        dress(ax)
        if row == last:
            ax.set_xlabel(self.shown.label(self.chosen[column]), fontsize=8)
        else:
            ax.tick_params(labelbottom=False)
        if row == column:
            ax.set_yticks([])
        elif column in (0, last):
            ax.set_ylabel(self.shown.label(self.chosen[row]), fontsize=8)
            if column == last:
                ax.yaxis.set_label_position("right")
                ax.yaxis.tick_right()
        else:
            ax.tick_params(labelleft=False)


def _extent(edges: Float[np.ndarray, "f edges"], row: int, column: int) -> Extent:
    return Extent(*edges[column, [0, -1]].tolist(), *edges[row, [0, -1]].tolist())


def _coarser(window: Float[np.ndarray, "f 2"], n_rows: int) -> Float[np.ndarray, "f coarse"]:
    """Of cells in the same window that hold some eight of a catalogue's objects, where these fill it."""
    return Cells.even(window, int(np.clip(np.sqrt(n_rows / 8), 12, CELLS))).edges


def _middles(edges: np.ndarray) -> np.ndarray:
    return np.asarray((edges[1:] + edges[:-1]) / 2)
