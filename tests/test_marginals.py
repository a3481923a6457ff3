"""Features one by one: counts with their errors, what is expected, and how sure that is."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.errors import RefusedError
from dgmmis.information import StandardErrors, density_slopes, n_directions
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise_law import ConstantNoise
from dgmmis.plotting import marginals_figure
from dgmmis.plotting.band import expected_slopes
from dgmmis.plotting.shown import Shown
from dgmmis.plotting.triangle import Triangle
from dgmmis.selection import HalfSpace, Injections
from dgmmis.survey import Survey

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.collections import PolyCollection  # noqa: E402

NOISE = 0.3
MODEL = Model(GaussianMixture([0.6, 0.4], [[-1.0], [1.5]], [[[1.0]], [[0.5]]]))
SURVEY = Survey(HalfSpace(np.array([1.0]), 1.0, 0.5), ConstantNoise(np.array([[NOISE]])))


def _observed(n: int) -> ArrayDataset:
    """Of MODEL, through SURVEY."""
    rng = np.random.default_rng(1)
    y = MODEL.sample(n, 2) + np.sqrt(NOISE) * rng.normal(size=(n, 1))
    assert SURVEY.selection is not None
    return ArrayDataset.of(y[rng.random(n) < SURVEY.selection(y)], np.array([[NOISE]]))


def _seen_share(weights: np.ndarray, means: np.ndarray, variances: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The share of what is seen of MODEL that lies in each cell, by the rule of many small rectangles."""
    y = np.linspace(-12, 12, 48_001)
    density = expit((1.0 - y) / 0.5) * sum(
        w * norm.pdf(y, m, np.sqrt(v + NOISE)) for w, m, v in zip(weights, means, variances, strict=True)
    )
    return np.histogram(y, edges, weights=density)[0] / density.sum()


def _band(ax: Axes, number: int) -> np.ndarray:
    """Lower and upper edge of a band, on the points of its curve (2, n)."""
    bands = [one for one in ax.collections if isinstance(one, PolyCollection)]
    vertices = bands[number].get_paths()[0].vertices
    x = np.unique(vertices[:, 0])
    edges = [[vertices[vertices[:, 0] == one, 1].min(), vertices[vertices[:, 0] == one, 1].max()] for one in x]
    return np.array(edges).T


def test_slopes_of_what_is_seen_are_those_of_the_integral() -> None:
    """Noise, a fading selection and its normaliser: against differences of quadrature."""
    shown = Shown.of(MODEL, _observed(4_000), SURVEY)
    edges = np.linspace(-3.5, 2.5, 13)
    found = expected_slopes(Triangle(shown, (0,), edges[None]), seed=0)[0]
    start = [np.array(one) for one in ([0.6, 0.4], [-1.0, 1.5], [1.0, 0.5])]
    exact, step = np.zeros((12, n_directions(MODEL))), 1e-3
    for group in range(3):
        for k in range(2):
            ends = []
            for sign in (-1, 1):
                moved = [one.copy() for one in start]
                moved[group][k] += sign * step
                ends.append(_seen_share(*moved, edges))
            exact[:, 2 * group + k] = (ends[1] - ends[0]) / (2 * step)
    scale = np.abs(exact).max(axis=0)
    assert np.all(scale[:6] > 0.02)
    np.testing.assert_allclose(found[:, :6] / scale[:6], exact[:, :6] / scale[:6], atol=0.08)


def test_the_slopes_of_a_class_are_taken_within_it() -> None:
    """Where errors differ, how many of each class were seen is data: a weight of a component cannot change it."""
    rng = np.random.default_rng(4)
    x, sigma = MODEL.sample(6_000, 5), np.where(rng.random(6_000) < 0.5, 0.1, 2.0)
    y = x + sigma[:, None] * rng.normal(size=x.shape)
    survey = Survey(SURVEY.selection, "own")
    assert survey.selection is not None
    seen = rng.random(len(y)) < survey.selection(y)
    shown = Shown.of(MODEL, ArrayDataset.of(y[seen], (sigma**2)[seen, None]), survey)
    assert len(shown.noise_classes) > 1
    # cells that hold everything: the shares of the classes stay as they are, so nothing changes
    slopes = expected_slopes(Triangle(shown, (0,), np.array([[-50.0, 50.0]])), seed=0)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-12)


