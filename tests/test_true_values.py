"""True values: against Bayes' theorem on a grid and brute-force sums, draws against moments, regression with errors."""

from dataclasses import replace
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr
from scipy.stats import kstest, multivariate_normal, norm
from strategies import Recipe, covariances_of, make

import dgmmis
from dgmmis.background import FixedDensity, FixedMixture, Uniform
from dgmmis.deconvolution import conditional, conditional_samples, true_value_samples, true_values
from dgmmis.errors import JobError, RefusedError, ShapeError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, SharedNoise
from dgmmis.selection import Box, HalfSpace
from dgmmis.survey import Survey

MIXTURE = GaussianMixture(
    [0.35, 0.65], [[-0.8, 0.3], [0.7, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]]
)
BEHIND = GaussianMixture([0.5, 0.5], [[0.0, 2.0], [1.0, -2.0]], [np.eye(2), 0.5 * np.eye(2)])
NAN = np.nan
POINTS = np.array([[0.4, -0.2], [1.2, NAN], [NAN, 0.9], [NAN, NAN], [-1.5, 1.5]])
NOISE = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.15, 0.0], [0.0, 0.4]], [[0.5, 0.0], [0.0, 0.3]], np.eye(2), np.eye(2)])
R = np.array([[[1.0, 0.5], [0.2, -1.0]], [[0.3, 1.0], [1.0, 0.0]], [[-1.0, 0.4], [0.6, 0.8]], np.eye(2), np.eye(2)])

AXIS = np.linspace(-9.0, 9.0, 401)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)

FALSE_ALARM = 1e-6
"""How often a statistical test here would fail by chance, were its seed not pinned."""


