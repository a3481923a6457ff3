"""Backgrounds of every kind: against integrals done by numbers, far out in the tails, and what is refused."""

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats
from strategies import random_covariances

from dgmmis.background import Background, FixedDensity, FixedMixture, ImportedDensity, Uniform
from dgmmis.errors import DataError, JobError, RefusedError, ShapeError
from dgmmis.linalg import logsumexp, pack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise
from dgmmis.tables import background_from_table, background_to_table

BOX = Uniform([-1.0, 10.0], [2.0, 10.5])


def convolved(y: float, low: float, high: float, sigma: float) -> float:
    """log of the integral of N(y | x, sigma^2) / (high - low) over the box, in pieces about its point nearest to y."""
    nearest = float(np.clip(y, low, high))

    def relative(x: float) -> float:  # to the density at the nearest point, without cancellation
        return float(np.exp(-(x - nearest) * (x + nearest - 2 * y) / (2 * sigma**2)))

    length = min(sigma, sigma**2 / max(abs(y - nearest), sigma))
    edges = np.unique([low, *np.clip(nearest + length * np.arange(-60, 61), low, high), high])
    pieces = [integrate.quad(relative, a, b, epsabs=1e-30, epsrel=1e-11)[0] for a, b in pairwise(edges)]
    return float(stats.norm.logpdf(y, nearest, sigma) + np.log(sum(pieces)) - np.log(high - low))


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("y", [-40.0, -1.5, -1.0, -0.999, 0.4, 1.9, 2.0, 2.5, 100.0])
def test_convolution_is_the_integral(y: float, sigma: float) -> None:
    got = Uniform([-1.0], [2.0]).log_density(np.array([[y]]), DiagonalNoise([[sigma**2]]))
    expected = convolved(y, -1.0, 2.0, sigma)
    assert got[0] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("sigma", [2e3, 1e4, 1e8, 1e16, 1e100])
def test_noise_much_wider_than_the_box_leaves_the_normal(sigma: float) -> None:
    """The difference of two almost equal probabilities would have no digits left, and be -inf in the end."""
    for t in (0.0, 0.7, -3.0, 25.0):
        y = 0.5 + t * sigma
        (got,) = Uniform([-1.0], [2.0]).log_density(np.array([[y]]), DiagonalNoise([[sigma**2]]))
        half = 1.5 / sigma
        expected = stats.norm.logpdf(t) - np.log(sigma) + np.log1p((t * t - 1) * half**2 / 6)
        assert got == pytest.approx(expected, rel=1e-11)


def test_short_and_long_intervals_meet() -> None:
    """On both sides of where the method changes, against what is exact for a box much narrower than the noise."""
    for sigma in (1.5e3 * (1 - 1e-9), 1.5e3 * (1 + 1e-9)):
        (got,) = Uniform([-1.0], [2.0]).log_density(np.array([[1.0]]), DiagonalNoise([[sigma**2]]))
        assert got == pytest.approx(convolved(1.0, -1.0, 2.0, sigma), abs=1e-12)


@pytest.mark.parametrize("distance", [1e2, 1e4, 1e8, 1e12])
def test_tails_are_finite_and_accurate(distance: float) -> None:
    """Mill's ratio: the density beyond an edge is N(t) / t (1 - 1/t^2 + ...) per unit of sigma."""
    noise = DiagonalNoise([[0.25]])
    for y, edge in ((2.0 + distance, 2.0), (-1.0 - distance, -1.0)):
        (got,) = Uniform([-1.0], [2.0]).log_density(np.array([[y]]), noise)
        t = abs(y - edge) / 0.5
        expected = stats.norm.logpdf(t) - np.log(t) + np.log1p(-1 / t**2) - np.log(3.0)
        assert got == pytest.approx(expected, rel=1e-9)


def test_no_nan_at_the_end_of_the_doubles() -> None:
    points = np.array([[1e300, 10.2], [0.0, 10.2], [-1e300, -1e300]])
    for variance in (1e-300, 1e-320, 1.0, 1e300):
        got = BOX.log_density(points, DiagonalNoise(np.full((3, 2), variance)))
        assert not np.any(np.isnan(got))
        assert np.isfinite(got[1])


def test_without_noise_it_is_the_box() -> None:
    points = np.array([[0.0, 10.2], [-1.0, 10.0], [2.0, 10.5], [2.1, 10.2], [0.0, 9.9]])
    expected = np.array([-np.log(1.5)] * 3 + [-np.inf] * 2)
    np.testing.assert_allclose(BOX.log_density(points, NoNoise()), expected)
    np.testing.assert_allclose(BOX.log_density(points, DiagonalNoise(np.zeros((5, 2)))), expected)
    # one feature exact, the other not
    half = BOX.log_density(points, SharedNoise(np.diag([0.0, 0.01])))
    np.testing.assert_array_equal(np.isfinite(half), [True, True, True, False, True])


