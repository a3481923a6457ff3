"""membership_figure(): which component the objects belong to, and how surely."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue, as_catalogue
from dgmmis.execution.executor import in_order
from dgmmis.execution.serial import Threads
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.noise_classes import mean_noise
from dgmmis.plotting.layers import component_numbers, require_matplotlib
from dgmmis.plotting.palette import BACKGROUND, COMPONENTS, INK, QUIET, colour_numbers, rgb
from dgmmis.plotting.section import draw_edges
from dgmmis.plotting.shown import Fitted, Shown
from dgmmis.plotting.triangle import Triangle
from dgmmis.read_once import Reader, read_once
from dgmmis.scoring import score_rows
from dgmmis.survey import Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_CELL, FEWEST, MOST = 12.0, 16, 80
"""Objects in a cell, were they spread over all of them, and the cells along each axis."""

MOST_NUMBERS = 1 << 24
"""Sums that are kept, at most: 128 MB of them."""

UNSURE = (0.97, 0.97, 0.97)
"""What colours fade to."""

NAMED = 8
"""Components that are named in the legend; of more the numbers are at their means only."""


def membership_figure(
    fitted: Fitted,
    data: Catalogue | np.ndarray,
    *,
    features: Sequence[str | int] | None = None,
    survey: Survey | None = None,
    on_rows: Callable[[int, int | None], None] | None = None,
) -> "Figure":
    """Which component the objects in a place belong to, and how surely; the background, in grey, is one of them.

    Below the diagonal, in cells of two features: the colour is that of the component to which most of the objects there
    belong by their responsibilities (their noise, gaps and selection included), and fades with its share of them. Dark
    cells hold no object. On the diagonal: the objects of each component along one feature, on top of one another.
    Numbers are those of the components, at their means, the heavier first where there is no room for all; dashed lines
    the survey's edges, where Omega has any in the two features. Responsibilities are summed chunk by chunk.

    Args:
        fitted: a run, a fit, a model or a mixture.
        data: the catalogue, or an array (n, d).
        features: by name or number, one to six; None: all.
        survey: as for `corner_figure`.
        on_rows: called with the rows that were scored, and the rows in all.

    Returns:
        A figure with the panels of a triangle, row by row.

    Raises:
        JobError: features that are unknown, or more than six.
        RefusedError: data with projections; features that were never measured.
        ShapeError: a model that does not fit the data.
    """
    require_matplotlib()

    catalogue = as_catalogue(data)
    shown = Shown.of(fitted, catalogue, survey)
    chosen = shown.chosen(features)
    k, f = shown.model.mixture.n_components, len(chosen)
    room = np.sqrt(MOST_NUMBERS / ((k + 1) * max(1, f * (f - 1) // 2)))
    n_cells = int(min(np.clip(np.sqrt(shown.n_rows / PER_CELL), FEWEST, MOST), room))
    triangle = Triangle.of(shown, chosen, shown.core_window(chosen), n_cells)
    members = Members.of(catalogue, triangle, on_rows)
    figure, panels = triangle.panels()
    colours = np.vstack([rgb(COMPONENTS)[colour_numbers(shown.model.mixture)], rgb((BACKGROUND,))])
    for (i, j), ax in panels.items():
        if i == j:
            _along(ax, triangle.edges[i], members.along[i], colours)
        else:
            image = _faded(members.over[triangle.cells.pairs.index((i, j))], colours)
            box = triangle.extent(i, j).box
            ax.imshow(image, origin="lower", extent=box, aspect="auto", interpolation="nearest")
            draw_edges(shown, ax, triangle.extent(i, j), features=(chosen[j], chosen[i]))
            component_numbers(shown.model.mixture, ax, features=(chosen[j], chosen[i]))
    _legend(figure, list(panels.values()), colours, shown)
    return figure


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Sums of responsibilities, the background's last.

    Args:
        along: in the cells along each feature (f, b, k + 1).
        over: in those over each pair (m, b, b, k + 1).
    """

    along: Float[np.ndarray, "f b v"]
    over: Float[np.ndarray, "m b b v"]

    @classmethod
    def of(
        cls, data: Catalogue, triangle: Triangle, on_rows: Callable[[int, int | None], None] | None = None
    ) -> "Members":
        """Of the rows of a catalogue, chunk by chunk."""
        return read_once(data, [cls.reading(triangle)], on_rows=on_rows)[0]

    @classmethod
    def reading(cls, triangle: Triangle) -> Reader["Members"]:
        """The same of a reading that others share, by all cores of this machine."""
        shown, cells = triangle.shown, triangle.cells
        assert shown.typical is not None
        observing = Observing(
            shown.survey.completed(shown.typical, shown.model.mixture.n_features), mean_noise(shown.typical)
        )
        (f, edges), v = triangle.edges.shape, shown.model.mixture.n_components + 1
        total = cls(np.zeros((f, edges - 1, v)), np.zeros((len(cells.pairs), edges - 1, edges - 1, v)))
        with closing(Threads()) as executor:
            while (part := (yield)) is not None:
                leaves = part[1].leaf_chunks
                shares = in_order(executor, partial(_shares, shown.model, observing), leaves())
                for leaf, q in zip(leaves(), shares, strict=True):
                    cells.along(triangle.points(leaf.points), q, into=total.along)
                    cells.over(triangle.points(leaf.points), q, into=total.over)
        return total


