"""Imputation: the unseen mass and its moments against integrals; points that are addressed, fresh, worn."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from dgmmis.background import Uniform
from dgmmis.errors import NumericalError
from dgmmis.imputation import Unseen, complete, unseen_sums
from dgmmis.linalg import unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.quadrature import REPLICATES, Round, draw
from dgmmis.selection import Box, HalfSpace
from dgmmis.survey import ConstantNoise, NoiseFunction, Survey, as_noise_law


def _unseen(
    model: Model, survey: Survey, n_points: int = 1 << 14, seed: int = 0, reference: Model | None = None
) -> Unseen:
    points_of = Round.of(reference or model, n_points, seed, 0)
    total = Unseen.zero(model.mixture.n_components, model.mixture.n_features)
    for block in points_of.blocks():
        total = total + unseen_sums(model, draw(block, points_of, survey))
    return total


NOISE = 0.3**2
MODEL = Model(GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [[[0.5]], [[0.25]]]))
SOFT = HalfSpace([-1.0], -0.3, 0.4)  # Omega = 1 / (1 + exp(-(y - 0.3) / 0.4))


def _density(y: float, model: Model = MODEL) -> float:
    mixture = model.mixture
    sigma = np.sqrt(mixture.covariances[:, 0, 0] + NOISE)
    return float(mixture.weights @ norm.pdf(y, mixture.means[:, 0], sigma))


def test_unseen_mass_and_moments_are_the_integrals() -> None:
    """Within five of the stated Monte-Carlo errors, which are small: false alarm below 1e-4 for a t with 7 degrees."""
    unseen = _unseen(MODEL, Survey(SOFT, ConstantNoise([[NOISE]])))

    def missed(y: float) -> float:
        return float(1 - SOFT(np.array([[y]]))[0])

    mass = quad(lambda y: missed(y) * _density(y), -9, 9, epsabs=1e-12)[0]
    assert unseen.completeness_error < 3e-4
    assert abs(unseen.moments.n_samples - mass) < 5 * unseen.completeness_error + 1e-6
    mixture = MODEL.mixture
    for k in range(2):
        total = mixture.covariances[k, 0, 0] + NOISE

        def joint(y: float, k: int = k, total: float = total) -> float:
            return float(mixture.weights[k] * norm.pdf(y, mixture.means[k, 0], np.sqrt(total)))

        def score(y: float, k: int = k, total: float = total) -> float:
            return float((y - mixture.means[k, 0]) / total)

        weight = quad(lambda y: missed(y) * joint(y), -9, 9)[0]
        first = quad(lambda y: missed(y) * joint(y) * score(y), -9, 9)[0]
        second = quad(lambda y, t=total: missed(y) * joint(y) * (score(y) ** 2 - 1 / t), -9, 9)[0]
        assert unseen.moments.weight[k] == pytest.approx(weight, abs=2e-3)
        assert unseen.moments.mean_score[k, 0] == pytest.approx(first, abs=5e-3)
        assert unpack(unseen.moments.covariance_score)[k, 0, 0] == pytest.approx(second, abs=1e-2)


def test_weights_follow_the_model_away_from_its_reference() -> None:
    moved = Model(GaussianMixture([0.5, 0.5], [[-0.8], [1.4]], [[[0.6]], [[0.3]]]))
    survey = Survey(SOFT, ConstantNoise([[NOISE]]))
    fresh, carried = _unseen(moved, survey), _unseen(moved, survey, reference=MODEL)
    error = np.hypot(fresh.completeness_error, carried.completeness_error)
    assert abs(fresh.completeness - carried.completeness) < 6 * error + 1e-6


def test_a_model_that_moves_away_wears_its_points_out() -> None:
    far = Model(GaussianMixture([0.5, 0.5], [[-5.0], [1.5]], [[[0.1]], [[0.25]]]))
    survey = Survey(SOFT, ConstantNoise([[NOISE]]))
    assert _unseen(far, survey, reference=MODEL).effective_points < 0.2 * _unseen(far, survey).effective_points


def test_error_shrinks_faster_than_monte_carlo_would() -> None:
    """Scrambled Sobol points: 16 times the points give more than the factor 4 of independent draws."""
    survey = Survey(SOFT, ConstantNoise([[NOISE]]))
    few, many = (_unseen(MODEL, survey, n).completeness_error for n in (1 << 11, 1 << 15))
    assert many < few / 6


def test_a_constant_law_and_the_same_law_as_a_function_agree() -> None:
    """One marginalises the noise exactly, the other samples it: two independent ways to the same sums."""
    box = Box([-1.5], [2.0])
    constant = _unseen(MODEL, Survey(box, ConstantNoise([[NOISE]])), 1 << 15)
    function = _unseen(MODEL, Survey(box, NoiseFunction(_constant_noise)), 1 << 15)
    error = np.hypot(constant.completeness_error, function.completeness_error)
    assert abs(constant.completeness - function.completeness) < 6 * error + 1e-5
    # the scores are conditioned on y in one and on x in the other; the M-step's sums must agree
    for sums in ("first", "second"):
        a = getattr(constant.moments, sums)(MODEL.mixture.covariances)
        b = getattr(function.moments, sums)(MODEL.mixture.covariances)
        np.testing.assert_allclose(a, b, atol=5e-3)


def _constant_noise(points: np.ndarray) -> np.ndarray:
    return np.full((len(points), 1, 1), NOISE)


def test_background_takes_part() -> None:
    background = Uniform([-4.0], [4.0])
    model = Model(MODEL.mixture, background, 0.3)
    half = HalfSpace([1.0], 0.0)  # keeps y < 0
    unseen = _unseen(model, Survey(half, ConstantNoise([[0.0]])))
    exact = Model(MODEL.mixture, None)
    sigma = np.sqrt(exact.mixture.covariances[:, 0, 0])
    mass = 0.7 * float(exact.mixture.weights @ norm.sf(0, exact.mixture.means[:, 0], sigma)) + 0.3 * 0.5
    assert unseen.moments.n_samples == pytest.approx(mass, abs=5 * unseen.completeness_error + 1e-6)
    assert unseen.moments.background == pytest.approx(0.15, abs=5e-3)


def test_everything_seen_leaves_nothing_to_impute() -> None:
    everything = HalfSpace([1.0], np.inf)
    unseen = _unseen(MODEL, Survey(everything, ConstantNoise([[NOISE]])))
    assert unseen.moments.n_samples == 0
    assert unseen.completeness == 1
    observed = replace(Moments.zero(2, 1), n_samples=10.0, log_likelihood=-3.0, weight=np.array([4.0, 6.0]))
    total = complete(observed, unseen)
    assert np.array_equal(total.weight, observed.weight)
    assert total.log_likelihood == observed.log_likelihood


def test_points_are_addressed_not_consumed() -> None:
    """The same block gives the same bits in any order, in another process (pickled), and others elsewhere."""
    survey = Survey(SOFT, ConstantNoise([[NOISE]]))
    points_of = Round.of(MODEL, 1 << 12, 5, 0)
    blocks = points_of.blocks()
    assert [block.leaf for block in blocks] == list(range(len(blocks)))
    assert {block.replicate for block in blocks} == set(range(REPLICATES))
    forward = [draw(block, points_of, survey).leaf.blocks[0].points for block in blocks]
    carried = pickle.loads(pickle.dumps((points_of, survey)))
    backward = [draw(block, *carried).leaf.blocks[0].points for block in reversed(blocks)]
    assert all(np.array_equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    other = draw(blocks[0], Round.of(MODEL, 1 << 12, 5, 1), survey).leaf.blocks[0].points
    assert not np.array_equal(forward[0][:, :8], other[:, :8])


def test_a_survey_that_sees_nothing_is_an_error() -> None:
    nothing = HalfSpace([1.0], -50.0)
    unseen = _unseen(MODEL, Survey(nothing, ConstantNoise([[NOISE]])))
    with pytest.raises(NumericalError, match="completeness cannot be told from zero"):
        complete(replace(Moments.zero(2, 1), n_samples=1.0), unseen)


def test_noise_laws_are_checked() -> None:
    with pytest.raises(ValueError, match="wrong shape"):
        as_noise_law(lambda points: np.zeros(3))(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="not symmetric positive definite"):
        as_noise_law(lambda points: -np.eye(2))(np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"covariance \(d, d\) or a callable"):
        as_noise_law("own")
