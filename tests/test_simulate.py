"""simulate(): the rows are what the truth says, and are addressed by seed; the job file fits them."""

import tomllib
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, norm

from dgmmis.dataset.dataset import Dataset
from dgmmis.errors import JobError, RefusedError, ShapeError, StoreError
from dgmmis.job import read_job
from dgmmis.linalg import unpack
from dgmmis.noise_law import ConstantNoise, NoiseFunction
from dgmmis.selection import Ball, Box, FromFunction, Injections
from dgmmis.simulate import PRESETS, completeness, job_path, simulate, true_model, true_survey
from dgmmis.simulate.catalogue import BATCH
from dgmmis.simulate.measurement import ByPosition
from dgmmis.survey import Survey

FALSE_ALARM = 1e-6
"""How often a statistical test here would fail by chance, were its seed not pinned."""

NAMES = ("box-with-hole", "many-components", "deconvolution", "graded", "background", "one-likelihood")
KINDS = {"many-components": "none", "deconvolution": "full", "background": "diagonal", "one-likelihood": "full"}
COMPONENTS = {"many-components": 50, "deconvolution": 4, "graded": 2, "one-likelihood": 2}
LOST = {"deconvolution": 0.1, "one-likelihood": 0.2}


def _points(dataset: Dataset) -> np.ndarray:
    return np.concatenate([reference.load().points for reference in dataset.references])