def _bayes(density: np.ndarray, n: int, looks: np.ndarray, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the true values of object n, by sums over the grid."""
    there = np.flatnonzero(~np.isnan(POINTS[n]))
    likelihood = np.ones(len(GRID))
    if len(there):
        seen = GRID @ looks[n][there].T
        likelihood = multivariate_normal(POINTS[n, there], NOISE[n][np.ix_(there, there)]).pdf(seen)
    share = density * likelihood * omega
    share /= share.sum()
    mean = share @ GRID
    return mean, (GRID - mean).T @ ((GRID - mean) * share[:, None])


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("background", [None, "mixture", "uniform", "density"])
def test_moments_are_those_of_bayes(background: str | None, projected: bool) -> None:
    """Exactly for Gaussians; a percent of a standard deviation where the background is averaged over points."""
    shapes = {
        None: None,
        "mixture": FixedMixture(BEHIND),
        "uniform": Uniform([-3, -3], [3, 3]),
        "density": FixedDensity(lambda x: 1 + 0.3 * x[:, 0], [-3, -3], [3, 3]),
    }
    behind = shapes[background]
    model = Model(MIXTURE, behind, 0.3 if behind else 0.0)
    found = true_values(model, POINTS, NOISE, projection=R if projected else None)
    density = np.exp(model.log_density(GRID))
    exact = background in (None, "mixture")
    for n in range(len(POINTS)):
        looks = R if projected else np.broadcast_to(np.eye(2), (len(POINTS), 2, 2))
        mean, covariance = _bayes(density, n, looks, np.ones(len(GRID)))
        np.testing.assert_allclose(found.mean[n], mean, atol=1e-6 if exact else 0.02)
        np.testing.assert_allclose(found.covariance[n], covariance, atol=1e-6 if exact else 0.03)
    assert np.all((found.background > 0) == (behind is not None))


@pytest.mark.parametrize("on", ["true", "observed"])
@pytest.mark.parametrize("background", [False, True])
def test_the_selection_tilts_what_the_catalogue_does_not_hold(on: str, background: bool) -> None:
    """Omega(x) where it acts on true values; else P(seen | x), over the noise of the value that went missing."""
    edge = 0.5
    survey = Survey(HalfSpace([1.0, 0.0], edge), "own" if on == "observed" else None, on)
    model = Model(MIXTURE, Uniform([-3, -3], [3, 3]) if background else None, 0.3 if background else 0.0)
    points = np.array([[NAN, 0.9], [NAN, -0.8], [0.4, -0.2]])
    noise = np.array([[[0.5, 0.0], [0.0, 0.3]], [[0.5, 0.0], [0.0, 0.1]], [[0.3, 0.1], [0.1, 0.2]]])
    variance = float(noise[2, 0, 0])  # of the only object that shows it: what stands in for the missing
    density = np.exp(model.log_density(GRID))
    found = true_values(model, points, noise, survey=survey)
    for n in range(3):
        there = np.flatnonzero(~np.isnan(points[n]))
        share = density * multivariate_normal(points[n, there], noise[n][np.ix_(there, there)]).pdf(GRID[:, there])
        if on == "true":
            share = share * (GRID[:, 0] < edge)
        elif n < 2:
            share = share * norm.cdf((edge - GRID[:, 0]) / np.sqrt(variance))
        share /= share.sum()
        mean = share @ GRID
        np.testing.assert_allclose(found.mean[n], mean, atol=0.03)
        np.testing.assert_allclose(found.covariance[n], (GRID - mean).T @ ((GRID - mean) * share[:, None]), atol=0.03)
    plain = true_values(model, points, noise)
    assert np.all(plain.mean[:2, 0] - found.mean[:2, 0] > 0.1), "the tilt matters"
    drawn = true_value_samples(model, points, noise, survey=survey, n_samples=4000)
    np.testing.assert_allclose(drawn.mean(axis=1), found.mean, atol=0.06)
    if on == "true":
        assert np.all(drawn[:, :, 0] < edge)


def test_one_that_could_not_have_been_selected_has_no_true_values() -> None:
    survey = Survey(Box([-3, -3], [3, 3]), None, "true")
    found = true_values(MIXTURE, [[0.0, 0.0], [40.0, 0.0], [41.0, 0.0]], 0.01 * np.eye(2), survey=survey)
    np.testing.assert_array_equal(np.isnan(found.mean), [[False] * 2, [True] * 2, [True] * 2])
    assert np.isnan(found.covariance[1]).all()


@pytest.mark.parametrize("k", [4, 60])
@pytest.mark.parametrize("noise", ["shared", "diagonal", "full"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_moments_equal_the_literal_sums(noise: str, missing: float, k: int) -> None:
    """Of Bovy et al. (2011, eqs. 13-15), object by object, at scales that differ by ten orders of magnitude."""
    survey = make(Recipe(d=3, k=k, n=40, noise=noise, seed=3, missing=missing, log_scale=5, offset=100.0))
    mixture, points = survey.model.mixture, survey.chunk.points
    found = true_values(mixture, points, survey.chunk.noise)
    q = mixture.responsibilities(points, survey.chunk.noise)
    unit = np.sqrt(np.diagonal(mixture.covariances[0]))
    for n, S in enumerate(covariances_of(survey.chunk.noise, *points.shape)):
        there = np.flatnonzero(~np.isnan(points[n]))
        means, spreads = [], []
        for mu, C in zip(mixture.means / unit, mixture.covariances / np.outer(unit, unit), strict=True):
            inverse = np.linalg.inv((C + S / np.outer(unit, unit))[np.ix_(there, there)])
            means.append(mu + C[:, there] @ inverse @ (points[n, there] / unit[there] - mu[there]))
            spreads.append(C - C[:, there] @ inverse @ C[there])
        mean = q[n] @ np.array(means)
        apart = np.array(means) - mean
        covariance = np.einsum("k,kij->ij", q[n], np.array(spreads) + apart[:, :, None] * apart[:, None, :])
        np.testing.assert_allclose(found.mean[n] / unit, mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.covariance[n] / np.outer(unit, unit), covariance, atol=1e-9)


def test_the_posterior_narrows_to_the_noise_without_losing_digits() -> None:
    """Where it is 10^-18 of the spread; and what was measured exactly stays as it is."""
    found = true_values(MIXTURE, [[0.3, 0.4]], [[1e-18, 4e-18]])
    np.testing.assert_allclose(np.diagonal(found.covariance[0]), [1e-18, 4e-18], rtol=1e-6)
    exact = true_values(MIXTURE, [[0.3, 0.4], [0.3, NAN]], DiagonalNoise([[0.0, 0.1], [0.0, 0.1]]))
    assert np.all(exact.mean[:, 0] == 0.3)
    assert np.all(exact.covariance[:, 0] == 0)
    assert np.all(exact.covariance[:, 1, 1] > 0.01)
    assert np.all(true_value_samples(MIXTURE, [[0.3, 0.4]], [[0.0, 0.1]], n_samples=5)[0, :, 0] == 0.3)


@pytest.mark.parametrize("background", [False, True])
def test_the_truth_is_a_draw_of_the_posterior(background: bool) -> None:
    """Its rank among draws is uniform: Kolmogorov-Smirnov along each feature, a false alarm once in a million."""
    rng, n = np.random.default_rng(4), 3000
    model = Model(MIXTURE, Uniform([-3, -4], [3, 4]) if background else None, 0.3 if background else 0.0)
    truth, noise = model.sample(n, rng), rng.uniform(0.05, 1.0, (n, 2))
    points = truth + rng.normal(size=(n, 2)) * np.sqrt(noise)
    points[rng.random((n, 2)) < 0.2] = NAN
    drawn = true_value_samples(model, points, DiagonalNoise(noise), n_samples=63, seed=1)
    for f in range(2):
        ranks = np.sum(drawn[:, :, f] < truth[:, f, None], axis=1)
        assert kstest((ranks + rng.random(n)) / 64, "uniform").pvalue > FALSE_ALARM
    found = true_values(model, points, DiagonalNoise(noise))
    pull = np.einsum("nd,nde,ne->n", truth - found.mean, np.linalg.inv(found.covariance), truth - found.mean)
    assert pull.mean() == pytest.approx(2, abs=5 * pull.std() / np.sqrt(n))


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("on", ["true", "observed"])
def test_so_it_is_of_what_was_selected_on_what_is_not_there(on: str, projected: bool) -> None:
    """Of a catalogue made literally the truth's rank among draws is uniform; without the tilt it is not."""
    rng, n = np.random.default_rng(8), 1000
    model = Model(MIXTURE, Uniform([-3, -4], [3, 4]), 0.3)
    S, selection = np.diag([0.4, 0.2]), HalfSpace([1.0, 0.4], 0.2, 0.1)
    survey = Survey(selection, None if on == "true" else S, on)
    truth = model.sample(8 * n, rng)
    R = rng.normal(size=(8 * n, 2, 2)) if projected else np.broadcast_to(np.eye(2), (8 * n, 2, 2))
    points = np.einsum("nmd,nd->nm", R, truth) + rng.normal(size=truth.shape) * np.sqrt(np.diag(S))
    seen = rng.random(len(truth)) < selection(truth if on == "true" else points)
    truth, points, R = truth[seen][:n], points[seen][:n], R[seen][:n]
    assert len(truth) == n
    points[rng.random(n) < 0.5, 0] = NAN

    def p_of(survey: Survey | None) -> float:
        given = R if projected else None
        drawn = true_value_samples(model, points, S, projection=given, survey=survey, n_samples=31, seed=1)
        # along what was lost, and selected on
        along = R[:, 0] if on == "observed" else np.broadcast_to([1.0, 0.0], (n, 2))
        ranks = np.sum(np.einsum("nd,nsd->ns", along, drawn) < np.einsum("nd,nd->n", along, truth)[:, None], axis=1)
        return float(kstest((ranks + np.random.default_rng(0).random(n)) / 32, "uniform").pvalue)

    assert p_of(survey) > FALSE_ALARM
    assert p_of(None) < 1e-3


def test_blocks_and_steps_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    survey = Survey(HalfSpace([1.0, 0.0], 0.5), None, "observed")
    points = np.where(np.arange(40)[:, None] % 3 == [0, 1], NAN, np.random.default_rng(0).normal(size=(40, 2)) - 1)
    whole = true_values(MIXTURE, points, 0.1 * np.eye(2), survey=survey)
    monkeypatch.setattr("dgmmis.conditioned.BLOCK_NUMBERS", 30)
    monkeypatch.setattr("dgmmis.true_posterior.BLOCK_NUMBERS", 3000)
    pieces = true_values(MIXTURE, points, 0.1 * np.eye(2), survey=survey)
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(pieces.covariance, whole.covariance, rtol=1e-10, atol=1e-14)


def test_a_cutoff_takes_part() -> None:
    """A component that does not reach an object has no share in its posterior."""
    far = GaussianMixture([0.5, 0.5], [[0.0], [4.0]], [[[1.0]], [[1.0]]])
    near = true_values(replace(Model(far), cutoff=3.0), [[0.5]], [[0.1]])
    alone = true_values(GaussianMixture([1.0], [[0.0]], [[[1.0]]]), [[0.5]], [[0.1]])
    np.testing.assert_allclose(near.mean, alone.mean, rtol=1e-12)


# some features, given others


def test_a_slope_is_recovered_through_errors_on_both_sides() -> None:
    """y = 2 x + 1 with scatter: ordinary least squares sees half of the slope, the conditional all of it."""
    rng, n = np.random.default_rng(0), 20_000
    x = rng.normal(size=n)
    truth = np.stack([x, 2 * x + 1 + 0.3 * rng.normal(size=n)], axis=1)
    points, noise = truth + rng.normal(size=(n, 2)) * [1.0, 0.5], np.tile([1.0, 0.25], (n, 1))
    fit = dgmmis.GMMis(1, tol=1e-8).fit(points, noise_covariance=noise)
    assert np.polyfit(points[:, 0], points[:, 1], 1)[0] == pytest.approx(1.0, abs=0.05)
    exact = conditional(fit.mixture_, [[0.0, NAN], [1.0, NAN]], given=[0])
    slope = exact.mean[1, 0] - exact.mean[0, 0]
    assert slope == pytest.approx(2.0, abs=0.08)
    np.testing.assert_allclose(exact.covariance[:, 0, 0], 0.09, atol=0.05)
    # through the noise of x the scatter of the truth about the mean is what the covariance says
    found = conditional(fit.mixture_, points, noise, given=[0])
    pull = (truth[:, 1] - found.mean[:, 0]) / np.sqrt(found.covariance[:, 0, 0])
    assert pull.std() == pytest.approx(1, abs=5 / np.sqrt(2 * n) + 0.01)
    assert kstest(pull, "norm").pvalue > 1e-3


def test_conditionals_are_those_of_the_mixture() -> None:
    """Given values without noise they are `GaussianMixture.condition`; what is not given is not looked at."""
    survey = make(Recipe(d=4, k=3, n=6, seed=2))
    mixture, points = survey.model.mixture, survey.chunk.points
    found = conditional(mixture, points, given=[3, 1])
    spoilt = np.where(np.isin(range(4), [3, 1]), points, 1e9)
    np.testing.assert_array_equal(conditional(mixture, spoilt, given=[3, 1]).mean, found.mean)
    for n, point in enumerate(points):
        single = mixture.condition({1: point[1], 3: point[3]})
        mean = single.weights @ single.means
        apart = single.means - mean
        spread = np.einsum("k,kij->ij", single.weights, single.covariances + apart[:, :, None] * apart[:, None, :])
        np.testing.assert_allclose(found.mean[n], mean, rtol=1e-9)
        np.testing.assert_allclose(found.covariance[n], spread, rtol=1e-9, atol=1e-12)
    drawn = conditional_samples(mixture, points, given=[3, 1], n_samples=4000, seed=3)
    assert drawn.shape == (6, 4000, 2)
    np.testing.assert_allclose(drawn.mean(axis=1), found.mean, atol=6 * np.sqrt(found.covariance.max() / 4000))
    with pytest.raises(ShapeError, match="every feature was given"):
        conditional(mixture, points, given=[0, 1, 2, 3])
    with pytest.raises(ShapeError, match="distinct numbers"):
        conditional(mixture, points, given=[4])


def test_conditionals_look_at_what_shows_given_features_alone() -> None:
    """Of R x: those values whose row of R is zero for the others; with R = 1 as without a projection."""
    look = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 2.0]])
    points, S = np.array([[0.4, 9.0, 3.0], [NAN, 9.0, 3.0]]), np.diag([0.3, 0.2, 0.1])
    found = conditional(MIXTURE, points, S, given=[0], projection=np.tile(look, (2, 1, 1)))
    single = conditional(MIXTURE, [[0.4, NAN], [NAN, NAN]], SharedNoise(np.diag([0.3, 1.0])), given=[0])
    np.testing.assert_allclose(found.mean, single.mean, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, single.covariance, rtol=1e-9)
    eye = conditional(MIXTURE, POINTS, NOISE, given=[1], projection=np.tile(np.eye(2), (5, 1, 1)))
    np.testing.assert_allclose(eye.mean, conditional(MIXTURE, POINTS, NOISE, given=[1]).mean, rtol=1e-9)


