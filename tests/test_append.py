"""Appended catalogues: columns as before, what drifted refused, and rows that are there already left out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peak import PEAK

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset import first_rows
from dgmmis.dataset.append import append
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.held_store import HeldStore
from dgmmis.dataset.ingest import Columns, ingest
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, DgmmisError, JobError, LockedError, StoreError

fits = pytest.importorskip("astropy.io.fits")

COLUMNS = Columns(
    features=("ra", "mag"), errors=("e_ra", "e_mag"), weight="w", row_id="id", units=("deg", "mag"), scale={"ra": 2.0}
)


def night(first: int, n: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns of rows with consecutive numbers; values follow from these and the seed."""
    rng = np.random.default_rng((seed, first))
    table = {"id": np.arange(first, first + n), **{name: rng.normal(size=n) for name in ("ra", "mag")}}
    table["ra"][rng.random(n) < 0.1] = np.nan
    return table | {name: rng.uniform(0.1, 1, n) for name in ("e_ra", "e_mag", "w")}


def as_npz(path: Path, table: dict[str, np.ndarray]) -> Path:
    with path.open("wb") as file:
        np.savez(file, **table)
    return path


def as_csv(path: Path, table: dict[str, np.ndarray]) -> Path:
    lines = [
        ",".join(table),
        *(",".join(map(repr, row)) for row in zip(*(c.tolist() for c in table.values()), strict=True)),
    ]
    path.write_text("\n".join(lines).replace("nan", ""))
    return path


def in_catalogue_order(data: Dataset) -> dict[str, np.ndarray]:
    """Everything that is stored of the rows."""
    order = np.argsort(data.catalogue_rows.compute(), kind="stable")
    names = [*data.schema.arrays, *(["row_id"] if data.row_ids is not None else [])]
    return {name: np.concatenate([r.read(name) for r in data.references])[order] for name in names}


