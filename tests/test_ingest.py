"""Ingest: the same catalogue in any format makes the same survey; what cannot be one is named."""

import bz2
import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from peak import PEAK

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.ingest import Columns, ingest
from dgmmis.errors import DataError, JobError, ShapeError, StoreError

pa = pytest.importorskip("pyarrow")
fits = pytest.importorskip("astropy.io.fits")

import pyarrow.csv  # noqa: E402
import pyarrow.parquet  # noqa: E402
import zarr  # noqa: E402

N = 1000
NAMES = ("ra", "mag", "e_ra", "e_mag", "w", "id")
COLUMNS = Columns(features=("ra", "mag"), errors=("e_ra", "e_mag"), weight="w", row_id="id")


def catalogue(n: int = N) -> dict[str, np.ndarray]:
    """Columns by name; NaN is missing."""
    rng = np.random.default_rng(1)
    table = {name: rng.normal(size=n) for name in ("ra", "mag")}
    table |= {name: rng.uniform(0.1, 1, size=n) for name in ("e_ra", "e_mag", "w")}
    for name in ("ra", "mag"):
        gone = rng.random(n) < 0.2
        table[name][gone] = np.nan
        table[f"e_{name}"][gone] = np.nan
    table["id"] = 2**60 + np.arange(n)
    return table


def arrow(table: dict[str, np.ndarray]) -> "pa.Table":
    """With nulls in the place of NaN, and a column of text in between."""
    columns = {name: pa.array(values, from_pandas=True) for name, values in table.items()}
    return pa.table({"name": pa.array(["HIP, 1"] * len(table["ra"])), **columns})


def as_csv(table: dict[str, np.ndarray], path: Path) -> Path:
    pyarrow.csv.write_csv(arrow(table), path)
    return path


def as_gzip(table: dict[str, np.ndarray], path: Path) -> Path:
    path.write_bytes(gzip.compress(as_csv(table, path).read_bytes()))
    return path


def as_bzip(table: dict[str, np.ndarray], path: Path) -> Path:
    path.write_bytes(bz2.compress(as_csv(table, path).read_bytes()))
    return path


def as_tabs(table: dict[str, np.ndarray], path: Path) -> Path:
    pyarrow.csv.write_csv(arrow(table), path, pyarrow.csv.WriteOptions(delimiter="\t"))
    return path


def as_parquet(table: dict[str, np.ndarray], path: Path) -> Path:
    pyarrow.parquet.write_table(arrow(table), path, row_group_size=300)
    return path


def as_parquet_folder(table: dict[str, np.ndarray], path: Path) -> Path:
    path.mkdir()
    whole = arrow(table)
    for number, start in enumerate(range(0, len(whole), 400)):
        pyarrow.parquet.write_table(whole.slice(start, 400), path / f"part-{number}.parquet")
    return path


def as_fits(table: dict[str, np.ndarray], path: Path) -> Path:
    columns = [fits.Column(name, "K" if name == "id" else "D", array=values) for name, values in table.items()]
    columns.insert(0, fits.Column("name", "6A", array=["HIP, 1"] * len(table["ra"])))
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


def as_npz(table: dict[str, np.ndarray], path: Path) -> Path:
    with path.open("wb") as file:
        np.savez(file, **table, version=3)
    return path


def as_compressed_npz(table: dict[str, np.ndarray], path: Path) -> Path:
    with path.open("wb") as file:
        np.savez_compressed(file, **table)
    return path


def as_zarr(table: dict[str, np.ndarray], path: Path, version: int = 3) -> Path:
    group = zarr.create_group(path, zarr_format=version)
    for name, values in table.items():
        group.create_array(name, data=values, chunks=(300,))
    return path


def as_old_zarr(table: dict[str, np.ndarray], path: Path) -> Path:
    return as_zarr(table, path, version=2)


