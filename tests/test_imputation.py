"""Imputation: the unseen mass and its moments against integrals; points that are addressed, fresh, worn."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.errors import NumericalError
from dgmmis.imputation import Unseen, closed_form, complete, unseen_here, unseen_sums
from dgmmis.linalg import pack, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise import FullNoise, NoNoise, SharedNoise
from dgmmis.noise_classes import NoiseClass, Partition, classes_of, single_class
from dgmmis.noise_law import ConstantNoise, NoiseFunction, as_noise_law
from dgmmis.quadrature import REPLICATES, Round, draw
from dgmmis.selection import Box, HalfSpace, Selection
from dgmmis.survey import Survey


def _unseen(
    model: Model, survey: Survey, n_points: int = 1 << 14, seed: int = 0, reference: Model | None = None
) -> Unseen:
    points_of = _round(reference or model, survey, n_points, seed)
    total = Unseen.zero(model.mixture.n_components, model.mixture.n_features)
    for block in points_of.blocks():
        total = total + unseen_sums(model, draw(block, points_of, survey, model))
    return total


def _round(model: Model, survey: Survey, n_points: int, seed: int, index: int = 0) -> Round:
    d = model.mixture.n_features
    law = survey.noise_law
    sample = Chunk(np.zeros((1, d)), SharedNoise(law.covariance) if isinstance(law, ConstantNoise) else NoNoise())
    return Round.of(
        model,
        n_points,
        seed,
        index,
        classes=single_class(survey, sample),
        partition=Partition.of(sample, survey, np.zeros((d, d)), 0),
    )


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
    total = complete(observed, [unseen], [NoiseClass(1.0, 1, np.arange(1), NoNoise())])
    assert np.array_equal(total.moments.weight, observed.weight)
    assert total.moments.log_likelihood == observed.log_likelihood
    assert total.log_normaliser == 0


def test_points_are_addressed_not_consumed() -> None:
    """The same block gives the same bits in any order, in another process (pickled), and others elsewhere."""
    survey = Survey(SOFT, ConstantNoise([[NOISE]]))
    points_of = _round(MODEL, survey, 1 << 12, 5)
    blocks = points_of.blocks()
    assert [block.leaf for block in blocks] == list(range(len(blocks)))
    assert set(np.concatenate([draw(b, points_of, survey, MODEL).replicate for b in blocks])) == set(range(REPLICATES))
    forward = [draw(block, points_of, survey, MODEL).leaf.blocks[0].points for block in blocks]
    carried = pickle.loads(pickle.dumps((points_of, survey)))
    backward = [draw(block, *carried, MODEL).leaf.blocks[0].points for block in reversed(blocks)]
    assert all(np.array_equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    other = draw(blocks[0], _round(MODEL, survey, 1 << 12, 5, 1), survey, MODEL).leaf.blocks[0].points
    assert not np.array_equal(forward[0][:, :8], other[:, :8])


def test_a_survey_that_sees_nothing_is_an_error() -> None:
    nothing = HalfSpace([1.0], -50.0)
    unseen = _unseen(MODEL, Survey(nothing, ConstantNoise([[NOISE]])))
    with pytest.raises(NumericalError, match="completeness cannot be told from zero"):
        complete(replace(Moments.zero(2, 1), n_samples=1.0), [unseen], [NoiseClass(1.0, 1, np.arange(1), NoNoise())])


SOLID = Model(
    GaussianMixture(
        [0.4, 0.6],
        [[-0.5, 0.3, 1.0], [0.7, -0.4, 0.0]],
        [
            [[0.6, 0.2, 0.0], [0.2, 0.4, 0.1], [0.0, 0.1, 0.5]],
            [[0.3, -0.1, 0.1], [-0.1, 0.5, 0.0], [0.1, 0.0, 0.4]],
        ],
    )
)


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("noise", ["none", "shared", "own"])
@pytest.mark.parametrize(
    "selection",
    [
        Box([-np.inf, -0.6, -np.inf], [np.inf, 0.8, np.inf]),
        Box([-0.7, -np.inf, -0.4], [np.inf, np.inf, 1.1]),
        HalfSpace([0.5, -1.0, 0.7], 0.6),
        HalfSpace([1.0, 0.2, 0.0], 0.5) & Box([-np.inf] * 3, [np.inf, np.inf, 0.9]),
    ],
    ids=["slab", "corner", "half space", "wedge"],
)
def test_closed_forms_are_what_points_converge_to(selection: Selection, noise: str, projected: bool) -> None:
    """Every class's mass within six of the Monte-Carlo errors, its moments within what 4000 points of it resolve."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(64, 3, 4)) * 0.3
    covariances = root @ np.swapaxes(root, 1, 2)
    kinds = {"none": NoNoise(), "shared": SharedNoise(covariances[0]), "own": FullNoise(pack(covariances))}
    projection = np.eye(3) + 0.3 * rng.normal(size=(64, 3, 3)) if projected else None
    sample = Chunk(rng.normal(size=(64, 3)), kinds[noise], projection=projection)
    survey = Survey(selection).completed(sample, 3)
    partition = Partition.of(sample, survey, np.eye(3), 1)
    trivial = partition.is_trivial
    assert trivial == (noise != "own" and not projected)
    classes = single_class(survey, sample) if trivial else classes_of(partition.sums(sample), survey)
    points_of = Round.of(SOLID, 1 << 14, 0, 0, classes=classes, partition=partition)
    assert closed_form(SOLID, survey, classes) is not None
    points = [Unseen.zero(2, 3) for _ in classes]
    for block in points_of.blocks():
        points[block.noise_class] = points[block.noise_class] + unseen_sums(
            SOLID, draw(block, points_of, survey, SOLID)
        )
    for exact, found in zip(unseen_here(SOLID, points_of, survey), points, strict=True):
        assert exact.completeness_error == 0
        assert 0 < found.completeness_error < 4e-3
        assert abs(exact.completeness - found.completeness) < 6 * found.completeness_error
        for part in ("weight", "mean_score", "covariance_score"):
            np.testing.assert_allclose(getattr(exact.moments, part), getattr(found.moments, part), atol=1.5e-2)
        assert np.abs(exact.moments.covariance_score).max() > 0.04


def test_noise_laws_are_checked() -> None:
    with pytest.raises(ValueError, match="wrong shape"):
        as_noise_law(lambda points: np.zeros(3))(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="not symmetric positive definite"):
        as_noise_law(lambda points: -np.eye(2))(np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"unknown noise_law 'owl'.*Did you mean 'own'"):
        as_noise_law("owl")