def both(*tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


# what is not given is as before


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("storage", ["float64", "float32"])
def test_everything_as_before(tmp_path: Path, order: bool, storage: str) -> None:
    options = {"order": order, "storage": storage}
    first, second = night(0, 300), night(300, 200)
    ingest(as_csv(tmp_path / "1", first), tmp_path / "s.zarr", COLUMNS, **options)
    done = append(as_csv(tmp_path / "2", second), tmp_path / "s.zarr")
    whole = ingest(as_csv(tmp_path / "3", both(first, second)), tmp_path / "whole.zarr", COLUMNS, **options)
    assert (done.n_rows, done.n_left_out, done.dataset.n_rows) == (200, 0, 500)
    assert done.dataset.schema == whole.schema
    assert (done.dataset.schema.storage, done.dataset.is_ordered) == (storage, order)
    found, expected = in_catalogue_order(done.dataset), in_catalogue_order(whole)
    assert found.keys() == expected.keys() == {"points", "noise", "weights", "row_id"}
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
    assert done.dataset.provenance[0]["columns"] == done.dataset.provenance[1]["columns"]


def test_columns_that_are_given_take_the_place_of_those_before(tmp_path: Path) -> None:
    first, second = night(0, 30), night(30, 20)
    ingest(as_csv(tmp_path / "1", first), tmp_path / "s.zarr", COLUMNS)
    second["variance_ra"], second["variance_mag"] = second.pop("e_ra") ** 2 * 4, second.pop("e_mag") ** 2
    roles = {"variances": ("variance_ra", "variance_mag"), "scale": {"variance_ra": 1.0}}
    dataset = append(as_csv(tmp_path / "2", second), tmp_path / "s.zarr", roles).dataset
    np.testing.assert_array_equal(dataset.points[30:, 1].compute(), second["mag"])
    np.testing.assert_array_equal(dataset.points[30:, 0].compute(), second["ra"] * 2)
    expected = np.where(np.isnan(second["ra"]), 1.0, second["variance_ra"])
    np.testing.assert_array_equal(dataset.noise[30:, 0].compute(), expected)
    np.testing.assert_array_equal(dataset.weights[30:].compute(), second["w"])


def test_shared_noise(tmp_path: Path) -> None:
    columns = Columns(features=("ra", "mag"), shared_noise=np.array([[1.0, 0.1], [0.1, 1 / 3]]))
    source = as_csv(tmp_path / "1", night(0, 30))
    ingest(source, tmp_path / "s.zarr", columns)
    assert append(source, tmp_path / "s.zarr").dataset.n_rows == 60
    assert append(source, tmp_path / "s.zarr", columns).dataset.n_rows == 90
    with pytest.raises(StoreError, match=r"another schema: shared_covariance \[\[1.0, .*!= \[\[2.0, "):
        append(source, tmp_path / "s.zarr", {"shared_noise": np.eye(2) * 2})
    with pytest.raises(StoreError, match="noise shared != diagonal"):
        append(source, tmp_path / "s.zarr", {"errors": ("e_ra", "e_mag")})
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 90


def test_a_survey_that_came_from_no_file(tmp_path: Path) -> None:
    schema = Schema(("ra", "mag"), noise="shared", shared_covariance=np.eye(2))
    with SurveyWriter(tmp_path / "s.zarr", schema) as writer:
        writer.write(np.zeros((5, 2)))
    assert append(as_csv(tmp_path / "1", night(0, 30)), tmp_path / "s.zarr").dataset.n_rows == 35
    schema = Schema(("ra", "mag"), noise="diagonal", weighted=True)
    with SurveyWriter(tmp_path / "t.zarr", schema) as writer:
        writer.write(np.zeros((5, 2)), np.ones((5, 2)), weights=np.ones(5), row_ids=np.arange(5))
    with pytest.raises(
        JobError, match=r"have noise \(--errors, .*\) and weights \(--weight\) and row ids \(--row-id\), of"
    ):
        append(tmp_path / "1", tmp_path / "t.zarr")
    roles = {"errors": ("e_ra", "e_mag"), "weight": "w", "row_id": "id"}
    assert append(tmp_path / "1", tmp_path / "t.zarr", roles).dataset.n_rows == 35
    assert append(tmp_path / "1", tmp_path / "t.zarr").dataset.n_rows == 65


def test_arrays_with_projections(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def table(n: int, name: str) -> dict[str, np.ndarray]:
        noise = np.tile(np.eye(3), (n, 1, 1)) * rng.uniform(1, 2, (n, 1, 1))
        return {name: rng.normal(size=(n, 3)), "S": noise, "R": rng.normal(size=(n, 3, 2))}

    first, second, third = table(30, "Y"), table(20, "Y"), table(10, "Z")
    columns = Columns(points="Y", noise="S", projection="R", features=("p", "q"))
    ingest(as_npz(tmp_path / "1", first), tmp_path / "s.zarr", columns)
    append(as_npz(tmp_path / "2", second), tmp_path / "s.zarr")
    dataset = append(as_npz(tmp_path / "3", third), tmp_path / "s.zarr", {"points": "Z"}).dataset
    assert dataset.schema.measured == ("Y:0", "Y:1", "Y:2")
    np.testing.assert_array_equal(dataset.points.compute(), np.concatenate([first["Y"], second["Y"], third["Z"]]))
    np.testing.assert_array_equal(dataset.projection[50:].compute(), third["R"])
    with pytest.raises(JobError, match="no columns 'Z', 'R'"):
        append(as_npz(tmp_path / "4", {"S": first["S"]}), tmp_path / "s.zarr")


# what has drifted is refused, and named


def test_columns_that_are_missing_are_all_named(tmp_path: Path) -> None:
    table = night(0, 30)
    ingest(as_csv(tmp_path / "1", table), tmp_path / "s.zarr", COLUMNS)
    del table["e_mag"], table["w"]
    with pytest.raises(JobError, match=r"no columns 'e_mag', 'w'\. Known: id, ra, mag, e_ra"):
        append(as_csv(tmp_path / "2", table), tmp_path / "s.zarr")
    table["w"], table["e_mg"] = table["ra"], table["ra"]
    with pytest.raises(JobError, match=r"no column 'e_mag'. Did you mean 'e_mg'"):
        append(as_csv(tmp_path / "2", table), tmp_path / "s.zarr")
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 30


def test_columns_of_another_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("id,a\n1,2.5\n")
    ingest(tmp_path / "1", tmp_path / "s.zarr", Columns(features=("a",), row_id="id"))
    for text, message in (("id,a\n2,faint\n", "column 'a'.* not numeric"), ("id,a\n2.5,1\n", "column 'id'.*2.5")):
        (tmp_path / "2").write_text(text)
        with pytest.raises(DataError, match=message):
            append(tmp_path / "2", tmp_path / "s.zarr")
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 1


def test_units(tmp_path: Path) -> None:
    def table(name: str, *units: str | None) -> Path:
        columns = [fits.Column(x, "D", unit=unit, array=np.arange(3.0)) for x, unit in zip("ab", units, strict=True)]
        fits.BinTableHDU.from_columns(columns).writeto(tmp_path / name)
        return tmp_path / name

    store = tmp_path / "s.zarr"
    ingest(table("1", "mas", None), store, Columns(features=("a", "b")))
    assert append(table("2", "mas", "mag"), store).dataset.schema.units == ("mas", "")
    assert append(table("3", None, None), store).dataset.schema.units == ("mas", "")
    (tmp_path / "4.csv").write_text("a,b\n1,2\n")
    assert append(tmp_path / "4.csv", store).dataset.n_rows == 10
    with pytest.raises(DataError, match=r"other units than those of the survey '.*': 'a' in arcsec, not mas\. Convert"):
        append(table("5", "arcsec", "mag"), store)
    converted = append(tmp_path / "5", store, {"scale": {"a": 1000.0}}).dataset
    np.testing.assert_array_equal(converted.points[10:, 0].compute(), [0, 1000, 2000])
    with pytest.raises(DataError, match="'a' in deg, not mas"):
        append(tmp_path / "1", store, {"units": ("deg", "")})
    assert append(table("6", "MAS", ""), store, {"units": ("mas", "")}).dataset.n_rows == 16


def test_a_damaged_provenance_is_an_error(tmp_path: Path) -> None:
    source = as_csv(tmp_path / "1", night(0, 30))
    ingest(source, tmp_path / "s.zarr", COLUMNS)
    document = json.loads((tmp_path / "s.zarr/zarr.json").read_text())
    for damaged in ({"features": 3}, {"colour": "red"}, 7, {"features": ["a"], "scale": {"a": "x"}}):
        document["attributes"]["dgmmis"]["provenance"][0]["columns"] = damaged
        (tmp_path / "s.zarr/zarr.json").write_text(json.dumps(document))
        with pytest.raises(StoreError, match=r"provenance of .* is damaged"):
            append(source, tmp_path / "s.zarr")


# rows that are there already


def numbered(path: Path, ids: np.ndarray, value: float) -> Path:
    return as_npz(path, {"id": ids, "x": np.full(len(ids), value) + np.arange(len(ids)) / 1e6})


PLAIN = Columns(features=("x",), row_id="id")


@settings(max_examples=25)
@given(
    nights=st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=40), min_size=1, max_size=5),
    block=st.integers(1, 50),
    batch=st.integers(1, 50),
    order=st.booleans(),
)
def test_the_first_of_each_stays(
    nights: list[list[int]], block: int, batch: int, order: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("unique")
    expected: dict[int, float] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_rows, "BLOCK_ROWS", block)
        patch.setattr(first_rows, "CHUNK_ROWS", 7)
        for number, ids in enumerate(nights):
            source = numbered(folder / f"{number}", np.array(ids), float(number))
            done = append(source, folder / "s.zarr", PLAIN, unique=True, order=order, batch_rows=batch)
            before = len(expected)
            for place, own in enumerate(ids):
                expected.setdefault(own, number + place / 1e6)
            assert (done.n_rows, done.n_left_out) == (len(expected) - before, len(ids) - len(expected) + before)
    found = in_catalogue_order(Dataset.open(folder / "s.zarr"))
    assert found["row_id"].tolist() == list(expected)
    assert found["points"][:, 0].tolist() == list(expected.values())
    names = {entry.name for entry in (folder / "s.zarr/segments").iterdir() if entry.is_dir()}
    assert names == {segment.name for segment in Dataset.open(folder / "s.zarr").segments}


