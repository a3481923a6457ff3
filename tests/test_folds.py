"""Folds: every row in one of them, however the catalogue is cut; nothing of a row is lost on the way."""

import pickle
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.dataset.arrays import ArrayDataset, Catalogue, Reference
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.folds import Fold, held_out, training
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, JobError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.serial import Serial, Threads
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture

N = 70_000


def _numbered(n: int = N) -> ArrayDataset:
    """Rows that say which they are in every array."""
    i = np.arange(n, dtype=float)
    points = np.stack([i, np.where(i % 3 == 0, np.nan, -i)], axis=1)
    projection = np.tile(np.eye(2), (n, 1, 1))
    projection[:, 0, 1] = i
    return ArrayDataset.of(points, np.stack([i + 1, i + 2], axis=1), projection=projection, sample_weight=i + 3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three segments, the last of three rows."""
    path, rng = tmp_path_factory.mktemp("folds") / "survey.zarr", np.random.default_rng(0)
    schema = Schema(features=("a", "b"), noise="diagonal", weighted=True)
    first = 0
    for n in (66_000, 5000, 3):
        points = rng.normal(size=(n, 2))
        points[:, 0] = first + np.arange(n)
        with SurveyWriter(path, schema, append=first > 0) as writer:
            writer.write(points, rng.uniform(0.1, 0.2, (n, 2)), weights=rng.uniform(0.5, 2, n))
        first += n
    return Dataset.open(path)


def _names(references: Sequence[Reference]) -> np.ndarray:
    return np.concatenate([reference.load().points[:, 0] for reference in references]).astype(int)


@pytest.mark.parametrize("kind", ["memory", "store"])
@pytest.mark.parametrize("n_folds", [2, 7])
def test_folds_partition_the_rows(kind: str, n_folds: int, store: Dataset) -> None:
    data: Catalogue = _numbered() if kind == "memory" else store
    n, seen = data.n_rows, []
    for fold in Fold.all(n_folds, 3):
        out, rest = held_out(data, fold), training(data, fold)
        inside, others = _names(out.references), _names(rest.references)
        seen.append(inside)
        assert np.array_equal(np.sort(np.concatenate([inside, others])), np.arange(n))
        assert np.all(np.diff(inside) > 0)
        assert np.all(np.diff(others) > 0)
        assert (out.n_rows, rest.n_rows) == (len(inside), len(others))
        assert abs(len(inside) - n / n_folds) <= 3 + n / LEAF_ROWS  # one row for each leaf at most
        assert (out.n_features, out.in_memory) == (data.n_features, data.in_memory)
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(n))


@pytest.mark.parametrize("is_held_out", [True, False])
def test_however_it_is_cut_the_rows_and_their_leaves_are_the_same(is_held_out: bool, store: Dataset) -> None:
    for data in (_numbered(), store):
        view = (held_out if is_held_out else training)(data, Fold(1, 3, 2))
        whole = {}
        for reference in view.references:
            for leaf, start in enumerate(range(0, reference.n_rows, LEAF_ROWS), start=reference.first_leaf):
                assert leaf not in whole
                whole[leaf] = reference.load().points[start : start + LEAF_ROWS, 0]
        assert sorted(whole) == list(range(len(whole)))  # consecutive, so that sums join
        keys = set()
        for n in (2, 3, 5):
            for reference in view.references:
                pieces = reference.split(n)
                assert all(piece.start % LEAF_ROWS == 0 for piece in pieces)
                assert all(a.stop == b.start for a, b in pairwise(pieces))
                again = [part for piece in pieces for part in piece.split(2)]
                for piece in [*pieces, *again]:
                    points = piece.load().points
                    keys.add((piece.key, len(points)))
                    assert np.array_equal(points[:LEAF_ROWS, 0], whole[piece.first_leaf])
                    assert piece.n_rows == len(points)
        assert len({key for key, _ in keys}) == len(keys)
        assert keys.isdisjoint((reference.key, reference.n_rows) for reference in data.references)


def test_everything_that_a_row_has_goes_along() -> None:
    data = _numbered()
    for view in (held_out(data, Fold(0, 4, 1)), training(data, Fold(0, 4, 1))):
        chunk = view.references[-1].load()
        i = chunk.points[:, 0]
        assert chunk.weights is not None
        assert chunk.projection is not None
        assert np.array_equal(chunk.points[:, 1], np.where(i % 3 == 0, np.nan, -i), equal_nan=True)
        assert np.array_equal(chunk.noise.variances(2), np.stack([i + 1, i + 2], axis=1))
        assert np.array_equal(chunk.weights, i + 3)
        assert np.array_equal(chunk.projection[:, 0, 1], i)
        assert chunk.first_row == i[0]


def test_the_seed_decides() -> None:
    data = _numbered(5000)
    first, again, other = (_names(held_out(data, Fold(seed, 5, 0)).references) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    shared = np.intersect1d(first, other)
    assert 100 < len(shared) < 300  # 200 are expected, with a scatter of 11


def test_keys_tell_seeds_folds_and_parts_apart(store: Dataset) -> None:
    views = [
        make(store, Fold(seed, n, number))
        for seed in (0, 1)
        for n in (2, 3)
        for number in (0, 1)
        for make in (held_out, training)
    ]
    keys = [reference.key for view in views for reference in view.references]
    assert len(set(keys)) == len(keys)


def test_references_to_a_store_travel(store: Dataset) -> None:
    reference = held_out(store, Fold(0, 5, 2)).references[1]
    sent = pickle.dumps(reference)
    assert len(sent) < 3000
    assert np.array_equal(pickle.loads(sent).load().points, reference.load().points, equal_nan=True)


def _bits(result: Fit) -> bytes:
    mixture = result.model.mixture
    return b"".join(array.tobytes() for array in (mixture.weights, mixture.means, mixture.covariances))


def test_a_fit_of_a_fold_has_the_same_bits_on_any_executor(store: Dataset) -> None:
    start = Start(1, GaussianMixture([1.0], [[3e4, 0.0]], [np.diag([4e8, 1.0])]))
    executors = [Serial(), Threads(2), Threads(7)]
    view = training(store, Fold(0, 5, 1))
    found = {_bits(fit(view, start, executor=executor)) for executor in executors}
    for executor in executors:
        executor.close()
    assert len(found) == 1


@pytest.mark.slow
def test_a_fit_of_a_fold_has_the_same_bits_on_a_cluster(store: Dataset) -> None:
    start = Start(1, GaussianMixture([1.0], [[3e4, 0.0]], [np.diag([4e8, 1.0])]))
    view = training(store, Fold(0, 5, 1))
    executor = connect(ClusterSpec("local", workers=2), small=False)
    try:
        assert _bits(fit(view, start, executor=executor)) == _bits(fit(view, start, executor=Serial()))
    finally:
        executor.close()


def test_a_fold_of_all_rows_counts_them_without_reading() -> None:
    class Unreadable:
        n_rows, first_leaf, nbytes, key, is_ordered = 10 * LEAF_ROWS + 3, 32, 1, "unreadable", False

        def split(self, n: int) -> "list[Unreadable]":
            raise AssertionError

        def numbers(self, rows: np.ndarray) -> np.ndarray:
            raise AssertionError

        def load(self) -> Chunk:
            raise AssertionError

    class Far:
        n_features, n_rows, in_memory, references = 2, Unreadable.n_rows, False, (Unreadable(),)

    counts = [held_out(Far(), fold).n_rows for fold in Fold.all(6, 0)]
    assert sum(counts) == Unreadable.n_rows
    assert max(counts) - min(counts) <= 11


def test_what_has_no_meaning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="n_folds must be at least 2"):
        Fold.all(1, 0)
    with pytest.raises(JobError, match="no such fold"):
        Fold(0, 3, 3)
    few = _numbered(3)
    (empty,) = [fold for fold in Fold.all(4, 0) if fold.count(0, 3) == 0]
    with pytest.raises(DataError, match="a fold has no rows"):
        held_out(few, empty)
    assert sorted(int(_names(held_out(few, fold).references)[0]) for fold in Fold.all(3, 0)) == [0, 1, 2]
