"""One likelihood: the objective of a pass is the literal one for every kind of survey, and the limits agree."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import likelihood
import numpy as np
import pytest
from cases import CASES, Case, Drawn, draw

from dgmmis import Box, FromFunction, GaussianMixture, HalfSpace, Model, Survey, Uniform
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Pass
from dgmmis.fit import evaluate
from dgmmis.selection import Selection

SIGMAS = 6
"""The Monte-Carlo error comes from eight replicates: Student's t with seven degrees is beyond 6 in 5e-4 of cases."""


def _moved(model: Model) -> Model:
    """A little away from the truth in every parameter."""
    mixture = model.mixture
    k = len(mixture.weights)
    shift = 0.1 * np.cos(np.arange(mixture.means.size)).reshape(mixture.means.shape)
    weights = mixture.weights + 0.03 * (np.arange(k) - (k - 1) / 2)
    return replace(
        model,
        mixture=GaussianMixture(weights, mixture.means + shift, 1.1 * mixture.covariances),
        background_fraction=0.9 * model.background_fraction,
    )


def _dataset(drawn: Drawn, weight: float = 1.0) -> ArrayDataset:
    """Weights times a constant change no mean; a pass works as finely as their sum asks."""
    weights = np.ones(len(drawn.points)) if drawn.sample_weight is None else drawn.sample_weight
    return ArrayDataset.of(
        drawn.points, drawn.noise_covariance, projection=drawn.projection, sample_weight=weight * weights
    )


def _literal(case: Case, drawn: Drawn, model: Model, fine: float = 1.0) -> likelihood.Terms:
    mixture, box = model.mixture, model.background
    background = None if box is None else likelihood.Background(box.lower, box.upper)
    population = likelihood.Population(
        mixture.weights, mixture.means, mixture.covariances, model.background_fraction, background
    )
    shared = drawn.noise_covariance is None or drawn.noise_covariance.ndim == 2 == len(drawn.noise_covariance)
    law = case.law or (drawn.covariances[0] if shared else "own")
    survey = likelihood.Survey(case.selection, case.on, law, case.breaks, case.widest)
    catalogue = likelihood.Catalogue(drawn.points, drawn.covariances, drawn.projection, drawn.sample_weight)
    return likelihood.literal_log_likelihood(catalogue, population, survey, fine)


SIZES = {"background": 100, "background and own": 100, "everything": 30}
"""Objects of a case, 250 otherwise: the literal density of a background under correlated noise is slow."""

APPROXIMATED = 5e-5
"""Of the mean log-likelihood: what noise classes and bivariate integrals may be off by without saying so. In all
objects together it is a hundredth of a unit, so that no parameter moves by a seventh of its error."""


@cache
def _few(name: str) -> tuple[Drawn, likelihood.Terms]:
    case = CASES[name]
    drawn = draw(case, SIZES.get(name, 250), 0)
    return drawn, _literal(case, drawn, _moved(case.truth))


def _error(found: Pass, n: int) -> float:
    """Of the mean log-likelihood: of log Z, and of the rows whose own selection is an integral."""
    return found.completeness_error / found.completeness + abs(found.latent_bias) + found.latent_error / np.sqrt(n)


@pytest.mark.parametrize("name", CASES)
def test_the_objective_is_the_literal_one(name: str) -> None:
    drawn, expected = _few(name)
    found = evaluate(_dataset(drawn, 100.0), _moved(CASES[name].truth), survey=CASES[name].survey)
    error = _error(found, len(drawn.points))
    assert error < 3e-3
    assert abs(found.log_likelihood - expected.mean) < SIGMAS * error + APPROXIMATED
    unseen_for_each = expected.weights @ np.expm1(-expected.log_normaliser)  # (1 - Z_n) / Z_n
    completeness = expected.weights.sum() / (expected.weights.sum() + unseen_for_each)
    assert abs(found.completeness - completeness) < SIGMAS * found.completeness_error + APPROXIMATED


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].selection is not None])
def test_seeds_scatter_about_the_literal_one(name: str) -> None:
    """The mean of eight seeds, against their own scatter: a bias that the error of one would hide."""
    drawn, expected = _few(name)
    data, model = _dataset(drawn), _moved(CASES[name].truth)
    found = [evaluate(data, model, survey=CASES[name].survey, seed=seed).log_likelihood for seed in range(8)]
    assert abs(np.mean(found) - expected.mean) < SIGMAS * np.std(found, ddof=1) / np.sqrt(8) + APPROXIMATED


