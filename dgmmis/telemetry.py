"""Telemetry: the executor's faults to the callbacks of a fit, and the fit to those who look at its cluster."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any

import numpy as np

from dgmmis.account import RECENT, Account, seconds_left
from dgmmis.callback import Callback, Notice, Record, Step
from dgmmis.chunk import Chunk
from dgmmis.dashboard.shown import COLUMNS
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.under_way import new_run_id
from dgmmis.density import MOST_FEATURES, pair_counts
from dgmmis.em import Stopping
from dgmmis.errors import counted
from dgmmis.execution.executor import Executor, Survived
from dgmmis.metrics import of_record
from dgmmis.model import Model

INTERVAL, SHARE = 0.5, 300
"""Seconds between two messages at least, and so many times as long as the last one took: a third of a per cent."""

MOST_COMPONENTS = 200
"""The heaviest, which are shown."""


class Telemetry(Callback):
    """Looks at the executor after every pass: a millisecond on a cluster. A context manager: what ends the block is
    what ended the run.

    Args:
        executor: that does the work.
        follower: is told of workers that were lost, and when a fit has come to where it was interrupted.
        account: of the fit; it hears what the follower is told.
        schema: of the survey, which names the features.
        replays: whether passes still come from the journal of an earlier sitting.
        stopping: of the fit.
    """

    def __init__(
        self,
        executor: Executor,
        follower: Callback,
        account: Account,
        *,
        schema: Schema,
        replays: Callable[[], bool],
        stopping: Stopping | None = None,
    ) -> None:
        self._executor, self._follower, self._account, self._schema = executor, follower, account, schema
        self._replays, self._replayed = replays, replays()
        self._told = Survived()
        self._page = RunPage(executor, account, schema, stopping or Stopping()) if executor.is_watched else None

    def __enter__(self) -> "Telemetry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._page is not None:
            self._page.ended(error)

    def on_sample(self, sample: Chunk) -> None:
        if self._page is not None:
            self._page.density = pair_counts(sample)

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        if self._page is not None:
            self._page.begin(model, tol)

    def on_notice(self, notice: Notice) -> None:
        if self._page is not None:
            self._page.note(notice)

    def on_step(self, step: Step) -> None:
        if self._replayed and not self._replays():
            self._replayed = False
            about = {"iteration": step.record.iteration, "seconds": step.record.seconds}
            self._tell(Notice("goes on", about))
        self._look()
        self._account.on_step(step)
        if self._page is not None:
            self._page.step(step)

    def on_end(self, sentence: str) -> None:
        self._look()
        if self._page is not None:
            self._page.settled(sentence)

    def _look(self) -> None:
        survived = self._executor.survived()
        if survived != self._told:
            self._told = survived
            self._tell(Notice("faults", asdict(survived), "warning"))

    def _tell(self, notice: Notice) -> None:
        self._follower.on_notice(notice)
        self.on_notice(notice)


@contextmanager
def shown(executor: Executor, data: object) -> Iterator[tuple[Callback, ...]]:
    """The callback that shows a fit which is no job's to those who look at its cluster; none where nobody can look."""
    if not (executor.is_watched and isinstance(data, Dataset)):
        yield ()
        return
    account = Account(data.path.stem, new_run_id())
    account.on_notice(Notice("start", {"run": account.run, "plan": {"n_rows": data.n_rows}, "goes_on": False}))
    with Telemetry(executor, Callback(), account, schema=data.schema, replays=lambda: False) as telemetry:
        yield (telemetry,)


