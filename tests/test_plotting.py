"""Plotting: what the pictures show, measured on the pictures."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.checkpoint import Run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.em import Stopping
from dgmmis.errors import ShapeError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.model_selection import Fitting, select
from dgmmis.plotting import (
    Extent,
    choice_figure,
    confidence_ellipses,
    corner_figure,
    density_image,
    marginals_figure,
    recovery_figure,
    survey_edges,
)
from dgmmis.selection import Ball, Box, HalfSpace
from dgmmis.simulate import PRESETS, simulate
from dgmmis.survey import Survey

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.image import imread  # noqa: E402

MIXTURE = GaussianMixture(
    [0.5, 0.3, 0.2],
    [[0.0, 1.0, 2.0], [3.0, -1.0, 0.0], [-2.0, 4.0, 1.0]],
    [[[1.0, 0.6, 0.0], [0.6, 2.0, 0.3], [0.0, 0.3, 1.0]], np.diag([0.5, 2.0, 1.0]), np.diag([2.0, 0.5, 3.0])],
)
PLAIN = Model(GaussianMixture([1.0], [[4.0, 4.0]], [[[9.0, 0.0], [0.0, 9.0]]]))


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


@pytest.fixture(scope="module")
def hole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return simulate(tmp_path_factory.mktemp("plotting") / "hole.zarr", "box-with-hole", n=20_000)


def _recovery(dataset: Dataset, name: str, **options: object) -> Figure:
    preset = PRESETS[name]
    models = {"plain": PLAIN, "fitted": preset.model, "survey": preset.survey}
    return recovery_figure(dataset, preset.model, **{**models, **options})  # type: ignore[arg-type]


def _panels(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes[:4]]


def test_importing_it_does_not_import_matplotlib_nor_does_drawing_import_pyplot() -> None:
    script = """
