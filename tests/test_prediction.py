"""Predictions and scores come back in the order of the catalogue, whatever that of the store, in bounded memory."""

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from peak import PEAK
from threadpoolctl import threadpool_info

import dgmmis
from dgmmis.background import Uniform
from dgmmis.chunk import CHUNK_ROWS, LEAF_ROWS, Chunk
from dgmmis.dataset import catalogue_order
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.catalogue_order import row_by_row
from dgmmis.dataset.checkpoint import Run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.publish import temporary_sibling
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.deconvolution import true_values
from dgmmis.errors import JobError, RefusedError, StoreError
from dgmmis.execution.serial import Serial
from dgmmis.latent_draw import Observing
from dgmmis.linalg import unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, NoNoise
from dgmmis.prediction import Wanted, _judged, predict_run
from dgmmis.selection import Box, Injections
from dgmmis.survey import Survey

SCHEMA = Schema(("a", "b"), noise="diagonal")
MODEL = Model(GaussianMixture([0.5, 0.5], [[0, 0], [4, 3]], [np.eye(2), np.eye(2)]), Uniform([-9, -9], [9, 9]), 0.1)


def catalogue(n: int = 2 * LEAF_ROWS + 77) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    points = np.where(rng.random((n, 1)) < 0.5, 0.0, [[4.0, 3.0]]) + rng.normal(size=(n, 2))
    points[::50] = rng.uniform(-9, 9, size=points[::50].shape)
    points[rng.random((n, 2)) < 0.05] = np.nan
    return points, rng.uniform(0.01, 0.2, size=(n, 2))


def stored(path: Path, *, order: bool, parts: int = 1) -> Dataset:
    points, noise = catalogue()
    for p, s in zip(np.array_split(points, parts), np.array_split(noise, parts), strict=True):
        with SurveyWriter(path, SCHEMA, append=True, order=order) as writer:
            writer.write(p, s)
    return Dataset.open(path)


