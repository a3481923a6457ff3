"""Pictures of surveys and fits, two features at a time. Needs matplotlib: pip install 'dgmmis[plots]'.

Everything is drawn on the Axes that are given, or on a Figure of its own: no pyplot, no window, no global state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.dataset.dataset import Dataset
from dgmmis.errors import DgmmisError, RefusedError, ShapeError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.selection import Selection, as_selection
from dgmmis.simulate.completeness import completeness
from dgmmis.survey import ConstantNoise, Survey
from dgmmis.types import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLOURS = "magma"
INK = "#f4f1ea"
MARK = "#5fd3c8"
QUIET = "#6b6b6b"
PIXELS = 300
"""Of a density image along each axis."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The window of a picture, in the units of the two features."""

    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def of(cls, model: Model, *, features: tuple[int, int] = (0, 1), sigmas: float = 2.7) -> "Extent":
        """The window that holds every component to some standard deviations, and the background."""
        index = list(features)
        means = model.mixture.means[:, index]
        reach = sigmas * np.sqrt(np.diagonal(model.mixture.covariances, axis1=1, axis2=2)[:, index])
        low, high = (means - reach).min(axis=0), (means + reach).max(axis=0)
        if model.background is not None:
            low = np.minimum(low, model.background.lower[index])
            high = np.maximum(high, model.background.upper[index])
        return cls(float(low[0]), float(high[0]), float(low[1]), float(high[1]))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, right, bottom, top, as matplotlib has it."""
        return self.left, self.right, self.bottom, self.top

    def edges(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Edges (n + 1,) of n cells along either axis."""
        return np.linspace(self.left, self.right, n + 1), np.linspace(self.bottom, self.top, n + 1)

    def grid(self, n: int) -> tuple[np.ndarray, np.ndarray, Points]:
        """Centres of n by n cells along either axis, and as points (n n, 2), rows from bottom to top."""
        x, y = ((edges[1:] + edges[:-1]) / 2 for edges in self.edges(n))
        return x, y, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


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
    _matplotlib()
    extent = extent or Extent.of(model, features=features)
    values = scale * _density(model, extent, features)
    return _image(ax, values, extent, norm or _stretch(float(values.max())))


def confidence_ellipses(
    mixture: GaussianMixture,
    ax: "Axes",
    *,
    features: tuple[int, int] = (0, 1),
    sigmas: Sequence[float] = (1.0, 2.0),
    colour: str = INK,
) -> "list[EllipseCollection]":
    """The ellipses (x - mu_k)' C_k^-1 (x - mu_k) = sigma^2 of all components in two features, thinner further out.

    In two features they hold 39 % and 86 % of a component's objects at one and two sigma.
    """
    _matplotlib()
    from matplotlib.collections import EllipseCollection

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


def survey_edges(
    selection: Selection | Callable[[Points], np.ndarray],
    ax: "Axes",
    extent: Extent,
    *,
    features: tuple[int, int] = (0, 1),
    shade: bool = False,
    colour: str = INK,
) -> Any:
    """Contours of Omega of two features: one line at a hard edge, lines at 0.1, 0.5 and 0.9 where it is graded.

    Args:
        selection: Omega, any callable (n, 2) -> (n,).
        ax: to draw on.
        extent: the window.
        features: along x and along y.
        shade: hatch what is not seen at all (Omega < 0.001).
        colour: of the lines.

    Returns:
        matplotlib's contour set of the lines, or None where Omega is the same all over the window.
    """
    _matplotlib()
    x, y, points = extent.grid(2 * PIXELS)
    omega = as_selection(selection)(points[:, list(np.argsort(features))]).reshape(len(y), len(x))
    if shade and omega.min() < 1e-3:
        blind = ax.contourf(x, y, omega, levels=[-1.0, 1e-3], colors=["#8a8a8a"], alpha=0.28)
        blind.set_edgecolor("none")
        hatched = ax.contourf(x, y, omega, levels=[-1.0, 1e-3], colors="none", hatches=["////"])
        hatched.set_edgecolor("#9a9a9a80")
        hatched.set_linewidth(0.0)
    graded = np.mean((omega > 0.02) & (omega < 0.98)) > 0.02
    levels = [level for level in ((0.1, 0.5, 0.9) if graded else (0.5,)) if omega.min() < level < omega.max()]
    if not levels:
        return None
    lines = ax.contour(x, y, omega, levels=levels, colors=colour, linewidths=0.9, linestyles="--" if graded else "-")
    if graded:
        ax.clabel(lines, fmt={level: f"{level:.0%}" for level in levels}, fontsize=6)
    return lines


