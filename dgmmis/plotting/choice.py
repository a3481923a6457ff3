"""choice_figure(): a criterion against the number of components."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgmmis.model_selection import Choice, Entry
from dgmmis.plotting.layers import require_matplotlib
from dgmmis.plotting.written import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6f8b", "#c8553d", "#6a994e", "#8d6a9f")
"""Of the structures, in their order."""

BEST = "#1a1a1a"
QUIET = "#6b6b6b"


def choice_figure(choice: Choice) -> "Figure":
    """The criterion of each model against its number of components, a line for each structure.

    Error bars are those of the difference to the best, which has none and a ring. A cross instead of a dot marks what
    did not settle, or has components that collapsed or starved; what could not be fitted is not there.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    ax = figure.subplots()
    structures = list(dict.fromkeys(entry.covariance_type for entry in choice.table))
    for structure, colour in zip(structures, COLOURS, strict=False):
        _line(ax, choice, [entry for entry in choice.table if entry.covariance_type == structure], colour)
    criterion, best = choice.criterion, choice.entry
    ax.plot(best.n_components, best.value(criterion), "o", mfc="none", mec=BEST, ms=13, mew=1.4, label="_best")
    words = criterion.words.removeprefix("the ")
    ax.set_ylabel(f"{words} per object" if criterion.is_held_out else words, fontsize=9)
    ax.set_xlabel("components", fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=8, length=3, color=QUIET, labelcolor=QUIET)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, title="covariances", title_fontsize=8)
    ax.set_title(f"best: {best}", loc="left", fontsize=9, fontweight="bold")
    return figure


def write_choice_figure(path: Path, choice: Choice) -> None:
    """Write the picture to a file, in the place of the one that is there; its name says of what kind.

    Raises:
        StoreError: the disk refuses.
    """
    write_figure(path, choice_figure(choice))


def _line(ax: "Axes", choice: Choice, entries: list[Entry], colour: str) -> None:
    known = [entry for entry in entries if np.isfinite(entry.value(choice.criterion))]
    x = np.array([entry.n_components for entry in known])
    y = np.array([entry.value(choice.criterion) for entry in known])
    errors = np.array([0.0 if entry.worse is None else entry.worse.standard_error for entry in known])
    marked = np.array([bool(entry.mark) for entry in known], dtype=bool)
    name = entries[0].covariance_type
    ax.errorbar(x, y, yerr=np.nan_to_num(errors), color=colour, lw=1.2, elinewidth=0.8, capsize=2, label=name)
    ax.plot(x[~marked], y[~marked], "o", color=colour, ms=4, label=f"_{name} sound")
    ax.plot(x[marked], y[marked], "x", color=colour, ms=6, mew=1.5, label=f"_{name} marked")
