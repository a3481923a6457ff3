"""Each kind of X is answered in its own kind, lazily where it is lazy: dask, xarray, tables, stores."""

import pickle
from pathlib import Path
from typing import Any

import dask.array
import dask.dataframe
import numpy as np
import pandas
import pytest
import xarray
import zarr
from distributed import Client, LocalCluster

import dgmmis
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, JobError, RefusedError, ShapeError

N, CUT = 1000, (300, 300, 400)
QUESTIONS = ("score_samples", "predict", "predict_proba")


def survey() -> tuple[np.ndarray, np.ndarray]:
    """Points, some of which lack a feature, and the covariance of each."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (N // 2, 2)), rng.normal([5, 3], [0.5, 1.5], (N - N // 2, 2))])
    points = points[rng.permutation(N)]
    roots = rng.normal(0, 0.3, (N, 2, 2))
    covariances = roots @ np.swapaxes(roots, 1, 2) + 0.01 * np.eye(2)
    points[::7, 1] = np.nan
    return points, covariances


POINTS, COVARIANCES = survey()
VARIANCES = np.diagonal(COVARIANCES, axis1=1, axis2=2).copy()
MODEL = dgmmis.GMMis(2, background=dgmmis.Uniform([-9, -9], [9, 9]), tol=1e-4).fit(POINTS, noise_covariance=COVARIANCES)
"""Without selection: no answer depends on which rows come together."""


class Recording:
    """An array (n, d) that notes which rows are read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.read = values, []
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        self.read.append((where[0].start, where[0].stop))
        return self.values[where]


def recorded(values: np.ndarray) -> tuple[Recording, Any]:
    recording = Recording(values)
    chunks = (CUT, *values.shape[1:])
    meta = np.empty((0,) * values.ndim)
    return recording, dask.array.from_array(recording, chunks=chunks, meta=meta, asarray=False, fancy=False)


def lazy(values: np.ndarray, chunks: Any = CUT) -> Any:
    return dask.array.from_array(values, chunks=(chunks, *values.shape[1:]))


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_chunk_is_read_before_it_has_to_be(question: str) -> None:
    expected = getattr(MODEL, question)(POINTS, noise_covariance=COVARIANCES)
    assert isinstance(expected, np.ndarray)
    (rows, x), (noise_rows, noise) = recorded(POINTS), recorded(COVARIANCES)
    answer = getattr(MODEL, question)(x, noise_covariance=noise)
    assert isinstance(answer, dask.array.Array)
    assert (answer.shape, answer.dtype, answer.chunks[0]) == (expected.shape, expected.dtype, CUT)
    assert rows.read == noise_rows.read == []
    np.testing.assert_allclose(answer.blocks[1].compute(), expected[300:600], rtol=1e-11)
    assert rows.read == noise_rows.read == [(300, 600)]
    np.testing.assert_allclose(answer.compute(), expected, rtol=1e-11)
    assert len(rows.read) == 4


@pytest.mark.parametrize(
    ("noise", "plain"),
    [
        (None, None),
        (VARIANCES, VARIANCES),
        (lazy(VARIANCES), VARIANCES),
        (lazy(VARIANCES, 450), VARIANCES),
        (COVARIANCES, COVARIANCES),
        (lazy(COVARIANCES), COVARIANCES),
        (0.1 * np.eye(2), 0.1 * np.eye(2)),
        (dask.array.from_array(0.1 * np.eye(2)), 0.1 * np.eye(2)),
        (dgmmis.DiagonalNoise(VARIANCES), VARIANCES),
        (dgmmis.SharedNoise(0.1 * np.eye(2)), 0.1 * np.eye(2)),
        (dgmmis.FullNoise(COVARIANCES[:, [0, 1, 1], [0, 0, 1]]), COVARIANCES),
    ],
)
@pytest.mark.parametrize("columns", [2, 1])
def test_noise_of_every_form_beside_lazy_rows(noise: Any, plain: Any, columns: int) -> None:
    x = dask.array.from_array(POINTS, chunks=(CUT, columns))
    expected = MODEL.score_samples(POINTS, noise_covariance=plain)
    np.testing.assert_allclose(MODEL.score_samples(x, noise_covariance=noise).compute(), expected, rtol=1e-11)
    assert MODEL.score(x, noise_covariance=noise) == pytest.approx(expected.mean(), rel=1e-12)