def test_nothing_new_changes_nothing(tmp_path: Path) -> None:
    source = as_csv(tmp_path / "1", night(0, 30))
    ingest(source, tmp_path / "s.zarr", COLUMNS)
    before = (tmp_path / "s.zarr/zarr.json").read_bytes()
    done = append(as_csv(tmp_path / "2", night(0, 30, seed=1)), tmp_path / "s.zarr", unique=True)
    assert (done.n_rows, done.n_left_out, done.dataset.n_rows) == (0, 30, 30)
    assert (tmp_path / "s.zarr/zarr.json").read_bytes() == before
    assert sorted(entry.name for entry in (tmp_path / "s.zarr").iterdir()) == ["segments", "zarr.json"]
    assert sorted(entry.name for entry in (tmp_path / "s.zarr/segments").iterdir()) == ["000000", "zarr.json"]


def test_what_was_left_out_is_noted(tmp_path: Path) -> None:
    ingest(as_csv(tmp_path / "1", night(0, 30)), tmp_path / "s.zarr", COLUMNS)
    done = append(as_csv(tmp_path / "2", night(20, 30)), tmp_path / "s.zarr", unique=True)
    assert (done.n_rows, done.n_left_out) == (20, 10)
    entry = done.dataset.provenance[1]
    assert (entry["source"], entry["rows"], entry["left_out"]) == ("2", 20, 10)


