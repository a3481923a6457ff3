"""Storage as float32: half the room, rounded by 6e-8, and refused where that could be seen."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmmis.chunk import LEAF_ROWS
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.ingest import Columns, ingest
from dgmmis.dataset.rounding import ERROR_ROWS, ErrorSample
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, StoreError
from dgmmis.execution.serial import Serial
from dgmmis.fit import evaluate
from dgmmis.linalg import unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model

FEATURES = ("ra", "mag")
HALF_STEP = 2.0**-24


def stored(path: Path, points: np.ndarray, noise: object = None, kind: str = "none", **options: object) -> Dataset:
    schema = Schema(FEATURES, noise=kind, storage=str(options.pop("storage", "float32")))
    with SurveyWriter(path, schema, **options) as writer:
        writer.write(points, noise)
    return Dataset.open(path)


def points_of(n: int, seed: int = 1, offset: float = 0.0) -> np.ndarray:
    points = offset + np.random.default_rng(seed).normal(size=(n, 2))
    points[::7, 1] = np.nan
    return points


@pytest.mark.parametrize("order", [False, True])
def test_everything_is_rounded_and_read_as_float64(tmp_path: Path, order: bool) -> None:
    n, rng = LEAF_ROWS + 100, np.random.default_rng(2)
    factors = rng.normal(size=(n, 2, 2))
    arrays = {
        "points": points_of(n),
        "noise": factors @ factors.swapaxes(1, 2) + np.eye(2),
        "weights": rng.random(n),
        "projection": rng.normal(size=(n, 2, 3)),
    }
    schema = Schema(("x", "y", "z"), noise="full", weighted=True, measured=FEATURES, storage="float32")
    with SurveyWriter(tmp_path / "s.zarr", schema, order=order) as writer:
        writer.write(**arrays)
    dataset = Dataset.open(tmp_path / "s.zarr")
    assert dataset.schema == schema
    rows = dataset.catalogue_rows.compute()
    chunk = dataset.references[0].load()
    for loaded, lazy, given_array in (
        (chunk.points, dataset.points, arrays["points"]),
        (chunk.weights, dataset.weights, arrays["weights"]),
        (chunk.projection, dataset.projection, arrays["projection"]),
        (chunk.noise.values[:, 0], dataset.noise[:, 0], arrays["noise"][:, 0, 0]),
    ):
        assert loaded.dtype == lazy.dtype == float
        np.testing.assert_array_equal(lazy.compute(), loaded)
        np.testing.assert_allclose(loaded, given_array[rows], rtol=HALF_STEP)
    for block in next(chunk.leaves()).blocks:
        assert block.points.dtype == block.noise.dtype == block.projection.dtype == block.weights.dtype == float
    files = json.loads((dataset.path / "segments/000000/points/zarr.json").read_text())
    assert files["data_type"] == "float32"


def test_half_the_room(tmp_path: Path) -> None:
    points = np.random.default_rng(3).normal(size=(50_000, 2))
    sizes = [
        stored(tmp_path / f"{storage}.zarr", points, storage=storage).describe()["bytes_stored"]
        for storage in ("float32", "float64")
    ]
    assert sizes[0] < 0.55 * sizes[1]


def test_sums_are_of_float64(tmp_path: Path) -> None:
    """A mean over many rows is as good as the rounding of one value, far better than sums of float32."""
    n = 100_000
    points = 1000 + np.random.default_rng(4).random((n, 2))
    model = Model(GaussianMixture([1.0], [[1000.5, 1000.5]], [np.eye(2)]))
    values = [
        evaluate(stored(tmp_path / f"{s}.zarr", points, storage=s), model, executor=Serial()).log_likelihood
        for s in ("float32", "float64")
    ]
    step = 1000 * HALF_STEP
    assert values[0] != values[1]
    assert abs(values[0] - values[1]) < step / np.sqrt(n) * 5  # the roundings of the rows are independent


def test_the_version_and_the_description(tmp_path: Path) -> None:
    dataset = stored(tmp_path / "s.zarr", points_of(100, offset=1000.0))
    assert json.loads((dataset.path / "zarr.json").read_text())["attributes"]["dgmmis"]["version"] == 2
    described = dataset.describe()
    assert described["storage"] == "float32"
    assert [column["rounding_error"] for column in described["columns"]] == [2.0**-15, 2.0**-15]
    assert json.loads(json.dumps(described)) == described
    plain = stored(tmp_path / "p.zarr", points_of(100), storage="float64").describe()
    assert plain["storage"] == "float64"
    assert "rounding_error" not in plain["columns"][0]
    with pytest.raises(StoreError, match="storage float32 != float64"):
        stored(tmp_path / "s.zarr", points_of(10), storage="float64", append=True)
    with pytest.raises(DataError, match="storage: expected float64 or float32, got 'float16'"):
        Schema(FEATURES, storage="float16")


def test_ingest(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", ra=np.linspace(0, 1, 50), e=np.full(50, 1e-3))
    columns = Columns(features=("ra",), errors=("e",))
    dataset = ingest(tmp_path / "t.npz", tmp_path / "s.zarr", columns, storage="float32")
    np.testing.assert_allclose(dataset.points[:, 0].compute(), np.linspace(0, 1, 50), rtol=HALF_STEP)
    np.testing.assert_allclose(dataset.noise.compute(), 1e-6, rtol=HALF_STEP)


# what float32 cannot hold


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("points", 1e39, r"points too large for float32 in row 5000: expected sizes from .* to 3\.4e\+38, got 1e\+39"),
        ("points", -1e-40, r"points too small for float32 in row 5000: expected sizes from 1\.18e-38 .* got -1e-40"),
        ("noise", 1e39, "noise too large for float32 in row 5000"),
        ("noise", 1e-50, "noise too small for float32 in row 5000"),
        ("weights", 1e39, "weights too large for float32 in row 5000"),
        ("weights", 1e-50, "weights too small for float32 in row 5000"),
    ],
)
def test_values_out_of_range_are_named(tmp_path: Path, name: str, value: float, message: str) -> None:
    n = LEAF_ROWS + 2000
    arrays = {"points": np.ones((n, 2)), "noise": np.ones((n, 2)), "weights": np.ones(n)}
    arrays[name].reshape(n, -1)[5000, -1] = value
    schema = Schema(FEATURES, noise="diagonal", weighted=True, storage="float32")
    with pytest.raises(DataError, match=message), SurveyWriter(tmp_path / "s.zarr", schema) as writer:
        writer.write(**arrays)
    assert list(tmp_path.iterdir()) == []


def test_zeros_stay_what_they_are(tmp_path: Path) -> None:
    noise = np.zeros((10, 2))
    dataset = stored(tmp_path / "s.zarr", np.zeros((10, 2)), noise, "diagonal")
    np.testing.assert_array_equal(dataset.noise.compute(), noise)


@settings(max_examples=60, deadline=None)
@given(
    gap=st.floats(-16, 0).map(lambda x: 10.0**x),
    ratio=st.floats(-10, 10).map(lambda x: 10.0**x),
    positive=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_covariances_stay_what_they_are_or_are_refused(
    gap: float, ratio: float, positive: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A variance in no direction changes by more than a hundredth, however near singular the covariance was."""
    correlation = (1 - gap) * (1 if positive else -1)
    sigma = np.array([1.0, ratio]) * (1 + np.random.default_rng(seed).random(2))
    covariance = np.outer(sigma, sigma) * [[1, correlation], [correlation, 1]]
    path = tmp_path_factory.mktemp("c") / "s.zarr"
    noise = np.tile(covariance, (3, 1, 1))
    try:
        dataset = stored(path, np.zeros((3, 2)), noise, "full")
    except DataError as error:
        assert "row" in str(error)  # noqa: PT017
        assert gap < 2e-5
        return
    found = unpack(dataset.noise.compute())[0]
    least = [np.linalg.eigvalsh(S / np.outer(sigma, sigma))[0] for S in (covariance, found)]
    assert abs(least[1] / least[0] - 1) < 0.011