def _evaluated(drawn: Drawn, model: Model, survey: Survey) -> Pass:
    return evaluate(_dataset(drawn), model, survey=survey)


def _assert_close(found: Pass, expected: Pass, n: int, shift: float = 0.0) -> None:
    """The same likelihood but for `shift`, within the errors of both."""
    error = np.hypot(_error(found, n), _error(expected, n))
    assert abs(found.log_likelihood - shift - expected.log_likelihood) < SIGMAS * error + APPROXIMATED
    completeness_error = np.hypot(found.completeness_error, expected.completeness_error)
    assert abs(found.completeness - expected.completeness) < SIGMAS * completeness_error + APPROXIMATED


def _drawn(name: str) -> tuple[Drawn, Model, Survey]:
    case = CASES[name]
    return draw(case, 250, 1), _moved(case.truth), case.survey


@pytest.mark.parametrize("on", ["observed", "available", "true"])
@pytest.mark.parametrize("name", CASES)
def test_a_survey_that_sees_everything_is_none(name: str, on: str) -> None:
    """Bit for bit where Omega is known; where it is an integral over what is not, within its error."""
    drawn, model, _ = _drawn(name)
    m = model.mixture.n_features if on == "true" else drawn.points.shape[1]
    law = None if on == "true" else CASES[name].law
    sees_all = Survey(Box(np.full(m, -np.inf), np.full(m, np.inf)), law, on)
    plain, found = _evaluated(drawn, model, Survey()), _evaluated(drawn, model, sees_all)
    assert found.completeness == pytest.approx(1, abs=1e-12)
    if on == "available" or (on == "observed" and not np.isnan(drawn.points).any()):
        assert found.log_likelihood == plain.log_likelihood
    else:
        _assert_close(found, plain, len(drawn.points))


@pytest.mark.parametrize("name", ["own", "true", "available", "projections of both", "background and own"])
def test_noise_that_goes_to_zero_is_none(name: str) -> None:
    """Omega of true and of measured values are then the same, but for the constant log Omega(x_n) of the first."""
    drawn, model, survey = _drawn(name)
    n, m = drawn.points.shape
    if survey.selection_on == "true":  # measured again, without noise: all inside
        drawn = replace(drawn, points=np.clip(drawn.points, -1.8, 2.1))
    still = Survey(survey.selection, None if survey.selection_on == "true" else np.zeros((m, m)), survey.selection_on)
    none = _evaluated(replace(drawn, noise_covariance=None), model, still)
    little = _evaluated(replace(drawn, noise_covariance=np.full((n, m), 1e-10)), model, survey)
    _assert_close(little, none, n)


@pytest.mark.parametrize("name", ["background", "background and own", "everything"])
def test_a_background_without_objects_is_none(name: str) -> None:
    drawn, model, survey = _drawn(name)
    absent = _evaluated(drawn, Model(model.mixture), survey)
    almost = _evaluated(drawn, replace(model, background_fraction=1e-12), survey)
    _assert_close(almost, absent, len(drawn.points))


@pytest.mark.parametrize("on", ["available", "observed"])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_feature_that_all_miss_is_dropped(lost: int, on: str) -> None:
    """What is available is then one feature; of a box, so is what was observed, since its other side cancels.

    It does where that side is open. One row of weight zero has both: a feature that nobody measured is refused.
    """
    drawn, model, _ = _drawn("own")
    kept = 1 - lost
    points, weights = drawn.points.copy(), np.ones(len(drawn.points))
    points[1:, lost], weights[0] = np.nan, 0
    lower, upper = np.full(2, -np.inf), np.full(2, np.inf)
    lower[kept], upper[kept] = -2.3, 2.6
    half = replace(drawn, points=points, sample_weight=weights)
    found = _evaluated(half, model, Survey(Box(lower, upper), "own", on))
    single = replace(half, points=drawn.points[:, [kept]], noise_covariance=drawn.noise_covariance[:, [kept]])
    mixture = Model(model.mixture.marginal([kept]))
    _assert_close(found, _evaluated(single, mixture, Survey(Box(lower[[kept]], upper[[kept]]), "own")), len(points))


