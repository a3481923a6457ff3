"""Weighted k-means of rows with missing and noisy features: k-means++ and Lloyd's iteration.

The sum over rows and features of w_n h_nd (y_nd - c_kd)^2 is made small, h the share of signal (`Positions`): a missing
value has none. Seeds are drawn with the probability of k-means++ (Arthur & Vassilvitskii 2007), the best of some each
time. A seed that would speak for next to nobody is an outlier, and is not taken.
"""

from dataclasses import dataclass

import numpy as np

from dgmmis.starts.positions import Positions
from dgmmis.types import Means, Vector

LEAST_SHARE, LEAST_OF_ALL = 0.05, 0.005
"""A centre speaks for at least so much of an even share of the rows, or of all rows, whichever is less."""
OUTLYING = 30.0
"""A row is left out of the means where its squared distance is so many times its cluster's median."""
MOST_STEPS = 10
SETTLED = 2e-3
"""Lloyd's iteration ends where less than this part of the rows changes its cluster."""


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which cluster each row is in (n,), the weights (n,) it has there (outliers: none), and the centres (k, d)."""

    labels: np.ndarray
    weights: Vector
    centres: Means


def clusters(positions: Positions, k: int, wanted: int, rng: np.random.Generator) -> Clusters:
    """k clusters; fewer where fewer rows are distinct, or where those beyond `wanted` would speak for nobody."""
    centres = _seeds(positions, k, wanted, rng)
    labels, weights = _nearest(positions, centres)
    for _ in range(MOST_STEPS):
        member = np.zeros((len(labels), len(centres)))
        member[np.arange(len(labels)), labels] = weights
        counts = member.T @ positions.share
        sums = member.T @ (positions.share * positions.near)
        centres = np.where(counts > 0, sums / np.where(counts > 0, counts, 1.0), centres)
        before = labels
        labels, weights = _nearest(positions, centres)
        if np.mean(labels != before) <= SETTLED:
            break
    return Clusters(labels, weights, centres)


def without_outliers(positions: Positions) -> Clusters:
    """All rows in one cluster about the middle."""
    centre = np.zeros((1, positions.values.shape[1]))
    labels, weights = _nearest(positions, centre)
    return Clusters(labels, weights, centre)


def _nearest(positions: Positions, centres: Means) -> tuple[np.ndarray, Vector]:
    """The nearest centre of each row (n,), and the rows' weights (n,) without the outliers'."""
    distances = positions.distances(centres)
    labels = np.argmin(distances, axis=1)
    # by the share that is there: a row with one feature is not nearer than one with six
    each = distances[np.arange(len(labels)), labels] / positions.share.sum(axis=1)
    limits = np.zeros(len(centres))
    for c in np.unique(labels):
        limits[c] = OUTLYING * np.median(each[labels == c])
    # where more than half of the rows coincide, the median says nothing
    inside = (each <= limits[labels]) | (limits[labels] <= 1e-12)
    return labels, np.where(inside, positions.weights, 0.0)


def _seeds(positions: Positions, k: int, wanted: int, rng: np.random.Generator) -> Means:
    """Up to k centres (k, d) at rows, by k-means++ with several trials."""
    weights, total = positions.weights, float(positions.weights.sum())
    trials = 2 + int(np.log(k))
    n, d = positions.values.shape
    # and for more rows than a covariance needs
    least, failures = total * max(min(LEAST_SHARE / wanted, LEAST_OF_ALL), (d + 1) / n), 0
    eligible = np.array(weights)
    row = _drawn(eligible, 1, rng)[0]
    centres = [positions.as_centre(int(row))]
    near = positions.distances(centres[0][None])[:, 0]
    while len(centres) < k:
        potential = eligible * near
        if float(potential.sum()) <= 1e-12 * total or failures > 10 * k:
            if least == 0 or len(centres) >= wanted:
                break
            least, failures, eligible = 0.0, 0, np.array(weights)  # few rows: everybody may be a centre
            continue
        rows = np.unique(_drawn(potential, trials, rng))
        candidates = np.stack([positions.as_centre(int(r)) for r in rows])
        distances = positions.distances(candidates)
        distances[rows, np.arange(len(rows))] = 0.0  # exactly, whatever the rounding: a row is not drawn twice
        nearer = distances < near[:, None]
        alone = weights @ nearer < least
        eligible[np.any(nearer[:, alone], axis=1)] = 0.0
        eligible[rows[alone]] = 0.0
        if alone.all():
            failures += 1
            continue
        left = eligible @ np.minimum(distances, near[:, None])
        best = int(np.argmin(np.where(alone, np.inf, left)))
        centres.append(candidates[best])
        near = np.minimum(near, distances[:, best])
    return np.stack(centres)


def _drawn(potential: Vector, n: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of n rows, drawn in proportion."""
    cumulative = np.cumsum(potential)
    found = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    last = np.searchsorted(cumulative, cumulative[-1])  # rounding must not draw a row without potential
    return np.asarray(np.minimum(found, last))