def test_projections_and_weights_beside_lazy_rows() -> None:
    rng = np.random.default_rng(1)
    projection, weights = rng.normal(size=(N, 1, 2)), rng.uniform(0, 2, N)
    measured = np.einsum("nij,nj->ni", projection, np.nan_to_num(POINTS))
    expected = MODEL.score_samples(measured, np.full((N, 1), 0.1), projection)
    for beside in (projection, lazy(projection)):
        answer = MODEL.score_samples(lazy(measured), np.full((N, 1), 0.1), beside)
        np.testing.assert_allclose(answer.compute(), expected, rtol=1e-11)
    given = {"noise_covariance": 0.1 * np.eye(1), "projection": lazy(projection)}
    plain = {"noise_covariance": 0.1 * np.eye(1), "projection": projection}
    for w in (weights, lazy(weights)):
        for question in (MODEL.score, MODEL.bic, MODEL.aic):
            expected = question(measured, **plain, sample_weight=weights)
            assert question(lazy(measured), **given, sample_weight=w) == pytest.approx(expected, rel=1e-12)
    fitted = dgmmis.GMMis(1).fit(POINTS, sample_weight=weights)
    for w in (weights.tolist(), lazy(weights)):
        assert np.array_equal(dgmmis.GMMis(1).fit(lazy(POINTS), sample_weight=w).means_, fitted.means_)
    with pytest.raises(ShapeError, match="sample_weight has the wrong length"):
        dgmmis.GMMis(1).fit(lazy(POINTS), sample_weight=weights[:900])
    with pytest.raises(ShapeError, match="X has 3 features, but GMMis is expecting 2 features"):
        MODEL.predict(lazy(measured), projection=rng.normal(size=(N, 1, 3)))


def test_chunks_of_unknown_size() -> None:
    """And one without a row, and one of as many rows as features."""
    order = np.concatenate([[1, 2], np.arange(300, N), np.arange(3, 300)])
    there = np.isin(np.arange(N), np.arange(350, N), invert=True)[order]
    x, noise = (dask.array.from_array(of[order], chunks=((2, 348, 350, 299), -1)) for of in (POINTS, VARIANCES))
    rows = dask.array.from_array(there, chunks=x.chunks[0])
    x, noise = x[rows], noise[rows]
    assert np.isnan(x.shape[0])
    plain = POINTS[order][there], VARIANCES[order][there]
    for question in QUESTIONS:
        answer = getattr(MODEL, question)(x, noise_covariance=noise)
        expected = getattr(MODEL, question)(plain[0], noise_covariance=plain[1])
        assert answer.shape[1:] == expected.shape[1:]
        np.testing.assert_allclose(answer.compute(), expected, rtol=1e-11)
    fitted = dgmmis.GMMis(1).fit(x, noise_covariance=noise)
    assert np.array_equal(fitted.means_, dgmmis.GMMis(1).fit(plain[0], noise_covariance=plain[1]).means_)
    assert np.isnan(x.shape[0])  # the user's array is as it was
    shared = MODEL.predict(x, noise_covariance=np.eye(2)).compute()
    assert np.array_equal(shared, MODEL.predict(plain[0], noise_covariance=np.eye(2)))
    with pytest.raises(ShapeError, match="beside X in chunks of unknown size"):
        MODEL.predict(x, noise_covariance=plain[1])
    with pytest.raises(ShapeError, match="in other chunks than X"):
        MODEL.predict(x, noise_covariance=noise.blocks[:2])