def test_rows_are_named_as_the_source_counts_them(tmp_path: Path) -> None:
    ingest(as_npz(tmp_path / "1", night(0, 100)), tmp_path / "s.zarr", COLUMNS)
    table = night(0, 200)
    table["mag"][150] = np.inf
    with pytest.raises(DataError, match="infinite values in row 150"):
        append(as_npz(tmp_path / "2", table), tmp_path / "s.zarr", unique=True, batch_rows=40)
    assert sorted(entry.name for entry in (tmp_path / "s.zarr/segments").iterdir()) == ["000000", "zarr.json"]


def test_row_ids_are_needed(tmp_path: Path) -> None:
    source = as_csv(tmp_path / "1", night(0, 30))
    ingest(source, tmp_path / "s.zarr", Columns(features=("ra",)))
    with pytest.raises(JobError, match=r"cannot be told apart. Name their column"):
        append(source, tmp_path / "s.zarr", unique=True)
    with pytest.raises(JobError, match=r"have no row ids: got id. Append without them"):
        append(source, tmp_path / "s.zarr", {"row_id": "id"}, unique=True)
    with pytest.raises(JobError, match="cannot be told apart"):
        append(source, tmp_path / "new.zarr", Columns(features=("ra",)), unique=True)
    assert not (tmp_path / "new.zarr").exists()


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def test_chunks_of_other_numbers_are_not_read(tmp_path: Path) -> None:
    """Those of a damaged file would be an error."""
    ingest(numbered(tmp_path / "1", np.arange(CHUNK_ROWS + 10), 1.0), tmp_path / "s.zarr", PLAIN)
    flip(tmp_path / "s.zarr/segments/000000/row_id/c.0")
    late = numbered(tmp_path / "2", np.arange(CHUNK_ROWS + 10, CHUNK_ROWS + 20), 1.0)
    assert append(late, tmp_path / "s.zarr", unique=True).n_rows == 10
    with pytest.raises(StoreError, match=r"row_id/c\.0"):
        append(numbered(tmp_path / "3", np.array([5, 10**9]), 1.0), tmp_path / "s.zarr", unique=True)


@pytest.mark.parametrize("damage", ["none noted", "not as noted", "no list", "no checksums"])
def test_ranges_that_cannot_be_trusted_are_not(tmp_path: Path, damage: str) -> None:
    """An older version noted none; or a document was changed."""
    store = tmp_path / "s.zarr"
    ingest(numbered(tmp_path / "1", np.arange(100), 1.0), store, PLAIN)
    file = store / "segments/000000/row_id/zarr.json"
    document, manifest = json.loads(file.read_text()), json.loads((store / "zarr.json").read_text())
    if damage == "not as noted":
        document["attributes"]["dgmmis row id ranges"] = [[1000, 2000]]
    elif damage == "no list":
        document["attributes"]["dgmmis row id ranges"] = "abc"
    else:
        checksums = manifest["attributes"]["dgmmis"]["checksums"]
        del document["attributes"]["dgmmis row id ranges"]
        checksums["000000"].pop("dgmmis row id ranges") if damage == "none noted" else checksums.clear()
    file.write_text(json.dumps(document))
    (store / "zarr.json").write_text(json.dumps(manifest))
    done = append(numbered(tmp_path / "2", np.arange(50, 150), 2.0), store, unique=True)
    assert (done.n_rows, done.n_left_out) == (50, 50)
    np.testing.assert_array_equal(done.dataset.row_ids.compute(), np.arange(150))


