"""Cost against K: the same number of rows, more and more components that are smaller and smaller. With pruning, and
without while that is bearable."""

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.dataset import Dataset
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.initialize import Start
from tests.benchmarks.machine import Machine
from tests.benchmarks.passes import timed_passes
from tests.benchmarks.pruning import is_there, without_pruning
from tests.benchmarks.results import Run
from tests.benchmarks.stores import write
from tests.benchmarks.works import Work, local_work

COUNTS = (10, 30, 100, 300, 1000, 3000, 10000)
N, N_QUICK = 200_000, 20_000
PASSES = 3
BEARABLE = 8.0
"""Seconds of a pass without pruning beyond which it is not done."""


def sweep(*, quick: bool, counts: Sequence[int] = COUNTS) -> list[dict[str, Any]]:
    """For each K the seconds of passes with pruning, and without (None: not done)."""
    rows: list[dict[str, Any]] = []
    with contextlib.closing(connect(ClusterSpec("threads"), small=True)) as executor:
        for k in counts:
            work = local_work(k, N_QUICK if quick else N)
            last = rows[-1] if rows else None
            expected = 0.0 if last is None else np.inf if last["off"] is None else _middle(last["off"]) * k / last["k"]
            with tempfile.TemporaryDirectory() as folder:
                files = write(work, Path(folder))
                on = _seconds(work, files.store, executor, PASSES)
                off = None
                if is_there() and expected < BEARABLE:
                    with without_pruning():
                        off = _seconds(work, files.store, executor, 2)
            rows.append({"k": k, "n": work.n, "ordered": files.ordered, "pruned": is_there(), "on": on, "off": off})
            sys.stderr.write(f"K={k}: {_middle(on):.3g} s\n")
    return rows


def slope(rows: Sequence[Mapping[str, Any]]) -> float:
    """d log seconds / d log K over the upper half of the counts: one where cost is linear."""
    upper = rows[len(rows) // 2 :]
    seconds = [_middle(row["on"]) for row in upper]
    return float(np.polyfit(np.log([row["k"] for row in upper]), np.log(seconds), 1)[0])


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """As a table."""
    made = ["| K | s a pass (median, min-max) | without pruning | times faster |", "|---|---|---|---|"]
    for row in rows:
        on = _middle(row["on"])
        off = None if row["off"] is None else _middle(row["off"])
        rest = "| |" if off is None else f"{off:.3g} | {off / on:.1f} |"
        made.append(f"| {row['k']} | {on:.3g} ({min(row['on']):.3g}-{max(row['on']):.3g}) | {rest}")
    rate = slope(rows)
    made += ["", f"Over the upper half of these K, the seconds grow as K^{rate:.2f}."]
    if not rows[0]["ordered"]:
        made.append("Rows were not in the order of space.")
    return made


def run(*, quick: bool) -> Run:
    found = sweep(quick=quick)
    return Run("components", datetime.now(UTC).date().isoformat(), quick, Machine.here(), extras={"components": found})


def _seconds(work: Work, store: Path, executor: Any, n: int) -> list[float]:
    start = Start(work.k, work.start())
    (_, *seconds), _ = timed_passes(work, Dataset.open(store), start, executor, n)
    return seconds


def _middle(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)
