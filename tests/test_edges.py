"""The survey's edges in pictures: in all of them, where Omega has any in two features, and no residuals along them."""

from dataclasses import replace

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.dataset.dataset import Dataset
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.selection import Ball, Box, FromFunction, Grid, HalfSpace, Selection
from dgmmis.simulate import PRESETS, simulate
from dgmmis.survey import Survey

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.contour import ContourSet  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from dgmmis.plotting import (  # noqa: E402
    completeness_figure,
    component_numbers,
    corner_figure,
    membership_figure,
    residuals_figure,
)
from dgmmis.plotting.extent import Extent  # noqa: E402
from dgmmis.plotting.layers import density_grid  # noqa: E402
from dgmmis.plotting.section import draw_edges, section_of  # noqa: E402
from dgmmis.plotting.shown import Shown  # noqa: E402

HOLE = PRESETS["box-with-hole"]
THREE = GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None])
WINDOW = Extent(-3.0, 3.0, -3.0, 3.0)


@pytest.fixture(scope="module")
def hole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("edges") / "hole.zarr"
    simulate(path, "box-with-hole", n=8_000, seed=1)
    return Dataset.open(path)


def _ring(ax: Axes) -> int:
    """Vertices of dashed lines that lie around the hole."""
    dashed = [c for c in ax.collections if isinstance(c, ContourSet) and c.get_linestyle()[0][1] is not None]
    vertices = np.concatenate([path.vertices for lines in dashed for path in lines.get_paths()] or [np.empty((0, 2))])
    return int(np.sum(np.abs(np.hypot(*(vertices - [6.5, 6.0]).T) - 2.0) < 0.05))


def test_all_pictures_of_two_features_show_them(hole: Dataset) -> None:
    panels = {
        "corner": corner_figure(HOLE.model, hole, survey=HOLE.survey).axes[2],
        "residuals": residuals_figure(HOLE.model, hole, survey=HOLE.survey).axes[0],
        "membership": membership_figure(HOLE.model, hole, survey=HOLE.survey).axes[1],
        "completeness": completeness_figure(HOLE.model, hole, survey=HOLE.survey).axes[1],
    }
    assert {name: _ring(ax) > 50 for name, ax in panels.items()} == dict.fromkeys(panels, True)


def test_cells_that_an_edge_crosses_are_no_residuals(hole: Dataset) -> None:
    """What is expected is counted in their seen part, as the data are."""
    image = residuals_figure(HOLE.model, hole, survey=HOLE.survey).axes[0].images[0]
    values, (left, right, bottom, top) = np.asarray(image.get_array(), dtype=float), image.get_extent()
    b, fine = len(values), 10
    x, y = (
        low + (np.arange(b * fine) + 0.5) / (b * fine) * (high - low) for low, high in ((left, right), (bottom, top))
    )
    assert HOLE.survey.selection is not None
    omega = HOLE.survey.selection(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    shares = omega.reshape(b, fine, b, fine).mean(axis=(1, 3))
    crossed = values[(shares > 0) & (shares < 1)]
    crossed = crossed[np.isfinite(crossed)]
    assert len(crossed) >= 20
    assert np.mean(crossed**2) < 1 + 4 * np.sqrt(2 / len(crossed))
    assert abs(np.mean(crossed)) < 4 / np.sqrt(len(crossed))


def _levels(selection: Selection, pair: tuple[int, int] = (0, 1)) -> np.ndarray | None:
    """Omega of two features at (0, 0), (2, 0) and (0, 2); None where there is no section."""
    section = section_of(replace(Shown.of(THREE, None, None), survey=Survey(selection)), pair, WINDOW)
    return None if section is None else section(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]))


def _wide(y: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(y[:, 1]) < 1.5, dtype=float)


def _of_all(y: np.ndarray) -> np.ndarray:
    return np.asarray(y.sum(axis=1) < 1.0, dtype=float)