class Numbered:
    """Rows whose only value is their number in the catalogue."""

    first_leaf, nbytes, key, is_ordered = 0, 0, "", False

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers, self.n_rows = numbers, len(numbers)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        return self._numbers[rows]

    def split(self, n: int) -> "tuple[Numbered, ...]":
        raise AssertionError

    def load(self) -> Chunk:
        return ArrayDataset.of(self._numbers[:, None].astype(float)).whole


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    segments=st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=5),
    part_bytes=st.sampled_from([1, 100, 1 << 20]),
    most_parts=st.sampled_from([2, 5, 256]),
)
def test_any_order_comes_back(
    data: st.DataObject,
    segments: list[tuple[int, bool]],
    part_bytes: int,
    most_parts: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(data.draw(st.integers(0, 99)))
    references, first = [], 0
    for n, is_ordered in segments:
        numbers = first + (rng.permutation(n) if is_ordered else np.arange(n))
        references += [Numbered(part) for part in np.array_split(numbers, 3) if len(part)]
        first += n

    def function(chunk: Chunk) -> Iterator[dict[str, np.ndarray]]:
        for own in filter(len, np.array_split(chunk.points[:, 0], 2)):
            yield {"integer": own.astype(np.int32), "table": own[:, None] * [1.0, -1.0]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_order, "PART_BYTES", part_bytes)
        patch.setattr(catalogue_order, "MOST_PARTS", most_parts)
        parts = list(row_by_row(references, function, folder))
    np.testing.assert_array_equal(np.concatenate([part["integer"] for part in parts]), np.arange(first))
    np.testing.assert_array_equal(np.concatenate([part["table"] for part in parts])[:, 1], -np.arange(first))
    assert parts[0]["integer"].dtype == np.int32
    assert list(folder.iterdir()) == []


def test_rows_in_order_are_handed_on_at_once(tmp_path: Path) -> None:
    references = [Numbered(np.arange(5)), Numbered(np.arange(5, 9))]
    parts = row_by_row(references, lambda chunk: [{"x": chunk.points[:, 0]}], tmp_path)
    assert next(parts)["x"].tolist() == [0, 1, 2, 3, 4]
    parts.close()
    assert list(tmp_path.iterdir()) == []


def test_rows_go_to_a_bounded_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts the catalogue has: four of 256 rows each, shared out again down to parts of four."""
    numbers = np.random.default_rng(0).permutation(1024)
    monkeypatch.setattr(catalogue_order, "PART_BYTES", 4 * 16)
    monkeypatch.setattr(catalogue_order, "MOST_PARTS", 4)
    most, files = 0, tmp_path.glob

    def function(chunk: Chunk) -> Iterator[dict[str, np.ndarray]]:
        assert len(list(files(".rows-*/*"))) <= 4
        yield {"x": chunk.points[:, 0]}

    found = []
    for part in row_by_row([Numbered(some) for some in np.array_split(numbers, 32)], function, tmp_path):
        assert len(part["x"]) == 4
        found.append(part["x"])
        most = max(most, len(list(files(".rows-*/*"))))
    np.testing.assert_array_equal(np.concatenate(found), np.arange(1024))
    assert most == 4 * 3  # of each of four levels all but the first, which was removed when it was read


@pytest.mark.parametrize("parts", [1, 3])
def test_the_estimator_answers_in_the_order_of_the_catalogue(tmp_path: Path, parts: int) -> None:
    points, noise = catalogue()
    plain = stored(tmp_path / "p.zarr", order=False, parts=parts)
    ordered = stored(tmp_path / "o.zarr", order=True, parts=parts)
    assert ordered.is_ordered
    start = MODEL.mixture
    model = dgmmis.GMMis(2, init=start, background=MODEL.background, tol=1e-3).fit(plain)
    for question in (model.score_samples, model.predict_proba, model.predict):
        expected = question(points, noise_covariance=noise)
        for store in (plain, ordered, str(ordered.path)):
            np.testing.assert_allclose(question(store), expected, rtol=1e-9)
    assert set(model.predict(ordered)) == {-1, 0, 1}
    assert model.score(ordered) == pytest.approx(model.score(points, noise_covariance=noise), rel=1e-12)
    assert model.bic(ordered) == pytest.approx(model.bic(points, noise_covariance=noise), rel=1e-12)
    assert model.aic(ordered) == pytest.approx(model.aic(points, noise_covariance=noise), rel=1e-12)
    with pytest.raises(RefusedError, match="brings its own noise"):
        model.predict(ordered, noise_covariance=noise)


def run_of(path: Path, survey: Survey, model: Model = MODEL) -> Path:
    record = SurveyRecord.of(survey)
    write_run(path, Run(model, SCHEMA.features, ("", ""), {"completeness": 1.0}, record, (), np.ones(1)))
    return path


def test_predictions_are_those_of_the_rows(tmp_path: Path) -> None:
    points, _ = catalogue()
    run = run_of(tmp_path / "x.run", Survey())
    found, seen = {}, []
    for name, order in (("o", True), ("p", False)):
        data = stored(tmp_path / f"{name}.zarr", order=order, parts=2)
        seen.clear()
        said = predict_run(
            run, data.path, tmp_path / f"{name}.out", responsibilities=True, on_batch=lambda *x: seen.append(x)
        )
        assert said["arrays"] == ["label", "log_density", "responsibilities"]
        assert seen[-1] == (len(points), len(points))
        group = zarr.open_group(tmp_path / f"{name}.out", mode="r")
        assert group.attrs["dgmmis predictions"]["rows"] == len(points)
        found[name] = {key: group[key][:] for key in said["arrays"]}
    for key, values in found["p"].items():
        np.testing.assert_allclose(found["o"][key], values, rtol=1e-9)
    near = np.flatnonzero(np.all(np.abs(points - [4, 3]) < 1, axis=1))
    assert np.all(found["o"]["label"][near] == 1)
    q = found["o"]["responsibilities"]
    np.testing.assert_array_equal(found["o"]["label"] >= 0, 1 - q.sum(axis=1) <= q.max(axis=1))
    assert (found["o"]["label"] == -1).any()
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"x.run", "o.zarr", "p.zarr", "o.out", "p.out"}


def test_true_values_and_tail_probabilities_are_those_of_the_rows(tmp_path: Path) -> None:
    """In the order of the catalogue, whatever that of the store; tail probabilities are uniform."""
    points, noise = catalogue()
    run = run_of(tmp_path / "x.run", Survey())
    expected = true_values(MODEL, points, DiagonalNoise(noise))
    for name, order in (("o", True), ("p", False)):
        data = stored(tmp_path / f"{name}.zarr", order=order)
        said = predict_run(run, data.path, tmp_path / f"{name}.out", true_values=True, outliers=not order)
        group = zarr.open_group(tmp_path / f"{name}.out", mode="r")
        np.testing.assert_allclose(group["true_mean"][:], expected.mean, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(unpack(group["true_covariance"][:]), expected.covariance, rtol=1e-7, atol=1e-7)
    assert said["arrays"] == ["label", "log_density", "tail_probability", "true_covariance", "true_mean"]
    tail = group["tail_probability"][:]
    assert tail.shape == (len(points),)
    far = np.any(np.abs(np.nan_to_num(points - [2, 1.5])) > 6, axis=1)
    assert tail[far].mean() < 0.1 < tail[~far].mean()


def test_outliers_that_cannot_be_told_are_refused_at_once(tmp_path: Path) -> None:
    data = stored(tmp_path / "s.zarr", order=False)
    injections = Injections(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) > 3, np.zeros(9))
    run = run_of(tmp_path / "x.run", Survey(injections))
    with pytest.raises(RefusedError, match="which of the drawn objects would be seen"):
        predict_run(run, data.path, tmp_path / "out.zarr", outliers=True)
    assert not (tmp_path / "out.zarr").exists()


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    """By a second prediction to the same path, which clears up what killed ones left; and BLAS has one thread."""
    data, out = stored(tmp_path / "s.zarr", order=False), tmp_path / "x.out"
    threads = set()

    def second(*_: object) -> None:
        (live,) = tmp_path.glob(".x.out*")
        folder, lock = temporary_sibling(out)
        assert live.exists()
        lock.release()
        folder.rmdir()
        threads.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    predict_run(run_of(tmp_path / "x.run", Survey()), data.path, out, on_batch=second)
    assert zarr.open_group(out, mode="r")["label"].shape == (data.n_rows,)
    assert threads == {1}


def test_of_responsibilities_memory_holds_a_leaf() -> None:
    k, rng = 40, np.random.default_rng(2)
    mixture = GaussianMixture(np.full(k, 1 / k), rng.random((k, 2)), np.tile(0.1 * np.eye(2), (k, 1, 1)))
    chunk, observing = Chunk(rng.random((CHUNK_ROWS, 2)), NoNoise()), Observing(Survey(), np.eye(2))

    def highest(*, keep: bool) -> float:
        """Memory, in units of a leaf's responsibilities; those of the chunk are 16."""
        for _ in _judged(Model(mixture), observing, Wanted(keep), Serial(), chunk.take(slice(0, 10))):  # compiled
            pass
        tracemalloc.start()
        for _ in _judged(Model(mixture), observing, Wanted(keep), Serial(), chunk):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / (8 * LEAF_ROWS * k)

    assert highest(keep=False) < 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_order, "PART_BYTES", 1)
        assert highest(keep=True) < 8


