"""Fewer components: what stays when they are merged, and how much the model changes."""

import numpy as np
import pytest
from strategies import random_mixture

from dgmmis.background import Uniform
from dgmmis.divergence import kl_divergence
from dgmmis.errors import DataError, JobError, ShapeError
from dgmmis.linalg import symmetrize
from dgmmis.merging import Parts, joined, merged
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.reduction import pruned, reduced, reweighted


def _moments(mixture: GaussianMixture) -> tuple[np.ndarray, np.ndarray]:
    mean = mixture.weights @ mixture.means
    apart = mixture.means - mean
    spread = mixture.covariances + apart[:, :, None] * apart[:, None, :]
    return mean, np.einsum("k,kij->ij", mixture.weights, spread)


def _literal(mixture: GaussianMixture, k: int) -> GaussianMixture:
    """Runnalls (2007), one pair after the other, each cost from its formula."""
    parts = list(zip(mixture.weights, mixture.means, mixture.covariances, strict=True))

    def both(i: int, j: int) -> tuple[float, np.ndarray, np.ndarray]:
        (a, m, C), (b, n, D) = parts[i], parts[j]
        mean = (a * m + b * n) / (a + b)
        spread = (a * C + b * D) / (a + b) + a * b / (a + b) ** 2 * np.outer(m - n, m - n)
        return a + b, mean, spread

    def cost(i: int, j: int) -> float:
        logs = [np.linalg.slogdet(of[2])[1] for of in (parts[i], parts[j])]
        w, _, C = both(i, j)
        return 0.5 * float(w * np.linalg.slogdet(C)[1] - parts[i][0] * logs[0] - parts[j][0] * logs[1])

    while len(parts) > k:
        pairs = [(cost(i, j), i, j) for i in range(len(parts)) for j in range(i + 1, len(parts))]
        _, i, j = min(pairs)
        parts[i] = both(i, j)
        del parts[j]
    weights, means, covariances = (np.array(of) for of in zip(*parts, strict=True))
    return GaussianMixture(weights, means, symmetrize(covariances))


@pytest.mark.parametrize("seed", range(4))
def test_merging_is_that_of_runnalls(seed: int) -> None:
    mixture = random_mixture(np.random.default_rng(seed), 7, np.array([1.0, 10.0, 0.1]))
    mixture = GaussianMixture(np.full(7, 1 / 7), mixture.means, mixture.covariances)
    for k in (6, 3, 1):
        found, expected = reduced(mixture, k), _literal(mixture, k)
        np.testing.assert_allclose(found.model.mixture.weights, expected.weights, rtol=1e-10)
        np.testing.assert_allclose(found.model.mixture.means, expected.means, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found.model.mixture.covariances, expected.covariances, rtol=1e-8, atol=1e-9)


