"""Floors: what this machine needs at least for the arithmetic of a work, from rates measured in the same run."""

import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from tests.benchmarks.exponential import exponentials
from tests.benchmarks.works import Work

SECONDS = 0.25
"""That each rate is measured for, at least."""

PANEL = 4096
"""Samples in a block of the two matrix products: what a leaf has."""

CACHED = 1 << 12
"""Doubles of a block whose exponentials are taken: some of them fit in a second-level cache."""

STREAMED = 1 << 24
"""Doubles of each array of the triad: three of them fit in no cache."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Of all cores together.

    Args:
        product: floating-point operations a second of a double matrix product of order 1000.
        numpy_exp, polynomial_exp: exponentials a second in blocks that stay in cache, numpy's and `exponential`'s;
            `exp` is the faster of them.
        bandwidth: bytes a second of a = b + s c over arrays that do not.
        products: by work, those of the two products that it is made of.
    """

    product: float
    numpy_exp: float
    polynomial_exp: float
    bandwidth: float
    products: dict[str, float]

    @property
    def exp(self) -> float:
        return max(self.numpy_exp, self.polynomial_exp)

    @classmethod
    def here(cls, works: tuple[Work, ...]) -> "Rates":
        """Measured: takes some seconds."""
        with threadpool_limits(limits=1):  # a task has one; every core has a task
            return cls(
                _rate(lambda _: _product(1000, 1000, 1000)),
                _rate(lambda _: _numpy_exponentials()),
                _rate(lambda _: _polynomial_exponentials()),
                _rate(lambda _: _triad()),
                {work.name: _rate(lambda _, work=work: _panel(work)) for work in works if not work.noisy},
            )


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds of a pass.

    Args:
        arithmetic: of products or, under noise, of what a pair needs, and of the exponentials.
        reading: of what the rows hold, once through memory.
    """

    arithmetic: float
    reading: float

    @property
    def seconds(self) -> float:
        return max(self.arithmetic, self.reading)


def floor_of(work: Work, rates: Rates) -> Floor:
    """Without noise: two matrix products of width F, and an exponential a pair. With it: the operations of a pair at
    the rate of the large product (Cholesky factor, its inverse, T^-1, g, and the sums), and an exponential.

    Where components are local this is the floor of doing all of them: pruning goes below it.
    """
    pairs, d = work.n * work.k, work.d
    if work.noisy:
        # T = C + S; three times d^3 / 3; T^-1 (y - mu); g g' - H; q times all of it, added up
        operations = pairs * (d * (d + 1) / 2 + d**3 + 2 * d**2 + 2 * d * (d + 1) / 2 + 2 * work.width)
        products = operations / rates.product
        numbers = d + d * (d + 1) / 2
    else:
        products = 4.0 * pairs * work.width / rates.products.get(work.name, rates.product)
        numbers = d
    return Floor(products + pairs / rates.exp, 8.0 * work.n * numbers / rates.bandwidth)


def _rate(make: Callable[[int], tuple[Callable[[], object], float]]) -> float:
    """Amounts a second of `make(core)() -> (run, amount of a run)`, on all cores at once, at the best of three."""
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        runs = list(pool.map(make, range(cores)))

        def seconds(repeats: int) -> float:
            started = time.perf_counter()
            deque(pool.map(lambda run: [run[0]() for _ in range(repeats)], runs), maxlen=0)
            return time.perf_counter() - started

        seconds(1)
        repeats = max(1, int(SECONDS / 3 / max(seconds(1), 1e-6)))
        best = min(seconds(repeats) for _ in range(3))
    return sum(amount for _, amount in runs) * repeats / best


def _product(m: int, n: int, k: int) -> tuple[Callable[[], object], float]:
    rng = np.random.default_rng(0)
    a, b, c = rng.random((m, k)), rng.random((k, n)), np.empty((m, n))
    return lambda: np.matmul(a, b, out=c), 2.0 * m * n * k


def _panel(work: Work) -> tuple[Callable[[], object], float]:
    """log p = Theta phi and the sums q phi' over a panel."""
    rng = np.random.default_rng(0)
    columns = max(256, min(PANEL, (1 << 17) // work.k))
    theta, phi = rng.random((work.k, work.width)), rng.random((work.width, columns))
    q, sums = np.empty((work.k, columns)), np.empty((work.k, work.width))

    def run() -> None:
        np.matmul(theta, phi, out=q)
        np.matmul(q, phi.T, out=sums)

    return run, 4.0 * work.k * work.width * columns


def _numpy_exponentials() -> tuple[Callable[[], object], float]:
    values, out = np.linspace(-30, 0, CACHED), np.empty(CACHED)
    return lambda: np.exp(values, out=out), float(CACHED)


def _polynomial_exponentials() -> tuple[Callable[[], object], float]:
    values, out = np.linspace(-30, 0, CACHED), np.empty(CACHED)
    return lambda: exponentials(values, out), float(CACHED)


def _triad() -> tuple[Callable[[], object], float]:
    b, c = np.ones(STREAMED), np.ones(STREAMED)
    step = CACHED  # numpy needs two operations: the second finds its block in the cache
    scaled = np.empty(step)
    out = np.empty(STREAMED)

    def run() -> None:
        for start in range(0, STREAMED, step):
            part = slice(start, start + step)
            np.multiply(c[part], 3.0, out=scaled)
            np.add(b[part], scaled, out=out[part])

    return run, 24.0 * STREAMED
