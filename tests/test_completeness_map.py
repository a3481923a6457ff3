"""What a survey sees of the population, by true values: against integrals that are done otherwise."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from dgmmis.background import Uniform
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.errors import JobError, RefusedError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise_law import ConstantNoise
from dgmmis.plotting import completeness_figure
from dgmmis.plotting.completeness import Averages, averages
from dgmmis.plotting.shown import Shown
from dgmmis.plotting.triangle import Triangle
from dgmmis.selection import HalfSpace, Injections
from dgmmis.survey import Survey

matplotlib = pytest.importorskip("matplotlib")

NOISE, OFFSET, WIDTH = 0.5, 1.0, 0.3
MODEL = Model(
    GaussianMixture([0.6, 0.4], [[-1.0, 0.0], [2.0, 1.0]], [np.eye(2), np.diag([0.5, 2.0])]),
    Uniform(np.full(2, -4.0), np.full(2, 4.0)),
    0.2,
)
SURVEY = Survey(HalfSpace(np.array([1.0, 0.0]), OFFSET, WIDTH), ConstantNoise(NOISE * np.eye(2)))
EDGES = np.linspace(-4.0, 4.0, 33)


def _omega(y: np.ndarray) -> np.ndarray:
    return expit((OFFSET - y) / WIDTH)


def _under_noise(x: np.ndarray) -> np.ndarray:
    """Omega averaged under the noise, at true values of the first feature, by the trapezium rule."""
    e = np.linspace(-8, 8, 2_001) * np.sqrt(NOISE)
    weights = norm.pdf(e, scale=np.sqrt(NOISE)) * (e[1] - e[0])
    return _omega(x[:, None] + e) @ weights


def _data(n: int = 4_000) -> ArrayDataset:
    rng = np.random.default_rng(1)
    y = MODEL.sample(n, 2) + np.sqrt(NOISE) * rng.normal(size=(n, 2))
    return ArrayDataset.of(y[rng.random(n) < _omega(y[:, 0])], NOISE * np.eye(2))


def _averages(survey: Survey) -> tuple[Averages, Averages, Averages]:
    shown = Shown.of(MODEL, _data(), survey)
    return averages(Triangle(shown, (0, 1), np.stack([EDGES, EDGES])), seed=3)


def _fine(values: np.ndarray) -> np.ndarray:
    """Means of a function over the cells, from many points in each, by how many objects are at them."""
    x = _points()
    points = np.stack([x, np.full_like(x, np.nan)], axis=1)
    p = np.exp(MODEL.log_density(points)).reshape(32, -1)
    return np.asarray(np.sum(p * values.reshape(32, -1), axis=1) / p.sum(axis=1))


def _points() -> np.ndarray:
    return np.asarray(EDGES[0] + (np.arange(32 * 50) + 0.5) * (EDGES[-1] - EDGES[0]) / (32 * 50))


def _require_near(averages: Averages) -> None:
    """Over two features: within five errors of what there is in a cell; where nearly all or nothing is seen the scatter
    of a few objects says little of the error."""
    values, errors = averages.values, averages.errors
    ends = np.stack([_under_noise(EDGES[:-1]), _under_noise(EDGES[1:])])
    away = np.maximum(values - ends.max(axis=0), ends.min(axis=0) - values)
    graded = (ends.min(axis=0) > 0.1) & (ends.max(axis=0) < 0.9)
    assert graded.sum() >= 4
    assert np.isfinite(values).mean() > 0.9
    assert np.nanmax((away - 5 * errors)[:, graded]) < 0
    assert np.nanmax(away) < 0.1
    assert np.nanmedian(errors[:, graded]) < 0.05


def test_omega_is_averaged_under_the_noise() -> None:
    along, over, own = _averages(SURVEY)
    exact = _fine(_under_noise(_points()))
    values, errors = along.of(0).values, along.of(0).errors
    assert np.all(np.abs(values - exact) < 5 * errors + 1e-6)
    _require_near(over.of(0))
    x = np.linspace(-10, 10, 4_001)
    for k, (mean, variance) in enumerate(((-1.0, 1.0), (2.0, 0.5))):
        z = np.sum(_omega(x) * norm.pdf(x, mean, np.sqrt(variance + NOISE))) * (x[1] - x[0])
        assert abs(own.values[k] - z) < 4 * own.errors[k]
    z = np.mean(_under_noise(np.linspace(-4, 4, 2_001)))
    assert abs(own.values[2] - z) < 4 * own.errors[2]
    shown = Shown.of(MODEL, _data(), SURVEY)
    assert abs(own.values[3] - shown.completeness) < 4 * own.errors[3] + 1e-3


def test_a_selection_on_true_values_has_no_noise() -> None:
    along, _, _ = _averages(Survey(SURVEY.selection, selection_on="true"))
    values, errors = along.of(0).values, along.of(0).errors
    assert np.all(np.abs(values - _fine(_omega(_points()))) < 5 * errors + 1e-6)


def test_injections_say_what_was_found_where() -> None:
    """Drawn evenly, found as the survey finds: each counts as the population has it."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-6, 6, (400_000, 2))
    found = rng.random(len(x)) < _omega(x[:, 0] + np.sqrt(NOISE) * rng.normal(size=len(x)))
    survey = Survey(Injections(x, found, np.full(len(x), -2 * np.log(12.0))))
    along, over, own = _averages(survey)
    exact = _fine(_under_noise(_points()))
    assert np.all(np.abs(along.of(0).values - exact) < 5 * along.of(0).errors + 1e-3)
    _require_near(over.of(0))
    truth = _averages(SURVEY)[2]
    assert np.all(np.abs(own.values - truth.values) < 5 * np.hypot(own.errors, truth.errors))


def test_cells_without_a_population_say_nothing() -> None:
    sums = np.array([[8.0, 8.0, 4.0, 4.0, 4.0], [7.0, 7.0, 7.0, 7.0, 7.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    found = Averages(sums)
    assert found.values[0] == 0.5
    assert np.isnan(found.values[1:]).all()
    assert found.errors[0] == pytest.approx(np.sqrt(8 * 0.25) / 8)


def test_the_figure_shows_them() -> None:
    figure = completeness_figure(MODEL, _data(), survey=SURVEY)
    first, over, second, own, bar = figure.axes
    assert (over.get_xlabel(), over.get_ylabel(), second.get_xlabel()) == ("x0", "x1", "x1")
    assert first.get_ylabel() == bar.get_ylabel() == "completeness"
    image = np.asarray(over.images[0].get_array())
    assert np.nanmax(image[:, :10]) > 0.99
    assert np.nanmin(image[:, -3:]) < 0.05
    x, y = first.lines[0].get_data()
    known = np.isfinite(y)
    assert known.mean() > 0.9
    np.testing.assert_allclose(y[known], _under_noise(np.asarray(x)[known]), atol=0.02)
    assert own.get_xlabel() == "component"
    assert [container.get_label() for container in own.containers] == ["components", "background"]


def test_what_has_no_completeness_to_show_is_refused() -> None:
    points = MODEL.sample(50, 0)
    with pytest.raises(RefusedError, match="sees everything"):
        completeness_figure(MODEL, points)
    with pytest.raises(JobError, match="without data"):
        completeness_figure(MODEL, survey=SURVEY)
    projected = ArrayDataset.of(points, np.eye(2), projection=np.repeat(np.eye(2)[None], 50, axis=0))
    with pytest.raises(RefusedError, match="with projections"):
        completeness_figure(MODEL, projected, survey=SURVEY)