def test_a_covariance_that_would_be_singular_is_named(tmp_path: Path) -> None:
    noise = np.tile(np.eye(2), (100, 1, 1))
    noise[77] = [[1.0, 1 - 1e-9], [1 - 1e-9, 1.0]]
    stored(tmp_path / "d.zarr", np.zeros((100, 2)), noise, "full", storage="float64")
    with pytest.raises(DataError, match=r"too near singular for float32: .* row 77.*as float64"):
        stored(tmp_path / "s.zarr", np.zeros((100, 2)), noise, "full")
    points = np.zeros((100, 2))
    points[77, 1] = np.nan  # then nobody looks at it
    stored(tmp_path / "s.zarr", points, noise, "full")


@pytest.mark.parametrize("kind", ["diagonal", "full", "shared"])
@pytest.mark.parametrize("order", [False, True])
def test_steps_must_be_finer_than_the_errors(tmp_path: Path, kind: str, order: bool) -> None:
    n, offset = 3000, 2451545.0  # days: float32 knows quarters of them
    for error, fine in ((1.0, False), (10.0, True)):
        points = points_of(n, offset=0.0)
        points[:, 0] += offset
        shared = np.diag([error**2, 1.0])
        variances = np.tile([error**2, 1.0], (n, 1))
        noise = {"diagonal": variances, "full": np.tile(shared, (n, 1, 1)), "shared": None}[kind]
        covariance = shared if kind == "shared" else None
        schema = Schema(FEATURES, noise=kind, shared_covariance=covariance, storage="float32")
        path = tmp_path / f"{error}.zarr"

        def write(
            path: Path = path, schema: Schema = schema, points: np.ndarray = points, noise: object = noise
        ) -> None:
            with SurveyWriter(path, schema, order=order) as writer:
                writer.write(points, noise)

        if fine:
            write()
        else:
            message = r"too coarse for 'ra': expected steps of at most 0\.1 of its median error, 1, got steps of 0\.25"
            with pytest.raises(DataError, match=message):
                write()
        assert path.exists() == fine


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3 * ERROR_ROWS), max_size=5))
def test_the_median_error_does_not_depend_on_batches(cuts: list[int]) -> None:
    schema = Schema(("x",), noise="diagonal", storage="float32")
    n = 3 * ERROR_ROWS
    errors = np.random.default_rng(6).random((n, 1)) + 1
    points = np.full((n, 1), 1e6)
    medians = []
    for edges in ([], sorted(cuts)):
        sample = ErrorSample(schema)
        for p, v in zip(np.split(points, edges), np.split(errors**2, edges), strict=True):
            sample.add({"points": p, "noise": v})
        with pytest.raises(DataError, match="too coarse") as caught:
            ErrorSample.require_fine_steps(_tightened(sample))
        medians.append(str(caught.value))
    assert medians[0] == medians[1]
    assert f"{np.median(errors):.1f}" in medians[0]


def _tightened(sample: ErrorSample) -> ErrorSample:
    """With one more row, far out."""
    sample.add({"points": np.array([[1e9]]), "noise": np.array([[1.0]])})
    return sample
