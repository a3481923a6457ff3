"""scikit-learn's GaussianMixture, where there is nothing but points: the same likelihoods and optima."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer

import dgmmis
from comparison.survey import NEAR, START, TRUTH, Answer, differences, fitted, through_kernels
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Stopping
from dgmmis.initialize import Start
from dgmmis.prior import Constraints

TYPES = ("full", "diag", "tied", "spherical")


def as_matrices(covariances: np.ndarray, covariance_type: str, k: int, d: int) -> np.ndarray:
    """scikit-learn's covariances of a type as (k, d, d)."""
    match covariance_type:
        case "full":
            return covariances
        case "diag":
            return covariances[:, :, None] * np.eye(d)
        case "tied":
            return np.broadcast_to(covariances, (k, d, d))
    return covariances[:, None, None] * np.eye(d)


def peer_from(start: dgmmis.GaussianMixture, covariance_type: str, tol: float = 1e-14, max_iter: int = 5000) -> Peer:
    """A peer that starts with unit covariances at the weights and means of `start`."""
    k, d = start.means.shape
    unit = {"full": np.stack([np.eye(d)] * k), "tied": np.eye(d), "diag": np.ones((k, d)), "spherical": np.ones(k)}
    return Peer(
        k,
        covariance_type=covariance_type,
        tol=tol,
        max_iter=max_iter,
        reg_covar=0,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=unit[covariance_type],
    )


def fitted_peer(peer: Peer, points: np.ndarray) -> Peer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its gains cannot get below rounding
        return peer.fit(points)


def answer_of(peer: Peer, d: int) -> Answer:
    k = len(peer.weights_)
    covariances = as_matrices(peer.covariances_, peer.covariance_type, k, d)
    return Answer(peer.weights_, peer.means_, covariances)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_log_densities_at_equal_parameters(covariance_type: str) -> None:
    """Each object's to 1e-9, by the plain formula and by the kernels, with some objects 40 away."""
    rng = np.random.default_rng(10)
    points = rng.normal(size=(400, 4)) * [1, 2, 0.5, 30] + [0, 5, -3, 100]
    points[:40] += 40
    peer = fitted_peer(Peer(3, covariance_type=covariance_type, random_state=0), points)
    answer = answer_of(peer, 4)
    mixture = dgmmis.GaussianMixture(answer.weights, answer.means, answer.covariances)
    expected = peer.score_samples(points)
    np.testing.assert_allclose(mixture.log_density(points), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(through_kernels(mixture, points), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(mixture.responsibilities(points), peer.predict_proba(points), rtol=0, atol=1e-9)
    mean = dgmmis.evaluate(ArrayDataset.of(points), dgmmis.Model(mixture)).log_likelihood
    assert mean == pytest.approx(peer.score(points), abs=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_optima_from_the_same_start(covariance_type: str) -> None:
    points = TRUTH.sample(800, 11)
    peer = fitted_peer(peer_from(START, covariance_type), points)
    start = Start(2, dgmmis.GaussianMixture(START.weights, START.means, np.stack([np.eye(2)] * 2)))
    ours = fitted(points, start=start, constraints=Constraints(covariance_type=covariance_type))
    assert np.abs(differences(ours, answer_of(peer, 2))).max() < NEAR
    assert ours.log_likelihood >= peer.score(points) - 1e-12


@pytest.mark.parametrize("covariance_type", TYPES)
def test_blobs(covariance_type: str) -> None:
    """Blobs in four dimensions: the same optimum, and a peer that stops at its own tolerance is never ahead."""
    points, labels = make_blobs(1500, 4, centers=5, cluster_std=[0.5, 1, 1.5, 1, 0.7], random_state=12)
    means = np.stack([points[labels == k][:20].mean(axis=0) for k in range(5)])
    start = dgmmis.GaussianMixture(np.full(5, 0.2), means, np.stack([np.eye(4)] * 5))
    tight, usual = (fitted_peer(peer_from(start, covariance_type, tol), points) for tol in (1e-14, 1e-3))
    ours = fitted(points, start=start, constraints=Constraints(covariance_type=covariance_type))
    assert np.abs(differences(ours, answer_of(tight, 4))).max() < NEAR
    assert ours.log_likelihood >= tight.score(points) - 1e-12
    assert ours.log_likelihood >= usual.score(points) - 1e-12


def test_overlapping_components_with_usual_tolerances() -> None:
    """Where EM crawls, a small gain is no maximum: dgmmis ends ten times nearer than a peer of the same tolerance."""
    truth = dgmmis.GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.2, 0.5]], [np.eye(2), 0.6 * np.eye(2)])
    points = truth.sample(2000, 13)
    peer = fitted_peer(peer_from(truth, "full", tol=1e-6), points)
    ours = fitted(points, start=truth, stopping=Stopping(1e-6))
    best = fitted(points, start=truth)
    assert ours.log_likelihood > peer.score(points)
    assert best.log_likelihood - ours.log_likelihood < 0.1 * (best.log_likelihood - peer.score(points))
