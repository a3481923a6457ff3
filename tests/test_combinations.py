"""Whole fits of what the calibration leaves out: injections, laws found in the catalogue, backgrounds of other kinds.

Each recovers its truth within the fit's own standard errors: the largest of the pulls has a false-alarm rate of 1e-6,
were the seed not pinned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import dgmmis
from dgmmis.model import Model
from dgmmis.types import Points

FALSE_ALARM = 1e-6
TRUTH = dgmmis.GaussianMixture(
    [0.6, 0.4], [[0.0, 0.0], [3.0, 1.0]], [[[1.0, 0.3], [0.3, 0.8]], [[0.5, -0.2], [-0.2, 0.7]]]
)
FADING = dgmmis.HalfSpace([1.0, 0.4], 2.5, 0.6)
SHARED = np.array([[0.1, 0.03], [0.03, 0.06]])


def _assert_recovered(model: dgmmis.GMMis, truth: Model) -> None:
    errors = model.standard_errors_
    mixture = truth.mixture
    pulls = [
        (model.weights_ - mixture.weights) / errors.weights,
        (model.means_ - mixture.means) / errors.means,
        (model.covariances_ - mixture.covariances) / errors.covariances,
    ]
    if truth.background is not None:
        pulls.append(np.array([model.background_amplitude_ - truth.background_fraction]) / errors.background_amplitude)
    flat = np.concatenate([pull.ravel() for pull in pulls])
    assert np.max(np.abs(flat)) < norm.isf(FALSE_ALARM / 2 / len(flat))
    assert np.max(np.abs(errors.means)) < 0.2  # they say something
    assert model.converged_


def test_injections_take_the_place_of_a_selection_function() -> None:
    """The pipeline's Omega is never told: only which of the injected objects it found."""
    rng = np.random.default_rng(1)
    x = TRUTH.sample(6_000, 2)
    y = x + rng.multivariate_normal(np.zeros(2), SHARED, len(x))
    seen = rng.random(len(y)) < FADING(y)
    wide = dgmmis.GaussianMixture([1.0], [[1.2, 0.4]], [[[6.0, 0.0], [0.0, 3.0]]])
    injected = wide.sample(400_000, 3)
    measured = injected + rng.multivariate_normal(np.zeros(2), SHARED, len(injected))
    found = rng.random(len(measured)) < FADING(measured)
    injections = dgmmis.Injections(injected, found, wide.log_density(injected))
    model = dgmmis.GMMis(2, selection=injections, init=TRUTH).fit(y[seen], noise_covariance=SHARED)
    _assert_recovered(model, Model(TRUTH))
    assert abs(model.n_objects_ - len(x)) < norm.isf(FALSE_ALARM / 2) * model.n_objects_error_
    with pytest.raises(dgmmis.DgmmisError, match="do not say Omega at a point"):
        model.score_samples(y[:3], noise_covariance=SHARED, density="observed")
    assert model.score(y[seen], noise_covariance=SHARED) == pytest.approx(model.log_likelihood_, abs=1e-9)


def test_injections_with_gaps_and_with_projections() -> None:
    """Gaps after the selection are refused, for Omega cannot be averaged over them; projections keep one Z."""
    rng = np.random.default_rng(1)
    y = TRUTH.sample(1_500, 2)
    y = y[rng.random(len(y)) < FADING(y)]
    wide = dgmmis.GaussianMixture([1.0], [[1.2, 0.4]], [[[6.0, 0.0], [0.0, 3.0]]])
    injected = wide.sample(150_000, 3)
    injections = dgmmis.Injections(injected, rng.random(len(injected)) < FADING(injected), wide.log_density(injected))
    gaps = y.copy()
    gaps[7, 0] = np.nan
    with pytest.raises(dgmmis.DgmmisError, match="went missing after the selection, in row 7"):
        dgmmis.GMMis(2, selection=injections, init=TRUTH).fit(gaps)
    plain = dgmmis.GMMis(2, selection=injections, init=TRUTH).fit(y)
    turned = dgmmis.GMMis(2, selection=injections, init=TRUTH).fit(y, projection=np.tile(np.eye(2), (len(y), 1, 1)))
    np.testing.assert_allclose(turned.means_, plain.means_, atol=0.05 * plain.standard_errors_.means.min())


def test_hard_edges_and_noise_in_two_features_name_nobody() -> None:
    """Rows whose few points all miss the box, though others would not, are not taken for impossible."""
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0.4, 0.5], 0.3 * np.eye(2), 20_000)
    x = x[np.all((x > 0) & (x < 1), axis=1)]
    y = x + 0.3 * rng.standard_normal(x.shape)
    model = dgmmis.GMMis(1, selection=dgmmis.Box([0, 0], [1, 1]), selection_on="true", max_iter=4)
    with pytest.warns(dgmmis.NotConvergedWarning, match="max_iter"):
        model.fit(y, noise_covariance=0.09 * np.eye(2))
    assert np.isfinite(model.log_likelihood_)


