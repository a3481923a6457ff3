"""Ellipses and curves hold the shares that they say."""

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.errors import DataError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.plotting import Extent, confidence_ellipses, corner_figure, iso_density
from dgmmis.plotting.contours import densest

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.collections import EllipseCollection  # noqa: E402
from matplotlib.contour import ContourSet  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, 0.3], [0.0, 0.3, 1.0]])
ONE = GaussianMixture([1.0], [[0.0, 1.0, 2.0]], COVARIANCE[None])
TWO = Model(
    GaussianMixture([0.6, 0.4], [[0.0, 1.0, 2.0], [4.0, -2.0, 0.0]], [COVARIANCE, np.diag([0.5, 1.0, 1.0])]),
    Uniform(np.full(3, -8.0), np.full(3, 8.0)),
    0.2,
)


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


def _held(curves: ContourSet, number: int, points: np.ndarray) -> float:
    """The share of some points that lie within the curves of one level, holes left out."""
    polygons = curves.get_paths()[number].to_polygons()
    inside = sum(matplotlib.path.Path(polygon).contains_points(points).astype(int) for polygon in polygons)
    return float(np.mean(inside % 2 == 1))


def test_the_curves_of_a_normal_distribution_are_its_ellipses(ax: Axes) -> None:
    curves = iso_density(ONE, ax, levels=(0.9, 0.5), features=(2, 0))
    assert curves is not None
    part = ONE.marginal([2, 0])
    for share, path in zip((0.9, 0.5), curves.get_paths(), strict=True):
        away = path.vertices - part.means[0]
        squares = np.einsum("ni,ij,nj->n", away, np.linalg.inv(part.covariances[0]), away)
        np.testing.assert_allclose(squares, -2 * np.log(1 - share), rtol=0.02)


def test_the_curves_of_a_population_hold_its_shares(ax: Axes) -> None:
    points = TWO.sample(200_000, 1)[:, [0, 1]]
    curves = iso_density(TWO, ax, levels=(0.3, 0.68, 0.85))
    assert curves is not None
    for number, share in enumerate((0.85, 0.68, 0.3)):
        assert _held(curves, number, points) == pytest.approx(share, abs=0.006)


def test_ellipses_hold_the_shares_of_their_components(ax: Axes) -> None:
    points = ONE.sample(100_000, 2)[:, [0, 1]]
    for share, drawn in zip((0.68, 0.95), confidence_ellipses(ONE, ax, levels=(0.95, 0.68)), strict=True):
        (width,), (height,), (angle,) = drawn.get_widths(), drawn.get_heights(), np.radians(drawn.get_angles())
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        along = (points - ONE.means[0, :2]) @ turn.T / [width / 2, height / 2]
        assert np.mean(np.sum(along**2, axis=1) <= 1) == pytest.approx(share, abs=0.006)


def test_a_curve_that_does_not_fit_into_the_window_is_left_out(ax: Axes) -> None:
    extent = Extent(-0.7, 0.7, 0.0, 2.0)
    assert iso_density(ONE, ax, levels=[0.9], extent=extent) is None
    inner = iso_density(ONE, ax, levels=[0.05, 0.9], extent=extent)
    assert inner is not None
    assert len(inner.levels) == 1
    assert densest(np.ones((4, 4)), [0.5], whole=100.0) == []


def test_both_go_into_a_legend(ax: Axes) -> None:
    iso_density(TWO, ax, colour="#112233", label="half")
    confidence_ellipses(TWO.mixture, ax, colour="#445566", label="components")
    legend = ax.legend()
    assert [text.get_text() for text in legend.get_texts()] == ["half", "components"]
    assert [line.get_color() for line in legend.get_lines()] == ["#112233", "#445566"]


@pytest.mark.parametrize("level", [0.0, 1.0, 68.0, np.nan])
def test_a_level_is_a_share(ax: Axes, level: float) -> None:
    with pytest.raises(DataError, match="expected between 0 and 1"):
        iso_density(ONE, ax, levels=[level])
    with pytest.raises(DataError, match="expected between 0 and 1"):
        confidence_ellipses(ONE, ax, levels=[level])
    with pytest.raises(DataError, match="expected between 0 and 1"):
        corner_figure(ONE, contours=[level])


def test_a_corner_plot_has_the_levels_that_are_asked_for() -> None:
    """What was seen, with noise four times as wide as the population: curves hold shares of the data."""
    rng = np.random.default_rng(3)
    y = ONE.sample(20_000, 4) + 2 * rng.normal(size=(20_000, 3))
    figure = corner_figure(
        ONE, ArrayDataset.of(y, 4 * np.eye(3)), features=[0, 1], levels=(0.2,), contours=(0.5, 0.68, 0.9)
    )
    below, above = figure.axes[2], figure.axes[1]
    for ax in (below, above):
        (ellipses,) = [one for one in ax.collections if isinstance(one, EllipseCollection)]
        diameters = np.sort([ellipses.get_widths()[0], ellipses.get_heights()[0]])
        lengths = np.linalg.eigvalsh(COVARIANCE[:2, :2])
        np.testing.assert_allclose(diameters, 2 * np.sqrt(-2 * np.log(0.8) * lengths))
    (seen,) = [one for one in below.collections if isinstance(one, ContourSet)]
    for number, share in enumerate((0.9, 0.68, 0.5)):
        assert _held(seen, number, y[:, :2]) == pytest.approx(share, abs=0.02)
    assert "50 %, 68 %, 90 %" in figure.get_suptitle()


def test_ellipses_and_curves_can_be_left_out() -> None:
    figure = corner_figure(ONE, features=[0, 1], levels=(), contours=(0.5,))
    assert [type(one) for one in figure.axes[2].collections if not isinstance(one, ContourSet)] == []
    figure = corner_figure(ONE, features=[0, 1], levels=(0.5,), contours=())
    assert not [one for one in figure.axes[2].collections if isinstance(one, ContourSet)]
    assert "Curves" not in figure.get_suptitle()


def test_a_long_tail_leaves_the_rest_in_sight() -> None:
    """One object in a hundred is from a component a hundred times as wide; another component is far away."""
    means, covariances = [[0.0, 0.0], [0.0, 0.0], [500.0, 0.0]], np.array([1.0, 1e4, 4.0])[:, None, None] * np.eye(2)
    figure = corner_figure(GaussianMixture([0.989, 0.01, 0.001], means, covariances))
    (left, right), (bottom, top) = figure.axes[2].get_xlim(), figure.axes[2].get_ylim()
    assert bottom > -10
    assert top < 10
    assert left > -10
    assert right == pytest.approx(500 + 2.7 * 2)
