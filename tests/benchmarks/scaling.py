"""`python -m tests.benchmarks.scaling`: strong and weak scaling on this machine, and a model of a pass for larger ones.

The model (`scaling_model`) is fitted to passes of tiny tasks on up to 64 workers in this process, checked on passes
that it has not seen, and used to say what 1e9 objects would cost on 1000 workers.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

from dgmmis.callback import History
from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.dataset import Dataset
from dgmmis.em import Stopping
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.executor import grouped
from dgmmis.execution.tree import Partial
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.linalg import packed_size
from dgmmis.plan import Work
from tests.benchmarks.memory import RESULTS, mixture, written
from tests.benchmarks.scaling_model import TERMS, Pass, PassModel, task_seconds

CORES = len(os.sched_getaffinity(0))
FITTED, CHECKED = (1, 4, 16, 64), (2, 8, 32)
"""Workers of the passes that the model is fitted to, and of those that it is checked on."""

REPEATS = 3
"""Workers in processes of their own are measured as many as there are cores, and four times as many."""

BANDWIDTH = 1e9
"""Bytes per second that a worker reads and unpacks, on paper: one core unpacks 2.3e9, disks and networks give less."""

LEFT_OUT = """
What the model leaves out: the network, whose latency and bandwidth are those of one machine's loopback here (workers
share this process, its interpreter and its cores, so joins and broadcast are dearer than on as many machines, and on a
congested network cheaper than there); file systems that slow down when a thousand workers read at once; stragglers and
workers that die; pruning, which makes tasks of unequal length; imputed points, which are more tasks; the M-step in the
driver (3 ms at K=32, 10 ms at K=1000), and quasi-Newton's looks at the information.
""".strip()


@dataclass
class Value:
    """Sums that do nothing but take room."""

    array: np.ndarray

    def __add__(self, other: "Value") -> "Value":
        return Value(self.array + other.array)


def sleeps(shared: tuple[float, int, np.ndarray], number: int) -> Partial:
    """A task that lasts some seconds and gives sums of some numbers."""
    seconds, numbers, _ = shared
    time.sleep(seconds)
    return Partial.of([("sum", number, Value(np.ones(numbers)))])


def tiny_passes(workers: int) -> list[Pass]:
    """Of tiny tasks: their number, length, sums and model varied one by one, and some together."""
    hands = min(workers, CORES)
    return [
        Pass(workers, hands, tasks, seconds, sums, model)
        for tasks, seconds, sums, model in (
            (workers, 0.0, 1e3, 1e3),
            (3 * workers, 0.0, 1e3, 1e3),
            (2 * workers, 0.2, 1e3, 1e3),
            (workers, 0.0, 1e6, 1e3),
            (workers, 0.0, 1e3, 1e6),
            (2 * workers, 0.05, 3e5, 3e5),
        )
    ]


def measured(passes: Sequence[Pass], *, apart: bool) -> list[float]:
    """The least seconds of some repetitions of each pass; all have the same workers, in processes of their own or in
    this one."""
    workers = passes[0].workers
    cluster_of = {"processes": apart, "protocol": "tcp", "threads_per_worker": 1, "memory_limit": 0}
    with LocalCluster(n_workers=workers, dashboard_address=None, **cluster_of) as cluster, Client(cluster) as client:
        client.wait_for_workers(workers)
        executor = Distributed(client)
        found = []
        for of in passes:
            shared = (of.task_seconds, int(of.sum_bytes) // 8, np.ones(int(of.model_bytes) // 8))
            groups = grouped(range(of.tasks), of.tasks)
            executor.map_reduce(sleeps, shared, groups)
            seconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                executor.map_reduce(sleeps, shared, groups)
                seconds.append(time.perf_counter() - started)
            found.append(min(seconds))
            where = "processes" if apart else "workers"
            say(f"{workers} {where}, {of.tasks} tasks of {of.task_seconds} s, {of.sum_bytes:.0e} B: {found[-1]:.3f} s")
    return found


def tiny(workers: int, *, apart: bool) -> list[dict[str, Any]]:
    """Passes of tiny tasks, and their seconds."""
    some = tiny_passes(workers)
    return [asdict(of) | {"seconds": s} for of, s in zip(some, measured(some, apart=apart), strict=True)]


def scheduler_seconds(few: int = 64, many: int = 448) -> float:
    """Processor seconds that the scheduler, and the driver in its process, spend on a task, workers being elsewhere."""
    executor = connect(ClusterSpec("local", workers=2), small=False)
    shared, spent = (0.0, 100, np.ones(100)), []
    for tasks in (few, few, many):
        started = time.process_time()
        executor.map_reduce(sleeps, shared, grouped(range(tasks), tasks))
        spent.append(time.process_time() - started)
    executor.close()
    handed = [tasks + sum(Pass(2, 2, tasks, 0.0, 0.0, 0.0).levels) for tasks in (few, many)]
    return (spent[2] - spent[1]) / (handed[1] - handed[0])


def real_passes(folder: Path, rows: int, d: int, k: int) -> list[dict[str, Any]]:
    """Seconds a pass of real fits on 1, 2, 4 ... workers: of the same rows, and of as many rows each."""
    found = []
    counts = [1 << power for power in range(CORES.bit_length())]
    for weak in (False, True):
        for workers in counts:
            n = rows * workers if weak else rows * counts[-1]
            written(folder / f"{n}x{d}.zarr", n, d)
            executor = connect(ClusterSpec("local", workers=workers), small=False)
            history, stopping = History(), Stopping(1e-300, 6)
            data = Dataset.open(folder / f"{n}x{d}.zarr")
            fit(data, Start(k, mixture(k, d)), stopping=stopping, executor=executor, callbacks=[history])
            executor.close()
            seconds = [record.seconds for record in history.records[1:]]
            middle = statistics.median(seconds)
            found.append({"weak": weak, "workers": workers, "rows": n, "d": d, "k": k, "seconds": middle})
            say(f"{'weak' if weak else 'strong'}: {workers} workers, {n:,} rows: {middle:.3f} s")
    return found


def on_paper(model: PassModel, n: int, d: int, k: int, workers: int, *, kept: bool) -> dict[str, Any]:
    """A pass over n exact rows of d float64 features on so many workers, each with a core of its own, by terms."""
    row_bytes = 8 * d
    work = Work(n, d, k, row_bytes, noisy=False)
    chunks = -(-n // CHUNK_ROWS)
    tasks = min(chunks, work.turns(workers) * workers)
    lasts = task_seconds(work.seconds / tasks, n * row_bytes / tasks, BANDWIDTH, kept=kept)
    sums, size = 8 * k * (1 + d + packed_size(d)), 8 * k * (1 + d + d * d)
    of = Pass(workers, workers, tasks, lasts, sums, size)
    ideal = {"ideal": work.seconds / workers}
    return {"n": n, "d": d, "k": k, "workers": workers, "tasks": tasks, "kept": kept, **model.terms(of), **ideal}


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _predictions(passes: Sequence[Mapping[str, Any]]) -> str:
    """Passes with what was measured and what the model makes of them."""
    rows = [
        [
            str(one["workers"]),
            str(one["tasks"]),
            f"{one['task_seconds']}",
            f"{one['sum_bytes']:.0e}",
            f"{one['model_bytes']:.0e}",
            f"{one['seconds']:.3f}",
            f"{one['predicted']:.3f}",
            f"{one['predicted'] / one['seconds'] - 1:+.0%}",
        ]
        for one in passes
    ]
    return table(rows, ["workers", "tasks", "s a task", "B of sums", "B of model", "measured", "predicted", "error"])


def report(found: dict[str, Any]) -> str:
    """What was measured, what the model makes of it, and what it says of larger clusters."""
    model, real = found["model"], found["real"]
    alone = {weak: next(one["seconds"] for one in real if one["weak"] == weak) for weak in (False, True)}
    measured_rows = [
        [
            "weak" if one["weak"] else "strong",
            str(one["workers"]),
            f"{one['rows']:,} x {one['d']}, K={one['k']}",
            f"{one['seconds']:.3f}",
            f"{alone[one['weak']] / one['seconds'] / (1 if one['weak'] else one['workers']):.0%}",
        ]
        for one in real
    ]
    terms = TERMS[:-1]
    paper = [
        [
            f"{one['n']:.0e} x {one['d']}, K={one['k']}",
            str(one["workers"]),
            str(one["tasks"]),
            "kept" if one["kept"] else "read",
            *(f"{one[term]:.3f}" for term in terms),
            f"{sum(one[term] for term in terms):.2f}",
            f"{one['ideal'] / sum(one[term] for term in terms):.0%}",
        ]
        for one in found["paper"]
    ]
    errors = np.abs([one["predicted"] / one["seconds"] - 1 for one in found["checked"]])
    within = np.abs([one["predicted"] / one["seconds"] - 1 for one in found["fitted"]])
    return "\n\n".join(
        [
            "# A pass, on this machine and on larger ones",
            table(measured_rows, ["scaling", "workers", "work", "seconds a pass", "efficiency"]),
            f"Model: {model['start'] * 1e3:.3g} ms a pass, {model['per_task'] * 1e3:.3g} ms a task or join, "
            f"{model['work']:.3g} times a task's length, {model['per_sum_byte'] * 1e9:.3g} ns a byte of sums joined, "
            f"{model['per_model_byte'] * 1e9:.3g} ns a byte of the model and worker, "
            f"{model['crowding'] * 1e3:.2g} ms for each pair of workers, which share this process. Relative error on "
            f"the passes it was fitted to: median {np.median(within):.0%}, largest {within.max():.0%}; on passes it "
            f"has not seen ({', '.join(map(str, CHECKED))} workers): median {np.median(errors):.0%}, largest "
            f"{errors.max():.0%}.",
            "![measured and predicted](scaling.png)",
            _predictions(found["checked"]),
            "The same passes where workers have processes of their own (the model then has no crowding, and of a task "
            "only what scheduler and driver spend on it), none of which the fit has seen:",
            _predictions(found["apart"]),
            "On paper, each worker with a core of its own (seconds; efficiency: of arithmetic alone to all of it). A "
            "task or join is counted with what the scheduler and the driver spend on it, "
            f"{found['scheduler_per_task'] * 1e3:.2g} ms, measured with the workers in other processes: what workers "
            "in this process spend of its interpreter is theirs there.",
            table(paper, ["objects", "workers", "tasks", "chunks", *terms, "in all", "efficiency"]),
            LEFT_OUT,
            "",
        ]
    )


def draw(found: dict[str, Any], path: Path) -> None:
    """Measured against predicted; and a pass over 1e9 objects against the number of workers."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, label, marker in (("fitted", "fitted to", "o"), ("checked", "not seen by the fit", "x")):
        seconds = [one["seconds"] for one in found[name]]
        left.loglog(seconds, [one["predicted"] for one in found[name]], marker, label=label, mfc="none")
    ends = [min(one["seconds"] for one in found["fitted"]), max(one["seconds"] for one in found["fitted"])]
    left.loglog(ends, ends, "k-", lw=0.8)
    left.set(xlabel="measured seconds of a pass", ylabel="seconds by the model", title="tiny tasks, up to 64 workers")
    left.legend(frameon=False)
    model = replace(PassModel(**found["model"]), per_task=found["scheduler_per_task"], crowding=0.0)
    terms = TERMS[:-1]
    for d, k in ((3, 32), (6, 32), (3, 1000), (6, 1000)):
        counts = np.unique(np.logspace(0, 4, 60).astype(int))
        paper = [on_paper(model, 10**9, d, k, int(count), kept=True) for count in counts]
        right.loglog(counts, [sum(one[term] for term in terms) for one in paper], label=f"d={d}, K={k}")
    right.set(xlabel="workers", ylabel="seconds of a pass, by the model", title="1e9 objects, chunks kept: on paper")
    right.legend(frameon=False)
    figure.savefig(path, dpi=120)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def finished(found: dict[str, Any]) -> None:
    """Put in the model of what was measured, its predictions, and what it says of 1000 workers."""
    passes = {
        name: [Pass(**{key: one[key] for key in Pass.__dataclass_fields__}) for one in found[name]]
        for name in ("fitted", "checked", "apart")
    }
    model = PassModel.fitted(passes["fitted"], [one["seconds"] for one in found["fitted"]])
    found["model"] = asdict(model)
    together = model
    model = replace(model, per_task=found["scheduler_per_task"], crowding=0.0)  # workers on machines of their own
    for name, by in (("fitted", together), ("checked", together), ("apart", model)):
        for of, one in zip(passes[name], found[name], strict=True):
            one["predicted"] = by.seconds(of)
    found["paper"] = [
        on_paper(model, 10**9, d, k, 1000, kept=kept)
        for k in (32, 1000)
        for d in (3, 4, 5, 6)
        for kept in (True, False)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, fit, check, predict."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks scaling", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the stores are written, and left; else a temporary folder")
    parser.add_argument("--rows", type=int, default=200_000, help="of each worker")
    parser.add_argument("--go-on", action="store_true", help="keep what an interrupted run has measured")
    given = parser.parse_args(arguments)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "scaling.json"
    machine: dict[str, Any] = {"system": platform.platform(), "python": platform.python_version(), "cores": CORES}
    machine["load"] = os.getloadavg()[0]  # others at work on the machine make everything longer
    found: dict[str, Any] = {"machine": machine, "fitted": [], "checked": [], "real": []}
    if given.go_on and file.exists():
        found |= json.loads(file.read_text())
    for name, counts in (("fitted", FITTED), ("checked", CHECKED)):
        for workers in counts:
            if all(one["workers"] != workers for one in found[name]):
                some = tiny_passes(workers)
                found[name] += [
                    asdict(of) | {"seconds": s} for of, s in zip(some, measured(some, apart=False), strict=True)
                ]
                file.write_text(json.dumps(found, indent=1) + "\n")
    if not found["real"]:
        with tempfile.TemporaryDirectory() as temporary:
            found["real"] = real_passes(given.folder or Path(temporary), given.rows, 6, 32)
    found["scheduler_per_task"] = scheduler_seconds()
    found["apart"] = [one for workers in (1, CORES, 4 * CORES) for one in tiny(workers, apart=True)]
    finished(found)
    file.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "scaling.md").write_text(report(found))
    draw(found, RESULTS / "scaling.png")


if __name__ == "__main__":
    main()