def test_the_whole_keeps_its_moments_and_changes_by_no_more_than_is_said() -> None:
    mixture = random_mixture(np.random.default_rng(3), 12, np.ones(2))
    previous = 0.0
    for k in (12, 6, 1):
        found = reduced(mixture, k)
        np.testing.assert_allclose(_moments(found.model.mixture)[0], _moments(mixture)[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(_moments(found.model.mixture)[1], _moments(mixture)[1], rtol=1e-10)
        for c in range(k):
            members = found.owner == c
            assert mixture.weights[members].sum() == pytest.approx(found.model.mixture.weights[c], rel=1e-12, abs=1e-15)
        change = kl_divergence(mixture, found.model, n_points=1 << 13)
        assert change.value <= found.bound + 5 * change.error + 1e-12
        assert found.bound >= previous
        previous = found.bound
    assert reduced(mixture, 12).bound == 0
    assert change.value > 0.05, "one Gaussian is another density"


def test_pairs_that_belong_together_are_found() -> None:
    """Halves of three Gaussians become these again, at no cost."""
    three = GaussianMixture([0.5, 0.3, 0.2], [[0, 0], [5, 1], [-4, 3]], [np.eye(2), 0.5 * np.eye(2), 2 * np.eye(2)])
    order = np.random.default_rng(0).permutation(6)
    six = GaussianMixture(
        np.repeat(three.weights / 2, 2)[order],
        np.repeat(three.means, 2, axis=0)[order],
        np.repeat(three.covariances, 2, axis=0)[order],
    )
    found = reduced(six, 3)
    assert found.bound == pytest.approx(0, abs=1e-12)
    points = three.sample(50, 0)
    np.testing.assert_allclose(found.model.log_density(points), three.log_density(points), rtol=1e-12)
    np.testing.assert_array_equal(np.unique(found.owner, return_counts=True)[1], [2, 2, 2])


def test_backgrounds_are_carried_along() -> None:
    mixture = random_mixture(np.random.default_rng(1), 5, np.ones(2))
    model = Model(mixture, Uniform([-9, -9], [9, 9]), 0.3)
    fewer = reduced(model, 2).model
    assert (fewer.background, fewer.background_fraction) == (model.background, 0.3)
    change = kl_divergence(model, fewer, n_points=1 << 13)
    assert change.value <= reduced(model, 2).bound + 5 * change.error
    heavy = mixture.weights >= np.sort(mixture.weights)[2]
    left = pruned(model, float(np.sort(mixture.weights)[2]))
    assert left.mixture.n_components == 3
    kept = 0.7 * mixture.weights[heavy].sum()
    assert left.background_fraction == pytest.approx(0.3 / (0.3 + kept), rel=1e-12)
    np.testing.assert_allclose(
        (1 - left.background_fraction) * left.mixture.weights, 0.7 * mixture.weights[heavy] / (0.3 + kept), rtol=1e-12
    )
    other = reweighted(model, [1, 0, 0, 0, 3])
    np.testing.assert_array_equal(other.mixture.weights, [0.25, 0, 0, 0, 0.75])
    assert other.background_fraction == 0.3


def test_components_without_weight() -> None:
    mixture = GaussianMixture([0.0, 0.0, 1.0], [[0.0], [1.0], [2.0]], np.ones((3, 1, 1)))
    assert reduced(mixture, 1).model.mixture.weights.sum() == 1
    assert np.isfinite(reduced(mixture, 2).bound)
    assert pruned(mixture, 1e-300).mixture.n_components == 1


def test_parts_may_be_given_up() -> None:
    """The cheapest of all that can be done is done; who was given up belongs to nothing."""
    parts = Parts.of(np.array([0.2, 0.3, 0.5]), np.array([[0.0], [1.0], [9.0]]), np.ones((3, 1, 1)))
    distance = lambda of, one, others: np.abs(of.means[others, 0] - of.means[one, 0])  # noqa: E731
    found = merged(parts, 1, distance, lambda of, some: 2.0 + 0 * some)
    np.testing.assert_array_equal(found.owner, [-1, -1, 0])
    assert found.cost == 3.0
    weight, mean, covariance = joined(np.zeros(2), np.array([[0.0], [2.0]]), np.ones((2, 1, 1)))
    assert (weight, mean[0], covariance[0, 0]) == (0.0, 1.0, 2.0)


def test_what_is_refused() -> None:
    mixture = random_mixture(np.random.default_rng(1), 3, np.ones(2))
    with pytest.raises(JobError, match="at most 3"):
        reduced(mixture, 4)
    with pytest.raises(JobError, match="at least 1"):
        reduced(mixture, 0)
    with pytest.raises(DataError, match="no component would be left"):
        pruned(mixture, 1.1)
    with pytest.raises(ShapeError, match="for each component"):
        reweighted(mixture, [1, 2])
    with pytest.raises(DataError, match="not all zero"):
        reweighted(mixture, [0, 0, 0])
    with pytest.raises(DataError, match="a model is needed"):
        as_model("mixture")
