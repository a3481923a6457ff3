"""Runs: what a fit leaves behind is enough to score and to draw, whatever became of its job file."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from dgmmis.background import Background, FixedDensity, FixedMixture, ImportedDensity, Uniform
from dgmmis.dataset.checkpoint import Run, read_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.drawing import sample_run
from dgmmis.errors import JobError, RefusedError, StoreError
from dgmmis.job import read_job
from dgmmis.linalg import unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import NoNoise, SharedNoise
from dgmmis.noise_classes import NoiseClass
from dgmmis.noise_law import ImportedNoise, NearestNoise, NoiseRegression
from dgmmis.prediction import score_run
from dgmmis.runs import run_job
from dgmmis.selection import Ball, Box, FromFunction, Grid, HalfSpace, Imported, Injections
from dgmmis.summary import survey_lines
from dgmmis.survey import Survey

FALSE_ALARM = 1e-6
"""How often a statistical test here would fail by chance, were its seed not pinned."""

PLANE = Model(GaussianMixture([0.3, 0.7], [[0.1, -1.0], [2.0, 1 / 3]], [np.eye(2), [[2.0, 0.5], [0.5, 1.0]]]))
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(300, 2))
COVARIANCES = (0.1 + POINTS[:, :1, None] ** 2) * np.eye(2)
BOX = Box([-1.0, -np.inf], [2.0, 3.0])
SURVEYS = {
    "nothing": Survey(),
    "constant": Survey(BOX & ~Ball([0.0, 0.0], 0.3), np.diag([0.1, 0.2])),
    "own": Survey(HalfSpace([1.0, 0.5], 0.4, 0.2), "own", "available"),
    "true": Survey(BOX, None, "true"),
    "grid": Survey(Grid([[-9, 0.0, 9], [-9, 9]], [[0.1], [1 / 3]]), np.eye(2)),
    "injections": Survey(Injections(POINTS, POINTS[:, 0] > 0, -np.sum(POINTS**2, axis=1))),
    "nearest": Survey(BOX, NearestNoise(POINTS, COVARIANCES)),
    "regression": Survey(BOX, NoiseRegression.fitted(POINTS, SharedNoise(np.eye(2)))),
}
CODE = """
import numpy as np

def omega(points):
    return np.where(points[:, 0] > 0, 0.5, 1.0)

def noise(points):
    return 2.0 * np.eye(points.shape[1])

def field(points):
    return 1.0 + points[:, 0] ** 2
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `observed_by` that can be imported."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "observed_by.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "observed_by", raising=False)


def _run(survey: Survey, model: Model = PLANE, **more: object) -> Run:
    d = model.mixture.n_features
    names, units = ("a", "b", "c")[:d], ("m", "", "")[:d]
    return Run(model, names, units, {"status": "done"}, SurveyRecord.of(survey), **more)  # type: ignore[arg-type]


def _again(tmp_path: Path, run: Run, **how: bool) -> Run:
    write_run(tmp_path / "x.run", run)
    return read_run(tmp_path / "x.run", **how)


@pytest.mark.parametrize("name", SURVEYS)
def test_the_survey_is_in_the_run(tmp_path: Path, name: str) -> None:
    expected = SURVEYS[name]
    found = _again(tmp_path, _run(expected)).survey()
    assert found.selection_on == expected.selection_on
    points = 2 * POINTS
    if isinstance(expected.selection, Injections):
        assert isinstance(found.selection, Injections)
        for part in ("points", "found", "log_density"):
            assert np.array_equal(getattr(found.selection, part), getattr(expected.selection, part))
    elif expected.selection is not None:
        assert found.selection is not None
        assert np.array_equal(found.selection(points), expected.selection(points))
    assert type(found.noise_law) is type(expected.noise_law)
    if name in ("constant", "grid", "nearest", "regression"):
        assert np.array_equal(found.noise_law(points), expected.noise_law(points))  # type: ignore[misc]


