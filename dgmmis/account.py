"""Account: what a command has done so far, in numbers, from the events of its fit."""

import math
import time
from dataclasses import asdict
from resource import RUSAGE_CHILDREN
from typing import Any

from dgmmis.callback import Callback, Notice, Record, Step
from dgmmis.costs import peak_bytes
from dgmmis.ending import Ending
from dgmmis.execution.executor import Survived


class Account(Callback):
    """Keeps the last record and the counts.

    Args:
        job: the name of the job.
        run: the id of the run, until a folder tells another.
    """

    def __init__(self, job: str, run: str) -> None:
        self.job, self.run = job, run
        self.record: Record | None = None
        self.survived = Survived()
        self.n_rows: int | None = None
        self.n_passes = 0
        self.version: str | None = None
        self.succeeded: bool | None = None
        """Whether a `reprocess` did; None: it is not one, or has not ended."""
        self._iterations: dict[str, int] = {}
        self.status = "failed"
        self.has_begun = self._replays = False
        self._began = self._fit_began = self._stepped = time.monotonic()

    def on_notice(self, notice: Notice) -> None:
        values, self.has_begun = notice.values, True
        match notice.event:
            case "reprocess":
                self.run = values["run"]
            case "start":
                self.run, self.n_rows = values["run"], values["plan"]["n_rows"]
                self._replays, self._fit_began = values["goes_on"], time.monotonic()
            case "goes on":
                self._replays, self._fit_began = False, time.monotonic() - values["seconds"]
            case "begins again":
                self._iterations, self._replays = {}, False
            case "faults":
                self.survived = Survived(values["workers_lost"], values["tasks_again"])
            case _ if "outcome" in values:  # of a `reprocess`
                self.status, self.version, self.succeeded = values["outcome"], values["version"], values["is_success"]

    def on_step(self, step: Step) -> None:
        record = step.record
        # a step that was refused was a pass, too
        new = record.iteration - self._iterations.get(record.candidate, -1)
        self.record, self._iterations[record.candidate] = record, record.iteration
        self.n_passes += 0 if self._replays else new
        self._stepped = time.monotonic()

    def on_end(self, sentence: str) -> None:
        self.status = sentence

    @property
    def rows_per_second(self) -> float | None:
        """Rows times passes over the seconds from the plan to the last of them; None before the first."""
        seconds = self._stepped - self._fit_began
        return None if self.n_rows is None or not self.n_passes else self.n_rows * self.n_passes / max(seconds, 1e-9)

    def numbers(self, record: Record) -> dict[str, Any]:
        """A record as JSON values, without what is not known or empty, and how fast rows were read for it."""
        values = {name: value for name, value in asdict(record).items() if _is_known(value)}
        if self.n_rows is not None and record.seconds > 0:
            values["rows_per_second"] = self.n_rows / record.seconds
        return values

    def ending(self, exit_code: int, status: str | None = None) -> Ending:
        """The account at the end."""
        return Ending(
            status=status or self.status,
            exit_code=exit_code,
            passes=self.n_passes,
            seconds=time.monotonic() - self._began,
            rows_per_second=self.rows_per_second,
            workers_lost=self.survived.workers_lost,
            tasks_again=self.survived.tasks_again,
            peak_bytes=peak_bytes(),
            peak_bytes_of_a_child=peak_bytes(RUSAGE_CHILDREN),
        )


def _is_known(value: Any) -> bool:
    return math.isfinite(value) if isinstance(value, float) else value not in ((), "")
