"""Integrals over the box: against quadrature, scipy's normal probabilities, splines, segments and plain Monte Carlo."""

import math
import tracemalloc
from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import integrate, stats
from strategies import random_covariances

from dgmmis.background import Uniform
from dgmmis.box_integral.interval import log_interval, quantile
from dgmmis.box_integral.points import nodes, scattered
from dgmmis.box_integral.tilting import saddle_point
from dgmmis.errors import RefusedError
from dgmmis.linalg import logsumexp, pack
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise

NODES = np.polynomial.legendre.leggauss(1000)

CUBE = {d: Uniform(np.zeros(d), np.ones(d)) for d in (1, 2, 3, 4)}


def full(covariances: ArrayLike) -> FullNoise:
    return FullNoise(pack(np.asarray(covariances, dtype=float)))


def error(log_got: np.ndarray, log_expected: ArrayLike) -> float:
    """The largest relative error of the integrals."""
    return float(np.max(np.abs(np.expm1(log_got - np.asarray(log_expected)))))


def by_quadrature(y: np.ndarray, S: np.ndarray) -> float:
    """log of the integral of N(y | x, S) over the unit square: the second feature's interval, integrated over the
    first where the integrand is within exp(-40) of its largest value."""
    slope = S[0, 1] / S[0, 0]
    sigma, rest = np.sqrt(S[0, 0]), np.sqrt(S[1, 1] - slope * S[0, 1])

    def log_integrand(x: np.ndarray) -> np.ndarray:
        mean = y[1] + slope * (x - y[0])
        inner = log_interval(-mean / rest, (1 - mean) / rest, np.full(x.shape, 0.5 / rest))
        return stats.norm.logpdf(x, y[0], sigma) + inner

    low, high = 0.0, 1.0
    for _ in range(3):
        x = np.linspace(low, high, 1001)
        values = log_integrand(x)
        (near,) = np.nonzero(values > values.max() - 40)
        low, high = x[max(near[0] - 1, 0)], x[min(near[-1] + 1, 1000)]
    node, weight = NODES
    x = 0.5 * (low + high) + 0.5 * (high - low) * node
    return float(logsumexp(log_integrand(x) + np.log(0.5 * (high - low) * weight)))


def by_tensor(y: np.ndarray, R: np.ndarray, S: np.ndarray, n: int) -> float:
    """log of the mean of N(y | R x, S) over the unit cube, by a tensor of Gauss-Legendre nodes."""
    node, weight = np.polynomial.legendre.leggauss(n)
    d = R.shape[1]
    x = np.stack(np.meshgrid(*[0.5 * (node + 1)] * d, indexing="ij"), axis=-1).reshape(-1, d)
    w = np.prod(np.stack(np.meshgrid(*[0.5 * weight] * d, indexing="ij"), axis=-1), axis=-1).ravel()
    return float(np.log(w @ np.atleast_1d(stats.multivariate_normal(np.zeros(len(y)), S).pdf(y - x @ R.T))))


def of_sum(y: float, r: np.ndarray) -> float:
    """Density of r . x, x uniform in the unit cube: a spline (inclusion and exclusion of corners)."""
    y, r = y - np.minimum(r, 0).sum(), np.abs(r)
    terms = [
        (-1) ** k * max(y - sum(corner), 0.0) ** (len(r) - 1)
        for k in range(len(r) + 1)
        for corner in combinations(r, k)
    ]
    return sum(terms) / math.factorial(len(r) - 1) / float(np.prod(r))


def of_segment(y: np.ndarray, R: np.ndarray) -> float:
    """Density of R x for R (2, 3): the length of the line R x = y within the unit cube, over |R R'|^(1/2)."""
    direction = np.linalg.svd(R)[2][2]
    start = np.linalg.lstsq(R, y, rcond=None)[0]
    ends = np.sort([-start / direction, (1 - start) / direction], axis=0)
    return float((ends[1].min() - ends[0].max()) / np.sqrt(np.linalg.det(R @ R.T)))


