"""Layers of a picture: densities, ellipses, the survey's edges."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.background import FixedMixture
from dgmmis.errors import DataError, DgmmisError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import NoNoise
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.palette import INK, NIGHT
from dgmmis.plotting.pixels import mixture_pixels
from dgmmis.selection import Selection, as_selection
from dgmmis.types import Points, Vector

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

CROWD = 24
"""Components, from which on their ellipses are paler: they would hide what they lie on."""

NUMBER = 6
"""Points of a component's number."""

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
    drawn, crowd = [], min(1.0, (CROWD / mixture.n_components) ** 0.5)
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
                linewidths=crowd / max(sigma, 1.0) ** 0.5,
                alpha=0.9 * crowd / max(sigma, 1.0) ** 0.5,
            )
        )
        ax.add_collection(drawn[-1], autolim=False)
    return drawn


def component_numbers(mixture: GaussianMixture, ax: "Axes", *, features: tuple[int, int] = (0, 1)) -> "list[Text]":
    """The number of each component at its mean in two features, of those within the limits of the axes; where numbers
    would lie over one another the heavier component has its own."""
    require_matplotlib()
    from matplotlib.patheffects import withStroke

    low, high = np.sort([ax.get_xlim(), ax.get_ylim()], axis=1).T
    size = np.array(ax.get_window_extent().size) * 72 / ax.figure.dpi
    style: dict[str, Any] = {"color": INK, "fontsize": NUMBER, "ha": "center", "va": "center", "in_layout": False}
    around, placed, drawn = [withStroke(linewidth=1.6, foreground=NIGHT)], np.empty((0, 2)), []
    for number in np.argsort(-mixture.weights, kind="stable").tolist():
        mean = mixture.means[number, list(features)]
        place, room = (mean - low) / (high - low) * size, NUMBER * np.array([0.35 + 0.6 * len(str(number)), 1.0])
        if np.any((mean < low) | (mean > high)) or np.any(np.all(np.abs(placed - place) < room, axis=1)):
            continue
        placed = np.vstack([placed, place])
        drawn.append(ax.text(float(mean[0]), float(mean[1]), str(number), path_effects=around, **style))
    return drawn


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
    _, _, points = extent.grid(2 * PIXELS)
    omega = as_selection(selection)(points[:, list(np.argsort(features))])
    return omega_lines(omega, ax, extent, shade=shade, colour=colour)


def omega_lines(
    omega: Vector, ax: "Axes", extent: Extent, *, shade: bool = False, colour: str = EDGE
) -> "ContourSet | None":
    """The same of Omega at the points of a grid (n n,), NaN where it is not known."""
    known, side = omega[~np.isnan(omega)], round(len(omega) ** 0.5)
    (x, y, _), omega = extent.grid(side), omega.reshape(side, side)
    least, most = known.min(initial=1.0), known.max(initial=0.0)
    if shade and least < BLIND:
        ax.contourf(x, y, omega, levels=[-1.0, BLIND], colors=[GREY], alpha=0.28)
        hatched = ax.contourf(x, y, omega, levels=[-1.0, BLIND], colors="none", hatches=["////"])
        hatched.set_edgecolor(f"{GREY}90")
        hatched.set_linewidth(0.0)
    graded = np.mean((omega > 0.02) & (omega < 0.98)) > 0.02
    levels = [level for level in ((0.1, 0.5, 0.9) if graded else (0.5,)) if least < level < most]
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
    x, y, pixels = extent.grid(PIXELS)
    if model.cutoff is None:
        values = (1 - model.background_fraction) * mixture_pixels(model.mixture.marginal(features), x, y)
        if model.background is None or model.background_fraction == 0:
            return values
        if isinstance(model.background, FixedMixture):
            behind = mixture_pixels(model.background.mixture.marginal(features), x, y)
            return values + model.background_fraction * behind
    points = np.full((len(pixels), model.mixture.n_features), np.nan)  # what is not measured is marginalised
    points[:, list(features)] = pixels
    if model.background is None or model.cutoff is not None:  # which decides pixel by pixel who takes part
        return np.asarray(np.exp(model.log_density(points))).reshape(PIXELS, PIXELS)
    behind = np.exp(model.background.log_density(points, NoNoise())).reshape(PIXELS, PIXELS)
    return np.asarray(values + model.background_fraction * behind)


def draw_image(ax: "Axes", values: np.ndarray, extent: Extent, norm: "Normalize") -> "AxesImage":
    return ax.imshow(
        values, origin="lower", extent=extent.box, norm=norm, cmap=COLOURS, aspect="auto", interpolation="nearest"
    )
