"""What compiling the kernels costs: the first start on a machine, with an empty cache, and the second.

The child is this module, too: `python -m tests.benchmarks.compilation WORK`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.initialize import Start
from tests.benchmarks.passes import timed_passes
from tests.benchmarks.process import ROOT
from tests.benchmarks.works import Work, find_work

ROWS = 5000
"""Enough to need all kernels, so few that computing takes next to nothing."""


def compilation(works: Sequence[Work]) -> list[dict[str, Any]]:
    """Of each work, in seconds: the first pass of a process with an empty cache, of the next process, and a pass."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for work in works:
            cache = Path(folder) / work.name  # of its own: works share kernels
            environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
            first, second = (_child(work, environment) for _ in range(2))
            rows.append(
                {
                    "work": work.name,
                    "empty": first["first"],
                    "second": second["first"],
                    "pass": second["pass"],
                    "bytes": sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()),
                }
            )
    return rows


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """As a table."""
    made = ["| work | first start on a machine, s | second start, s | a later pass, s | kept on disk, MB |"]
    made.append("|---|---|---|---|---|")
    made += [
        f"| {row['work']} | {row['empty']:.2f} | {row['second']:.2f} | {row['pass']:.3f} | {row['bytes'] / 1e6:.1f} |"
        for row in rows
    ]
    return made


def _child(work: Work, environment: Mapping[str, str]) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.compilation", work.name],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
        timeout=300,
    )
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def main(name: str) -> None:
    work = find_work(name)
    work = work.scaled(ROWS / work.n)
    data = ArrayDataset.of(work.points(), work.noise())
    start = Start(work.k, work.start(), cutoff=work.cutoff)
    # a start's preparation looks at some rows, too: all up to the end of the first pass counts
    started = time.perf_counter()
    timed_passes(work, data, start, None, 0)
    first = time.perf_counter() - started
    started = time.perf_counter()
    timed_passes(work, data, start, None, 0)
    sys.stdout.write(json.dumps({"first": first, "pass": time.perf_counter() - started}))


if __name__ == "__main__":
    main(sys.argv[1])
