"""Telemetry: the executor's faults to the callbacks of a fit, and the fit's numbers to the metrics of its cluster."""

from collections.abc import Callable
from dataclasses import asdict

from dgmmis.account import Account
from dgmmis.callback import Callback, Notice, Step
from dgmmis.execution.executor import Executor, Survived
from dgmmis.metrics import of_record


class Telemetry(Callback):
    """Looks at the executor after every pass: a millisecond on a cluster.

    Args:
        executor: that does the work.
        follower: is told of workers that were lost, and when a fit has come to where it was interrupted.
        account: of the fit; it hears what the follower is told.
        replays: whether passes still come from the journal of an earlier sitting.
    """

    def __init__(self, executor: Executor, follower: Callback, account: Account, replays: Callable[[], bool]) -> None:
        self._executor, self._follower, self._account = executor, follower, account
        self._replays, self._replayed = replays, replays()
        self._told = Survived()

    def on_step(self, step: Step) -> None:
        if self._replayed and not self._replays():
            self._replayed = False
            about = {"iteration": step.record.iteration, "seconds": step.record.seconds}
            self._follower.on_notice(Notice("goes on", about))
        self._tell()
        self._account.on_step(step)
        self._executor.show(self._account.job, of_record(self._account, step.record))

    def on_end(self, sentence: str) -> None:
        self._tell()

    def _tell(self) -> None:
        survived = self._executor.survived()
        if survived != self._told:
            self._told = survived
            self._follower.on_notice(Notice("faults", asdict(survived), "warning"))
