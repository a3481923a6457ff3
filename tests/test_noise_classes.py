"""Noise classes: a partition of the objects, the sums and means of its cells, and the error of log Z they leave."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from dgmmis.chunk import Chunk
from dgmmis.imputation import complete, unseen_within
from dgmmis.linalg import pack, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise
from dgmmis.noise_classes import (
    NoiseClass,
    Partition,
    classes_of,
    filled_noise,
    joined,
    mean_noise,
    single_class,
)
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.selection import Box, FromFunction, LinearBounds
from dgmmis.survey import Survey

BOX = Box([-1.0, -1.0], [1.5, 2.0])
OWN = Survey(BOX, OwnNoise())


def _covariances(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    root = rng.normal(size=(n, m, m + 2)) * rng.uniform(0.1, 1.0, size=(n, 1, 1))
    return root @ np.swapaxes(root, 1, 2)


def _noise(kind: str, n: int, m: int, rng: np.random.Generator) -> Noise:
    covariances = _covariances(n, m, rng)
    return {
        "none": NoNoise(),
        "shared": SharedNoise(covariances[0]),
        "diagonal": DiagonalNoise(np.diagonal(covariances, axis1=1, axis2=2)),
        "full": FullNoise(pack(covariances)),
    }[kind]


def _rows(kind: str, n: int = 600, missing: float = 0.0, projected: bool = False, seed: int = 0) -> Chunk:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 2))
    points[rng.random((n, 2)) < missing] = np.nan
    projection = None
    if projected:  # longer and longer, so that chunks differ from one another
        projection = rng.normal(size=(n, 2, 3)) * np.linspace(0.1, 3.0, n)[:, None, None]
    return Chunk(points, _noise(kind, n, 2, rng), rng.uniform(0.5, 2.0, n), projection)


CASES = [
    ("diagonal", 0.0, False, "observed"),
    ("full", 0.3, False, "observed"),
    ("diagonal", 0.3, False, "available"),
    ("full", 0.0, True, "observed"),
    ("shared", 0.3, True, "available"),
]


def _partition(chunk: Chunk, survey: Survey, depth: int = 3) -> Partition:
    return Partition.of(chunk, survey, mean_noise(chunk), depth)


@pytest.mark.parametrize(("kind", "missing", "projected", "on"), CASES)
def test_chunks_do_not_matter_to_class_sums(kind: str, missing: float, projected: bool, on: str) -> None:
    """A row's class is its own affair: neither other rows of its chunk nor their number change it."""
    rows, survey = _rows(kind, missing=missing, projected=projected), Survey(BOX, OwnNoise(), on)
    partition = _partition(rows, survey)
    whole = partition.sums(rows)
    pieces = [rows.take(slice(a, b)) for a, b in ((0, 1), (1, 250), (250, 600))]
    parts = joined(partition.sums(piece) for piece in pieces)
    assert parts.keys() == whole.keys()
    assert len(whole) >= 8
    for key, sums in whole.items():
        assert parts[key].weight == pytest.approx(sums.weight, rel=1e-12)
        np.testing.assert_allclose(parts[key].covariance, sums.covariance, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(parts[key].projection, sums.projection, rtol=1e-11, atol=1e-12)
    assert np.array_equal(np.concatenate([partition.cells(piece) for piece in pieces]), partition.cells(rows))


@pytest.mark.parametrize(("kind", "missing", "projected", "on"), CASES)
def test_a_class_has_the_means_of_its_members(kind: str, missing: float, projected: bool, on: str) -> None:
    rows, survey = _rows(kind, missing=missing, projected=projected), Survey(BOX, OwnNoise(), on)
    partition = _partition(rows, survey)
    classes = classes_of(partition.sums(rows), survey)
    numbers = partition.numbers(rows, classes)
    noise = filled_noise(rows, partition.fill).packed(range(2)).T
    noise = np.broadcast_to(unpack(noise), (rows.n_samples, 2, 2))
    seen = ~np.isnan(rows.points)
    nothing = ~seen.any(axis=1) if on == "available" else np.zeros(len(seen), dtype=bool)
    assert np.array_equal(numbers == -1, nothing)
    assert sum(of.share for of in classes) == pytest.approx(1 - rows.weights[nothing].sum() / rows.weights.sum())
    for c, of in enumerate(classes):
        mine = numbers == c
        weights = rows.weights[mine]
        assert of.share == pytest.approx(weights.sum() / rows.weights.sum(), rel=1e-12)
        mean = np.average(noise[mine], axis=0, weights=weights)
        np.testing.assert_allclose(unpack(of.noise.packed(range(2)).T)[0], mean, rtol=1e-10, atol=1e-14)
        if projected:
            np.testing.assert_allclose(of.projection, np.average(rows.projection[mine], axis=0, weights=weights))
        else:
            assert of.projection is None
        assert np.array_equal(of.measured, np.flatnonzero(seen[mine][0] | (on == "observed")))
        assert np.all(seen[mine] == seen[mine][0]) or on == "observed"


def test_cells_hold_equally_many_and_are_cut_along_the_noise() -> None:
    rows = _rows("diagonal", 1024)
    cells = _partition(rows, OWN, 5).cells(rows)
    assert np.array_equal(np.bincount(cells), np.full(32, 32))
    spread = np.log1p(rows.noise.variances(2))
    within = np.mean([spread[cells == c].var(axis=0) for c in range(32)], axis=0)
    assert np.all(within < 0.1 * spread.var(axis=0))


def test_objects_of_one_kind_stay_together_however_deep_the_tree() -> None:
    """Two kinds of noise make two classes; cuts that would cut nothing are left out."""
    variances = np.repeat([[0.1, 0.1], [0.4, 0.2]], [30, 50], axis=0)
    rows = Chunk(np.zeros((80, 2)), DiagonalNoise(variances))
    classes = classes_of(_partition(rows, OWN, 6).sums(rows), OWN)
    assert sorted(of.share for of in classes) == [30 / 80, 50 / 80]
    found = sorted(tuple(np.diagonal(of.noise.covariance)) for of in classes)
    np.testing.assert_allclose(found, [[0.1, 0.1], [0.4, 0.2]], rtol=1e-12)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_filled_noise_keeps_what_was_measured(kind: str) -> None:
    rows = _rows(kind, missing=0.4)
    fill = np.array([[0.5, 0.3], [0.3, 0.4]])
    before, after = (unpack(noise.packed(range(2)).T) for noise in (rows.noise, filled_noise(rows, fill)))
    seen = ~np.isnan(rows.points)
    both = seen[:, :, None] & seen[:, None, :]
    assert np.array_equal(after[both], before[both])
    neither = ~seen[:, :, None] & ~seen[:, None, :]
    expected = fill if kind == "full" else np.diag(np.diagonal(fill))
    assert np.array_equal(after[neither], np.broadcast_to(expected, after.shape)[neither])
    assert np.all(after[~both & ~neither] == 0)
    assert np.linalg.eigvalsh(after).min() > 0


@pytest.mark.parametrize("kind", ["none", "shared"])
def test_noise_that_all_share_is_known_of_missing_values_too(kind: str) -> None:
    rows = _rows(kind, missing=0.4)
    assert filled_noise(rows, np.eye(2)) is rows.noise


@pytest.mark.parametrize("kind", ["none", "shared", "diagonal", "full"])
def test_mean_noise_is_that_of_measured_values(kind: str) -> None:
    """And the noise given for missing ones, which may be anything, does not come in."""
    rows = _rows(kind, missing=0.4)
    seen = ~np.isnan(rows.points)
    covariances = np.broadcast_to(unpack(rows.noise.packed(range(2)).T), (rows.n_samples, 2, 2)).copy()
    mean = mean_noise(rows)
    for i, j in ((0, 0), (1, 1), (1, 0)):
        expected = covariances[seen[:, i] & seen[:, j], i, j].mean()
        assert mean[i, j] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    if kind in ("diagonal", "full"):
        values = rows.noise.values.copy()
        gone = ~seen if kind == "diagonal" else ~np.stack([seen[:, 0], seen.all(axis=1), seen[:, 1]], axis=1)
        values[gone] = np.nan
        again = mean_noise(Chunk(rows.points, type(rows.noise)(values)))
        np.testing.assert_allclose(again, mean, rtol=1e-12)


def test_mean_noise_is_a_covariance_even_if_pairs_are_of_other_objects() -> None:
    """Correlations of a few noisy pairs, variances of many precise single values: together no covariance."""
    points = np.full((30, 2), np.nan)
    points[:2], points[2:16, 0], points[16:, 1] = 0, 0, 0
    covariances = np.tile(1e-4 * np.eye(2), (30, 1, 1))
    covariances[:2] = [[1.0, 0.9], [0.9, 1.0]]
    mean = mean_noise(Chunk(points, FullNoise(pack(covariances))))
    assert mean[0, 0] * mean[1, 1] < 0.9**2  # or the example would show nothing
    assert np.linalg.eigvalsh(mean).min() > 0
    np.testing.assert_allclose(np.diagonal(mean), (2 + 14e-4) / 16)


def test_partitions_say_whether_they_are_trivial_and_exact() -> None:
    own, shared, missing = _rows("full"), _rows("shared"), _rows("shared", missing=0.3)
    constant = ConstantNoise(0.1 * np.eye(2))
    for rows, survey, trivial, exact in (
        (own, OWN, False, False),
        (own, Survey(BOX, constant), True, True),
        (own, Survey(BOX, None, "true"), True, True),
        (own, Survey(BOX, lambda x: 0.1 * np.eye(2)), True, True),
        (shared, OWN, True, True),
        (missing, Survey(BOX, constant, "available"), False, True),
        (_rows("shared", projected=True), Survey(BOX, constant), False, False),
        (_rows("shared", projected=True), Survey(Box([-1.0] * 3, [1.0] * 3), None, "true"), True, True),
    ):
        partition = _partition(rows, survey)
        assert (partition.is_trivial, partition.is_exact) == (trivial, exact)
        assert partition.depth == (0 if exact else 3)
    (only,) = single_class(Survey(BOX, constant), own)
    assert np.array_equal(only.noise.covariance, constant.covariance)
    assert single_class(OWN, shared)[0].noise is shared.noise
    assert isinstance(single_class(Survey(BOX, None, "true"), shared)[0].noise, NoNoise)


MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], [[[0.5]], [[0.2]]])


