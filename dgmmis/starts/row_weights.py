"""How much each row of a sample counts for a start: its weight over the probability that it was seen."""

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.linalg import covariance_root, unpack
from dgmmis.noise import NoNoise
from dgmmis.selection import Injections, Selection
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector

MOST = 20.0
"""No row stands for more than so many of those that are surely seen: a few near an edge must not rule."""
NOISE_DRAWS = 4
"""Pairs of draws over which Omega is averaged where it acts on true values."""


def row_weights(sample: Chunk, survey: Survey | None, rng: np.random.Generator) -> Vector:
    """Weights (n,) of a sample's rows in the population that it was selected from, for a start only.

    The weight of a row is multiplied by max Omega / Omega(y), at most 20. Where Omega acts on the true values it is
    averaged over y less the noise. A row whose Omega is not known (something is missing that the selection may look
    at, or Omega(y) = 0 since the true values were elsewhere) has the median of those where it is; injections and
    projections say nothing about any row.

    Raises:
        DataError, ShapeError: of a selection that does not give probabilities.
    """
    weights = sample.w_n
    selection = None if survey is None else survey.selection
    if survey is None or selection is None or isinstance(selection, Injections) or sample.projection is not None:
        return weights
    there = ~np.isnan(sample.points)
    rows = np.flatnonzero(there.any(axis=1) if survey.selection_on == "available" else there.all(axis=1))
    omega = np.zeros(sample.n_samples)
    if len(rows):
        points = np.asarray(sample.points[rows], dtype=float)
        on_true = survey.selection_on == "true" and not isinstance(sample.noise, NoNoise)
        omega[rows] = _averaged(selection, sample.take(rows), points, rng) if on_true else selection(points)
    known = omega > 0
    if not known.any():
        return weights
    factor = np.empty(sample.n_samples)
    factor[known] = np.minimum(omega.max() / omega[known], MOST)
    factor[~known] = np.median(factor[known])
    return np.asarray(weights * factor)


def _averaged(selection: Selection, chunk: Chunk, points: Points, rng: np.random.Generator) -> Vector:
    """Omega (n,) averaged over the true values that a flat prior would have, in pairs on both sides."""
    n, m = points.shape
    root = covariance_root(unpack(np.asarray(chunk.noise.packed(range(m)).T, dtype=float)))
    total = np.zeros(n)
    for _ in range(NOISE_DRAWS):
        error = np.einsum("nij,nj->ni", np.broadcast_to(root, (n, m, m)), rng.standard_normal((n, m)))
        total += selection(points + error) + selection(points - error)
    return total / (2 * NOISE_DRAWS)
