"""Is the pruned likelihood that of all components? Held against sums over all of them, in plain numpy."""

import math
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from dgmmis.dataset.dataset import Dataset
from dgmmis.fit import evaluate
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from tests.benchmarks.stores import write
from tests.benchmarks.works import Work

TOLERANCE = 1e-12
"""Of the relative difference."""

NUMBERS = 1 << 18
"""In a block of log densities."""


def log_likelihood(mixture: GaussianMixture, points: np.ndarray) -> float:
    """Mean log density in float64, every component at every point, and the sum over points without rounding.

    Offsets are whitened, L_k^-1 (x - mu_k), as one product with [x, 1]: the difference is between numbers of the size
    of a box over a sigma, which costs two digits of sixteen; expanded squares would cost four.
    """
    k, d = mixture.means.shape
    whiten = np.linalg.inv(np.linalg.cholesky(mixture.covariances))
    centres = np.einsum("kij,kj->ki", whiten, mixture.means)
    mapping = np.concatenate([whiten.reshape(k * d, d), -centres.reshape(k * d, 1)], axis=1).T
    # feature by feature, so that squares add up over whole rows
    mapping = np.ascontiguousarray(mapping.reshape(d + 1, k, d).swapaxes(1, 2).reshape(d + 1, d * k))
    log_determinants = np.log(np.diagonal(whiten, axis1=1, axis2=2)).sum(axis=1)
    constants = np.log(mixture.weights) + log_determinants - 0.5 * d * np.log(2 * np.pi)
    rows = max(1, NUMBERS // k)

    def block(start: int) -> np.ndarray:
        x = points[start : start + rows]
        offsets = np.concatenate([x, np.ones((len(x), 1))], axis=1) @ mapping
        np.square(offsets, out=offsets)
        log_p = constants - 0.5 * offsets.reshape(len(x), d, k).sum(axis=1)
        top = log_p.max(axis=1)
        log_p -= top[:, None]
        return np.asarray(top + np.log(np.exp(log_p, out=log_p).sum(axis=1)))

    with threadpool_limits(limits=1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        parts = pool.map(block, range(0, len(points), rows))
        return math.fsum(value for part in parts for value in part) / len(points)


def exactness(work: Work) -> dict[str, Any]:
    """The log-likelihoods of a work's start by both, and of dgmmis with its cutoff where it has one."""
    with tempfile.TemporaryDirectory() as folder:
        files = write(work, Path(folder))
        mixture = work.start()
        expected = log_likelihood(mixture, work.points())
        found = evaluate(Dataset.open(files.store), Start(work.k, mixture).model(mixture)).log_likelihood
        cut = evaluate(Dataset.open(files.store), Start(work.k, mixture, cutoff=5.0).model(mixture)).log_likelihood
    difference = abs(found - expected) / abs(expected)
    return {
        "work": work.name,
        "ordered": files.ordered,
        "expected": expected,
        "found": found,
        "difference": difference,
        "exact": difference <= TOLERANCE,
        "cutoff_difference": abs(cut - expected) / abs(expected),
    }


def sentence(found: dict[str, Any]) -> str:
    """In words."""
    verdict = "" if found["exact"] else f", MORE THAN {TOLERANCE:.0e}"
    order = "" if found["ordered"] else " (rows not in the order of space)"
    return (
        f"{found['work']}: the log-likelihood differs from the sum over all components by {found['difference']:.1e} of "
        f"itself{verdict}{order}; with a cutoff of 5 sigma by {found['cutoff_difference']:.1e}."
    )