FORMATS = [as_csv, as_gzip, as_bzip, as_tabs, as_parquet, as_parquet_folder, as_fits]
FORMATS += [as_npz, as_compressed_npz, as_zarr, as_old_zarr]


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("batch_rows", [128, CHUNK_ROWS])
def test_every_format_makes_the_same_survey(tmp_path: Path, write: Callable[..., Path], batch_rows: int) -> None:
    table = catalogue()
    source = write(table, tmp_path / "catalogue")  # told apart without a suffix
    seen = []
    dataset = ingest(
        source, tmp_path / "s.zarr", COLUMNS, batch_rows=batch_rows, on_batch=lambda *done: seen.append(done)
    )
    points = np.column_stack([table["ra"], table["mag"]])
    np.testing.assert_array_equal(dataset.points.compute(), points)
    variances = np.column_stack([table["e_ra"], table["e_mag"]]) ** 2
    np.testing.assert_array_equal(dataset.noise.compute(), np.where(np.isnan(points), 1.0, variances))
    np.testing.assert_array_equal(dataset.weights.compute(), table["w"])
    np.testing.assert_array_equal(dataset.row_ids.compute(), table["id"])
    assert np.isnan(points).all(axis=1).any()  # such rows are kept
    assert seen[-1][0] == N
    assert {total for _, total in seen} <= {None, N}
    assert len(seen) >= N // batch_rows
    (entry,) = dataset.provenance
    assert (entry["source"], entry["rows"], entry["path"]) == ("catalogue", N, str(source))
    assert entry["columns"]["errors"] == ["e_ra", "e_mag"]
    assert ("sha256" in entry) == source.is_file()


def test_append_night_after_night(tmp_path: Path) -> None:
    source = as_csv(catalogue(), tmp_path / "n.csv")
    for night in range(3):
        dataset = ingest(source, tmp_path / "s.zarr", COLUMNS, append=True)
        assert (dataset.n_rows, len(dataset.segments)) == ((night + 1) * N, night + 1)
    assert ingest(source, tmp_path / "s.zarr", COLUMNS, overwrite=True).n_rows == N
    with pytest.raises(StoreError, match="exists"):
        ingest(source, tmp_path / "s.zarr", COLUMNS)


# the forms that noise comes in


def test_full_noise_by_columns(tmp_path: Path) -> None:
    names = ("aa", "ba", "bb")
    table = {"a": np.array([1.0, 2.0, np.nan]), "b": np.array([1.0, 2.0, 3.0])}
    table |= dict(zip(names, ([4.0, 9.0, np.nan], [1.0, -1.0, np.nan], [5.0, 6.0, 7.0]), strict=True))
    columns = Columns(features=("a", "b"), covariances=names, scale={"a": 10.0, "bb": 1.0, "b": -2.0})
    dataset = ingest(as_npz(table, tmp_path / "t"), tmp_path / "s.zarr", columns)
    assert dataset.schema.noise == "full"
    np.testing.assert_array_equal(dataset.points.compute(), [[10, -2], [20, -4], [np.nan, -6]])
    np.testing.assert_array_equal(dataset.noise.compute(), [[400, -20, 5], [900, 20, 6], [1, 0, 7]])


def test_scale_reaches_the_errors(tmp_path: Path) -> None:
    table = {"a": np.array([10, 20]), "e": np.array([1, 2]), "b": np.array([10, 20]), "f": np.array([1, 2])}
    columns = Columns(features=("a", "b"), errors=("e", "f"), scale={"a": -0.5, "b": 0.5, "f": 3.0})
    dataset = ingest(as_npz(table, tmp_path / "t"), tmp_path / "s.zarr", columns)
    np.testing.assert_array_equal(dataset.points.compute(), [[-5, 5], [-10, 10]])
    np.testing.assert_array_equal(dataset.noise.compute(), [[0.25, 9], [1, 36]])
    columns = Columns(features=("a", "b"), variances=("e", "f"), scale={"a": 0.5})
    dataset = ingest(tmp_path / "t", tmp_path / "v.zarr", columns)
    np.testing.assert_array_equal(dataset.noise.compute(), [[0.25, 1], [0.5, 2]])


def test_shared_noise(tmp_path: Path) -> None:
    columns = Columns(features=("ra", "mag"), shared_noise=np.diag([1.0, 2.0]))
    dataset = ingest(as_csv(catalogue(), tmp_path / "t"), tmp_path / "s.zarr", columns)
    np.testing.assert_array_equal(dataset.references[0].load().noise.covariance, np.diag([1.0, 2.0]))


