"""Plan: tasks, bytes and memory of a fit, known and checked before anything runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dgmmis.dataset.arrays import Reference
from dgmmis.errors import PlanError
from dgmmis.linalg import packed_size

TASK_SECONDS = 0.5
"""A task should work about this long: much longer than what dask spends on it, short enough to share out evenly."""

SMALL_SECONDS = 0.5
"""Work of a pass below which a cluster does not pay: starting one takes seconds, a pass on it 30 ms more."""

PROCESS_BYTES = 400 << 20
"""A worker process before it holds any data: interpreter, libraries, compiled kernels."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass over the data is made of.

    Args:
        n_rows, n_features, n_components: of the fit.
        n_chunks: that are read.
        n_tasks: they are grouped into.
        n_workers: that share them.
        pass_bytes: of all chunks when loaded.
        resident: whether the workers keep them between passes; else they are read again in each.
        task_bytes: memory a worker needs for a task: its process, a chunk as read and as laid out, the sums.
        worker_bytes: what it is allowed, the kept chunks included.
        kept_bytes: chunks a worker keeps.
        seconds: of computing per pass on one core, roughly (from rates measured on one machine).
    """

    n_rows: int
    n_features: int
    n_components: int
    n_chunks: int
    n_tasks: int
    n_workers: int
    pass_bytes: int
    resident: bool
    task_bytes: int
    worker_bytes: int
    kept_bytes: int
    seconds: float

    def lines(self) -> list[tuple[str, str]]:
        """The plan in words, as (what, how much)."""
        keep = "kept between passes" if self.resident else "read again in every pass"
        return [
            ("rows x features, components", f"{self.n_rows:,} x {self.n_features}, {self.n_components}"),
            ("chunks, tasks, workers", f"{self.n_chunks:,}, {self.n_tasks:,}, {self.n_workers}"),
            ("bytes per pass", f"{_size(self.pass_bytes)}, {keep}"),
            ("memory per task", f"{_size(self.task_bytes)} of {_size(self.worker_bytes)} allowed to a worker"),
            ("chunks kept per worker", _size(self.kept_bytes)),
            ("computing per pass", f"about {self.seconds:.2g} s on one core"),
        ]

    def check(self) -> None:
        """Raise PlanError if a task cannot fit into a worker."""
        if self.task_bytes > self.worker_bytes:
            raise PlanError(
                "a task does not fit into a worker's memory",
                expected=f"at most {_size(self.worker_bytes)}",
                got=_size(self.task_bytes),
                do="give workers more memory (memory_limit, or fewer workers), or fit fewer components",
            )


def work_seconds(n_rows: int, n_features: int, n_components: int, noisy: bool) -> float:
    """Seconds of one core for a pass: measured nanoseconds a pair, as a polynomial in the number of features."""
    d = n_features
    nanoseconds = 8 + 1.2 * d**2 + 0.15 * d**3 if noisy else 4 + 0.2 * d**2
    return n_rows * n_components * nanoseconds * 1e-9


def shared_out(references: Sequence[Reference], n_workers: int) -> list[Reference]:
    """The references, cut where there are too few of them to keep all workers busy."""
    wanted = 2 * n_workers
    if len(references) >= wanted:
        return list(references)
    pieces = math.ceil(wanted / max(1, len(references)))
    return [piece for reference in references for piece in reference.split(pieces)]


def make_plan(
    references: Sequence[Reference],
    *,
    n_features: int,
    n_components: int,
    noisy: bool,
    n_workers: int,
    worker_bytes: int,
    resident_bytes: int,
) -> Plan:
    """The plan for data on some workers."""
    references = shared_out(references, n_workers)
    n_rows = sum(reference.n_rows for reference in references)
    seconds = work_seconds(n_rows, n_features, n_components, noisy)
    largest = max((reference.nbytes for reference in references), default=0)
    total = sum(reference.nbytes for reference in references)
    # tasks in whole rounds of the workers, each about half a second, never more than there are chunks
    rounds = max(1, math.ceil(seconds / n_workers / TASK_SECONDS))
    sums = 8 * n_components * (1 + n_features + packed_size(n_features))
    kept = min(math.ceil(total / n_workers), resident_bytes)
    matrices = 8 * n_components * n_features**2
    return Plan(
        n_rows=n_rows,
        n_features=n_features,
        n_components=n_components,
        n_chunks=len(references),
        n_tasks=max(1, min(len(references), rounds * n_workers)),
        n_workers=n_workers,
        pass_bytes=total,
        resident=total <= resident_bytes * n_workers,
        task_bytes=PROCESS_BYTES + 3 * largest + 12 * sums + 8 * matrices + (32 << 20),
        worker_bytes=worker_bytes,
        kept_bytes=kept,
        seconds=seconds,
    )


def _size(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
