"""Withdrawn rows: all of them gone in one step, the others as they were; what is not there is named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peak import PEAK
from surveys import KINDS, Kind, kept, segments_on_disk, table_of, written
from writers import nights, said

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.append import append
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.held_store import HeldStore
from dgmmis.dataset.ingest import ingest
from dgmmis.dataset.row_list import read_row_list
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.verify import damages
from dgmmis.dataset.withdraw import MOST_NOTED, withdraw
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, JobError, LockedError, RefusedError, StoreError
from dgmmis.execution.serial import Serial
from dgmmis.fit import evaluate
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model

PLAIN = Schema(("x",))


def numbered(path: Path, *parts: list[int], order: bool = False) -> Dataset:
    """A survey of as many segments, of rows with these ids; a row's value is its place."""
    place = 0
    for ids in parts:
        with SurveyWriter(path, PLAIN, append=True, order=order) as writer:
            writer.write(np.arange(place, place + len(ids), dtype=float)[:, None], row_ids=np.array(ids))
        place += len(ids)
    return Dataset.open(path)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_others_stay_as_they_were(tmp_path: Path, kind: Kind) -> None:
    parts = [written(tmp_path / "s.zarr", kind, n, seed) for seed, n in enumerate((900, 500, 700))]
    before = Dataset.open(tmp_path / "s.zarr")
    whole, in_store = table_of(before), before.row_ids.compute()
    gone = np.random.default_rng(1).choice(whole["row_id"], 300, replace=False)
    done = withdraw(tmp_path / "s.zarr", gone)
    assert (done.n_rows, done.n_unknown, done.dataset.n_rows) == (300, 0, 1800)
    found, stays = table_of(done.dataset), ~np.isin(whole["row_id"], gone)
    assert found.keys() == whole.keys()
    for name, values in found.items():
        assert values.dtype == whole[name].dtype
        np.testing.assert_array_equal(values, whole[name][stays])
    numbers = done.dataset.catalogue_rows.compute()
    np.testing.assert_array_equal(np.sort(numbers), np.arange(1800))
    np.testing.assert_array_equal(done.dataset.row_ids.compute(), in_store[~np.isin(in_store, gone)])
    assert done.dataset.schema == parts[0].schema
    assert done.dataset.is_ordered == kind.order
    described = done.dataset.describe()["columns"]
    assert [column["missing"] for column in described] == np.isnan(found["points"]).sum(axis=0).tolist()
    np.testing.assert_array_equal([column["maximum"] for column in described], np.nanmax(found["points"], axis=0))
    assert damages(tmp_path / "s.zarr") == []
    assert segments_on_disk(tmp_path / "s.zarr") == {segment.name for segment in done.dataset.segments}


@pytest.mark.parametrize("order", [False, True])
def test_over_many_chunks(tmp_path: Path, order: bool) -> None:
    n = 2 * CHUNK_ROWS + 5000
    ids = np.random.default_rng(2).permutation(n)
    before = numbered(tmp_path / "s.zarr", ids.tolist(), list(range(n, n + 10)), order=order)
    steps: list[tuple[int, int]] = []
    done = withdraw(tmp_path / "s.zarr", np.arange(0, n, 7), on_rows=lambda *rows: steps.append(rows))
    found = table_of(done.dataset)
    np.testing.assert_array_equal(found["row_id"], [*ids[ids % 7 != 0], *range(n, n + 10)])
    np.testing.assert_array_equal(found["points"][:-10, 0], np.flatnonzero(ids % 7))
    assert steps == [(CHUNK_ROWS, n), (2 * CHUNK_ROWS, n), (n, n)]
    assert done.dataset.segments[1].identity == before.segments[1].identity  # which nothing was taken out of


