"""Progress: shows what goes on while it does."""

import contextvars
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from dgmmis.callback import Callback, Notice, Record, Step
from dgmmis.model import Model
from dgmmis.progress.activity import Activity
from dgmmis.progress.log_lines import LogLines
from dgmmis.progress.notebook import Notebook, is_notebook
from dgmmis.progress.stream import Stream, WholeLines
from dgmmis.progress.terminal import Terminal, is_terminal
from dgmmis.progress.words import Said, clock, line, of_record

PATIENCE = 1.0
"""Seconds before anything is shown."""

TICK = 0.25
"""Seconds between two looks at the clock."""


class Place(Protocol):
    """Where an activity is shown."""

    def show(self, activity: Activity, now: float) -> None:
        """Show it as it is now, if it is time to."""

    def say(self, text: str) -> None:
        """Something that stays."""

    def end(self, last: Sequence[Said], sentence: str) -> None:
        """A fit has ended: its last pass, if it is to be shown, and how."""

    def clear(self) -> None:
        """Take away what does not stay."""


class Progress(Callback):
    """Shows what is being done, each pass of a fit in numbers, and how long it may take: a few lines that change on a
    terminal, a table in a notebook, plain lines elsewhere.

    Within `with Progress() as progress:` it looks at the clock by itself, and what others write to stderr appears above
    it. As a callback alone it shows what it hears of when it does.

    Args:
        stream: where; None: the table of a notebook, or else stderr.
        patience: seconds before anything is shown.
        every_pass: say each pass in a line that stays, besides.
    """

    def __init__(self, stream: Stream | None = None, *, patience: float = PATIENCE, every_pass: bool = False) -> None:
        self._activity, self._patience, self._every_pass = Activity(), patience, every_pass
        self._place: Place
        self._stream = sys.stderr if stream is None else stream
        if stream is None and is_notebook():
            self._place = Notebook(patience)
        elif is_terminal(self._stream):
            self._place = Terminal(self._stream, patience)
        else:
            self._place = LogLines(self._stream, patience)
        self._lock = threading.RLock()
        self._record: Record | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._others: WholeLines | None = None

    def __enter__(self) -> "Progress":
        self._closed.clear()
        # a notebook tells by the context below which cell something is shown
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._tick,), name="dgmmis-progress", daemon=True)
        self._thread.start()
        if isinstance(self._place, Terminal) and self._stream is sys.stderr:
            self._others = sys.stderr = WholeLines(self._stream, self._write_above)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take away what does not stay, and show nothing any more."""
        self._closed.set()
        with self._lock:
            self._place.clear()
        if self._others is not None and sys.stderr is self._others:
            self._others.end()
            sys.stderr = self._others.stream
        if self._thread is not None:
            self._thread.join(timeout=1)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Room for somebody else to write to the terminal."""
        with self._lock:
            self._place.clear()
            yield

    def say(self, text: str) -> None:
        """Something that stays."""
        with self._lock:
            self._place.say(text)

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        self._activity.on_start(model, max_iter, tol)

    def on_step(self, step: Step) -> None:
        with self._lock:
            self._record = step.record
            self._activity.on_step(step)
            if self._every_pass:
                self._place.say(line(of_record(step.record)))
            self._show()

    def on_notice(self, notice: Notice) -> None:
        with self._lock:
            self._activity.on_notice(notice)
            self._show()

    def on_end(self, sentence: str) -> None:
        with self._lock:
            if self._record is not None and clock() - self._activity.began >= self._patience:
                is_said = self._every_pass or self._activity.n_fits is not None
                last = [] if is_said else of_record(self._record)
                self._place.end(last, sentence)
            self._record = None
            self._activity.on_end(sentence)

    def _write_above(self, lines: list[str]) -> None:
        with self.aside():
            self._stream.write("".join(f"{one}\n" for one in lines))
            self._stream.flush()

    def _show(self) -> None:
        if not self._closed.is_set():
            self._place.show(self._activity, clock())

    def _tick(self) -> None:
        while not self._closed.wait(TICK):
            with self._lock:
                self._show()
