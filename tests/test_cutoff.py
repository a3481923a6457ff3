"""A cutoff: what a component reaches, what is left of objects beyond, what it drops, and where it leads."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2, norm
from strategies import Recipe, make

from dgmmis.address import Purpose
from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.errors import DataError, RefusedError
from dgmmis.estep import dense, leaf_log_density, leaf_moments, leaf_responsibilities, noisy
from dgmmis.imputation import Unseen, closed_form, complete, unseen_sums
from dgmmis.information import gradient
from dgmmis.latent import latent_posterior
from dgmmis.latent_draw import LatentDraw, Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.noise import DiagonalNoise, NoNoise, SharedNoise
from dgmmis.noise_classes import Partition, single_class
from dgmmis.noise_law import ConstantNoise
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round, draw
from dgmmis.selection import Box
from dgmmis.survey import Survey

PAIR = GaussianMixture([0.25, 0.75], [[0.0], [10.0]], [[[1.0]], [[4.0]]])


def moments_of(model: Model, chunk: Chunk) -> Moments:
    return reduce(Moments.__add__, (leaf_moments(model, leaf) for leaf in chunk.leaves()))


def line(*values: float) -> Chunk:
    """Exact values of one feature."""
    return Chunk(np.array(values)[:, None], NoNoise())


@pytest.mark.parametrize("cutoff", [0.0, -3.0, np.inf, np.nan])
def test_a_cutoff_is_positive_and_finite(cutoff: float) -> None:
    with pytest.raises(DataError, match="a cutoff must be positive and finite"):
        Model(PAIR, cutoff=cutoff)


# one definition


@pytest.mark.parametrize("noisy_values", [False, True])
def test_components_reach_so_many_sigmas_noise_included(noisy_values: bool) -> None:
    """Of sigmas sqrt(1 + 3) and sqrt(4 + 5): at 6.1 the first is 3.05 away, at 3.9 the second 2.03."""
    mixture = PAIR if noisy_values else replace(PAIR, covariances=[[[4.0]], [[9.0]]])
    values = np.array([6.1, 5.9, 3.9, 0.9])
    noise = DiagonalNoise(np.full((4, 1), 3.0)) if noisy_values else NoNoise()
    model = Model(mixture, cutoff=3.0)
    (leaf,) = Chunk(values[:, None], noise).leaves()
    q = leaf_responsibilities(model, leaf)
    sigma = np.array([2.0, np.sqrt(7.0) if noisy_values else 3.0])
    reached = np.abs(values[:, None] - PAIR.means[:, 0]) <= 3 * sigma
    assert np.array_equal(q > 0, reached)
    assert np.array_equal(reached[:3], [[False, True], [True, True], [True, True]])
    joint = PAIR.weights * norm.pdf(values[:, None], PAIR.means[:, 0], sigma)
    np.testing.assert_allclose(leaf_log_density(model, leaf), np.log(np.sum(joint * reached, axis=1)), rtol=1e-13)
    dropped = np.sum(np.sum(joint * ~reached, axis=1) / np.sum(joint, axis=1))
    moments = leaf_moments(model, leaf)
    assert moments.dropped == pytest.approx(dropped, rel=1e-11)
    assert moments.beyond == 0


def test_beyond_every_cutoff_the_nearest_component_stays() -> None:
    """At 5 it is in its own sigmas the second (2.5 against 5 sigmas), whatever the densities are."""
    model = Model(PAIR, cutoff=2.0)
    (leaf,) = line(5.0, 0.0).leaves()
    np.testing.assert_array_equal(leaf_responsibilities(model, leaf), [[0.0, 1.0], [1.0, 0.0]])
    expected = np.log([0.75 * norm.pdf(5, 10, 2), 0.25 * norm.pdf(0)])
    np.testing.assert_allclose(leaf_log_density(model, leaf), expected, rtol=1e-13)
    moments = leaf_moments(model, leaf)
    assert moments.beyond == 1
    lost = [0.25 * norm.pdf(5) / (0.75 * norm.pdf(5, 10, 2)), 0.75 * norm.pdf(0, 10, 2) / (0.25 * norm.pdf(0))]
    assert moments.dropped == pytest.approx(sum(x / (1 + x) for x in lost), rel=1e-10)


@pytest.mark.parametrize("noise", ["none", "full"])
def test_one_component_without_a_background_loses_nothing(noise: str) -> None:
    survey = make(Recipe(d=2, k=1, n=200, noise=noise, seed=1))
    whole, cut = (moments_of(replace(survey.model, cutoff=cutoff), survey.chunk) for cutoff in (None, 1.0))
    assert cut.beyond > 50
    assert cut.dropped == 0
    np.testing.assert_allclose(cut.covariance_score, whole.covariance_score, rtol=1e-12)
    assert cut.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-13)


def test_a_background_takes_what_is_beyond_but_only_where_there_is_some() -> None:
    model = Model(PAIR, Uniform([-50.0], [50.0]), 0.1, cutoff=2.0)
    chunk = replace(line(5.0, 60.0), log_background=np.array([np.log(0.01), -np.inf]))
    (leaf,) = chunk.leaves()
    np.testing.assert_array_equal(leaf_responsibilities(model, leaf), [[0.0, 0.0], [0.0, 1.0]])
    expected = [np.log(0.1 * 0.01), np.log(0.9 * 0.75) + norm.logpdf(60, 10, 2)]
    np.testing.assert_allclose(leaf_log_density(model, leaf), expected, rtol=1e-13)
    np.testing.assert_allclose(model.log_density(chunk.points), expected, rtol=1e-13)
    moments = leaf_moments(model, leaf)
    assert (moments.beyond, moments.background) == (2, 1)


def test_what_was_not_measured_is_in_reach() -> None:
    model = Model(PAIR, cutoff=1e-3)
    (leaf,) = line(np.nan).leaves()
    np.testing.assert_array_equal(leaf_responsibilities(model, leaf), [PAIR.weights])
    assert leaf_moments(model, leaf).dropped == 0


RECIPES = [
    Recipe(d=2, k=4, noise="none", missing=0.2, background=True),
    Recipe(d=3, k=4, noise="shared", missing=0.2),
    Recipe(d=3, k=4, noise="diagonal", missing=0.2, background=True),
    Recipe(d=3, k=4, noise="full", offset=1e3),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.noise)
def test_the_model_and_the_kernels_agree(recipe: Recipe) -> None:
    """`Model.log_density`, which has no kernel, and both kernels where either can be had."""
    survey = make(replace(recipe, n=200, seed=2, cutoff=1.5))
    chunk, model = survey.chunk, survey.model
    (leaf,) = chunk.leaves()
    assert 0 < leaf_moments(model, leaf).dropped < 100
    noise = chunk.noise
    told = None if isinstance(noise, NoNoise) else getattr(noise, "covariance", getattr(noise, "variance", None))
    if told is None and not isinstance(noise, NoNoise):
        told = survey.catalogue.noise
    np.testing.assert_allclose(
        model.log_density(chunk.points, told), leaf_log_density(model, leaf), rtol=1e-10, atol=1e-10
    )
    for block in leaf.blocks:
        if noise.is_shared and len(block.points) and block.n_samples > 1:
            slow, fast = noisy.expect(model, block).moments, dense.expect(model, block).moments
            for name in Moments.__dataclass_fields__:
                np.testing.assert_allclose(getattr(slow, name), getattr(fast, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("kind", ["shared", "full"])
def test_a_wide_cutoff_changes_nothing(kind: str, m: int) -> None:
    survey = make(Recipe(d=2, k=3, n=100, noise=kind, measured=m, seed=3, weighted=True))
    whole, cut = (moments_of(replace(survey.model, cutoff=cutoff), survey.chunk) for cutoff in (None, 1e9))
    for name in Moments.__dataclass_fields__:
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=1e-13, atol=1e-300)
    assert (cut.dropped, cut.beyond) == (0, 0)


@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_what_is_dropped_counts_as_often_as_its_object(noise: str) -> None:
    survey = make(Recipe(d=2, k=3, n=60, noise=noise, seed=4, background=True, cutoff=1.0))
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    doubled = moments_of(survey.model, replace(survey.chunk, weights=weights))
    both = moments_of(survey.model, survey.chunk) + moments_of(survey.model, survey.chunk.take(slice(0, 20)))
    assert doubled.dropped == pytest.approx(both.dropped, rel=1e-12)
    assert doubled.beyond == pytest.approx(both.beyond, rel=1e-12)
    assert doubled.beyond > 0


def test_scores_are_the_gradient_where_nothing_crosses_the_cutoff() -> None:
    survey = make(Recipe(d=1, k=3, n=50, noise="diagonal", seed=5, background=True, cutoff=2.0))
    model, step = survey.model, 1e-6

    def moved(by: float) -> Moments:
        mixture = model.mixture
        return moments_of(replace(model, mixture=replace(mixture, means=mixture.means + by)), survey.chunk)

    numeric = (moved(step).log_likelihood - moved(-step).log_likelihood) / (2 * step)
    slopes = gradient(moved(0.0), model)[3:6]
    assert slopes.sum() == pytest.approx(numeric, rel=1e-6)


# where it leads


def shrunk(cutoff: float, d: int) -> float:
    """The fixed point: sigma^2 is the variance of a unit normal within cutoff sigma."""

    def excess(sigma: float) -> float:
        t = (cutoff * sigma) ** 2
        return float(sigma**2 - chi2.cdf(t, d + 2) / chi2.cdf(t, d))

    return float(brentq(excess, 0.1, 0.99999))


def test_on_a_faint_background_a_unit_sigma_shrinks() -> None:
    """To 0.726 under a cutoff of 2; what is beyond, 15 % of the objects, becomes background."""
    n = 5_000
    points = norm.ppf((np.arange(n) + 0.5) / n)[:, None]
    background = Uniform([-5e5], [5e5])
    chunk = Chunk(points, NoNoise(), log_background=background.log_density(points, NoNoise()))
    model = Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]]), background, 0.1, cutoff=2.0)
    for _ in range(30):
        moments = moments_of(model, chunk)
        model = replace(maximize(moments, model, Constraints()).model, cutoff=2.0)
    sigma = shrunk(2.0, 1)
    assert sigma == pytest.approx(0.72574, abs=1e-5)
    assert np.sqrt(model.mixture.covariances[0, 0, 0]) == pytest.approx(sigma, abs=2e-3)
    assert model.background_fraction == pytest.approx(2 * norm.sf(2 * sigma), abs=2e-3)
    assert moments.beyond == pytest.approx(moments.background, rel=1e-4)
    assert moments.dropped == pytest.approx(moments.beyond, rel=1e-3)


def test_at_a_cutoff_of_the_root_of_two_more_than_features_nothing_is_left() -> None:
    """A uniform ball has sigma = radius / sqrt(d + 2): then no sigma but zero is a fixed point."""
    for d in (1, 2, 6):
        assert shrunk(np.sqrt(d + 2) + 0.1, d) > 0.2
        with pytest.raises(ValueError, match="different signs"):
            shrunk(np.sqrt(d + 2), d)


# the unseen

SEEN = Survey(Box([-1.5], [2.0]), ConstantNoise([[0.09]]))
START = Model(GaussianMixture([0.5, 0.5], [[-0.9], [1.3]], [[[0.6]], [[0.4]]]))


def _round(model: Model) -> Round:
    sample = Chunk(np.zeros((1, 1)), SharedNoise([[0.09]]))
    classes, partition = single_class(SEEN, sample), Partition.of(sample, SEEN, np.zeros((1, 1)), 0)
    return Round.of(model, 1 << 13, 0, 0, classes=classes, partition=partition)


def _unseen(model: Model, points_of: Round) -> Unseen:
    blocks = [draw(block, points_of, SEEN, model) for block in points_of.blocks()]
    return reduce(Unseen.__add__, (unseen_sums(model, block) for block in blocks))


def test_a_cutoff_has_no_closed_form() -> None:
    classes = _round(START).classes
    assert closed_form(START, SEEN, classes) is not None
    assert closed_form(replace(START, cutoff=5.0), SEEN, classes) is None


def test_under_a_selection_five_sigmas_are_as_good_as_all() -> None:
    """The same EM steps, of observed and unseen together, with the same points; two sigmas are not.

    What is left of the difference, 2e-5, is a thousandth of a standard error.
    """
    truth = GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [[[0.5]], [[0.25]]])
    values = truth.sample(3000, 1) + 0.3 * np.random.default_rng(2).standard_normal((3000, 1))
    chunk = Chunk(values[(values[:, 0] > -1.5) & (values[:, 0] < 2.0)], SharedNoise([[0.09]]))
    points_of = _round(START)
    (block,) = points_of.blocks()
    points = draw(block, points_of, SEEN, START)

    def fitted(cutoff: float | None) -> tuple[Model, Moments]:
        model = replace(START, cutoff=cutoff)
        for _ in range(12):
            done = complete(moments_of(model, chunk), [unseen_sums(model, points)], points_of.classes)
            model = replace(maximize(done.moments, model, Constraints()).model, cutoff=cutoff)
        return model, done.moments

    (whole, _), (five, few), (two, many) = fitted(None), fitted(5.0), fitted(2.0)
    np.testing.assert_allclose(five.mixture.means, whole.mixture.means, atol=5e-5)
    np.testing.assert_allclose(five.mixture.covariances, whole.mixture.covariances, atol=5e-5)
    assert 0 < few.dropped < 1e-5 * few.n_samples
    assert np.max(np.abs(two.mixture.means - whole.mixture.means)) > 1e-2
    assert many.dropped > 1e-2 * many.n_samples


def test_what_the_unseen_drop_is_the_integral() -> None:
    """Of (1 - Omega) p_cut (1 - p_cut / p), over the measured values; the points' own error is 1e-3 of it."""
    background = Uniform([-4.0], [4.0])
    model = Model(START.mixture, background, 0.3, cutoff=1.0)
    unseen = _unseen(model, _round(model)).moments
    y = np.linspace(-8, 8, 160_001)
    sigma = np.sqrt(START.mixture.covariances[:, 0, 0] + 0.09)
    z = (y[:, None] - START.mixture.means[:, 0]) / sigma
    joint = 0.7 * START.mixture.weights * norm.pdf(z) / sigma
    behind = 0.3 * np.exp(background.log_density(y[:, None], SharedNoise([[0.09]])))
    whole, cut = behind + joint.sum(axis=1), behind + np.sum(joint * (np.abs(z) <= 1), axis=1)
    missed = ~((y > -1.5) & (y < 2.0)) * 1e-4
    assert unseen.n_samples == pytest.approx(missed @ cut, rel=1e-2)
    assert unseen.dropped == pytest.approx(missed @ (cut * (1 - cut / whole)), rel=1e-2)
    assert unseen.beyond == pytest.approx(missed @ (cut * np.all(np.abs(z) > 1, axis=1)), rel=1e-2)