@pytest.mark.parametrize("on", ["true", "observed"])
def test_conditionals_of_what_came_into_the_catalogue(on: str) -> None:
    """The other feature of an object that was seen, its own value not looked at: against a sum over the grid."""
    edge, S = 0.5, np.diag([0.4, 0.3])
    survey = Survey(HalfSpace([1.0, 0.0], edge), None if on == "true" else S, on)
    points = np.array([[-1.0, 0.9], [0.2, -0.8], [0.1, 0.3]])
    found = conditional(MIXTURE, points, S, given=[1], survey=survey)
    drawn = conditional_samples(MIXTURE, points, S, given=[1], survey=survey, n_samples=4000)
    omega = (GRID[:, 0] < edge) if on == "true" else norm.cdf((edge - GRID[:, 0]) / np.sqrt(S[0, 0]))
    for n, y in enumerate(points):
        share = np.exp(MIXTURE.log_density(GRID)) * norm.pdf(GRID[:, 1], y[1], np.sqrt(S[1, 1])) * omega
        share /= share.sum()
        mean = share @ GRID[:, 0]
        assert found.mean[n, 0] == pytest.approx(mean, abs=0.03)
        assert found.covariance[n, 0, 0] == pytest.approx(share @ (GRID[:, 0] - mean) ** 2, abs=0.03)
        assert drawn[n, :, 0].mean() == pytest.approx(mean, abs=0.06)
    assert np.all(conditional(MIXTURE, points, S, given=[1]).mean - found.mean > 0.1), "the selection matters"