@settings(max_examples=25)
@given(
    parts=st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=12), min_size=1, max_size=4),
    gone=st.lists(st.integers(-12, 12), max_size=12),
    order=st.booleans(),
)
def test_any_rows_of_any_segments(
    parts: list[list[int]], gone: list[int], order: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Some ids are those of several rows, or none; segments go that have no rows left."""
    path = tmp_path_factory.mktemp("any") / "s.zarr"
    before = numbered(path, *parts, order=order)
    expected = [[own for own in ids if own not in gone] for ids in parts]
    n_rows = sum(map(len, expected))
    if n_rows == 0:
        with pytest.raises(RefusedError, match=r"no rows of .* would be left"):
            withdraw(path, gone, missing_ok=True)
        return
    done = withdraw(path, gone, missing_ok=True)
    assert (done.n_rows, done.n_unknown) == (
        before.n_rows - n_rows,
        len(set(gone) - {own for ids in parts for own in ids}),
    )
    assert table_of(done.dataset)["row_id"].tolist() == [own for ids in expected for own in ids]
    assert [segment.n_rows for segment in done.dataset.segments] == [len(ids) for ids in expected if ids]
    assert segments_on_disk(path) == {segment.name for segment in done.dataset.segments}
    same = [segment.identity for segment in done.dataset.segments]
    for segment, ids, left in zip(before.segments, parts, expected, strict=True):
        assert (segment.identity in same) == (ids == left)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    numbered(path, [1, 2, 3], [4, 5])
    before = kept(path)
    with pytest.raises(DataError, match=r"have the row ids 10, 11, 12, 13, 14 and 5 more\. Check .*--missing-ok"):
        withdraw(path, [1, *range(10, 20)])
    with pytest.raises(DataError, match=r"have the row ids 7\. Check"):
        withdraw(path, [7])
    assert kept(path) == before
    done = withdraw(path, [7, 8], missing_ok=True)
    assert (done.n_rows, done.n_unknown) == (0, 2)
    assert withdraw(path, []).n_rows == 0
    assert kept(path) == before
    assert withdraw(path, [7, 2, 2], missing_ok=True).n_rows == 1


def test_what_cannot_be_withdrawn(tmp_path: Path) -> None:
    with SurveyWriter(tmp_path / "p.zarr", PLAIN) as writer:
        writer.write(np.zeros((5, 1)))
    with pytest.raises(
        DataError, match=r"rows of .*p\.zarr' have no row ids: expected a survey .* Ingest it with --row-id"
    ):
        withdraw(tmp_path / "p.zarr", [1])
    path = tmp_path / "s.zarr"
    numbered(path, [1, 2, 3])
    for wrong in (np.array([1.5]), np.array([[1]]), np.array(["a"]), np.array([2**63], dtype="u8")):
        with pytest.raises(DataError, match="row ids to withdraw"):
            withdraw(path, wrong)
    with pytest.raises(RefusedError, match=r"no rows of '.*s\.zarr' would be left"):
        withdraw(path, [3, 2, 1])
    with pytest.raises(StoreError, match="no survey store"):
        withdraw(tmp_path / "nowhere", [1])
    assert Dataset.open(path).n_rows == 3


def test_the_provenance(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    before = numbered(path, list(range(500)), [1000]).provenance
    withdraw(path, [3, 1], provenance={"source": "list.txt"})
    withdraw(path, range(10, 10 + MOST_NOTED + 1))
    entries = Dataset.open(path).provenance
    assert [{**entry, "segment": ""} for entry in entries[:2]] == [{**entry, "segment": ""} for entry in before]
    # the rest of their rows is in segments that were written anew, where any were withdrawn
    assert [tuple(entry["segment"]) for entry in entries[:2]] == list(Dataset.open(path).identities)
    first, second = entries[2:]
    assert (first["withdrawn"], first["row_ids"], first["source"]) == (2, [1, 3], "list.txt")
    assert (second["withdrawn"], second["row_ids"]) == (MOST_NOTED + 1, [10, "...", 10 + MOST_NOTED])
    assert {"written", "dgmmis"} <= first.keys() & second.keys()


def test_a_damaged_segment_is_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    numbered(path, list(range(5000)))
    file = path / "segments/000000/points/c.0.0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    before = kept(path)
    with pytest.raises(StoreError, match=r"rows 0 to 4999 cannot be read from '.*points"):
        withdraw(path, [3])
    assert kept(path) == before


def test_the_log_likelihood_is_that_of_the_rows_that_are_left(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    points, ids = rng.normal(size=(20_000, 2)), np.arange(20_000)
    model = Model(GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [np.eye(2)] * 2))
    found = []
    for name, stays in (("a", ids >= 0), ("b", ids % 3 > 0)):
        with SurveyWriter(tmp_path / name, Schema(("x", "y")), order=True) as writer:
            writer.write(points[stays], row_ids=ids[stays])
    withdraw(tmp_path / "a", ids[::3])
    found = [evaluate(Dataset.open(tmp_path / name), model, executor=Serial()).log_likelihood for name in ("a", "b")]
    assert found[0] == pytest.approx(found[1], rel=1e-13)


def test_withdrawn_rows_may_come_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.arange(5.0), id=np.arange(5))
    ingest(tmp_path / "t.npz", tmp_path / "s.zarr", Columns(features=("x",), row_id="id"))
    with HeldStore(tmp_path / "s.zarr") as store:
        withdraw(store, [1, 3])
        with pytest.raises(LockedError):
            withdraw(tmp_path / "s.zarr", [2])
        done = append(tmp_path / "t.npz", store, unique=True)
    assert (done.n_rows, done.n_left_out) == (2, 3)
    assert table_of(done.dataset)["row_id"].tolist() == [0, 2, 4, 1, 3]


# lists of rows


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("plain", "3\n1\n\n  2 \n", [3, 1, 2]),
        ("one", "7", [7]),
        ("empty", "", []),
        ("blank", "\n\n", []),
        ("signs", "-5\n+6\n9223372036854775807\n-9223372036854775808\n", [-5, 6, 2**63 - 1, -(2**63)]),
        ("Windows", "3\r\n4\r\n", [3, 4]),
        ("one column", "source\n3\n4\n", [3, 4]),
        ("usual", "x,id\n1.5,3\n2.5,4\n", [3, 4]),
    ],
)
def test_lists_of_rows(tmp_path: Path, name: str, content: str, expected: list[int]) -> None:
    (tmp_path / "rows").write_text(content)
    found = read_row_list(tmp_path / "rows", usual="id")
    assert (found.dtype, found.tolist()) == (np.int64, expected)


def test_tables_of_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([5, 6], dtype="u4"))
    assert read_row_list(tmp_path / "rows.npy").tolist() == [5, 6]
    np.savez(tmp_path / "rows.npz", a=np.array([5, 6]), b=np.array([7, 8]))
    assert read_row_list(tmp_path / "rows.npz", "b").tolist() == [7, 8]
    with pytest.raises(
        JobError, match=r"'rows\.npz' has 2 columns: expected row ids alone\. Name their column: --column"
    ):
        read_row_list(tmp_path / "rows.npz")
    with pytest.raises(JobError, match="no column 'c'"):
        read_row_list(tmp_path / "rows.npz", "c")
    np.save(tmp_path / "rows.npy", np.array([5.5]))
    with pytest.raises(DataError, match="'X' is missing or not a whole number"):
        read_row_list(tmp_path / "rows.npy")
    for content, message in (
        ("3\nfour\n", "line 2 of 'rows' is no row id: expected a whole number of 64 bits, got 'four'"),
        ("3\n4 5\n", "line 2 of 'rows'"),
        ("3\n9223372036854775808\n", "line 2 of 'rows'"),
        ("3\n" + "9" * 5000 + "\n", "line 2 of 'rows'"),
    ):
        (tmp_path / "rows").write_text(content)
        with pytest.raises(DataError, match=message):
            read_row_list(tmp_path / "rows")
    with pytest.raises(StoreError, match="no file"):
        read_row_list(tmp_path / "nowhere")


def test_the_command(tmp_path: Path) -> None:
    path, rows = tmp_path / "s.zarr", tmp_path / "rows.txt"
    np.savez(tmp_path / "t.npz", x=np.arange(20.0), id=np.arange(20))
    ingest(tmp_path / "t.npz", path, Columns(features=("x",), row_id="id"))
    rows.write_text("3\n4\n99\n")
    command = [sys.executable, "-m", "dgmmis", "withdraw", str(path), "--rows", str(rows), "--quiet"]
    code, message = said(command)
    assert code == 65
    assert "have the row ids 99. Check the list" in message
    assert said([*command, "--missing-ok"]) == (0, "")
    dataset = Dataset.open(path)
    assert table_of(dataset)["row_id"].tolist() == [0, 1, 2, *range(5, 20)]
    entry = dataset.provenance[1]
    assert (entry["source"], entry["withdrawn"], entry["row_ids"]) == ("rows.txt", 2, [3, 4])
    assert len(entry["sha256"]) == 64
    rows.write_text("value,id\n0.5,7\n")  # the column is called as it was
    assert said(command) == (0, "")
    assert Dataset.open(path).n_rows == 17
    assert said([*command, "--column", "value"])[0] == 65
    rows.write_text("\n".join(map(str, range(20))))
    code, message = said([*command, "--missing-ok"])
    assert code == 2
    assert "would be left" in message


MEASURE = (
    PEAK
    + """
import sys
import dask.array, zarr
import numpy as np
from dgmmis.dataset.withdraw import withdraw
before = peak()
n = int(sys.argv[2])
done = withdraw(sys.argv[1], np.arange(0, n, 1000))
sys.stdout.write(f"{done.n_rows} {peak() - before}")
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("order", [False, True])
def test_memory_does_not_grow_with_the_survey(tmp_path: Path, order: bool) -> None:
    peaks = []
    for count in (8, 32):
        n = 4 * CHUNK_ROWS
        nights(tmp_path / f"{count}.zarr", n=n, count=count, order=order)
        command = [sys.executable, "-c", MEASURE, str(tmp_path / f"{count}.zarr"), str(n * count)]
        n_rows, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(n_rows) == -(-n * count // 1000)
        peaks.append(float(megabytes))
    assert peaks[1] < 250, peaks
    assert peaks[1] < peaks[0] + 40, peaks
