"""Nets: quasi-random points in the open unit cube, as many as one likes that are independent of one another.

A scrambled Sobol sequence (Owen 1995; scipy) is dear to make; shifted digit by digit, by the exclusive or with a random
number in each dimension, it is another net of the same quality for the price of its points.
"""

from functools import lru_cache

import numpy as np

from dgmmis.address import Purpose, generator

BITS = 30
SHIFTS = 1 << BITS


def net(dimensions: int, log_count: int, rng: np.random.Generator) -> np.ndarray:
    """2^log_count points (n, dimensions), shifted by what a stream gives; each is uniform in the cube."""
    shift = rng.integers(SHIFTS, size=dimensions, dtype=np.int64)
    return np.asarray(((_scrambled(dimensions, log_count) ^ shift) + 0.5) / SHIFTS)


def nets(dimensions: int, log_count: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n nets of 2^log_count points each (n, 2^log_count, dimensions)."""
    shifts = rng.integers(SHIFTS, size=(n, 1, dimensions), dtype=np.int64)
    return np.asarray(((_scrambled(dimensions, log_count) ^ shifts) + 0.5) / SHIFTS)


@lru_cache(maxsize=32)
def _scrambled(dimensions: int, log_count: int) -> np.ndarray:
    """The points as whole numbers; the scrambling is the same for all."""
    from scipy.stats import qmc  # where it is used: most commands do without, and loading it takes half a second

    rng = generator(0, Purpose.NET, dimensions)
    points = qmc.Sobol(dimensions, scramble=True, bits=BITS, rng=rng).random_base2(log_count)
    digits: np.ndarray = np.floor(points * SHIFTS).astype(np.int64)
    digits.flags.writeable = False
    return digits
