"""`python -m tests.benchmarks.overhead`: seconds of passes without work, and of fits with next to none.

The tasks of an empty pass give sums of a size without looking at any data: what is left is handing out work, joining
sums, and the way of the model to the workers and of the sums back.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmmis.callback import Callback
from dgmmis.chunk import CHUNK_ROWS
from dgmmis.em import Pass, Stopping, em, passed
from dgmmis.execution.blas import one_blas_thread
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.executor import Executor, grouped
from dgmmis.execution.serial import Serial, Threads
from dgmmis.execution.tree import Partial
from dgmmis.linalg import packed_size
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.prior import Constraints
from dgmmis.quasi_newton import ascent_for
from tests.benchmarks.memory import RESULTS, mixture

CHUNKS = (8, 64, 512, 4096)
SIZES = (1_000, 100_000, 1_000_000, 40_000_000)
"""Bytes of the sums, and of the model."""

REPEATS = 5
DRIVERS = ((6, 32), (15, 30), (3, 1000), (3, 10_000), (4, 100))
"""Features and components of the passes whose driver is timed."""


@dataclass
class Value:
    """Sums that do nothing but take room."""

    array: np.ndarray

    def __add__(self, other: "Value") -> "Value":
        return Value(self.array + other.array)


def nothing(shared: np.ndarray, item: "Reference") -> Partial:
    """The task: a chunk's sums, as large as what is shared."""
    return Partial.of([("sum", item.first_leaf >> 4, Value(np.zeros(len(shared))))])


@dataclass(frozen=True)
class Reference:
    """As a chunk's in a store, without one: about as many bytes on their way to a worker."""

    path: str
    segment: str
    start: int
    stop: int
    first_row: int
    first_leaf: int
    features: tuple[str, ...]


def references(n: int) -> list[Reference]:
    """Of chunks that are not there."""
    features = ("a", "b", "c")
    return [
        Reference("/a/survey.zarr", "segment", c * CHUNK_ROWS, (c + 1) * CHUNK_ROWS, c * CHUNK_ROWS, 16 * c, features)
        for c in range(n)
    ]


def median_seconds(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Of some calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def empty_passes(name: str, executor: Executor) -> list[dict[str, Any]]:
    """Chunks are varied with small sums, sums with few chunks; one task a worker, as for small work."""
    found = []
    for n, size in [*((n, SIZES[0]) for n in CHUNKS), *((CHUNKS[0], size) for size in SIZES[1:])]:
        groups = grouped(references(n), executor.resources.n_workers)
        shared = np.zeros(size // 8)
        seconds = median_seconds(lambda groups=groups, shared=shared: executor.map_reduce(nothing, shared, groups))
        found.append({"executor": name, "chunks": n, "bytes": size, "seconds": seconds})
        say(f"{name}: {n} chunks, {size:,} B: {seconds * 1e3:.1f} ms")
    return found


def driver_pass(d: int, k: int, passes: int = 10) -> float:
    """Seconds that M-step, quasi-Newton step and loop take for a pass whose sums are made up."""
    model, constraints, n = Model(mixture(k, d)), Constraints(floor=np.full(d, 1e-10)), 1e6
    random = np.random.default_rng(0)
    made_up = [
        (1 + 0.01 * random.normal(size=k), random.normal(size=(k, d)), random.normal(size=(k, packed_size(d))))
        for _ in range(passes)
    ]
    given = iter(enumerate(made_up))

    def accumulate(at: Model) -> Pass:
        number, (of_weight, of_mean, of_covariance) = next(given)
        weight = n * at.mixture.weights * of_weight
        moments = Moments(weight, 1e-2 * weight[:, None] * of_mean, 1e-3 * weight[:, None] * of_covariance, 0.0, 0.0, n)
        return Pass(moments, -1e-3 / (1 + number), 0.0, n)

    with one_blas_thread():
        started = time.perf_counter()
        passed(
            em(
                model,
                maximize=lambda moments, at: maximize(moments, at, constraints),
                stopping=Stopping(1e-300, passes),
                ascent=ascent_for(model, constraints, lambda _model, _last: None),  # type: ignore[arg-type,return-value]
                callback=Callback(),
            ),
            accumulate,
        )
        return (time.perf_counter() - started) / passes


SMALL = """
import sys, time
started = time.perf_counter()
import numpy as np
from dgmmis import GMMis
points = np.concatenate([np.random.default_rng(0).normal(c, 1, (200, 2)) for c in (0, 5)])
imported = time.perf_counter()
GMMis(2, random_state=0).fit(points)
cold = time.perf_counter()
GMMis(2, random_state=0).fit(points)
warm = time.perf_counter()
sys.stdout.write(f"{imported - started} {cold - imported} {warm - cold} {int('distributed' in sys.modules)}")
"""


def small_fit() -> dict[str, Any]:
    """400 objects in a fresh process: seconds of the imports, of the first fit, and of the next."""
    out = subprocess.run([sys.executable, "-c", SMALL], check=True, capture_output=True, text=True).stdout.split()
    return {
        "imports": float(out[0]),
        "first": float(out[1]),
        "next": float(out[2]),
        "imported_distributed": out[3] == "1",
    }


def report(found: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "# What a pass costs without any work",
        "",
        "| executor | chunks | bytes of sums and model | ms |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one['executor']} | {one['chunks']} | {one['bytes']:,} | {one['seconds'] * 1e3:.1f} |"
        for one in found["empty"]
    ]
    lines += ["", "M-step, quasi-Newton step and loop of a pass:", "", "| d, K | ms |", "|---|---|"]
    lines += [f"| {one['d']}, {one['k']} | {one['seconds'] * 1e3:.1f} |" for one in found["driver"]]
    small = found["small"]
    lines += [
        "",
        f"A fit of 400 objects x 2, K=2, in a fresh process: {small['imports']:.2f} s of imports, "
        f"{small['first']:.3f} s the first time, {small['next']:.3f} s the next.",
        "",
    ]
    return "\n".join(lines)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all of it."""
    argparse.ArgumentParser(prog="python -m tests.benchmarks overhead", description=__doc__).parse_args(arguments)
    empty = []
    for name, executor in (
        ("serial", Serial()),
        ("threads", Threads()),
        ("local cluster", connect(ClusterSpec("local"), small=False)),
    ):
        empty += empty_passes(name, executor)
        executor.close()
    drivers = []
    for d, k in DRIVERS:
        drivers.append({"d": d, "k": k, "seconds": driver_pass(d, k)})
        say(f"driver, d={d}, K={k}: {drivers[-1]['seconds'] * 1e3:.1f} ms")
    machine: dict[str, Any] = {"system": platform.platform(), "python": platform.python_version()}
    machine["load"] = os.getloadavg()[0]  # others at work on the machine make everything longer
    found = {"machine": machine, "empty": empty, "driver": drivers, "small": small_fit()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overhead.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "overhead.md").write_text(report(found))


if __name__ == "__main__":
    main()