def recovery_figure(
    dataset: Dataset,
    truth: Model,
    *,
    plain: Model,
    fitted: Model,
    survey: Survey,
    features: tuple[int, int] = (0, 1),
) -> "Figure":
    """Four panels with the same axes and colours, in objects per unit area: the truth, the catalogue, a mixture that
    knows of neither noise nor selection, and dgmmis.

    The catalogue is counted chunk by chunk. Lines are the survey's edges (of surveys of two features), ellipses the
    components' one and two sigma, crosses the true means.

    Args:
        dataset: the catalogue.
        truth: the population it was drawn from.
        plain: a mixture fitted to the catalogue as it stands.
        fitted: what dgmmis made of it.
        survey: selection and noise law, as given to the fit.
        features: along x and along y.

    Raises:
        ShapeError: models that do not fit the catalogue.
    """
    _matplotlib()
    from matplotlib.figure import Figure

    for name, model in (("truth", truth), ("plain", plain), ("fitted", fitted)):
        if model.mixture.n_features != dataset.n_features:
            raise ShapeError(f"{name} does not fit the data", expected=dataset.n_features, got=model.mixture.n_features)
    survey = _with_law(survey, dataset)
    extent = Extent.of(truth, features=features)
    n = dataset.n_rows
    population, estimate = (n / completeness(model, survey, n_points=1 << 15)[0] for model in (truth, fitted))
    pictures = [scale * _density(model, extent, features) for model, scale in ((truth, population), (plain, n), (fitted, estimate))]
    pictures.insert(1, _counts(dataset, extent, features))
    norm = _stretch(max(float(picture.max()) for picture in (pictures[0], pictures[3])))

    figure = Figure(figsize=(10.0, 3.0), dpi=160, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04, wspace=0.03)  # type: ignore[union-attr]
    panels = figure.subplots(1, 4, sharex=True, sharey=True)
    titles = (
        ("The population", f"{population:,.0f} objects"),
        ("What the survey saw", f"{n:,} objects" + (", with noise" if dataset.schema.noise != "none" else "")),
        ("A plain mixture", "takes the catalogue for the population"),
        ("dgmmis", f"finds {estimate:,.0f} objects"),
    )
    for panel, picture, title in zip(panels, pictures, titles, strict=True):
        image = _image(panel, picture, extent, norm)
        _dress(panel, dataset, features, title)
    panels[0].set_ylabel(_label(dataset, features[1]), fontsize=8)
    if survey.selection is not None and dataset.n_features == 2:
        for panel in panels:
            survey_edges(survey.selection, panel, extent, features=features, shade=panel is panels[1])
    for panel, model in zip(panels[[0, 2, 3]], (truth, plain, fitted), strict=True):
        confidence_ellipses(model.mixture, panel, features=features)
    for panel in panels[2:]:
        x, y = truth.mixture.means[:, list(features)].T
        panel.plot(x, y, "+", color=MARK, markersize=6, markeredgewidth=1.3, linestyle="none")
    bar = figure.colorbar(image, ax=list(panels), pad=0.01, aspect=28, extend="max")
    bar.set_label(_area_words(dataset, features), fontsize=7, color=QUIET)
    bar.ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise DgmmisError("plots need matplotlib", do="install it: pip install 'dgmmis[plots]'") from error


def _stretch(top: float) -> "Normalize":
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0.0, vmax=top)


def _density(model: Model, extent: Extent, features: tuple[int, int]) -> np.ndarray:
    """Marginal density (PIXELS, PIXELS) of two features, rows from bottom to top."""
    _, _, points = extent.grid(PIXELS)
    box = model.background
    if box is not None:
        index = list(features)
        box = replace(box, lower=box.lower[index], upper=box.upper[index])
    part = Model(model.mixture.marginal(features), box, model.background_fraction)
    return np.asarray(np.exp(part.log_density(points))).reshape(PIXELS, PIXELS)


def _counts(dataset: Dataset, extent: Extent, features: tuple[int, int]) -> np.ndarray:
    """Objects per unit area (b, b), those that lack one of the features shared out among the others."""
    n_bins = int(np.clip(np.sqrt(dataset.n_rows / 8), 16, 110))
    edges = extent.edges(n_bins)
    total, counts = 0.0, np.zeros((n_bins, n_bins))
    measured = 0.0
    for reference in dataset.references:
        chunk = reference.load()
        pair = chunk.points[:, list(features)]
        weights = np.ones(len(pair)) if chunk.weights is None else chunk.weights
        seen = ~np.isnan(pair).any(axis=1)
        total, measured = total + float(weights.sum()), measured + float(weights[seen].sum())
        counts += np.histogram2d(pair[seen, 1], pair[seen, 0], bins=edges[::-1], weights=weights[seen])[0]
    area = (extent.right - extent.left) * (extent.top - extent.bottom) / n_bins**2
    return counts * (total / max(measured, 1.0) / area)


def _image(ax: "Axes", values: np.ndarray, extent: Extent, norm: "Normalize") -> "AxesImage":
    return ax.imshow(
        values, origin="lower", extent=extent.box, norm=norm, cmap=COLOURS, aspect="auto", interpolation="nearest"
    )


def _dress(ax: "Axes", dataset: Dataset, features: tuple[int, int], title: tuple[str, str]) -> None:
    ax.set_title(title[0], loc="left", fontsize=9, fontweight="bold", pad=14)
    ax.annotate(title[1], (0, 1), (0, 4), "axes fraction", textcoords="offset points", fontsize=6.5, color=QUIET)
    ax.set_xlabel(_label(dataset, features[0]), fontsize=8)
    ax.tick_params(labelsize=6.5, length=2, color=QUIET, labelcolor=QUIET)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _label(dataset: Dataset, feature: int) -> str:
    name, unit = dataset.schema.features[feature], dataset.schema.units[feature]
    return f"{name} [{unit}]" if unit else name


def _area_words(dataset: Dataset, features: tuple[int, int]) -> str:
    x, y = (dataset.schema.units[feature] for feature in features)
    if not (x and y):
        return "objects per unit area"
    return f"objects per {x}²" if x == y else f"objects per {x} {y}"


def _with_law(survey: Survey, dataset: Dataset) -> Survey:
    """The survey with the noise law that the catalogue implies, as fits take it."""
    if survey.selection is None or survey.noise_law is not None:
        return survey
    shared = dataset.schema.shared_covariance
    if dataset.schema.noise not in ("none", "shared"):
        raise RefusedError("noise that differs by object needs a law for the objects that were not seen", do="give the survey a noise_law")
    return replace(survey, noise_law=ConstantNoise(np.zeros((dataset.n_features,) * 2) if shared is None else shared))