def _shares(model: Model, observing: Observing, leaf: Chunk) -> Float[np.ndarray, "n v"]:
    """Of each row in the components, and in the background, by its weight."""
    scores = score_rows(model, leaf, observing)
    q = np.column_stack([scores.responsibilities, np.maximum(1 - scores.responsibilities.sum(axis=1), 0.0)])
    if model.background_fraction == 0:
        q[:, -1] = 0.0  # rounding
    q[np.isneginf(scores.log_density)] = 0.0  # which could not have been selected, and belong nowhere
    if leaf.weights is not None:
        q *= np.asarray(leaf.weights)[:, None]
    return q


def _faded(members: Float[np.ndarray, "b b v"], colours: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "b b 4"]:
    """The colour of the most probable of each cell, as strong as it is probable; transparent where nobody is."""
    whole = members.sum(axis=-1)
    share = members.max(axis=-1) / np.maximum(whole, 1e-300)
    least = _least(np.any(members[..., -1]), members.shape[-1] - 1)
    strength = np.clip((share - least) / (1 - least), 0.0, 1.0)[..., None]
    image = strength * colours[members.argmax(axis=-1)] + (1 - strength) * np.array(UNSURE)
    return np.concatenate([image, (whole > 0)[..., None].astype(float)], axis=-1)


def _least(has_background: bool | np.bool, k: int) -> float:
    """The share of the most probable where all are alike."""
    parts = k + bool(has_background)
    return 1 / parts if parts > 1 else 0.0


def _along(ax: "Axes", edges: np.ndarray, members: Float[np.ndarray, "b v"], colours: Float[np.ndarray, "v 3"]) -> None:
    """Stacked histograms, the background at the bottom."""
    order = [len(colours) - 1, *range(len(colours) - 1)]
    below = np.zeros(len(members))
    for one in order:
        if members[:, one].any():
            above = below + members[:, one]
            name = "background" if one == len(colours) - 1 else f"component {one}"
            ax.stairs(above, edges, baseline=below, fill=True, color=colours[one], label=name)
            below = above
    ax.set_ylim(0, None)
    ax.set_yticks([])


def _legend(figure: "Figure", panels: "Sequence[Axes]", colours: Float[np.ndarray, "v 3"], shown: Shown) -> None:
    """Beside the panels: components, background, and how colours fade."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Patch

    k = len(colours) - 1
    entries = [(f"component {number}", colours[number]) for number in range(k)] if k <= NAMED else []
    if shown.model.background_fraction > 0:
        entries.append(("background", colours[-1]))
    handles = [Patch(color=colour, label=name) for name, colour in entries]
    if len(panels) == 1:
        panels[0].legend(handles=handles, fontsize=6, frameon=False, labelcolor=INK)
        return
    figure.legend(handles=handles, fontsize=6, frameon=False, loc="upper right", labelcolor=QUIET)
    fading = ScalarMappable(cmap=LinearSegmentedColormap.from_list("fading", [UNSURE, tuple(colours[0])]))
    bar = figure.colorbar(
        fading,
        ax=list(panels),
        pad=0.02,
        shrink=0.5,
        anchor=(0.0, 0.2),
        aspect=max(20, 2 * len(panels)),
        ticks=[0.0, 1.0],
    )
    bar.ax.set_yticklabels([f"{_least(shown.model.background_fraction > 0, k):.2g}", "1"])
    bar.set_label("share of the most probable component", fontsize=7, color=QUIET)
    bar.ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
    bar.outline.set_visible(False)