BACKGROUNDS = (Uniform([-1.0, 0.0], [1 / 3, np.pi]), FixedMixture(PLANE.mixture))


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_background_is_in_the_run(tmp_path: Path, background: Background) -> None:
    model = Model(PLANE.mixture, background, 0.125)
    found = _again(tmp_path, _run(Survey(), model)).model
    assert np.array_equal(found.log_density(POINTS), model.log_density(POINTS))
    document = json.loads((tmp_path / "x.run" / "fit.json").read_text())
    assert document["background_fraction"] == 0.125
    assert set(document["background"]) <= {"uniform", "mixture"}


@pytest.mark.parametrize("projected", [False, True])
def test_noise_classes_are_in_the_run(tmp_path: Path, projected: bool) -> None:
    R = np.array([[1 / 3, 0.5], [0.1, 2.0], [0.0, 1.0]])
    noises = (SharedNoise(np.diag([0.1, 1 / 7, 0.3])), NoNoise())
    classes = tuple(
        NoiseClass(share, 3, np.array(there), noise, R * share if projected else None)
        for share, there, noise in zip((0.3, 0.7), ([0, 2], [0, 1, 2]), noises, strict=True)
    )
    model = PLANE if projected else Model(GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None]))
    run = _again(tmp_path, _run(SURVEYS["own"], model, noise_classes=classes, by_class=np.array([0.2, 1 / 3])))
    assert np.array_equal(run.by_class, [0.2, 1 / 3])
    for found, expected in zip(run.noise_classes, classes, strict=True):
        assert (found.share, found.width, type(found.noise)) == (expected.share, 3, type(expected.noise))
        assert np.array_equal(found.measured, expected.measured)
        assert np.array_equal(found.noise.packed(range(3)), expected.noise.packed(range(3)))
        assert (found.projection is None) is not projected
        assert not projected or np.array_equal(found.projection, expected.projection)


def test_a_run_with_functions_can_be_read_but_not_called_unasked(tmp_path: Path, code: None) -> None:
    run = _run(Survey(Imported("observed_by:omega"), ImportedNoise("observed_by:noise")))
    del sys.modules["observed_by"]
    found = _again(tmp_path, run)
    with pytest.raises(JobError, match=r"import and run 'observed_by:omega'.*--allow-code"):
        found.survey()
    lines = dict(survey_lines(replace(found, document={"completeness": 1.0})))
    assert "function observed_by:omega" in lines["selection"]
    assert "function observed_by:noise" in lines["noise of the unseen"]
    assert "observed_by" not in sys.modules
    survey = found.survey(allow_code=True)
    assert np.array_equal(survey.selection(np.array([[1.0, 0.0]])), [0.5])  # type: ignore[misc]
    assert np.array_equal(survey.noise_law(np.zeros((1, 2)))[0], 2 * np.eye(2))  # type: ignore[misc]


def test_a_background_of_ones_own_needs_the_same(tmp_path: Path, code: None) -> None:
    field = FixedDensity(ImportedDensity("observed_by:field"), [0.0, 0.0], [1.0, 1.0])
    model = Model(PLANE.mixture, field, 0.5)
    with pytest.raises(JobError, match=r"import and run 'observed_by:field'.*--allow-code"):
        _again(tmp_path, _run(Survey(), model))
    found = read_run(tmp_path / "x.run", allow_code=True).model
    assert np.array_equal(found.log_density(POINTS), model.log_density(POINTS))


def test_functions_without_a_path_cannot_be_kept() -> None:
    with pytest.raises(RefusedError, match="FromFunction"):
        SurveyRecord.of(Survey(FromFunction(lambda y: 0.5 + 0 * y[:, 0])))