def test_what_is_wrong_is_said_at_once_or_with_the_number_of_the_row() -> None:
    for wrong in (lazy(VARIANCES[:900], 300), lazy(np.ones((N, 3)))):
        with pytest.raises(ShapeError, match="noise_covariance has the wrong shape"):
            MODEL.predict(lazy(POINTS), noise_covariance=wrong)
    with pytest.raises(ShapeError, match="sample_weight has the wrong length"):
        MODEL.score(lazy(POINTS), sample_weight=np.ones(900))
    with pytest.raises(ShapeError, match="expecting 2 features"):
        MODEL.predict(lazy(POINTS[:, :1]))
    with pytest.raises(RefusedError, match="either variances or one covariance"):
        MODEL.predict(lazy(POINTS[:2], 2), noise_covariance=np.ones((2, 2)))
    infinite = POINTS.copy()
    infinite[777] = np.inf
    answer = MODEL.predict(lazy(infinite))
    assert len(answer.blocks[0].compute()) == 300
    with pytest.raises(DataError, match="infinite values in row 777"):
        answer.compute()


def test_on_a_cluster_of_processes() -> None:
    """With a selection: what each worker says is what is said here."""
    seen = POINTS[(POINTS[:, 0] < 5) & ~np.isnan(POINTS[:, 1])]
    model = dgmmis.GMMis(2, selection=dgmmis.HalfSpace([1, 0], 5), tol=1e-4).fit(seen, noise_covariance=0.1 * np.eye(2))
    half = len(seen) // 2
    answer = model.score_samples(lazy(seen, (half, len(seen) - half)), noise_covariance=0.1 * np.eye(2))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        workers = sorted(client.nthreads())
        parts = [client.compute(answer.blocks[i], workers=[worker]) for i, worker in enumerate(workers)]
        found = np.concatenate(client.gather(parts))
    np.testing.assert_allclose(found, model.score_samples(seen, noise_covariance=0.1 * np.eye(2)), rtol=1e-11)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_data_array_keeps_the_coordinates_of_its_rows(is_lazy: bool) -> None:
    coordinates = {"star": np.arange(N) + 7, "feature": ["a", "b"], "night": ("star", np.arange(N) % 3)}
    x = xarray.DataArray(POINTS, dims=("star", "feature"), coords=coordinates, name="colours", attrs={"unit": "mag"})
    noise = xarray.DataArray(VARIANCES, dims=("star", "feature"))
    model = dgmmis.GMMis(2, tol=1e-4).fit(x, noise_covariance=noise)
    plain = dgmmis.GMMis(2, tol=1e-4).fit(POINTS, noise_covariance=VARIANCES)
    assert np.array_equal(model.means_, plain.means_)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    chunked = (x.chunk(star=300), noise.chunk(star=300)) if is_lazy else (x, noise)
    for question in QUESTIONS:
        answer = getattr(model, question)(chunked[0], noise_covariance=chunked[1])
        assert isinstance(answer, xarray.DataArray)
        assert (answer.chunks is not None) == is_lazy
        assert answer.dims == ("star", "component")[: answer.ndim]
        assert set(answer.coords) == {"star", "night"}
        assert answer.attrs == {}
        expected = getattr(plain, question)(POINTS, noise_covariance=VARIANCES)
        np.testing.assert_allclose(answer.sel(star=slice(107, None)), expected[100:], rtol=1e-11)
    total = model.score(chunked[0], noise_covariance=chunked[1])
    assert total == pytest.approx(plain.score(POINTS, noise_covariance=VARIANCES), rel=1e-12)
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        model.predict(chunked[0][:, ::-1])
    with pytest.raises(ValueError, match="Feature names unseen at fit time"):
        model.predict(chunked[0].assign_coords(feature=["a", "c"]))
    unnamed = xarray.DataArray(POINTS, dims=("star", "feature"))
    assert np.array_equal(plain.predict(unnamed), plain.predict(POINTS))


