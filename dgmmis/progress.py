"""Progress on stderr: a live line on a terminal, plain lines in a log, nothing for work that is done in a second."""

import math
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from dgmmis.account import seconds_left
from dgmmis.callback import Callback, Record, Step
from dgmmis.model import Model

PATIENCE = 1.0
"""Seconds before anything is shown."""

INTERVAL = 2.0
"""Seconds between lines of a log."""


class Progress(Callback):
    """Shows each pass: iteration, objective, gain, completeness, background, seconds, time remaining."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._records: list[Record] = []
        self._started = self._shown = time.monotonic()
        self._max_iter, self._tol = 0, 0.0

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        del model
        self._started = time.monotonic()
        self._shown = self._started + PATIENCE - INTERVAL
        self._max_iter, self._tol = max_iter, tol

    def on_step(self, step: Step) -> None:
        self._records.append(step.record)
        now = time.monotonic()
        if now - self._shown < (0.1 if self._live else INTERVAL) or now - self._started < PATIENCE:
            return
        self._show(f"{line(step.record)}  {self._remaining()}")

    def on_end(self, sentence: str) -> None:
        if self._records and time.monotonic() - self._started >= PATIENCE:
            self._show(line(self._records[-1]))
            self._stream.write(("\n" if self._live else "") + sentence + "\n")
            self._stream.flush()

    def _show(self, text: str) -> None:
        self._shown = time.monotonic()
        if self._live:
            text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write(f"\r\x1b[2K{text}" if self._live else f"{text}\n")
        self._stream.flush()

    def _remaining(self) -> str:
        of_last = [r for r in self._records if r.candidate == self._records[-1].candidate]
        seconds = seconds_left(of_last, self._max_iter, self._tol)
        return "" if seconds is None else f"about {seconds:.0f} s left"


def line(record: Record) -> str:
    """A record in one line."""
    parts = [record.candidate] if record.candidate else []
    parts += [f"pass {record.iteration:4d}", f"objective {record.objective:.7f}"]
    parts.append(f"gain {record.gain:9.2e}" if math.isfinite(record.gain) else f"round {record.round:3d}")
    if math.isfinite(record.distance):
        parts.append(f"{record.distance:.2g} sigma to go")
    if record.completeness < 1:
        parts.append(f"completeness {record.completeness:.4f}")
    if record.background_fraction > 0:
        parts.append(f"background {record.background_fraction:.4f}")
    parts.append(f"{record.seconds:.2f} s")
    return "  ".join(parts)


@contextmanager
def bar(what: str, *, shown: bool = True) -> Iterator[Any]:
    """A callback (rows done, rows in all or None) that draws a bar on a terminal, and lines in a log, on stderr."""
    if not shown:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        last = [time.monotonic() + PATIENCE - INTERVAL]

        def show(done: int, total: int | None) -> None:
            if time.monotonic() - last[0] >= INTERVAL:
                last[0] = time.monotonic()
                of = f" of {total:,}" if total else ""
                sys.stderr.write(f"{what}: {done:,}{of} rows\n")

        yield show
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
