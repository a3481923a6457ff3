"""Every kernel against the reference, and the laws that hold for any of them."""

from dataclasses import replace
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from scipy import stats
from strategies import Recipe, Survey, make, random_mixture, recipes

from dgmmis import estep
from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.errors import RefusedError
from dgmmis.estep import dense, leaf_log_density, leaf_moments, leaf_responsibilities, noisy
from dgmmis.linalg import pack, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise

ACCURACY = 1e-10
UNDERFLOW = 1e-250
"""Sums below this, in units of the component's width, have lost digits to underflow; they matter to nobody."""


def moments_of(model: Model, chunk: Chunk) -> Moments:
    return reduce(Moments.__add__, (leaf_moments(model, leaf) for leaf in chunk.leaves()))


def difference(got: np.ndarray, expected: np.ndarray, of_absolute: np.ndarray) -> float:
    """The largest error, relative to the sum of the absolute values of what was added."""
    error = np.abs(np.asarray(got, dtype=reference.Long) - expected)
    return float(np.max(error / of_absolute))


def errors(survey: Survey) -> dict[str, float]:
    """How far the kernels are from the reference, in each of the things that they give."""
    expected = reference.e_step(survey.catalogue, survey.parameters)
    got = moments_of(survey.model, survey.chunk)
    log_density = np.concatenate([leaf_log_density(survey.model, leaf) for leaf in survey.chunk.leaves()])
    q = np.concatenate([leaf_responsibilities(survey.model, leaf) for leaf in survey.chunk.leaves()])
    assert got.is_finite
    sigma = np.sqrt(np.diagonal(survey.model.mixture.covariances, axis1=1, axis2=2))
    i, j = np.tril_indices(sigma.shape[1])
    return {
        "log density": difference(log_density, expected.log_density, 1 + abs(expected.log_density)),
        "responsibilities": difference(q, expected.responsibilities, np.ones_like(q)),
        "weight": difference(got.weight, expected.weight, expected.weight + UNDERFLOW),
        "mean score": difference(
            got.mean_score, expected.mean_score, expected.mean_score_of_absolute + UNDERFLOW / sigma
        ),
        "covariance score": difference(
            got.covariance_score,
            expected.covariance_score[:, i, j],
            expected.covariance_score_of_absolute[:, i, j] + UNDERFLOW / (sigma[:, i] * sigma[:, j]),
        ),
        "background": difference(got.background, expected.background, expected.background + UNDERFLOW),
        "log likelihood": difference(
            got.log_likelihood,
            expected.log_likelihood,
            expected.log_likelihood_of_absolute + expected.n_samples + UNDERFLOW,
        ),
        "samples": difference(got.n_samples, expected.n_samples, expected.n_samples + UNDERFLOW),
    }


def assert_accurate(survey: Survey) -> None:
    found = errors(survey)
    assert all(error <= ACCURACY for error in found.values()), found


# the reference itself


def test_reference_agrees_with_scipy() -> None:
    survey = make(Recipe(d=4, k=3, n=20, noise="full", seed=1, missing=0.3))
    got = reference.e_step(survey.catalogue, survey.parameters)
    catalogue, mixture = survey.catalogue, survey.parameters
    for i, y in enumerate(catalogue.points):
        seen = np.flatnonzero(~np.isnan(y))
        if len(seen) == 0:
            assert abs(got.log_density[i]) < 1e-15
            continue
        cut = np.ix_(seen, seen)
        density = sum(
            a * stats.multivariate_normal.pdf(y[seen], mu[seen], C[cut] + catalogue.noise[i][cut])
            for a, mu, C in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
        )
        assert float(got.log_density[i]) == pytest.approx(np.log(density), rel=1e-11)


def test_reference_agrees_with_exact_fractions() -> None:
    rng = np.random.default_rng(2)
    T = np.round(rng.normal(size=(5, 5)), 3)
    T = T @ T.T * np.outer(*[10.0 ** np.array([-6, 6, 0, 3, -3])] * 2)
    T = 0.5 * (T + T.T)
    offset = np.sqrt(np.diag(T)) * rng.normal(size=5)
    left = [[Fraction(float(x)) for x in (*row, y)] for row, y in zip(T, offset, strict=True)]
    determinant = Fraction(1)
    for j in range(5):  # Gauss-Jordan without rounding
        determinant *= left[j][j]
        left[j] = [x / left[j][j] for x in left[j]]
        for i in range(5):
            if i != j:
                left[i] = [x - left[i][j] * y for x, y in zip(left[i], left[j], strict=True)]
    precision, log_determinant = reference.inverse_and_log_determinant(T.astype(reference.Long))
    solved = precision @ offset
    assert all(abs(float(x / float(row[-1])) - 1) < 1e-13 for x, row in zip(solved, left, strict=True))
    assert abs(float(log_determinant) - np.log(float(determinant))) < 1e-13


# kernels against the reference


@given(recipe=recipes(("none", "shared"), tuple(range(1, 21))))
@settings(max_examples=60)
def test_dense_kernel_is_accurate(recipe: Recipe) -> None:
    assert_accurate(make(recipe))


@given(recipe=recipes(("diagonal", "full"), (1, 2, 3, 6)))
@settings(max_examples=60)
def test_noisy_kernel_is_accurate(recipe: Recipe) -> None:
    assert_accurate(make(recipe))


@pytest.mark.parametrize("noise", ["shared", "diagonal", "full", "none"])
@pytest.mark.parametrize(("d", "m"), [(3, 2), (2, 3), (3, 1), (3, 3), (1, 2)])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_projections_are_accurate(noise: str, d: int, m: int, missing: float) -> None:
    if noise == "none" and m > d:
        pytest.skip("R C R' alone is singular: refused elsewhere")
    for seed in range(3):
        assert_accurate(
            make(Recipe(d=d, k=3, n=40, noise=noise, seed=seed, measured=m, missing=missing, weighted=seed == 1,
                        reference=seed == 2, log_scale=3.0 * seed))
        )  # fmt: skip


@pytest.mark.parametrize("noise", ["none", "shared", "diagonal", "full"])
@pytest.mark.parametrize(("d", "k"), [(1, 200), (3, 200), (6, 50)])
def test_many_components_are_accurate(noise: str, d: int, k: int) -> None:
    assert_accurate(make(Recipe(d=d, k=k, n=40, noise=noise, seed=k, missing=0.1, offset=1e6, log_scale=6)))


@pytest.mark.slow
@pytest.mark.parametrize("d", range(1, 21))
def test_noisy_kernel_is_accurate_in_any_dimension(d: int) -> None:
    for seed, noise in enumerate(("diagonal", "full")):
        assert_accurate(make(Recipe(d=d, k=5, n=60, noise=noise, seed=seed, offset=1e6, log_scale=6, narrow=1e-2)))
        assert_accurate(make(Recipe(d=d, k=3, n=60, noise=noise, seed=seed, background=True, weighted=True)))


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_widest_case_is_accurate(noise: str) -> None:
    assert_accurate(make(Recipe(d=20, k=200, n=20, noise=noise, seed=3, offset=1e6, log_scale=6)))
