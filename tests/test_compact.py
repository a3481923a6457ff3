"""Segments that are joined: the same rows, with the same numbers, along one tree where they were ordered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from peak import PEAK
from surveys import KINDS, Kind, kept, segments_on_disk, table_of, written
from writers import nights, rows, store

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset import compact as compaction
from dgmmis.dataset import ordered_segment
from dgmmis.dataset.compact import compact, short_runs
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.held_store import HeldStore
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.verify import damages
from dgmmis.dataset.withdraw import withdraw
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.em import Stopping
from dgmmis.errors import LockedError, StoreError
from dgmmis.execution.serial import Serial
from dgmmis.fit import evaluate, fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_same_rows(tmp_path: Path, kind: Kind) -> None:
    for seed, n in enumerate((900, 500, 700)):
        before = written(tmp_path / "s.zarr", kind, n, seed)
    whole, described = table_of(before), before.describe()
    done = compact(tmp_path / "s.zarr")
    assert (done.n_joined, done.n_made) == (3, 1)
    (segment,) = done.dataset.segments
    assert (segment.n_rows, segment.row_ids, done.dataset.is_ordered) == (2100, True, kind.order)
    found = table_of(done.dataset)
    assert found.keys() == whole.keys()
    for name, values in found.items():
        assert values.dtype == whole[name].dtype
        np.testing.assert_array_equal(values, whole[name])
    np.testing.assert_array_equal(np.sort(done.dataset.catalogue_rows.compute()), np.arange(2100))
    again = done.dataset.describe()
    for name in ("columns", "truth", "rows", "storage", "noise"):
        assert again[name] == described[name]
    where = [segment.name, segment.identity]
    assert again["provenance"] == [{**entry, "segment": where} for entry in described["provenance"]]
    assert damages(tmp_path / "s.zarr") == []
    assert segments_on_disk(tmp_path / "s.zarr") == {segment.name}


def test_ordered_rows_lie_along_one_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tight as if they had come at once; through buckets on the disk."""
    monkeypatch.setattr(ordered_segment, "BUCKET_BYTES", 20_000 * 64)
    monkeypatch.setattr(ordered_segment, "BLOCK_BYTES", 3_000 * 64)
    n, schema = 150_000, Schema(("a", "b", "c"))
    points = np.random.default_rng(1).random((n, 3))
    for place, parts in (("whole", 1), ("nights", 30)):
        for part in np.split(points, parts):
            with SurveyWriter(tmp_path / place, schema, append=True, order=True) as writer:
                writer.write(part)

    def volume(data: Dataset) -> float:
        """Of the boxes around every 128 consecutive rows: their median."""
        blocks = data.points.compute()[: n // 128 * 128].reshape(-1, 128, 3)
        return float(np.median(np.prod(np.ptp(blocks, axis=1), axis=1)))

    best, loose = volume(Dataset.open(tmp_path / "whole")), volume(Dataset.open(tmp_path / "nights"))
    joined = compact(tmp_path / "nights").dataset
    assert loose > 10 * best
    assert volume(joined) < 1.2 * best
    np.testing.assert_array_equal(joined.points.compute(), points[joined.catalogue_rows.compute()])
    assert not list((tmp_path / "nights").rglob(ordered_segment.UNORDERED))


def test_a_segment_that_was_not_ordered_is_then(tmp_path: Path) -> None:
    schema, points = Schema(("a",)), np.random.default_rng(2).normal(size=(3000, 1))
    for part, order in zip(np.split(points, [1000]), (False, True), strict=True):
        with SurveyWriter(tmp_path / "s.zarr", schema, append=True, order=order) as writer:
            writer.write(part)
    joined = compact(tmp_path / "s.zarr").dataset
    assert joined.is_ordered
    np.testing.assert_array_equal(joined.points.compute(), points[joined.catalogue_rows.compute()])


# which are joined


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [
        ([], []),
        ([5], [range(1)]),
        ([5, 5], [range(2)]),
        ([100, 5, 5, 100, 5, 100, 100, 5, 5, 5], [range(1, 3), range(4, 5), range(7, 10)]),
        ([100, 100], []),
        ([99, 100], [range(1)]),
    ],
)
def test_runs_of_short_segments(n_rows: list[int], expected: list[range], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "SHORT_ROWS", 100)
    assert short_runs(n_rows) == expected


