"""recovery_figure(): what a survey hid, and what was found again."""

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from dgmmis.dataset.dataset import Dataset
from dgmmis.errors import ShapeError
from dgmmis.execution.serial import Threads
from dgmmis.goodness.counts import counted
from dgmmis.model import Model
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.layers import (
    confidence_ellipses,
    density_grid,
    draw_image,
    require_matplotlib,
    square_root,
    survey_edges,
)
from dgmmis.plotting.lettering import axis_label, literal
from dgmmis.simulate.completeness import completeness
from dgmmis.subsample import draw_sample
from dgmmis.survey import Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARK = "#5fe3d0"
QUIET = "#6b6b6b"


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
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    for name, model in (("truth", truth), ("plain", plain), ("fitted", fitted)):
        if model.mixture.n_features != dataset.n_features:
            raise ShapeError(f"{name} does not fit the data", expected=dataset.n_features, got=model.mixture.n_features)
    with closing(Threads()) as executor:
        typical = draw_sample(dataset.references, executor)
    survey = survey.completed(typical, dataset.n_features)
    extent = Extent.of(truth, features=features)
    if len({dataset.schema.units[feature] for feature in features}) == 1:  # panels are square: circles stay circles
        extent = extent.squared()
    n = dataset.n_rows
    population, estimate = (
        n / completeness(model, survey, n_points=1 << 16, like=typical)[0] for model in (truth, fitted)
    )
    population = (dataset.truth or {}).get("n_objects", population)
    pictures = [
        scale * density_grid(model, extent, features)
        for model, scale in ((truth, population), (plain, n), (fitted, estimate))
    ]
    pictures.insert(1, _counts(dataset, extent, features))
    norm = square_root(max(float(picture.max()) for picture in (pictures[0], pictures[3])))

    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.04, wspace=0.03)
    figure = Figure(figsize=(10.0, 3.0), dpi=160, layout=layout)
    panels = figure.subplots(1, 4, sharex=True, sharey=True)
    known = "knows the noise" if dataset.schema.noise != "none" else "fitted to the same objects"
    if survey.selection is not None:
        known = f"knows the survey: finds {estimate:,.0f} objects"
    titles = (
        ("The population", f"{population:,.0f} objects"),
        ("What the survey saw", f"{n:,} objects{_flaws(dataset)}"),
        ("A plain mixture", "takes what was seen for the whole"),
        ("dgmmis", known),
    )
    for panel, picture, title in zip(panels, pictures, titles, strict=True):
        image = draw_image(panel, picture, extent, norm)
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
    bar = figure.colorbar(image, ax=list(panels), pad=0.01, shrink=0.82, aspect=24, extend="max")
    bar.set_label(_area_words(dataset, features), fontsize=7, color=QUIET)
    bar.ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
    bar.outline.set_visible(False)
    return figure


def _counts(dataset: Dataset, extent: Extent, features: tuple[int, int]) -> np.ndarray:
    """Objects per unit area (b, b), those that lack one of the features shared out among the others."""
    n_bins = int(np.clip(np.sqrt(dataset.n_rows / 8), 16, 110))
    edges = np.stack(extent.edges(n_bins))
    return counted(dataset, edges, features=features).density_over(1, 0)


def _dress(ax: "Axes", dataset: Dataset, features: tuple[int, int], title: tuple[str, str]) -> None:
    ax.set_title(title[0], loc="left", fontsize=9, fontweight="bold", pad=14)
    ax.annotate(title[1], (0, 1), (0, 4), "axes fraction", textcoords="offset points", fontsize=6.5, color=QUIET)
    ax.set_xlabel(_label(dataset, features[0]), fontsize=8)
    ax.tick_params(labelsize=6.5, length=2, color=QUIET, labelcolor=QUIET)
    ax.locator_params(nbins=6)
    ax.set_box_aspect(1)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _label(dataset: Dataset, feature: int) -> str:
    return axis_label(dataset.schema.features[feature], dataset.schema.units[feature])


def _flaws(dataset: Dataset) -> str:
    noise = "noise" if dataset.schema.noise != "none" else ""
    gaps = "gaps" if any(sum(segment.missing) for segment in dataset.segments) else ""
    words = " and ".join(filter(None, (noise, gaps)))
    return f", with {words}" if words else ""


def _area_words(dataset: Dataset, features: tuple[int, int]) -> str:
    x, y = (literal(dataset.schema.units[feature]) for feature in features)
    if not (x and y):
        return "objects per unit area"
    return f"objects per {f'({x})' if '/' in x else x}²" if x == y else f"objects per {x} {y}"
