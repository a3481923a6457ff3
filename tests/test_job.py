"""Job files: read whole and checked before anything runs; selections to tables and back."""

from pathlib import Path

import numpy as np
import pytest

from dgmmis.errors import JobError, RefusedError
from dgmmis.job import read_job, selection_from_table, selection_to_table
from dgmmis.prior import InverseWishart
from dgmmis.selection import Ball, Box, FromFunction, HalfSpace, Selection
from dgmmis.survey import ConstantNoise

FULL = """
[data]
path = "survey.zarr"
[model]
n_components = 3
covariance_type = "diag"
init = "random"
prior_scale = [[2.0, 0.0], [0.0, 1.0]]
frozen = { means = [0, 2] }
[selection]
all = [{ box = { lower = [0, 0], upper = [10, inf] } }, { not = { ball = { center = [6.5, 6], radius = 2 } } }]
[noise]
unseen = [[0.25, 0], [0, 0.25]]
[background]
lower = [0, 0]
upper = [10, 10]
fraction = 0.2
bounds = [0.1, 0.5]
[fit]
tol = 1e-7
max_iter = 50
seed = 4
[cluster]
kind = "local"
workers = 3
memory_limit = "2GiB"
[output]
path = "../out.run"
"""


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return path


def test_every_key_arrives_where_it_belongs(tmp_path: Path) -> None:
    job = read_job(_write(tmp_path, FULL))
    start, constraints, survey = job.start(), job.constraints(), job.survey()
    assert (start.n_components, start.method, start.background_fraction) == (3, "random", 0.2)
    assert start.background is not None
    assert np.array_equal(start.background.upper, [10, 10])
    assert constraints.covariance_type == "diag"
    assert isinstance(constraints.prior, InverseWishart)
    assert np.array_equal(constraints.prior.matrix(2), [[2, 0], [0, 1]])
    assert constraints.frozen.means == {0, 2}
    assert constraints.background_bounds == (0.1, 0.5)
    assert survey.selection is not None
    points = np.array([[1.0, 1.0], [6.5, 6.1], [-1.0, 1.0], [5.0, 1e9]])
    assert np.array_equal(survey.selection(points), [1, 0, 0, 1])
    assert isinstance(survey.noise_law, ConstantNoise)
    assert (job.stopping().tol, job.stopping().max_iter, job.fit.seed) == (1e-7, 50, 4)
    spec = job.cluster_spec()
    assert (spec.kind, spec.workers, spec.memory_limit) == ("local", 3, "2GiB")
    assert job.resolve(job.data.path) == tmp_path / "survey.zarr"
    assert job.output_path.resolve() == (tmp_path / ".." / "out.run").resolve()


def test_the_smallest_job_has_defaults(tmp_path: Path) -> None:
    job = read_job(_write(tmp_path, '[data]\npath = "a.zarr"\n[model]\nn_components = 1\n'))
    assert job.survey().selection is None
    assert job.start().background is None
    assert job.cluster_spec().kind == "auto"
    assert job.output_path == tmp_path / "job.run"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[model]", "[modle]", r"unknown table \[modle\]. Did you mean 'model'\?"),
        ("n_components = 3", "n_component = 3", r"\[model\] has no key 'n_component'. Did you mean 'n_components'\?"),
        ("n_components = 3", 'n_components = "3"', r"\[model\] n_components has the wrong type: expected int, got '3'"),
        ("n_components = 3", "n_components = true", "n_components has the wrong type"),
        ("n_components = 3", "", r"\[model\] lacks the key 'n_components'"),
        ("n_components = 3", "n_components = 0", "n_components must be at least 1"),
        ('"random"', '"kmean"', None),  # the path of a run, looked for when the fit starts
        ('"diag"', '"diagonal"', r"unknown covariance_type 'diagonal'. Did you mean 'diag'\?"),
        ("means = [0, 2]", "means = [3]", "frozen means: no such component"),
        ("means = [0, 2]", "mean = [0]", "frozen: unknown parameter 'mean'"),
        ("ball", "bal", "unknown selection 'bal'. Did you mean 'ball'"),
        ("radius = 2", "radius = -2", "`radius` must be positive"),
        ("radius = 2", "radios = 2", "unknown key 'radios'. Did you mean 'radius'"),
        ("lower = [0, 0], upper", "upper", "selection `box` lacks lower"),
        (
            "[[0.25, 0], [0, 0.25]]",
            "[[0.25, 0], [0, -0.25]]",
            "noise_law is no covariance: noise variances are negative",
        ),
        ("upper = [10, 10]", "upper = [-10, 10]", "`lower` must be below `upper`"),
        ("bounds = [0.1, 0.5]", "bounds = [0.5, 0.1]", "bounds"),
        ("tol = 1e-7", "tol = 0", "tol must be positive"),
        ('kind = "local"', 'kind = "locale"', "unknown cluster kind 'locale'. Did you mean 'local'"),
        ("[data]", "[data", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_right(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    assert old in FULL
    path = _write(tmp_path, FULL.replace(old, new, 1))
    if message is None:
        read_job(path)
        return
    with pytest.raises(JobError, match=message):
        read_job(path)


def test_a_missing_job_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no job file.*dgmmis simulate"):
        read_job(tmp_path / "none.toml")


SELECTIONS = [
    Box([0.0, -np.inf], [1.0, 2.0]),
    Ball([0.3, 0.2], 0.7),
    HalfSpace([1.0, 2.0], 0.4),
    HalfSpace([1.0, 2.0], 0.4, softness=0.3),
    ~Ball([0.3, 0.2], 0.7),
    Box([0, 0], [1, 1]) & ~Ball([0.5, 0.5], 0.2) & HalfSpace([1.0, 0.0], 0.8, 0.1),
    Box([0, 0], [1, 1]) | (Ball([2, 2], 0.5) & HalfSpace([0.0, 1.0], 2.0)) | Ball([-1, -1], 1.0),
]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_selections_survive_the_table(selection: Selection) -> None:
    points = np.random.default_rng(0).normal(0.5, 1, (500, 2))
    table = selection_to_table(selection)
    assert np.array_equal(selection_from_table(table)(points), selection(points))
    assert selection_to_table(selection_from_table(table)) == table


def test_functions_cannot_be_tables() -> None:
    with pytest.raises(RefusedError, match="FromFunction"):
        selection_to_table(Box([0], [1]) & FromFunction(lambda y: y[:, 0]))


@pytest.mark.parametrize("table", [{}, {"box": {}, "ball": {}}, {"all": []}, {"box": 3}, {"not": 4}, 3, {"any": [{}]}])
def test_malformed_tables_are_refused(table: object) -> None:
    with pytest.raises(JobError):
        selection_from_table(table)