def test_a_dask_table_is_answered_lazily() -> None:
    table = pandas.DataFrame(POINTS, columns=["a", "b"])
    x = dask.dataframe.from_pandas(table, npartitions=3)
    noise = dask.dataframe.from_pandas(pandas.DataFrame(VARIANCES), npartitions=3)
    weights = dask.dataframe.from_pandas(pandas.Series(np.arange(N) % 3 + 1.0), npartitions=3)
    model = dgmmis.GMMis(2, tol=1e-4).fit(x, noise_covariance=noise, sample_weight=weights)
    plain = dgmmis.GMMis(2, tol=1e-4).fit(table, noise_covariance=VARIANCES, sample_weight=np.arange(N) % 3 + 1.0)
    assert np.array_equal(model.means_, plain.means_)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    for question in QUESTIONS:
        answer = getattr(model, question)(x, noise_covariance=noise)
        assert isinstance(answer, dask.array.Array)
        expected = getattr(plain, question)(table, noise_covariance=VARIANCES)
        np.testing.assert_allclose(answer.compute(), expected, rtol=1e-11)
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        model.predict(x[["b", "a"]])


def test_stores_and_zarr_arrays(tmp_path: Path) -> None:
    weights = np.arange(N) % 3 + 1.0
    with SurveyWriter(tmp_path / "s.zarr", Schema(features=("a", "b"), noise="diagonal", weighted=True)) as writer:
        writer.write(POINTS, noise=VARIANCES, weights=weights)
    model = dgmmis.GMMis(2, tol=1e-4).fit(tmp_path / "s.zarr")
    given = {"noise_covariance": VARIANCES, "sample_weight": weights}
    assert model.score(tmp_path / "s.zarr") == pytest.approx(model.score(POINTS, **given), rel=1e-12)
    assert model.score(tmp_path / "s.zarr") == pytest.approx(model.log_likelihood_, rel=1e-9)
    assert model.bic(tmp_path / "s.zarr") == pytest.approx(model.bic(POINTS, **given), rel=1e-12)
    stored = zarr.array(POINTS, chunks=(256, 2))
    answer = model.predict_proba(stored, noise_covariance=zarr.array(VARIANCES))
    assert isinstance(answer, np.ndarray)
    assert np.array_equal(answer, model.predict_proba(POINTS, noise_covariance=VARIANCES))
    with SurveyWriter(tmp_path / "t.zarr", Schema(features=("b", "a"))) as writer:
        writer.write(POINTS)
    named = dgmmis.GMMis(1).fit(pandas.DataFrame(POINTS, columns=["a", "b"]))
    for fitted in (model, named):
        with pytest.raises(JobError, match="the survey has other features than the fit"):
            fitted.predict(tmp_path / "t.zarr")


def test_a_lazy_answer_outlives_its_model() -> None:
    """And travels: as a user's graph does to a scheduler."""
    answer = pickle.loads(pickle.dumps(MODEL)).predict(lazy(POINTS))
    again = pickle.loads(pickle.dumps(answer))
    assert np.array_equal(again.compute(), MODEL.predict(POINTS))


def test_noise_in_a_table_goes_by_its_places_and_says_so() -> None:
    rng = np.random.default_rng(0)
    points = pandas.DataFrame(rng.normal(size=(200, 2)), columns=["a", "b"])
    noise = pandas.DataFrame(rng.uniform(0.1, 0.4, (200, 2)), columns=["a", "b"])
    model = dgmmis.GMMis(1).fit(points, noise_covariance=noise)
    with pytest.raises(JobError, match="has the columns of X in another order"):
        model.score(points, noise_covariance=noise[["b", "a"]])
    other = noise.rename(columns={"a": "error of a", "b": "error of b"})
    assert model.score(points, noise_covariance=other) == model.score(points, noise_covariance=noise)
