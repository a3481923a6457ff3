"""The executor on a dask cluster: one raw graph a pass, tasks pinned loosely to workers that keep their chunks.

The graph holds the shared value (the model) as one node, one task a group, and combines of fan-in eight. What travels
in the graph survives the death of every worker, which scattered data do not.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Client

from dgmmis.execution.ahead import run_group
from dgmmis.execution.blas import one_blas_thread
from dgmmis.execution.display import Display
from dgmmis.execution.executor import FAN_IN, Resources, Survived, Task, grouped
from dgmmis.execution.failure import working_on
from dgmmis.execution.losses import Losses
from dgmmis.execution.performance import PerformanceReport
from dgmmis.execution.tree import Partial
from dgmmis.execution.watch import Tasks, Watch
from dgmmis.spent import Spent

RETRIES = 2
ASK_SECONDS = 1.0
"""After which the scheduler is asked again who its workers are: it takes a millisecond, or ten where it is busy."""

MAP_TURNS = 4
"""Tasks of a worker's thread in `map`: the scheduler spends a millisecond on each."""

UNLIMITED = 1 << 40
"""What a worker without a limit is taken to have."""


class Distributed:
    """Runs passes on a dask client; closes it, and the cluster, only if they were started for it.

    Args:
        client: of the cluster.
        owned: what to close in the end, in this order.
        timeout, patience: see ClusterSpec.
    """

    in_process = False

    def __init__(
        self, client: Client, *, owned: Sequence[Any] = (), timeout: float = 60.0, patience: float = 300.0
    ) -> None:
        self.client = client
        self._watch = Watch(client, timeout=timeout, patience=patience)
        self._name, self._n_passes = uuid.uuid4().hex, 0
        self._losses, self._display = Losses(self._watch), Display(self._watch, self._name)
        self.spent = Spent()
        self._owned = list(owned)
        self._report: PerformanceReport | None = None
        self._known: list[str] = []
        self._asked = 0.0

    @property
    def resources(self) -> Resources:
        self.wake()
        workers = self._workers()
        n_threads = sum(worker["nthreads"] for worker in workers.values())
        limits = [worker["memory_limit"] for worker in workers.values() if worker["memory_limit"]]
        return Resources(max(1, n_threads), max(1, len(workers)), int(min(limits, default=UNLIMITED)))

    def wake(self) -> None:
        """Wait until there are workers: a cluster that adapts starts some where there is something to do.

        Raises:
            ClusterError: none comes in time.
        """
        if not self._threads():
            self.map(_awake, [None])

    def map_reduce(self, function: Task, shared: Any, groups: Sequence[Sequence[Any]]) -> Partial:
        began = time.perf_counter()
        self._n_passes += 1
        layers, last, tasks = self._pass(f"{self._name}-{self._n_passes}", function, shared, groups)

        def submit() -> Any:
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):  # large models are
                return self.client.get(layers, last, retries=RETRIES, sync=False)

        result: Partial = self._watch.answer(submit, tasks)
        self.spent += result.spent.over(time.perf_counter() - began, max(1, len(self._known)))
        return result

    def _pass(
        self, token: str, function: Task, shared: Any, groups: Sequence[Sequence[Any]]
    ) -> tuple[HighLevelGraph, str, Tasks]:
        """The graph of a pass, the key of what is wanted of it, and the items of each task."""
        broadcast = f"shared-{token}"
        layers: dict[str, Any] = {broadcast: {broadcast: shared}}
        below: dict[str, set[str]] = {broadcast: set()}
        addresses = self._threads()
        keys = [f"pass-{token}-{number}" for number in range(len(groups))]
        items: dict[str, Sequence[Any]] = dict(zip(keys, groups, strict=True))
        of_worker: dict[str, dict[str, Any]] = {}
        for number, (key, group) in enumerate(items.items()):
            # consecutive groups to one worker, as in every pass
            address = addresses[number * len(addresses) // len(groups)] if addresses else ""
            of_worker.setdefault(address, {})[key] = (_run, function, broadcast, group)
        for place, (address, of_place) in enumerate(of_worker.items()):
            layers[f"pass-{token}-on-{place}"] = _pinned(of_place, address)
            below[f"pass-{token}-on-{place}"] = {broadcast}
        level, lower = 0, {name for name in layers if name != broadcast}
        while len(keys) > 1:
            joined = [f"join-{token}-{level}-{number}" for number in range(math.ceil(len(keys) / FAN_IN))]
            join = _join if len(joined) > 1 else _close
            layers[f"join-{token}-{level}"] = {
                key: (join, keys[number * FAN_IN : (number + 1) * FAN_IN]) for number, key in enumerate(joined)
            }
            below[f"join-{token}-{level}"] = lower
            items.update(dict.fromkeys(joined, ()))
            keys, lower, level = joined, {f"join-{token}-{level}"}, level + 1
        return HighLevelGraph(layers, below), keys[0], items

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        token = uuid.uuid4().hex
        groups = grouped(items, MAP_TURNS * max(1, len(self._threads()))) if items else []
        tasks = {f"map-{token}-{number}": group for number, group in enumerate(groups)}
        submit = partial(self.client.submit, _each, function, retries=RETRIES)
        began = time.perf_counter()
        found = self._watch.answer(lambda: [submit(group, key=key) for key, group in tasks.items()], tasks)
        self.spent += Spent(read=time.perf_counter() - began)
        return [result for results in found for result in results]

    def everywhere(self, function: Callable[[], Any]) -> list[Any]:
        if self.client.status != "running" or self._watch.lost:
            return []
        return list(self._watch.timely(self.client.run, function, on_error="ignore").values())

    def about(self) -> list[tuple[str, str]]:
        identity = self._watch.ask("identity", n_workers=-1)
        link = str(self.client.dashboard_link)
        there = [("runs on", f"{len(identity['workers'])} worker processes at {identity['address']}")]
        prefix, _, page = self._display.page.rpartition("/")
        if not page or not link.endswith("/status"):  # a link of one's own may lead through anything
            return [*there, ("dashboard", link)]
        root = link.removesuffix("/status").removesuffix(prefix)  # dask's link is without it, one's own may be with it
        return [*there, ("dashboard", f"{root}{prefix}/{page}"), ("in its menu", "dask's own pages")]

    def survived(self) -> Survived:
        return self._losses.counted()

    @property
    def is_watched(self) -> bool:
        return self._display.is_there

    def show(self, news: Mapping[str, Any]) -> None:
        self._display.show(news)

    def reports(self, path: Path) -> None:
        """Write dask's own report of what is done from now on when this is closed.

        Raises:
            ClusterError: the cluster cannot draw one.
        """
        self._report = PerformanceReport(self._watch, path)

    def close(self) -> None:
        with _quietly(), ExitStack() as owned:  # each is closed, whatever another one raises
            while self._owned:
                owned.callback(self._owned.pop().close)
            report, self._report = self._report, None
            if report is not None:
                report.write()

    def _workers(self) -> dict[str, Any]:
        return dict(self._watch.ask("identity", n_workers=-1)["workers"])

    def _threads(self) -> list[str]:
        """One entry a worker thread, in a fixed order, so that a group finds its chunks where it left them.

        Asked for once a second at most: tasks are pinned loosely, and one whose worker has left goes to another. Empty
        where there are no workers: a cluster that adapts starts some for the tasks, else waiting for them has an end.
        """
        if time.monotonic() - self._asked > ASK_SECONDS or not self._known:
            threads = self._watch.ask("ncores")
            self._known = [address for address, n in sorted(threads.items()) for _ in range(n)]
            self._asked = time.monotonic()
        return self._known


@contextmanager
def _quietly() -> Iterator[None]:
    """A client that is closed while it looks for its scheduler says so with a traceback, and a nanny that its worker is
    slow to go, which helps nobody."""
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("client", "nanny")]
    for logger in loggers:
        logger.addFilter(_is_no_end)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_no_end)


def _is_no_end(record: logging.LogRecord) -> bool:
    """Whether a message is of something other than what was given up."""
    if str(record.msg).startswith("Worker process still alive"):
        return False
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


def _run(function: Task, shared: Any, group: Sequence[Any]) -> Partial:
    with one_blas_thread():
        return run_group(function, shared, group)


def _each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    values = []
    with one_blas_thread():
        for item in items:
            with working_on(item):
                values.append(function(item))
    return values


def _awake(item: None) -> None:
    """Something to do."""


def _join(partials: Sequence[Partial]) -> Partial:
    return Partial.join(partials)


def _close(partials: Sequence[Partial]) -> Partial:
    return Partial.join(partials).closed()


def _pinned(tasks: dict[str, Any], address: str) -> MaterializedLayer:
    if not address:
        return MaterializedLayer(tasks)
    return MaterializedLayer(tasks, annotations={"workers": [address], "allow_other_workers": True})
