"""Costs: what a fit took, in time, reading and memory."""

import resource
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from dgmmis.callback import Record
from dgmmis.errors import ClusterError, counted, size_named
from dgmmis.execution.executor import Executor
from dgmmis.spent import Spent

KINDS: Mapping[str, str] = {
    "compute": "computing",
    "read": "reading",
    "reduce": "joining sums and waiting",
    "driver": "in the driver",
    "around": "before, between and after",
}
"""What the kinds of time are called."""

SHOWN = 0.005
"""Of the time, at least, that is worth a word."""

NOTICEABLE = 0.5
"""Seconds of compiling that are worth a word."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a fit took, from its first sitting to the last.

    Args:
        seconds: in all.
        spent: where they went: in all readings of the data, and in the driver during the passes of the history.
        around: the rest: the start of a cluster, the first models, moves and other models, standard errors, and what
            an interrupted sitting did in vain.
        compile_seconds: for kernels that a machine had not compiled before.
        workers, processes: that shared the work.
        peak_bytes: largest memory of the process that drives.
        peak_bytes_of_a_worker: of the largest of the others that were there in the end; 0: there were none.
    """

    seconds: float
    spent: Spent
    around: float
    compile_seconds: float
    workers: int
    processes: int
    peak_bytes: int
    peak_bytes_of_a_worker: int

    @classmethod
    def of_work(
        cls, executor: Executor, spent: Spent, *, records: Sequence[Record], seconds: float, compile_seconds: float
    ) -> "Costs":
        """Of what was spent on an executor in so many seconds, with the records of the fit that was wanted."""
        workers = processes = worker_peak = 0
        with suppress(ClusterError):  # the fit is finished: nothing else is wanted of the cluster
            resources = executor.resources
            workers, processes = resources.n_workers, resources.n_processes
            if not executor.in_process:
                worker_peak = max(executor.everywhere(peak_bytes), default=0)
        whole = replace(spent, driver=sum(record.spent.driver for record in records))
        around = max(0.0, seconds - whole.seconds)
        return cls(seconds, whole, around, compile_seconds, workers, processes, peak_bytes(), worker_peak)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "Costs | None":
        """Those of a run, from its document; None for a run that does not say.

        Raises:
            TypeError: the document is damaged.
        """
        table = document.get("costs")
        return None if table is None else cls(**{**table, "spent": Spent.of_document(table["spent"])})

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def shares(self) -> dict[str, float]:
        """Of the time, by kind, the largest first; they add up to one."""
        seconds = {name: self.around if name == "around" else getattr(self.spent, name) for name in KINDS}
        whole = sum(seconds.values()) or 1.0
        return {name: value / whole for name, value in sorted(seconds.items(), key=lambda pair: -pair[1])}

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.0%} {KINDS[name]}" for name, share in self.shares.items() if share >= SHOWN)
        return f"{self.seconds:.3g} s: {shares}"

    def lines(self) -> list[tuple[str, str]]:
        """In words, as (what, how much)."""
        spent = self.spent
        lines = [("time", str(self))]
        if spent.replayed:
            lines.append(("of earlier sittings", f"{spent.replayed:.3g} s of readings, not done again"))
        lines.append(
            (
                "read",
                f"{counted(spent.rows, 'row')}, {size_named(spent.bytes)}; {counted(spent.tasks, 'task')} on "
                f"{counted(self.workers, 'worker')}",
            )
        )
        if self.compile_seconds >= NOTICEABLE:
            lines.append(("compiling kernels", f"{self.compile_seconds:.1f} s, once on a machine"))
        worker = f", of a worker {size_named(self.peak_bytes_of_a_worker)}" if self.peak_bytes_of_a_worker else ""
        lines.append(("peak memory", f"of the driver {size_named(self.peak_bytes)}{worker}"))
        return lines


def peak_bytes(who: int = resource.RUSAGE_SELF) -> int:
    """The largest memory so far of this process; or, with RUSAGE_CHILDREN, of the largest that it started and that has
    ended."""
    return resource.getrusage(who).ru_maxrss << 10
