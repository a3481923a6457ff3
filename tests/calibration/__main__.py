"""`python -m tests.calibration`: are the errors right? Many surveys of each kind, fitted; (estimate - truth) / error.

The pulls of every parameter should have mean 0 and width 1, and 68.3 % and 95.4 % of them should be within 1 and 2:
`pulls`, of every kind of survey, writes TABLE.md. `coverage` counts the intervals that hold the truth, for all that a
fit states and every form of its errors, over more surveys of fewer kinds, and writes COVERAGE.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.calibration import coverage_table, table
from tests.calibration.coverage import KINDS, Judged, judged
from tests.calibration.pulls import Survey, fitted
from tests.cases import CASES

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description=__doc__)
    parser.add_argument("what", nargs="?", default="pulls", choices=["pulls", "coverage"])
    parser.add_argument("--surveys", type=int, help="how many of each kind (pulls: 100; coverage: by kind, 100 to 400)")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="which kinds; all unless given")
    parser.add_argument("--replicates", type=int, default=40, help="of a bootstrap (coverage)")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="where the table goes")
    given = parser.parse_args()
    calibrated = [case.name for case in CASES.values() if case.calibrated]
    cases = given.cases or (calibrated if given.what == "pulls" else list(KINDS))
    unknown = [name for name in cases if name not in (CASES if given.what == "pulls" else KINDS)]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before the processes start, which inherit it
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        if given.what == "pulls":
            _pulls(pool, cases, given.surveys or 100, given.out or HERE / "TABLE.md")
        else:
            _coverage(pool, cases, given.surveys, given.replicates, given.out or HERE / "COVERAGE.md")


def _pulls(pool: ProcessPoolExecutor, cases: Sequence[str], n: int, out: Path) -> None:
    done: dict[str, list[Survey]] = {}
    for name in cases:
        started = time.perf_counter()
        done[name] = list(pool.map(fitted, [name] * n, range(n)))
        _write(out, table.document(done), name, started)
    sys.stdout.write(table.document(done))


def _coverage(pool: ProcessPoolExecutor, cases: Sequence[str], n: int | None, replicates: int, out: Path) -> None:
    done: dict[str, list[Judged]] = {}
    for name in cases:
        started, seeds = time.perf_counter(), range(n or KINDS[name].n_surveys)
        each = [replicates if seed < KINDS[name].n_bootstraps else 0 for seed in seeds]
        done[name] = list(pool.map(judged, [name] * len(seeds), seeds, each))
        _write(out, coverage_table.document(done, replicates), name, started)
    sys.stdout.write(coverage_table.document(done, replicates))


def _write(out: Path, text: str, name: str, started: float) -> None:
    """What there is so far, should it be stopped."""
    out.write_text(text)
    sys.stdout.write(f"{name}: {time.perf_counter() - started:.0f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