def _log_z(variances: np.ndarray) -> np.ndarray:
    """log P(-0.5 < y < 1.4) under each variance of the noise."""
    sigma = np.sqrt(MIXTURE.covariances[:, 0, 0] + variances[:, None])
    inside = norm.cdf((1.4 - MIXTURE.means[:, 0]) / sigma) - norm.cdf((-0.5 - MIXTURE.means[:, 0]) / sigma)
    return np.log(inside @ MIXTURE.weights)


def _by_class(rows: Chunk, depth: int) -> tuple[float, float]:
    """Mean of log Z and completeness, from classes."""
    survey = Survey(Box([-0.5], [1.4]), OwnNoise())
    classes = classes_of(_partition(rows, survey, depth).sums(rows), survey)
    bounds = LinearBounds([[1.0]], [-0.5], [1.4])
    unseen = unseen_within(Model(MIXTURE), classes, bounds)
    done = complete(Moments.zero(2, 1) + _counted(1.0), unseen, classes)
    return done.log_normaliser, done.completeness


def _counted(n: float) -> Moments:
    return Moments(np.zeros(2), np.zeros((2, 1)), np.zeros((2, 1)), 0.0, 0.0, n)


def test_the_error_of_log_z_falls_with_the_square_of_the_width() -> None:
    """Two cuts more are a quarter of the width, a sixteenth of the error."""
    rng = np.random.default_rng(3)
    variances = rng.uniform(0.1, 1.2, size=(4096, 1)) ** 2
    rows = Chunk(rng.normal(size=(4096, 1)), DiagonalNoise(variances))
    exact = _log_z(variances[:, 0])
    found = [_by_class(rows, depth) for depth in (1, 3, 5, 7)]
    errors = [abs(log_z - exact.mean()) for log_z, _ in found]
    assert errors[0] > 1e-3
    for coarse, fine in pairwise(errors):
        assert fine < coarse / 8
    assert errors[-1] < 2e-6
    assert found[-1][1] == pytest.approx(1 / np.mean(np.exp(-exact)), abs=1e-5)