# chunk-wise


@pytest.mark.parametrize("kind", ["none", "shared", "diagonal", "full", "diagonal array"])
def test_dask_arrays_give_the_same_when_they_are_asked(kind: str) -> None:
    """A block of as many rows as features, whose variances look like a covariance, is one of them."""
    survey = make(Recipe(d=3, k=3, n=60, noise=kind.split()[0], seed=5, missing=0.2))
    points, noise = survey.chunk.points, survey.chunk.noise
    given = dask.array.from_array(noise.values, chunks=(25, 2)) if kind == "diagonal array" else noise
    lazy = dask.array.from_array(points, chunks=((20, 0, 3, 37), 2))
    found = true_values(survey.model, lazy, given)
    assert isinstance(found.mean, dask.array.Array)
    expected = true_values(survey.model, points, noise)
    np.testing.assert_allclose(found.mean.compute(scheduler="sync"), expected.mean, rtol=1e-12)
    np.testing.assert_allclose(
        found.covariance.compute(scheduler="threads"), expected.covariance, rtol=1e-9, atol=1e-12
    )
    stored = zarr.array(points, chunks=(25, 3))
    np.testing.assert_array_equal(true_values(survey.model, stored, noise).mean, expected.mean)
    one, again = (true_value_samples(survey.model, lazy, given, n_samples=2) for _ in range(2))
    assert one.shape == (60, 2, 3)
    np.testing.assert_array_equal(one.compute(scheduler="sync"), again.compute(scheduler="threads"))


