"""The survey store: what is written is what is read, in any batches; and nothing is ever half there."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import killed, start

from dgmmis.chunk import CHUNK_ROWS, LEAF_ROWS
from dgmmis.dataset.dataset import ChunkReference, Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, RefusedError, ShapeError, StoreError
from dgmmis.linalg import pack

FEATURES = ("parallax", "colour", "magnitude")
PLAIN = Schema(FEATURES)


def rows(n: int, seed: int, *, m: int = 3, missing: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, m))
    points[rng.random((n, m)) < missing] = np.nan
    return points


def covariances(n: int, seed: int, m: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, m, m))
    return factors @ factors.swapaxes(1, 2) + np.eye(m)


def write(path: Path, points: np.ndarray, schema: Schema = PLAIN, **options: object) -> Dataset:
    with SurveyWriter(path, schema, **options) as writer:
        writer.write(points)
    return Dataset.open(path)


def loaded(dataset: Dataset, name: str) -> np.ndarray:
    chunks = [reference.load() for reference in dataset.references]
    if name == "noise":
        return np.concatenate([chunk.noise.values for chunk in chunks])
    return np.concatenate([getattr(chunk, name) for chunk in chunks])


@pytest.mark.parametrize("noise", ["none", "shared", "diagonal", "full", "packed"])
@pytest.mark.parametrize("extras", [False, True])
def test_what_is_written_is_read(tmp_path: Path, noise: str, extras: bool) -> None:
    n = 2 * CHUNK_ROWS + 5001
    points, full = rows(n, 1), covariances(n, 2)
    seen = ~np.isnan(points)
    i, j = np.tril_indices(3)
    given, expected = {
        "none": (None, None),
        "shared": (None, full[0]),
        "diagonal": (np.where(seen, 0.5, np.nan), np.where(seen, 0.5, 1.0)),
        "full": (full, np.where(seen[:, i] & seen[:, j], pack(full), i == j)),
        "packed": (pack(full), np.where(seen[:, i] & seen[:, j], pack(full), i == j)),
    }[noise]
    schema = Schema(
        ("x", "y") if extras and noise != "none" else FEATURES,
        noise="full" if noise == "packed" else noise,
        shared_covariance=expected if noise == "shared" else None,
        weighted=extras,
        measured=FEATURES if extras else None,
    )
    weights, row_ids = np.arange(n) / 7, np.arange(n)[::-1] - 2**60
    projection = np.random.default_rng(3).normal(size=(n, 3, schema.n_features))
    with SurveyWriter(tmp_path / "s.zarr", schema, provenance={"source": "here"}, truth={"k": np.arange(2)}) as writer:
        for start in range(0, n, 40_000):
            part = slice(start, start + 40_000)
            own = {"weights": weights[part], "row_ids": row_ids[part], "projection": projection[part]}
            writer.write(points[part], None if given is None else given[part], **(own if extras else {}))
        assert writer.n_rows == n
    dataset = Dataset.open(tmp_path / "s.zarr")
    assert (dataset.n_rows, dataset.n_features, dataset.schema) == (n, schema.n_features, schema)
    assert dataset.truth == {"k": [0, 1]}
    assert [(entry["source"], entry["rows"]) for entry in dataset.provenance] == [("here", n)]
    np.testing.assert_array_equal(loaded(dataset, "points"), points)
    np.testing.assert_array_equal(dataset.points.compute(), points)
    assert dataset.points.chunks[0] == (CHUNK_ROWS, CHUNK_ROWS, 5001)
    chunk = dataset.references[1].load()
    assert chunk.noise.kind == schema.noise
    assert chunk.first_row == CHUNK_ROWS
    if noise == "shared":
        np.testing.assert_array_equal(chunk.noise.covariance, full[0])
    if given is None:
        assert dataset.noise is None
    else:
        np.testing.assert_array_equal(loaded(dataset, "noise"), expected)
        np.testing.assert_array_equal(dataset.noise.compute(), expected)
    if extras:
        for name, array in (("weights", weights), ("projection", projection)):
            np.testing.assert_array_equal(loaded(dataset, name), array)
            np.testing.assert_array_equal(getattr(dataset, name).compute(), array)
        np.testing.assert_array_equal(dataset.row_ids.compute(), row_ids)
    else:
        assert chunk.weights is None
        assert chunk.projection is None
        assert dataset.weights is dataset.projection is dataset.row_ids is None
    arrays = [chunk.points, chunk.weights, chunk.projection, getattr(chunk.noise, "values", None)]
    arrays.append(schema.shared_covariance)
    assert dataset.references[1].nbytes == sum(array.nbytes for array in arrays if array is not None)
    assert dataset.nbytes == sum(reference.nbytes for reference in dataset.references)


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_batches_do_not_matter(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    points = rows(10_000, 4)
    path = tmp_path_factory.mktemp("cut") / "s.zarr"
    with SurveyWriter(path, PLAIN) as writer:
        for part in np.split(points, sorted(cuts)):
            writer.write(part)
    np.testing.assert_array_equal(loaded(Dataset.open(path), "points"), points)


def test_shards_fill_at_any_batch_size(tmp_path: Path) -> None:
    points = rows(9 * CHUNK_ROWS + 17, 5, m=1)
    with SurveyWriter(tmp_path / "s.zarr", Schema(("x",))) as writer:
        for part in np.array_split(points, 7):
            writer.write(part)
    dataset = Dataset.open(tmp_path / "s.zarr")
    assert len(list((tmp_path / "s.zarr/segments/000000/points").glob("c.*"))) == 2
    np.testing.assert_array_equal(loaded(dataset, "points"), points)


def test_segments_keep_the_leaves_aligned(tmp_path: Path) -> None:
    parts = [rows(n, n) for n in (CHUNK_ROWS + 1, LEAF_ROWS + 1, 300)]
    for number, part in enumerate(parts):
        dataset = write(tmp_path / "s.zarr", part, append=number > 0, provenance={"part": number})
    np.testing.assert_array_equal(loaded(dataset, "points"), np.concatenate(parts))
    np.testing.assert_array_equal(dataset.points.compute(), np.concatenate(parts))
    assert [r.first_leaf for r in dataset.references] == [0, 16, 32, 48]
    assert [r.n_leaves for r in dataset.references] == [16, 1, 2, 1]
    assert [r.first_row for r in dataset.references] == [0, 65536, 65537, 65537 + 4097]
    assert len({r.key for r in dataset.references}) == 4
    assert [entry["part"] for entry in dataset.provenance] == [0, 1, 2]


def test_references_travel(tmp_path: Path) -> None:
    points = rows(100, 6)
    reference = write(tmp_path / "s.zarr", points).references[0]
    text = pickle.dumps(reference)
    assert len(text) < 2000
    code = "import pickle, sys; sys.stdout.buffer.write(pickle.load(sys.stdin.buffer).load().points)"
    out = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, check=True)
    assert out.stdout == points.tobytes()
    again = pickle.loads(text)
    assert isinstance(again, ChunkReference)
    assert again.key == reference.key
    np.testing.assert_array_equal(again.load().points, points)


def test_a_small_survey_is_small(tmp_path: Path) -> None:
    dataset = write(tmp_path / "s.zarr", rows(300, 7))
    assert sum(file.stat().st_size for file in dataset.path.rglob("*") if file.is_file()) < 20_000


def test_description(tmp_path: Path) -> None:
    points = np.array([[1.0, np.nan, np.nan], [3.0, -2.0, np.nan]])
    write(tmp_path / "s.zarr", points, Schema(FEATURES, units=("mas", "", "mag")))
    described = write(
        tmp_path / "s.zarr", points + 1, Schema(FEATURES, units=("mas", "", "mag")), append=True
    ).describe()
    assert described["columns"] == [
        {"name": "parallax", "missing": 0, "minimum": 1.0, "maximum": 4.0},
        {"name": "colour", "missing": 2, "minimum": -2.0, "maximum": -1.0},
        {"name": "magnitude", "missing": 4, "minimum": None, "maximum": None},
    ]
    assert (described["rows"], described["chunks"], described["units"]) == (4, 2, ["mas", "", "mag"])
    assert json.loads(json.dumps(described)) == described


# what is damaged is found


@pytest.mark.parametrize("name", ["points", "noise", "weights"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    n = 2 * CHUNK_ROWS
    schema = Schema(FEATURES, noise="diagonal", weighted=True)
    with SurveyWriter(tmp_path / "s.zarr", schema) as writer:
        writer.write(rows(n, 8), np.ones((n, 3)), weights=np.ones(n))
    dataset = Dataset.open(tmp_path / "s.zarr")
    (file,) = (tmp_path / "s.zarr/segments/000000" / name).glob("c.*")
    file.unlink()
    with pytest.raises(StoreError, match=rf"segments/000000/{name}/c\.0"):
        Dataset.open(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match=rf"rows 65536 to 131071 cannot be read.*{name}"):
        dataset.references[1].load()


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", rows(10, 8))
    (tmp_path / "s.zarr/segments/000000/points/zarr.json").unlink()
    with pytest.raises(StoreError, match=r"segments/000000/points/zarr\.json"):
        Dataset.open(tmp_path / "s.zarr")


@pytest.mark.parametrize("n", [1000, 2 * CHUNK_ROWS])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_bytes_are_found(tmp_path: Path, n: int, damage: str) -> None:
    dataset = write(tmp_path / "s.zarr", rows(n, 9))
    (file,) = (tmp_path / "s.zarr/segments/000000/points").glob("c.*")
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 1
    file.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        dataset.references[0].load()


def test_rows_without_any_feature_are_rows(tmp_path: Path) -> None:
    points = np.full((3 * CHUNK_ROWS, 3), np.nan)
    np.testing.assert_array_equal(loaded(write(tmp_path / "s.zarr", points), "points"), points)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "not a dgmmis survey"),
        ({"dgmmis": {"format": "dgmmis run", "version": 1}}, "not a dgmmis survey"),
        ({"dgmmis": {"format": "dgmmis survey", "version": 3}}, "another version: expected 1 or 2, got 3"),
        ({"dgmmis": {"format": "dgmmis survey", "version": 1, "schema": {"features": ["a"]}}}, "damaged"),
        ({"dgmmis": {**PLAIN.to_attributes(), "segments": 3}}, "manifest of .* is damaged"),
        ({"dgmmis": {**PLAIN.to_attributes(), "provenance": [], "truth": None}}, "manifest of .* is damaged"),
    ],
)
def test_foreign_stores_are_refused(tmp_path: Path, attributes: dict[str, object], message: str) -> None:
    import zarr

    zarr.create_group(tmp_path / "g.zarr", attributes=attributes)
    with pytest.raises(StoreError, match=message):
        Dataset.open(tmp_path / "g.zarr")


def test_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no survey store at"):
        Dataset.open(tmp_path / "nowhere.zarr")
    (tmp_path / "file").write_text("text")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(StoreError, match="not a dgmmis survey"):
            Dataset.open(path)


# values and shapes are checked before they are stored


def test_rows_are_named_from_the_first_written(tmp_path: Path) -> None:
    schema = Schema(FEATURES, noise="full", weighted=True)
    good = {"points": np.zeros((70_000, 3)), "noise": np.tile(np.eye(3), (70_000, 1, 1)), "weights": np.ones(70_000)}
    bad = {"points": np.inf, "noise": -np.eye(3), "weights": -1.0}
    for name, value in bad.items():
        arrays = {key: array.copy() for key, array in good.items()}
        arrays[name][69_000] = value
        with SurveyWriter(tmp_path / "s.zarr", schema) as writer:
            writer.write(**good)
            with pytest.raises(DataError, match=r"row 139000: .*got"):
                writer.write(**arrays)
        shutil.rmtree(tmp_path / "s.zarr")
    indefinite = good["noise"].copy()
    indefinite[5, 0, 1] = indefinite[5, 1, 0] = 2.0
    with pytest.raises(DataError, match="positive definite in row 5"), SurveyWriter(tmp_path / "s", schema) as writer:
        writer.write(good["points"], indefinite, weights=good["weights"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": np.zeros((5, 2))}, r"points have the wrong shape: expected \(n, 3\), got \(5, 2\)"),
        ({"noise": None}, r"noise .* 'diagonal': expected \(5, 3\)"),
        ({"noise": np.ones((5, 6))}, r"noise .* expected \(5, 3\), got \(5, 6\)"),
        ({"weights": np.ones(4)}, r"weights .* expected \(5,\), got \(4,\)"),
        ({"row_ids": np.arange(4)}, r"row_ids .* expected \(5,\), got \(4,\)"),
        ({"projection": np.ones((5, 3, 3))}, r"projection .* measured is None: expected none"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    given = {"points": np.zeros((5, 3)), "noise": np.ones((5, 3)), "weights": np.ones(5), **arrays}
    schema = Schema(FEATURES, noise="diagonal", weighted=True)
    with pytest.raises(ShapeError, match=message), SurveyWriter(tmp_path / "s.zarr", schema) as writer:
        writer.write(**given)


def test_row_ids_are_all_or_none(tmp_path: Path) -> None:
    with SurveyWriter(tmp_path / "s.zarr", PLAIN) as writer:
        writer.write(np.zeros((2, 3)), row_ids=np.arange(2))
        with pytest.raises(DataError, match="for some of the rows"):
            writer.write(np.zeros((2, 3)))
    with (
        pytest.raises(DataError, match="for some of the rows"),
        SurveyWriter(tmp_path / "s.zarr", PLAIN, append=True) as writer,
    ):
        writer.write(np.zeros((2, 3)))
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 2


def test_schemas_that_mean_nothing() -> None:
    for wrong, error in (
        ({"features": ()}, DataError),
        ({"features": ("a", "a")}, DataError),
        ({"units": ("m",)}, ShapeError),
        ({"noise": "gauss"}, DataError),
        ({"noise": "shared"}, DataError),
        ({"shared_covariance": np.eye(3)}, DataError),
        ({"noise": "shared", "shared_covariance": np.eye(2)}, ShapeError),
        ({"noise": "shared", "shared_covariance": -np.eye(3)}, DataError),
        ({"measured": ("p", "q", "r", "s")}, RefusedError),
    ):
        with pytest.raises(error):
            Schema(**{"features": FEATURES, **wrong})


def test_schemas_are_values() -> None:
    schema = Schema(FEATURES, noise="shared", shared_covariance=np.eye(3) / 3, units=("a", "b", "c"))
    again = Schema.from_attributes(json.loads(json.dumps(schema.to_attributes())))
    assert again == schema
    assert hash(again) == hash(schema)
    assert pickle.loads(pickle.dumps(schema)) == schema
    assert schema.differences(again) == ()
    assert schema.differences(Schema(FEATURES))[0].startswith("units")


# nothing is half written


def test_an_existing_target_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "s.zarr", rows(10, 1))
    with pytest.raises(StoreError, match="exists"):
        write(tmp_path / "s.zarr", rows(10, 2))
    with pytest.raises(StoreError, match="cannot be written"):
        write(tmp_path / "no folder" / "s.zarr", rows(10, 2))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    for options in ({"overwrite": True}, {"append": True}):
        with pytest.raises(StoreError, match="not a dgmmis survey"):
            write(tmp_path / "mine", rows(10, 2), **options)
    assert (tmp_path / "mine/thesis.tex").exists()
    np.testing.assert_array_equal(loaded(first, "points"), rows(10, 1))


def test_overwrite(tmp_path: Path) -> None:
    before = write(tmp_path / "s.zarr", rows(10, 1))
    with pytest.raises(DataError), SurveyWriter(tmp_path / "s.zarr", PLAIN, overwrite=True) as writer:
        writer.write(np.full((1, 3), np.inf))
    np.testing.assert_array_equal(loaded(Dataset.open(before.path), "points"), rows(10, 1))
    other = Schema(("x",), weighted=True)
    with SurveyWriter(tmp_path / "s.zarr", other, overwrite=True, truth={"a": 1}) as writer:
        writer.write(np.ones((5, 1)), weights=np.ones(5))
    after = Dataset.open(before.path)
    assert (after.schema, after.n_rows, after.truth, len(after.provenance)) == (other, 5, {"a": 1}, 1)
    assert after.references[0].key != before.references[0].key
    assert len(list((tmp_path / "s.zarr/segments").glob("0*"))) == 1


def test_a_store_made_anew_is_another(tmp_path: Path) -> None:
    before = write(tmp_path / "s.zarr", rows(10, 1))
    before.references[0].load()
    shutil.rmtree(tmp_path / "s.zarr")
    after = write(tmp_path / "s.zarr", rows(10, 2))
    assert after.references[0].key != before.references[0].key
    np.testing.assert_array_equal(after.references[0].load().points, rows(10, 2))


def test_append_says_what_differs(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", rows(10, 1))
    with pytest.raises(StoreError, match=r"weighted False != True"):
        write(tmp_path / "s.zarr", rows(10, 1), Schema(FEATURES, weighted=True), append=True)
    with pytest.raises(StoreError, match=r"features \['parallax', .*\] != \['x', 'y', 'z'\]"):
        write(tmp_path / "s.zarr", rows(10, 1), Schema(("x", "y", "z")), append=True)
    with pytest.raises(RefusedError, match="truth"):
        write(tmp_path / "s.zarr", rows(10, 1), append=True, truth={})
    with pytest.raises(RefusedError, match="exclude"):
        SurveyWriter(tmp_path / "s.zarr", PLAIN, append=True, overwrite=True)
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 10


def interrupted(path: Path) -> None:
    with SurveyWriter(path, PLAIN, append=True) as writer:
        writer.write(rows(600_000, 1))
        raise KeyboardInterrupt


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "s.zarr")
    with pytest.raises(DataError, match="no rows"), SurveyWriter(tmp_path / "s.zarr", PLAIN):
        pass
    with (
        pytest.raises(DataError, match="JSON"),
        SurveyWriter(tmp_path / "s.zarr", PLAIN, provenance={"area": float("inf")}),
    ):
        raise AssertionError("not reached")
    with pytest.raises(StoreError, match="not open"):
        SurveyWriter(tmp_path / "s.zarr", PLAIN).write(rows(1, 1))
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "s.zarr", rows(10, 1), append=True)  # appends to nothing: makes it
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "s.zarr")
    with SurveyWriter(tmp_path / "s.zarr", PLAIN, append=True):
        pass  # nothing new
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 10
    assert sorted(entry.name for entry in (tmp_path / "s.zarr/segments").iterdir()) == ["000000", "zarr.json"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", rows(10, 1))
    with SurveyWriter(tmp_path / "s.zarr", PLAIN, append=True) as writer:
        writer.write(rows(10, 2))
        with pytest.raises(StoreError, match="written by process"):
            write(tmp_path / "s.zarr", rows(10, 3), append=True)
    first = SurveyWriter(tmp_path / "t.zarr", PLAIN).__enter__()
    first.write(rows(10, 2))
    write(tmp_path / "t.zarr", rows(5, 3))  # does not take the folder of the first for a leftover
    with pytest.raises(StoreError, match="made by another"):
        first.__exit__(None, None, None)
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 20
    assert Dataset.open(tmp_path / "t.zarr").n_rows == 5


WRITE = """
import sys
import numpy as np
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
points = np.tile(np.arange(65536.0)[:, None], (1, 3))
print("ready", flush=True)
with SurveyWriter(sys.argv[1], Schema(("parallax", "colour", "magnitude")), append=True) as writer:
    for _ in range(12):
        writer.write(points)