# several steps under one lock


def test_steps_under_one_lock(tmp_path: Path) -> None:
    ingest(as_csv(tmp_path / "1", night(0, 30)), tmp_path / "s.zarr", COLUMNS)
    with HeldStore(tmp_path / "s.zarr") as store:
        assert append(as_csv(tmp_path / "2", night(20, 30)), store, unique=True).dataset.n_rows == 50
        with pytest.raises(LockedError, match="being written by process"):
            append(tmp_path / "2", tmp_path / "s.zarr")
        with pytest.raises(DgmmisError, match="no file"):
            append(tmp_path / "nowhere", store)
        (tmp_path / "3").write_text("id,ra,mag,e_ra,e_mag,w\n99,1,2,1,-1,1\n")
        with pytest.raises(DataError, match="negative errors"):
            append(tmp_path / "3", store)
        assert append(as_csv(tmp_path / "4", night(40, 30)), store, unique=True).dataset.n_rows == 70
        with pytest.raises(LockedError):
            append(tmp_path / "2", tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="no longer held"):
        append(tmp_path / "2", store)
    assert append(tmp_path / "2", tmp_path / "s.zarr").dataset.n_rows == 100
    np.testing.assert_array_equal(in_catalogue_order(Dataset.open(tmp_path / "s.zarr"))["row_id"][:70], np.arange(70))
    names = {entry.name for entry in (tmp_path / "s.zarr/segments").iterdir() if entry.is_dir()}
    assert names == {segment.name for segment in Dataset.open(tmp_path / "s.zarr").segments}


# the command


def dgmmis(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dgmmis", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])


def test_the_command(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    roles = ("--features", "ra,mag", "--errors", "e_ra,e_mag", "--row-id", "id", "--float32", "--order")
    as_csv(tmp_path / "1", night(0, 30))
    as_csv(tmp_path / "2", night(20, 30))
    assert dgmmis("ingest", tmp_path / "1", store, *roles).returncode == 0
    done = dgmmis("ingest", tmp_path / "2", store, "--append", "--unique", "--json")
    document = json.loads(done.stdout)
    wanted = {"rows": 50, "rows_added": 20, "rows_left_out": 10, "storage": "float32", "ordered": True}
    assert {name: document[name] for name in wanted} == wanted
    said = dgmmis("ingest", tmp_path / "2", store, "--append", "--unique").stdout
    assert "rows left out      30" in said
    for arguments in (("--unique",), ("--append", "--overwrite")):
        refused = dgmmis("ingest", tmp_path / "2", store, *roles, *arguments)
        assert refused.returncode == 2, refused.stderr
    assert "tonight.parquet stars.zarr --append --unique" in dgmmis("ingest", "--help").stdout


MEASURE = (
    PEAK
    + """
import sys
import dask.array, zarr
from dgmmis.dataset.append import append
from dgmmis.dataset.columns import Columns
before = peak()
done = append(sys.argv[1], sys.argv[2], unique=True)
sys.stdout.write(f"{done.n_rows} {done.n_left_out} {peak() - before}")
"""
)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_catalogue(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(1), 16_000_000
    ids = rng.permutation(2 * n)
    ingest(as_npz(tmp_path / "1", {"id": ids[:n], "x": np.zeros(n)}), tmp_path / "s.zarr", PLAIN)
    again = np.concatenate([ids[n // 2 : n], ids[n:]])
    as_npz(tmp_path / "2", {"id": again, "x": np.zeros(len(again))})
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "2"), str(tmp_path / "s.zarr")]
    added, left_out, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert (int(added), int(left_out)) == (n, n // 2)
    assert float(megabytes) < 300, megabytes
