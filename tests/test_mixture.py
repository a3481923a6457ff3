"""GaussianMixture and Model: against scipy, the analytic formulas, and what is refused."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import Recipe, covariances_of, make, random_covariances, random_mixture

from dgmmis.background import Uniform
from dgmmis.errors import DataError, ShapeError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise

seeds = st.integers(0, 2**32 - 1)


def mixture_of(seed: int, d: int = 3, k: int = 4) -> GaussianMixture:
    return random_mixture(np.random.default_rng(seed), k, np.ones(d))


def scipy_log_density(mixture: GaussianMixture, points: np.ndarray, noise: np.ndarray) -> np.ndarray:
    out = np.empty(len(points))
    for n, y in enumerate(points):
        seen = np.flatnonzero(~np.isnan(y))
        if len(seen) == 0:
            out[n] = 0.0
            continue
        terms = [
            stats.multivariate_normal.pdf(y[seen], mu[seen], (C + noise[n])[np.ix_(seen, seen)])
            for mu, C in zip(mixture.means, mixture.covariances, strict=True)
        ]
        out[n] = np.log(mixture.weights @ np.array(terms))
    return out


# densities


@pytest.mark.parametrize("noise", ["none", "shared", "diagonal", "full"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_log_density_agrees_with_scipy(noise: str, missing: float, d: int) -> None:
    survey = make(Recipe(d=d, k=3, n=40, noise=noise, seed=d, missing=missing))
    points, mixture = survey.chunk.points, survey.model.mixture
    expected = scipy_log_density(mixture, points, covariances_of(survey.chunk.noise, 40, d))
    np.testing.assert_allclose(mixture.log_density(points, survey.chunk.noise), expected, rtol=1e-11, atol=1e-11)


@given(
    seed=seeds,
    noise=st.sampled_from(["none", "shared", "diagonal", "full"]),
    missing=st.sampled_from([0.0, 0.3]),
    d=st.sampled_from([1, 2, 3, 6]),
)
def test_mixture_agrees_with_the_reference(seed: int, noise: str, missing: float, d: int) -> None:
    """The plain path, the reference, and so the kernels give the same numbers, at any offset and scale."""
    survey = make(Recipe(d=d, k=3, n=15, noise=noise, seed=seed, missing=missing, offset=1e6, log_scale=6))
    mixture, chunk = survey.model.mixture, survey.chunk
    expected = reference.e_step(survey.catalogue, survey.parameters)
    log_density = mixture.log_density(chunk.points, chunk.noise)
    assert np.all(np.abs(log_density - expected.log_density) <= 1e-10 * (1 + np.abs(expected.log_density)))
    q = mixture.responsibilities(chunk.points, chunk.noise)
    assert np.all(np.abs(q - expected.responsibilities) <= 1e-10)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-14)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    survey = make(Recipe(d=3, k=3, n=60, noise="full", seed=1, missing=0.2))
    points, noise, mixture = survey.chunk.points, survey.chunk.noise, survey.model.mixture
    whole = mixture.log_density(points, noise)
    monkeypatch.setattr("dgmmis.mixture.BLOCK_NUMBERS", 60)
    np.testing.assert_allclose(mixture.log_density(points, noise), whole, rtol=1e-14)


def test_no_points_have_no_densities() -> None:
    mixture = mixture_of(0)
    assert mixture.log_density(np.empty((0, 3))).shape == (0,)
    assert mixture.responsibilities(np.empty((0, 3))).shape == (0, 4)


def test_outliers_have_finite_log_densities_and_responsibilities() -> None:
    mixture = mixture_of(2)
    points = np.full((1, 3), 1e9)
    assert np.isfinite(mixture.log_density(points)).all()
    assert mixture.responsibilities(points).sum() == pytest.approx(1)


# marginals and conditions


@given(seed=seeds)
def test_marginal_is_the_density_with_the_rest_missing(seed: int) -> None:
    mixture = mixture_of(seed, d=4)
    points = mixture.sample(10, seed)
    features = np.random.default_rng(seed).permutation(4)[:2]
    hidden = np.full_like(points, np.nan)
    hidden[:, features] = points[:, features]
    np.testing.assert_allclose(
        mixture.marginal(features.tolist()).log_density(points[:, features]), mixture.log_density(hidden), rtol=1e-12
    )


@given(seed=seeds)
def test_condition_is_the_ratio_of_densities(seed: int) -> None:
    mixture = mixture_of(seed, d=4)
    points = mixture.sample(10, seed)
    given_features, rest = [3, 1], [0, 2]
    for point in points:
        conditional = mixture.condition({e: point[e] for e in given_features})
        joint = mixture.log_density(point[None])[0]
        marginal = mixture.marginal(given_features).log_density(point[None, given_features])[0]
        assert conditional.log_density(point[None, rest])[0] == pytest.approx(joint - marginal, rel=1e-9, abs=1e-9)


def test_condition_follows_the_formula() -> None:
    rng = np.random.default_rng(4)
    scale = 10 ** rng.uniform(-6, 6, 4)
    mixture = random_mixture(rng, 3, scale)
    values = {2: float(mixture.means[0, 2]), 0: float(mixture.means[0, 0] + scale[0])}
    conditional = mixture.condition(values)
    for k in range(3):
        mean, covariance = reference.conditioned(
            mixture.means[k], mixture.covariances[k], [2, 0], list(values.values())
        )
        unit = np.sqrt(np.diagonal(covariance))
        np.testing.assert_allclose((conditional.means[k] - mean) / unit, 0, atol=1e-11)
        np.testing.assert_allclose((conditional.covariances[k] - covariance) / np.outer(unit, unit), 0, atol=1e-11)


def test_condition_far_from_every_component_still_has_weights() -> None:
    conditional = mixture_of(5).condition({0: 1e6})
    assert conditional.weights.sum() == pytest.approx(1)


# samples


def test_sample_has_the_moments_of_the_mixture() -> None:
    """Each of the 3 + 6 statistics is normal to good accuracy; |t| < 6 fails a right program 2e-8 of the time."""
    n, mixture = 200_000, mixture_of(6)
    points = mixture.sample(n, 7)
    mean = mixture.weights @ mixture.means
    offset = mixture.means - mean
    covariance = np.einsum("k,kij->ij", mixture.weights, mixture.covariances + offset[:, :, None] * offset[:, None, :])
    assert np.all(np.abs(points.mean(axis=0) - mean) < 6 * np.sqrt(np.diag(covariance) / n))
    products = (points - mean)[:, :, None] * (points - mean)[:, None, :]
    assert np.all(np.abs(products.mean(axis=0) - covariance) < 6 * products.std(axis=0) / np.sqrt(n))


def test_sample_has_the_density_of_the_mixture() -> None:
    """Kolmogorov-Smirnov along one feature: a right program fails once in a million seeds."""
    mixture = mixture_of(8, d=1)
    weights, means, sigma = mixture.weights, mixture.means[:, 0], np.sqrt(mixture.covariances[:, 0, 0])

    def cumulative(x: np.ndarray) -> np.ndarray:
        return stats.norm.cdf(x[:, None], means, sigma) @ weights

    assert stats.kstest(mixture.sample(20_000, 9)[:, 0], cumulative).pvalue > 1e-6


def test_seeds_repeat_samples() -> None:
    mixture = mixture_of(10)
    np.testing.assert_array_equal(mixture.sample(50, 1), mixture.sample(50, 1))
    assert not np.array_equal(mixture.sample(50, 1), mixture.sample(50, 2))
    np.testing.assert_array_equal(
        mixture.sample(50, np.random.SeedSequence(3)), mixture.sample(50, np.random.SeedSequence(3))
    )
    assert mixture.sample(0, 1).shape == (0, 3)
    labels = mixture.responsibilities(mixture.sample(400, 4)).argmax(axis=1)
    assert np.count_nonzero(np.diff(labels)) > 50, "components come in random order"


# the value


def test_mixture_is_frozen_and_its_own() -> None:
    weights, means = np.array([0.5, 0.5]), np.zeros((2, 1))
    mixture = GaussianMixture(weights, means, np.ones((2, 1, 1)))
    means[0] = 7.0
    assert mixture.means[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        mixture.means[0, 0] = 1.0
    with pytest.raises(FrozenInstanceError):
        mixture.means = means  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(again.covariances, mixture.covariances)


def test_lists_make_a_mixture() -> None:
    mixture = GaussianMixture([1], [[0, 0]], [[[1, 0], [0, 1]]])
    assert (mixture.n_components, mixture.n_features) == (1, 2)
    assert mixture.log_density([[0, 0]])[0] == pytest.approx(-np.log(2 * np.pi))


EYES = np.stack([np.eye(2)] * 2)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "error", "message"),
    [
        ([0.5, 0.5], [0.0, 1.0], EYES, ShapeError, r"means must be \(k, d\): got \(2,\)"),
        (np.empty(0), np.empty((0, 2)), np.empty((0, 2, 2)), ShapeError, "at least one component"),
        ([1.0], np.zeros((2, 2)), EYES, ShapeError, r"weights do not fit means \(2, 2\): expected \(2,\), got \(1,\)"),
        ([0.5, 0.5], np.zeros((2, 2)), EYES[:1], ShapeError, r"covariances do not fit means .* got \(1, 2, 2\)"),
        ([0.5, 0.6], np.zeros((2, 2)), EYES, DataError, "weights must be non-negative and sum to one: got sum 1.1"),
        ([1.5, -0.5], np.zeros((2, 2)), EYES, DataError, "min -0.5"),
        ([np.nan, 1.0], np.zeros((2, 2)), EYES, DataError, "weights must be non-negative"),
        ([0.5, 0.5], [[0.0, np.inf], [0.0, 0.0]], EYES, DataError, "means must be finite"),
        ([0.5, 0.5], np.zeros((2, 2)), EYES * [[[1]], [[-1]]], DataError, "positive definite in component 1"),
        ([0.5, 0.5], np.zeros((2, 2)), EYES * np.nan, DataError, "positive definite in components 0, 1"),
    ],
)  # fmt: skip
def test_impossible_mixtures_are_refused(
    weights: object, means: object, covariances: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        GaussianMixture(weights, means, covariances)  # type: ignore[arg-type]


def test_wrong_points_and_features_are_refused() -> None:
    mixture = mixture_of(11)
    for points in (np.zeros(3), np.zeros((5, 2))):
        with pytest.raises(ShapeError, match=r"points do not fit the mixture: expected \(n, 3\)"):
            mixture.log_density(points)
    for features in ([], [0, 0], [3], [-1]):
        with pytest.raises(ShapeError, match="features must be distinct numbers: expected 0 to 2"):
            mixture.marginal(features)
    with pytest.raises(ShapeError, match="every feature was given"):
        mixture.condition({0: 0.0, 1: 0.0, 2: 0.0})
    with pytest.raises(ShapeError, match="features must be distinct"):
        mixture.condition({})
    with pytest.raises(DataError, match="values must be finite"):
        mixture.condition({0: np.nan})


# with a background


def test_model_mixes_the_background_in() -> None:
    survey = make(Recipe(d=2, k=3, n=30, noise="diagonal", seed=12, missing=0.2, background=True))
    expected = reference.e_step(survey.catalogue, survey.parameters).log_density
    got = survey.model.log_density(survey.chunk.points, survey.chunk.noise)
    np.testing.assert_allclose(got, expected.astype(float), rtol=1e-11, atol=1e-15)
    alone = Model(survey.model.mixture, survey.model.background, 0.0)
    np.testing.assert_array_equal(
        alone.log_density(survey.chunk.points, survey.chunk.noise),
        survey.model.mixture.log_density(survey.chunk.points, survey.chunk.noise),
    )


def test_model_samples_its_background() -> None:
    """Binomial counts: a right program is 6 sigma off 2e-9 of the time."""
    mixture = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
    points = Model(mixture, Uniform([100.0], [101.0]), 0.3).sample(50_000, 1)
    behind = np.count_nonzero(points > 50)
    assert abs(behind - 15_000) < 6 * np.sqrt(50_000 * 0.3 * 0.7)
    assert np.count_nonzero(np.diff(points[:, 0] > 50)) > 1000, "in random order"


@pytest.mark.parametrize(
    ("background", "fraction", "error", "message"),
    [
        (Uniform([0, 0, 0], [1, 1, 1]), 1.0, DataError, r"must be in \[0, 1\): got 1.0"),
        (Uniform([0, 0, 0], [1, 1, 1]), -0.1, DataError, r"must be in \[0, 1\)"),
        (Uniform([0, 0, 0], [1, 1, 1]), float("nan"), DataError, r"must be in \[0, 1\)"),
        (None, 0.1, DataError, "background_fraction without a background"),
        (Uniform([0], [1]), 0.1, ShapeError, "expected 3 features, got 1"),
    ],
)
def test_impossible_models_are_refused(
    background: Uniform | None, fraction: float, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Model(mixture_of(13), background, fraction)


def test_noise_may_be_given_in_any_form() -> None:
    mixture, points = mixture_of(14), np.zeros((5, 3))
    one = mixture.log_density(points, np.diag([0.1, 0.2, 0.3]))
    for noise in (
        np.tile([0.1, 0.2, 0.3], (5, 1)),
        DiagonalNoise(np.tile([0.1, 0.2, 0.3], (5, 1))),
        np.tile(np.diag([0.1, 0.2, 0.3]), (5, 1, 1)),
    ):
        np.testing.assert_allclose(mixture.log_density(points, noise), one, rtol=1e-13)
    with pytest.raises(DataError, match="negative or not finite in rows 0, 1, 2, 3, 4"):
        mixture.log_density(points, np.full((5, 3), -1.0))


def test_covariances_of_the_strategies_are_what_they_say() -> None:
    values = np.linalg.eigvalsh(random_covariances(np.random.default_rng(15), 20, 4, 0.2, 5.0))
    assert np.all((values > 0.2 * (1 - 1e-12)) & (values < 5.0 * (1 + 1e-12)))
