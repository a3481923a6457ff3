"""What is said of rows comes in the kind of array that they are: by models alone, by estimators, by saved runs."""

import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array
import dask.dataframe
import numpy as np
import pandas
import pytest
import xarray
import zarr
from distributed import Client, LocalCluster

import dgmmis
from dgmmis.dataset.checkpoint import Run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import NotConvergedWarning, ShapeError
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import DiagonalNoise
from dgmmis.outliers import tail_probability
from dgmmis.rows import Kind, Measured, Question, answer, total
from dgmmis.selection import HalfSpace
from dgmmis.survey import Survey

MIXTURE = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.5, 0.0]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
OTHER = GaussianMixture([1.0], [[0.0, 0.0]], [np.eye(2)])
N, CUT = 60, (20, 0, 2, 38)


def _rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    points, variances = MIXTURE.sample(N, rng), rng.uniform(0.05, 0.5, (N, 2))
    points[::7, 1] = np.nan
    return points, variances


POINTS, VARIANCES = _rows()

QUESTIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "true values": lambda *given: _parts(dgmmis.true_values(MIXTURE, *given)),
    "draws": lambda *given: (dgmmis.true_value_samples(MIXTURE, *given, n_samples=3),),
    "conditional": lambda *given: _parts(dgmmis.conditional(MIXTURE, *given, given=[1])),
    "tail": lambda *given: (tail_probability(MIXTURE, *given, n_draws=31),),
    "ratio": lambda *given: (dgmmis.log_density_ratio(MIXTURE, OTHER, *given),),
}
ADDRESSED_BY_CHUNK = ("draws",)


def _parts(found: dgmmis.TrueValues) -> tuple[Any, ...]:
    return found.mean, found.covariance, found.background


@pytest.mark.parametrize("question", QUESTIONS)
def test_rows_of_every_library_are_answered_alike(question: str, tmp_path: Path) -> None:
    """Lazily where they are, and in the order of the catalogue where a store has another."""
    ask, cuts = QUESTIONS[question], ((20, 2, 38), 2)
    expected = ask(POINTS, DiagonalNoise(VARIANCES))
    table = pandas.DataFrame(POINTS, columns=["a", "b"])
    labelled = xarray.DataArray(POINTS, dims=("star", "colour"), coords={"star": np.arange(N) + 7})
    lazy, lazy_noise = (dask.array.from_array(array, chunks=(CUT, 2)) for array in (POINTS, VARIANCES))
    tables = [dask.dataframe.from_pandas(pandas.DataFrame(array), npartitions=3) for array in (POINTS, VARIANCES)]
    for order in (False, True):
        schema = Schema(features=("a", "b"), noise="diagonal")
        with SurveyWriter(tmp_path / f"{order}.zarr", schema, order=order) as writer:
            writer.write(POINTS, noise=VARIANCES)
    at_once = {
        "zarr": (zarr.array(POINTS, chunks=(25, 2)), zarr.array(VARIANCES)),
        "pandas": (table, pandas.DataFrame(VARIANCES)),
        "xarray": (labelled, VARIANCES),
        "store": (tmp_path / "False.zarr",),
        "ordered store": (Dataset.open(tmp_path / "True.zarr"),),
    }
    for name, given in at_once.items():
        for found, values in zip(ask(*given), expected, strict=True):
            assert isinstance(found, xarray.DataArray if name == "xarray" else np.ndarray)
            if not (name == "ordered store" and question in ADDRESSED_BY_CHUNK):
                np.testing.assert_allclose(found, values, rtol=1e-8, atol=1e-10, err_msg=name)
    chunked = labelled.chunk(star=cuts[0])
    for name, given in {"dask": (lazy, lazy_noise), "table": tables, "xarray": (chunked, VARIANCES)}.items():
        for found, values in zip(ask(*given), expected, strict=True):
            if name == "xarray":
                assert found.star.values.tolist() == labelled.star.values.tolist()
                found = found.data
            assert isinstance(found, dask.array.Array)
            assert found.shape[1:] == values.shape[1:]
            if question not in ADDRESSED_BY_CHUNK:
                np.testing.assert_allclose(found.compute(), values, rtol=1e-8, atol=1e-10, err_msg=name)