def drawn(rng: np.random.Generator, n: int, m: int, d: int, beyond: float) -> tuple[np.ndarray, np.ndarray]:
    """Projections (n, m, d), and values (n, m) of positions up to so far outside the cube."""
    R = rng.standard_normal((n, m, d))
    return R, np.einsum("nmd,nd->nm", R, rng.uniform(-beyond, 1 + beyond, (n, d)))


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1.0, 2.0), (5.0, 5.5), (-40.0, -30.0), (38.0, 500.0), (3.0, 3.0 + 1e-5), (2e6, 2e6 + 1), (-1e-9, 1e-9), (-9, 9)],
)
def test_quantiles_have_their_share_of_the_mass(low: float, high: float) -> None:
    share = np.array([1e-3, 0.1, 0.5, 0.9, 1 - 1e-6])
    half = np.array([0.5 * (high - low)])
    z = quantile(share, np.array([low]), np.array([high]), half)
    assert np.all((z >= low) & (z <= high) & (np.diff(z, prepend=low) > 0))
    below = log_interval(np.full(5, low), z, 0.5 * (z - low)) - log_interval(np.array([low]), np.array([high]), half)
    slack = 1e-9 + 4 * np.finfo(float).eps * max(abs(low), abs(high)) / (z - low)  # of z itself
    assert np.all(np.abs(np.expm1(below - np.log(share))) < slack * (1 + max(abs(low), abs(high)) * (z - low)))


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_points_integrate_smooth_functions(dimensions: int) -> None:
    """The mean of prod_e 2 x_e is 1, that of cos(sum_e x_e) is Re [(exp(i) - 1) / i]^s."""
    points, log_weights = nodes((1,) * dimensions)
    for x, w in ((points, np.exp(log_weights)), (scattered(4096, dimensions), np.full(4096, 1 / 4096))):
        tolerance = 1e-12 if len(x) < 1000 else 5e-3
        assert np.sum(w) == pytest.approx(1, abs=1e-12)
        assert w @ np.prod(2 * x, axis=1) == pytest.approx(1, abs=tolerance)
        expected = (((np.exp(1j) - 1) / 1j) ** dimensions).real
        assert w @ np.cos(x.sum(axis=1)) == pytest.approx(expected, abs=tolerance)


def test_tilts_are_at_the_saddle_point() -> None:
    """There the gradient of psi is zero: finite differences of it, in both groups of variables."""
    low, high = np.array([[0.5, -1.0, 2.0]]), np.array([[1.5, 3.0, 9.0]])
    slope = np.array([[[0, 0, 0], [0.8, 0, 0], [-0.5, 1.1, 0]]])
    z, mu = saddle_point(low, high, slope)

    def psi(at: np.ndarray) -> float:
        z, mu = np.append(at[:2], 0), np.append(at[2:], 0)
        a, b = low[0] - mu - slope[0] @ z, high[0] - mu - slope[0] @ z
        return float(np.sum(0.5 * mu**2 - mu * z + np.log(stats.norm.cdf(b) - stats.norm.cdf(a))))

    at = np.concatenate([z[0, :2], mu[0, :2]])
    slopes = [(psi(at + h) - psi(at - h)) / 2e-5 for h in 1e-5 * np.eye(4)]
    np.testing.assert_allclose(slopes, 0, atol=1e-5)
    assert z[0, 2] == mu[0, 2] == 0


@pytest.mark.parametrize("scale", [0.03, 0.3, 3.0])
@pytest.mark.parametrize("beyond", [0.2, 1.0, 5.0])
def test_two_correlated_features(scale: float, beyond: float) -> None:
    """Up to hundreds of sigma outside the box, in both directions, at correlations up to 0.98."""
    rng = np.random.default_rng(1)
    S = scale**2 * random_covariances(rng, 60, 2, 0.01, 1.0)
    y = rng.uniform(-beyond, 1 + beyond, (60, 2))
    expected = [by_quadrature(*row) for row in zip(y, S, strict=True)]
    assert error(CUBE[2].log_density(y, full(S)), expected) < 5e-4
    log_weights = CUBE[2].posterior(y, full(S), n_points=256)[1]
    assert error(logsumexp(log_weights, axis=1) - np.log(256), expected) < 5e-3


def test_three_correlated_features_as_scipy_has_them() -> None:
    rng = np.random.default_rng(2)
    S = 0.1 * random_covariances(rng, 25, 3, 0.05, 1.0)
    y = rng.uniform(-0.3, 1.3, (25, 3))
    cdf = [
        stats.multivariate_normal(m, s, maxpts=10**6, abseps=1e-7, releps=1e-5).cdf(np.ones(3), lower_limit=np.zeros(3))
        for m, s in zip(y, S, strict=True)
    ]
    assert error(CUBE[3].log_density(y, full(S)), np.log(cdf)) < 1e-3


