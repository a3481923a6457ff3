"""Tycho-2, from the catalogue to a model: real size, own errors, missing blocks, on the local cluster."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.callback import History, Step
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.ingest import Columns
from dgmmis.em import Stopping
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.model import Model
from dgmmis.plan import Work as Size
from dgmmis.plan import make_plan
from tests.benchmarks.machine import Machine
from tests.benchmarks.peaks import peak_bytes, peaks_of
from tests.benchmarks.pruning import is_there, without_pruning
from tests.benchmarks.results import Run
from tests.benchmarks.stores import ordered_ingest

NAMES = ("pmRA_x10", "pmDE_x10", "BT_x1000", "VT_x1000")
SCALE = {"pmRA_x10": 0.1, "pmDE_x10": 0.1, "BT_x1000": 1e-3, "VT_x1000": 1e-3}
COMPONENTS = 100
SECONDS, UNPRUNED_SECONDS = 1800.0, 120.0
"""That passes may take with pruning, and without, where only the seconds of one are wanted."""

ARRIVED = Stopping().arrived
"""Standard errors from where the maximum is expected."""

FEWEST = 3
"""Passes at least: the first loads."""


class OutOfTime(Exception):
    """The fit has had its time."""


class Watched(History):
    """Keeps the records, and ends the fit when its passes have had their time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._until = seconds, np.inf

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        self._until = time.perf_counter() + self._seconds

    def on_step(self, step: Step) -> None:
        super().on_step(step)
        if time.perf_counter() > self._until and len(self.records) >= FEWEST:
            raise OutOfTime


def tycho(
    source: Path,
    *,
    components: int = COMPONENTS,
    seconds: float = SECONDS,
    unpruned: float = UNPRUNED_SECONDS,
    arrived: float = ARRIVED,
) -> Run:
    """Ingest and fit, with pruning and then without, from the same start by the same rule; times are of this run."""
    columns = Columns(features=NAMES, errors=tuple(f"e_{name}" for name in NAMES), scale=SCALE)
    found: dict[str, Any] = {"components": components, "arrived": arrived}
    start, stopping = Start(components), Stopping(max_iter=3000, arrived=arrived)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "tycho.zarr"
        started = time.perf_counter()
        found["ordered"] = ordered_ingest(source, store, columns)
        found["ingest_seconds"], found["ingest_peak"] = time.perf_counter() - started, peak_bytes()
        data = Dataset.open(store)
        found["n"] = data.n_rows
        with contextlib.closing(connect(ClusterSpec("local"), small=False)) as executor:
            plan = make_plan(data.references, Size.of(data, components), executor.resources)
            found["task_bytes"], found["kept_bytes"] = plan.task_bytes, plan.kept_bytes
            found["on"] = _fitted(store, executor, start, stopping, seconds)
            found["peaks"] = peaks_of(executor)
            found["off"] = None
            if is_there():
                with without_pruning(executor):
                    found["off"] = _fitted(store, executor, start, stopping, unpruned)
    today = datetime.now(UTC).date().isoformat()
    return Run("tycho", today, False, Machine.here(), extras={"tycho": found})


def lines(found: Mapping[str, Any]) -> list[str]:
    """As a table."""
    on, off = found["on"], found["off"]
    peaks = ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in found["peaks"].items())
    order = "in the order of space" if found["ordered"] else "in the catalogue's order"
    made = [
        "| what | measured |",
        "|---|---|",
        f"| rows x features, components | {found['n']:,} x 4, {found['components']} |",
        f"| standard errors from where the maximum is expected | {found['arrived']:g}, or less for `tol` |",
        f"| ingest from parquet, {order} | {found['ingest_seconds']:.1f} s, peak {found['ingest_peak'] / 1e6:.0f} MB |",
        f"| seconds a pass (median, min-max) | {_middle(on):.2f} ({_range(on['pass_seconds'])}) |",
        *_ended(on),
    ]
    if off is not None:
        both = min(len(on["pass_seconds"]), len(off["pass_seconds"]))
        without, with_it = (statistics.median(of["pass_seconds"][:both]) for of in (off, on))
        made += [
            f"| without pruning: seconds a pass | {_middle(off):.2f} ({_range(off['pass_seconds'])}) |",
            f"| times those with it, over the first {both} passes | {without / with_it:.3f} |",
            *_ended(off),
        ]
    made.append(f"| peak memory | {peaks} |")
    kept, task = found["kept_bytes"] / 1e6, found["task_bytes"] / 1e6
    made.append(f"| planned for the tasks of a process, and kept between passes | {task:.0f} MB, {kept:.0f} MB |")
    return made


def _middle(fitted: Mapping[str, Any]) -> float:
    """Seconds of a pass, the median."""
    return statistics.median(fitted["pass_seconds"])


def _ended(fitted: Mapping[str, Any]) -> list[str]:
    return [
        f"| passes, status | {fitted['passes']}, {fitted['status']} |",
        f"| whole fit; log-likelihood per object | {fitted['seconds']:.0f} s; {fitted['log_likelihood']:.7f} |",
    ]


def _fitted(store: Path, executor: Any, start: Start, stopping: Stopping, seconds: float) -> dict[str, Any]:
    watched, started = Watched(seconds), time.perf_counter()
    status, passes = f"stopped after {seconds:.0f} s", None
    try:
        result = fit(
            Dataset.open(store),
            start,
            stopping=stopping,
            executor=executor,
            callbacks=[watched],
        )
    except OutOfTime:
        pass
    else:
        status, passes = result.status.name.lower(), result.n_passes
    records = watched.records
    return {
        "status": status,
        "passes": len(records) if passes is None else passes,
        "seconds": time.perf_counter() - started,
        "pass_seconds": [record.seconds for record in records[1:]],
        "log_likelihood": records[-1].log_likelihood,
    }


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.2f}-{max(seconds):.2f}"
