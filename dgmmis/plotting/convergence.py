"""convergence_figure(): how a fit came to its end, pass by pass."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.callback import Record
from dgmmis.dataset.checkpoint import Run
from dgmmis.em import Stopping
from dgmmis.errors import DataError, StoreError
from dgmmis.fit import Fit
from dgmmis.job import stopping_of
from dgmmis.plotting.layers import require_matplotlib
from dgmmis.plotting.palette import LINE, LOSS, QUIET
from dgmmis.spent import Spent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def convergence_figure(fitted: Run | Fit | Sequence[Record]) -> "Figure":
    """The passes of a fit: the objective; its gain, crosses where it was a loss; the distance from the maximum in
    statistical errors, and how close is close enough, by a run's job or else by default; the completeness within its
    Monte-Carlo error, and the background fraction, where there are such.

    Vertical lines are where rounds begin: with other imputed points the objective is another one, and curves break off.

    Args:
        fitted: a run, a fit, or records of passes.

    Returns:
        A figure with panels one below the other.

    Raises:
        DataError: no passes.
        StoreError: a run whose history is damaged.
        JobError: a run whose job cannot be read.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    records = records_of(fitted)
    if not records:
        raise DataError("no passes to draw", do="give the records of a fit that has made one")
    drawn = [_objective, _gain, _distance]
    if any(record.completeness < 1 for record in records):
        drawn.append(_completeness)
    if any(record.background_fraction > 0 for record in records):
        drawn.append(_background)
    figure = Figure(figsize=(6.4, 0.7 + 1.4 * len(drawn)), dpi=160, layout="constrained")
    panels = figure.subplots(len(drawn), sharex=True, squeeze=False)[:, 0]
    rounds = rounds_of(records)
    panels[drawn.index(_distance)].axhline(_stopping(fitted).arrived, color=LOSS, lw=0.8, ls="--", label="_close")
    for ax, draw in zip(panels, drawn, strict=True):
        for part in rounds:
            draw(ax, part)
        for part in rounds[1:]:
            ax.axvline(part[0].iteration - 0.5, color=QUIET, lw=0.5, ls=":", label="_round")
        ax.tick_params(labelsize=7, length=2, color=QUIET, labelcolor=QUIET)
        ax.spines[["top", "right"]].set_visible(False)
        ax.yaxis.label.set_size(8)
    annotate_rounds(panels[0], rounds)
    panels[-1].set_xlabel("pass", fontsize=8)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def annotate_rounds(ax: "Axes", rounds: Sequence[Sequence[Record]]) -> None:
    """Say above a panel which round begins where, if there are several."""
    for part in rounds if len(rounds) > 1 else ():
        words = f"round {part[0].round}" if part is rounds[0] else str(part[0].round)
        at = (part[0].iteration, 1.0)
        ax.annotate(words, at, (0, 2), ax.get_xaxis_transform(), textcoords="offset points", fontsize=6)


def records_of(fitted: Run | Fit | Sequence[Record]) -> Sequence[Record]:
    """The passes of a run, of a fit, or as they are.

    Raises:
        StoreError: a run whose history is damaged.
    """
    if isinstance(fitted, Fit):
        return fitted.records
    if not isinstance(fitted, Run):
        return fitted
    try:
        return [_record(entry) for entry in fitted.document.get("history", [])]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError("the history of the run is damaged", got=repr(error), do="fit it again") from error


def _stopping(fitted: Run | Fit | Sequence[Record]) -> Stopping:
    """When the fit stopped, if its job says so."""
    text = fitted.document.get("job") if isinstance(fitted, Run) else None
    return stopping_of(text) if isinstance(text, str) else Stopping()


def _record(entry: Mapping[str, Any]) -> Record:
    """Of what a run keeps, in which numbers that are not finite are null."""
    values = {**entry, "repairs": tuple(entry.get("repairs", ())), "spent": Spent.of_document(entry.get("spent", {}))}
    for name in ("iteration", "round"):
        values[name] = int(values[name])
    for of in fields(Record):
        if of.type is float:
            values[of.name] = float("nan" if values[of.name] is None else values[of.name])
    return Record(**values)


def rounds_of(records: Sequence[Record]) -> list[list[Record]]:
    """Passes with the same imputed points, of the same candidate."""
    return [list(part) for _, part in groupby(records, lambda record: (record.candidate, record.round))]


def _line(ax: "Axes", part: Sequence[Record], name: str) -> None:
    passes, values = [record.iteration for record in part], [getattr(record, name) for record in part]
    ax.plot(passes, values, ".-", color=LINE, lw=1.0, ms=3, label=name)


def _objective(ax: "Axes", part: Sequence[Record]) -> None:
    _line(ax, part, "objective")
    ax.set_ylabel("objective\nper object")


def _gain(ax: "Axes", part: Sequence[Record]) -> None:
    passes, gains = np.array([record.iteration for record in part]), np.array([record.gain for record in part])
    losses = gains < 0
    ax.plot(passes, np.where(gains > 0, gains, np.nan), ".-", color=LINE, lw=1.0, ms=3, label="gain")
    ax.plot(passes[losses], -gains[losses], "x", color=LOSS, ms=4, label="loss")
    ax.set_yscale("log")
    ax.set_ylabel("gain\nper object")


def _distance(ax: "Axes", part: Sequence[Record]) -> None:
    passes, distances = [record.iteration for record in part], np.array([record.distance for record in part])
    known = np.where(np.isfinite(distances) & (distances > 0), distances, np.nan)
    ax.plot(passes, known, ".-", color=LINE, lw=1.0, ms=3, label="distance")
    ax.set_yscale("log")
    ax.set_ylabel("to the maximum\n[statistical errors]")


def _completeness(ax: "Axes", part: Sequence[Record]) -> None:
    _line(ax, part, "completeness")
    passes = [record.iteration for record in part]
    values, errors = (np.array([getattr(r, name) for r in part]) for name in ("completeness", "completeness_error"))
    ax.fill_between(passes, values - errors, values + errors, color=LINE, alpha=0.25, lw=0)
    ax.set_ylabel("completeness")


def _background(ax: "Axes", part: Sequence[Record]) -> None:
    _line(ax, part, "background_fraction")
    ax.set_ylabel("background\nfraction")
