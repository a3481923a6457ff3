"""The executor on a dask cluster: one raw graph a pass, tasks pinned loosely to workers that keep their chunks.

The graph holds the shared value (the model) as one node, one task a group, and combines of fan-in eight. What travels
in the graph survives the death of every worker, which scattered data do not.
"""

import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Client, KilledWorker
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoValidWorkerError

from dgmmis.errors import ClusterError
from dgmmis.execution.ahead import run_group
from dgmmis.execution.blas import one_blas_thread
from dgmmis.execution.executor import FAN_IN, Resources, Task, grouped
from dgmmis.execution.tree import Partial

RETRIES = 2
ASK_SECONDS = 1.0
"""After which the scheduler is asked again who its workers are: it takes a millisecond, or ten where it is busy."""

MAP_TURNS = 4
"""Tasks of a worker's thread in `map`: the scheduler spends a millisecond on each."""

UNLIMITED = 1 << 40
"""What a worker without a limit is taken to have."""


class Distributed:
    """Runs passes on a dask client; closes it, and the cluster, only if they were started for it."""

    in_process = False

    def __init__(self, client: Client, *, owned: Sequence[Any] = ()) -> None:
        self.client = client
        self._owned = list(owned)
        self._known: list[str] = []
        self._asked = 0.0

    @property
    def resources(self) -> Resources:
        workers = _some(self._workers())  # one answer for all: workers come and go between two
        n_threads = sum(worker["nthreads"] for worker in workers.values())
        limits = [worker["memory_limit"] for worker in workers.values() if worker["memory_limit"]]
        return Resources(n_threads, len(workers), int(min(limits, default=UNLIMITED)))

    def map_reduce(self, function: Task, shared: Any, groups: Sequence[Sequence[Any]]) -> Partial:
        layers, last = self._pass(uuid.uuid4().hex, function, shared, groups)
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):  # large models are
            result: Partial = self._guarded(lambda: self.client.get(layers, last, retries=RETRIES))
        return result

    def _pass(
        self, token: str, function: Task, shared: Any, groups: Sequence[Sequence[Any]]
    ) -> tuple[HighLevelGraph, str]:
        """The graph of a pass, and the key of what is wanted of it."""
        broadcast = f"shared-{token}"
        layers: dict[str, Any] = {broadcast: {broadcast: shared}}
        below: dict[str, set[str]] = {broadcast: set()}
        addresses = self._threads()
        keys = [f"pass-{token}-{number}" for number in range(len(groups))]
        share = math.ceil(len(groups) / len(addresses))  # consecutive groups to one worker, the same in every pass
        of_worker: dict[str, dict[str, Any]] = {}
        for number, (key, group) in enumerate(zip(keys, groups, strict=True)):
            of_worker.setdefault(addresses[number // share], {})[key] = (_run, function, broadcast, group)
        for place, (address, tasks) in enumerate(of_worker.items()):
            layers[f"pass-{token}-on-{place}"] = _pinned(tasks, address)
            below[f"pass-{token}-on-{place}"] = {broadcast}
        level, lower = 0, {name for name in layers if name != broadcast}
        while len(keys) > 1:
            joined = [f"join-{token}-{level}-{number}" for number in range(math.ceil(len(keys) / FAN_IN))]
            join = _join if len(joined) > 1 else _close
            layers[f"join-{token}-{level}"] = {
                key: (join, keys[number * FAN_IN : (number + 1) * FAN_IN]) for number, key in enumerate(joined)
            }
            below[f"join-{token}-{level}"] = lower
            keys, lower, level = joined, {f"join-{token}-{level}"}, level + 1
        return HighLevelGraph(layers, below), keys[0]

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        token = uuid.uuid4().hex
        groups = grouped(items, MAP_TURNS * len(self._threads())) if items else []
        futures = self._guarded(
            lambda: [
                self.client.submit(_each, function, group, key=f"map-{token}-{number}", retries=RETRIES)
                for number, group in enumerate(groups)
            ]
        )
        return [result for results in self._guarded(lambda: self.client.gather(futures)) for result in results]

    def everywhere(self, function: Callable[[], Any]) -> list[Any]:
        if self.client.status != "running":
            return []
        return list(self._guarded(lambda: self.client.run(function, on_error="ignore")).values())

    def about(self) -> list[tuple[str, str]]:
        return [
            ("runs on", f"{len(self.client.nthreads())} worker processes at {self.client.scheduler_info()['address']}"),
            ("dashboard", str(self.client.dashboard_link)),
        ]

    def close(self) -> None:
        while self._owned:
            self._owned.pop(0).close()

    def _workers(self) -> dict[str, Any]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def _threads(self) -> list[str]:
        """One entry a worker thread, in a fixed order, so that a group finds its chunks where it left them.

        Asked for once a second at most: tasks are pinned loosely, and one whose worker has left goes to another.
        """
        if time.monotonic() - self._asked > ASK_SECONDS or not self._known:
            threads = _some(self.client.nthreads())
            self._known = [address for address, n in sorted(threads.items()) for _ in range(n)]
            self._asked = time.monotonic()
        return self._known

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (KilledWorker, NoValidWorkerError, FutureCancelledError, CommClosedError) as error:
            raise ClusterError(f"the cluster was lost: {error}", do="look at the workers' logs; run again") from error


def _some(workers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The workers, of which there must be some."""
    if not workers:
        raise ClusterError("the cluster has no workers", do="start workers, or wait until they have joined")
    return workers


def _run(function: Task, shared: Any, group: Sequence[Any]) -> Partial:
    with one_blas_thread():
        return run_group(function, shared, group)


def _each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    with one_blas_thread():
        return [function(item) for item in items]


def _join(partials: Sequence[Partial]) -> Partial:
    return Partial.join(partials)


def _close(partials: Sequence[Partial]) -> Partial:
    return Partial.join(partials).closed()


def _pinned(tasks: dict[str, Any], address: str) -> MaterializedLayer:
    return MaterializedLayer(tasks, annotations={"workers": [address], "allow_other_workers": True})