@pytest.mark.parametrize("write", [as_npz, as_compressed_npz, as_zarr])
def test_arrays(tmp_path: Path, write: Callable[..., Path]) -> None:
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(N, 3, 3))
    arrays = {
        "Y": rng.normal(size=(N, 3)).astype("f4"),
        "S": factors @ factors.swapaxes(1, 2) + np.eye(3),
        "V": rng.uniform(size=(N, 3)),
        "R": rng.normal(size=(N, 3, 2)),
        "w": np.ones(N),
    }
    source = write(arrays, tmp_path / "t") if write is not as_zarr else tmp_path / "t"
    if write is as_zarr:
        group = zarr.create_group(source)
        for name, values in arrays.items():
            group.create_array(name, data=values)
    full = Columns(points="Y", noise="S", projection="R", weight="w", features=("p", "q"))
    dataset = ingest(source, tmp_path / "f.zarr", full, batch_rows=300)
    assert (dataset.schema.features, dataset.schema.measured) == (("p", "q"), ("Y:0", "Y:1", "Y:2"))
    np.testing.assert_array_equal(dataset.projection.compute(), arrays["R"])
    i, j = np.tril_indices(3)
    np.testing.assert_array_equal(dataset.noise.compute(), arrays["S"][:, i, j])
    diagonal = ingest(source, tmp_path / "d.zarr", Columns(points="Y", noise="V", scale={"Y": 2.0}))
    assert (diagonal.schema.features, diagonal.schema.noise) == (("Y:0", "Y:1", "Y:2"), "diagonal")
    np.testing.assert_array_equal(diagonal.points.compute(), arrays["Y"].astype(float) * 2)
    np.testing.assert_array_equal(diagonal.noise.compute(), arrays["V"] * 4)
    some = ingest(source, tmp_path / "c.zarr", Columns(features=("Y:2", "Y:0"), variances=("V:2", "V:0")))
    np.testing.assert_array_equal(some.points.compute(), arrays["Y"][:, [2, 0]])
    np.testing.assert_array_equal(some.noise.compute(), arrays["V"][:, [2, 0]])


@pytest.mark.parametrize("kind", ["npy", "zarr", "Fortran"])
def test_a_lone_array_is_called_x(tmp_path: Path, kind: str) -> None:
    points = np.random.default_rng(3).normal(size=(N, 2))
    if kind == "zarr":
        zarr.create_array(tmp_path / "t", data=points)
    else:
        with (tmp_path / "t").open("wb") as file:
            np.save(file, np.asfortranarray(points) if kind == "Fortran" else points)
    dataset = ingest(tmp_path / "t", tmp_path / "s.zarr", Columns(points="X", features=("a", "b")), batch_rows=300)
    assert dataset.schema.features == ("a", "b")
    np.testing.assert_array_equal(dataset.points.compute(), points)


