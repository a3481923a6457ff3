"""Curves of equal density, and the shares of probability that they hold."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.layers import density_grid, in_legend, require_matplotlib, shares_checked
from dgmmis.plotting.palette import POPULATION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import ContourSet


def iso_density(
    model: Model | GaussianMixture,
    ax: "Axes",
    *,
    levels: Sequence[float] = (0.68, 0.95),
    features: tuple[int, int] = (0, 1),
    extent: Extent | None = None,
    colour: str = POPULATION,
    label: str | None = None,
) -> "ContourSet | None":
    """The curves of equal density that enclose given shares of the population, in the marginal of two features.

    Each is the edge of the smallest region with its share (a highest-density region).

    Args:
        model: of all features, background included.
        ax: to draw on.
        levels: the shares, between 0 and 1.
        features: along x and along y.
        extent: the window; None: all of the model. A curve that does not fit into it is left out.
        colour: of the lines.
        label: in a legend.

    Returns:
        matplotlib's contour set, the largest share first; None where no curve is in the window.

    Raises:
        DataError: a level that is no share.
    """
    require_matplotlib()
    model = as_model(model)
    extent = extent or Extent.of(model, features=features)
    values = density_grid(model, extent, features)
    area = (extent.right - extent.left) * (extent.top - extent.bottom) / values.size
    return curves(values, ax, extent, levels=levels, whole=1 / area, colour=colour, label=label)


def curves(
    values: np.ndarray,
    ax: "Axes",
    extent: Extent,
    *,
    levels: Sequence[float],
    whole: float,
    colour: str,
    label: str | None = None,
) -> "ContourSet | None":
    """The curves within which lie the densest cells (b, b) with some shares of the whole."""
    x, y = ((edges[1:] + edges[:-1]) / 2 for edges in extent.edges(len(values)))
    heights = densest(values, shares_checked(levels), whole)
    if label is not None:
        in_legend(ax, colour, label)
    if not heights:
        return None
    return ax.contour(x, y, values, levels=heights, colors=colour, linewidths=0.9)


def densest(values: np.ndarray, shares: Sequence[float], whole: float | None = None) -> list[float]:
    """The values above which lie the smallest sets of cells with these shares of the whole, in rising order.

    Args:
        values: of the cells.
        shares: from 0 to 1; those that all cells together do not have are left out.
        whole: None: the sum of the cells.
    """
    falling = np.sort(values, axis=None)[::-1]
    held = np.cumsum(falling)
    if not held[-1] > 0:
        return []
    at = np.searchsorted(held, np.asarray(shares) * (held[-1] if whole is None else whole))
    levels = np.unique(falling[at[at < len(falling)]])
    return [float(level) for level in levels if 0 < level < falling[0]]
