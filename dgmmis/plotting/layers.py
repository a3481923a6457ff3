"""Layers of a picture: densities, ellipses, the survey's edges."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.errors import DataError, DgmmisError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.palette import INK, NIGHT
from dgmmis.selection import Selection, as_selection
from dgmmis.types import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Normalize
    from matplotlib.contour import ContourSet
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

COLOURS = "magma"
"""Perceptually uniform, and dark where there is nothing."""

EDGE = "#9fc9ff"
GREY = "#8a8a8a"
PIXELS = 300
"""Of a density image along each axis."""

BLIND = 1e-3
"""Omega below which nothing is seen."""


def density_image(
    model: Model,
    ax: "Axes",
    *,
    extent: Extent | None = None,
    features: tuple[int, int] = (0, 1),
    scale: float = 1.0,
    norm: "Normalize | None" = None,
) -> "AxesImage":
    """The marginal density of two features as an image.

    Args:
        model: of all features.
        ax: to draw on.
        extent: the window; None: all of the model.
        features: along x and along y.
        scale: multiplies the density: the number of objects gives objects per unit area.
        norm: colours of the values; None: a square root, so that tails show.
    """
    require_matplotlib()
    extent = extent or Extent.of(model, features=features)
    values = scale * density_grid(model, extent, features)
    return draw_image(ax, values, extent, norm or square_root(float(values.max())))


def confidence_ellipses(
    mixture: GaussianMixture,
    ax: "Axes",
    *,
    features: tuple[int, int] = (0, 1),
    sigmas: Sequence[float] = (1.0, 2.0),
    levels: Sequence[float] | None = None,
    colour: str = INK,
    label: str | None = None,
) -> "list[EllipseCollection]":
    """The ellipses (x - mu_k)' C_k^-1 (x - mu_k) = sigma^2 of all components in two features, thinner further out.

    In two features they hold 39 % and 86 % of a component's objects at one and two sigma: the shares
    1 - exp(-sigma^2 / 2).

    Args:
        mixture: of all features.
        ax: to draw on.
        features: along x and along y.
        sigmas: of the ellipses.
        levels: the shares that they hold, between 0 and 1, instead of sigmas.
        colour: of the lines.
        label: in a legend.

    Raises:
        DataError: a level that is no share.
    """
    require_matplotlib()
    from matplotlib.collections import EllipseCollection

    if levels is not None:
        sigmas = np.sqrt(-2 * np.log1p(-np.asarray(shares_checked(levels)))).tolist()
    if label is not None:
        in_legend(ax, colour, label)
    part = mixture.marginal(features)
    lengths, axes = np.linalg.eigh(part.covariances)
    angles = np.degrees(np.arctan2(axes[:, 1, 1], axes[:, 0, 1]))
    drawn = []
    for sigma in sorted(sigmas):
        diameters = 2 * sigma * np.sqrt(lengths)
        drawn.append(
            EllipseCollection(
                widths=diameters[:, 1],
                heights=diameters[:, 0],
                angles=angles,
                units="xy",
                offsets=part.means,
                offset_transform=ax.transData,
                facecolors="none",
                edgecolors=colour,
                linewidths=1.0 / max(sigma, 1.0) ** 0.5,
                alpha=0.9 / max(sigma, 1.0) ** 0.5,
            )
        )
        ax.add_collection(drawn[-1], autolim=False)
    return drawn


def component_numbers(mixture: GaussianMixture, ax: "Axes", *, features: tuple[int, int] = (0, 1)) -> "list[Text]":
    """The number of each component at its mean in two features, of those within the limits of the axes."""
    require_matplotlib()
    from matplotlib.patheffects import withStroke

    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    style: dict[str, Any] = {"color": INK, "fontsize": 6, "ha": "center", "va": "center"}
    around = [withStroke(linewidth=1.6, foreground=NIGHT)]
    return [
        ax.text(x, y, str(number), path_effects=around, **style)
        for number, (x, y) in enumerate(mixture.means[:, list(features)].tolist())
        if left <= x <= right and bottom <= y <= top
    ]


def survey_edges(
    selection: Selection | Callable[[Points], np.ndarray],
    ax: "Axes",
    extent: Extent,
    *,
    features: tuple[int, int] = (0, 1),
    shade: bool = False,
    colour: str = EDGE,
) -> "ContourSet | None":
    """Contours of Omega of two features: one line at a hard edge, lines at 0.1, 0.5 and 0.9 where it is graded.

    Args:
        selection: Omega, any callable (n, 2) -> (n,).
        ax: to draw on.
        extent: the window.
        features: along x and along y.
        shade: hatch what is not seen at all (Omega < 0.001), and write their levels on the lines where it is graded.
        colour: of the lines.

    Returns:
        matplotlib's contour set of the lines, or None where Omega is the same all over the window.
    """
    require_matplotlib()
    x, y, points = extent.grid(2 * PIXELS)
    omega = as_selection(selection)(points[:, list(np.argsort(features))]).reshape(len(y), len(x))
    if shade and omega.min() < BLIND:
        ax.contourf(x, y, omega, levels=[-1.0, BLIND], colors=[GREY], alpha=0.28)
        hatched = ax.contourf(x, y, omega, levels=[-1.0, BLIND], colors="none", hatches=["////"])
        hatched.set_edgecolor(f"{GREY}90")
        hatched.set_linewidth(0.0)
    graded = np.mean((omega > 0.02) & (omega < 0.98)) > 0.02
    levels = [level for level in ((0.1, 0.5, 0.9) if graded else (0.5,)) if omega.min() < level < omega.max()]
    if not levels:
        return None
    lines = ax.contour(x, y, omega, levels=levels, colors=colour, linewidths=0.8, linestyles="--")
    if graded and shade:
        _label_low(ax, lines, levels, extent)
    return lines


def _label_low(ax: "Axes", lines: "ContourSet", levels: Sequence[float], extent: Extent) -> None:
    """Write its level on each line where it comes nearest to the lower end of the window, clear of the data."""
    target = np.array([(extent.left + extent.right) / 2, extent.bottom + 0.12 * (extent.top - extent.bottom)])
    size = np.array([extent.right - extent.left, extent.top - extent.bottom])
    for level, path in zip(levels, lines.get_paths(), strict=True):
        vertices = np.asarray(path.vertices)
        place = vertices[np.argmin(np.sum(((vertices - target) / size * [0.2, 1.0]) ** 2, axis=1))]
        ax.clabel(lines, [level], fmt={level: f"{level:.0%}"}, fontsize=6, manual=[tuple(place)])


def shares_checked(levels: Sequence[float]) -> list[float]:
    """Shares of probability in rising order.

    Raises:
        DataError: one that is not between 0 and 1.
    """
    for level in levels:
        if not 0 < level < 1:
            raise DataError(
                "a level must be a share of the objects",
                expected="between 0 and 1",
                got=level,
                do="write 0.95 for 95%",
            )
    return sorted(levels)


def in_legend(ax: "Axes", colour: str, label: str) -> None:
    """A line for the legend alone: matplotlib has no handle for contours, nor for collections of ellipses."""
    ax.plot([], [], color=colour, lw=1.0, label=label)


def require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise DgmmisError("plots need matplotlib", do="install it: pip install 'dgmmis[plots]'") from error


def square_root(top: float) -> "Normalize":
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0.0, vmax=top)


def density_grid(model: Model, extent: Extent, features: tuple[int, int]) -> np.ndarray:
    """Marginal density (PIXELS, PIXELS) of two features, rows from bottom to top."""
    _, _, pixels = extent.grid(PIXELS)
    points = np.full((len(pixels), model.mixture.n_features), np.nan)  # what is not measured is marginalised
    points[:, list(features)] = pixels
    return np.asarray(np.exp(model.log_density(points))).reshape(PIXELS, PIXELS)


def draw_image(ax: "Axes", values: np.ndarray, extent: Extent, norm: "Normalize") -> "AxesImage":
    return ax.imshow(
        values, origin="lower", extent=extent.box, norm=norm, cmap=COLOURS, aspect="auto", interpolation="nearest"
    )
