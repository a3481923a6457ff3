"""choice_figure(): a criterion against the number of components."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.errors import StoreError
from dgmmis.model_selection import Choice, Criterion
from dgmmis.plotting.layers import require_matplotlib
from dgmmis.plotting.palette import QUIET
from dgmmis.plotting.written import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6f8b", "#c8553d", "#6a994e", "#8d6a9f")
"""Of the structures, in their order."""

BEST = "#1a1a1a"


def choice_figure(choice: Choice | Mapping[str, Any]) -> "Figure":
    """The criterion of each model against its number of components, a line for each structure.

    Error bars are those of the difference to the best, which has none and a ring. A cross instead of a dot marks what
    did not settle, or has components that collapsed or starved; what could not be fitted is not there.

    Args:
        choice: as `select` returns it, or its document, as `chosen.read_choice` finds it beside a run.

    Raises:
        StoreError: a document that is damaged.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    criterion, entries, best = _compared(choice.document() if isinstance(choice, Choice) else choice)
    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    ax = figure.subplots()
    for structure, colour in zip(dict.fromkeys(entry["covariance_type"] for entry in entries), COLOURS, strict=False):
        _line(ax, [entry for entry in entries if entry["covariance_type"] == structure], colour)
    ax.plot(best["n_components"], best["value"], "o", mfc="none", mec=BEST, ms=13, mew=1.4, label="_best")
    words = criterion.words.removeprefix("the ")
    ax.set_ylabel(f"{words} per object" if criterion.is_held_out else words, fontsize=9)
    ax.set_xlabel("components", fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=8, length=3, color=QUIET, labelcolor=QUIET)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, title="covariances", title_fontsize=8)
    ax.set_title(f"best: {best['n_components']} {best['covariance_type']}", loc="left", fontsize=9, fontweight="bold")
    return figure


def write_choice_figure(path: Path, choice: Choice) -> None:
    """Write the picture to a file, in the place of the one that is there; its name says of what kind.

    Raises:
        StoreError: the disk refuses.
    """
    write_figure(path, choice_figure(choice))


def _compared(document: Mapping[str, Any]) -> tuple[Criterion, list[dict[str, Any]], dict[str, Any]]:
    """The criterion, the models that have a value of it, and the best of them."""
    try:
        criterion = Criterion(**document["criterion"])
        name = criterion.name.replace("-", "_")
        entries = [{**entry, "value": entry[name]} for entry in document["table"] if entry[name] is not None]
        for entry in entries:
            entry["marked"] = bool(entry["repairs"]) or not entry["converged"] or entry["log_likelihood"] is None
            entry["error"] = entry["worse_error"] or 0.0
            float(entry["n_components"] + entry["value"] + entry["error"])
        chosen = (document["n_components"], document["covariance_type"])
        best = next(entry for entry in entries if (entry["n_components"], entry["covariance_type"]) == chosen)
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise StoreError("the table of the choice is damaged", got=repr(error), do="select again") from error
    return criterion, entries, best


def _line(ax: "Axes", entries: Sequence[Mapping[str, Any]], colour: str) -> None:
    x, y, errors = (np.array([entry[of] for entry in entries]) for of in ("n_components", "value", "error"))
    marked, name = np.array([entry["marked"] for entry in entries]), entries[0]["covariance_type"]
    ax.errorbar(x, y, yerr=errors, color=colour, lw=1.2, elinewidth=0.8, capsize=2, label=name)
    ax.plot(x[~marked], y[~marked], "o", color=colour, ms=4, label=f"_{name} sound")
    ax.plot(x[marked], y[marked], "x", color=colour, ms=6, mew=1.5, label=f"_{name} marked")
