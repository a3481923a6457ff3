"""The uniform background: against integrals done by numbers, far out in the tails, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats
from strategies import random_covariances

from dgmmis.background import Uniform
from dgmmis.errors import DataError, RefusedError, ShapeError
from dgmmis.linalg import pack
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise

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


def test_correlated_noise_is_refused_where_it_matters() -> None:
    full = FullNoise(pack(random_covariances(np.random.default_rng(2), 3, 2)))
    points = np.array([[0.0, 10.0], [np.nan, 10.0], [0.0, np.nan]])
    with pytest.raises(RefusedError, match="uniform background under correlated noise is not supported"):
        BOX.log_density(points, full)
    assert np.all(np.isfinite(BOX.log_density(points[1:], full.take(slice(1, None)))))


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
