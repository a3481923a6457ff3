"""Ordered stores: the same rows along a k-d tree, in bounded memory, with their numbers; nothing is ever half there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import killed
from peak import PEAK

from dgmmis import subsample
from dgmmis.chunk import CHUNK_ROWS, LEAF_ROWS
from dgmmis.dataset import ordered_segment
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.cuts import Cuts
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.folds import Fold, held_out
from dgmmis.dataset.ingest import Columns, ingest
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.spool import spool
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, StoreError
from dgmmis.execution.serial import Serial
from dgmmis.fit import evaluate
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.ordering import kd_order, missing_patterns
from dgmmis.plan import Work
from dgmmis.selection import Box
from dgmmis.simulate import simulate
from dgmmis.survey import Survey

FEATURES = ("a", "b", "c")


def rows(n: int, seed: int, missing: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    points[rng.random((n, 3)) < missing] = np.nan
    return points


def write(path: Path, points: np.ndarray, *, cuts: tuple[int, ...] = (), **options: object) -> Dataset:
    with SurveyWriter(path, Schema(FEATURES), **{"order": True, **options}) as writer:
        for part in np.split(points, sorted(cuts)):
            writer.write(part)
    return Dataset.open(path)


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows of a bucket, of 32 bytes each."""
    monkeypatch.setattr(ordered_segment, "BUCKET_BYTES", 20_000 * 32)
    monkeypatch.setattr(ordered_segment, "BLOCK_BYTES", 3_000 * 32)
    return 20_000


def volumes(points: np.ndarray, n: int) -> np.ndarray:
    """Of the boxes around every n consecutive rows that have all features."""
    points = points[~np.isnan(points).any(axis=1)]
    return np.prod(np.ptp(points[: len(points) // n * n].reshape(-1, n, 3), axis=1), axis=1)


def test_rows_that_fit_in_memory_are_in_the_order_of_the_tree(tmp_path: Path) -> None:
    points = rows(CHUNK_ROWS + 999, 1)
    dataset = write(tmp_path / "s.zarr", points)
    order = kd_order(points, ordered_segment.ORDER_ROWS)
    np.testing.assert_array_equal(dataset.points.compute(), points[order])
    np.testing.assert_array_equal(dataset.catalogue_rows.compute(), order)
    assert dataset.is_ordered


@pytest.mark.parametrize("n", [20_000, 20_001, 2 * CHUNK_ROWS, 150_000])
def test_buckets_hold_every_row_once_and_are_as_tight(tmp_path: Path, small_buckets: int, n: int) -> None:
    points = rows(n, 2)
    dataset = write(tmp_path / "s.zarr", points)
    order = dataset.catalogue_rows.compute()
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(dataset.points.compute(), points[order])
    best = np.median(volumes(points[kd_order(points, 128)], 128))
    assert np.median(volumes(points[order], 128)) < 1.5 * best
    assert np.median(volumes(points, 128)) > 100 * best


def test_rows_of_every_kind_stay_together(tmp_path: Path, small_buckets: int) -> None:
    n, rng = 50_000, np.random.default_rng(3)
    own = np.arange(n, dtype=float)
    schema = Schema(("x", "y"), noise="full", weighted=True, measured=FEATURES)
    noise = np.tile(np.eye(3), (n, 1, 1)) * (1 + own)[:, None, None]
    projection = np.ones((n, 3, 2)) * own[:, None, None]
    with SurveyWriter(tmp_path / "s.zarr", schema, order=True) as writer:
        writer.write(rng.normal(size=(n, 3)), noise, weights=own, row_ids=np.arange(n) - 7, projection=projection)
    dataset = Dataset.open(tmp_path / "s.zarr")
    numbers = dataset.catalogue_rows.compute()
    np.testing.assert_array_equal(dataset.weights.compute(), numbers)
    np.testing.assert_array_equal(dataset.row_ids.compute(), numbers - 7)
    np.testing.assert_array_equal(dataset.noise[:, 0].compute(), 1.0 + numbers)
    np.testing.assert_array_equal(dataset.projection[:, 2, 1].compute(), numbers)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 50_000), max_size=6))
