"""What goes wrong when an effect is ignored? One survey with everything at once, fitted with one effect left out.

    python examples/what_goes_wrong.py [PICTURE] [--objects N]

Prints how far each fit is off in units of the standard errors that dgmmis states, and draws a panel for each effect
(`one_effect_ignored` has the survey and the fits). Half a minute on two cores.
"""

import argparse
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from one_effect_ignored import PARAMETERS, TRUTH, Catalogue, Comparison, Effect, seen, simulate

from dgmmis import GaussianMixture
from dgmmis.plotting import confidence_ellipses

PALE, INK, GREY = "#9fc9ff", "#f4f1ea", "#8a8a8a"
WRONG, RIGHT, NIGHT = "#ff8a4c", "#5fe3d0", "#0b0710"
LEFT, BOTTOM, SIDE = -5.1, -4.8, 9.3
"""The window, a square."""

SHOWN = 24
"""Objects whose errors are drawn."""


def main(picture: Path | None, n_objects: int) -> None:
    catalogue = simulate(n_objects)
    say = sys.stdout.write
    say(f"{n_objects:,} objects, {len(catalogue.points):,} of them in the catalogue")
    say(f", {np.sum(~catalogue.complete):,} of these incomplete\n\n")
    comparison = Comparison.of(catalogue)
    say(comparison.table() + "\n\noff: (estimate - truth) / standard error of dgmmis. ")
    say(f"Of {len(PARAMETERS)} parameters that are all right, the worst is off by about 2.\n")
    dropped = comparison.without[-1][1].standard_errors_.means / comparison.everything.standard_errors_.means
    say(f"Dropping incomplete rows makes the errors of the means {dropped.mean():.2f} times as large.\n")
    if picture is not None:
        draw(catalogue, comparison, picture)
        say(f"\npicture: {picture}\n")