@pytest.mark.parametrize(
    ("selection", "levels"),
    [
        (Box([-1, -np.inf, -1], [1, np.inf, 1]), [1, 0, 1]),
        # the factors of a product that are of these two, whatever the others do
        (Box([-1, -np.inf, -np.inf], [1, np.inf, np.inf]) & HalfSpace([0, 0, 1], 0.5, 0.2), [1, 0, 1]),
        (~(HalfSpace([-1, 0, 0], -1) | HalfSpace([0, 1, 1], 0)), [1, 0, 1]),
        (Box([-1, -9, -9], [1, 9, 9]) & FromFunction(_wide), [1, 0, 0]),
        (Box([-1, -9, -9], [1, 9, 9]) & FromFunction(_of_all), [1, 0, 1]),
        # beyond its edges this grid says nothing
        (Grid([[-1, 1], [-3, 0, 3]], [[0.25, 0.5]], features=(0, 1)), [0.5, np.nan, 0.5]),
        (Grid([[-3, 3]], [0.25], features=(2,)), None),
        (Ball([0, 0, 0], 1), None),
        (FromFunction(_of_all), None),
    ],
    ids=str,
)
def test_the_section_is_what_depends_on_two_features(selection: Selection, levels: list[float] | None) -> None:
    found = _levels(selection)
    if levels is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, levels)


def test_what_refuses_to_say_has_no_edges() -> None:
    """It costs the lines, and not the picture."""
    refuses = ~Grid([[-4, 0, 2]], [0.0, 1.0], features=(0,))
    shown = replace(Shown.of(THREE, None, None), survey=Survey(refuses))
    ax = Figure().add_subplot()
    assert draw_edges(shown, ax, WINDOW, features=(0, 1)) is None
    assert not ax.collections


def test_a_grid_narrower_than_the_picture_is_drawn() -> None:
    edges = np.array([-2.0, 0.0, 2.0])
    grid = Grid([edges, edges], [[1.0, 0.2], [0.2, 0.2]], features=(0, 1))
    points = THREE.sample(4_000, 1)
    points = points[np.all(np.abs(points[:, :2]) < 2, axis=1)]
    data = points[np.random.default_rng(0).random(len(points)) < grid(points)]
    # the survey's completeness asks it everywhere: what does not say is for the window alone
    everywhere = Grid([edges, edges], grid.values, features=(0, 1), outside="zero")
    figure = membership_figure(THREE, data, survey=Survey(everywhere, selection_on="true"))
    lines = [one for one in figure.axes[1].collections if isinstance(one, ContourSet)]
    assert len(lines) == 1
    assert np.abs(np.concatenate([path.vertices for path in lines[0].get_paths()])).max() < 2.1


@pytest.mark.parametrize("background", [None, Uniform([-9] * 3, [9] * 3)])
def test_densities_on_pixels_are_those_of_the_model(background: Uniform | None) -> None:
    rng = np.random.default_rng(2)
    spread = rng.normal(size=(40, 3, 3))
    mixture = GaussianMixture(np.full(40, 1 / 40), rng.normal(0, 3, (40, 3)), spread @ spread.swapaxes(1, 2) / 3)
    model = Model(mixture, background, 0.0 if background is None else 0.3)
    extent = Extent(-6.0, 7.0, -5.0, 4.0)
    found = density_grid(model, extent, (2, 0))
    _, _, pixels = extent.grid(len(found))
    points = np.full((len(pixels), 3), np.nan)
    points[:, [2, 0]] = pixels
    some = np.arange(0, len(points), 97)
    exact = np.exp(model.log_density(points[some]))
    np.testing.assert_allclose(found.ravel()[some], exact, rtol=1e-10, atol=1e-15 * found.max())


def test_numbers_do_not_lie_over_one_another() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rng = np.random.default_rng(4)
    weights = rng.dirichlet(np.full(120, 3.0))
    mixture = GaussianMixture(weights, rng.normal(size=(120, 2)), np.broadcast_to(np.eye(2), (120, 2, 2)))
    figure = Figure(figsize=(3.0, 3.0))
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(-3, 3), ylim=(-3, 3))
    drawn = component_numbers(mixture, ax)
    boxes = [text.get_window_extent() for text in drawn]
    assert 20 < len(drawn) < 120
    assert drawn[0].get_text() == str(np.argmax(weights))
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