def test_four_correlated_features_as_scipy_has_them() -> None:
    rng = np.random.default_rng(3)
    S = 0.1 * random_covariances(rng, 10, 4, 0.1, 1.0)
    y = rng.uniform(-0.1, 1.1, (10, 4))
    cdf = [
        stats.multivariate_normal(m, s, maxpts=10**6, abseps=1e-7, releps=1e-5).cdf(np.ones(4), lower_limit=np.zeros(4))
        for m, s in zip(y, S, strict=True)
    ]
    assert error(CUBE[4].log_density(y, full(S)), np.log(cdf)) < 5e-3


def test_vanishing_correlation_is_the_product() -> None:
    rng = np.random.default_rng(4)
    y, variances = rng.uniform(-1, 2, (200, 3)), rng.uniform(0.01, 1, (200, 3))
    S = variances[:, :, None] * np.eye(3)
    S[:, 1, 0] = S[:, 0, 1] = 1e-13
    got = CUBE[3].log_density(y, full(S))
    # what lies surely inside is not looked at: 1e-6
    np.testing.assert_allclose(got, CUBE[3].log_density(y, DiagonalNoise(variances)), atol=1.1e-6)


def test_identity_projection_is_no_projection() -> None:
    rng = np.random.default_rng(5)
    y, S = rng.uniform(-0.5, 1.5, (50, 3)), 0.2 * random_covariances(rng, 50, 3, 0.1, 1.0)
    eye = np.broadcast_to(np.eye(3), (50, 3, 3))
    for noise in (full(S), SharedNoise(S[0]), DiagonalNoise(S[:, range(3), range(3)]), NoNoise()):
        expected = CUBE[3].log_density(y, noise)
        got = CUBE[3].log_density(y, noise, eye)
        inside = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(got), inside)
        assert error(got[inside], expected[inside]) < 1e-3


def test_rows_are_independent_of_one_another() -> None:
    rng = np.random.default_rng(6)
    n = 300
    y, S = rng.uniform(-0.5, 1.5, (n, 3)), 0.2 * random_covariances(rng, n, 3, 0.1, 1.0)
    y[rng.random(y.shape) < 0.2] = np.nan
    noise, rows = full(S), rng.permutation(n)
    np.testing.assert_array_equal(CUBE[3].log_density(y, noise)[rows], CUBE[3].log_density(y[rows], noise.take(rows)))


def test_the_order_and_the_units_of_features_do_not_matter() -> None:
    rng = np.random.default_rng(7)
    y, S = rng.uniform(-0.5, 1.5, (40, 3)), 0.2 * random_covariances(rng, 40, 3, 0.1, 1.0)
    R = rng.standard_normal((40, 2, 3))
    scale, shift = np.array([1e-6, 1.0, 1e5]), np.array([3.0, -1e3, 7e5])
    expected = CUBE[3].log_density(y, full(S))
    projected = CUBE[3].log_density(y[:, :2], full(S[:, :2, :2]), R)
    for order in permutations(range(3)):
        o = list(order)
        box = Uniform(shift[o], (shift + scale)[o])
        noise = full((S * scale[:, None] * scale)[:, o][:, :, o])
        got = box.log_density((shift + y * scale)[:, o], noise) + np.log(scale).sum()
        np.testing.assert_allclose(got, expected, atol=1e-5)
        at = y[:, :2] + np.einsum("nmd,d->nm", R / scale, shift)
        got = box.log_density(at, full(S[:, :2, :2]), (R / scale)[:, :, o])
        np.testing.assert_allclose(got, projected, atol=2e-3)


