"""Posteriors of what was selected on: against Bayes' theorem on a grid, and draws against their own moments."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import multivariate_normal, norm, qmc

from dgmmis.chunk import Chunk
from dgmmis.linalg import pack
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise
from dgmmis.noise_classes import filled_noise
from dgmmis.noise_law import OwnNoise
from dgmmis.posterior import Nets, Posterior, posteriors, remeasured, selected_on
from dgmmis.selection import Box
from dgmmis.survey import Survey

MIXTURE = GaussianMixture(
    [0.35, 0.65], [[-0.8, 0.3], [0.7, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]]
)
FILL = np.array([[0.2, 0.05], [0.05, 0.3]])
BOX = Box([-1.0, -1.0], [1.0, 1.0])
TRUE, OBSERVED = Survey(BOX, None, "true"), Survey(BOX, OwnNoise(), "observed")

AXIS = np.linspace(-6.5, 6.5, 521)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
AREA = (AXIS[1] - AXIS[0]) ** 2
NAN = np.nan

COVARIANCES = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]], [[0.5, 0.2], [0.2, 0.3]]])
POINTS = np.array([[0.4, -0.2], [1.2, NAN], [NAN, 0.9]])
R = np.array([[[1.0, 0.5], [0.2, -1.0]], [[0.3, 1.0], [1.0, 0.0]], [[-1.0, 0.4], [0.6, 0.8]]])
NOISES = {
    "shared": (SharedNoise(COVARIANCES[0]), np.broadcast_to(COVARIANCES[0], (3, 2, 2))),
    "diagonal": (
        DiagonalNoise(np.diagonal(COVARIANCES, axis1=1, axis2=2)),
        COVARIANCES * np.eye(2),
    ),
    "full": (FullNoise(pack(COVARIANCES)), COVARIANCES),
}


def _found(chunk: Chunk, survey: Survey) -> dict[int, tuple[Posterior, int]]:
    """The posterior of each row, and its number there."""
    rows = {}
    for posterior in posteriors(MIXTURE, chunk, survey, FILL):
        rows |= {int(row): (posterior, i) for i, row in enumerate(posterior.rows)}
    assert sorted(rows) == list(range(chunk.n_samples))
    return rows


def _draw(posterior: Posterior, some: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Points (s, j, d) from numbers in (0, 1) (s, j, 1 + d), a net for each row, taken in another order."""
    nets = Nets(np.ascontiguousarray(uniform[::-1, :, 0]), np.ascontiguousarray(ndtri(uniform[::-1, :, 1:])))
    return posterior.draw(some, np.arange(len(some))[::-1].copy(), nets)


def _moments(posterior: Posterior, i: int) -> tuple[float, np.ndarray, np.ndarray]:
    """log evidence, mean and covariance of the mixture that it is."""
    share = np.diff(posterior.cumulative[i], prepend=0.0)
    assert share.sum() == pytest.approx(1, abs=1e-12)
    means, spread = posterior.means[i], posterior.roots[i] @ np.swapaxes(posterior.roots[i], 1, 2)
    mean = share @ means
    second = np.einsum("k,kde->de", share, spread + means[:, :, None] * means[:, None, :])
    return float(posterior.log_evidence[i]), mean, second - np.outer(mean, mean)


def _on_grid(z: np.ndarray, joint: np.ndarray, cell: float) -> tuple[float, np.ndarray, np.ndarray]:
    share = joint / joint.sum()
    mean = share @ z
    return float(np.log(joint.sum() * cell)), mean, (z - mean).T @ ((z - mean) * share[:, None])


def _prior(x: np.ndarray) -> np.ndarray:
    parts = zip(MIXTURE.weights, MIXTURE.means, MIXTURE.covariances, strict=True)
    return np.sum([w * multivariate_normal(m, c).pdf(x) for w, m, c in parts], axis=0)


