"""Peaks of resident memory of every process, against what the plan promises: flat in the number of rows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.executor import grouped
from dgmmis.execution.tree import Partial
from tests.benchmarks.memory import Case, written
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