def test_runs_of_the_first_version_are_read(tmp_path: Path) -> None:
    """It had the selection's table in the document, and the edges of a uniform background as arrays."""
    (tmp_path / "old.run").mkdir()
    document = {
        "format": "dgmmis-run",
        "version": 1,
        "selection": {"box": {"lower": [0.0, 0.0], "upper": [1.0, 2.0]}},
        "features": ["a", "b"],
        "units": ["", ""],
    }
    mixture = PLANE.mixture
    np.savez(
        tmp_path / "old.run" / "model.npz",
        weights=mixture.weights,
        means=mixture.means,
        covariances=mixture.covariances,
        background_fraction=np.float64(0.25),
        background_lower=np.zeros(2),
        background_upper=np.ones(2),
        document=np.array(json.dumps(document)),
    )
    run = read_run(tmp_path / "old.run")
    assert isinstance(run.model.background, Uniform)
    assert np.array_equal(run.model.background.upper, [1, 1])
    survey = run.survey()
    assert isinstance(survey.selection, Box)
    assert survey.noise_law is None
    assert run.noise_classes == ()
    again = _again(tmp_path, run)
    assert again.document["version"] == 2
    assert np.array_equal(again.model.log_density(POINTS), run.model.log_density(POINTS))
    with pytest.raises(RefusedError, match="noise of the objects is not known"):
        sample_run(tmp_path / "old.run", 10, tmp_path / "x.zarr", which="seen")
    document["version"] = 7
    np.savez(tmp_path / "old.run" / "model.npz", document=np.array(json.dumps(document)))
    with pytest.raises(StoreError, match=r"another format: expected dgmmis-run 1 or 2, got dgmmis-run 7"):
        read_run(tmp_path / "old.run")


