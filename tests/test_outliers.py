"""Tail probabilities: uniform under the model, whatever the noise, the gaps and the selection; exact for a Gaussian."""

from dataclasses import replace

import dask.array
import numpy as np
import pytest
from observed import observed
from scipy.stats import chi2, kstest

from dgmmis import outliers
from dgmmis.background import Uniform
from dgmmis.catalogue import drawn
from dgmmis.chunk import Chunk
from dgmmis.errors import JobError, RefusedError
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, NoNoise
from dgmmis.noise_classes import single_class
from dgmmis.outliers import TailProbability, tail_probability
from dgmmis.selection import Ball, HalfSpace, Injections
from dgmmis.survey import Survey

MIXTURE = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.5, 0.0]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
MODEL = Model(MIXTURE, Uniform([-4, -4], [4, 4]), 0.2)
SEEN = HalfSpace([1.0, 0.3], 1.0, 0.4) & ~Ball([-1.0, 0.5], 0.5)

FALSE_ALARM = 1e-6
"""How often a statistical test here would fail by chance, were its seed not pinned."""


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("on", ["everything", "observed", "available", "true"])
def test_tail_probabilities_are_uniform_under_the_model(on: str, shared: bool) -> None:
    """Kolmogorov-Smirnov, a false alarm once in a million; own draws have values on a lattice of n_draws + 1."""
    law = 0.2 * np.eye(2) if shared else "own"
    survey = {
        "everything": Survey(),
        "observed": Survey(SEEN, law),
        "available": Survey(HalfSpace([1.0, 0.0], 1.0, 0.4), law, "available"),
        "true": Survey(SEEN, None, "true"),
    }[on]
    rng, n = np.random.default_rng(3), 1500
    points, variances = observed(MODEL, survey, n, rng, shared=shared)
    noise = np.diag(variances[0]) if shared else DiagonalNoise(variances)
    p = tail_probability(MODEL, points, noise, survey=survey, n_draws=255, seed=5)
    smear = 0 if shared else rng.random(n) / 256
    assert kstest(p - smear, "uniform").pvalue > FALSE_ALARM
    for pattern in (np.isnan(points[:, 1]), ~np.isnan(points[:, 1])):
        assert kstest((p - smear)[pattern], "uniform").pvalue > FALSE_ALARM
    if on == "everything":
        return
    # as if everything were seen they are not: the test can fail
    careless = tail_probability(MODEL, points, noise, n_draws=255, seed=5)
    assert kstest(careless, "uniform").pvalue < 1e-3


def test_of_a_gaussian_it_is_that_of_chi_squared() -> None:
    """P(chi^2 > (y - mu)' T^-1 (y - mu)), within the error of so many draws."""
    mean, C = np.array([1.0, -2.0, 0.5]), np.diag([1.0, 4.0, 0.25]) + 0.1
    gaussian = GaussianMixture([1.0], mean[None], C[None])
    points = mean + np.random.default_rng(0).normal(size=(30, 3)) * 1.5
    points[::3, 1] = np.nan
    S = np.random.default_rng(1).uniform(0.1, 2, (30, 3))
    for noise, M in ((np.diag(S[0]), outliers.SHARED_DRAWS), (DiagonalNoise(S), 2047)):
        p = tail_probability(gaussian, points, noise, n_draws=2047)
        for n in range(30):
            there = np.flatnonzero(~np.isnan(points[n]))
            T = (C + np.diag(S[0] if M > 2047 else S[n]))[np.ix_(there, there)]
            offset = (points[n] - mean)[there]
            exact = chi2.sf(offset @ np.linalg.solve(T, offset), len(there))
            assert p[n] == pytest.approx(exact, abs=5.5 * np.sqrt(exact * (1 - exact) / M) + 1.5 / M)


def test_it_finds_what_is_far_out() -> None:
    points = np.concatenate([MIXTURE.sample(50, 0), [[9.0, 9.0], [-9.0, 9.0]]])
    p = tail_probability(MIXTURE, points, 0.01 * np.eye(2))
    assert np.all(p[-2:] == 1 / (outliers.SHARED_DRAWS + 1))
    assert np.all(p[:-2] > 1e-4)
    assert tail_probability(MIXTURE, [[np.nan, np.nan], [0.0, 0.0]])[0] == 1


def test_projected_objects() -> None:
    """R x + e is Gaussian; uniform again."""
    rng, n = np.random.default_rng(6), 400
    R = rng.normal(size=(n, 1, 2))
    points = np.einsum("nmd,nd->nm", R, MODEL.sample(n, rng)) + 0.3 * rng.normal(size=(n, 1))
    p = tail_probability(MODEL, points, np.full((n, 1), 0.09), projection=R, n_draws=127)
    assert kstest(p - rng.random(n) / 128, "uniform").pvalue > FALSE_ALARM


def test_draws_are_addressed() -> None:
    """By the pattern where they are shared, else by the row: they do not depend on what other rows there are."""
    points, variances = observed(MODEL, Survey(), 40, np.random.default_rng(1), shared=False)
    shared = tail_probability(MODEL, points, 0.1 * np.eye(2))
    np.testing.assert_array_equal(tail_probability(MODEL, points[7:19], 0.1 * np.eye(2)), shared[7:19])
    own = tail_probability(MODEL, points, DiagonalNoise(variances), n_draws=63)
    np.testing.assert_array_equal(own, tail_probability(MODEL, points, DiagonalNoise(variances), n_draws=63))
    some = np.arange(31, 7, -2)
    again = tail_probability(MODEL, points[some], DiagonalNoise(variances[some]), n_draws=63)
    np.testing.assert_array_equal(again, own[some])
    assert np.any(own != tail_probability(MODEL, points, DiagonalNoise(variances), n_draws=63, seed=1))
    lazy = dask.array.from_array(points, chunks=(17, 2))
    np.testing.assert_array_equal(tail_probability(MODEL, lazy, 0.1 * np.eye(2)).compute(scheduler="sync"), shared)


def test_where_next_to_nothing_is_seen_there_is_none() -> None:
    survey = Survey(HalfSpace([1.0, 0.0], -50.0), "own")
    p = tail_probability(MIXTURE, [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.full((3, 2), 0.1), survey=survey)
    assert np.isnan(p).all()


def test_drawn_catalogues_agree() -> None:
    """The draws of `catalogue`, which have their own way, are seen as uniform too."""
    survey = Survey(SEEN, 0.2 * np.eye(2))
    classes = single_class(survey, Chunk(np.zeros((1, 2)), NoNoise()))
    objects = drawn(MODEL, survey, noise_classes=classes, by_class=np.ones(1), n=1000, seed=1)
    p = tail_probability(MODEL, objects.points, 0.2 * np.eye(2), survey=survey)
    assert kstest(p, "uniform").pvalue > FALSE_ALARM


def test_what_is_refused() -> None:
    points = np.zeros((3, 2))
    injections = Survey(Injections(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) > 3, np.zeros(9)))
    with pytest.raises(RefusedError, match="which of the drawn objects would be seen"):
        tail_probability(MIXTURE, points, survey=injections)
    by_position = Survey(SEEN, lambda x: np.eye(2) * 0.1)
    with pytest.raises(RefusedError, match="says where it is"):
        tail_probability(MIXTURE, points, np.full((3, 2), 0.1), survey=by_position)
    with pytest.raises(JobError, match="n_draws"):
        tail_probability(MIXTURE, points, n_draws=0)
    with pytest.raises(RefusedError, match="says where it is"):
        replace(TailProbability(MODEL, Observing(Survey(), np.eye(2))), observing=Observing(by_position, np.eye(2)))