def test_weights_are_multiplicities() -> None:
    rng = np.random.default_rng(4)
    variances, times = rng.uniform(0.1, 1.2, size=(200, 1)) ** 2, rng.integers(0, 4, 200)
    points = rng.normal(size=(200, 1))
    weighted = Chunk(points, DiagonalNoise(variances), times.astype(float))
    repeated = Chunk(np.repeat(points, times, axis=0), DiagonalNoise(np.repeat(variances, times, axis=0)))
    survey = Survey(Box([-0.5], [1.4]), OwnNoise())
    partition = _partition(repeated, survey, 3)
    a, b = (classes_of(partition.sums(rows), survey) for rows in (weighted, repeated))
    assert [of.cell for of in a] == [of.cell for of in b]
    np.testing.assert_allclose([of.share for of in a], [of.share for of in b], rtol=1e-12)
    np.testing.assert_allclose([of.noise.covariance for of in a], [of.noise.covariance for of in b], rtol=1e-12)


def test_each_pattern_of_missing_values_is_a_class_of_its_own() -> None:
    rows = Chunk(np.array([[0, 0], [0, np.nan], [np.nan, 0], [0, 0], [np.nan, np.nan]]), SharedNoise(0.1 * np.eye(2)))
    survey = Survey(BOX, ConstantNoise(0.1 * np.eye(2)), "available")
    partition = _partition(rows, survey)
    classes = classes_of(partition.sums(rows), survey)
    found = {tuple(of.measured.tolist()): of.share for of in classes}
    assert found == {(0,): 0.2, (1,): 0.2, (0, 1): 0.4}
    numbers = partition.numbers(rows, classes)
    assert [tuple(classes[c].measured.tolist()) if c >= 0 else None for c in numbers] == [
        (0, 1),
        (0,),
        (1,),
        (0, 1),
        None,
    ]
    everywhere = _partition(rows, Survey(BOX, ConstantNoise(0.1 * np.eye(2))))
    assert len(everywhere.sums(rows)) == 1