class RunPage:
    """What is told of a run to those who look at its cluster: at most twice a second, and the last of it always."""

    def __init__(self, executor: Executor, account: Account, schema: Schema, stopping: Stopping) -> None:
        self._executor, self._account, self._schema = executor, account, schema
        self._arrived = stopping.arrived
        self.density: dict[str, Any] | None = None
        self._tol = 0.0
        self._due, self._n_models = 0.0, 0
        self._sentence, self._has_begun = "", False
        self._recent: dict[str, deque[Record]] = {}
        self._last: dict[str, Step] = {}
        self._round: dict[str, int] = {}
        self._repairs: dict[str, tuple[str, ...]] = {}
        self._points: list[tuple[str, list[float]]] = []
        self._events: list[tuple[float, str, str]] = []

    def begin(self, model: Model, tol: float) -> None:
        """A fit begins, or begins again."""
        self._has_begun = True
        self._tol = tol
        self._last, self._recent, self._points = {}, {}, []
        self._round, self._repairs = {}, {}
        about = {
            "features": list(self._schema.features[:MOST_FEATURES]),
            "units": list(self._schema.units[:MOST_FEATURES]),
            "n_rows": self._account.n_rows,
            "tol": tol,
            "arrived": self._arrived,
        }
        self._event(f"begins: {counted(model.mixture.n_components, 'component')}")
        self._send({"about": about, "density": self.density, "model": self._shape("", model)})

    def note(self, notice: Notice) -> None:
        """Something happened between the passes."""
        values = notice.values
        match notice.event:
            case "faults":
                lost = counted(values["workers_lost"], "lost worker")
                sentence = f"{lost}, {counted(values['tasks_again'], 'task')} done again, and survived"
            case "candidate":
                name = ", ".join(part for part in (values["of"], values["name"]) if part)
                sentence = f"{name}: {values['sentence']}, objective {values['objective']:.7f}"
            case "goes on":
                sentence = f"goes on where it was interrupted, at pass {values['iteration']}"
            case "begins again":
                sentence = f"begins again: {values['message']}"
            case _:  # what goes on meanwhile is not for a list of what happened
                return
        self._event(sentence, notice.level)

    def step(self, step: Step) -> None:
        """A pass was made."""
        record, name = step.record, step.record.candidate
        self._last[name] = step
        self._recent.setdefault(name, deque(maxlen=RECENT)).append(record)
        self._points.append((name, [float(getattr(record, column)) for column in COLUMNS]))
        said = f"{name}: " if name else ""
        if record.round != self._round.get(name, 0):
            self._event(f"{said}round {record.round} of imputed points, at pass {record.iteration}")
        for sentence in record.repairs:
            if sentence not in self._repairs.get(name, ()):
                self._event(f"{said}{sentence}", "warning")
        self._round[name], self._repairs[name] = record.round, record.repairs
        if time.monotonic() >= self._due:
            self._send({})

    def settled(self, sentence: str) -> None:
        """A fit has come to an end; another one may follow."""
        self._sentence = sentence
        self._event(sentence)
        self._send({"status": sentence})

    def ended(self, error: BaseException | None) -> None:
        """Nothing follows."""
        if error is None and not self._has_begun:  # a look at the data, which is no fit
            return
        status = self._sentence
        if error is not None:
            status = f"{type(error).__name__}: {error}"
            self._event(status, "error")
        self._send({"status": status, "is_over": True})

    def _event(self, sentence: str, level: str = "info") -> None:
        self._events.append((time.time(), level, sentence))

    def _send(self, news: dict[str, Any]) -> None:
        began = time.monotonic()
        account, numbers = self._account, {}
        if self._last and "about" not in news:
            # of fits side by side the one that is ahead
            step = max(self._last.values(), key=lambda step: step.record.objective)
            record = step.record
            numbers = {
                "model": self._shape(record.candidate, step.model),
                "gauges": [(one.name, one.help, one.value) for one in of_record(account, record)],
                "now": {
                    "passes": account.n_passes,
                    "rows_per_second": account.rows_per_second,
                    "seconds_left": seconds_left(self._recent[record.candidate], self._tol),
                    "workers_lost": account.survived.workers_lost,
                    "retries": account.survived.tasks_again,
                },
            }
        told = {"run": account.run, "job": account.job, "points": self._points, "events": self._events}
        self._executor.show({**told, **numbers, **news})
        self._points, self._events = [], []
        ended = time.monotonic()
        self._due = ended + max(INTERVAL, SHARE * (ended - began))

    def _shape(self, candidate: str, model: Model) -> dict[str, Any]:
        """The mixture as plain values: the heaviest of its components, in the features that are shown."""
        self._n_models += 1
        mixture = model.mixture
        which = np.sort(np.argsort(-mixture.weights, kind="stable")[:MOST_COMPONENTS])
        d = min(mixture.n_features, MOST_FEATURES)
        rows, columns = np.tril_indices(d)
        return {
            "candidate": candidate,
            "number": self._n_models,
            "n_components": mixture.n_components,
            "which": which.tolist(),
            "weights": mixture.weights[which].tolist(),
            "means": mixture.means[which, :d].tolist(),
            "covariances": mixture.covariances[which][:, rows, columns].tolist(),
        }
