"""`python -m tests.calibration`: are the errors right? Many surveys of each kind, fitted; (estimate - truth) / error.

The pulls of every parameter should have mean 0 and width 1, and 68.3 % and 95.4 % of them should be within 1 and 2.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.calibration.pulls import Survey, fitted
from tests.calibration.table import document
from tests.cases import CASES


def surveys(name: str, n: int, pool: ProcessPoolExecutor) -> Iterator[Survey]:
    """Seeds 0 to n - 1 of a case, as they are done."""
    yield from pool.map(fitted, [name] * n, range(n))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description=__doc__)
    calibrated = [case.name for case in CASES.values() if case.calibrated]
    parser.add_argument("--surveys", type=int, default=100, help="how many of each kind")
    parser.add_argument("--cases", nargs="+", default=calibrated, choices=list(CASES), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("TABLE.md"))
    given = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before the processes start, which inherit it
    done: dict[str, list[Survey]] = {}
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for name in given.cases:
            started = time.perf_counter()
            done[name] = list(surveys(name, given.surveys, pool))
            sys.stdout.write(f"{name}: {time.perf_counter() - started:.0f} s\n")
            sys.stdout.flush()
            given.out.write_text(document(done))  # what there is, should it be stopped
    sys.stdout.write(document(done))


if __name__ == "__main__":
    main()