def test_scores_are_numbers_where_little_was_seen() -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.01, 0.3, 4_000)
    y = rng.standard_normal(4_000) + np.sqrt(noise) * rng.standard_normal(4_000)
    seen = rng.random(len(y)) < dgmmis.HalfSpace([-1.0], -2.2, 0.15)(y[:, None])
    start = dgmmis.GaussianMixture([1.0], [[0.0]], [[[1.0]]])
    frozen = {"means": [0], "covariances": [0]}
    model = dgmmis.GMMis(1, selection=dgmmis.HalfSpace([-1.0], -2.2, 0.15), init=start, frozen=frozen)
    model.fit(y[seen, None], noise_covariance=noise[seen, None])
    assert model.completeness_ < 0.05
    scores = model.score_samples(y[seen, None], noise_covariance=noise[seen, None])
    assert np.mean(scores) == pytest.approx(model.log_likelihood_, abs=0.02)


def test_too_few_injections_are_said() -> None:
    """Fewer effective ones than four times the objects (Farr 2019): the answer is their noise."""
    rng = np.random.default_rng(1)
    y = TRUTH.sample(2_000, 2)
    seen = rng.random(len(y)) < FADING(y)
    wide = dgmmis.GaussianMixture([1.0], [[1.2, 0.4]], [[[6.0, 0.0], [0.0, 3.0]]])
    injected = wide.sample(3_000, 3)
    found = rng.random(len(injected)) < FADING(injected)
    injections = dgmmis.Injections(injected, found, wide.log_density(injected))
    with pytest.warns(dgmmis.NotConvergedWarning, match="less than four times that of the objects"):
        dgmmis.GMMis(2, selection=injections, init=TRUTH).fit(y[seen])


def _brightness_noise(points: Points) -> np.ndarray:
    """Noise that grows with the first feature, as a survey's does with magnitude."""
    sigma = 0.15 * np.exp(0.12 * points[:, 0])
    return np.asarray(sigma[:, None, None] ** 2 * np.array([[1.0, 0.3], [0.3, 0.6]]))


@pytest.mark.parametrize("law", ["nearest", "regression", "function"])
def test_laws_found_in_the_catalogue(law: str) -> None:
    """The noise depends on the position gently enough that its own dependence does not show in these errors."""
    rng = np.random.default_rng(4)
    x = TRUTH.sample(8_000, 5)
    noise = _brightness_noise(x)
    y = x + np.einsum("nij,nj->ni", np.linalg.cholesky(noise), rng.standard_normal(x.shape))
    seen = rng.random(len(y)) < FADING(y)
    model = dgmmis.GMMis(
        2, selection=FADING, noise_law=_brightness_noise if law == "function" else law, init=TRUTH
    ).fit(y[seen], noise_covariance=noise[seen])
    _assert_recovered(model, Model(TRUTH))


def _ring(points: Points) -> np.ndarray:
    """A ring of background objects, not normalised."""
    radius = np.hypot(points[:, 0] - 1.5, points[:, 1])
    return np.asarray(np.exp(-0.5 * ((radius - 4.0) / 0.8) ** 2))


BACKGROUNDS: Mapping[str, Any] = {
    "uniform": dgmmis.Uniform([-5.0, -5.0], [8.0, 5.0]),
    "mixture": dgmmis.FixedMixture(dgmmis.GaussianMixture([0.5, 0.5], [[-3.0, 3.0], [6.0, -3.0]], [2 * np.eye(2)] * 2)),
    "function": dgmmis.FixedDensity(_ring, [-6.0, -8.0], [9.0, 8.0]),
}


@pytest.mark.parametrize(
    ("kind", "on"),
    [
        ("uniform", "observed"),
        ("uniform", "true"),
        ("mixture", "observed"),
        ("mixture", "true"),
        pytest.param("function", "observed", marks=pytest.mark.slow),
        ("function", "true"),
    ],
)
def test_backgrounds_of_every_kind_under_selection(kind: str, on: str) -> None:
    """With three levels of full covariances, one value in ten missing after the selection, and a free fraction."""
    rng = np.random.default_rng(6)
    truth = Model(TRUTH, BACKGROUNDS[kind], 0.25)
    x = truth.sample(2_500, 7)
    levels = np.array([1.0] if kind == "function" else [0.3, 1.0, 2.0])  # a function is dear to convolve
    noise = SHARED * levels[rng.integers(len(levels), size=len(x))][:, None, None]
    y = x + np.einsum("nij,nj->ni", np.linalg.cholesky(noise), rng.standard_normal(x.shape))
    seen = rng.random(len(y)) < FADING(y if on == "observed" else x)
    y, noise = y[seen], noise[seen]
    lost = (rng.random(len(y)) < 0.2)[:, None] & (rng.integers(2, size=len(y))[:, None] == np.arange(2))
    model = dgmmis.GMMis(2, selection=FADING, selection_on=on, background=BACKGROUNDS[kind], init=TRUTH)
    model.fit(np.where(lost, np.nan, y), noise_covariance=noise)
    _assert_recovered(model, truth)
    assert abs(model.n_objects_ - len(x)) < norm.isf(FALSE_ALARM / 2) * model.n_objects_error_
