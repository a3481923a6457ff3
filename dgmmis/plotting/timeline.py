"""timeline_figure(): where the time of a fit went, pass by pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dgmmis.callback import Record
from dgmmis.costs import KINDS
from dgmmis.dataset.checkpoint import Run
from dgmmis.errors import DataError
from dgmmis.fit import Fit
from dgmmis.plotting.convergence import QUIET, annotate_rounds, records_of, rounds_of
from dgmmis.plotting.layers import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"compute": "#1f6f8b", "read": "#7fb7be", "reduce": "#d9a441", "driver": "#c8553d"}
"""Of the kinds, from the bottom to the top."""

UNKNOWN = "#d8d8d8"


def timeline_figure(fitted: Run | Fit | Sequence[Record]) -> "Figure":
    """Where the time of a fit went: the seconds from one record to the next, on a logarithmic axis; and their shares,
    stacked.

    A bar is as wide as the passes it covers: one whose step was refused has no record of its own. Pale bars, and open
    circles, are passes whose readings an earlier sitting made, as long as they took then; grey ones are those of which
    that is not known. Vertical lines are where rounds begin. What was done before the first pass is not shown.

    Args:
        fitted: a run, a fit, or records of passes.

    Returns:
        A figure with two panels, one below the other.

    Raises:
        DataError: no passes, or none whose times are known.
        StoreError: a run whose history is damaged.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

    records = records_of(fitted)
    if not any(record.spent.tasks for record in records):
        raise DataError("no times of passes to draw", do="fit again: this version notes where the time goes")
    figure = Figure(figsize=(6.4, 4.4), dpi=160, layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(2, 3))
    edges = _edges(records)
    for part in rounds_of(records)[1:]:
        for ax in (above, below):
            ax.axvline(edges[records.index(part[0])], color=QUIET, lw=0.5, ls=":", label="_round", zorder=3)
    _seconds(above, records, edges)
    _shares(below, records, edges)
    annotate_rounds(above, rounds_of(records))
    for ax in (above, below):
        ax.tick_params(which="both", labelsize=7, length=2, color=QUIET, labelcolor=QUIET)
        ax.spines[["top", "right"]].set_visible(False)
        ax.yaxis.label.set_size(8)
    above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    above.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    above.yaxis.set_minor_formatter(NullFormatter())
    below.yaxis.set_major_formatter(PercentFormatter(1.0))
    below.set(xlim=(edges[0], edges[-1]), ylim=(0, 1))
    below.set_xlabel("pass", fontsize=8)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    pairs = zip(*below.get_legend_handles_labels(), strict=True)
    handles, labels = zip(*sorted(pairs, key=lambda pair: pair[1].startswith("pale")), strict=True)
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return figure


def _edges(records: Sequence[Record]) -> np.ndarray:
    """Where bars end: half a pass after the number of each; of several candidates one after the other."""
    numbers = np.array([record.iteration for record in records])
    if np.any(np.diff(numbers) <= 0):
        numbers = np.arange(len(records))
    return np.concatenate([[min(-0.5, numbers[0] - 0.5)], numbers + 0.5])


def _seconds(ax: "Axes", records: Sequence[Record], edges: np.ndarray) -> None:
    seconds = np.array([record.spent.seconds for record in records])
    known = np.array([record.spent.tasks > 0 for record in records])
    open_ones = np.array([record.spent.replayed > 0 for record in records])
    middles = (edges[1:] + edges[:-1]) / 2
    ax.plot(middles, np.where(known, seconds, np.nan), "-", color=QUIET, lw=0.7, label="seconds")
    for chosen, face, label in ((known & ~open_ones, QUIET, "now"), (known & open_ones, "white", "then")):
        ax.plot(middles[chosen], seconds[chosen], "o", color=QUIET, mfc=face, ms=2.5, label=label)
    ax.set_yscale("log")
    ax.set_ylabel("seconds")


def _shares(ax: "Axes", records: Sequence[Record], edges: np.ndarray) -> None:
    known = np.array([record.spent.tasks > 0 for record in records])
    pale = np.array([record.spent.replayed > 0 for record in records])
    whole = np.array([record.spent.seconds for record in records])
    whole[whole <= 0] = 1.0
    bottom = lowest = np.zeros(len(records))
    total = whole[known].sum()
    for kind, colour in COLOURS.items():
        seconds = np.array([getattr(record.spent, kind) for record in records])
        height = np.where(known, seconds / whole, 0.0)
        for chosen, alpha in ((known & ~pale, 1.0), (known & pale, 0.45)):
            if not chosen.any():
                continue
            label = f"{KINDS[kind]} ({seconds[known].sum() / total:.0%})"
            if alpha < 1 and not np.array_equal(known, known & pale):
                label = "pale: what an earlier sitting took" if bottom is lowest else "_pale"
            ax.bar(
                edges[:-1][chosen],
                height[chosen],
                np.diff(edges)[chosen],
                bottom[chosen],
                align="edge",
                color=colour,
                alpha=alpha,
                lw=0,
                label=label,
            )
        bottom = bottom + height
    if not known.all():
        lost = ~known
        ax.bar(edges[:-1][lost], 1.0, np.diff(edges)[lost], align="edge", color=UNKNOWN, lw=0, label="not known")
    ax.set_ylabel("share")