JOB = """
[data]
path = "survey.zarr"
[model]
n_components = 1
[selection]
grid = { file = "omega.npz", outside = "nearest" }
[noise]
law = "own"
[background]
lower = [-5.0, -5.0]
upper = [5.0, 5.0]
[fit]
seed = 1
[cluster]
kind = "threads"
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """A survey, and the run of a job that is no longer there, with its log-likelihood."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "job").mkdir()
    rng = np.random.default_rng(6)
    n = 6_000
    x = np.concatenate([rng.normal([0.5, 0.0], [1.0, 0.7], (4 * n // 5, 2)), rng.uniform(-5, 5, (n // 5, 2))])
    variances = rng.choice([0.05, 0.8], size=(n, 1)) * np.ones(2)
    y = x + np.sqrt(variances) * rng.normal(size=x.shape)
    seen = rng.random(n) < np.where(y[:, 0] < 1, 0.9, 0.2)
    schema = Schema(("a", "b"), ("mas", "mas"), "diagonal")
    for path in (folder / "job" / "survey.zarr", folder / "kept.zarr"):
        with SurveyWriter(path, schema) as writer:
            writer.write(y[seen], variances[seen])
    np.savez(folder / "job" / "omega.npz", edges_0=[-9, 1, 9], edges_1=[-9, 9], probability=[[0.9], [0.2]])
    (folder / "job" / "job.toml").write_text(JOB)
    run = run_job(read_job(folder / "job" / "job.toml"), folder / "x.run")
    assert run.document["converged"]
    shutil.rmtree(folder / "job")
    return folder / "kept.zarr", folder / "x.run", run.document["log_likelihood"]


def test_a_run_scores_without_its_job(fitted: tuple[Path, Path, float]) -> None:
    data, run, log_likelihood = fitted
    scored = score_run(run, data)
    fit = read_run(run).document
    errors = [part["completeness_error"] / part["completeness"] for part in (scored, fit)]  # of log Z: other points
    assert max(errors) < 1e-3
    assert abs(scored["log_likelihood"] - log_likelihood) < 6 * np.hypot(*errors)  # t with 7 degrees: 5e-4 by chance
    assert scored["n_samples"] == Dataset.open(data).n_rows
    assert 0 < scored["completeness"] < 1


def test_a_run_says_what_it_assumed(fitted: tuple[Path, Path, float]) -> None:
    lines = dict(survey_lines(read_run(fitted[1])))
    assert lines["selection"] == "grid, of measured values, before any of them went missing"
    assert "each unseen object had the noise of one that was seen" in lines["noise of the unseen"]
    assert "known to" in lines["completeness"]
    assert float(lines["objects before selection"].split(" +- ")[0].replace(",", "")) == pytest.approx(6_000, rel=0.1)


def _rows(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    chunks = [reference.load() for reference in dataset.references]
    points = np.concatenate([chunk.points for chunk in chunks])
    return points, np.concatenate([unpack(chunk.noise.packed(range(2)).T) for chunk in chunks])


def test_a_catalogue_drawn_from_a_run_is_like_its_data(fitted: tuple[Path, Path, float], tmp_path: Path) -> None:
    """The shares of the objects on both sides of the step in Omega, and of both noises, are those of the data."""
    data, run, _ = fitted
    told: list[int] = []
    drawn = sample_run(
        run, 40_000, tmp_path / "seen.zarr", which="seen", seed=2, on_batch=lambda done, n: told.append(done)
    )
    assert (drawn.n_rows, told[-1], drawn.schema.noise) == (40_000, 40_000, "full")
    (points, noise), (expected, variances) = _rows(drawn), _rows(Dataset.open(data))
    assert len(np.unique(noise[:, 0, 0])) == 2
    np.testing.assert_allclose(np.unique(noise[:, 0, 0]), [0.05, 0.8], rtol=1e-6)
    sides: list[Callable[[np.ndarray, np.ndarray], np.ndarray]] = [
        lambda y, s: y[:, 0] < 1,
        lambda y, s: s[:, 0, 0] > 0.4,
        lambda y, s: (y[:, 0] < 1) & (s[:, 0, 0] > 0.4),
    ]
    for side in sides:
        p, q = side(points, noise).mean(), side(expected, variances).mean()
        # the data decide the run's parameters, which brings their share nearer than the binomial scatter of both
        assert abs(p - q) < norm.isf(FALSE_ALARM / 6) * np.sqrt(p * (1 - p) * (1 / len(points) + 1 / len(expected)))


def test_what_is_drawn_is_what_was_asked_for(fitted: tuple[Path, Path, float], tmp_path: Path) -> None:
    run = fitted[1]
    kinds = {}
    for which, noise in (("population", None), ("population", True), ("unseen", None), ("seen", False)):
        name = f"{which}-{noise}"
        kinds[name] = sample_run(run, 100, tmp_path / f"{name}.zarr", which=which, noise=noise).schema.noise
    assert kinds == {"population-None": "none", "population-True": "full", "unseen-None": "full", "seen-False": "none"}


def test_noise_that_is_not_known_is_not_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "x.run", _run(SURVEYS["true"], noise_classes=(NoiseClass(1.0, 2, np.arange(2), NoNoise()),)))
    assert sample_run(tmp_path / "x.run", 50, tmp_path / "seen.zarr", which="seen").schema.noise == "none"
    with pytest.raises(RefusedError, match="does not know the noise"):
        sample_run(tmp_path / "x.run", 50, tmp_path / "noisy.zarr", noise=True)
    assert not (tmp_path / "noisy.zarr").exists()
    write_run(tmp_path / "i.run", _run(SURVEYS["injections"]))
    with pytest.raises(RefusedError, match="injections do not say"):
        sample_run(tmp_path / "i.run", 50, tmp_path / "noisy.zarr", which="unseen")


def test_projections_come_with_their_names(tmp_path: Path) -> None:
    """Of runs whose data were projected, drawn objects have the projections of their classes."""
    classes = (NoiseClass(1.0, 1, np.arange(1), SharedNoise([[0.1]]), np.array([[0.6, 0.8]])),)
    run = _run(Survey(HalfSpace([1.0], 1.0), "own"), noise_classes=classes, by_class=np.array([0.5]))
    write_run(tmp_path / "x.run", replace(run, document={"measured": ["along"]}))
    drawn = sample_run(tmp_path / "x.run", 500, tmp_path / "seen.zarr", which="seen")
    assert drawn.schema.measured == ("along",)
    chunk = drawn.references[0].load()
    assert chunk.points.max() < 1
    assert np.array_equal(chunk.projection, np.broadcast_to([[0.6, 0.8]], (500, 1, 2)))
