"""Rectangles under Gaussians: closed forms, integrals by other means, differences of P, published moments."""

import json
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import log_ndtr, ndtr
from scipy.stats import multivariate_normal, norm
from strategies import random_covariances

from dgmmis.errors import DataError, NumericalError, ShapeError
from dgmmis.truncation import rectangle, truncated_moments
from dgmmis.truncation.interval import log_interval

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _reference() -> Any:
    path = SHARED / "reference" / "truncated_normal_moments.json"
    if not path.exists():
        pytest.skip("needs reference/truncated_normal_moments.json, which does not come with the project")
    return json.loads(path.read_text())


def _numbers(values: object) -> np.ndarray:
    return np.atleast_1d(np.array(values, dtype=float))


def _pair(rho: float) -> np.ndarray:
    return np.array([[[1.0, rho], [rho, 1.0]]])


def _product_rule(
    mean: np.ndarray, covariance: np.ndarray, lower: np.ndarray, upper: np.ndarray, n: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """P, mean and covariance inside a finite rectangle by a Gauss-Legendre product of n^r points."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    half, r = 0.5 * (upper - lower), len(mean)
    offsets = np.array(list(product(nodes, repeat=r))) * half + 0.5 * (lower + upper) - mean
    mass = np.array(list(product(weights, repeat=r))).prod(axis=1) * half.prod()
    mass *= np.exp(-0.5 * np.einsum("ni,ni->n", offsets, offsets @ np.linalg.inv(covariance)))
    mass /= np.sqrt(np.linalg.det(2 * np.pi * covariance))
    p = float(mass.sum())
    center = mass @ offsets / p
    offsets -= center
    return p, mean + center, offsets.T @ (offsets * mass[:, None]) / p


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("edge", [0.0, 1.0, 8.0, 40.0, 300.0, 1e5])
def test_half_lines_are_exact_however_far(edge: float, sign: int) -> None:
    ends = ([edge], [np.inf]) if sign > 0 else ([-np.inf], [-edge])
    found = rectangle(np.zeros((1, 1)), np.ones((1, 1, 1)), _numbers(ends[0]), _numbers(ends[1]))
    assert found.log_probability[0] == pytest.approx(float(log_ndtr(-edge)), rel=1e-14)
    assert np.all(found.error == 0)


@given(st.floats(-45, 45), st.floats(1e-9, 60))
def test_intervals_are_the_integral_of_their_density(low: float, width: float) -> None:
    """int exp(-e t - t^2 / 2) dt from the point e nearest to zero, where nothing underflows."""
    high = low + width
    e = float(np.clip(0.0, low, high))
    reach = 80 / (np.hypot(e, np.sqrt(80)) + abs(e))
    t = np.linspace(max(low - e, -reach), min(high - e, reach), 9)
    pieces = [quad(lambda t: np.exp(-t * (e + t / 2)), a, b, epsabs=0, epsrel=1e-13)[0] for a, b in pairwise(t)]
    expected = np.log(sum(pieces)) - 0.5 * (e * e + np.log(2 * np.pi))
    # the far edge of the interval is itself rounded, by 1e-16 of its distance
    rounding = 4e-16 * max(abs(low), abs(high), 1) / width
    assert log_interval(_numbers(low), _numbers(high))[0] == pytest.approx(expected, rel=1e-13, abs=1e-12 + rounding)


@pytest.mark.parametrize("rho", [-1 + 1e-9, -0.95, -0.3, 0.0, 0.5, 0.86, 0.999, 1 - 1e-12])
def test_a_quadrant_is_an_angle(rho: float) -> None:
    """Prob(z > 0) = 1/4 + arcsin(rho) / 2 pi (Sheppard 1899)."""
    found = rectangle(np.zeros((1, 2)), _pair(rho), np.zeros(2), np.full(2, np.inf)).probability[0]
    # the correlation is only known to 1e-16, and the angle of 1 - rho to its root
    assert found == pytest.approx(0.25 + np.arcsin(rho) / (2 * np.pi), abs=1e-15 + 1e-16 / np.sqrt(1 - rho * rho))


def test_an_octant_is_the_sum_of_three_angles() -> None:
    rng = np.random.default_rng(0)
    covariances = random_covariances(rng, 50, 3, 0.05, 5.0)
    found = rectangle(np.zeros((50, 3)), covariances, np.zeros(3), np.full(3, np.inf))
    sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    angles = np.arcsin((covariances / sigma[:, :, None] / sigma[:, None, :])[:, [0, 0, 1], [1, 2, 2]])
    np.testing.assert_allclose(found.probability, 0.125 + angles.sum(axis=1) / (4 * np.pi), rtol=1e-11)
    assert np.all(found.error < 1e-11)


def _conditional_integral(low: np.ndarray, high: np.ndarray, rho: float) -> tuple[float, float]:
    """log of int phi(x) Prob(z_2 in its interval | x) dx by adaptive quadrature, and the top of its integrand."""
    s = np.sqrt((1 - rho) * (1 + rho))

    def log_integrand(x: np.ndarray) -> np.ndarray:
        return norm.logpdf(x) + log_interval((low[1] - rho * x) / s, (high[1] - rho * x) / s)

    grid = np.linspace(max(low[0], -60), min(high[0], 60), 40001)
    values = log_integrand(grid)
    top = float(values.max())
    kept = grid[values > top - 42]
    step = grid[1] - grid[0]
    ends = np.linspace(max(kept[0] - step, grid[0]), min(kept[-1] + step, grid[-1]), 41)
    total = sum(
        quad(lambda x: np.exp(log_integrand(_numbers(x))[0] - top), a, b, epsabs=0, epsrel=1e-12)[0]
        for a, b in pairwise(ends)
    )
    return float(np.log(total)) + top, top


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.7, 0.84, 0.86, -0.97, 0.999])
def test_two_variables_are_the_integral_over_one_in_the_tails_too(rho: float) -> None:
    rng = np.random.default_rng(1)
    for distance in (0.0, 4.0, 20.0):
        low = rng.normal(size=2) + distance * np.array([1, -1 if rho < 0.5 else 1.1])
        high = low + rng.exponential([1.0, 3.0])
        if rng.random() < 0.3:
            high[0] = np.inf
        expected, _ = _conditional_integral(low, high, rho)
        found = rectangle(np.zeros((1, 2)), _pair(rho), low, high).log_probability[0]
        assert found == pytest.approx(expected, rel=1e-14, abs=1e-11), (low, high)


def test_scipy_agrees_on_two_variables() -> None:
    rng = np.random.default_rng(2)
    k = 40
    means, covariances = rng.normal(size=(k, 2)), random_covariances(rng, k, 2)
    lower, upper = np.array([-1.0, -0.5]), np.array([0.5, 2.0])
    found = rectangle(means, covariances, lower, upper).probability
    expected = [
        multivariate_normal(mean, covariance).cdf(upper, lower_limit=lower, rng=np.random.default_rng(0))
        for mean, covariance in zip(means, covariances, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(found, np.exp(rectangle(means, covariances, lower, upper).log_probability), rtol=1e-13)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_slopes_are_differences_of_the_probability(r: int) -> None:
    """Central differences with a step h: right to h^2 + 1e-14 / h."""
    rng = np.random.default_rng(r)
    means, covariances = rng.normal(size=(2, r)), random_covariances(rng, 2, r)
    lower, upper = np.full(r, -1.0), np.linspace(0.5, 1.5, r)
    upper[0] = np.inf
    found = rectangle(means, covariances, lower, upper)
    step = 1e-5
    for i in range(r):
        move = step * np.eye(r)[i]
        up, down = (rectangle(means + sign * move, covariances, lower, upper) for sign in (1, -1))
        slope = (up.probability - down.probability) / (2 * step)
        np.testing.assert_allclose(found.mean_slope[:, i], slope, atol=1e-9)
        # the slope by the covariance is half the Hessian by the mean
        hessian = (up.mean_slope - down.mean_slope) / (2 * step)
        np.testing.assert_allclose(found.covariance_slope[:, i], 0.5 * hessian, atol=1e-9)
        for j in range(i + 1):
            turn = step * (np.outer(np.eye(r)[i], np.eye(r)[j]) + np.outer(np.eye(r)[j], np.eye(r)[i])) / 2
            up, down = (rectangle(means, covariances + sign * turn, lower, upper) for sign in (1, -1))
            slope = (up.probability - down.probability) / (2 * step)
            np.testing.assert_allclose(found.covariance_slope[:, i, j], slope, atol=1e-9)
    assert np.array_equal(found.covariance_slope, np.swapaxes(found.covariance_slope, 1, 2))


def test_parts_of_a_rectangle_add_up() -> None:
    """Cut along one variable, P and its slopes add; everything together is 1, and does not move."""
    rng = np.random.default_rng(5)
    for r in (1, 2, 3):
        means, covariances = rng.normal(size=(3, r)), random_covariances(rng, 3, r)
        cuts = [-np.inf, -1.0, 0.2, np.inf]
        parts = []
        for cell in product(range(3), repeat=r):
            lower, upper = (_numbers([cuts[c + side] for c in cell]) for side in (0, 1))
            parts.append(rectangle(means, covariances, lower, upper))
        np.testing.assert_allclose(sum(part.probability for part in parts), 1, rtol=1e-11)
        np.testing.assert_allclose(sum(part.mean_slope for part in parts), 0, atol=1e-11)
        np.testing.assert_allclose(sum(part.covariance_slope for part in parts), 0, atol=1e-11)


def test_units_and_the_order_of_variables_do_not_matter() -> None:
    rng = np.random.default_rng(6)
    means, covariances = rng.normal(size=(4, 3)), random_covariances(rng, 4, 3)
    lower, upper = np.array([-1.0, -np.inf, 0.0]), np.array([1.0, 0.5, np.inf])
    scale, order = np.array([1e-6, 1.0, 1e5]), np.array([2, 0, 1])
    one = rectangle(means, covariances, lower, upper)
    other = rectangle(
        (means * scale)[:, order],
        (covariances * scale[:, None] * scale)[:, order][:, :, order],
        (lower * scale)[order],
        (upper * scale)[order],
    )
    np.testing.assert_allclose(one.probability, other.probability, rtol=1e-11)
    np.testing.assert_allclose((one.mean_slope / scale)[:, order], other.mean_slope, rtol=1e-9)


def test_independent_variables_multiply_in_any_number() -> None:
    """Without correlation Genz's method has no variance, and five variables are five intervals."""
    rng = np.random.default_rng(7)
    means, variances = rng.normal(size=(2, 5)), rng.uniform(0.5, 2, (2, 5))
    lower, upper = np.full(5, -1.0), np.full(5, 1.5)
    found = rectangle(means, np.array([np.diag(v) for v in variances]), lower, upper, n_points=64)
    each = ndtr((upper - means) / np.sqrt(variances)) - ndtr((lower - means) / np.sqrt(variances))
    np.testing.assert_allclose(found.probability, each.prod(axis=1), rtol=1e-12)
    assert np.all(found.error < 1e-12)


def test_five_variables_within_the_stated_error() -> None:
    """Six standard errors of a t with 7 degrees: false alarm 5e-4 for the one pinned seed."""
    rng = np.random.default_rng(8)
    means, covariances = rng.normal(size=(2, 5)) / 2, random_covariances(rng, 2, 5, 0.5, 4.0)
    lower, upper = np.full(5, -1.0), np.array([1.0, 1.0, 1.5, 2.0, 1.0])
    found = rectangle(means, covariances, lower, upper, n_points=512)
    assert np.all((found.error > 0) & (found.error < 1e-3 * found.probability))
    for k in range(2):
        p, mean, _ = _product_rule(means[k], covariances[k], lower, upper, 12)
        assert abs(found.probability[k] - p) < 6 * found.error[k]
        slope = p * np.linalg.solve(covariances[k], mean - means[k])
        np.testing.assert_allclose(found.mean_slope[k], slope, atol=1e-3 * p)
    again = rectangle(means, covariances, lower, upper, n_points=512)
    assert np.array_equal(found.covariance_slope, again.covariance_slope)


def test_published_moments_of_one_variable() -> None:
    """The extremes, [-40, -39] among them; the R package's numbers in the file are wrong in places and not used."""
    for case in _reference()["univariate"]:
        mean, variance = _numbers(case["mu"]), _numbers(case["sigma"])[None] ** 2
        found = truncated_moments(mean, variance, _numbers(case["a"]), _numbers(case["b"]))
        assert found.log_probability == pytest.approx(case["log_prob"], rel=1e-13)
        assert np.exp(found.log_probability) == pytest.approx(case["prob"], rel=1e-11)
        assert found.mean[0] == pytest.approx(case["trunc_mean"], rel=1e-12, abs=1e-14)
        assert found.covariance[0, 0] == pytest.approx(case["trunc_var"], rel=1e-11)
        assert found.error == 0


@pytest.mark.parametrize(
    ("name", "published"),
    # moments of a 3-D and a 5-D box are published to 1e-4 only: their covariance is not symmetric beyond that
    [
        ("2d_box_inside", 1e-8),
        ("2d_far_tail_corner", 1e-8),
        ("2d_halfplane", 1e-8),
        ("3d_onesided", 1e-8),
        ("3d_box", 1e-4),
        ("5d_box", 3e-4),
    ],
)
def test_published_moments_of_several_variables(name: str, published: float) -> None:
    case = _reference()["multivariate"][name]
    mean, covariance, lower, upper = (_numbers(case[key]) for key in ("mean", "cov", "lower", "upper"))
    found = truncated_moments(mean, covariance, lower, upper)
    assert np.exp(found.log_probability) == pytest.approx(case["prob"], rel=1e-8 + 5 * found.error)
    np.testing.assert_allclose(found.mean, case["trunc_mean"], atol=published)
    np.testing.assert_allclose(found.covariance, case["trunc_cov"], atol=published)
    if published > 1e-8:  # an independent integral judges to the digits that the published ones lack
        p, inside, spread = _product_rule(mean, covariance, lower, upper, 24 if len(mean) == 3 else 12)
        tolerance = 1e-10 + 5 * found.error
        sigma = np.sqrt(np.diagonal(covariance))
        assert np.exp(found.log_probability) == pytest.approx(p, rel=tolerance)
        np.testing.assert_allclose((found.mean - inside) / sigma, 0, atol=tolerance)
        np.testing.assert_allclose((found.covariance - spread) / sigma / sigma[:, None], 0, atol=tolerance)


def test_nothing_cut_off_leaves_the_gaussian() -> None:
    rng = np.random.default_rng(9)
    for r in (1, 2, 3):
        mean, (covariance,) = rng.normal(size=r), random_covariances(rng, 1, r)
        found = truncated_moments(mean, covariance, np.full(r, -np.inf), np.full(r, np.inf))
        np.testing.assert_allclose(found.mean, mean, atol=1e-12)
        np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
        assert found.log_probability == pytest.approx(0, abs=1e-12)


@given(st.floats(-1e4, 1e4), st.floats(1e-6, 100))
def test_moments_of_one_variable_stay_in_their_interval(low: float, width: float) -> None:
    lower, upper = _numbers(low), _numbers(low + width)
    found = truncated_moments(np.zeros(1), np.ones((1, 1)), lower, upper)
    assert lower[0] <= found.mean[0] <= upper[0]
    assert 0 < found.covariance[0, 0] <= min(1, width * width / 4) * (1 + 1e-12)


def test_what_does_not_fit_is_said() -> None:
    mean, covariance = np.zeros((1, 2)), _pair(0.5)
    with pytest.raises(ShapeError, match="lower"):
        rectangle(mean, covariance, np.zeros(1), np.ones(2))
    with pytest.raises(DataError, match="below"):
        rectangle(mean, covariance, np.ones(2), np.ones(2))
    with pytest.raises(DataError, match="positive definite in component 0"):
        rectangle(mean, _pair(1.5), np.zeros(2), np.ones(2))
    with pytest.raises(DataError, match="finite"):
        rectangle(np.full((1, 2), np.nan), covariance, np.zeros(2), np.ones(2))
    with pytest.raises(NumericalError, match="no digits left"):
        truncated_moments(np.zeros(2), covariance[0], np.full(2, 1e200), np.full(2, np.inf))