def test_vanishing_noise_is_no_noise() -> None:
    points = np.random.default_rng(0).uniform([-2, 9.8], [3, 10.7], (100, 2))
    exact = BOX.log_density(points, NoNoise())
    blurred = BOX.log_density(points, DiagonalNoise(np.full((100, 2), 1e-20)))
    np.testing.assert_allclose(np.exp(blurred), np.exp(exact), atol=1e-12)


def test_missing_features_drop_out() -> None:
    points = np.array([[0.0, np.nan], [np.nan, 10.2], [np.nan, np.nan], [0.3, 10.6]])
    variances = np.array([[0.1, np.nan], [-1.0, 0.2], [np.inf, 0.0], [0.1, 0.2]])
    got = BOX.log_density(points, DiagonalNoise(variances))
    first, second = Uniform([-1.0], [2.0]), Uniform([10.0], [10.5])
    expected = [
        first.log_density(np.array([[0.0]]), DiagonalNoise([[0.1]]))[0],
        second.log_density(np.array([[10.2]]), DiagonalNoise([[0.2]]))[0],
        0.0,
        first.log_density(np.array([[0.3]]), DiagonalNoise([[0.1]]))[0]
        + second.log_density(np.array([[10.6]]), DiagonalNoise([[0.2]]))[0],
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_density_of_noisy_points_integrates_to_one() -> None:
    def density(y: float) -> float:
        return float(np.exp(BOX.log_density(np.array([[y, np.nan]]), SharedNoise(np.diag([0.3, 1.0])))[0]))

    assert integrate.quad(density, -8, 9, points=[-1, 2])[0] == pytest.approx(1, abs=1e-9)


def test_diagonal_matrices_are_variances() -> None:
    rng = np.random.default_rng(1)
    points, variances = rng.uniform(0, 10, (20, 2)), rng.uniform(0.1, 1, (20, 2))
    full = FullNoise(pack(variances[:, :, None] * np.eye(2)))
    np.testing.assert_array_equal(BOX.log_density(points, full), BOX.log_density(points, DiagonalNoise(variances)))


def test_samples_are_uniform() -> None:
    points = BOX.sample(20_000, np.random.default_rng(3))
    assert np.all((points >= BOX.lower) & (points <= BOX.upper))
    for e in range(2):  # a right program fails once in a million seeds
        width = BOX.upper[e] - BOX.lower[e]
        assert stats.kstest(points[:, e], stats.uniform(BOX.lower[e], width).cdf).pvalue > 1e-6


@pytest.mark.parametrize(
    ("lower", "upper", "error", "message"),
    [
        ([0.0, 1.0], [1.0], ShapeError, "one lower and one upper edge a feature"),
        ([[0.0]], [[1.0]], ShapeError, "one lower and one upper edge a feature"),
        ([0.0, 1.0], [1.0, 1.0], DataError, "`lower` must be below `upper`, both finite"),
        ([0.0], [np.inf], DataError, "both finite"),
        ([np.nan], [1.0], DataError, "both finite"),
    ],
)
def test_bad_boxes_are_refused(lower: list[float], upper: list[float], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Uniform(lower, upper)


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(ShapeError, match="background and data differ: expected 2 features, got 3"):
        BOX.log_density(np.zeros((4, 3)), NoNoise())


MIXTURE = GaussianMixture([0.3, 0.7], [[0.0, 0.0], [2.0, -1.0]], [[[1.0, 0.3], [0.3, 0.5]], [[0.4, -0.2], [-0.2, 0.9]]])
RAMP = FixedDensity(ImportedDensity("numpy:sum", {"axis": 1}), [0.0, 0.0], [1.0, 2.0])  # (x + y) / 3


def narrow(points: np.ndarray) -> np.ndarray:
    """Of integral 3 over the box of NARROW but for exp(-40)."""
    return np.asarray(3.0 * stats.multivariate_normal([0.5, 0.4], [[0.01, 0.004], [0.004, 0.01]]).pdf(points))


NARROW = FixedDensity(narrow, [-1.0, -1.0], [2.0, 2.0])
KINDS: list[Any] = [BOX, RAMP, NARROW, FixedMixture(MIXTURE)]


@pytest.mark.parametrize("background", KINDS)
def test_every_kind_keeps_the_promises(background: Background) -> None:
    """Protocol, pickle, an envelope that covers it, and the density as the mean of its own posterior's weights."""
    assert isinstance(background, Background)
    again = pickle.loads(pickle.dumps(background))
    points = background.sample(200, np.random.default_rng(0))
    assert points.shape == (200, background.n_features)
    exact = background.log_density(points, NoNoise())
    assert np.all(np.isfinite(exact))
    np.testing.assert_array_equal(again.log_density(points, NoNoise()), exact)
    assert background.envelope.n_features == background.n_features
    sigma = points.std(axis=0)
    noise = FullNoise(pack(random_covariances(np.random.default_rng(1), 200, 2, 0.1, 0.5) * sigma[:, None] * sigma))
    R = np.random.default_rng(2).standard_normal((200, 1, 2)) / sigma
    for at, e, projection in (
        (points, noise, None),
        (points, DiagonalNoise(np.tile([0.0, 0.3], (200, 1)) * sigma**2), None),
        (np.where([True, False], points, np.nan), noise, None),
        (np.einsum("nmd,nd->nm", R, points), DiagonalNoise(np.full((200, 1), 0.2)), R),
        (np.einsum("nmd,nd->nm", R, points), NoNoise(), R),
    ):
        density = background.log_density(at, e, projection)
        positions, log_weights = background.posterior(at, e, projection, n_points=1024)
        assert positions.shape == (200, 1024, 2)
        assert np.all(np.isfinite(positions))
        np.testing.assert_allclose(logsumexp(log_weights, axis=1) - np.log(1024), density, atol=5e-3)
    unmeasured = background.log_density(np.full_like(points, np.nan), noise)
    np.testing.assert_allclose(unmeasured, 0.0, atol=1e-12)


@pytest.mark.parametrize("background", [RAMP, NARROW, FixedMixture(MIXTURE)])
def test_samples_follow_the_density(background: Background) -> None:
    """Means of three functions within 5.5 standard errors, and of what the integral misses; by a grid of midpoints."""
    points = background.sample(40_000, np.random.default_rng(3))

    box = background.envelope if isinstance(background.envelope, Uniform) else Uniform([-6, -6], [6, 6])
    edges = [np.linspace(low, high, 241) for low, high in zip(box.lower, box.upper, strict=True)]
    a, b = (0.5 * (edge[1:] + edge[:-1]) for edge in edges)
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.prod([edge[1] - edge[0] for edge in edges])
    heights = np.exp(background.log_density(grid, NoNoise())) * cell
    assert heights.sum() == pytest.approx(1, abs=2e-3)
    for function in (lambda x: x[:, 0], lambda x: x[:, 1] ** 2, lambda x: np.cos(x[:, 0] * x[:, 1])):
        values = function(points)
        expected = heights @ function(grid)
        assert abs(values.mean() - expected) < 5.5 * values.std() / 200 + 2e-3 * np.abs(expected)


def test_narrow_density_is_the_normal_it_is_made_of() -> None:
    """Convolved with noise, projected and with missing features, by the closed form: a few per cent where it is
    narrower than the noise, within three sigma of it."""
    rng = np.random.default_rng(4)
    S = random_covariances(rng, 50, 2, 0.02, 0.1)
    mean, C = np.array([0.5, 0.4]), np.array([[0.01, 0.004], [0.004, 0.01]])
    y = mean + rng.uniform(-0.2, 0.2, (50, 2))
    assert NARROW.norm_error < 5e-4
    assert NARROW.log_norm == pytest.approx(np.log(3), abs=6 * NARROW.norm_error)
    got = NARROW.log_density(y, FullNoise(pack(S)))
    expected = [stats.multivariate_normal.logpdf(y[i], mean, C + S[i]) for i in range(50)]
    np.testing.assert_allclose(got, expected, atol=0.06)
    y[:, 1] = np.nan
    got = NARROW.log_density(y, FullNoise(pack(S)))
    expected = stats.norm.logpdf(y[:, 0], 0.5, np.sqrt(0.01 + S[:, 0, 0]))
    np.testing.assert_allclose(got, expected, atol=0.06)
    R = np.tile([[1.0, -2.0]], (50, 1, 1))
    got = NARROW.log_density(y[:, :1] - 0.8, DiagonalNoise(np.full((50, 1), 0.1)), R)
    expected = stats.norm.logpdf(y[:, 0] - 0.8, R[0, 0] @ mean, np.sqrt(R[0, 0] @ C @ R[0, 0] + 0.1))
    np.testing.assert_allclose(got, expected, atol=0.06)


def test_fixed_mixture_is_the_mixture() -> None:
    rng = np.random.default_rng(5)
    background = FixedMixture(MIXTURE)
    y, S = rng.normal(0, 2, (60, 2)), random_covariances(rng, 60, 2)
    y[rng.random(y.shape) < 0.3] = np.nan
    np.testing.assert_allclose(background.log_density(y, FullNoise(pack(S))), MIXTURE.log_density(y, S), atol=1e-12)
    R, z = rng.standard_normal((60, 3, 2)), rng.standard_normal((60, 3))
    S = random_covariances(rng, 60, 3)
    z[:30, 1] = np.nan
    got = background.log_density(z, FullNoise(pack(S)), R)
    for i in range(60):
        k = ~np.isnan(z[i])
        T = [R[i, k] @ C @ R[i, k].T + S[i][np.ix_(k, k)] for C in MIXTURE.covariances]
        heights = [
            stats.multivariate_normal.pdf(z[i, k], R[i, k] @ m, t) for m, t in zip(MIXTURE.means, T, strict=True)
        ]
        assert got[i] == pytest.approx(np.log(MIXTURE.weights @ heights), abs=1e-10)
    with pytest.raises(RefusedError, match="measure the same thing twice, without noise"):
        background.log_density(np.zeros((1, 2)), NoNoise(), np.ones((1, 2, 2)))


def test_posterior_of_a_fixed_mixture() -> None:
    """Averages of 1, x and an indicator, against the conditional normals; what was measured exactly stays."""
    background = FixedMixture(MIXTURE)
    positions, log_weights = background.posterior(np.array([[1.0, np.nan]]), NoNoise(), n_points=4096)
    given = MIXTURE.condition({0: 1.0})
    w = np.exp(log_weights[0])
    assert np.all(positions[0, :, 0] == 1.0)
    assert w.mean() == pytest.approx(np.exp(MIXTURE.marginal([0]).log_density([[1.0]])[0]))
    x = positions[0, :, 1]
    assert np.average(x, weights=w) == pytest.approx(given.weights @ given.means[:, 0], abs=2e-3)
    below = given.weights @ stats.norm.cdf(-0.5, given.means[:, 0], np.sqrt(given.covariances[:, 0, 0]))
    assert np.average(x < -0.5, weights=w) == pytest.approx(below, abs=2e-3)


@pytest.mark.parametrize("background", [RAMP, FixedMixture(MIXTURE)])
def test_a_model_stands_on_any_background(background: Background) -> None:
    model = Model(MIXTURE, background, 0.25)
    points, labels = model.labelled_sample(4000, 6)
    assert abs(np.mean(labels == -1) - 0.25) < 5.5 * np.sqrt(0.25 * 0.75 / 4000)
    S = np.array([[0.2, 0.05], [0.05, 0.1]])
    expected = 0.75 * np.exp(MIXTURE.log_density(points[:50], S))
    expected += 0.25 * np.exp(background.log_density(points[:50], SharedNoise(S)))
    np.testing.assert_allclose(np.exp(model.log_density(points[:50], S)), expected)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: -x[:, 0], DataError, "finite numbers >= 0 all over the box, got -"),
        (lambda x: np.full(len(x), np.inf), DataError, "finite numbers >= 0"),
        (lambda x: np.zeros(len(x)), DataError, "zero all over the box"),
        (lambda x: x, ShapeError, "the function returned no density"),
        (3.0, DataError, "`function` must be callable"),
    ],
)
def test_what_is_no_density_is_refused(function: Any, error: type[Exception], message: str) -> None:
    build: Any = FixedDensity
    raised = (error, TypeError) if not callable(function) else error  # annotations are checked here, elsewhere not
    with pytest.raises(raised) as caught:
        build(function, [0.1, 0.1], [1.0, 2.0])
    assert message in str(caught.value) or not callable(function)