def _arrays(path: Path) -> dict[str, bytes]:
    """Every file of the arrays of a store."""
    files = [file for file in sorted(path.glob("segments/*/*/**/*")) if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def _likely(count: int, n: int, p: float) -> bool:
    return bool(min(binom.cdf(count, n, p), binom.sf(count - 1, n, p)) > FALSE_ALARM / 2)


@pytest.fixture(scope="module")
def surveys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("surveys")
    return {name: simulate(folder / f"{name}.zarr", name, n=40_000, seed=3) for name in NAMES}


def test_there_are_the_presets_that_the_command_line_names() -> None:
    assert tuple(PRESETS) == NAMES
    assert all(preset.name == name and preset.sentence for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", NAMES)
def test_the_store_holds_what_the_preset_says(surveys: dict[str, Dataset], name: str) -> None:
    dataset, preset = surveys[name], PRESETS[name]
    assert (dataset.schema.features, dataset.schema.units) == (preset.features, preset.units)
    chunk = dataset.references[0].load()
    kind = KINDS.get(name, "shared")
    assert dataset.schema.noise == chunk.noise.kind == preset.noise == kind
    points = _points(dataset)
    if preset.survey.selection is None:
        assert len(points) == 40_000
    else:
        assert _likely(len(points), 40_000, dataset.truth["completeness"])
        assert np.all(preset.survey.selection(points[~np.isnan(points).any(axis=1)]) > 0)
    missing = np.isnan(points)
    assert not np.any(missing.all(axis=1))
    if name in LOST:
        # less the rows that would have lost everything: they keep one feature
        lost, d = LOST[name], points.shape[1]
        assert _likely(int(missing.sum()), missing.size, lost - lost**d / d)
    else:
        assert not missing.any()


@pytest.mark.parametrize("name", NAMES)
def test_means_and_scatter_are_those_of_the_truth(name: str) -> None:
    """Before selection: mean and covariance of y are those of mixture, background and noise together."""
    preset, n = PRESETS[name], 100_000
    points, noise = preset.draw(n, np.random.default_rng(5))
    mixture, nu, d = preset.model.mixture, preset.model.background_fraction, len(preset.features)
    mean = (1 - nu) * mixture.weights @ mixture.means
    second = (1 - nu) * np.einsum("k,kij->ij", mixture.weights, mixture.covariances)
    second = second + (1 - nu) * np.einsum("k,ki,kj->ij", mixture.weights, mixture.means, mixture.means)
    if preset.model.background is not None:
        lower, upper = preset.model.background.lower, preset.model.background.upper
        mean = mean + nu * (lower + upper) / 2
        second = second + nu * (np.outer(lower + upper, lower + upper) / 4 + np.diag((upper - lower) ** 2) / 12)
    noise_covariance = unpack(np.mean(noise.packed(range(d)), axis=1))
    expected = second - np.outer(mean, mean) + noise_covariance
    bound = norm.isf(FALSE_ALARM / 2 / d**2)
    for i in range(d):
        for j in range(i + 1):
            seen = ~np.isnan(points[:, i] + points[:, j])
            products = (points[seen, i] - mean[i]) * (points[seen, j] - mean[j])
            error = products.std() / np.sqrt(seen.sum())
            assert abs(products.mean() - expected[i, j]) < bound * error
        column = points[~np.isnan(points[:, i]), i]
        assert abs(column.mean() - mean[i]) < bound * column.std() / np.sqrt(len(column))


def test_noise_is_as_wide_as_what_is_sought() -> None:
    preset = PRESETS["deconvolution"]
    _, noise = preset.draw(5_000, np.random.default_rng(0))
    widths = np.sqrt(np.diagonal(preset.model.mixture.covariances, axis1=1, axis2=2)).mean(axis=0)
    ratio = np.sqrt(noise.variances(3).mean(axis=0)) / widths
    assert np.all((ratio > 0.5) & (ratio < 2))
    covariances = unpack(noise.packed(range(3)).T)
    correlations = covariances[:, 1, 0] / np.sqrt(covariances[:, 0, 0] * covariances[:, 1, 1])
    assert correlations.min() < -0.5 < 0.5 < correlations.max()


def test_a_graded_survey_is_graded_over_most_of_its_data(surveys: dict[str, Dataset]) -> None:
    points = _points(surveys["graded"])
    omega = expit((21.5 - points @ [1.0, 0.3]) / 0.6)
    assert np.mean((omega > 0.01) & (omega < 0.99)) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_comes_back_from_the_store(surveys: dict[str, Dataset], name: str) -> None:
    dataset, preset = Dataset.open(surveys[name].path), PRESETS[name]
    truth = dataset.truth
    assert truth is not None
    assert (truth["preset"], truth["seed"], truth["n_objects"]) == (name, 3, 40_000)
    assert truth["n_selected"] == dataset.n_rows
    model = true_model(truth)
    for part in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(model.mixture, part), getattr(preset.model.mixture, part))
    assert model.background_fraction == preset.model.background_fraction
    objects = preset.objects(100, np.random.default_rng(1))
    np.testing.assert_array_equal(model.log_density(objects.points), preset.model.log_density(objects.points))
    survey, expected = true_survey(truth), preset.survey
    assert (survey.selection is None, survey.selection_on) == (expected.selection is None, expected.selection_on)
    if survey.selection is not None and expected.selection is not None:
        on = objects.selected_on
        np.testing.assert_array_equal(survey.selection(on), expected.selection(on))
        assert type(survey.noise_law) is type(expected.noise_law)
        if isinstance(expected.noise_law, ConstantNoise):
            np.testing.assert_array_equal(survey.noise_law.covariance, expected.noise_law.covariance)


def test_completeness_agrees_with_counting() -> None:
    for name in ("box-with-hole", "graded"):
        preset, n = PRESETS[name], 2_000_000
        share, error = completeness(preset.model, preset.survey)
        points, _ = preset.draw(n, np.random.default_rng(8))
        assert preset.survey.selection is not None
        omega = preset.survey.selection(points)
        spread = np.hypot(omega.std() / np.sqrt(n), error)
        assert error < 1e-3
        assert abs(omega.mean() - share) < norm.isf(FALSE_ALARM / 2) * spread
    assert completeness(PRESETS["background"].model, Survey()) == (1.0, 0.0)


def test_completeness_of_own_noise_is_that_of_the_objects(surveys: dict[str, Dataset]) -> None:
    """N / sum_n 1 / Z_n over the observed objects is n_selected / n_objects, within the scatter of both."""
    preset, dataset = PRESETS["one-likelihood"], surveys["one-likelihood"]
    truth = dataset.truth
    assert truth is not None
    share, error = completeness(preset.model, preset.survey, like=dataset.references[0].load(), n_points=1 << 15)
    scatter = np.sqrt(share * (1 - share) / truth["n_objects"])
    assert error < scatter
    assert abs(share - truth["n_selected"] / truth["n_objects"]) < norm.isf(FALSE_ALARM / 2) * scatter
    assert abs(share - truth["completeness"]) < norm.isf(FALSE_ALARM / 2) * (scatter + truth["completeness_error"])
    with pytest.raises(JobError, match="depends on the noise and the gaps"):
        completeness(preset.model, preset.survey)


@pytest.mark.parametrize("on", ["available", "true"])
def test_what_is_selected_on_decides(tmp_path: Path, on: str) -> None:
    """A hard edge is one of what it acts on, and of nothing else."""
    preset = PRESETS["one-likelihood"]
    survey = Survey(Box([-2.5, -1.5], [2.5, 1.5]), "own" if on == "available" else None, on)
    dataset = simulate(tmp_path / "a.zarr", replace(preset, survey=survey), n=5_000, seed=2)
    points = _points(dataset)
    outside = np.any((points <= survey.selection.lower) | (points >= survey.selection.upper), axis=1)
    assert np.any(np.isnan(points))
    assert outside.any() == (on == "true")
    assert dataset.truth is not None
    assert _likely(len(points), 5_000, dataset.truth["completeness"])
    read = read_job(job_path(dataset.path)).survey()
    assert read.selection_on == true_survey(dataset.truth).selection_on == on
    assert type(read.noise_law) is type(survey.noise_law)


def test_noise_may_be_a_law_of_the_position() -> None:
    def law(x: np.ndarray) -> np.ndarray:
        return (0.1 + (x[:, :1, None] > 0)) * np.eye(2)

    preset = replace(PRESETS["graded"], measurement=ByPosition(NoiseFunction(law)))
    objects = preset.objects(50_000, np.random.default_rng(3))
    np.testing.assert_allclose(unpack(objects.noise.packed(range(2)).T), law(objects.positions))
    errors = (objects.points - objects.positions) ** 2 / objects.noise.variances(2)
    assert np.all(np.abs(errors.mean(axis=0) - 1) < norm.isf(FALSE_ALARM / 4) * np.sqrt(2 / len(errors)))


def test_rows_do_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    few = _points(simulate(tmp_path / "few.zarr", "graded", n=1_000, seed=1))
    more = _points(simulate(tmp_path / "more.zarr", "graded", n=BATCH + 7, seed=1))
    most = _points(simulate(tmp_path / "most.zarr", "graded", n=2 * BATCH, seed=1))
    assert 0 < len(few) < len(more) < len(most)
    np.testing.assert_array_equal(few, more[: len(few)])
    np.testing.assert_array_equal(more, most[: len(more)])


def test_batches_differ(tmp_path: Path) -> None:
    points = _points(simulate(tmp_path / "a.zarr", "many-components", n=2 * BATCH))
    assert len(np.unique(points[:, 0])) == 2 * BATCH


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_every_byte(surveys: dict[str, Dataset], tmp_path: Path, name: str) -> None:
    again = simulate(tmp_path / "again.zarr", name, n=40_000, seed=3)
    other = simulate(tmp_path / "other.zarr", name, n=40_000, seed=4)
    files = _arrays(surveys[name].path)
    assert any("points/c" in file for file in files)
    assert _arrays(again.path) == files
    shared = set(_arrays(other.path)) & set(files)
    assert all(_arrays(other.path)[file] != files[file] for file in shared if not file.endswith("zarr.json"))


@pytest.mark.slow
def test_memory_does_not_grow_with_n(tmp_path: Path) -> None:
    peaks = []
    for batches in (16, 48):  # two shards of the store, and six
        tracemalloc.start()
        simulate(tmp_path / f"{batches}.zarr", "background", n=batches * BATCH)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_progress_is_told_batch_by_batch(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate(tmp_path / "a.zarr", "graded", n=BATCH + 1, on_batch=lambda done, n: told.append((done, n)))
    assert told == [(BATCH, BATCH + 1), (BATCH + 1, BATCH + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_the_job_file_has_the_tables_of_the_preset(surveys: dict[str, Dataset], name: str) -> None:
    path, preset = job_path(surveys[name].path), PRESETS[name]
    document = tomllib.loads(path.read_text())
    tables = {"data", "model", "fit", "cluster", "output"}
    tables |= {"selection", "noise"} if preset.survey.selection is not None else set()
    tables |= {"background"} if name in ("background", "one-likelihood") else set()
    assert set(document) == tables
    assert document["data"]["path"] == f"{name}.zarr"
    assert document["output"]["path"] == f"{name}.run"
    assert document["model"]["n_components"] == COMPONENTS.get(name, 3)
    assert document["cluster"]["kind"] == ("local" if name == "box-with-hole" else "auto")
    if name == "box-with-hole":
        assert document["selection"] == {
            "all": [
                {"box": {"lower": [0.0, 0.0], "upper": [10.0, 10.0]}},
                {"not": {"ball": {"center": [6.5, 6.0], "radius": 2.0}}},
            ]
        }
        assert document["noise"] == {"unseen": [[0.25, 0.0], [0.0, 0.25]]}
    job = read_job(path)
    assert job.resolve(job.data.path) == surveys[name].path
    points = preset.objects(1_000, np.random.default_rng(2)).selected_on
    if preset.survey.selection is not None:
        selection = job.survey().selection
        assert selection is not None
        np.testing.assert_array_equal(selection(points), preset.survey.selection(points))
        assert type(job.survey().noise_law) is type(preset.survey.noise_law)


def test_job_files_lie_beside_their_store() -> None:
    assert job_path("a/survey.zarr") == Path("a/survey.toml")
    assert job_path("a/survey.v2") == Path("a/survey.v2.toml")


def test_what_cannot_be_simulated_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with pytest.raises(JobError, match="'box-with-hole'"):
        simulate(path, "box-with-holes")
    with pytest.raises(JobError, match="n must be at least 1"):
        simulate(path, "graded", n=0)
    with pytest.raises(JobError, match="seed must not be negative"):
        simulate(path, "graded", n=10, seed=-1)
    ball = Ball(np.zeros(3), 1.0)
    gaps = replace(PRESETS["deconvolution"], survey=Survey(ball, lambda x: np.zeros((3, 3))))
    with pytest.raises(RefusedError, match="NoiseFunction noise law cannot be written"):
        simulate(path, gaps, n=100)
    law = PRESETS["graded"].survey.noise_law
    with pytest.raises(RefusedError, match="FromFunction"):
        simulate(path, replace(PRESETS["graded"], survey=Survey(FromFunction(lambda y: 0.5 + 0 * y[:, 0]), law)), n=100)
    with pytest.raises(RefusedError, match="injections do not say"):
        replace(PRESETS["graded"], survey=Survey(Injections([[0.0, 0.0]], [True], [0.0])))
    with pytest.raises(ShapeError, match="units"):
        replace(PRESETS["graded"], units=("mag",))
    assert list(tmp_path.iterdir()) == []


def test_a_selection_that_needs_a_value_that_was_lost_is_refused(tmp_path: Path) -> None:
    survey = Survey(Ball(np.zeros(2), 3.0), "own", "available")
    with pytest.raises(RefusedError, match="which was not measured"):
        simulate(tmp_path / "a.zarr", replace(PRESETS["one-likelihood"], survey=survey), n=100)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    job_path(path).write_text("# mine\n")
    with pytest.raises(StoreError, match=r"a\.toml' exists"):
        simulate(path, "graded", n=100)
    assert not path.exists()
    assert job_path(path).read_text() == "# mine\n"
    job_path(path).unlink()
    simulate(path, "graded", n=100)
    job_path(path).unlink()
    with pytest.raises(StoreError, match=r"a\.zarr' exists"):
        simulate(path, "graded", n=100)
    assert simulate(path, "background", n=50, overwrite=True).n_rows == 50
    assert read_job(job_path(path)).background is not None