def _assert_same(found: tuple, expected: tuple, tolerance: float = 1e-7) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("projected", [False, True])
def test_true_values_are_bayes(kind: str, projected: bool) -> None:
    """p(x | y) ~ p(x) N(y | R x, S) over the values that are there."""
    noise, covariances = NOISES[kind]
    chunk = Chunk(POINTS, noise, projection=R if projected else None)
    prior = _prior(GRID)
    for row, (posterior, i) in _found(chunk, TRUE).items():
        there = np.flatnonzero(~np.isnan(POINTS[row]))
        seen = GRID @ (R[row] if projected else np.eye(2))[there].T
        likelihood = multivariate_normal(POINTS[row, there], covariances[row][np.ix_(there, there)]).pdf(seen)
        _assert_same(_moments(posterior, i), _on_grid(GRID, prior * likelihood, AREA))
        assert len(posterior.known) == 0


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("projected", [False, True])
def test_missing_values_are_bayes(kind: str, projected: bool) -> None:
    """p(y_missing | y_there) of the mixture under all of its noise, filled where that is not known."""
    noise, _ = NOISES[kind]
    points = np.array([[1.2, NAN], [NAN, 0.9], [NAN, NAN]])
    chunk = Chunk(points, noise, projection=R if projected else None)
    filled = filled_noise(chunk, FILL)
    for row, (posterior, i) in _found(chunk, OBSERVED).items():
        matrix = R[row] if projected else np.eye(2)
        packed = filled.take(np.array([row])).packed(range(2))[:, 0]
        S = np.array([[packed[0], packed[1]], [packed[1], packed[2]]])
        there = np.flatnonzero(~np.isnan(points[row]))
        z, cell = (GRID, AREA) if len(there) == 0 else (np.empty((len(AXIS), 2)), AXIS[1] - AXIS[0])
        if len(there):
            z[:, there], z[:, 1 - there] = points[row, there], AXIS[:, None]
        parts = zip(MIXTURE.weights, MIXTURE.means, MIXTURE.covariances, strict=True)
        joint = np.sum(
            [w * multivariate_normal(matrix @ m, matrix @ c @ matrix.T + S).pdf(z) for w, m, c in parts], axis=0
        )
        _assert_same(_moments(posterior, i), _on_grid(z, joint, cell), 1e-7 if len(there) else 1e-4)
        assert np.array_equal(posterior.known, there)
        drawn = _draw(posterior, np.array([i]), np.full((1, 4, 3), 0.3))
        assert np.all(drawn[0][:, there] == points[row, there])


@pytest.mark.parametrize("survey", [TRUE, OBSERVED])
def test_draws_have_the_moments_of_the_posterior(survey: Survey) -> None:
    """With 2^13 scrambled Sobol numbers: within a few thousandths."""
    chunk = Chunk(POINTS[1:], FullNoise(pack(COVARIANCES[1:])))
    uniform = qmc.Sobol(3, scramble=True, rng=np.random.default_rng(0)).random_base2(13)
    for posterior, i in _found(chunk, survey).values():
        z = _draw(posterior, np.array([i]), uniform[None])[0]
        _, mean, covariance = _moments(posterior, i)
        np.testing.assert_allclose(z.mean(axis=0), mean, atol=3e-3)
        np.testing.assert_allclose(np.cov(z.T), covariance, atol=1e-2)


def test_draws_are_of_the_rows_that_were_asked_for() -> None:
    rng = np.random.default_rng(1)
    chunk = Chunk(rng.normal(size=(6, 2)), DiagonalNoise(rng.uniform(0.1, 0.4, size=(6, 2))))
    (posterior,) = posteriors(MIXTURE, chunk, TRUE, FILL)
    uniform = rng.random((6, 5, 3))
    whole, some = _draw(posterior, np.arange(6), uniform), np.array([4, 1])
    assert np.array_equal(_draw(posterior, some, uniform[some]), whole[some])


@pytest.mark.parametrize("variances", [[0.0, 0.3], [0.3, 0.0], [0.0, 0.0]])
def test_what_was_measured_exactly_is_known(variances: list[float]) -> None:
    """To the bit: an object just inside an edge must not be drawn outside of it."""
    points = np.array([[0.4, -0.2], [1.3, 0.8]])
    chunk = Chunk(points, DiagonalNoise(np.tile(variances, (2, 1))))
    exact = np.flatnonzero(np.array(variances) == 0)
    uniform = np.random.default_rng(2).random((2, 16, 3))
    (posterior,) = posteriors(MIXTURE, chunk, TRUE, FILL)
    drawn = _draw(posterior, np.arange(2), uniform)
    assert np.all(drawn[:, :, exact] == points[:, None, exact])
    for row in range(2):
        if len(exact) == 2:
            expected = float(np.log(_prior(points[[row]]))[()])
            assert posterior.log_evidence[row] == pytest.approx(expected, rel=1e-12)
        else:
            x = np.empty((len(AXIS), 2))
            x[:, exact], other = points[row, exact], 1 - exact[0]
            x[:, other] = AXIS
            joint = _prior(x) * norm.pdf(points[row, other], AXIS, np.sqrt(variances[other]))
            _assert_same(_moments(posterior, row), _on_grid(x, joint, AXIS[1] - AXIS[0]))