def test_each_run_becomes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "SHORT_ROWS", 100)
    sizes = (30, 20, 100, 10, 200, 50, 60, 5)
    for seed, n in enumerate(sizes):
        before = written(tmp_path / "s.zarr", KINDS[0], n, seed)
    whole, identities = table_of(before), [segment.identity for segment in before.segments]
    steps: list[tuple[int, int]] = []
    done = compact(tmp_path / "s.zarr", on_rows=lambda *rows: steps.append(rows))
    assert (done.n_joined, done.n_made) == (5, 2)
    assert [segment.n_rows for segment in done.dataset.segments] == [50, 100, 10, 200, 115]
    now = [segment.identity for segment in done.dataset.segments]
    assert (now[1], now[2], now[3]) == (identities[2], identities[3], identities[4])
    assert not {now[0], now[4]} & {*identities}
    np.testing.assert_array_equal(table_of(done.dataset)["row_id"], whole["row_id"])
    assert sorted(steps) == steps
    assert steps[-1] == (165, 165)
    assert compact(tmp_path / "s.zarr").n_joined == 0
    joined = compact(tmp_path / "s.zarr", all_segments=True)
    assert (joined.n_joined, joined.n_made, len(joined.dataset.segments)) == (5, 1, 1)
    np.testing.assert_array_equal(table_of(joined.dataset)["points"], whole["points"])


def test_nothing_to_do_changes_nothing(tmp_path: Path) -> None:
    store(tmp_path / "s.zarr", 50, 1)
    before = kept(tmp_path / "s.zarr")
    for all_segments in (False, True):
        done = compact(tmp_path / "s.zarr", all_segments=all_segments)
        assert (done.n_joined, done.n_made, done.dataset.n_rows) == (0, 0, 50)
    assert kept(tmp_path / "s.zarr") == before


def test_over_many_chunks(tmp_path: Path) -> None:
    sizes = (CHUNK_ROWS + 10, CHUNK_ROWS - 1, 3)
    for seed, n in enumerate(sizes):
        store(tmp_path / "s.zarr", n, seed, append=True)
    done = compact(tmp_path / "s.zarr")
    assert [reference.n_rows for reference in done.dataset.references] == [CHUNK_ROWS, CHUNK_ROWS, 12]
    expected = np.concatenate([rows(n, seed)[0] for seed, n in enumerate(sizes)])
    np.testing.assert_array_equal(done.dataset.points.compute(), expected)