# what has no meaning


def test_injections_and_a_cutoff_are_refused() -> None:
    found = Unseen.zero(2, 1)
    with pytest.raises(RefusedError, match="injections and a cutoff"):
        found.complement(Model(PAIR, cutoff=3.0))


def test_latent_points_know_a_cutoff_but_not_beside_a_background() -> None:
    chunk = Chunk(np.linspace(-1.2, 2.8, 9)[:, None], DiagonalNoise(np.full((9, 1), 0.16)))
    survey = Survey(Box([-0.5], [2.0]), None, "true")
    around = LatentDraw.around(START, Observing(survey, np.eye(1)), 64, address=(0, Purpose.LATENT, 0))
    latent = around(chunk, np.random.default_rng(0)).latent
    assert latent is not None
    whole, wide, narrow = (
        latent_posterior(replace(START, cutoff=cutoff), latent).log_density for cutoff in (None, 9, 1)
    )
    np.testing.assert_allclose(wide, whole, rtol=1e-12)
    assert np.all(narrow <= whole)
    assert np.any(narrow < whole - 0.1)
    model = Model(START.mixture, Uniform([-5.0], [5.0]), 0.1, cutoff=3.0)
    with pytest.raises(RefusedError, match="a cutoff beside a background"):
        latent_posterior(model, latent)