import sys
import numpy as np
from dgmmis.plotting import Extent, density_image
from dgmmis.simulate import PRESETS
assert not any(name.split(".")[0] == "matplotlib" for name in sys.modules)
from matplotlib.figure import Figure
density_image(PRESETS["graded"].model, Figure().subplots())
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_without_matplotlib_the_error_names_the_extra() -> None:
    script = """
import sys
sys.modules["matplotlib"] = None
from dgmmis.errors import DgmmisError
from dgmmis.plotting import density_image
from dgmmis.simulate import PRESETS
try:
    density_image(PRESETS["graded"].model, None)
except DgmmisError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", script], check=True, timeout=120, capture_output=True, text=True)
    assert "pip install 'dgmmis[plots]'" in told.stdout


@pytest.mark.parametrize("features", [(0, 1), (2, 0)])
def test_ellipses_have_the_axes_of_the_covariances(ax: Axes, features: tuple[int, int]) -> None:
    drawn = confidence_ellipses(MIXTURE, ax, features=features, sigmas=(2.0, 1.0))
    assert len(drawn) == 2
    part = MIXTURE.marginal(features)
    for sigma, ellipses in zip((1.0, 2.0), drawn, strict=True):
        np.testing.assert_allclose(ellipses.get_offsets(), part.means)
        widths, heights, angles = ellipses.get_widths(), ellipses.get_heights(), np.radians(ellipses.get_angles())
        for k, covariance in enumerate(part.covariances):
            turn = np.array([[np.cos(angles[k]), -np.sin(angles[k])], [np.sin(angles[k]), np.cos(angles[k])]])
            drawn_shape = turn @ np.diag([widths[k] ** 2, heights[k] ** 2]) @ turn.T / (2 * sigma) ** 2
            np.testing.assert_allclose(drawn_shape, covariance, atol=1e-12)


def test_a_density_image_holds_the_objects(ax: Axes) -> None:
    model = Model(MIXTURE, Uniform(np.full(3, -9.0), np.full(3, 9.0)), 0.25)
    extent = Extent(-12.0, 12.0, -12.0, 12.0)
    image = np.asarray(density_image(model, ax, extent=extent, features=(2, 1), scale=1000.0).get_array())
    assert image.sum() * 24.0 * 24.0 / image.size == pytest.approx(1000.0, rel=0.01)
    row, column = np.unravel_index(image.argmax(), image.shape)
    x, y, _ = extent.grid(len(image))
    tops = MIXTURE.marginal((2, 1)).means
    assert np.min(np.hypot(*(tops - [x[column], y[row]]).T)) < 0.5


def test_an_extent_holds_components_and_background() -> None:
    extent = Extent.of(Model(MIXTURE), sigmas=2.0)
    np.testing.assert_allclose(extent.box, (-2 - 2 * 2**0.5, 3 + 2 * 0.5**0.5, -1 - 2 * 2**0.5, 4 + 2 * 0.5**0.5))
    wide = Extent.of(Model(MIXTURE, Uniform(np.full(3, -50.0), np.full(3, 60.0)), 0.1), features=(1, 2))
    assert wide.box == (-50.0, 60.0, -50.0, 60.0)
    square = Extent(0.0, 4.0, 1.0, 2.0).squared()
    assert square.box == (0.0, 4.0, -0.5, 3.5)


def test_edges_lie_where_the_survey_ends(ax: Axes) -> None:
    extent = Extent(-3.0, 3.0, -3.0, 3.0)
    lines = survey_edges(Ball(np.array([0.5, -0.5]), 1.5), ax, extent)
    assert lines is not None
    vertices = np.concatenate([path.vertices for path in lines.get_paths()])
    radius = np.hypot(vertices[:, 0] - 0.5, vertices[:, 1] + 0.5)
    assert np.all(np.abs(radius - 1.5) < 0.02)
    turned = survey_edges(Box(np.array([0.0, -1.0]), np.array([1.0, 2.0])), ax, extent, features=(1, 0))
    assert turned is not None
    vertices = np.concatenate([path.vertices for path in turned.get_paths()])
    np.testing.assert_allclose([vertices.min(axis=0), vertices.max(axis=0)], [[-1, 0], [2, 1]], atol=0.02)


def test_a_graded_survey_has_a_line_for_each_level(ax: Axes) -> None:
    selection = HalfSpace(np.array([1.0, 0.0]), 0.5, 0.4)
    lines = survey_edges(selection, ax, Extent(-3.0, 3.0, -3.0, 3.0), shade=True)
    assert lines is not None
    for level, path in zip((0.1, 0.5, 0.9), lines.get_paths(), strict=True):
        middles = path.vertices[np.isfinite(path.vertices).all(axis=1), 0]
        np.testing.assert_allclose(middles, 0.5 + 0.4 * np.log(1 / level - 1), atol=0.01)
    assert {text.get_text() for text in ax.texts} == {"10%", "50%", "90%"}


def test_any_callable_is_a_survey(ax: Axes) -> None:
    extent = Extent(-3.0, 3.0, -3.0, 3.0)
    lines = survey_edges(lambda y: (y[:, 0] > y[:, 1]).astype(float), ax, extent, shade=True)
    assert lines is not None
    vertices = np.concatenate([path.vertices for path in lines.get_paths()])
    assert np.all(np.abs(vertices[:, 0] - vertices[:, 1]) < 0.02)
    assert survey_edges(lambda y: np.full(len(y), 0.5), ax, extent) is None


def test_the_recovery_figure_shows_four_panels_in_one_scale(hole: Dataset, tmp_path: Path) -> None:
    truth = PRESETS["box-with-hole"].model
    fitted = replace(truth, mixture=replace(truth.mixture, means=truth.mixture.means + 0.5))
    figure = _recovery(hole, "box-with-hole", fitted=fitted)
    assert len(figure.axes) == 5  # the last one holds the colours
    panels = figure.axes[:4]
    assert [ax.get_xlabel() for ax in panels] == ["x [arcmin]"] * 4
    assert panels[0].get_ylabel() == "y [arcmin]"
    assert figure.axes[4].get_ylabel() == "objects per arcmin²"
    assert len({ax.get_title(loc="left") for ax in panels}) == 4
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in panels}) == 1
    assert len({id(ax.images[0].norm) for ax in panels}) == 1
    figure.savefig(tmp_path / "recovery.png")
    pixels = imread(tmp_path / "recovery.png")
    assert pixels.shape[:2] == (480, 1600)
    views = [pixels[100:380, int(ax.get_position().x0 * 1600) + 5 :][:, :250, :3] for ax in panels]
    assert all(view.std() > 0.05 for view in views)
    assert all(np.abs(views[a] - views[b]).mean() > 0.005 for a in range(4) for b in range(a))


def test_every_panel_counts_its_objects(hole: Dataset) -> None:
    figure = _recovery(hole, "box-with-hole")
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    sums = [panel.mean() * (right - left) * (top - bottom) for panel in _panels(figure)]
    assert all(np.isfinite(panel).all() for panel in _panels(figure))
    # the window holds 2.7 sigma of each component: nearly all of the population, all that was seen
    assert 0.98 * 20_000 < sums[0] <= 20_000
    assert sums[1] == pytest.approx(hole.n_rows)
    assert sums[3] == pytest.approx(sums[0], rel=0.02)


def test_the_catalogue_is_counted_where_it_was_seen(hole: Dataset) -> None:
    figure = _recovery(hole, "box-with-hole")
    counts = _panels(figure)[1]
    left, right, bottom, top = figure.axes[1].images[0].get_extent()
    x, y, points = Extent(left, right, bottom, top).grid(len(counts))
    half = (x[1] - x[0]) / 2 + 1e-9, (y[1] - y[0]) / 2 + 1e-9
    selection = PRESETS["box-with-hole"].survey.selection
    assert selection is not None
    touched = np.zeros(len(points), dtype=bool)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            touched |= selection(points + np.multiply([dx, dy], half)) > 0
    assert np.all(counts.ravel()[~touched] == 0)
    assert np.mean(counts.ravel()[touched] > 0) > 0.7


def test_features_may_be_turned_round(hole: Dataset) -> None:
    straight, turned = _recovery(hole, "box-with-hole"), _recovery(hole, "box-with-hole", features=(1, 0))
    assert turned.axes[0].get_ylabel() == "x [arcmin]"
    for a, b in zip(_panels(straight), _panels(turned), strict=True):
        np.testing.assert_allclose(a, b.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["graded", "background", "deconvolution", "many-components"])
def test_every_preset_can_be_drawn(tmp_path: Path, name: str) -> None:
    dataset = simulate(tmp_path / "survey.zarr", name, n=3_000)
    figure = _recovery(dataset, name, plain=PRESETS[name].model, features=(1, 0))
    figure.savefig(tmp_path / "recovery.png")
    assert (tmp_path / "recovery.png").stat().st_size > 10_000
    panels = _panels(figure)
    assert all(np.isfinite(panel).all() for panel in panels)
    assert panels[1].mean() > 0


def test_missing_features_are_shared_out(tmp_path: Path) -> None:
    """A tenth of each feature is missing, yet the picture counts every object."""
    dataset = simulate(tmp_path / "survey.zarr", "deconvolution", n=20_000)
    model = PRESETS["deconvolution"].model
    figure = _recovery(dataset, "deconvolution", plain=model)
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    seen = _panels(figure)[1].mean() * (right - left) * (top - bottom)
    complete = int(np.sum(~np.isnan(dataset.references[0].load().points[:, :2]).any(axis=1)))
    assert complete < 0.85 * 20_000 < 0.9 * 20_000 < seen <= 20_000
    assert "noise and gaps" in " ".join(text.get_text() for text in figure.axes[1].texts)


def test_the_noise_law_of_a_survey_may_come_from_the_catalogue(hole: Dataset, tmp_path: Path) -> None:
    selection = PRESETS["box-with-hole"].survey.selection
    implied, given = _recovery(hole, "box-with-hole", survey=Survey(selection)), _recovery(hole, "box-with-hole")
    np.testing.assert_array_equal(_panels(implied)[3], _panels(given)[3])
    own = simulate(tmp_path / "own.zarr", "background", n=100)
    found = _recovery(own, "background", plain=PRESETS["background"].model, survey=Survey(selection))
    assert _panels(found)[3].sum() > 2 * _panels(found)[2].sum()  # most of the field is out of sight


def test_models_of_other_features_are_refused(hole: Dataset) -> None:
    with pytest.raises(ShapeError, match="fitted does not fit the data"):
        _recovery(hole, "box-with-hole", fitted=PRESETS["deconvolution"].model)


def _recovered(run: Run, data: Dataset) -> Figure:
    return recovery_figure(data, run.model, plain=PLAIN, fitted=PLAIN, survey=Survey())


@pytest.mark.parametrize("draw", [corner_figure, marginals_figure, _recovered])
def test_names_are_shown_as_they_are(tmp_path: Path, draw: Callable[[Run, Dataset], Figure]) -> None:
    """Not read as mathematics, which they need not be."""
    names, units = ("$\\no$", "a$b"), ("$", "$m_$")
    with SurveyWriter(tmp_path / "s.zarr", Schema(names, units)) as writer:
        writer.write(np.random.default_rng(0).normal(4.0, 3.0, size=(500, 2)))
    figure = draw(Run(PLAIN, names, units, {}), Dataset.open(tmp_path / "s.zarr"))
    figure.draw_without_rendering()
    labels = [axis.label.get_text() for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    assert {r"\$\no\$ [\$]", r"a\$b [\$m_\$]"} <= set(labels)


def test_weights_are_counted(tmp_path: Path) -> None:
    from dgmmis.dataset.writer import SurveyWriter

    preset = PRESETS["graded"]
    points, _ = preset.draw(2_000, np.random.default_rng(0))
    weights = np.where(points[:, 0] > 21, 3.0, 0.0)
    with SurveyWriter(tmp_path / "a.zarr", replace(preset.schema, weighted=True)) as writer:
        writer.write(points, weights=weights)
    figure = _recovery(Dataset.open(tmp_path / "a.zarr"), "graded", plain=preset.model)
    counts = _panels(figure)[1]
    left, right, bottom, top = figure.axes[1].images[0].get_extent()
    x, _, _ = Extent(left, right, bottom, top).grid(len(counts))
    assert np.all(counts[:, x < 20.5] == 0)
    inside = (points[:, 0] > left) & (points[:, 0] < right) & (points[:, 1] > bottom) & (points[:, 1] < top)
    assert counts.mean() * (right - left) * (top - bottom) == pytest.approx(weights[inside].sum())


def test_a_choice_is_drawn_with_the_errors_of_its_differences() -> None:
    y = np.random.default_rng(2).normal(size=(80, 1))
    y[:30] = 0.25  # two components collapse on them
    kinds = ("full", "tied")
    choice = select(ArrayDataset.of(y), [1, 2], covariance_types=kinds, fitting=Fitting(stopping=Stopping(1e-4)))
    (axes,) = choice_figure(choice).axes
    assert axes.get_ylabel() == "BIC"
    for kind, line in zip(kinds, axes.containers, strict=True):
        entries = [entry for entry in choice.table if entry.covariance_type == kind]
        assert line.get_label() == kind
        (bars,) = line.lines[2]
        for entry, (low, high) in zip(entries, (path.vertices for path in bars.get_paths()), strict=True):
            assert entry.worse is not None
            assert low[0] == high[0] == entry.n_components
            assert (low[1] + high[1]) / 2 == pytest.approx(entry.bic)
            assert (high[1] - low[1]) / 2 == pytest.approx(entry.worse.standard_error)
    (ring,) = [line for line in axes.lines if line.get_label() == "_best"]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (choice.n_components, choice.entry.bic)
    crosses = [tuple(pair) for line in axes.lines if line.get_marker() == "x" for pair in line.get_xydata()]
    assert crosses == [(entry.n_components, entry.bic) for entry in choice.table if entry.mark]
    assert crosses
