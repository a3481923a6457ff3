"""Fixed points of the unit cube: the same for every row and call, so that an integral is a function of its row."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

GAUSS_NODES = {1: (24, 64, 128), 2: (12, 20, 48)}
"""Gauss-Legendre nodes a dimension, in one and two dimensions, for smooth integrands, steep ones, and
those with edges within (small noise in a projection)."""

SCATTERED_POINTS = (512, 2048, 8192)
"""Sobol points in three and more dimensions, likewise."""


@lru_cache(maxsize=16)
def scattered(n: int, dimensions: int) -> Float[np.ndarray, "n s"]:
    """n points of equal weight in the open cube: the first of a Sobol sequence, scrambled once and for all."""
    return scrambled(n, dimensions, 0)


def scrambled(n: int, dimensions: int, replicate: int) -> Float[np.ndarray, "n s"]:
    """The same with another scrambling for each replicate."""
    from scipy.stats import qmc  # where it is used: most commands do without, and loading it takes half a second

    sequence = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng([dimensions, replicate]))
    points = np.clip(sequence.random_base2(max(n - 1, 1).bit_length())[:n], 1e-15, 1 - 1e-15)
    points.flags.writeable = False
    return np.asarray(points)


@lru_cache(maxsize=64)
def nodes(grades: tuple[int, ...]) -> tuple[Float[np.ndarray, "n s"], Float[np.ndarray, " n"]]:
    """Points (n, s) and log weights (n,) of the integral over the cube, the weights adding up to one;
    a grade for each dimension says how many: smooth 0, steep 1, with edges 2."""
    dimensions = len(grades)
    if dimensions == 0:
        return np.full((1, 0), 0.5), np.zeros(1)
    if dimensions not in GAUSS_NODES:
        n = SCATTERED_POINTS[max(grades)]
        return scattered(n, dimensions), np.full(n, -np.log(n))
    rules = [np.polynomial.legendre.leggauss(GAUSS_NODES[dimensions][grade]) for grade in grades]
    grid = np.stack(np.meshgrid(*[0.5 * (x + 1) for x, _ in rules], indexing="ij"), axis=-1).reshape(-1, dimensions)
    weights = np.stack(np.meshgrid(*[0.5 * w for _, w in rules], indexing="ij"), axis=-1).reshape(-1, dimensions)
    return grid, np.log(np.prod(weights, axis=1))
