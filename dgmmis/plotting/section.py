"""Omega of two features, where it does not depend on the others."""

from collections.abc import Callable

import numpy as np

from dgmmis.plotting.extent import Extent
from dgmmis.plotting.shown import Shown
from dgmmis.selection import Injections
from dgmmis.types import Points

SECTIONS, CELLS = 8, 32
"""Objects through which the selection is cut, and cells along each axis where the cuts are compared."""


def section_of(shown: Shown, pair: tuple[int, int], extent: Extent) -> Callable[[Points], np.ndarray] | None:
    """Omega of two features, as `survey_edges` asks for it; None where it is not known, or depends on others too."""
    selection, d = shown.survey.selection, shown.model.mixture.n_features
    if selection is None or isinstance(selection, Injections):
        return None
    low, high = sorted(pair)
    if d == 2:
        return selection
    others = shown.model.mixture.means[:1]
    if shown.typical is not None:
        whole = shown.typical.points[~np.isnan(shown.typical.points).any(axis=1)]
        others = whole[np.linspace(0, len(whole) - 1, min(SECTIONS, len(whole))).astype(int)]
    if not len(others):
        return None

    def cut(points: Points, through: np.ndarray) -> np.ndarray:
        filled = np.repeat(through[None], len(points), axis=0)
        filled[:, [low, high]] = points
        return np.asarray(selection(filled))

    _, _, grid = extent.grid(CELLS)
    grid = grid[:, list(np.argsort(pair))]
    first = cut(grid, others[0])
    if not all(np.array_equal(first, cut(grid, other)) for other in others[1:]):
        return None
    return lambda points: cut(points, others[0])
