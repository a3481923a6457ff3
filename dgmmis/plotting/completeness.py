"""completeness_figure(): what a survey sees of the population, where, and of which components."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dgmmis.dataset.arrays import Catalogue, as_catalogue
from dgmmis.errors import RefusedError
from dgmmis.plotting.layers import component_numbers, confidence_ellipses, require_matplotlib
from dgmmis.plotting.palette import BACKGROUND, LINE, LOSS, NIGHT, QUIET
from dgmmis.plotting.section import draw_edges
from dgmmis.plotting.shown import Fitted, Shown
from dgmmis.plotting.triangle import Triangle
from dgmmis.read_once import Reader, read_once
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DRAWN = 1 << 19
"""Objects of the population among which the completeness is averaged."""

CELLS = 48
"""Along each feature."""

ENOUGH = 8.0
"""Effective number of objects below which a cell says nothing."""


def completeness_figure(
    fitted: Fitted,
    data: Catalogue | np.ndarray | None = None,
    *,
    features: Sequence[str | int] | None = None,
    survey: Survey | None = None,
    seed: int = 0,
) -> "Figure":
    """The share of the population's objects that the survey sees, by their true values.

    Below the diagonal, in cells of two features, and on it, against one: Omega averaged under the noise and over the
    other features, as they are distributed there. Bands on the diagonal are one and two Monte-Carlo errors. At the
    upper right: the completeness of each component and of the background, with its Monte-Carlo error; the line is that
    of the whole population. White cells hold next to nothing of the population, which says nothing there. Dashed lines
    are the survey's edges, where Omega has any in the two features.

    Args:
        fitted: a run, a fit, a model or a mixture.
        data: the catalogue, or an array (n, d); needed for a model and its survey.
        features: by name or number, one to six; None: all.
        survey: as for `corner_figure`.
        seed: of the objects of the population that are drawn.

    Returns:
        A figure with the panels of a triangle, row by row, and then that of the components.

    Raises:
        JobError: features that are unknown, or more than six; a survey of a model without data.
        RefusedError: a survey that sees everything; data or a fit with projections.
        ShapeError: a model that does not fit the data.
    """
    require_matplotlib()
    shown = Shown.of(fitted, None if data is None else as_catalogue(data), survey)
    return read_once(None, [completeness_drawing(shown, features=features, seed=seed)])[0]


def completeness_drawing(
    shown: Shown, *, features: Sequence[str | int] | None = None, seed: int = 0
) -> Reader["Figure"]:
    """Draw the same beside others who read the data along: this needs none of them."""
    yield from ()
    chosen = shown.chosen(features)
    if shown.survey.selection is None:
        raise RefusedError("this survey sees everything: its completeness is 1", do="give the survey that it has")
    if any(of.projection is not None for of in shown.noise_classes):
        raise RefusedError("the completeness of a survey with projections", do="draw its corner plot")
    triangle = Triangle.of(shown, chosen, shown.wide_window(chosen, seed=seed), CELLS)
    along, over, own = averages(triangle, seed=seed)
    figure, panels = triangle.panels(face="white", least=2)
    for (i, j), ax in panels.items():
        if i == j:
            _against(ax, triangle.cells.middles(i), along.of(i), named=i == 0)
        else:
            image = _map(ax, triangle, (i, j), over.of(triangle.cells.pairs.index((i, j))))
    f = len(chosen)
    grid = panels[0, 0].get_gridspec()
    assert grid is not None
    room = grid[: min(max(1, f // 2), 2), max((f + 1) // 2, f - 2) :]
    if f > 2:  # its words are within its room, for the layout does not know of them
        room = room.subgridspec(6, 8)[:5, 1:]
    beside = figure.add_subplot(room)
    beside.set_in_layout(f < 3)  # otherwise there is nothing but room around it
    _components(beside, own, shown)
    if f > 1:
        bar = figure.colorbar(image, ax=list(panels.values()), pad=0.02, shrink=0.6, location="right")
        bar.set_label("completeness", fontsize=7, color=QUIET)
        bar.ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
        bar.outline.set_visible(False)
    return figure


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Weighted averages of Omega in cells, and their Monte-Carlo errors.

    Args:
        sums: of w, w^2, w Omega, w^2 Omega, w^2 Omega^2 in the last axis.
    """

    sums: Float[np.ndarray, "... 5"]

    def of(self, number: int) -> "Averages":
        """Those of one feature, or of one pair."""
        return Averages(self.sums[number])

    @property
    def values(self) -> np.ndarray:
        """The averages; NaN where too few objects are."""
        w, squares, seen = (self.sums[..., i] for i in range(3))
        enough = w**2 >= ENOUGH * squares
        return np.where(enough & (w > 0), seen / np.where(w > 0, w, 1.0), np.nan)

    @property
    def errors(self) -> np.ndarray:
        """Their standard errors, by the scatter of Omega."""
        w, squares, _, of_seen, of_square = (self.sums[..., i] for i in range(5))
        z = self.values
        scatter = of_square - 2 * z * of_seen + z**2 * squares
        return np.asarray(np.sqrt(np.maximum(scatter, 0.0)) / np.where(w > 0, w, 1.0))


