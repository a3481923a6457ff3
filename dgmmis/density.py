"""Density: how many rows of a sample are where, in pairs of features; small enough to be shown somewhere else."""

from typing import Any

import numpy as np

from dgmmis.cells import Cells
from dgmmis.chunk import Chunk

MOST_FEATURES = 6
"""The first ones, in whose pairs rows are counted."""

BINS = 48

TAIL = 0.3
"""Per cent of the rows that may lie beyond each end of an axis: one outlier must not make a dot of the rest."""


def pair_counts(sample: Chunk) -> dict[str, Any] | None:
    """The weights of rows in the bins of each pair of features, the largest of a pair being 255.

    Args:
        sample: of which a row counts for a pair where both are measured.

    Returns:
        lower and upper (d) of the axes, `bins` of each, and by "x y", x < y, the `counts` (bins of y, bins of x) as
        bytes; None where the features themselves are not measured, or none is in any row.
    """
    points = sample.points[:, :MOST_FEATURES]
    if sample.projection is not None or np.isnan(points).all(axis=0).any():
        return None
    weights = sample.w_n
    ends = np.nanpercentile(points, [TAIL, 100 - TAIL], axis=0)
    margin = 0.05 * (ends[1] - ends[0])
    margin[margin <= 0] = 0.5
    lower, upper = ends[0] - margin, ends[1] + margin
    cells, counts = Cells.even(np.stack([lower, upper], axis=1), BINS), {}
    for (y, x), found in zip(cells.pairs, cells.over(points, weights[:, None])[..., 0], strict=True):
        # a row alone must not vanish beside a peak
        counts[f"{x} {y}"] = np.ceil(255 * found / max(found.max(), 1e-300)).astype(np.uint8).tobytes()
    return {"lower": lower.tolist(), "upper": upper.tolist(), "bins": BINS, "counts": counts}
