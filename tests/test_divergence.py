"""Entropies, divergences and probabilities of regions: against closed forms and integrals on a grid."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import dgmmis
from dgmmis.background import FixedDensity, FixedMixture, Uniform
from dgmmis.divergence import entropy, jensen_shannon, kl_divergence, log_density_ratio
from dgmmis.errors import RefusedError, ShapeError
from dgmmis.estimate import Estimate, expectation
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.region import probability_in
from dgmmis.selection import Ball, Box, HalfSpace, Injections

P = GaussianMixture([0.3, 0.7], [[-1.0], [1.5]], [[[0.5]], [[1.2]]])
Q = GaussianMixture([0.6, 0.4], [[-0.5], [2.0]], [[[1.0]], [[0.4]]])
BACKGROUNDS = {
    "none": None,
    "uniform": Uniform([-5.0], [5.0]),
    "mixture": FixedMixture(GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], [[[1.0]], [[2.0]]])),
    "density": FixedDensity(lambda x: np.exp(0.3 * x[:, 0]), [-5.0], [5.0]),
}
PLANE = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.5, 0.0]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])


def _with(mixture: GaussianMixture, background: str) -> Model:
    behind = BACKGROUNDS[background]
    return Model(mixture, behind, 0.0 if behind is None else 0.25)


NODES, SHARES = np.polynomial.legendre.leggauss(300)
EDGES = (-14.0, -5.0, -1.0, 1.5, 5.0, 14.0)


def _integral(function: Callable[[np.ndarray], np.ndarray], edges: Sequence[float] = EDGES) -> float:
    """Over the line, cut where a background ends."""
    parts = (
        0.5 * (b - a) * float(SHARES @ function(0.5 * (a + b) + 0.5 * (b - a) * NODES)) for a, b in pairwise(edges)
    )
    return sum(parts)


def _assert_right(found: Estimate, exact: float) -> None:
    """Within five errors by the scatter of the replicates, and a floor."""
    assert abs(found.value - exact) < 5 * found.error + 1e-8, (found, exact)
    assert found.error < 1e-3


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_means_of_logarithms_are_the_integrals(background: str) -> None:
    p, q = _with(P, background), _with(Q, "none" if background == "none" else "uniform")

    def log(model: Model, x: np.ndarray) -> np.ndarray:
        return model.log_density(x[:, None])

    def js(x: np.ndarray) -> np.ndarray:
        middle = np.logaddexp(log(p, x), log(q, x)) - np.log(2)
        return np.asarray(sum(0.5 * np.exp(log(of, x)) * (log(of, x) - middle) for of in (p, q)))

    _assert_right(entropy(p), _integral(lambda x: -np.exp(log(p, x)) * log(p, x)))
    _assert_right(kl_divergence(p, q), _integral(lambda x: np.exp(log(p, x)) * (log(p, x) - log(q, x))))
    _assert_right(jensen_shannon(p, q), _integral(js))


def test_single_gaussians_are_exact() -> None:
    rng = np.random.default_rng(2)
    A, B = (np.cov(rng.normal(size=(3, 20))) for _ in range(2))
    a, b = rng.normal(size=(2, 3))
    p, q = GaussianMixture([1.0], a[None], A[None]), GaussianMixture([1.0], b[None], B[None])
    assert entropy(p).value == pytest.approx(multivariate_normal(a, A).entropy(), rel=1e-12)
    inverse = np.linalg.inv(B)
    exact = 0.5 * (
        np.trace(inverse @ A) + (b - a) @ inverse @ (b - a) - 3 + np.linalg.slogdet(B)[1] - np.linalg.slogdet(A)[1]
    )
    assert kl_divergence(p, q).value == pytest.approx(exact, rel=1e-11)
    assert entropy(p).error == kl_divergence(p, q).error == 0
    twice = GaussianMixture([0.5, 0.5], [a, a], [A, A])  # the same by points
    _assert_right(entropy(twice), entropy(p).value)
    _assert_right(kl_divergence(twice, q), exact)


def test_the_same_model_does_not_differ() -> None:
    for found in (kl_divergence(P, P), jensen_shannon(PLANE, PLANE)):
        assert abs(found.value) < 1e-15
        assert found.error < 1e-15
    apart = GaussianMixture([1.0], [[90.0]], [[[1.0]]])
    assert jensen_shannon(P, apart).value == pytest.approx(np.log(2), rel=1e-9)


def test_errors_are_what_they_say() -> None:
    """Over 30 seeds the pulls have mean 0 and width 1, within what so many know of them (6 sigma)."""
    p = _with(P, "mixture")

    def integrand(x: np.ndarray) -> np.ndarray:
        log_p = p.log_density(x[:, None])
        return -np.exp(log_p) * log_p

    exact = _integral(integrand)
    found = [entropy(p, n_points=1 << 13, seed=seed) for seed in range(30)]
    pulls = np.array([(one.value - exact) / one.error for one in found])
    assert abs(pulls.mean()) < 6 / np.sqrt(30)
    assert abs(pulls.std() - 1) < 6 / np.sqrt(60)


def test_points_are_many_where_many_are_asked_for() -> None:
    """More than a net holds: the error falls, and the value stays."""
    few, many = (entropy(PLANE, n_points=n) for n in (1 << 12, 1 << 19))
    assert many.error < few.error / 4
    assert abs(many.value - few.value) < 5 * few.error


def test_ratios_of_densities() -> None:
    points, noise = np.array([[0.3, -0.2], [np.nan, 0.5], [2.0, 1.0]]), np.full((3, 2), 0.2)
    one, other = Model(PLANE, Uniform([-4, -4], [4, 4]), 0.1), Model(PLANE)
    expected = one.log_density(points, noise) - other.log_density(points, noise)
    np.testing.assert_allclose(log_density_ratio(one, other, points, noise), expected, rtol=1e-9, atol=1e-12)


# regions


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_probability_of_an_interval(background: str, noise: float | None) -> None:
    model, (a, b) = _with(P, background), (-1.2, 2.1)
    spread = 0.0 if noise is None else noise

    def inside(x: np.ndarray) -> np.ndarray:
        if noise is None:
            seen = ((a < x) & (x < b)).astype(float)
        else:
            seen = norm.cdf((b - x) / spread**0.5) - norm.cdf((a - x) / spread**0.5)
        return np.exp(model.log_density(x[:, None])) * seen

    exact = _integral(inside, [-14.0, -5.0, a, b, 5.0, 14.0])
    found = probability_in(model, Box([a], [b]), None if noise is None else [[noise]])
    _assert_right(found, exact)
    if background in ("none", "mixture") or (background == "uniform" and noise is None):
        assert found.error == 0
        assert found.value == pytest.approx(exact, abs=1e-9)


def test_other_regions_are_means_over_points() -> None:
    """A ball by a sum over a fine grid; what is not seen of it; a graded edge in closed form by one more variable."""
    axis = (np.arange(2000) + 0.5) / 2000 * 12 - 6
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    ball = Ball([0.5, 0.2], 1.3)
    inside = grid[ball(grid) > 0]
    exact = float(np.exp(PLANE.log_density(inside)).sum() * (12 / 2000) ** 2)
    found = probability_in(PLANE, ball)
    assert abs(found.value - exact) < 5 * found.error + 2e-5
    other = probability_in(PLANE, ~ball)
    assert found.value + other.value == pytest.approx(1, abs=1e-12)
    soft = probability_in(PLANE, HalfSpace([1.0, 0.0], 0.4, softness=0.2))
    marginal = PLANE.marginal([0])
    _assert_right(soft, _integral(lambda x: np.exp(marginal.log_density(x[:, None])) / (1 + np.exp((x - 0.4) / 0.2))))


def test_many_bounds() -> None:
    """Four edges in four features by points, against the product of what is independent; those that depend on one
    another by points as well."""
    gaussian = GaussianMixture([1.0], np.zeros((1, 4)), np.eye(4)[None])
    found = probability_in(gaussian, Box([-1.0] * 4, [0.5] * 4))
    assert found.value == pytest.approx((norm.cdf(0.5) - norm.cdf(-1)) ** 4, rel=1e-6)
    strip = HalfSpace([1.0, 0.0], 1.0) & HalfSpace([0.0, 1.0], 1.0) & HalfSpace([1.0, 1.0], 0.5)
    wedge = probability_in(PLANE, strip)
    drawn = PLANE.sample(200_000, 1)
    assert wedge.value == pytest.approx(strip(drawn).mean(), abs=5 * 0.5 / np.sqrt(200_000) + 5 * wedge.error)
    oblique = Model(PLANE, Uniform([-4, -4], [4, 4]), 0.3)
    cut = probability_in(oblique, HalfSpace([1.0, 1.0], 0.0))
    share = probability_in(PLANE, HalfSpace([1.0, 1.0], 0.0))
    assert cut.value == pytest.approx(0.7 * share.value + 0.3 * 0.5, abs=5 * cut.error + 1e-12)
    assert share.error == 0


def test_what_is_refused() -> None:
    with pytest.raises(RefusedError, match="which is no density"):
        entropy(Model(P, cutoff=3.0))
    with pytest.raises(RefusedError, match="which is no density"):
        kl_divergence(P, Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]]), cutoff=3.0))
    with pytest.raises(ShapeError, match="different features"):
        jensen_shannon(P, PLANE)
    with pytest.raises(RefusedError, match="injections are no region"):
        probability_in(P, Injections(np.zeros((3, 1)), [True, True, False], np.zeros(3)))
    with pytest.raises(ShapeError, match="noise of a region"):
        probability_in(P, Box([0.0], [1.0]), [1.0, 2.0])
    with pytest.raises(ShapeError, match="does not fit"):
        probability_in(P, Box([0.0, 0.0], [1.0, 1.0]))
    assert float(expectation(Model(P), lambda x: np.ones(len(x)))) == pytest.approx(1, abs=1e-12)
    assert str(Estimate(0.25, 0.001)) == "0.25 +- 0.001"


@pytest.mark.parametrize(
    "noise",
    [np.diag([-0.5, 1.0]), [[0.0, 0.5], [0.5, 1.0]], [[1.0, 2.0], [2.0, 1.0]]],
    ids=["negative", "zero", "indefinite"],
)
def test_noise_of_a_region_that_no_measurement_can_have_is_refused(noise: np.ndarray) -> None:
    mixture = dgmmis.GaussianMixture([1.0], [[0.0, 0.0]], [np.eye(2)])
    with pytest.raises(dgmmis.DgmmisError, match="noise"):
        dgmmis.probability_in(mixture, dgmmis.Box([-1, -1], [1, 1]), np.asarray(noise))


def test_an_expectation_is_that_of_any_function() -> None:
    mixture = dgmmis.GaussianMixture([0.3, 0.7], [[0.0], [2.0]], [[[1.0]], [[0.25]]])
    found = dgmmis.expectation(mixture, lambda x: x[:, 0] ** 2)
    assert abs(found.value - (0.3 * 1.0 + 0.7 * 4.25)) < 5 * found.error + 1e-12
    noisy = dgmmis.expectation(mixture, lambda x: x[:, 0] ** 2, noise_covariance=np.array([[0.5]]))
    assert abs(noisy.value - found.value - 0.5) < 5 * (found.error + noisy.error)
