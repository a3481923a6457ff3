"""Split and merge: what moves keep, which components objects accuse, and who may not be moved."""

from dataclasses import replace

import numpy as np
import pytest

from dgmmis.chunk import Chunk
from dgmmis.linalg import pack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.mstep import constrained
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise
from dgmmis.prior import Constraints
from dgmmis.split_merge import MOVES, Move, Shapes, ShapesOf, moved, moves, principal_axes

FAR = GaussianMixture(
    [0.2, 0.5, 0.3],
    [[-12.0, 0.0], [0.0, 5.0], [12.0, 0.0]],
    [[[1.0, 0.6], [0.6, 2.0]], [[3.0, -0.5], [-0.5, 0.6]], np.eye(2)],
)
"""Components that share no objects."""


def _shapes(k: int = 3, d: int = 2, *, overlap: np.ndarray | None = None, **of: np.ndarray) -> Shapes:
    given = {"skewness": np.zeros((k, d)), "excess": np.zeros((k, d)), "weight": np.full(k, 100.0)} | of
    return Shapes(np.eye(k) if overlap is None else overlap, given["skewness"], given["excess"], given["weight"])


def _first_two(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Weight, mean and covariance of a mixture as a whole."""
    total = weights.sum()
    share = weights / total
    mean = share @ means
    apart = means - mean
    return total, mean, np.einsum("p,pij->ij", share, covariances + apart[:, :, None] * apart[:, None, :])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("tails", [-1.0, 1.0], ids=["apart", "wide and narrow"])
def test_a_move_keeps_the_moments_of_what_it_moves(axis: int, tails: float) -> None:
    rng = np.random.default_rng(0)
    factors = np.tril(rng.normal(size=(4, 2, 2))) / 2 + np.eye(2)
    mixture = GaussianMixture([0.1, 0.2, 0.3, 0.4], rng.normal(0, 3, (4, 2)), factors @ np.swapaxes(factors, 1, 2))
    shapes = _shapes(4, excess=np.full((4, 2), tails))
    after = moved(Model(mixture), Move((0, 2), 1, axis), shapes).mixture
    assert after.weights.sum() == pytest.approx(1, abs=1e-14)
    assert np.all(np.linalg.eigvalsh(after.covariances) > 0)
    pairs = [([0, 2], [0]), ([1], [2, 1])]  # merged into the first place; split into the second's and its own
    for before, now in pairs:
        old = _first_two(*(getattr(mixture, name)[before] for name in ("weights", "means", "covariances")))
        new = _first_two(*(getattr(after, name)[now] for name in ("weights", "means", "covariances")))
        slack = 0.02 if tails > 0 and before == [1] else 1e-13  # the parts of long tails are set a little apart
        for a, b in zip(old, new, strict=True):
            np.testing.assert_allclose(b, a, rtol=slack, atol=slack)
    for name in ("weights", "means", "covariances"):
        assert np.array_equal(getattr(after, name)[3], getattr(mixture, name)[3])
    direction = principal_axes(mixture.covariances[1][None])[0, :, axis]
    parting = after.means[2] - after.means[1]
    assert abs(parting @ direction) == pytest.approx(np.linalg.norm(parting), rel=1e-12)


def _noisy(points: np.ndarray, kind: str, rng: np.random.Generator) -> Chunk:
    """Points of a population, measured."""
    n, d = points.shape
    if kind == "exact":
        return Chunk(points, NoNoise())
    if kind == "projections":
        look = rng.normal(size=(n, d, d)) + 2 * np.eye(d)
        points = np.einsum("nmd,nd->nm", look, points)
        return Chunk(points + 0.3 * rng.normal(size=(n, d)), DiagonalNoise(np.full((n, d), 0.09)), None, look)
    root = 0.6 * rng.normal(size=(n, d, d))
    measured = points + np.einsum("nij,nj->ni", root, rng.normal(size=(n, d)))
    if kind == "gaps":
        measured[rng.random((n, d)) < 0.3] = np.nan
    return Chunk(measured, FullNoise(pack(root @ np.swapaxes(root, 1, 2))), rng.integers(1, 3, n).astype(float))


KINDS = ["exact", "noise", "gaps", "projections"]


@pytest.mark.parametrize("kind", KINDS)
def test_true_gaussians_are_not_accused(kind: str) -> None:
    """The misfit along each axis is chi^2 with two degrees of freedom, with weights of 1 and 2 5/3 of that.

    Above 40 along one of 6 axes: once in 27,000 catalogues, without weights once in 10^8.
    """
    rng = np.random.default_rng(1)
    chunk = _noisy(FAR.sample(4000, rng), kind, rng)
    shapes = ShapesOf(Model(FAR))(0, chunk)
    assert shapes.misfit.max() < 40
    assert shapes.misfit.max() > 0.1
    w = 4000.0 if chunk.weights is None else chunk.weights.sum()
    assert shapes.weight.sum() == pytest.approx(w, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("along", [0, 1])
def test_a_component_that_covers_two_is_accused_along_their_line(kind: str, along: int) -> None:
    """In the middle one of three, objects come from two halves 1.4 sigma apart along an axis."""
    rng = np.random.default_rng(2)
    move = Move((0, 2), 1, along)
    halves = moved(Model(FAR), move, _shapes(excess=-np.ones((3, 2))))  # 0.7 sigma to either side of the mean
    truth = GaussianMixture(
        [0.2, 0.25, 0.25, 0.3],
        np.stack([FAR.means[0], halves.mixture.means[1], halves.mixture.means[2], FAR.means[2]]),
        np.stack(
            [FAR.covariances[0], halves.mixture.covariances[1], halves.mixture.covariances[2], FAR.covariances[2]]
        ),
    )
    points = truth.sample(20_000, rng)
    shapes = ShapesOf(Model(FAR))(0, _noisy(points, kind, rng))
    worst = np.unravel_index(np.argmax(shapes.misfit), shapes.misfit.shape)
    assert worst == (1, along)
    least, apart = (25, 1.5) if kind == "gaps" else (40, 3)  # a value alone says something of both axes
    assert shapes.misfit[worst] > least
    assert shapes.excess[worst] < 0  # short tails: parts that differ in mean
    others = np.delete(shapes.misfit.ravel(), 2 + along)
    assert others.max() < shapes.misfit[worst] / apart


def test_long_tails_are_split_into_a_wide_and_a_narrow_part() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(8000, 2)) * np.where(rng.random(8000) < 0.3, 2.0, 0.6)[:, None]
    variance = float(points.var())
    model = Model(GaussianMixture([1.0], [[0.0, 0.0]], [variance * np.eye(2)]))
    shapes = ShapesOf(model)(0, Chunk(points, NoNoise()))
    assert shapes.excess.min() > 0
    assert shapes.misfit.min() > 100
    three = replace(model, mixture=GaussianMixture([0.5, 0.25, 0.25], np.zeros((3, 2)), [variance * np.eye(2)] * 3))
    of = Shapes(np.eye(3), np.repeat(shapes.skewness, 3, 0), np.repeat(shapes.excess, 3, 0), np.full(3, 8000.0))
    after = moved(three, Move((1, 2), 0, 0), of).mixture
    wide, narrow = np.linalg.eigvalsh(after.covariances[[2, 0]])
    assert np.all(wide > 1.2 * variance) != np.all(narrow > 1.2 * variance)
    assert not np.array_equal(after.means[0], after.means[2])  # they must be able to part


def test_shapes_add() -> None:
    rng = np.random.default_rng(4)
    chunk, of = _noisy(FAR.sample(300, rng), "gaps", rng), ShapesOf(Model(FAR))
    whole, both = of(0, chunk), of(0, chunk.take(slice(0, 100))) + of(1, chunk.take(slice(100, 300)))
    for name in ("overlap", "skewness", "excess", "weight"):
        np.testing.assert_allclose(getattr(both, name), getattr(whole, name), rtol=1e-10, atol=1e-10)


def test_likeness_is_one_for_the_same_and_nought_for_the_far() -> None:
    twice = GaussianMixture([0.3, 0.2, 0.5], [FAR.means[0], FAR.means[0], FAR.means[2]], FAR.covariances[[0, 0, 2]])
    likeness = ShapesOf(Model(twice))(0, Chunk(twice.sample(500, 0), NoNoise())).likeness
    np.testing.assert_allclose(np.diagonal(likeness), 1, rtol=1e-12)
    assert likeness[0, 1] == pytest.approx(1, abs=1e-9)
    assert np.abs(likeness[:2, 2]).max() < 1e-6


LIKE = np.array([[1.0, 0.9, 0.1, 0.0], [0.9, 1.0, 0.2, 0.0], [0.1, 0.2, 1.0, 0.3], [0.0, 0.0, 0.3, 1.0]])
ACCUSED = np.array([[0.0, 1.0], [0.0, 2.0], [90.0, 0.0], [0.0, 300.0]])


def test_the_likest_are_merged_and_the_most_accused_split() -> None:
    found = moves(_shapes(4, overlap=LIKE, skewness=ACCUSED), [], frozenset())
    assert found[0] == Move((0, 1), 3, 1)
    assert found[1] == Move((0, 1), 2, 0)
    assert found[2].merged == (2, 3)
    assert len(found) == MOVES
    assert len(set(found)) == MOVES
    assert all(move.split not in move.merged for move in found)
    assert str(found[0]) == "components 0 and 1 merged, component 3 split"
    assert moves(_shapes(4, overlap=LIKE, skewness=ACCUSED), [], frozenset(), most=1) == found[:1]


def test_the_starved_come_first_and_are_not_split() -> None:
    """The third is merged with what is most like it, though others are liker."""
    found = moves(
        _shapes(4, overlap=LIKE, skewness=ACCUSED, weight=np.array([100.0, 100.0, 0.0, 100.0])), [2], frozenset()
    )
    assert found[0] == Move((2, 3), 1, 1)
    assert all(2 in move.merged for move in found)
    both = moves(_shapes(4, overlap=LIKE, skewness=ACCUSED), [0, 3], frozenset())
    assert both[0].merged == (0, 3)


@pytest.mark.parametrize("frozen", [{0}, {3}, {1, 2}, {0, 1, 2, 3}])
def test_what_is_frozen_is_never_moved(frozen: set[int]) -> None:
    found = moves(_shapes(4, overlap=LIKE, skewness=ACCUSED), [0], frozenset(frozen))
    assert bool(found) == (len(frozen) < 2)  # three are needed
    for move in found:
        assert not frozen & {*move.merged, move.split}


@pytest.mark.parametrize("covariance_type", ["diag", "tied", "spherical"])
def test_a_move_can_be_put_in_the_structure_of_the_fit(covariance_type: str) -> None:
    constraints = Constraints(covariance_type, floor=np.full(2, 1e-3))
    first = constrained(Model(FAR), constraints)
    after = constrained(moved(first, Move((0, 2), 1, 1), _shapes()), constraints)
    assert np.all(np.linalg.eigvalsh(after.mixture.covariances) > 0)
    again = constrained(after, constraints)
    np.testing.assert_allclose(again.mixture.covariances, after.mixture.covariances, rtol=1e-12)


def test_one_outlier_does_not_accuse() -> None:
    """A single object a hundred sigma off is no shape: less than what a weak true misfit gives."""
    points = FAR.sample(4000, 5)
    points[0] = FAR.means[2] + [100.0, 0.0]
    shapes = ShapesOf(Model(FAR))(0, Chunk(points, NoNoise()))
    assert shapes.misfit[2].max() < 100