# what is read is what was written


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("name", ["points", "noise", "row_id"])
def test_damage_is_not_passed_on(tmp_path: Path, name: str, order: bool) -> None:
    nights(tmp_path / "s.zarr", n=3000, order=order)
    (file,) = (tmp_path / "s.zarr/segments/000001" / name).glob("c.*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    before = kept(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match=rf"rows 3000 to 5999 cannot be read from '.*{name}"):
        compact(tmp_path / "s.zarr")
    assert kept(tmp_path / "s.zarr") == before


def test_a_file_of_other_rows_is_found(tmp_path: Path) -> None:
    nights(tmp_path / "s.zarr", n=3000)
    segments = tmp_path / "s.zarr/segments"
    (segments / "000001/points/c.0.0").write_bytes((segments / "000002/points/c.0.0").read_bytes())
    with pytest.raises(StoreError, match="a chunk of another store, or of other rows"):
        compact(tmp_path / "s.zarr")


# fits


@pytest.mark.parametrize("order", [False, True])
def test_a_fit_finds_the_same(tmp_path: Path, order: bool) -> None:
    rng, schema = np.random.default_rng(4), Schema(("x", "y"), noise="shared", shared_covariance=np.eye(2) * 0.01)
    for night in range(6):
        with SurveyWriter(tmp_path / "s.zarr", schema, append=True, order=order) as writer:
            points = np.concatenate([rng.normal(0, 1, (700, 2)), rng.normal(5, 2, (700 + night, 2))])
            points[rng.random(points.shape) < 0.05] = np.nan
            writer.write(points)
    start = Start(2, method=GaussianMixture([0.5, 0.5], [[0.0, 0.0], [4.0, 4.0]], [np.eye(2)] * 2))
    results, values = [], []
    for _ in range(2):
        data = Dataset.open(tmp_path / "s.zarr")
        values.append(evaluate(data, Model(start.method), executor=Serial()).log_likelihood)
        results.append(fit(data, start, stopping=Stopping(max_iter=50), executor=Serial()))
        compact(tmp_path / "s.zarr")
    assert len(Dataset.open(tmp_path / "s.zarr").segments) == 1
    assert values[0] == pytest.approx(values[1], rel=1e-13)  # a sum in another order
    # an ordered survey has other rows in the sample that gives the fit its steps: it ends at the same maximum
    assert results[0].objective == pytest.approx(results[1].objective, abs=1e-7)
    np.testing.assert_allclose(results[0].model.mixture.means, results[1].model.mixture.means, atol=1e-3)


# under one lock


def test_several_steps_under_one_lock(tmp_path: Path) -> None:
    nights(tmp_path / "s.zarr", n=100, count=4)
    with HeldStore(tmp_path / "s.zarr") as held:
        withdraw(held, range(100, 200))
        with pytest.raises(LockedError, match="being written by process"):
            compact(tmp_path / "s.zarr")
        assert compact(held).n_joined == 3
        assert compact(held).n_joined == 0
        withdraw(held, [0])
    data = Dataset.open(tmp_path / "s.zarr")
    assert table_of(data)["row_id"].tolist() == [*range(1, 100), *range(200, 400)]
    assert segments_on_disk(tmp_path / "s.zarr") == {segment.name for segment in data.segments}
    assert [entry.name for entry in (tmp_path / "s.zarr").iterdir() if entry.name.startswith(".")] == []


WRITER = """
import sys
from pathlib import Path
import numpy as np
from writers import SCHEMA, rows
from dgmmis.dataset.compact import compact
from dgmmis.dataset.withdraw import withdraw
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import LockedError
path, what, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def done(number):
    try:
        if what == "append":
            with SurveyWriter(path, SCHEMA, append=True) as writer:
                writer.write(*rows(100, number), row_ids=np.arange(100 * number, 100 * number + 100))
        elif what == "withdraw":
            return withdraw(path, [100 * number + 5, 100 * number + 6], missing_ok=True).n_rows == 2
        else:
            compact(path)
    except LockedError:
        return False
    return True
for number in range(1, count + 1):
    while not done(number):
        pass
"""


@pytest.mark.slow
def test_writers_of_every_kind_exclude_one_another(tmp_path: Path) -> None:
    """Three processes at once; a reader never sees a mixture, and in the end every row is what it must be."""
    path, count = tmp_path / "s.zarr", 15
    nights(path, n=100, count=1)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), what, str(count)], env=environment, cwd=Path(__file__).parents[1]
        )
        for what in ("append", "withdraw", "compact")
    ]
    clean, refused = 0, []
    while any(process.poll() is None for process in processes):
        try:
            data = Dataset.open(path)
            ids = np.concatenate([reference.read("row_id") for reference in data.references])
        except StoreError as error:
            refused.append(str(error))
            continue
        missing = [number for number in range(len(ids) // 100 + 1) if np.sum(ids // 100 == number) not in (0, 98, 100)]
        assert missing == []
        assert (np.diff(ids) > 0).all()
        clean += 1
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert clean > 5
    assert [sentence for sentence in refused if "was replaced or removed while it was read" not in sentence] == []
    expected = [number for number in range(100 * (count + 1)) if number < 100 or number % 100 not in (5, 6)]
    data = Dataset.open(path)
    assert table_of(data)["row_id"].tolist() == expected
    assert damages(path) == []
    assert segments_on_disk(path) == {segment.name for segment in data.segments}
    assert [entry.name for entry in path.iterdir() if entry.name.startswith(".")] == []
    assert sum(entry.get("withdrawn", 0) for entry in data.provenance) == 2 * count
    assert sum(entry.get("rows", 0) for entry in data.provenance) == 100 * (count + 1)


def test_the_command(tmp_path: Path) -> None:
    nights(tmp_path / "s.zarr", n=100)

    def compacted(*options: str) -> str:
        command = [sys.executable, "-m", "dgmmis", "compact", str(tmp_path / "s.zarr"), *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    document = json.loads(compacted("--json"))
    assert (document["rows"], document["segments_joined"], document["into"]) == (300, 3, 1)
    assert "nothing to join" in compacted()
    assert "nothing to join" in compacted("--all")


MEASURE = (
    PEAK
    + """
import sys
import dask.array, zarr
import numpy as np
from dgmmis.dataset.compact import compact
from dgmmis.dataset.ordered_segment import Cuts, kd_order
rng = np.random.default_rng(1)
kd_order(rng.random((1000, 4)), 128)
Cuts.of(rng.random((1000, 4)), np.arange(1000), 1, np.ones(4)).buckets(rng.random((1000, 4)), np.arange(1000))
before = peak()
done = compact(sys.argv[1])
sys.stdout.write(f"{done.n_joined} {peak() - before}")
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("order", [False, True])
def test_memory_does_not_grow_with_the_survey(tmp_path: Path, order: bool) -> None:
    peaks = []
    for count in (20, 60):
        nights(tmp_path / f"{count}.zarr", n=2 * CHUNK_ROWS, count=count, order=order)
        command = [sys.executable, "-c", MEASURE, str(tmp_path / f"{count}.zarr")]
        n_joined, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(n_joined) == count
        peaks.append(float(megabytes))
    assert peaks[1] < 300, peaks
    assert peaks[1] < peaks[0] + 50, peaks