def test_objects_of_which_nothing_was_measured_were_all_seen() -> None:
    """They are in no class; of N objects, half of them so, and Z = 1/4 for the others, there were N (1/2 + 2)."""
    of = NoiseClass(0.5, 1, np.arange(1), NoNoise())
    bounds = LinearBounds([[1.0]], [norm.ppf(0.75)], [np.inf])
    unseen = unseen_within(Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]])), [of], bounds)
    done = complete(Moments(np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1)), 0.0, 0.0, 100.0), unseen, [of])
    assert done.completeness == pytest.approx(1 / 2.5, rel=1e-12)
    assert done.log_normaliser == pytest.approx(0.5 * np.log(0.25), rel=1e-12)
    assert done.moments.n_samples == pytest.approx(100 + 150, rel=1e-12)


def test_a_class_measures_the_mixture_as_its_members_do() -> None:
    mixture = GaussianMixture([0.4, 0.6], [[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]], [np.eye(3), 0.5 * np.eye(3)])
    projection = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])
    noise = np.array([[0.3, 0.1], [0.1, 0.2]])
    full = NoiseClass(1.0, 2, np.arange(2), SharedNoise(noise), projection).measures(mixture)
    np.testing.assert_allclose(full.means, [[5.0, -1.0], [-2.0, -2.0]])
    np.testing.assert_allclose(full.covariances, [projection @ c @ projection.T + noise for c in mixture.covariances])
    second = NoiseClass(1.0, 2, np.array([1]), SharedNoise(noise), projection).measures(mixture)
    np.testing.assert_allclose(second.means, full.means[:, 1:])
    np.testing.assert_allclose(second.covariances, full.covariances[:, 1:, 1:])
    dropped = NoiseClass(1.0, 3, np.array([0, 2]), NoNoise()).measures(mixture)
    marginal = mixture.marginal([0, 2])
    assert np.array_equal(dropped.means, marginal.means)
    assert np.array_equal(dropped.covariances, marginal.covariances)


def test_selections_may_be_functions_for_all_of_this() -> None:
    """The partition asks the survey for its law and never calls Omega."""

    def never(points: np.ndarray) -> np.ndarray:
        raise AssertionError("called")

    rows, survey = _rows("full", missing=0.3), Survey(FromFunction(never), OwnNoise(), "available")
    assert len(classes_of(_partition(rows, survey).sums(rows), survey)) > 8
