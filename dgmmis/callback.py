"""Events out: what happens during a fit, as frozen values, to callbacks that may do nothing, keep, show or save."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dgmmis.chunk import Chunk
from dgmmis.model import Model
from dgmmis.spent import Spent

TIMES = ("seconds", "spent")
"""Entries of a record that differ from run to run; all others are the same to the bit."""


@dataclass(frozen=True, slots=True)
class Record:
    """One pass over the data, in numbers.

    Args:
        iteration: number of the pass, from 0.
        round: of imputed points; 0 without selection.
        objective: mean over objects of log p(y_n) - log Z, plus the log prior over N.
        gain: of the objective since the pass before (NaN for the first of a round).
        distance: from where the maximum is expected, in standard errors of the function of the parameters that is
            furthest off; infinite before it is known.
        log_likelihood: mean per object, normalised under selection.
        completeness: Z; 1 without selection.
        completeness_error: its Monte-Carlo standard error.
        background_fraction: nu.
        n_samples: sum of the weights of the observed objects.
        seconds: that the pass took.
        candidate: which of several fits side by side it is of; empty for the only one.
        repairs: sentences about components that collapsed or starved in the last M-step.
        spent: where the time went since the record before, passes that were refused and what is done between passes
            included: as much as `seconds`, or more.
    """

    iteration: int
    round: int
    objective: float
    gain: float
    distance: float
    log_likelihood: float
    completeness: float
    completeness_error: float
    background_fraction: float
    n_samples: float
    seconds: float
    repairs: tuple[str, ...] = ()
    candidate: str = ""
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A record, and the model it is about."""

    record: Record
    model: Model


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """Something that operators are told of, beside the passes.

    Args:
        event: "start", "checkpoint", "begins again", "faults", "candidate", "taken in", "arrived", or the outcome of a
            `reprocess`; "doing", where something begins that may take a while; "rows", of what goes through rows once
            (`Counting`).
        values: about it, as JSON values.
        level: "info", "warning" or "error".
    """

    event: str
    values: Mapping[str, Any] = field(default_factory=dict)
    level: str = "info"


def doing(what: str, **about: Any) -> Notice:
    """What is done from now on, in a few words, until the next of its kind, or a pass; empty: nothing to speak of."""
    return Notice("doing", {"what": what, **about})


class Callback:
    """Receives events; every method may be left as it is."""

    def on_sample(self, sample: Chunk) -> None:
        """Before the start: some thousands of rows, on which the first models are found."""

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        """Before the first pass."""

    def on_step(self, step: Step) -> None:
        """After every pass."""

    def on_notice(self, notice: Notice) -> None:
        """When something happened between the passes."""

    def on_end(self, sentence: str) -> None:
        """After the last pass, with the status."""


class History(Callback):
    """Keeps the records (numbers only: models would grow with the number of passes)."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def on_step(self, step: Step) -> None:
        self.records.append(step.record)


@dataclass(frozen=True, slots=True, eq=False)
class Counting:
    """Tells of the rows that are done, where something goes through them once.

    Args:
        callback: who hears of it.
        what: is done with them.
    """

    callback: Callback
    what: str

    def __call__(self, done: int, total: int | None) -> None:
        """`done` rows of `total` are; None: it is not known how many there are."""
        self.callback.on_notice(Notice("rows", {"what": self.what, "done": done, "total": total}))


class Callbacks(Callback):
    """Several callbacks as one."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._callbacks = list(callbacks)

    def on_sample(self, sample: Chunk) -> None:
        for callback in self._callbacks:
            callback.on_sample(sample)

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        for callback in self._callbacks:
            callback.on_start(model, max_iter, tol)

    def on_step(self, step: Step) -> None:
        for callback in self._callbacks:
            callback.on_step(step)

    def on_notice(self, notice: Notice) -> None:
        for callback in self._callbacks:
            callback.on_notice(notice)

    def on_end(self, sentence: str) -> None:
        for callback in self._callbacks:
            callback.on_end(sentence)


class Clocked(Callbacks):
    """Adds to each record where the time went since the one before; hands on all else.

    Args:
        callback: that is told.
        spent: what was spent on readings of the data so far.
    """

    def __init__(self, callback: Callback, spent: Callable[[], Spent]) -> None:
        super().__init__([callback])
        self._spent = spent
        self._since, self._before = time.perf_counter(), spent()

    def on_step(self, step: Step) -> None:
        now, so_far = time.perf_counter(), self._spent()
        record = replace(step.record, spent=(so_far - self._before).within(now - self._since))
        self._since, self._before = now, so_far
        super().on_step(replace(step, record=record))
