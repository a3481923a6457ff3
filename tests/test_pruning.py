"""Leaving out components that do not matter changes nothing but the last digits."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmmis.background import Uniform
from dgmmis.chunk import ALIKE_ROWS, Chunk, Leaf, arranged, blocks
from dgmmis.estep import dense, expect, leaf_log_density, leaf_moments, leaf_responsibilities, noisy
from dgmmis.estep.pruning import FEWEST, MARGIN, PANEL, box_of, near, near_noisy, noise_between
from dgmmis.linalg import pack, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise
from dgmmis.ordering import kd_order

K = 300


def local_mixture(k: int, d: int, seed: int) -> GaussianMixture:
    """Components much smaller than the box they lie in, some of them long and thin."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(k, d, d)) * rng.choice([0.01, 0.03, 0.1], size=(k, 1, 1))
    covariances = factors @ np.swapaxes(factors, 1, 2) + 1e-6 * np.eye(d)
    return GaussianMixture(rng.dirichlet(np.full(k, 0.5)), rng.random((k, d)), covariances)


def noise_of(kind: str, n: int, d: int, seed: int) -> Noise:
    rng = np.random.default_rng(seed)
    if kind == "none":
        return NoNoise()
    if kind == "diagonal":
        return DiagonalNoise(rng.uniform(0, 0.03, (n, d)) ** 2)
    factors = 0.01 * rng.normal(size=(n, d, d))
    return FullNoise(pack(factors @ np.swapaxes(factors, 1, 2)))


def leaf_of(model: Model, kind: str, *, n: int = 3000, missing: float = 0.0, near_rows: int | None = PANEL) -> Leaf:
    d = model.mixture.n_features
    points = model.sample(n, 1)
    rng = np.random.default_rng(2)
    points[::50] += 3.0  # far from everything
    points[rng.random(points.shape) < missing] = np.nan
    noise = noise_of(kind, n, d, 3)
    behind = None if model.background is None else model.background.log_density(points, noise)
    chunk = Chunk(points, noise, weights=rng.uniform(0, 2, n), log_background=behind)
    return Leaf(0, tuple(part for block in blocks(chunk) for part in arranged(block, near_rows)))


def arrays_of(moments: Moments) -> list[np.ndarray]:
    return [moments.weight, moments.mean_score, moments.covariance_score]


def numbers_of(moments: Moments) -> list[float]:
    return [moments.log_likelihood, moments.background, moments.n_samples, moments.beyond]


CASES = [
    (kind, d, background, cutoff)
    for kind in ("none", "diagonal", "full")
    for d in (2, 3)
    for background, cutoff in ((False, None), (True, None), (False, 4.0), (True, 3.0))
]


