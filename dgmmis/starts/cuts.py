"""A k-d tree of median cuts: as many cells, of about as many rows each, as components."""

import numpy as np

from dgmmis.starts.positions import Positions
from dgmmis.types import Vector


def median_cuts(positions: Positions, weights: Vector, k: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """The cell (n,) of each row: the heaviest cell is cut in two across its widest feature, until there are k.

    Rows that lack the feature go to either side by turns. Fewer cells where rows coincide. With rng the cuts are not at
    the median but anywhere between the quantiles 0.3 and 0.7.
    """
    cells = np.zeros(len(weights), dtype=int)
    uncut = {0: float(weights.sum())}
    while len(np.unique(cells)) < k and uncut:
        cell = max(uncut, key=lambda c: (uncut[c], -c))
        rows = np.flatnonzero(cells == cell)
        above = _above(positions, rows, weights[rows], 0.5 if rng is None else float(rng.uniform(0.3, 0.7)))
        del uncut[cell]
        if above is None:
            continue
        new = int(cells.max()) + 1
        cells[rows[above]] = new
        uncut[cell], uncut[new] = float(weights[rows[~above]].sum()), float(weights[rows[above]].sum())
    return cells


def _above(positions: Positions, rows: np.ndarray, weights: Vector, quantile: float) -> np.ndarray | None:
    """Which of a cell's rows lie above the cut; None where none of its features has two values."""
    near, seen, share = positions.near[rows], positions.seen[rows], positions.share[rows] * weights[:, None]
    counts = np.where(share.sum(axis=0) > 0, share.sum(axis=0), 1.0)
    mean = np.sum(share * near, axis=0) / counts
    width = np.sum(share * np.where(seen, near - mean, 0.0) ** 2, axis=0) / counts
    for feature in np.argsort(-width, kind="stable"):
        there = np.flatnonzero(share[:, feature] > 0)
        order = there[np.argsort(near[there, feature], kind="stable")]
        values = near[order, feature]
        steps = np.flatnonzero(values[1:] > values[:-1])  # the cut is between two values that differ
        if len(steps) == 0:
            continue
        reached = np.cumsum(weights[order])
        step = steps[np.argmin(np.abs(reached[steps] - quantile * reached[-1]))]
        above = np.zeros(len(rows), dtype=bool)
        above[order[step + 1 :]] = True
        absent = np.flatnonzero(share[:, feature] <= 0)
        above[absent[1::2]] = True
        return above
    return None