print("done", flush=True)
if len(sys.argv) > 2:
    import os, signal
    with SurveyWriter(sys.argv[1], Schema(("parallax", "colour", "magnitude")), append=True) as writer:
        writer.write(points)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def append(path: Path, n: int) -> Dataset:
    return write(path, rows(n, 1), append=path.exists())


@pytest.mark.parametrize("there", [0, 10])
def test_kill_while_writing(tmp_path: Path, there: int) -> None:
    shares = np.random.default_rng(11).uniform(0.1, 1.0, size=6)
    for n_rows, after in killed(WRITE, append, shares, there=there, whole=12 * CHUNK_ROWS, folder=tmp_path):
        points = loaded(after, "points")
        np.testing.assert_array_equal(points[:there], rows(there, 1) if there else points[:0])
        written = np.tile(np.arange(65536.0), (n_rows - there) // 65536)
        np.testing.assert_array_equal(points[there:n_rows, 0], written)


def test_killed_before_the_end(tmp_path: Path) -> None:
    process = start(WRITE, tmp_path / "s.zarr", "kill")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert Dataset.open(tmp_path / "s.zarr").n_rows == 12 * CHUNK_ROWS
    assert os.path.isdir(tmp_path / "s.zarr/segments/000001")  # noqa: PTH112
    assert write(tmp_path / "s.zarr", rows(7, 2), append=True).n_rows == 12 * CHUNK_ROWS + 7