@pytest.mark.parametrize("name", CASES)
def test_weight_two_is_an_object_twice(name: str) -> None:
    drawn, model, survey = _drawn(name)
    n = len(drawn.points)
    per_row = drawn.noise_covariance is not None and len(drawn.noise_covariance) == n
    twice = Drawn(
        np.repeat(drawn.points, 2, axis=0),
        np.repeat(drawn.noise_covariance, 2, axis=0) if per_row else drawn.noise_covariance,
        None if drawn.projection is None else np.repeat(drawn.projection, 2, axis=0),
        None if drawn.sample_weight is None else np.repeat(drawn.sample_weight, 2),
        drawn.share,
    )
    weighted = evaluate(_dataset(drawn, 2.0), model, survey=survey)
    found = _evaluated(twice, model, survey)
    assert found.n_samples == pytest.approx(weighted.n_samples, rel=1e-12)
    _assert_close(found, weighted, n)


@pytest.mark.parametrize("name", CASES)
def test_neither_rows_nor_components_have_an_order(name: str) -> None:
    drawn, model, survey = _drawn(name)
    n = len(drawn.points)
    order = np.random.default_rng(2).permutation(n)
    per_row = drawn.noise_covariance is not None and len(drawn.noise_covariance) == n
    shuffled = Drawn(
        drawn.points[order],
        drawn.noise_covariance[order] if per_row else drawn.noise_covariance,
        None if drawn.projection is None else drawn.projection[order],
        None if drawn.sample_weight is None else drawn.sample_weight[order],
        drawn.share,
    )
    mixture = model.mixture
    backwards = GaussianMixture(mixture.weights[::-1], mixture.means[::-1], mixture.covariances[::-1])
    found = _evaluated(shuffled, replace(model, mixture=backwards), survey)
    _assert_close(found, _evaluated(drawn, model, survey), n)


@pytest.mark.parametrize("name", CASES)
def test_units_and_origins_do_not_matter(name: str) -> None:
    """y -> s y + t for every value, with Omega, law and background: log p falls by log s for every value there is.

    With projections, y = R x + e -> s y, R -> s R, and x stays.
    """
    drawn, model, survey = _drawn(name)
    n, m = drawn.points.shape
    s, t = np.array([20.0, 0.3])[:m], np.array([5.0, -40.0])[:m]
    new, projection = model, drawn.projection
    if projection is None:
        mixture, box = model.mixture, model.background
        new = Model(
            GaussianMixture(mixture.weights, s * mixture.means + t, mixture.covariances * np.outer(s, s)),
            None if box is None else Uniform(s * box.lower + t, s * box.upper + t),
            model.background_fraction,
        )
    else:
        t, projection = 0 * t, projection * s[:, None]
    noise = drawn.noise_covariance
    scale = np.outer(s, s) if noise.ndim == 3 or noise.shape == (m, m) != (n, m) else s**2
    moved = replace(drawn, points=s * drawn.points + t, noise_covariance=noise * scale, projection=projection)
    if survey.selection is not None:
        omega, law = survey.selection, CASES[name].law
        if callable(law):
            law = _mapped_law(law, s, t)
        survey = Survey(_mapped(omega, s, t), law, survey.selection_on)
    weights = np.ones(n) if drawn.sample_weight is None else drawn.sample_weight
    shift = -float(weights @ (~np.isnan(drawn.points) @ np.log(s))) / weights.sum()
    found = _evaluated(moved, new, survey)
    _assert_close(found, _evaluated(drawn, model, CASES[name].survey), n, shift)


def _mapped(omega: Selection, s: np.ndarray, t: np.ndarray) -> Selection:
    """Omega of s y + t, of the same kind where there is one, so that edges stay edges."""
    if isinstance(omega, Box):
        return Box(s * omega.lower + t, s * omega.upper + t)
    if isinstance(omega, HalfSpace):
        normal = omega.normal / s
        return HalfSpace(normal, omega.offset + normal @ t, omega.softness)
    return FromFunction(lambda y: omega((y - t) / s))


def _mapped_law(law: Callable[[np.ndarray], np.ndarray], s: np.ndarray, t: np.ndarray) -> Callable:
    return lambda x: law((x - t) / s) * np.outer(s, s)