def test_fits_nulls_scales_and_units(tmp_path: Path) -> None:
    columns = [
        fits.Column("short", "I", array=np.array([1, -99, 3]), null=-99, unit="mas"),
        fits.Column("single", "E", array=np.array([1.5, np.nan, 2.5]), unit="mag"),
        fits.Column("unsigned", "J", array=np.array([0, 2**31, 2**32 - 1], dtype="u4"), bzero=2**31),
        fits.Column("big", "K", array=np.array([0, 2**62, 2**63 - 1], dtype="u8"), bzero=2**63),
        fits.Column("signed", "B", array=np.array([-128, 0, 127], dtype="i1"), bzero=-128),
        fits.Column("vector", "2D", array=np.arange(6.0).reshape(3, 2)),
        fits.Column("matrix", "4D", dim="(2,2)", array=np.tile(np.eye(2), (3, 1, 1))),
        fits.Column("flag", "L", array=[True, False, True]),
        fits.Column("scaled", "J", array=np.array([0, 1, -1]), null=-1),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    image = fits.ImageHDU(np.zeros((4, 4)))
    fits.HDUList([fits.PrimaryHDU(), image, table]).writeto(tmp_path / "t")
    features = ("short", "single", "unsigned", "signed", "vector:1", "scaled")
    for card, value in (("TSCAL9", 0.5), ("TZERO9", 10.0)):  # scaled integers, as survey pipelines write them
        fits.setval(tmp_path / "t", card, value=value, ext=2)
    content = (tmp_path / "t").read_bytes()
    dataset = ingest(tmp_path / "t", tmp_path / "s.zarr", Columns(features=features, row_id="big"), batch_rows=2)
    np.testing.assert_array_equal(
        dataset.points.compute(),
        [[1, 1.5, 0, -128, 1, 10], [np.nan, np.nan, 2**31, 0, 3, 10.5], [3, 2.5, 2**32 - 1, 127, 5, np.nan]],
    )
    np.testing.assert_array_equal(dataset.row_ids.compute(), [0, 2**62, 2**63 - 1])
    assert dataset.schema.units == ("mas", "mag", "", "", "", "")
    scaled = ingest(tmp_path / "t", tmp_path / "u.zarr", Columns(features=features[:2], scale={"short": 0.1}))
    assert scaled.schema.units == ("", "mag")
    full = ingest(tmp_path / "t", tmp_path / "m.zarr", Columns(points="vector", noise="matrix"))
    np.testing.assert_array_equal(full.noise.compute(), [[1, 0, 1]] * 3)
    with pytest.raises(DataError, match=r"'flag' is not numeric.*got L"):
        ingest(tmp_path / "t", tmp_path / "x.zarr", Columns(features=("flag",)))
    with pytest.raises(ShapeError, match=r"'vector' has more than one column.*Name one as 'vector:0'"):
        ingest(tmp_path / "t", tmp_path / "x.zarr", Columns(features=("vector",)))
    (tmp_path / "t").write_bytes(content[:-2880])
    with pytest.raises(DataError, match="cut short: expected 3 rows, got 0"):
        ingest(tmp_path / "t", tmp_path / "x.zarr", Columns(features=("single",)))


# what cannot be a survey is named


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_fits, as_npz, as_zarr])
def test_rows_are_named_as_the_source_counts_them(tmp_path: Path, write: Callable[..., Path]) -> None:
    for number, (name, value, message) in enumerate(
        [
            ("ra", np.inf, "infinite values in row 777"),
            ("e_ra", np.nan, "no error on a measured feature in row 777: expected a number in e_ra, got none. Give"),
            ("e_ra", -1.0, "negative errors in row 777"),
            ("e_ra", 1e200, "negative or not finite in row 777"),
            ("w", -1.0, "sample_weight is negative or not finite in row 777"),
            ("w", np.nan, "sample_weight is negative or not finite in row 777"),
        ]
    ):
        table = catalogue()
        table["ra"][777], table["e_ra"][777] = 1.0, 1.0
        table[name][777] = value
        folder = tmp_path / str(number)
        folder.mkdir()
        source = write(table, folder / "t")
        with pytest.raises(DataError, match=message):
            ingest(source, folder / "s.zarr", COLUMNS, batch_rows=100)
        assert [entry.name for entry in folder.iterdir()] == ["t"]


def test_covariances_that_none_can_have(tmp_path: Path) -> None:
    table = {"a": np.zeros(N), "b": np.zeros(N), "aa": np.ones(N), "ba": np.zeros(N), "bb": np.ones(N)}
    columns = Columns(features=("a", "b"), covariances=("aa", "ba", "bb"))
    for value, message in ((2.0, "not symmetric positive definite in row 900"), (np.nan, "in row 900: .* in ba, got")):
        table["ba"][900] = value
        source = as_csv(table | {"ra": table["a"]}, tmp_path / "t")
        with pytest.raises(DataError, match=message):
            ingest(source, tmp_path / "s.zarr", columns, batch_rows=64)
    table["b"][900] = np.nan  # not measured, so that its noise does not matter
    dataset = ingest(as_npz(table, tmp_path / "t"), tmp_path / "s.zarr", columns)
    np.testing.assert_array_equal(dataset.noise.compute()[900], [1, 0, 1])


@pytest.mark.parametrize("write", FORMATS)
def test_unknown_and_unfit_columns(tmp_path: Path, write: Callable[..., Path]) -> None:
    source = write(catalogue(), tmp_path / "t")
    with pytest.raises(JobError, match=r"no column 'magg'\. Did you mean 'mag'\?"):
        ingest(source, tmp_path / "s.zarr", Columns(features=("magg",)))
    with pytest.raises(JobError, match="no column 'ww'"):
        ingest(source, tmp_path / "s.zarr", Columns(features=("mag",), weight="ww"))
    with pytest.raises(JobError, match="scale for 'ra', which is not used"):
        ingest(source, tmp_path / "s.zarr", Columns(features=("mag",), scale={"ra": 2}))
    if write not in (as_npz, as_compressed_npz, as_zarr, as_old_zarr):
        with pytest.raises(DataError, match=r"column 'name'.* is not numeric"):
            ingest(source, tmp_path / "s.zarr", Columns(features=("ra", "name")))
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]