def test_missing_features_are_left_out() -> None:
    rng = np.random.default_rng(8)
    y, S = rng.uniform(-0.5, 1.5, (20, 3)), 0.2 * random_covariances(rng, 20, 3, 0.1, 1.0)
    for kept in ([0, 1], [2, 0], [1], []):
        holed = np.full_like(y, np.nan)
        holed[:, kept] = y[:, kept]
        got = CUBE[3].log_density(holed, full(S))
        k = sorted(kept)
        expected = CUBE[len(k)].log_density(y[:, k], full(S[:, k][:, :, k])) if k else np.zeros(20)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1.1e-6)


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("sigma", [0.0, 1e-5, 1e-3])
def test_one_number_without_much_noise(d: int, sigma: float) -> None:
    rng = np.random.default_rng(9)
    R, y = drawn(rng, 100, 1, d, 0.0)
    expected = np.log([of_sum(*row) for row in zip(y[:, 0], R[:, 0], strict=True)])
    noise: Noise = DiagonalNoise(np.full((100, 1), sigma**2)) if sigma else NoNoise()
    wrong = np.abs(np.expm1(CUBE[d].log_density(y, noise, R) - expected))
    assert np.median(wrong) < 3e-4
    assert np.quantile(wrong, 0.95) < 3e-3  # beside the corners, noise of 1e-3 is no longer small


def test_two_numbers_of_three_features_without_much_noise() -> None:
    R, y = drawn(np.random.default_rng(10), 100, 2, 3, 0.0)
    expected = np.log([of_segment(*row) for row in zip(y, R, strict=True)])
    assert error(CUBE[3].log_density(y, NoNoise(), R), expected) < 1e-10
    for variances in ([1e-12, 1e-12], [0.0, 1e-12]):
        assert error(CUBE[3].log_density(y, DiagonalNoise(np.tile(variances, (100, 1))), R), expected) < 2e-3


@pytest.mark.parametrize(("m", "d", "n"), [(1, 2, 300), (2, 2, 300), (3, 2, 300), (1, 3, 80), (2, 3, 80), (3, 3, 80)])
@pytest.mark.parametrize("sigma", [0.15, 0.5, 3.0])
def test_projections_under_correlated_noise(m: int, d: int, n: int, sigma: float) -> None:
    rng = np.random.default_rng(11)
    R, y = drawn(rng, 6, m, d, 0.5)
    S = sigma**2 * random_covariances(rng, 6, m, 0.3, 2.0)
    expected = [by_tensor(*row, n) for row in zip(y, R, S, strict=True)]
    assert error(CUBE[d].log_density(y, full(S), R), expected) < 1e-3


def test_projections_that_say_little() -> None:
    """Rows of zeros and rows that repeat one another leave the noise of what they measure."""
    S = np.array([[[0.3, 0.1], [0.1, 0.2]]])
    twice = np.array([[[1.0, 2.0], [2.0, 4.0]]])
    y = np.array([[1.0, 2.1]])
    assert error(CUBE[2].log_density(y, full(S), twice), by_tensor(y[0], twice[0], S[0], 100)) < 1e-6
    (got,) = CUBE[2].log_density(np.array([[0.1]]), DiagonalNoise([[0.04]]), np.zeros((1, 1, 2)))
    assert got == pytest.approx(stats.norm.logpdf(0.1, 0, 0.2))
    assert CUBE[2].log_density(np.array([[np.nan]]), NoNoise(), np.ones((1, 1, 2)))[0] == 0
    with pytest.raises(RefusedError, match="row 0 measure the same thing twice, without noise"):
        CUBE[2].log_density(y, NoNoise(), twice)


def test_plain_monte_carlo_agrees() -> None:
    """Projections, missing values and full noise in four dimensions: 40 rows, each within 5.5 standard errors of
    200,000 draws and 2e-3; a right program fails once in 600,000 seeds."""
    rng = np.random.default_rng(12)
    R, y = drawn(rng, 40, 3, 4, 0.2)
    S = random_covariances(rng, 40, 3, 0.05, 0.5)
    y[rng.random(y.shape) < 0.3] = np.nan
    got = np.exp(CUBE[4].log_density(y, full(S), R))
    x = rng.random((200_000, 4))
    for i in range(40):
        seen = np.flatnonzero(~np.isnan(y[i]))
        if len(seen) == 0:
            assert got[i] == 1
            continue
        normal = stats.multivariate_normal(np.zeros(len(seen)), S[i][np.ix_(seen, seen)])
        heights = normal.pdf(y[i, seen] - x @ R[i, seen].T)
        assert abs(got[i] - heights.mean()) < 5.5 * heights.std() / np.sqrt(len(x)) + 2e-3 * got[i]


