"""Executors in this process: the serial loop, which is the meaning of the others, and threads.

The kernels release the interpreter lock, so threads are as fast as processes and cost nothing to start.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import psutil

from dgmmis.execution.ahead import run_group
from dgmmis.execution.blas import one_blas_thread
from dgmmis.execution.executor import Gauge, Resources, Survived, Task
from dgmmis.execution.failure import working_on
from dgmmis.execution.tree import Partial
from dgmmis.spent import NOTHING, Spent


class Serial:
    """One item after the other."""

    in_process = True
    spent: Spent = NOTHING
    _n_workers: int = 1

    @property
    def resources(self) -> Resources:
        return Resources(1, 1, int(psutil.virtual_memory().available))

    def map_reduce(self, function: Task, shared: Any, groups: Sequence[Sequence[Any]]) -> Partial:
        began = time.perf_counter()
        with one_blas_thread():
            sums = Partial.join(self._finished(lambda group: run_group(function, shared, group), groups))
        self.spent += sums.spent.over(time.perf_counter() - began, self._n_workers)
        return sums

    def _finished(self, run: Callable[[Sequence[Any]], Partial], groups: Sequence[Sequence[Any]]) -> Iterator[Partial]:
        return map(run, groups)

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        began = time.perf_counter()
        with one_blas_thread():
            values = list(self._each(partial(_value, function), items))
        self.spent += Spent(read=time.perf_counter() - began)
        return values

    def _each(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        return map(function, items)

    def everywhere(self, function: Callable[[], Any]) -> list[Any]:
        return [function()]

    def about(self) -> list[tuple[str, str]]:
        n = self.resources.n_workers
        return [("runs in", f"this process, {n} thread{'s' if n > 1 else ''}")]

    def survived(self) -> Survived:
        return Survived()

    def show(self, job: str, gauges: Sequence[Gauge]) -> None:
        pass

    def close(self) -> None:
        pass


class Threads(Serial):
    """A pool of threads, one a core."""

    def __init__(self, n_workers: int | None = None) -> None:
        self._n_workers = n_workers or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._n_workers, thread_name_prefix="dgmmis")

    @property
    def resources(self) -> Resources:
        return Resources(self._n_workers, 1, int(psutil.virtual_memory().available))

    def _finished(self, run: Callable[[Sequence[Any]], Partial], groups: Sequence[Sequence[Any]]) -> Iterator[Partial]:
        """The sums of the groups as they come, so that they do not pile up behind one that takes long."""
        pending = {self._pool.submit(run, group) for group in groups}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                while done:
                    yield done.pop().result()
        finally:
            for future in pending:
                future.cancel()

    def _each(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        return self._pool.map(function, items)

    def close(self) -> None:
        self._pool.shutdown()


def _value(function: Callable[[Any], Any], item: Any) -> Any:
    with working_on(item):
        return function(item)