def test_the_model_is_in_a_graph_once() -> None:
    """Its size does not grow with the number of chunks, by more than a task's."""
    large = GaussianMixture(np.full(500, 1 / 500), np.random.default_rng(0).normal(size=(500, 2)), [np.eye(2)] * 500)
    rows = dask.array.zeros((4000, 2), chunks=(10, 2))
    for found in (dgmmis.true_values(large, rows).mean, dgmmis.log_density_ratio(large, large, rows)):
        (graph,) = dask.optimize(found)
        assert len(pickle.dumps(dict(graph.dask))) < 400 * 2000 + 5 * large.covariances.nbytes


class _Counting:
    """A half space that counts the points it is asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        self.asked += len(points)
        return HalfSpace([1.0, 0.3], 1.0, 0.4)(points)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_shared_draws_are_made_once_a_call_and_let_go(scheduler: str) -> None:
    rows, noise = dask.array.from_array(np.zeros((40, 2)), chunks=(5, 2)), 0.1 * np.eye(2)
    few, many = _Counting(), _Counting()
    tail_probability(MIXTURE, rows[:5], noise, survey=Survey(few, noise)).compute(scheduler="sync")
    p = tail_probability(MIXTURE, rows, noise, survey=Survey(many, noise))
    at_first = many.asked
    p = p.compute(scheduler=scheduler)
    assert len(np.unique(p)) == 1
    if scheduler == "sync":
        assert many.asked - at_first <= few.asked
    else:  # two threads may have begun together
        assert many.asked - at_first < 4 * few.asked
    watched = weakref.ref(many)
    del many
    gc.collect()
    assert watched() is None


def test_rows_looked_at_for_a_survey_are_not_kept() -> None:
    """All chunks are read for the noise of missing values, and then again, each for its answer."""
    read: list[int] = []

    def noted(block: np.ndarray) -> np.ndarray:
        read.append(len(block))
        return block

    rows = dask.array.from_array(POINTS, chunks=((10, 20, 30), 2)).map_blocks(noted, meta=np.empty((0, 2)))
    noise = dask.array.from_array(VARIANCES, chunks=((10, 20, 30), 2))
    found = dgmmis.true_values(MIXTURE, rows, noise, survey=Survey(HalfSpace([1.0, 0.0], 4.0), "own"))
    assert read == []
    dask.compute(found.mean, found.covariance, scheduler="sync")
    assert sorted(read[:3]) == sorted(read[3:]) == [10, 20, 30]


def test_on_a_cluster_of_processes() -> None:
    lazy = dask.array.from_array(POINTS, chunks=((30, 30), 2))
    noise, survey = 0.1 * np.eye(2), Survey(HalfSpace([1.0, 0.0], 3.0), 0.1 * np.eye(2))
    true, tail = (
        [ask(MIXTURE, rows, noise, survey=survey) for rows in (lazy, POINTS)]
        for ask in (dgmmis.true_values, tail_probability)
    )
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        covariance, p = client.gather([client.compute(true[0].covariance), client.compute(tail[0])])
    np.testing.assert_array_equal(p, tail[1])
    np.testing.assert_allclose(covariance, true[1].covariance, atol=0.1)


# what was fitted


def _selected(tmp_path: Path) -> tuple[dgmmis.GMMis, Survey, Path, tuple[np.ndarray, np.ndarray]]:
    """A fit to a survey store whose objects were selected on values of which some went missing."""
    rng, n = np.random.default_rng(4), 400
    noise = rng.uniform(0.05, 0.5, (n, 2))
    points = MIXTURE.sample(n, rng) + rng.normal(size=(n, 2)) * np.sqrt(noise)
    survey = Survey(HalfSpace([1.0, 0.0], 1.5), "own")
    seen = points[:, 0] < 1.5
    points, noise = points[seen], noise[seen]
    points[::5, 0] = np.nan
    with SurveyWriter(tmp_path / "s.zarr", Schema(features=("a", "b"), noise="diagonal"), order=True) as writer:
        writer.write(points, noise=noise)
    fit = dgmmis.GMMis(2, selection=survey.selection, init=MIXTURE, max_iter=3)
    with pytest.warns(NotConvergedWarning):
        fit.fit(tmp_path / "s.zarr")
    return fit, survey, tmp_path / "s.zarr", (points, noise)


def test_an_estimator_knows_the_survey_of_its_rows(tmp_path: Path) -> None:
    fit, survey, store, (points, noise) = _selected(tmp_path)
    expected = dgmmis.true_values(fit.model_, points, DiagonalNoise(noise), survey=survey)
    blind = dgmmis.true_values(fit.model_, points, DiagonalNoise(noise))
    assert np.mean(blind.mean[::5, 0] - expected.mean[::5, 0]) > 0.1, "the survey matters"
    chunks = (100, len(points) - 100)
    lazy = tuple(dask.array.from_array(array, chunks=(chunks, 2)) for array in (points, noise))
    for given in ((points, noise), lazy, (store,)):
        found = fit.true_values(*given)
        assert isinstance(found.mean, dask.array.Array) == (given is lazy)
        np.testing.assert_allclose(np.asarray(found.mean), expected.mean, atol=0.1)
        np.testing.assert_allclose(np.asarray(found.mean)[1::5], expected.mean[1::5], rtol=1e-9)
        np.testing.assert_allclose(np.asarray(found.background), 0, atol=1e-9)
    with pytest.raises(ShapeError, match="GMMis is expecting 2 features"):
        fit.true_values(points[:, :1])


def test_an_estimator_tells_outliers_of_its_survey(tmp_path: Path) -> None:
    fit, survey, store, (points, noise) = _selected(tmp_path)
    expected = tail_probability(fit.model_, points, DiagonalNoise(noise), survey=survey, n_draws=63)
    chunks = (100, len(points) - 100)
    lazy = tuple(dask.array.from_array(array, chunks=(chunks, 2)) for array in (points, noise))
    for given in ((points, noise), lazy, (store,)):
        found = fit.tail_probability(*given, n_draws=63)
        assert isinstance(found, dask.array.Array) == (given is lazy)
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-12)
    blind = tail_probability(fit.model_, points, DiagonalNoise(noise), n_draws=63)
    assert np.mean(blind != expected) > 0.5, "the survey matters"
    with pytest.raises(ShapeError, match="GMMis is expecting 2 features"):
        fit.tail_probability(points[:, :1])


def test_a_run_is_enough_to_ask_about_its_survey(tmp_path: Path) -> None:
    fit, survey, store, (points, noise) = _selected(tmp_path)
    record = SurveyRecord.of(fit.result_.survey)
    write_run(tmp_path / "x.run", Run(fit.model_, ("a", "b"), ("", ""), {}, record))
    run = dgmmis.read_run(tmp_path / "x.run")
    found = dgmmis.true_values(run.model, store, survey=run.survey())
    expected = dgmmis.true_values(fit.model_, points, DiagonalNoise(noise), survey=survey)
    np.testing.assert_allclose(found.mean, expected.mean, atol=0.1)
    tail = tail_probability(run.model, store, survey=run.survey(), n_draws=63)
    np.testing.assert_array_equal(
        tail, tail_probability(fit.model_, points, DiagonalNoise(noise), survey=survey, n_draws=63)
    )


def test_sums_are_those_of_the_answers() -> None:
    lazy = Measured.of(dask.array.from_array(POINTS, chunks=(CUT, 2)))
    question = Question(_values, Kind(columns={"value": 2}))
    for measured in (Measured.of(POINTS), lazy):
        found = total(question, measured)
        np.testing.assert_allclose(found, np.asarray(answer(question, measured)).sum(axis=0), rtol=1e-12)


def _values(chunk: Any) -> Any:
    for leaf in chunk.leaf_chunks():
        yield np.nan_to_num(leaf.points)