@pytest.mark.parametrize("distance", [1e2, 1e4, 1e8, 1e150, 1e300])
def test_no_nan_however_far(distance: float) -> None:
    y = np.array([[1, 1], [1, -1], [-1, 0.5], [0.5, 1], [np.nan, -1]]) * distance
    noise = SharedNoise([[0.04, 0.03], [0.03, 0.09]])
    for R in (None, np.tile([[1.0, 0.3], [0.2, 2.0]], (5, 1, 1))):
        got = CUBE[2].log_density(y, noise, R)
        assert not np.any(np.isnan(got))
        assert np.all(got < 0)
        positions, log_weights = CUBE[2].posterior(y, noise, R, n_points=32)
        assert np.all((positions >= 0) & (positions <= 1))
        assert not np.any(np.isnan(log_weights))


def test_tails_fall_as_the_nearest_point_says() -> None:
    """Far out, log p = -(distance in sigma)^2 / 2 to the nearest corner, up to its logarithm."""
    noise = SharedNoise([[0.04, 0.02], [0.02, 0.09]])
    for distance in (1e2, 1e4, 1e6):
        y = 1 + distance * np.array([1.0, 1.5])
        offset = y - 1
        square = offset @ np.linalg.solve(noise.covariance, offset)
        (got,) = CUBE[2].log_density(y[None], noise)
        assert abs(got + 0.5 * square) < 3 * np.log(square)


def test_averages_over_the_posterior() -> None:
    """Of 1, x and an indicator, by scipy's dblquad, with one feature correlated, one missing, one exact."""
    S = np.array([[0.1, 0.06, 0, 0], [0.06, 0.2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.0]])
    y = np.array([[0.8, 0.3, np.nan, 0.25]])
    normal = stats.multivariate_normal([0.8, 0.3], S[:2, :2])
    positions, log_weights = CUBE[4].posterior(y, SharedNoise(S), n_points=1024)
    x, w = positions[0], np.exp(log_weights[0]) / 1024
    assert np.all(x[:, 3] == 0.25)
    mass = integrate.dblquad(lambda b, a: normal.pdf([a, b]), 0, 1, 0, 1)[0]
    first = integrate.dblquad(lambda b, a: a * normal.pdf([a, b]), 0, 1, 0, 1)[0]
    corner = integrate.dblquad(lambda b, a: normal.pdf([a, b]), 0.5, 1, 0, 0.4)[0]
    assert w.sum() == pytest.approx(mass, rel=1e-3)
    assert w @ x[:, 0] == pytest.approx(first, rel=2e-3)
    assert w @ ((x[:, 0] > 0.5) & (x[:, 1] < 0.4)) == pytest.approx(corner, rel=1e-2)
    assert w @ x[:, 2] == pytest.approx(0.5 * mass, rel=2e-3)
    assert w @ (x[:, 2] < 0.3) == pytest.approx(0.3 * mass, rel=1e-2)


def test_positions_reproduce_exact_projections() -> None:
    R, y = drawn(np.random.default_rng(13), 30, 2, 4, 0.0)
    positions, log_weights = CUBE[4].posterior(y, NoNoise(), R, n_points=64)
    again = np.einsum("nmd,njd->njm", R, positions)
    possible = np.isfinite(log_weights)
    assert np.all(possible.any(axis=1))
    np.testing.assert_allclose(again[possible], np.broadcast_to(y[:, None], again.shape)[possible], atol=1e-9)


def test_outside_without_noise_there_is_no_weight() -> None:
    positions, log_weights = CUBE[2].posterior(np.array([[0.5, 1.5], [np.nan, -1.0]]), NoNoise(), n_points=8)
    assert np.all(np.isneginf(log_weights))
    assert np.all(np.isfinite(positions))
    assert np.all(positions[:, :, 1] == [[1.5], [-1.0]])
    far = CUBE[2].log_density(np.array([[2.5], [1.5]]), NoNoise(), np.ones((2, 1, 2)))
    np.testing.assert_allclose(far, [-np.inf, np.log(0.5)], atol=1e-9)


def test_memory_is_bounded_by_the_batch() -> None:
    rng = np.random.default_rng(14)
    y, S = rng.uniform(0, 1, (8192, 3)), 0.2 * random_covariances(rng, 8192, 3, 0.1, 1.0)
    noise = full(S)
    tracemalloc.start()
    CUBE[3].log_density(y, noise)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # every row with every node at once would be 9 arrays of 8192 x 144 numbers, 85 MB
