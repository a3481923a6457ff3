"""Noted: what a run of `reprocess` does, told as it goes; how it ended, written into the model store in any case."""

from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType

from dgmmis.callback import Callback, Notice
from dgmmis.dataset.last_run import FAILED, INTERRUPTED, LastRun
from dgmmis.dataset.model_store import ModelStore
from dgmmis.ending import exit_code_of
from dgmmis.errors import StoreError, in_one_line
from dgmmis.reprocess.intake import Intake
from dgmmis.reprocess.report import Report
from dgmmis.software import software


class Noted:
    """A context manager within which a model store is reprocessed; it is held.

    Args:
        store: the model store.
        run: the id of this run.
        follower: is told.
    """

    def __init__(self, store: ModelStore, run: str, follower: Callback) -> None:
        self._store, self._run, self._follower, self._began = store, run, follower, _now()
        self._report: Report | None = None

    def __enter__(self) -> "Noted":
        about = {"run": self._run, "models": str(self._store.path), "software": software()}
        self._follower.on_notice(Notice("reprocess", about))
        return self

    def takes_in(self, intake: Intake) -> None:
        """The sources were looked at."""
        for taken in intake.taken:
            self._follower.on_notice(Notice("taken in", asdict(taken)))
        for problem in intake.problems:
            about = {"source": str(problem.path), "message": str(problem.error)}
            self._follower.on_notice(Notice("not taken in", about, "error"))

    def reports(self, report: Report) -> None:
        """What there is to note, unless an error comes after it."""
        self._report = report

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(StoreError):  # what went wrong before is what is to be said
                self._failed(error).write(self._store.path)
        elif self._report is not None:
            self._reported(self._report).write(self._store.path)
            level = "info" if self._report.exit_code == 0 else "warning"
            about = {"is_success": self._report.is_success, **self._report.document()}
            self._follower.on_notice(Notice(self._report.outcome, about, level))

    def _reported(self, report: Report) -> LastRun:
        ended = _now()
        problems = tuple(f"{one.path.name} was not taken in: {one.error}" for one in report.intake.problems)
        succeeded = ended if report.is_success else self._succeeded_before()
        times = (self._began, ended, succeeded)
        return LastRun(self._run, report.outcome, report.sentence, report.exit_code, *times, problems)

    def _failed(self, error: BaseException) -> LastRun:
        code = exit_code_of(error)
        outcome = FAILED if isinstance(error, Exception) else INTERRUPTED
        sentence = in_one_line(str(error) or type(error).__name__, 1000)
        return LastRun(self._run, outcome, sentence, code, self._began, _now(), self._succeeded_before())

    def _succeeded_before(self) -> str | None:
        """When one succeeded last; from before this was noted it is known by what it published."""
        with suppress(StoreError):
            last = LastRun.of(self._store.path)
            if last is not None:
                return last.succeeded
            holds = self._store.latest()
            return None if holds is None else holds.published
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "milliseconds")
