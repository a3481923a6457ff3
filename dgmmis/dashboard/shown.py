"""What is shown of runs: what their drivers told of them, bounded, as plain values."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dgmmis.plain import as_plain

COLUMNS = (
    "iteration",
    "round",
    "objective",
    "gain",
    "distance",
    "completeness",
    "completeness_error",
    "background_fraction",
    "seconds",
)
"""Of a point: the numbers of one pass."""

MOST_RUNS, MOST_POINTS, MOST_EVENTS, MOST_TASKS = 20, 2000, 500, 1000
"""Runs of a scheduler; points, events and tasks of a run."""

MOST_WORKERS = 1000
"""Whose tasks are counted."""


@dataclass(slots=True, eq=False)
class ShownRun:
    """A run, as far as its driver has told of it. Stateful on purpose: what is told is taken in by `hear`.

    Args:
        name: the id of the run.
        job: its job.
    """

    name: str
    job: str
    began: float = field(default_factory=time.time)
    heard: float = field(default_factory=time.time)
    changes: int = 0
    """Goes up whenever there is something else to draw."""
    status: str = "under way"
    is_over: bool = False
    client: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    """features, units, n_rows, tol, arrived: what does not change."""
    density: Mapping[str, Any] | None = None
    """lower, upper, bins, and counts by pair of features: the sample of the data."""
    model: Mapping[str, Any] | None = None
    """candidate, number, weights, means, covariances: the last that was told of."""
    now: Mapping[str, Any] = field(default_factory=dict)
    points: dict[str, list[list[float]]] = field(default_factory=dict)
    """Of each candidate."""
    events: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    tasks: deque[tuple[str, str, float, float]] = field(default_factory=lambda: deque(maxlen=MOST_TASKS))
    """Key, worker, start and stop of the last ones."""
    by_worker: dict[str, list[float]] = field(default_factory=dict)
    """Number of tasks, and their seconds."""

    def hear(self, news: Mapping[str, Any]) -> None:
        """Take in what the driver tells."""
        self.heard, self.changes = time.time(), self.changes + 1
        self.client = news.get("client", self.client)
        if "about" in news:  # begins, or begins again
            self.about, self.points, self.is_over, self.status = news["about"], {}, False, "under way"
            self.density = self.model = None
        self.density = news.get("density", self.density)
        self.model = news.get("model", self.model)
        self.now = {**self.now, **news.get("now", {})}
        for candidate, point in news.get("points", ()):
            self.points.setdefault(candidate, []).append(list(point))
        self._thin()
        self.events.extend((float(at), str(level), str(sentence)) for at, level, sentence in news.get("events", ()))
        if "status" in news:
            self.status = str(news["status"])
        self.is_over = bool(news.get("is_over", self.is_over))

    def gone(self) -> None:
        """The driver has left without a word."""
        if not self.is_over:
            self.is_over, self.changes = True, self.changes + 1
            self.status = "its process is gone: what it kept, `dgmmis resume` goes on with"
            self.events.append((time.time(), "error", self.status))

    def task(self, key: str, worker: str, start: float, stop: float) -> None:
        """A task has ended."""
        self.tasks.append((key, worker, start, stop))
        if worker in self.by_worker or len(self.by_worker) < MOST_WORKERS:
            of = self.by_worker.setdefault(worker, [0, 0.0])
            of[0], of[1] = of[0] + 1, of[1] + stop - start
        self.changes += 1

    @property
    def label(self) -> str:
        """How it is told from others."""
        return f"{self.job} · {self.name} · {time.strftime('%d %b %H:%M:%S', time.localtime(self.began))}"

    @property
    def candidate(self) -> str:
        """Whose model is shown."""
        return "" if self.model is None else str(self.model["candidate"])

    @property
    def last(self) -> Mapping[str, float]:
        """The numbers of the last pass of the candidate that is shown."""
        points = self.points.get(self.candidate)
        return dict(zip(COLUMNS, points[-1], strict=True)) if points else {}

    def document(self) -> dict[str, Any]:
        """All but the density, as JSON values."""
        points = {name: {c: [p[i] for p in of] for i, c in enumerate(COLUMNS)} for name, of in self.points.items()}
        document: dict[str, Any] = as_plain(
            {
                "run": self.name,
                "job": self.job,
                "began": self.began,
                "heard": self.heard,
                "status": self.status,
                "is_over": self.is_over,
                "about": self.about,
                "now": self.now,
                "candidates": points,
                "model": self.model,
                "events": [{"time": at, "level": level, "message": sentence} for at, level, sentence in self.events],
                "workers": {w: {"tasks": n, "seconds": seconds} for w, (n, seconds) in self.by_worker.items()},
            }
        )
        return document

    def _thin(self) -> None:
        """Leave out every other point of the longest as long as there are too many; the last one stays. Where all are
        short, it is the first candidates that go."""
        while sum(map(len, self.points.values())) > MOST_POINTS:
            name = max(self.points, key=lambda name: len(self.points[name]))
            of = self.points[name]
            if len(of) > 2:
                self.points[name] = of[:-1:2] + of[-1:]
            else:
                del self.points[next(iter(self.points))]


class Shown:
    """The runs of a scheduler, the last ones that were told of."""

    def __init__(self) -> None:
        self._runs: dict[str, ShownRun] = {}
        self._of_executor: dict[str, ShownRun] = {}

    def __iter__(self) -> Iterator[ShownRun]:
        return iter(self._runs.values())

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def latest(self) -> ShownRun | None:
        """The one that began last."""
        return next(reversed(self._runs.values()), None)

    def named(self, name: str) -> ShownRun | None:
        """A run by its id."""
        return self._runs.get(name)

    def hear(self, news: Mapping[str, Any]) -> None:
        """Take in what a driver tells of a run."""
        name, executor = news["run"], news.get("executor", "")
        run = self._runs.get(name)
        if run is None or "about" in news:
            run = self._runs.pop(name, None) or ShownRun(name, news["job"])
            self._runs[name] = run
            while len(self._runs) > MOST_RUNS:
                self._forget(next((one for one in self._runs.values() if one.is_over), next(iter(self._runs.values()))))
        self._of_executor[executor] = run
        run.hear(news)

    def task(self, executor: str, task: tuple[str, str, float, float]) -> None:
        """A task of an executor has ended."""
        run = self._of_executor.get(executor)
        if run is not None and not run.is_over:
            run.task(*task)

    def gone(self, client: str) -> None:
        """A client has left."""
        for run in self._runs.values():
            if run.client == client:
                run.gone()

    def document(self, name: str = "") -> dict[str, Any]:
        """All runs, or one of them, as JSON values."""
        return {"runs": [run.document() for run in self._runs.values() if name in ("", run.name)]}

    def _forget(self, run: ShownRun) -> None:
        del self._runs[run.name]
        self._of_executor = {key: of for key, of in self._of_executor.items() if of is not run}
