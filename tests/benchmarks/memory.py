"""`python -m tests.benchmarks.memory`: the peak memory of every process against what the plan promised.

Each case is a fit of some passes in a process of its own, on a local cluster of two workers of 1 GB, from a simulated
store that is written chunk by chunk. The kernel's high-water mark (VmHWM) of each process is what is compared.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.em import Stopping
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from tests.benchmarks.peaks import peak_bytes

RESULTS = Path(__file__).parent / "results"
WORKERS, LIMIT = 2, "1GB"


@dataclass(frozen=True)
class Case:
    """A fit: rows, features, components, passes; the memory of a worker; the kind of noise of each row."""

    n: int
    d: int
    k: int
    passes: int = 3
    limit: str = LIMIT
    noise: str = "none"

    @property
    def store(self) -> str:
        """The name of its store."""
        return f"{self.n}x{self.d}{'' if self.noise == 'none' else f'-{self.noise}'}.zarr"

    @classmethod
    def of(cls, found: dict[str, Any]) -> "Case":
        """The case of what was found, perhaps before there were all of the fields."""
        return cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})


CASES = (
    Case(100_000, 3, 3),
    Case(1_000_000, 3, 3),
    Case(10_000_000, 3, 3),
    Case(100_000_000, 3, 3),
    Case(1_000_000, 3, 100),
    Case(1_000_000, 3, 1000, 2),
    Case(1_000_000, 3, 5000, 2),
    Case(100_000, 15, 1000, 2),
    Case(16_384, 20, 12_000, 2, "4GB"),
    Case(100_000, 4, 2000, 2, noise="diagonal"),
)


def mixture(k: int, d: int) -> GaussianMixture:
    """Components of unit width, far enough apart to be told from one another where they are few."""
    rng = np.random.default_rng(k)
    return GaussianMixture(
        rng.dirichlet(np.full(k, 5.0)), 4 * rng.normal(size=(k, d)), np.broadcast_to(np.eye(d), (k, d, d))
    )


def chunks(n: int, d: int) -> Iterator[np.ndarray]:
    """The rows, some of them at a time; the same ones on every machine."""
    centres = mixture(8, d).means
    for number, start in enumerate(range(0, n, CHUNK_ROWS)):
        rng = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(number,)))
        rows = min(CHUNK_ROWS, n - start)
        yield rng.standard_normal((rows, d)) + centres[rng.integers(8, size=rows)]


def written(path: Path, n: int, d: int, noise: str = "none") -> None:
    """A store of the rows, unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with SurveyWriter(path, Schema(features=tuple(f"x{e}" for e in range(d)), noise=noise)) as writer:
            for number, rows in enumerate(chunks(n, d)):
                variances = np.random.default_rng(number).uniform(0.01, 0.1, rows.shape)
                writer.write(points=rows, noise=None if noise == "none" else variances)


def measured(case: Case, path: Path) -> dict[str, Any]:
    """Run a case in this process, which should be a fresh one."""
    data = Dataset.open(path)
    executor = connect(ClusterSpec("local", workers=WORKERS, memory_limit=case.limit), small=False)
    assert isinstance(executor, Distributed)
    try:
        before, idle = peak_bytes(), list(executor.client.run(peak_bytes).values())
        stopping = Stopping(1e-300, case.passes)
        result = fit(data, Start(case.k, mixture(case.k, case.d)), stopping=stopping, executor=executor)
        workers = list(executor.client.run(peak_bytes).values())
    finally:
        executor.close()
    moments = result.last.moments
    return {
        **asdict(case),
        "moments_bytes": moments.weight.nbytes + moments.mean_score.nbytes + moments.covariance_score.nbytes,
        "plan": asdict(result.plan),
        "driver_idle": before,
        "driver": peak_bytes(),
        "workers_idle": idle,
        "workers": workers,
        "seconds": result.seconds,
    }


def table(found: list[dict[str, Any]]) -> str:
    """What was measured and promised, in MB."""
    lines = [
        "| rows x features, components | moments | kept | worker: peak | promised | driver: peak | promised |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        plan = one["plan"]
        promised = plan["task_bytes"] + plan["kept_bytes"]
        cells = [
            f"{one['n']:.0e} x {one['d']}, {one['k']}" + (", noise" if Case.of(one).noise != "none" else ""),
            *(
                f"{value / 1e6:.3g}" if value < 1e9 else f"{value / 1e6:.0f}"
                for value in (
                    one["moments_bytes"],
                    plan["kept_bytes"],
                    max(one["workers"]),
                    promised,
                    one["driver"],
                    plan["driver_bytes"],
                )
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "In MB, resident; the larger of two workers; the driver's process has the scheduler in it.", ""]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases, or one of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks memory", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the stores are written, and left; else a temporary folder")
    parser.add_argument("--largest", type=int, default=10**8, help="leave out cases of more rows")
    parser.add_argument("--smallest", type=int, default=0, help="leave out cases of fewer rows; their results stay")
    parser.add_argument("--case", type=int, help="run this one alone, here, and say what it found as JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if given.case is not None:
            case = CASES[given.case]
            written(folder / case.store, case.n, case.d, case.noise)
            sys.stdout.write(json.dumps(measured(case, folder / case.store)) + "\n")
            return
        file = RESULTS / "memory.json"
        before = json.loads(file.read_text())["cases"] if file.exists() else []
        known = {Case.of(one): one for one in before}
        for number, case in enumerate(CASES):
            if given.smallest <= case.n <= given.largest:
                written(folder / case.store, case.n, case.d, case.noise)  # here, so that it is not in the peak
                command = [sys.executable, "-m", "tests.benchmarks.memory", "--folder", str(folder)]
                out = subprocess.run([*command, "--case", str(number)], check=True, capture_output=True, text=True)
                known[case] = json.loads(out.stdout.splitlines()[-1])
                sys.stdout.write(table([known[case]]).splitlines()[2] + "\n")
                sys.stdout.flush()
                save([known[one] for one in CASES if one in known])


def save(found: list[dict[str, Any]]) -> None:
    """Write what was found."""
    machine = {"system": platform.platform(), "python": platform.python_version(), "numpy": np.__version__}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps({"machine": machine, "cases": found}, indent=1) + "\n")
    (RESULTS / "memory.md").write_text(table(found))


if __name__ == "__main__":
    main()
