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

FEWEST = 3
"""Passes at least: the first loads."""


class OutOfTime(Exception):
    """The fit has had its time."""


class Watched(History):
    """Keeps the records and the last model, and ends the fit when its passes have had their time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._until = seconds, np.inf
        self.model: Model | None = None

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        self._until = time.perf_counter() + self._seconds

    def on_step(self, step: Step) -> None:
        super().on_step(step)
        self.model = step.model
        if time.perf_counter() > self._until and len(self.records) >= FEWEST:
            raise OutOfTime


def tycho(
    source: Path, *, components: int = COMPONENTS, seconds: float = SECONDS, unpruned: float = UNPRUNED_SECONDS
) -> Run:
    """Ingest and fit; times are of this run."""
    columns = Columns(features=NAMES, errors=tuple(f"e_{name}" for name in NAMES), scale=SCALE)
    found: dict[str, Any] = {"components": components}
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
            found["on"], model = _fitted(store, executor, Start(components), seconds)
            found["peaks"] = peaks_of(executor)
            found["off"] = None
            if is_there():
                with without_pruning(executor):
                    start = Start(components, model.mixture)  # where most passes of the fit are
                    found["off"], _ = _fitted(store, executor, start, unpruned)
    today = datetime.now(UTC).date().isoformat()
    return Run("tycho", today, False, Machine.here(), extras={"tycho": found})


def lines(found: Mapping[str, Any]) -> list[str]:
    """As a table."""
    on, off = found["on"], found["off"]
    peaks = ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in found["peaks"].items())
    middle = statistics.median(on["pass_seconds"])
    order = "in the order of space" if found["ordered"] else "in the catalogue's order"
    made = [
        "| what | measured |",
        "|---|---|",
        f"| rows x features, components | {found['n']:,} x 4, {found['components']} |",
        f"| ingest from parquet, {order} | {found['ingest_seconds']:.1f} s, peak {found['ingest_peak'] / 1e6:.0f} MB |",
        f"| seconds a pass (median, min-max) | {middle:.2f} ({_range(on['pass_seconds'])}) |",
        f"| passes, status | {on['passes']}, {on['status']} |",
        f"| whole fit | {on['seconds']:.0f} s |",
    ]
    if off is not None:
        slower = statistics.median(off["pass_seconds"])
        made += [
            f"| without pruning: passes | {off['passes']} |",
            f"| seconds a pass | {slower:.2f} ({_range(off['pass_seconds'])}) |",
            f"| the whole fit would take, extrapolated | {slower * on['passes']:.0f} s |",
        ]
    made.append(f"| peak memory | {peaks} |")
    kept, task = found["kept_bytes"] / 1e6, found["task_bytes"] / 1e6
    made.append(f"| planned for the tasks of a process, and kept between passes | {task:.0f} MB, {kept:.0f} MB |")
    return made


def _fitted(store: Path, executor: Any, start: Start, seconds: float) -> tuple[dict[str, Any], Model]:
    watched, started = Watched(seconds), time.perf_counter()
    status, passes = f"stopped after {seconds:.0f} s", None
    try:
        result = fit(
            Dataset.open(store),
            start,
            stopping=Stopping(max_iter=3000),
            executor=executor,
            callbacks=[watched],
        )
    except OutOfTime:
        pass
    else:
        status, passes = result.status.name.lower(), result.n_passes
    records = watched.records
    assert watched.model is not None
    numbers = {
        "status": status,
        "passes": len(records) if passes is None else passes,
        "seconds": time.perf_counter() - started,
        "pass_seconds": [record.seconds for record in records[1:]],
        "log_likelihood": records[-1].log_likelihood,
    }
    return numbers, watched.model


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.2f}-{max(seconds):.2f}"