def averages(triangle: Triangle, *, seed: int) -> tuple[Averages, Averages, Averages]:
    """Along each feature, over each pair, and of each component, the background and all of them (k + 2,)."""
    k = triangle.shown.model.mixture.n_components
    (f, edges), m = triangle.edges.shape, len(triangle.cells.pairs)
    along, over, own = np.zeros((f, edges - 1, 5)), np.zeros((m, edges - 1, edges - 1, 5)), np.zeros((k + 2, 5))
    for x, q, omega, w in _population(triangle.shown, seed):
        first, second = np.stack([w, w * omega]), np.stack([w**2, w**2 * omega, w**2 * omega**2])
        terms = np.stack([first[0], second[0], first[1], second[1], second[2]], axis=1)
        along += triangle.cells.along(triangle.points(x), terms)
        over += triangle.cells.over(triangle.points(x), terms)
        shares = np.column_stack([q, np.ones(len(x))])
        own[:, [0, 2]] += (first @ shares).T
        own[:, [1, 3, 4]] += (second @ shares**2).T
    return Averages(along), Averages(over), Averages(own)


def _population(shown: Shown, seed: int) -> Iterator[tuple[Points, Float[np.ndarray, "n v"], Vector, Vector]]:
    """True values, shares of components and background, Omega, and how many each stands for: objects that are drawn, or
    the injections."""
    selection, k = shown.survey.selection, shown.model.mixture.n_components
    assert selection is not None
    if isinstance(selection, Injections):
        log_p = shown.model.log_density(selection.points)
        log_signal = np.log1p(-shown.model.background_fraction) + shown.model.mixture.log_density(selection.points)
        signal = np.exp(log_signal - log_p)[:, None]
        q = np.column_stack([signal * shown.model.mixture.responsibilities(selection.points), 1 - signal])
        yield selection.points, q, selection.found.astype(float), np.exp(log_p - selection.log_density)
        return
    for part in shown.seen(DRAWN, seed=seed, which="population"):
        omega = selection(part.positions if shown.survey.selection_on == "true" else part.points)
        yield part.positions, np.eye(k + 1)[part.labels], np.asarray(omega), np.ones(len(part))


def _against(ax: "Axes", x: Vector, averages: Averages, *, named: bool) -> None:
    """Completeness against one feature; the first panel says so at its left."""
    values, errors = averages.values, averages.errors
    ax.plot(x, values, color=LINE, lw=1.1, label="completeness")
    for times, alpha in ((1, 0.4), (2, 0.25)):
        low, high = np.maximum(values - times * errors, 0.0), np.minimum(values + times * errors, 1.0)
        ax.fill_between(x, low, high, color=LINE, alpha=alpha, lw=0, label=f"_{times} sigma")
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0.0, 0.5, 1.0])
    if named:
        ax.set_ylabel("completeness", fontsize=8)
    else:
        ax.yaxis.tick_right()
    ax.tick_params(labelright=not named, labelleft=named)


def _map(ax: "Axes", triangle: Triangle, pair: tuple[int, int], averages: Averages) -> "AxesImage":
    """Completeness over two features."""
    from matplotlib.patheffects import withStroke

    box = triangle.extent(*pair).box
    style: dict[str, Any] = {"vmin": 0.0, "vmax": 1.0, "cmap": "cividis", "aspect": "auto", "interpolation": "nearest"}
    image = ax.imshow(averages.values, origin="lower", extent=box, **style)
    features = (triangle.chosen[pair[1]], triangle.chosen[pair[0]])
    draw_edges(triangle.shown, ax, triangle.extent(*pair), features=features)
    mixture = triangle.shown.model.mixture
    for drawn in confidence_ellipses(mixture, ax, features=features, levels=[0.68]):
        drawn.set_path_effects([withStroke(linewidth=2.0, foreground=NIGHT)])
    component_numbers(mixture, ax, features=features)
    return image


def _components(ax: "Axes", own: Averages, shown: Shown) -> None:
    """Of each component, and of the background."""
    values, errors = own.values, own.errors
    k = len(values) - 2
    style: dict[str, Any] = {"fmt": "o", "ms": 3, "elinewidth": 0.9}
    ax.errorbar(np.arange(k), values[:k], yerr=errors[:k], color=LINE, **style, label="components")
    if shown.model.background_fraction > 0:
        ax.errorbar([k], values[k : k + 1], yerr=errors[k : k + 1], color=BACKGROUND, **style, label="background")
    ax.axhline(shown.completeness, color=LOSS, lw=0.8, ls="--", label="population")
    ax.set_title(f"the population: {shown.completeness:.4g}", loc="left", fontsize=7, color=QUIET)
    ax.set_xlabel("component", fontsize=8)
    ax.set_ylabel("completeness", fontsize=8)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xticks(np.unique(np.linspace(0, k - 1, min(k, 8)).round().astype(int)))  # the background has no number
    ax.set_xlim(-0.6, k + (0.6 if shown.model.background_fraction > 0 else -0.4))
    ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
    ax.spines[["top", "right"]].set_visible(False)
    if shown.model.background_fraction > 0:
        ax.legend(fontsize=6, frameon=False)