def test_text_after_numbers(tmp_path: Path) -> None:
    body = "a,b\n" + "1,2\n" * 400_000 + "1,2.5\n 3 ,\n1,faint\n"
    (tmp_path / "t").write_text(body)
    with pytest.raises(DataError, match=r"column 'b' \(int64\) of 't' is not numeric in line 400004.*'faint'"):
        ingest(tmp_path / "t", tmp_path / "s.zarr", Columns(features=("a", "b")))
    (tmp_path / "t").write_text(body.replace("faint", "NA"))
    dataset = ingest(tmp_path / "t", tmp_path / "s.zarr", Columns(features=("a", "b")))
    np.testing.assert_array_equal(dataset.points[-3:].compute(), [[1, 2.5], [3, np.nan], [1, np.nan]])


@pytest.mark.parametrize(
    ("row_id", "message"),
    [
        ([1.0, np.nan], "'i' is missing or not a whole number of 64 bits in row 1"),
        ([1.5, 2.0], "in row 0"),
        (np.array([1, 2**63], dtype="u8"), "in row 1"),
    ],
)
def test_row_numbers_are_whole(tmp_path: Path, row_id: list[float] | np.ndarray, message: str) -> None:
    source = as_npz({"a": np.zeros(2), "i": np.asarray(row_id)}, tmp_path / "t")
    with pytest.raises(DataError, match=message):
        ingest(source, tmp_path / "s.zarr", Columns(features=("a",), row_id="i"))


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({}, "no features"),
        ({"features": "ab"}, r"list of names: got 'ab'. Write \['ab'\]"),
        ({"features": ("a", "a")}, "distinct"),
        ({"features": ("a", "b"), "errors": ("e",)}, "expected 2 columns for 2 features, got"),
        ({"features": ("a", "b"), "covariances": ("e", "f")}, "expected 3 columns for 2 features"),
        ({"features": ("a",), "errors": ("e",), "variances": ("v",)}, "given twice, as errors and variances"),
        ({"points": "Y", "errors": ("e",)}, "expected noise='NAME' with points"),
        ({"features": ("a",), "noise": "S"}, "go with points"),
    ],
)
def test_roles_that_do_not_go_together(roles: dict[str, object], message: str) -> None:
    with pytest.raises(JobError, match=message):
        Columns(**roles)


@pytest.mark.parametrize(
    ("arrays", "roles", "message"),
    [
        ({"Y": np.zeros((5, 2)), "S": np.ones((5, 4))}, {"points": "Y", "noise": "S"}, r"expected \(n, 2\), \(n, 3\)"),
        ({"Y": np.zeros((5, 2)), "R": np.ones((5, 3, 2))}, {"points": "Y", "projection": "R"}, r"expected \(n, 2, d\)"),
        ({"Y": np.zeros(5)}, {"points": "Y"}, "'Y' is not a table"),
        ({"Y": np.zeros((5, 2))}, {"points": "Y", "features": ("a",)}, "2 names for the columns of 'Y'"),
        ({"Y": np.zeros((5, 2)), "w": np.ones(4)}, {"points": "Y", "weight": "w"}, "unequal length"),
        ({"Y": np.zeros((5, 2))}, {"features": ("Y:2",)}, "no column 'Y:2'"),
        ({"Y": np.array(["a"])}, {"features": ("Y",)}, "'Y' is not numeric: expected real numbers, got <U1"),
        ({"Y": np.zeros(0)}, {"features": ("Y",)}, "no rows were written"),
    ],
)
def test_arrays_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, np.ndarray], roles: dict[str, str], message: str
) -> None:
    with pytest.raises((ShapeError, JobError, DataError), match=message):
        ingest(as_npz(arrays, tmp_path / "t"), tmp_path / "s.zarr", Columns(**roles))


def test_sources_that_are_none(tmp_path: Path) -> None:
    columns, out = Columns(features=("a",)), tmp_path / "s.zarr"
    with pytest.raises(StoreError, match="no file"):
        ingest(tmp_path / "nowhere", out, columns)
    table = as_csv(catalogue(), tmp_path / "t.csv").read_bytes()
    whole = as_parquet(catalogue(), tmp_path / "t.parquet").read_bytes()
    zipped = as_npz(catalogue(), tmp_path / "t.npz").read_bytes()
    as_fits(catalogue(), tmp_path / "t.fits")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
    for content, message in (
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", "unknown format: expected CSV.*, got .*HDF"),
        (b"a,b\n1,2\n3\n", "cannot be read as a table.*Expected 2 columns, got 1"),
        (b"a,a\n1,2\n", "more than one column 'a'"),
        (whole[:-100], "not a whole parquet file"),
        (zipped[:4000], "cannot be read|not a|no arrays"),
        (gzip.compress((tmp_path / "t.fits").read_bytes()), "compressed FITS.*Uncompress it first"),
        ((tmp_path / "image.fits").read_bytes(), "no binary table"),
        (gzip.compress(table)[:-3000], "cannot be read"),
    ):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises((DataError, StoreError), match=message):
            ingest(tmp_path / "x", out, columns)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder of an unknown kind"):
        ingest(tmp_path / "folder", out, columns)
    ingest(tmp_path / "t.csv", out, COLUMNS)
    with pytest.raises(DataError, match="survey store already"):
        ingest(out, tmp_path / "again.zarr", columns)
    with pytest.raises(JobError, match="batch_rows"):
        ingest(tmp_path / "t.csv", tmp_path / "again.zarr", COLUMNS, batch_rows=0)