@pytest.mark.parametrize("on", ["true", "observed", "available"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_survey_alone_tells_what_lazy_rows_are(on: str, shared: bool) -> None:
    """Also where what stands in for missing values is the mean noise of all of them, which is read for it then."""
    rng, n = np.random.default_rng(2), 90
    points, S = rng.normal(size=(n, 2)) - 1, np.exp(rng.normal(size=(n, 2))) * 0.3
    points[::3, 0], points[1::9, 1] = NAN, NAN
    noise: Any = np.diag(S[0]) if shared else DiagonalNoise(S)
    survey = Survey(HalfSpace([1.0, 0.0], 0.5), None if on == "true" else "own", on)
    chunks = (40, 30, 20)
    lazy = dask.array.from_array(points, chunks=(chunks, 2))
    lazy_noise = noise if shared else dask.array.from_array(S, chunks=(chunks, 2))
    found, whole = (true_values(MIXTURE, *given, survey=survey) for given in ((lazy, lazy_noise), (points, noise)))
    assert isinstance(found.mean, dask.array.Array)
    alike = slice(None if on == "available" else chunks[0])  # later chunks have other points to average over
    np.testing.assert_allclose(found.mean.compute()[alike], whole.mean[alike], rtol=1e-9)
    np.testing.assert_allclose(found.covariance.compute()[alike], whole.covariance[alike], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.mean.compute(), whole.mean, atol=0.1)


def test_projections_on_dask_arrays() -> None:
    points, projection = np.tile(POINTS[:1] - 0.5, (9, 1)), np.tile(R[:1], (9, 1, 1))
    lazy = dask.array.from_array(points, chunks=(4, 2))
    projected = true_values(MIXTURE, lazy, NOISE[0], projection=projection)
    np.testing.assert_allclose(
        projected.mean.compute(), true_values(MIXTURE, points, NOISE[0], projection=projection).mean, rtol=1e-12
    )


def test_what_is_refused() -> None:
    lazy = dask.array.from_array(np.zeros((6, 2)), chunks=(3, 2))
    with pytest.raises(ShapeError, match="do not fit the model"):
        true_values(MIXTURE, np.zeros((3, 3)))
    with pytest.raises(JobError, match="n_samples"):
        true_value_samples(MIXTURE, np.zeros((3, 2)), n_samples=0)
    with pytest.raises(ShapeError, match="noise_covariance has the wrong shape"):
        true_values(MIXTURE, lazy, np.ones((5, 2)))
    with pytest.raises(RefusedError, match="either variances or one covariance"):
        true_values(MIXTURE, lazy[:2], np.eye(2))
    box = Box([-1, -1], [1, 1])
    for rows in (lazy, np.zeros((3, 2))):
        with pytest.raises(ShapeError, match="noise_law does not fit"):
            true_values(MIXTURE, rows, survey=Survey(box, np.eye(3)))
        with pytest.raises(JobError, match="has no effect"):
            true_values(MIXTURE, rows, survey=Survey(None, np.eye(2)))
        with pytest.raises(RefusedError, match="on what is available"):
            conditional(MIXTURE, rows, given=[0], survey=Survey(box, np.eye(2), "available"))