def test_batches_do_not_matter(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    points, folder = rows(50_000, 4), tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered_segment, "BUCKET_BYTES", 20_000 * 32)
        whole = write(folder / "a.zarr", points)
        parts = write(folder / "b.zarr", points, cuts=tuple(cuts))
    for name in ("points", "catalogue_row"):
        files = [sorted((dataset.path / "segments/000000" / name).iterdir()) for dataset in (whole, parts)]
        assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


@pytest.mark.parametrize("kind", ["same", "two", "skew", "sorted", "all missing", "periodic"])
def test_large_buckets_are_cut_again(
    tmp_path: Path, small_buckets: int, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(ordered_segment, "MOST_CUTS", 1)
    monkeypatch.setattr(ordered_segment, "SAMPLE_ROWS", 64)
    n, rng = 90_000, np.random.default_rng(5)
    points = {
        "same": np.ones((n, 3)),
        "two": np.where(rng.random((n, 1)) < 0.9, 0.0, 1.0) * np.ones(3),
        "skew": np.exp(8 * rng.normal(size=(n, 3))),
        "sorted": np.sort(rng.normal(size=(n, 3)), axis=0),
        "all missing": np.full((n, 3), np.nan),
        "periodic": np.where(np.arange(n) % 2 == 0, 0.0, rng.random(n))[:, None] * np.ones(3),
    }[kind]
    largest = []

    def looked_at(points: np.ndarray, *rest: object) -> np.ndarray:
        largest.append(len(points))
        return kd_order(points, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ordered_segment, "kd_order", looked_at)
    dataset = write(tmp_path / "s.zarr", points)
    order = dataset.catalogue_rows.compute()
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(dataset.points.compute(), points[order])
    assert max(largest) <= small_buckets + LEAF_ROWS  # and what the bucket before left over


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_cuts_share_out_evenly_and_by_pattern(depth: int) -> None:
    points, numbers = rows(1 << 14, 6, missing=0.2), np.arange(1 << 14)
    cuts = Cuts.of(points, numbers, depth, np.ones(3))
    which = cuts.buckets(points, numbers)
    patterns = missing_patterns(points)
    assert set(which) <= set(range(1 << depth))
    assert np.all(np.diff(patterns[np.argsort(which, kind="stable")][np.flatnonzero(np.diff(np.sort(which)))]) >= 0)
    if depth == 6:
        assert all(len(set(patterns[which == bucket])) <= 1 for bucket in range(64))
        full = np.bincount(which[patterns == 0])
        assert full.max() <= 2 * full[full > 0].min() + 2


def test_leaves_are_nodes_of_the_tree(tmp_path: Path, small_buckets: int) -> None:
    points = np.random.default_rng(7).random((150_000, 3))
    dataset = write(tmp_path / "s.zarr", points)
    boxes = volumes(dataset.points.compute(), LEAF_ROWS)
    assert np.median(boxes) < 2 * LEAF_ROWS / len(points)
    assert np.mean(boxes < 4 * LEAF_ROWS / len(points)) > 0.6


def test_appended_rows_are_ordered_too(tmp_path: Path) -> None:
    parts = [rows(5000, 8), rows(3000, 9)]
    write(tmp_path / "s.zarr", parts[0])
    dataset = write(tmp_path / "s.zarr", parts[1], append=True, order=False)
    points = np.concatenate(parts)
    order = np.concatenate([kd_order(parts[0], 128), 5000 + kd_order(parts[1], 128)])
    np.testing.assert_array_equal(dataset.catalogue_rows.compute(), order)
    np.testing.assert_array_equal(dataset.points.compute(), points[order])
    assert dataset.is_ordered
    overwritten = write(tmp_path / "s.zarr", parts[1], overwrite=True, order=False)
    assert not overwritten.is_ordered
    np.testing.assert_array_equal(overwritten.points.compute(), parts[1])


def test_only_new_rows_of_an_unordered_survey_are_ordered(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", rows(1000, 8), order=False)
    dataset = write(tmp_path / "s.zarr", rows(1000, 9), append=True)
    assert not dataset.is_ordered
    numbers = dataset.catalogue_rows.compute()
    np.testing.assert_array_equal(numbers[:1000], np.arange(1000))
    np.testing.assert_array_equal(numbers[1000:], 1000 + kd_order(rows(1000, 9), 128))


def test_the_version_says_what_older_programs_cannot_read(tmp_path: Path) -> None:
    def version(dataset: Dataset) -> object:
        return json.loads((dataset.path / "zarr.json").read_text())["attributes"]["dgmmis"]

    plain = version(write(tmp_path / "p.zarr", rows(10, 1), order=False))
    assert plain["version"] == 1
    assert set(plain["segments"][0]) == {"name", "n_rows", "identity", "row_ids", "missing", "minimum", "maximum"}
    assert set(plain["schema"]) == {"features", "units", "noise", "shared_covariance", "weighted", "measured"}
    ordered = version(write(tmp_path / "o.zarr", rows(10, 1)))
    assert ordered["version"] == 2
    assert ordered["segments"][0]["ordering"] == {"method": "k-d tree", "leaf_rows": 128}


def test_what_the_store_says(tmp_path: Path) -> None:
    dataset = write(tmp_path / "s.zarr", rows(300, 1))
    described = dataset.describe()
    assert described["ordered"] is True
    assert described["segments"][0]["ordering"]["method"] == "k-d tree"
    plain = write(tmp_path / "p.zarr", rows(300, 1), order=False)
    assert plain.describe()["ordered"] is False
    np.testing.assert_array_equal(plain.catalogue_rows.compute(), np.arange(300))
    (dataset.path / "segments/000000/catalogue_row/c.0").unlink()
    with pytest.raises(StoreError, match=r"segments/000000/catalogue_row/c\.0"):
        Dataset.open(dataset.path)


# every way in


def test_ingest(tmp_path: Path, small_buckets: int) -> None:
    n = 60_000
    table = {"x": np.random.default_rng(1).normal(size=n), "e": np.full(n, 0.1), "id": np.arange(n) + 5}
    np.savez(tmp_path / "t.npz", **table)
    columns = Columns(features=("x",), errors=("e",), row_id="id")
    seen: list[tuple[int, int | None]] = []
    dataset = ingest(
        tmp_path / "t.npz",
        tmp_path / "s.zarr",
        columns,
        order=True,
        batch_rows=777,
        on_batch=lambda *rows: seen.append(rows),
    )
    assert seen[-1] == (n, n)
    done = [rows for rows, _ in seen]
    assert sorted(done[:78]) == done[:78]  # read,
    assert sorted(done[78:]) == done[78:]  # and put in their place
    assert len(done) > 80
    numbers = dataset.catalogue_rows.compute()
    np.testing.assert_array_equal(dataset.points[:, 0].compute(), table["x"][numbers])
    np.testing.assert_array_equal(dataset.row_ids.compute(), numbers + 5)
    steps = np.abs(np.diff(dataset.points[:, 0].compute()))
    assert np.median(steps) < np.median(np.abs(np.diff(table["x"]))) / 20
    table["x"][54_321] = np.inf
    np.savez(tmp_path / "bad.npz", **table)
    with pytest.raises(DataError, match="infinite values in row 54321"):
        ingest(tmp_path / "bad.npz", tmp_path / "bad.zarr", columns, order=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad.npz", "s.zarr", "t.npz"]


def test_simulate_and_spool(tmp_path: Path) -> None:
    plain = simulate(tmp_path / "p.zarr", "graded", n=3000)
    ordered = simulate(tmp_path / "o.zarr", "graded", n=3000, order=True)
    points, numbers = plain.points.compute(), ordered.catalogue_rows.compute()
    np.testing.assert_array_equal(ordered.points.compute(), points[numbers])
    spooled = spool(tmp_path / "d.zarr", plain.points, order=True)
    np.testing.assert_array_equal(spooled.points.compute(), points[spooled.catalogue_rows.compute()])


# rows keep the names of the catalogue


def test_rows_are_named_as_the_catalogue_counts_them(tmp_path: Path) -> None:
    points = np.random.default_rng(1).random((3 * LEAF_ROWS, 2))
    outside = [17, 9000]
    points[outside] = 7.0
    schema = Schema(("x", "y"))
    for _ in range(2):
        with SurveyWriter(tmp_path / "s.zarr", schema, order=True, append=True) as writer:
            writer.write(points)
    dataset = Dataset.open(tmp_path / "s.zarr")
    for reference in (*dataset.references, *dataset.references[1].split(3)):
        places = np.arange(reference.n_rows)[::-7]
        numbers = reference.numbers(places)
        np.testing.assert_array_equal(reference.load().points[places], points[numbers % len(points)])
        assert np.all(numbers // len(points) == reference.first_row // len(points))
    survey = Survey(Box([0, 0], [1, 1]), np.eye(2) * 1e-9)
    model = Model(GaussianMixture([1.0], [[0.5, 0.5]], [np.eye(2)]))
    with pytest.raises(DataError, match=r"observed objects in rows (\d+), (\d+)") as caught:
        evaluate(dataset, model, survey=survey, executor=Serial())
    found = re.search(r"rows (\d+), (\d+)", str(caught.value))
    assert found is not None
    assert {int(number) % len(points) for number in found.groups()} == set(outside)


def test_folds_name_rows_as_the_catalogue_counts_them(tmp_path: Path) -> None:
    points = rows(LEAF_ROWS + 500, 3)
    for name, order in (("o", True), ("p", False)):
        dataset = write(tmp_path / f"{name}.zarr", points, order=order)
        seen = []
        for fold in Fold.all(3, 0):
            for whole in held_out(dataset, fold).references:
                for reference in (whole, *whole.split(2)):
                    numbers = reference.numbers(np.arange(reference.n_rows))
                    np.testing.assert_array_equal(reference.load().points, points[numbers])
                seen.append(whole.numbers(np.arange(whole.n_rows)))
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(len(points)))


def test_a_sample_of_an_ordered_survey_looks_like_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all its chunks, however few of them a sample of another survey looks at."""
    points = np.random.default_rng(2).random((5 * CHUNK_ROWS + 100, 2))
    with SurveyWriter(tmp_path / "s.zarr", Schema(("x", "y")), order=True) as writer:
        writer.write(points)
    dataset = Dataset.open(tmp_path / "s.zarr")
    monkeypatch.setattr(subsample, "SAMPLE_CHUNKS", 2)
    monkeypatch.setattr(subsample, "SAMPLE_ROWS", 2000)
    sample = subsample.draw_sample(dataset.references, Serial()).points
    assert 1990 < len(sample) < 2010
    counts = np.histogram2d(*sample.T, bins=5, range=[[0, 1], [0, 1]])[0]
    assert np.all(np.abs(counts - 80) < 5 * np.sqrt(80))
    evenly = subsample.draw_sample(held_out(dataset, Fold(0, 2, 1)).references, Serial()).points
    assert np.histogram2d(*evenly.T, bins=3, range=[[0, 1], [0, 1]])[0].min() > 150


def test_a_sample_of_many_short_segments_is_no_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        dataset = write(tmp_path / "s.zarr", rows(7 + seed % 3, seed), append=True)
    monkeypatch.setattr(subsample, "SAMPLE_ROWS", 12)
    sample = subsample.draw_sample(dataset.references, Serial()).points
    points = dataset.points.compute()
    step = len(points) / 12
    np.testing.assert_array_equal(sample, points[[int((place + 0.5) * step) for place in range(12)]])
    monkeypatch.setattr(subsample, "SAMPLE_ROWS", 20_000)
    np.testing.assert_array_equal(subsample.draw_sample(dataset.references, Serial()).points, points)


def test_a_plan_of_an_ordered_survey_knows_of_gaps(tmp_path: Path) -> None:
    """They are not in its first chunk, and cost latent points where something was selected."""
    points = np.random.default_rng(2).random((2 * CHUNK_ROWS, 2))
    points[::10, 1] = np.nan
    survey = Survey(Box([-1, -1], [0.5, 2]), np.eye(2) * 1e-4)
    with SurveyWriter(tmp_path / "s.zarr", Schema(("x", "y")), order=True) as writer:
        writer.write(points)
    dataset = Dataset.open(tmp_path / "s.zarr")
    assert not np.isnan(dataset.references[0].load().points).any()
    assert Work.of(dataset, 3, survey).latent_share == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("order", [False, True])
def test_a_fit_does_not_depend_on_the_order(tmp_path: Path, order: bool) -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(0, 1, (30_000, 3)), rng.normal(4, 1, (60_000, 3))])
    points[rng.random(points.shape) < 0.05] = np.nan
    dataset = write(tmp_path / "s.zarr", points, order=order)
    model = Model(GaussianMixture([0.5, 0.5], [[0.0] * 3, [3.0] * 3], [np.eye(3)] * 2))
    found = evaluate(dataset, model, executor=Serial()).log_likelihood
    assert found == pytest.approx(evaluate(ArrayDataset.of(points), model, executor=Serial()).log_likelihood, rel=1e-12)


# nothing is half written

WRITE = """
import sys
import numpy as np
from dgmmis.dataset import ordered_segment
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
ordered_segment.BUCKET_BYTES = 3 * 2**20
ordered_segment.BLOCK_BYTES = 2**20
rng = np.random.default_rng(1)
points = [rng.random((65536, 3)) for _ in range(12)]
ordered_segment.kd_order(points[0][:1000], 128)
ordered_segment.Cuts.of(points[0], np.arange(65536), 1, np.ones(3)).buckets(points[0], np.arange(65536))
print("ready", flush=True)
with SurveyWriter(sys.argv[1], Schema(("a", "b", "c")), append=True, order=True) as writer:
    for part in points:
        writer.write(part)
print("done", flush=True)
"""


def append(path: Path, n: int) -> Dataset:
    return write(path, rows(n, 1), append=path.exists())


@pytest.mark.parametrize("there", [0, 10])
def test_kill_while_ordering(tmp_path: Path, there: int) -> None:
    shares = (0.1, 0.3, 0.5, 0.7, 0.9)  # while spilling, sharing out, ordering, syncing
    for _, after in killed(WRITE, append, shares, there=there, whole=12 * CHUNK_ROWS, folder=tmp_path):
        np.testing.assert_array_equal(np.sort(after.catalogue_rows.compute()), np.arange(after.n_rows))
    assert list(tmp_path.rglob(ordered_segment.UNORDERED)) == []


def interrupted(path: Path) -> None:
    with SurveyWriter(path, Schema(FEATURES), append=True, order=True) as writer:
        writer.write(rows(100_000, 1))
        raise KeyboardInterrupt


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    for there in (False, True):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / "s.zarr")
        assert (tmp_path / "s.zarr").exists() == there
        write(tmp_path / "s.zarr", rows(10, 1), append=True)
    assert list(tmp_path.rglob(ordered_segment.UNORDERED)) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.zarr"]


FULL = """
import resource, sys
import numpy as np
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    with SurveyWriter(sys.argv[1], Schema(("a",)), order=True) as writer:
        for _ in range(4):
            writer.write(np.zeros((65536, 1)))
except StoreError as error:
    sys.stdout.write(str(error))
"""


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "s.zarr")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "rows to be ordered, to" in said
    assert "Make room" in said
    assert list(tmp_path.iterdir()) == []


MEASURE = (
    PEAK
    + """
import sys
import dask.array, zarr
import numpy as np
from dgmmis.dataset.ordered_segment import Cuts, kd_order
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
rng = np.random.default_rng(1)
kd_order(rng.random((1000, 4)), 128)
Cuts.of(rng.random((1000, 4)), np.arange(1000), 1, np.ones(4)).buckets(rng.random((1000, 4)), np.arange(1000))
before = peak()
with SurveyWriter(sys.argv[1], Schema(tuple("abcd"), noise="diagonal"), order=True) as writer:
    for _ in range(int(sys.argv[2])):
        writer.write(rng.random((65536, 4)), np.ones((65536, 4)))
sys.stdout.write(f"{writer.n_rows} {peak() - before}")
"""
)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_catalogue(tmp_path: Path) -> None:
    peaks = []
    for batches in (24, 96):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / f"{batches}.zarr"), str(batches)]
        n_rows, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(n_rows) == batches * CHUNK_ROWS
        peaks.append(float(megabytes))
    assert peaks[1] < 300, peaks
    assert peaks[1] < peaks[0] + 50, peaks
