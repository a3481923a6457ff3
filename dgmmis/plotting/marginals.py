"""marginals_figure(): each feature for itself, as it was seen and as it is, with errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dgmmis.dataset.arrays import Catalogue, as_catalogue
from dgmmis.goodness.counts import Counts, counting
from dgmmis.information import StandardErrors, n_directions
from dgmmis.plotting.band import errors_of_shown, expected_slopes, population_band
from dgmmis.plotting.layers import PIXELS, require_matplotlib
from dgmmis.plotting.lettering import literal
from dgmmis.plotting.palette import DUSK, LINE, LOSS, QUIET
from dgmmis.plotting.shown import Fitted, Shown
from dgmmis.plotting.triangle import Triangle
from dgmmis.read_once import Reader, read_once
from dgmmis.survey import Survey
from dgmmis.types import Vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = 1 << 19
"""Objects that stand for what the survey would see: less than a per cent of error in a typical cell."""

PER_CELL, FEWEST, MOST = 40.0, 12, 60
"""Objects in a cell, were they spread over all of them, and the number of cells."""


def marginals_figure(
    fitted: Fitted,
    data: Catalogue | np.ndarray,
    *,
    features: Sequence[str | int] | None = None,
    survey: Survey | None = None,
    errors: StandardErrors | None = None,
    seed: int = 0,
    on_rows: Callable[[int, int | None], None] | None = None,
) -> "Figure":
    """Each feature for itself. Left: the objects that were seen, counted chunk by chunk, with their Poisson errors, and
    what the model lets expect after noise, selection and gaps. Right: the density of the population.

    Bands are one and two standard errors of the curves, by the delta method from those of the parameters. They say how
    well the model is known, not how well it fits: for that, chi^2 is written over each panel, of the cells where five
    objects are expected at least. Models with more than 500 parameters have no bands, unless `errors` are given.

    Args:
        fitted: a run, a fit, a model or a mixture.
        data: the catalogue, or an array (n, d).
        features: by name or number, one to six; None: all.
        survey: as for `corner_figure`.
        errors: of the parameters (`uncertainty.errors_of` or `bootstrap`); None: those of a fit, or from some rows.
        seed: of the objects that are drawn to see what the survey would see.
        on_rows: called with the rows that were counted, and the rows in all.

    Returns:
        A figure with two panels for each feature, side by side.

    Raises:
        JobError: features that are unknown, or more than six.
        RefusedError: data with projections; a survey of injections, which do not say Omega at a point; features that
            were never measured.
        ShapeError: a model that does not fit the data.
    """
    require_matplotlib()
    catalogue = as_catalogue(data)
    shown = Shown.of(fitted, catalogue, survey)
    drawing = marginals_drawing(fitted, shown, features=features, errors=errors, seed=seed)
    return read_once(catalogue, [drawing], on_rows=on_rows)[0]


def marginals_drawing(
    fitted: Fitted,
    shown: Shown,
    *,
    features: Sequence[str | int] | None = None,
    errors: StandardErrors | None = None,
    seed: int = 0,
) -> Reader["Figure"]:
    """Read the data along, and draw the same."""
    from matplotlib.figure import Figure

    chosen = shown.chosen(features)
    shown.require_foreseen()
    n_cells = int(np.clip(shown.n_rows / PER_CELL, FEWEST, MOST))
    triangle = Triangle.of(shown, chosen, shown.core_window(chosen), n_cells)
    counts = yield from counting(triangle.edges, features=chosen)
    drawn = shown.expected(triangle.edges, features=chosen, n=DRAWN, seed=seed)
    errors = errors or errors_of_shown(fitted, shown, counts.weight, seed=seed)
    slopes = None if errors is None else expected_slopes(triangle, seed=seed)
    f, window = len(chosen), shown.wide_window(chosen, seed=seed)
    figure = Figure(figsize=(7.2, 0.9 + 1.9 * f), dpi=160, layout="constrained")
    panels = figure.subplots(f, 2, squeeze=False, gridspec_kw={"width_ratios": [1.5, 1.0]})
    for i in range(f):
        of_curve = None if slopes is None or errors is None else errors.of(slopes[i])
        _seen(panels[i, 0], Marginal.of(counts, drawn, i, of_curve))
        _population(panels[i, 1], shown, chosen[i], window[i], errors)
        for ax in panels[i]:
            _dress(ax, shown.label(chosen[i]))
        panels[i, 0].set_xlim(*triangle.edges[i, [0, -1]].tolist())
        panels[i, 1].set_xlim(*window[i].tolist())
        unit = literal(shown.units[chosen[i]])
        panels[i, 0].set_ylabel(f"objects per {unit}" if unit else "objects per unit", fontsize=8)
        panels[i, 1].set_ylabel("share per unit" if not unit else f"share per {unit}", fontsize=8)
    unsure = "" if errors is not None else f": no errors, of {n_directions(shown.model):,} parameters"
    panels[0, 1].set_title(f"the population{unsure}", loc="left", fontsize=7, color=QUIET)
    panels[0, 0].legend(fontsize=6, edgecolor="none", framealpha=0.7)
    return figure


@dataclass(frozen=True, slots=True, eq=False)
class Marginal:
    """One feature: objects per unit in each of b cells.

    Args:
        edges: of the cells (b + 1,).
        observed, observed_error: what was counted, and its Poisson error (b,).
        expected: by the model (b,).
        expected_error: by the errors of its parameters (b,); None: not known.
        chance: the error (b,) of the difference if the model is right: of a count of what is expected, and of the
            objects that were drawn to find it.
    """

    edges: Float[np.ndarray, " edges"]
    observed: Vector
    observed_error: Vector
    expected: Vector
    expected_error: Vector | None
    chance: Vector

    @classmethod
    def of(cls, counts: Counts, drawn: Counts, i: int, of_share: Vector | None) -> "Marginal":
        """Of the i-th feature that was counted; `of_share`: the errors of the shares of all that lie in its cells."""
        measured, per_draw = counts.measured[i, i], counts.measured[i, i] / max(drawn.measured[i, i], 1.0)
        expected, of_weight = per_draw * drawn.along[i], counts.squares / counts.weight
        chance = np.sqrt(of_weight * np.maximum(expected, of_weight) + per_draw**2 * drawn.along[i])
        # those that lack the feature are shared out among the others
        scale = counts.weight / max(measured, 1e-300) / counts.widths[i]
        return cls(
            counts.edges[i],
            scale * counts.along[i],
            scale * np.sqrt(of_weight * counts.along[i]),
            scale * expected,
            None if of_share is None else scale * measured * of_share,
            scale * chance,
        )

    @property
    def chi_square(self) -> tuple[float, int]:
        """Of the differences in the cells where they are normal, and the number of these."""
        judged = self.expected >= np.sqrt(5.0) * self.chance
        return float(np.sum(((self.observed - self.expected) / self.chance)[judged] ** 2)), int(judged.sum())


def _seen(ax: "Axes", marginal: Marginal) -> None:
    x = (marginal.edges[1:] + marginal.edges[:-1]) / 2
    there = marginal.observed > 0
    bars: dict[str, Any] = {
        "fmt": ".",
        "color": DUSK,
        "ms": 3,
        "elinewidth": 0.8,
        "zorder": 3,
        "label": "seen, with Poisson errors",
    }
    ax.errorbar(x[there], marginal.observed[there], yerr=marginal.observed_error[there], **bars)
    _curve(ax, x, marginal.expected, marginal.expected_error, colour=LINE, label="expected to be seen")
    square, n = marginal.chi_square
    ax.set_title(f"chi² {square:,.0f} in {n:,} cells", loc="left", fontsize=7, color=QUIET)


def _population(ax: "Axes", shown: Shown, feature: int, window: Vector, errors: StandardErrors | None) -> None:
    model = shown.model
    x = np.linspace(window[0], window[1], PIXELS)
    points = np.full((len(x), model.mixture.n_features), np.nan)  # what is not measured is marginalised
    points[:, feature] = x
    band = None if errors is None else population_band(model, points, errors)
    _curve(ax, x, np.exp(model.log_density(points)), band, colour=LOSS, label="population")


def _curve(ax: "Axes", x: Vector, y: Vector, errors: Vector | None, *, colour: str, label: str) -> None:
    """A curve with bands of one and two standard errors."""
    ax.plot(x, y, color=colour, lw=1.1, label=label)
    for times, alpha in ((1, 0.3), (2, 0.18)) if errors is not None else ():
        assert errors is not None
        low = np.maximum(y - times * errors, 0.0)
        ax.fill_between(x, low, y + times * errors, color=colour, alpha=alpha, lw=0, label=f"_{times} sigma")


def _dress(ax: "Axes", name: str) -> None:
    ax.set_ylim(0, None)
    ax.set_xlabel(name, fontsize=8)
    ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
    ax.locator_params(nbins=5)
    ax.spines[["top", "right"]].set_visible(False)
