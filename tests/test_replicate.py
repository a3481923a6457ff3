"""Replicates: weights drawn at their address, the same for any cutting of the data, and felt by every sum."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Pass
from dgmmis.execution.serial import Serial
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import NoNoise
from dgmmis.noise_classes import Partition
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round
from dgmmis.replicate import Replicate
from dgmmis.selection import HalfSpace
from dgmmis.survey import Survey

MODEL = Model(
    GaussianMixture([0.35, 0.65], [[-0.8, 0.3], [0.7, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
)


def test_weights_have_mean_one_and_variance_one() -> None:
    """Of 80 leaves' 330,000 exponential variables: beyond 5 sigma once in 10^6 draws for each of the two."""
    drawn = np.concatenate([Replicate(3, 7).factors(leaf, LEAF_ROWS) for leaf in range(80)])
    assert drawn.min() > 0
    assert drawn.mean() == pytest.approx(1, abs=5 / np.sqrt(len(drawn)))
    assert drawn.var() == pytest.approx(1, abs=5 * np.sqrt(8 / len(drawn)))


def test_weights_are_addressed() -> None:
    first = Replicate(3, 7).factors(2, 100)
    assert np.array_equal(first, Replicate(3, 7).factors(2, LEAF_ROWS)[:100])  # the rest of a leaf does not matter
    others = [Replicate(4, 7).factors(2, 100), Replicate(3, 8).factors(2, 100), Replicate(3, 7).factors(1, 100)]
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.5
        assert not np.any(first == other)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_weights_on_any_chunking(weighted: bool) -> None:
    """Cut between leaves, as references are."""
    n = 3 * LEAF_ROWS + 100
    rng = np.random.default_rng(0)
    chunk = Chunk(rng.normal(size=(n, 1)), NoNoise(), rng.uniform(0, 2, n) if weighted else None)
    whole = Replicate(1, 0).of_chunk(chunk, 5).weights
    assert whole is not None
    for cuts in ((LEAF_ROWS,), (2 * LEAF_ROWS,), (LEAF_ROWS, 2 * LEAF_ROWS, 3 * LEAF_ROWS)):
        edges = [0, *cuts, n]
        parts = [
            Replicate(1, 0).of_chunk(chunk.take(slice(a, b)), 5 + a // LEAF_ROWS).weights for a, b in pairwise(edges)
        ]
        assert np.array_equal(np.concatenate(parts), whole)
    factors = np.concatenate([Replicate(1, 0).factors(5 + leaf, LEAF_ROWS) for leaf in range(4)])[:n]
    assert np.array_equal(whole, factors if chunk.weights is None else factors * chunk.weights)
    assert len(Replicate(1, 0).of_chunk(chunk.take(slice(0, 0)), 0).points) == 0


SURVEYS = {
    "seen": None,
    "points, classes": Survey(HalfSpace([1.0, 0.4], 0.5, 0.5)),
    "on true values": Survey(HalfSpace([1.0, 0.4], 0.5, 0.5), selection_on="true"),
}


def _catalogue(survey: Survey | None, n: int) -> ArrayDataset:
    """Noisy rows with gaps and weights, two leaves of them."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.05, 0.3, (n, 2))
    x = MODEL.sample(n, rng)
    points = x + np.sqrt(noise) * rng.normal(size=(n, 2))
    if survey is not None and survey.selection is not None:
        seen = rng.random(n) < survey.selection(x if survey.selection_on == "true" else points)
        points, noise = points[seen], noise[seen]
    points[rng.random(points.shape) < 0.1] = np.nan
    return ArrayDataset.of(points, noise, sample_weight=rng.uniform(0.5, 2, len(points)))


def _pass(data: ArrayDataset, survey: Survey | None, replicate: Replicate | None) -> Pass:
    with prepared(data, 2, survey=survey, constraints=Constraints(), executor=Serial()) as ready:
        passes = ready.passes.beside(replicate)
        if passes.survey_is_partial:
            of = passes.observing
            plain = replace(ready.sample, weights=None)  # the same classes for both
            partition = Partition.of(plain, of.survey, of.fill, 1)
            classes = passes.classes(partition)
            passes.begin_round(Round.of(MODEL, 1024, 0, 0, classes=classes, partition=partition, latent_points=16))
        return passes(MODEL)


@pytest.mark.parametrize("name", SURVEYS)
def test_a_replicate_is_a_catalogue_with_these_weights(name: str) -> None:
    """Moments, objective, completeness: of the rows, of their latent points, of the shares of the noise classes."""
    survey, replicate = SURVEYS[name], Replicate(2, 5)
    data = _catalogue(survey, 6000 if name == "seen" else 900)
    heavy = ArrayDataset(replicate.of_chunk(data.whole, 0))
    found, expected, plain = _pass(data, survey, replicate), _pass(heavy, survey, None), _pass(data, survey, None)
    assert found.n_samples == pytest.approx(expected.n_samples, rel=1e-12)
    assert abs(found.n_samples - plain.n_samples) > 0.5
    assert found.objective == pytest.approx(expected.objective, rel=1e-11)
    assert found.completeness == pytest.approx(expected.completeness, rel=1e-11)
    for name_ in ("weight", "mean_score", "covariance_score"):
        np.testing.assert_allclose(
            getattr(found.moments, name_), getattr(expected.moments, name_), rtol=1e-9, atol=1e-7
        )