def draw(catalogue: Catalogue, comparison: Comparison, picture: Path) -> None:
    """A panel for each effect."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(10.0, 8.05), dpi=110)
    figure.subplots_adjust(left=0.045, right=0.995, top=0.925, bottom=0.1, wspace=0.05, hspace=0.26)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for ax, (effect, gm) in zip(panels.flat, comparison.without, strict=False):
        _dress(ax, effect)
        ax.plot(*catalogue.points[catalogue.complete].T, ".", color=INK, markersize=2.2, alpha=0.4, markeredgewidth=0)
        _blue(ax, catalogue, effect)
        y = np.array([BOTTOM, BOTTOM + SIDE])
        ax.plot(1.0 - 0.4 * y, y, ":", color=PALE, linewidth=1.2)
        _ellipses(ax, TRUTH, INK, linewidths=5.0, alpha=0.5)
        _ellipses(ax, comparison.everything.mixture_, RIGHT, linewidths=1.5, alpha=1.0)
        _ellipses(ax, gm.mixture_, WRONG, linewidths=1.6, alpha=1.0, linestyles="--")
        worst = comparison.worst(gm)
        found, known, true = (worst.written(value) for value in (worst.found, worst.known, worst.true))
        _say(ax, 2, f"{worst.name}: {true} in truth", INK)
        _say(ax, 1, f"ignored: {found}, {abs(worst.off):.0f} standard errors off", WRONG)
        _say(ax, 0, f"dgmmis: {known}, {abs(worst.known_off):.1f} off", RIGHT)
    for ax in panels[1]:
        ax.set_xlabel("x", fontsize=9, color="#444444", labelpad=0)
    for ax in panels[:, 0]:
        ax.set_ylabel("y", fontsize=9, color="#444444", labelpad=0)
    _legend(figure)
    buffer = BytesIO()
    figure.savefig(buffer)
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(picture, optimize=True)


def _blue(ax: Any, catalogue: Catalogue, effect: Effect) -> None:
    """What the fit ignores, in pale blue."""
    from matplotlib.collections import EllipseCollection, LineCollection

    x, y, selected = catalogue.true, catalogue.measured, catalogue.selected
    near = (np.abs(y[:, 0]) < 3.2) & (y[:, 1] > -2.0) & (y[:, 1] < 2.6)
    dots = {"color": PALE, "markersize": 2.2, "alpha": 0.5, "markeredgewidth": 0}

    def circles(which: np.ndarray) -> None:
        rows = np.flatnonzero(which)[:SHOWN]
        size = 2 * catalogue.sigma[rows]
        style = {"facecolors": "none", "edgecolors": PALE, "linewidths": 0.8, "alpha": 0.8}
        round_them = EllipseCollection(
            size, size, 0, units="xy", offsets=y[rows], offset_transform=ax.transData, **style
        )
        ax.add_collection(round_them)
        ax.plot(*y[rows].T, ".", color=PALE, markersize=3)

    match effect.name:
        case "Noise of each object":
            circles(selected & near)
        case "Noise of the unseen":
            circles(~selected & near & (y[:, 0] > 0))
        case "Selection":
            ax.plot(*y[~selected].T, ".", **dots)
            for words, place, side in (("95 % seen", -0.75, "right"), ("5 % seen", 0.0, "left")):
                ax.text(place, BOTTOM + 0.94 * SIDE, words, color=PALE, fontsize=8, ha=side, path_effects=_outline())
        case "Missing values":
            ax.plot(*catalogue.filled[~catalogue.complete].T, ".", **dots)
        case "Background":
            ax.plot(*y[selected & catalogue.behind].T, ".", **dots | {"markersize": 3.2, "alpha": 1.0})
        case "What was selected on":
            rows = np.flatnonzero(selected & near & (seen(y) > 0.5) & (seen(x) < 0.2))[:SHOWN]
            paths = np.stack([x[rows], y[rows]], axis=1)
            ax.add_collection(LineCollection(paths, colors=PALE, linewidths=0.9, alpha=0.8))
            ax.plot(*y[rows].T, ".", color=PALE, markersize=5)


def _ellipses(ax: Any, mixture: GaussianMixture, colour: str, **style: Any) -> None:
    """Two sigma of each component."""
    for drawn in confidence_ellipses(mixture, ax, sigmas=[2.0], colour=colour):
        drawn.set(**style)


def _dress(ax: Any, effect: Effect) -> None:
    ax.set_title(effect.name, loc="left", fontsize=11, fontweight="bold", pad=32)
    for line, words in enumerate((f"ignored: \u201c{effect.belief}\u201d", f"blue: {effect.shown}")):
        place = (0, 18 - 13 * line)
        ax.annotate(words, (0, 1), place, "axes fraction", textcoords="offset points", fontsize=9, color="#444444")
    ax.set(xlim=(LEFT, LEFT + SIDE), ylim=(BOTTOM, BOTTOM + SIDE), facecolor=NIGHT, aspect="equal")
    ax.tick_params(labelsize=7.5, length=2, color=GREY, labelcolor=GREY)
    ax.spines[:].set_visible(False)


def _say(ax: Any, line: int, words: str, colour: str) -> None:
    """Words in the lower left corner, lines counted from below."""
    place = (0.025, 0.025 + 0.052 * line)
    ax.text(*place, words, color=colour, fontsize=9, transform=ax.transAxes, path_effects=_outline())


def _outline() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3, foreground=NIGHT)]


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    entries = (
        ("catalogue", {"marker": ".", "linestyle": "none", "color": INK}),
        ("half of the objects seen", {"linestyle": ":", "color": PALE, "linewidth": 1.4}),
        ("truth (two sigma)", {"color": "#8e8b87", "linewidth": 5.0}),
        ("fit that ignores the effect", {"color": WRONG, "linewidth": 1.8, "linestyle": "--"}),
        ("dgmmis, with everything", {"color": RIGHT, "linewidth": 1.8}),
    )
    handles = [Line2D([], [], label=label, **style) for label, style in entries]
    legend = figure.legend(handles=handles, loc="lower center", ncols=5, fontsize=9, labelcolor=INK, columnspacing=1.6)
    legend.get_frame().set(facecolor=NIGHT, edgecolor="none", alpha=1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What goes wrong when an effect is ignored?")
    parser.add_argument("picture", nargs="?", type=Path, help="where to draw it; none: the table only")
    parser.add_argument("--objects", type=int, default=12_000, help="how many to simulate, before selection")
    given = parser.parse_args()
    main(given.picture, given.objects)