def test_counts_have_poisson_errors_and_gaps_are_shared_out() -> None:
    rng = np.random.default_rng(6)
    mixture = GaussianMixture([1.0], [[0.0, 5.0]], np.eye(2)[None])
    y, weights = mixture.sample(5_000, 7), rng.integers(1, 4, 5_000).astype(float)
    y[:, 0][rng.random(5_000) < 0.3] = np.nan
    figure = marginals_figure(mixture, ArrayDataset.of(y, sample_weight=weights))
    line, _, (bars,) = figure.axes[0].containers[0].lines
    x, density = line.get_data()
    edges, width = np.linspace(*figure.axes[0].get_xlim(), 61, retstep=True)
    known = ~np.isnan(y[:, 0])
    counts = np.histogram(y[known, 0], edges, weights=weights[known])[0]
    there, counts = counts > 0, counts[counts > 0]
    np.testing.assert_allclose(x, ((edges[1:] + edges[:-1]) / 2)[there], atol=1e-12)
    shared = weights.sum() / weights[known].sum() / width
    np.testing.assert_allclose(density, counts * shared)
    lengths = np.array([np.ptp(segment[:, 1]) for segment in bars.get_segments()])
    np.testing.assert_allclose(lengths / 2, np.sqrt(counts * np.sum(weights**2) / weights.sum()) * shared)


def test_bands_are_the_errors_of_the_curves() -> None:
    """One normal distribution under noise, whose errors are written down: by the delta method, by hand."""
    mixture = GaussianMixture([1.0], [[1.0]], [[[2.0]]])
    n, t = 20_000, 2.0 + NOISE
    y = mixture.sample(n, 8) + np.sqrt(NOISE) * np.random.default_rng(9).normal(size=(n, 1))
    covariance = np.diag([0.0, 0.01, 0.04, 0.0])
    errors = StandardErrors(np.zeros(1), np.full((1, 1), 0.1), np.full((1, 1, 1), 0.2), 0.0, covariance)
    figure = marginals_figure(mixture, ArrayDataset.of(y, np.array([[NOISE]])), errors=errors)
    for ax, spread, scale, tolerance in ((figure.axes[0], t, n, 0.12), (figure.axes[1], 2.0, 1.0, 1e-6)):
        (curve,) = [line for line in ax.lines if line.get_label() in ("expected to be seen", "population")]
        x, values = (np.asarray(one) for one in curve.get_data())
        f = scale * norm.pdf(x, 1.0, np.sqrt(spread))
        np.testing.assert_allclose(values, f, atol=0.02 * f.max() if scale > 1 else 1e-9)
        of_mean, of_variance = f * (x - 1.0) / spread, f * ((x - 1.0) ** 2 / spread**2 - 1 / spread) / 2
        error = np.sqrt(0.01 * of_mean**2 + 0.04 * of_variance**2)
        for number, times in ((0, 1), (1, 2)):
            low, high = _band(ax, number)
            np.testing.assert_allclose(high - values, times * error, atol=tolerance * times * error.max())
            np.testing.assert_allclose(low, np.maximum(2 * values - high, 0.0), atol=1e-9 * scale)


def test_a_model_has_the_errors_that_some_rows_give_it() -> None:
    """As those of a fit to all rows: of the mean of n objects sqrt(T / n)."""
    mixture = GaussianMixture([1.0], [[1.0]], [[[2.0]]])
    n = 45_000  # more than twice the rows that are looked at
    figure = marginals_figure(mixture, mixture.sample(n, 3))
    (curve,) = figure.axes[1].lines
    x, values = (np.asarray(one) for one in curve.get_data())
    slopes = density_slopes(Model(mixture), x[:, None])
    error = np.sqrt(slopes[:, 1] ** 2 * 2.0 / n + slopes[:, 2] ** 2 * 2 * 4.0 / n)
    np.testing.assert_allclose(_band(figure.axes[1], 0)[1] - values, error, atol=0.05 * error.max())


def test_the_truth_is_within_chance() -> None:
    figure = marginals_figure(MODEL, _observed(8_000), survey=SURVEY)
    words = figure.axes[0].get_title(loc="left").split()
    square, n = float(words[1]), int(words[3])
    assert n > 40
    assert abs(square - n) < 4 * np.sqrt(2 * n)


def test_many_parameters_have_no_band_and_that_is_said() -> None:
    k = 170
    mixture = GaussianMixture(np.full(k, 1 / k), np.arange(k, dtype=float)[:, None], np.ones((k, 1, 1)))
    figure = marginals_figure(mixture, mixture.sample(2_000, 0))
    assert len(figure.axes[0].collections) == 1  # the error bars
    assert "no errors, of 511 parameters" in figure.axes[1].get_title(loc="left")


def test_injections_let_expect_nothing() -> None:
    points = MODEL.sample(100, 0)
    found = Injections(points, np.arange(100) < 60, MODEL.log_density(points))
    with pytest.raises(RefusedError, match="injections do not say"):
        marginals_figure(MODEL, points, survey=Survey(found))