@pytest.mark.parametrize("background", [BOX, RAMP, FixedMixture(MIXTURE)])
def test_tables_give_the_background_back(background: Background) -> None:
    again = background_from_table(background_to_table(background), allow_code=True)
    points = background.sample(20, np.random.default_rng(7))
    np.testing.assert_array_equal(again.log_density(points, NoNoise()), background.log_density(points, NoNoise()))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"function": {"path": "numpy:sum", "lower": [0.0], "upper": [1.0]}}, "allow it with --allow-code"),
        ({"uniform": {"lower": [0.0]}}, "lacks upper"),
        ({"lower": [0.0], "uper": [1.0]}, "unknown key 'uper'. Did you mean 'upper'?"),
        ({"lower": [1.0], "upper": [0.0]}, "`lower` must be below `upper`"),
        ({"unifrom": {}}, "Did you mean 'uniform'?"),
        ({"uniform": {}, "mixture": {}}, "a table with one kind"),
        ([1.0], "a table with one kind"),
        ({"mixture": {"weights": [0.5], "means": [[0.0]], "covariances": [[[1.0]]]}}, "sum to one"),
        ({"mixture": 3}, "needs a table"),
    ],
)
def test_tables_that_are_wrong(table: Any, message: str) -> None:
    with pytest.raises(JobError) as caught:
        background_from_table(table)
    assert message in str(caught.value)


def test_edges_alone_are_a_uniform_background() -> None:
    background = background_from_table({"lower": [0.0], "upper": [2.0]})
    assert isinstance(background, Uniform)
    assert background.upper == [2.0]


def test_a_function_without_a_path_has_no_table() -> None:
    with pytest.raises(RefusedError, match="cannot be written to a table"):
        background_to_table(NARROW)