def test_densities_are_normalised_under_the_selection(tmp_path: Path) -> None:
    data = stored(tmp_path / "s.zarr", order=True)
    survey = Survey(Box([-20, -20], [2, 20]), np.diag([0.1, 0.1]), "available")
    everything, part = run_of(tmp_path / "a.run", Survey()), run_of(tmp_path / "b.run", survey)
    log_density = []
    for number, run in enumerate((everything, part)):
        predict_run(run, data.path, tmp_path / f"{number}.zarr")
        log_density.append(zarr.open_group(tmp_path / f"{number}.zarr", mode="r")["log_density"][:])
    full = ~np.isnan(catalogue()[0]).any(axis=1)
    gain = (log_density[1] - log_density[0])[full]  # -log Z, of half the objects and of some of the background
    np.testing.assert_allclose(gain, -np.log(0.45 * (0.972 + 0.023) + 0.1 * 11 / 18), atol=0.03)


def test_what_is_refused(tmp_path: Path) -> None:
    data = stored(tmp_path / "s.zarr", order=True)
    run = run_of(tmp_path / "x.run", Survey())
    with pytest.raises(StoreError, match="exists"):
        predict_run(run, data.path, data.path)
    with pytest.raises(StoreError, match="cannot be written"):
        predict_run(run, data.path, tmp_path / "no folder" / "x.zarr")
    with SurveyWriter(tmp_path / "t.zarr", Schema(("x", "y"))) as writer:
        writer.write(np.zeros((3, 2)))
    with pytest.raises(JobError, match="other features"):
        predict_run(run, tmp_path / "t.zarr", tmp_path / "out.zarr")
    next((data.path / "segments/000000/points").glob("c.*")).write_bytes(b"no")
    with pytest.raises(StoreError, match="cannot be read"):
        predict_run(run, data.path, tmp_path / "out.zarr")
    assert {entry.name for entry in tmp_path.iterdir()} == {"s.zarr", "t.zarr", "x.run"}


def test_the_command(tmp_path: Path) -> None:
    data, run = stored(tmp_path / "s.zarr", order=True), run_of(tmp_path / "x.run", Survey())
    command = [
        sys.executable,
        "-m",
        "dgmmis",
        "predict",
        str(run),
        str(data.path),
        str(tmp_path / "out.zarr"),
        "--true-values",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(r"arrays +.*label.*log_density.*true_mean", shown)
    labels = zarr.open_group(tmp_path / "out.zarr", mode="r")["label"][:]
    assert len(labels) == data.n_rows


MEASURE = (
    PEAK
    + """
import sys
import dask.array, zarr
from dgmmis.prediction import predict_run
predict_run(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[4]), responsibilities=True)
before = peak()
predict_run(Path(sys.argv[1]), Path(sys.argv[3]), Path(sys.argv[5]), responsibilities=True)
sys.stdout.write(f"{peak() - before}")
"""
)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_catalogue(tmp_path: Path) -> None:
    k, rng = 20, np.random.default_rng(1)
    mixture = GaussianMixture(np.full(k, 1 / k), rng.random((k, 2)), np.tile(0.1 * np.eye(2), (k, 1, 1)))
    run = run_of(tmp_path / "x.run", Survey(), Model(mixture))
    for name, batches in (("small", 4), ("large", 40)):
        with SurveyWriter(tmp_path / f"{name}.zarr", Schema(("a", "b")), order=True) as writer:
            for _ in range(batches):
                writer.write(rng.random((CHUNK_ROWS, 2)))
    paths = [run, *(tmp_path / name for name in ("small.zarr", "large.zarr", "small.out", "large.out"))]
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    megabytes = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert megabytes < 60, megabytes  # all of it would be 450 MB