@pytest.mark.parametrize(("kind", "d", "background", "cutoff"), CASES)
def test_what_is_left_out_does_not_matter(
    kind: str, d: int, background: bool, cutoff: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = Uniform(np.full(d, -1.0), np.full(d, 5.0)) if background else None
    model = Model(local_mixture(K, d, d), behind, 0.1 if background else 0.0, cutoff)
    leaf = leaf_of(model, kind, missing=0.05)
    got = leaf_moments(model, leaf), leaf_log_density(model, leaf), leaf_responsibilities(model, leaf)
    for kernel in (dense, noisy):  # without a cutoff in the same panels, so that rounding is the same as well
        monkeypatch.setattr(kernel, *(("MARGIN", 1e9) if cutoff is None else ("FEWEST", K + 1)))
    tight = 1e-13 if cutoff is None else 1e-11
    whole = leaf_moments(model, leaf), leaf_log_density(model, leaf), leaf_responsibilities(model, leaf)
    left_out = got[2] == 0
    assert np.any(left_out)
    assert np.all(whole[2][left_out] < np.exp(-MARGIN / 2))
    np.testing.assert_allclose(got[1], whole[1], rtol=tight, atol=tight)
    np.testing.assert_allclose(got[2], whole[2], rtol=0, atol=tight)
    np.testing.assert_allclose(numbers_of(got[0]), numbers_of(whole[0]), rtol=1e-12)
    np.testing.assert_allclose(got[0].dropped, whole[0].dropped, rtol=1e-6, atol=1e-8 * 3000)
    for one, other in zip(arrays_of(got[0]), arrays_of(whole[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11 * np.abs(other).max())


@pytest.mark.parametrize(
    ("d", "k"),
    [(5, 60)] + [pytest.param(d, k, marks=pytest.mark.slow) for d in (1, 4, 5, 6, 7, 9) for k in (FEWEST, 60, 200)],
)
def test_components_along_a_line_in_any_dimension(d: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows march past the components: those of one panel have next to nothing in common with those of the next."""
    rng = np.random.default_rng(d)
    means = np.linspace(0, 50, k)[:, None] * np.ones(d) + 0.01 * rng.normal(size=(k, d))
    model = Model(GaussianMixture(np.full(k, 1 / k), means, np.repeat(0.01 * np.eye(d)[None], k, axis=0)))
    points = np.linspace(0, 50, 1024)[:, None] + 0.1 * rng.normal(size=(1024, d))
    noise = DiagonalNoise(rng.uniform(0.05, 0.1, (1024, d)) ** 2)
    (leaf,) = Chunk(points, noise).leaves()
    got = leaf_log_density(model, leaf), leaf_moments(model, leaf)
    assert np.mean(leaf_responsibilities(model, leaf) == 0) > 0.4
    monkeypatch.setattr(noisy, "FEWEST", k + 1)
    np.testing.assert_allclose(got[0], leaf_log_density(model, leaf), rtol=1e-12, atol=1e-12)
    for one, other in zip(arrays_of(got[1]), arrays_of(leaf_moments(model, leaf)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11 * np.abs(other).max())


@pytest.mark.parametrize("kind", ["none", "diagonal"])
def test_few_of_many_are_looked_at(kind: str) -> None:
    rng = np.random.default_rng(0)
    means = rng.random((1000, 3))
    model = Model(GaussianMixture(np.full(1000, 1e-3), means, np.repeat(4e-4 * np.eye(3)[None], 1000, axis=0)))
    points = means[rng.integers(0, 1000, 20_000)] + 0.02 * rng.normal(size=(20_000, 3))
    points = points[kd_order(points, PANEL)][:2048]  # neighbours, as a store that was ordered hands them out
    noise: Noise = NoNoise() if kind == "none" else DiagonalNoise(rng.uniform(0.004, 0.006, (2048, 3)) ** 2)
    q = leaf_responsibilities(model, Leaf(0, tuple(blocks(Chunk(points, noise)))))
    assert np.mean(q > 0) < 0.35


@given(seed=st.integers(0, 10**6), d=st.integers(1, 4))
def test_bounds_hold_everywhere_in_the_box(seed: int, d: int) -> None:
    """No density at any point, under any noise, is where the bounds say that it cannot be."""
    rng = np.random.default_rng(seed)
    k, n = 40, 30
    mixture = local_mixture(k, d, seed)
    points = mixture.means[0] + rng.choice([0.01, 0.1, 1.0]) * rng.normal(size=(n, d))
    kind = ("none", "diagonal", "full")[seed % 3]
    noise = noise_of(kind, n, d, seed)
    packed = np.ascontiguousarray(noise.packed(range(d)))
    lo, hi, least, most = np.empty((4, d))
    box_of(np.ascontiguousarray(points.T), 0, n, lo, hi)
    margin = float(rng.choice([0.1, 3.0, 40.0]))
    active = np.empty(k, dtype=np.int64)
    everything, nothing = np.arange(k), np.empty(0)
    log_alpha = np.log(mixture.weights)
    if kind == "none":
        whiten = np.linalg.inv(np.linalg.cholesky(mixture.covariances))
        constant = log_alpha + np.log(np.diagonal(whiten, axis1=1, axis2=2)).sum(axis=1) - d / 2 * np.log(2 * np.pi)
        found = near(everything, constant, mixture.means, whiten, lo, hi, margin, None, nothing, active)
    else:
        noise_between(packed, 0, n, least, most)
        for S in unpack(packed.T):
            assert np.linalg.eigvalsh(S - np.diag(least)).min() >= -1e-15
            assert np.linalg.eigvalsh(np.diag(most) - S).min() >= -1e-15
        about = (lo, hi, least, most, margin, None, nothing, active)
        found = near_noisy(everything, log_alpha, mixture.means, mixture.covariances, *about)
    assert found > 0
    total = mixture.covariances[None] + (np.zeros((1, d, d)) if kind == "none" else unpack(packed.T))[:, None]
    offset = points[:, None] - mixture.means
    chi = np.einsum("nki,nki->nk", offset, np.linalg.solve(total, offset[..., None])[..., 0])
    log_joint = log_alpha - 0.5 * (d * np.log(2 * np.pi) + np.linalg.slogdet(total)[1] + chi)
    matters = np.any(log_joint >= log_joint.max(axis=1, keepdims=True) - margin + 1e-9, axis=0)
    assert set(np.flatnonzero(matters)) <= set(active[:found])


def test_an_even_brighter_background_leaves_nothing() -> None:
    """Where the background outshines every component, none is looked at, and nothing breaks."""
    model = Model(local_mixture(FEWEST, 2, 0), Uniform([-100.0, -100.0], [200.0, 200.0]), 0.5)
    points = np.random.default_rng(1).uniform(50, 51, (300, 2))
    chunk = Chunk(points, NoNoise(), log_background=model.background.log_density(points, NoNoise()))
    (leaf,) = chunk.leaves()
    moments = leaf_moments(model, leaf)
    assert moments.background == pytest.approx(300, rel=1e-14)
    assert np.all(moments.weight == 0)


@pytest.mark.parametrize("kind", ["none", "diagonal", "full"])
def test_the_order_of_rows_in_a_block_does_not_matter(kind: str) -> None:
    model = Model(local_mixture(K, 3, 5))
    ordered, plain = (leaf_of(model, kind, missing=0.05, near_rows=rows) for rows in (PANEL, None))
    np.testing.assert_allclose(leaf_log_density(model, ordered), leaf_log_density(model, plain), rtol=1e-12, atol=1e-11)
    for one, other in zip(arrays_of(leaf_moments(model, ordered)), arrays_of(leaf_moments(model, plain)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11 * np.abs(other).max())


# what else is looked at less


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_objects_with_the_same_noise_are_blocks_of_their_own(kind: str) -> None:
    rng = np.random.default_rng(6)
    model = Model(local_mixture(4, 3, 1))
    n = 1500
    points = model.sample(n, 2)
    matrices = noise_of(kind, 3, 3, 4).packed(range(3)).T
    which = rng.integers(0, 3, n)
    which[which == 2] = rng.integers(2, n, (which == 2).sum())  # the others have each their own
    own = noise_of(kind, n, 3, 5).packed(range(3)).T
    packed = np.where((which < 2)[:, None], matrices[np.minimum(which, 2)], own)
    noise: Noise = FullNoise(packed) if kind == "full" else DiagonalNoise(packed[:, [0, 2, 5]])
    chunk = Chunk(points, noise, weights=rng.uniform(0, 2, n))
    (block,) = blocks(chunk)
    parts = list(arranged(block))
    assert sorted(part.noise.shape[1] == 1 for part in parts) == [False, True, True]
    assert np.array_equal(np.sort(np.concatenate([part.rows for part in parts])), np.arange(n))
    got = reduce(Moments.__add__, (expect(model, part).moments for part in parts))
    expected = noisy.expect(model, block).moments
    np.testing.assert_allclose(numbers_of(got), numbers_of(expected), rtol=1e-12)
    for one, other in zip(arrays_of(got), arrays_of(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11 * np.abs(other).max())


def test_a_few_objects_with_the_same_noise_stay_where_they_are() -> None:
    values = np.random.default_rng(0).uniform(1, 2, (2000, 2))
    values[: ALIKE_ROWS - 1] = 1.5
    (whole,) = blocks(Chunk(np.zeros((2000, 2)), DiagonalNoise(values)))
    (block,) = arranged(whole)
    assert block.noise.shape == (3, 2000)