def test_exact_in_some_rows_only() -> None:
    """A row measured exactly among others that were not has a posterior without width."""
    points = np.array([[0.4, -0.2], [1.3, 0.8]])
    chunk = Chunk(points, DiagonalNoise([[0.0, 0.0], [0.2, 0.1]]))
    (posterior,) = posteriors(MIXTURE, chunk, TRUE, FILL)
    drawn = _draw(posterior, np.arange(2), np.random.default_rng(3).random((2, 16, 3)))
    np.testing.assert_allclose(drawn[0], np.tile(points[0], (16, 1)), atol=1e-7)
    assert drawn[1].std(axis=0).min() > 0.05


def test_an_exact_projection_leaves_what_it_does_not_see() -> None:
    """R x = y without noise: points lie on the line, and spread along it."""
    look = np.array([[[0.6, 0.8]]])
    chunk = Chunk(np.array([[0.7]]), NoNoise(), projection=look)
    (posterior,) = posteriors(MIXTURE, chunk, TRUE, np.zeros((1, 1)))
    drawn = _draw(posterior, np.arange(1), np.random.default_rng(4).random((1, 400, 3)))[0]
    np.testing.assert_allclose(drawn @ look[0, 0], 0.7, atol=1e-7)
    along = np.stack([0.7 * 0.6 - 0.8 * AXIS, 0.7 * 0.8 + 0.6 * AXIS], axis=1)
    expected = _on_grid(along, _prior(along), AXIS[1] - AXIS[0])
    _assert_same(_moments(posterior, 0), expected)


def test_components_without_weight_are_not_drawn() -> None:
    mixture = GaussianMixture([0.0, 1.0], MIXTURE.means, MIXTURE.covariances)
    chunk = Chunk(MIXTURE.means[[0]], SharedNoise(0.01 * np.eye(2)))
    (posterior,) = posteriors(mixture, chunk, TRUE, FILL)
    assert np.array_equal(posterior.cumulative, [[0.0, 1.0]])


def test_the_selection_looks_at_true_values_without_noise_and_at_measured_ones_with_all() -> None:
    chunk = Chunk(POINTS, NOISES["full"][0], np.array([1.0, 2.0, 3.0]), R, first_row=7)
    true, observed = selected_on(chunk, TRUE, FILL), selected_on(chunk, OBSERVED, FILL)
    assert isinstance(true.noise, NoNoise)
    assert true.projection is None
    assert np.array_equal(observed.noise.packed(range(2)), filled_noise(chunk, FILL).packed(range(2)))
    assert observed.projection is R
    for part in (true, observed):
        assert part.first_row == 7
        assert np.array_equal(part.weights, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("kind", ["shared", "diagonal", "full"])
@pytest.mark.parametrize("projected", [False, True])
def test_remeasured_keeps_what_there_is_and_draws_the_rest_given_it(kind: str, projected: bool) -> None:
    """e_gone | e_there is normal: mean S_gt / S_tt e_there. 40,000 draws; five standard errors, false alarm 1e-5."""
    noise, _ = NOISES[kind]
    points = np.array([[0.4, -0.2], [1.2, NAN], [NAN, 0.9]])
    chunk = Chunk(points, noise, projection=R if projected else None)
    x = np.tile([[[0.9, -0.4]], [[0.3, 0.2]], [[-0.5, 1.1]]], (1, 40_000, 1))
    before = x.copy()
    z = remeasured(chunk, x, FILL, np.random.default_rng(5))
    assert np.array_equal(x, before)
    packed = np.broadcast_to(filled_noise(chunk, FILL).packed(range(2)), (3, 3))
    for row in range(3):
        there = np.flatnonzero(~np.isnan(points[row]))
        assert np.all(z[row][:, there] == points[row, there])
        if len(there) == 2:
            continue
        t, g = there[0], 1 - there[0]
        at = (R[row] if projected else np.eye(2)) @ x[row, 0]
        S_gg, S_tt, S_gt = packed[0 if g == 0 else 2, row], packed[0 if t == 0 else 2, row], packed[1, row]
        mean = at[g] + S_gt / S_tt * (points[row, t] - at[t])
        sigma = np.sqrt(S_gg - S_gt**2 / S_tt)
        assert abs(z[row][:, g].mean() - mean) < 5 * sigma / 200
        assert abs(z[row][:, g].std() - sigma) < 5 * sigma / np.sqrt(80_000)
        assert (S_gt != 0) == (kind == "shared")  # known of all, or of what was measured only


def test_remeasured_without_noise_is_the_position() -> None:
    chunk = Chunk(np.array([[0.4, NAN]]), NoNoise())
    x = np.array([[[0.4, 0.3], [0.4, -0.7]]])
    assert np.array_equal(remeasured(chunk, x, np.zeros((2, 2)), np.random.default_rng(0)), x)
