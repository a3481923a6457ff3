"""Activity: what goes on, from the events of a command or a fit. What is not known is not said."""

import time
from collections import deque

from dgmmis.account import RECENT, seconds_left
from dgmmis.callback import Callback, Notice, Record, Step
from dgmmis.model import Model


class Rows:
    """Rows that something goes through once.

    Args:
        what: is done with them.
        now: when that began.
        done: rows done by then.
    """

    def __init__(self, what: str, now: float, done: int) -> None:
        self.what, self.done = what, done
        self.total: int | None = None
        self._began, self._first, self._last = now, done, now

    def counted(self, done: int, total: int | None, now: float) -> None:
        """So many are done now, of so many."""
        self.done, self.total, self._last = done, total, now

    @property
    def share(self) -> float | None:
        """Of the rows, that is done; None: it is not known how many there are."""
        return None if not self.total else min(self.done / self.total, 1.0)

    @property
    def per_second(self) -> float | None:
        """From the first count to the last: what was compiled before the first is not their fault."""
        seconds = self._last - self._began
        return (self.done - self._first) / seconds if seconds > 0 and self.done > self._first else None

    @property
    def seconds_left(self) -> float | None:
        """At this rate."""
        if self.per_second is None or self.total is None or self.done >= self.total:
            return None
        return (self.total - self.done) / self.per_second


class Activity(Callback):
    """What is being done, and since when; the rows or the passes of it.

    Attributes:
        began: when all of it did, by time.monotonic().
        what, since: a few words about what is being done, and when that began; empty: passes, or nothing.
        rows: that something goes through.
        record: the last pass of what is fitted.
        n_fits: how many are fitted side by side; None: one.
        arrived: names of those of them that have settled, or failed.
        news: counts events.
    """

    def __init__(self) -> None:
        self.began = self.since = time.monotonic()
        self.what = ""
        self.rows: Rows | None = None
        self.record: Record | None = None
        self.n_fits: int | None = None
        self.arrived = set[str]()
        self.news = 0
        self._n_rows: int | None = None
        self._recent: dict[str, deque[Record]] = {}
        self._replays = False
        self._tol = 0.0

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        self._tol = tol

    def on_step(self, step: Step) -> None:
        record, self.news = step.record, self.news + 1
        self._begin("")
        self.record = record
        recent = self._recent.setdefault(record.candidate, deque(maxlen=RECENT))
        if recent and recent[-1].round != record.round:
            recent.clear()
        recent.append(record)

    def on_notice(self, notice: Notice) -> None:
        values, self.news = notice.values, self.news + 1
        match notice.event:
            case "doing":
                self._begin(values["what"])
                self._n_rows = values.get("n_rows", self._n_rows)
            case "rows":
                self._count(values["what"], values["done"], values["total"])
            case "start":
                self._n_rows, self.n_fits = values["plan"]["n_rows"], values.get("n_fits")
                self._replays = values["goes_on"]
            case "goes on":
                self._replays = False
            case "begins again":
                self._replays, self.record = False, None
                self._recent.clear()
            case "arrived":
                self.arrived.add(values["candidate"])

    def on_end(self, sentence: str) -> None:
        self.news += 1
        self.record = None
        self._recent.clear()
        self._begin("")

    @property
    def rows_per_second(self) -> float | None:
        """Of the last pass; None where it was repeated from a journal, or took no time."""
        if self.record is None or self._n_rows is None or self._replays or not self.record.seconds > 0:
            return None
        return self._n_rows / self.record.seconds

    @property
    def under_way(self) -> list[str]:
        """Names of the fits side by side that have begun and not arrived."""
        return [name for name in self._recent if name not in self.arrived]

    @property
    def seconds_left(self) -> float | None:
        """Of the round that is under way, or of all fits side by side; None: nobody can say."""
        if self.rows is not None:
            return self.rows.seconds_left
        if self.record is None or self._replays:
            return None
        if self.n_fits is None:
            return seconds_left(self._recent[self.record.candidate], self._tol)
        if len(self._recent) < self.n_fits or self.is_in_rounds:
            return None
        found = [seconds_left(self._recent[name], self._tol) for name in self.under_way]
        known = [seconds for seconds in found if seconds is not None]
        return max(known) if known and len(known) == len(found) else None

    @property
    def is_in_rounds(self) -> bool:
        """Whether more rounds than this one may come."""
        return self.record is not None and self.record.completeness_error > 0

    def _begin(self, what: str) -> None:
        if what != self.what or self.rows is not None:
            self.what, self.since, self.rows = what, time.monotonic(), None

    def _count(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self.rows is None or self.rows.what != what or done < self.rows.done:
            self.rows, self.what = Rows(what, now, done), ""
            self.since = now
        self.rows.counted(done, total, now)