@pytest.mark.parametrize(("package", "write"), [("pyarrow", as_csv), ("pyarrow", as_parquet), ("astropy", as_fits)])
def test_a_missing_package_is_named(tmp_path: Path, package: str, write: Callable[..., Path]) -> None:
    source = write(catalogue(10), tmp_path / "t")
    code = f"""
import sys
sys.modules[{package!r}] = None
from dgmmis.dataset.ingest import ingest, Columns
from dgmmis.errors import DgmmisError
try:
    ingest({str(source)!r}, {str(tmp_path / "s.zarr")!r}, Columns(features=("ra",)))
except DgmmisError as error:
    sys.stdout.write(str(error))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"read with {package}, which is not installed. Install it: pip install 'dgmmis[formats]'" in out.stdout


MEASURE = (
    PEAK
    + """
import sys
import dask.array, pyarrow.csv, pyarrow.parquet, zarr
from dgmmis.dataset.ingest import ingest, Columns
before = peak()
names = [f"c{i}" for i in range(4)]
dataset = ingest(sys.argv[1], sys.argv[2], Columns(features=names, errors=[f"e{i}" for i in range(4)]))
sys.stdout.write(f"{dataset.n_rows} {peak() - before}")
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_memory_does_not_grow_with_the_catalogue(tmp_path: Path, kind: str) -> None:
    n, source = 4_000_000, tmp_path / "t"
    values = np.random.default_rng(5).uniform(1, 2, size=500_000)
    table = {
        f"{letter}{i}": np.tile(np.roll(values, i).astype("f4"), n // 500_000) for letter in "ce" for i in range(4)
    }
    if kind == "csv":
        pyarrow.csv.write_csv(pa.table(table), source)
        assert source.stat().st_size > 250e6
    elif kind == "parquet":
        pyarrow.parquet.write_table(pa.table(table), source, row_group_size=n, use_dictionary=False)
    else:
        as_npz(table, source)
    del table
    command = [sys.executable, "-c", MEASURE, str(source), str(tmp_path / "s.zarr")]
    n_rows, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(n_rows) == n
    assert float(megabytes) < 300, megabytes


TYCHO = Path(__file__).parents[2] / "shared/data/tycho2/tycho2.parquet"


@pytest.mark.skipif(not TYCHO.exists(), reason="the Tycho-2 catalogue is not beside the repository")
def test_tycho(tmp_path: Path) -> None:
    features = ("pmRA_x10", "pmDE_x10", "BT_x1000", "VT_x1000")
    scale = {"pmRA_x10": 0.1, "pmDE_x10": 0.1, "BT_x1000": 0.001, "VT_x1000": 0.001}
    columns = Columns(features=features, errors=tuple(f"e_{name}" for name in features), scale=scale)
    dataset = ingest(TYCHO, tmp_path / "s.zarr", columns)
    assert dataset.n_rows == 2_539_913
    assert [entry["missing"] for entry in dataset.describe()["columns"]] == [109_445, 109_445, 91, 20]
    table = pyarrow.parquet.read_table(TYCHO, columns=["VT_x1000", "e_VT_x1000"])
    expected = table["VT_x1000"].to_numpy() * 0.001
    np.testing.assert_array_equal(dataset.points[:, 3].compute(), expected)
    errors = np.where(np.isnan(expected), 1.0, (table["e_VT_x1000"].to_numpy() * 0.001) ** 2)
    np.testing.assert_allclose(dataset.noise[:, 3].compute(), errors, rtol=1e-15)
    assert Dataset.open(dataset.path).references[-1].load().n_samples == 2_539_913 - 38 * CHUNK_ROWS
