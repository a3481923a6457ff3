"""Peaks of resident memory of every process, against what the plan promises: flat in the number of rows."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from dgmmis.callback import Callback, Step
from dgmmis.dataset.dataset import Dataset
from dgmmis.em import Stopping
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.executor import grouped
from dgmmis.execution.serial import Threads
from dgmmis.execution.tree import Partial
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.selection import HalfSpace
from dgmmis.survey import Survey
from tests.benchmarks.memory import Case, mixture, written
from tests.benchmarks.overhead import Value
from tests.benchmarks.peaks import peak_bytes

ROOT = Path(__file__).parent.parent
MEGABYTE = 1_000_000


def in_a_fresh_process(code: str) -> Any:
    """What code prints as JSON: peaks are of a process's whole life."""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def fit_of(case: Case, folder: Path) -> str:
    """Measures a case, and prints what was found."""
    return (
        "import json, pathlib, sys; from tests.benchmarks.memory import Case, measured, written\n"
        f"path, case = pathlib.Path({str(folder / f'{case.n}x{case.d}.zarr')!r}), {case!r}\n"
        "sys.stdout.write(json.dumps(measured(case, path)))"
    )


@pytest.mark.slow
def test_the_driver_holds_nothing_of_the_size_of_the_data(tmp_path: Path) -> None:
    """Twenty times the rows, 91 MB more of them: the driver, with the scheduler in it, grows by none of that."""
    found = []
    for n in (200_000, 4_000_000):
        case = Case(n, 3, 3)
        written(tmp_path / f"{n}x3.zarr", n, 3)
        found.append(in_a_fresh_process(fit_of(case, tmp_path)))
    few, many = [one["driver"] - one["driver_idle"] for one in found]
    assert many - few < 5 * MEGABYTE * 3.8
    for one in found:
        plan = one["plan"]
        assert max(one["workers"]) < plan["task_bytes"] + plan["kept_bytes"]
        assert one["driver"] < plan["driver_bytes"]


@pytest.mark.slow
def test_many_components_stay_within_the_plan(tmp_path: Path) -> None:
    """Moments of 4 MB, models of 7 MB."""
    case = Case(40_000, 20, 2000, 3)
    written(tmp_path / f"{case.n}x{case.d}.zarr", case.n, case.d)
    one = in_a_fresh_process(fit_of(case, tmp_path))
    assert max(one["workers"]) < one["plan"]["task_bytes"] + one["plan"]["kept_bytes"]
    assert one["driver"] < one["plan"]["driver_bytes"]


def peaks_under_a_selection(path: Path) -> dict[str, Any]:
    """Of a fit that is never content with its points, and takes as many as there may be."""
    survey = Survey(HalfSpace([1.0, 0.0, 0.0], 2.0, softness=3.0))  # nowhere is all seen: no point is left out
    executor = connect(ClusterSpec("local", workers=2, memory_limit="1GB"), small=False)
    assert isinstance(executor, Distributed)
    try:
        start = Start(3, mixture(3, 3))
        stopping = Stopping(1e-5, imputation_error=1e-9)
        idle = executor.client.run(peak_bytes)
        found = fit(Dataset.open(path), start, survey=survey, stopping=stopping, executor=executor)
        assert found.points_of is not None
        workers = executor.client.run(peak_bytes)
    finally:
        executor.close()
    return {
        "drawn": found.points_of.n_points,
        "plan": asdict(found.plan),
        "idle": list(idle.values()),
        "workers": list(workers.values()),
        "driver": peak_bytes(),
    }


@pytest.mark.slow
def test_the_points_of_a_selection_are_within_the_plan(tmp_path: Path) -> None:
    """Some 100 MB of them against 1 MB of rows."""
    path = tmp_path / "20000x3.zarr"
    written(path, 20_000, 3)
    one = in_a_fresh_process(
        "import json, pathlib, sys; from tests.test_memory import peaks_under_a_selection\n"
        f"sys.stdout.write(json.dumps(peaks_under_a_selection(pathlib.Path({str(path)!r}))))"
    )
    plan = one["plan"]
    points = plan["unseen"]
    assert points["n_points"] / 2 < one["drawn"] <= points["n_points"]
    share = points["nbytes"] / points["n_points"] * one["drawn"] / 2
    assert max(one["workers"]) - min(one["idle"]) > share / 2  # what the test is about
    assert max(one["workers"]) < plan["task_bytes"] + plan["kept_bytes"]
    assert one["driver"] < plan["driver_bytes"]


class Spilled(Callback):
    """What workers have put on their disks for want of memory, after each pass."""

    def __init__(self, client: Client) -> None:
        self.client, self.bytes = client, list[int]()

    def on_step(self, step: Step) -> None:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        self.bytes.append(sum(worker["metrics"]["spilled_bytes"]["disk"] for worker in workers))


@pytest.mark.slow
def test_data_larger_than_the_memory_of_the_cluster_are_streamed(tmp_path: Path) -> None:
    """1.8 GB through two workers of 750 MB each: nothing is spilled, no worker restarted, the fit the same."""
    path = tmp_path / "large.zarr"
    written(path, 11_000_000, 20)
    data, start, stopping = Dataset.open(path), Start(2, mixture(2, 20)), Stopping(1e-300, 1)
    executor = connect(ClusterSpec("local", workers=2, memory_limit="750MB"), small=False)
    assert isinstance(executor, Distributed)
    try:
        before, spilled = executor.client.run(os.getpid), Spilled(executor.client)
        far = fit(data, start, stopping=stopping, executor=executor, callbacks=(spilled,))
        assert executor.client.run(os.getpid) == before
    finally:
        executor.close()
    assert far.plan.pass_bytes > 1500 * MEGABYTE
    assert not far.plan.resident
    assert {*spilled.bytes} == {0}
    near = fit(data, start, stopping=stopping, executor=Threads())
    assert far.log_likelihood == near.log_likelihood


def large(shared: int, leaf: int) -> Partial:
    """Sums of 40 MB."""
    return Partial.of([("a", leaf, Value(np.full(shared, 1.0)))])


def peaks_of_large_sums() -> dict[str, float]:
    """The driver's peak, and the largest of the workers', in sums of 40 MB, above what they had before."""
    executor = connect(ClusterSpec("local", workers=2, memory_limit="4GB"), small=False)
    assert isinstance(executor, Distributed)
    try:
        before, idle = peak_bytes(), executor.client.run(peak_bytes)
        total = executor.map_reduce(large, 5 * MEGABYTE, grouped(range(64), 16)).total("a")
        assert total.array[0] == 64
        workers = executor.client.run(peak_bytes)
        above = max(peak - idle[address] for address, peak in workers.items())
        return {"driver": (peak_bytes() - before) / total.array.nbytes, "worker": above / total.array.nbytes}
    finally:
        executor.close()


@pytest.mark.slow
def test_large_sums_are_joined_by_the_workers() -> None:
    """64 sums in 16 tasks: eight tasks' sums wait to be joined at the most, and one comes back."""
    found = in_a_fresh_process(
        "import json, sys; from tests.test_memory import peaks_of_large_sums\n"
        "sys.stdout.write(json.dumps(peaks_of_large_sums()))"
    )
    assert found["driver"] < 5
    assert found["worker"] < 4 + 2 * 8 + 2
