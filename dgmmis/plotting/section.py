"""Sections: what of Omega depends on two features alone, and its edges."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.errors import DgmmisError
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.layers import PIXELS, omega_lines
from dgmmis.plotting.palette import NIGHT
from dgmmis.plotting.shown import Shown
from dgmmis.selection import Ball, Both, Box, Complement, Either, Grid, HalfSpace, Injections, Selection
from dgmmis.types import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import ContourSet

SECTIONS, CELLS = 8, 32
"""Objects through which the selection is cut, and cells along each axis where the cuts are compared."""

EDGE_CELLS = 2 * PIXELS
"""Along each axis, on which edges are found."""


def draw_edges(shown: Shown, ax: "Axes", extent: Extent, *, features: tuple[int, int]) -> "ContourSet | None":
    """The survey's edges in two features, visible on light and on dark; None where it has none there, or refuses to say
    all over the window."""
    from matplotlib.patheffects import withStroke

    _, _, points = extent.grid(EDGE_CELLS)
    try:
        section = section_of(shown, features, extent)
        omega = None if section is None else section(points[:, list(np.argsort(features))])
    except DgmmisError:
        return None
    if omega is None:
        return None
    lines = omega_lines(omega, ax, extent)
    if lines is not None:
        lines.set_path_effects([withStroke(linewidth=1.8, foreground=NIGHT, alpha=0.6)])
    return lines


def section_of(shown: Shown, pair: tuple[int, int], extent: Extent) -> Callable[[Points], np.ndarray] | None:
    """The product of the factors of Omega that depend on two features alone, the earlier one first; NaN where a
    grid says nothing. None where there is no such factor."""
    selection, d = shown.survey.selection, shown.model.mixture.n_features
    if selection is None or isinstance(selection, Injections):
        return None
    low, high = sorted(pair)
    _, _, grid = extent.grid(CELLS)
    grid, others = grid[:, list(np.argsort(pair))], _through(shown)
    cuts = [cut for factor in _factors(selection) if (cut := _cut(factor, (low, high), d, others, grid)) is not None]
    if not cuts:
        return None
    return lambda points: np.prod([cut(points) for cut in cuts], axis=0)


def _factors(selection: Selection) -> Iterator[Selection]:
    """Of a product, one by one: 1 - [1 - (1 - a)(1 - b)] is one, too."""
    match selection:
        case Both(left=left, right=right):
            yield from _factors(left)
            yield from _factors(right)
        case Complement(inner=Complement(inner=inner)):
            yield from _factors(inner)
        case Complement(inner=Either(left=left, right=right)):
            yield from _factors(Complement(left))
            yield from _factors(Complement(right))
        case _:
            yield selection


def _cut(
    factor: Selection, pair: tuple[int, int], d: int, others: Points, grid: Float[np.ndarray, "g 2"]
) -> Callable[[Points], np.ndarray] | None:
    """A factor as a function of two features; None where it depends on others, too."""

    def through(points: Points, at: np.ndarray) -> np.ndarray:
        filled = np.repeat(at[None], len(points), axis=0)
        filled[:, list(pair)] = points
        return _said(factor, filled)

    if _knows_gaps(factor):  # and says what the features that are there say, or that it needs the others
        nothing = np.full(d, np.nan)
        try:
            through(grid[:1], nothing)
        except DgmmisError:
            return None
        return lambda points: through(points, nothing)
    first = through(grid, others[0])
    if not all(np.array_equal(first, through(grid, other), equal_nan=True) for other in others[1:]):
        return None
    return lambda points: through(points, others[0])


def _said(factor: Selection, points: Points) -> np.ndarray:
    """Omega at points, NaN where a grid says nothing."""
    if not isinstance(factor, Grid) or factor.outside != "refuse":
        return np.asarray(factor(points))
    features: Sequence[int] = range(len(factor.edges)) if factor.features is None else factor.features
    inside = np.ones(len(points), dtype=bool)
    for feature, edge in zip(features, factor.edges, strict=True):
        inside &= ~((points[:, feature] < edge[0]) | (points[:, feature] > edge[-1]))
    out = np.full(len(points), np.nan)
    out[inside] = factor(points[inside])
    return out


def _knows_gaps(selection: Selection) -> bool:
    """Whether a selection refuses points that lack what it looks at; a function may say anything of them."""
    match selection:
        case Both(left=left, right=right) | Either(left=left, right=right):
            return _knows_gaps(left) and _knows_gaps(right)
        case Complement(inner=inner):
            return _knows_gaps(inner)
    return isinstance(selection, (Ball, Box, Grid, HalfSpace))


def _through(shown: Shown) -> Points:
    """Some objects (n, d) that functions are cut through: of the data those that lack nothing, else of the model."""
    if shown.typical is not None:
        whole = shown.typical.points[~np.isnan(shown.typical.points).any(axis=1)]
        if len(whole):
            return np.asarray(whole[np.linspace(0, len(whole) - 1, min(SECTIONS, len(whole))).astype(int)])
    return shown.model.sample(SECTIONS, generator(0, Purpose.PICTURE))
