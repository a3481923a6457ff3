"""Job files: read whole and checked before anything runs; selections to tables and back."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dgmmis.background import FixedDensity, FixedMixture
from dgmmis.em import Stopping
from dgmmis.errors import JobError, RefusedError
from dgmmis.job import read_job, selection_from_table, selection_to_table
from dgmmis.noise import NoNoise
from dgmmis.noise_law import ConstantNoise, FromCatalogue, ImportedNoise, OwnNoise
from dgmmis.prior import Dirichlet, InverseWishart, NormalInverseWishart, Prior
from dgmmis.selection import Ball, Box, FromFunction, HalfSpace, Selection

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
arrived = 0.5
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
    assert job.stopping() == Stopping(1e-7, 50, arrived=0.5)
    assert job.fit.seed == 4
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
        ("n_components = 3", 'n_components = "3"', r"n_components has the wrong type: expected a whole number"),
        ("n_components = 3", "n_components = true", "n_components has the wrong type"),
        ("n_components = 3", "", r"\[model\] lacks the key 'n_components'"),
        ("n_components = 3", "n_components = 0", "n_components must be a whole number, at least 1"),
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


SMALL = '[data]\npath = "a.zarr"\n[model]\nn_components = 1\n'
CODE = """
import numpy as np

def omega(points, at=0.0):
    return np.where(points[:, 0] > at, 0.5, 1.0)

def noise(points, scale=1.0):
    return scale * np.eye(points.shape[1])

def field(points):
    return 1.0 + points[:, 0] ** 2
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that can be imported."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "surveyed.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "surveyed", raising=False)
    return "surveyed"


@pytest.mark.parametrize("on", ["observed", "available", "true"])
def test_a_selection_says_what_it_acts_on(tmp_path: Path, on: str) -> None:
    text = f'{SMALL}[selection]\non = "{on}"\nbox = {{ lower = [0], upper = [1] }}\n'
    survey = read_job(_write(tmp_path, text)).survey()
    assert survey.selection_on == on
    assert isinstance(survey.selection, Box)
    assert survey.noise_law is None


@pytest.mark.parametrize(
    ("word", "kind"), [("own", OwnNoise), ("nearest", FromCatalogue), ("regression", FromCatalogue)]
)
def test_a_noise_law_has_a_name(tmp_path: Path, word: str, kind: type) -> None:
    law = read_job(_write(tmp_path, f'{SMALL}[noise]\nlaw = "{word}"\n')).survey().noise_law
    assert isinstance(law, kind)
    assert not isinstance(law, FromCatalogue) or law.kind == word


def test_a_background_may_be_a_mixture(tmp_path: Path) -> None:
    mixture = "{ weights = [1.0], means = [[0.0, 1.0]], covariances = [[[4.0, 1.0], [1.0, 9.0]]] }"
    job = read_job(_write(tmp_path, f"{SMALL}[background]\nmixture = {mixture}\nfraction = 0.3\nbounds = [0.2, 0.4]\n"))
    start = job.start()
    assert isinstance(start.background, FixedMixture)
    assert np.array_equal(start.background.mixture.covariances, [[[4, 1], [1, 9]]])
    assert start.background_fraction == 0.3
    assert job.constraints().background_bounds == (0.2, 0.4)


FUNCTIONS = {
    "selection": "[selection]\nfunction = { path = 'surveyed:omega', parameters = { at = 2.0 } }\n",
    "noise": "[noise]\nfunction = { path = 'surveyed:noise', parameters = { scale = 3.0 } }\n",
    "background": "[background]\nfunction = { path = 'surveyed:field', lower = [0.0], upper = [1.0] }\n",
}


def test_functions_of_ones_own_are_called_where_that_is_allowed(tmp_path: Path, code: str) -> None:
    job = read_job(_write(tmp_path, SMALL + "".join(FUNCTIONS.values())), allow_code=True)
    survey, background = job.survey(), job.start().background
    assert survey.selection is not None
    assert np.array_equal(survey.selection(np.array([[1.0], [3.0]])), [1.0, 0.5])
    assert isinstance(survey.noise_law, ImportedNoise)
    assert np.array_equal(survey.noise_law(np.zeros((2, 1))), [[[3.0]], [[3.0]]])
    assert isinstance(background, FixedDensity)
    heights = np.exp(background.log_density(np.array([[0.0], [1.0]]), NoNoise()))
    np.testing.assert_allclose(heights, [0.75, 1.5], rtol=1e-3)
    assert code in sys.modules


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_not_imported_unasked(tmp_path: Path, code: str, name: str) -> None:
    with pytest.raises(JobError, match=r"would import and run 'surveyed:.*--allow-code"):
        read_job(_write(tmp_path, SMALL + FUNCTIONS[name]))
    assert code not in sys.modules


def test_files_are_beside_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder the program runs in."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.toml").write_text(f"{SMALL}[selection]\ngrid = {{ file = 'maps/omega.npz' }}\n")
    (tmp_path / "jobs" / "maps").mkdir()
    np.savez(tmp_path / "jobs" / "maps" / "omega.npz", edges_0=[0.0, 1.0, 2.0], probability=[0.25, 0.75])
    monkeypatch.chdir(tmp_path)
    selection = read_job("jobs/job.toml").survey().selection
    assert selection is not None
    assert np.array_equal(selection(np.array([[0.5], [1.5]])), [0.25, 0.75])


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ('[selection]\non = "tru"\nbox = { lower = [0], upper = [1] }', "selection_on 'tru'. Did you mean 'true'"),
        ("[selection]\non = 3\nbox = { lower = [0], upper = [1] }", "`on` has the wrong type"),
        ('[selection]\non = "true"', "one kind"),
        ('[selection]\nonn = "true"\nbox = { lower = [0], upper = [1] }', "no key 'onn'. Did you mean 'on'"),
        ('[noise]\nlaw = "nearst"', "unknown noise_law 'nearst'. Did you mean 'nearest'"),
        ("[noise]\nunsen = [[1.0]]", "unknown noise law 'unsen'. Did you mean 'unseen'"),
        ('[noise]\nunseen = [[1.0]]\nlaw = "own"', "one kind"),
        ("[background]\nlower = [0]\nuppr = [1]", r"\[background\] has no key 'uppr'. Did you mean 'upper'"),
        ("[background]\nlower = [0]\nupper = [1]\nfraction = 'x'", r"\[background\] fraction has the wrong type"),
        ("[background]\nfraction = 0.2", "a background is a table with one kind"),
        ("[background]\nmixture = { weight = [1] }", "unknown key 'weight'. Did you mean 'weights'"),
        ("[background]\nlower = [0]\nupper = [1]\nmixture = { weights = [1] }", "unknown key 'mixture'"),
    ],
)
def test_what_is_wrong_with_a_survey_is_said(tmp_path: Path, tables: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        read_job(_write(tmp_path, f"{SMALL}{tables}\n"))


def test_a_prior_has_a_table_of_its_own(tmp_path: Path) -> None:
    job = FULL.replace("prior_scale = [[2.0, 0.0], [0.0, 1.0]]\n", "")

    def prior(table: str) -> Prior:
        return Prior.parse(read_job(_write(tmp_path, f"{job}[model.prior]\n{table}")).constraints().prior)

    weights = prior("concentration = 2").weights
    assert isinstance(weights, Dirichlet)
    assert np.array_equal(weights.vector(3), [2, 2, 2])
    both = prior("concentration = [1, 2, 3.5]\nscale = 4.0")
    assert isinstance(both.weights, Dirichlet)
    assert np.array_equal(both.weights.vector(3), [1, 2, 3.5])
    assert isinstance(both.components, InverseWishart)
    whole = prior("scale = [[2.0, 0.0], [0.0, 1.0]]\nmean = [1, 2]\nmean_precision = 0.1\ndegrees_of_freedom = 4")
    assert whole.weights is None
    components = whole.components
    assert isinstance(components, NormalInverseWishart)
    assert np.array_equal(components.mean, [1, 2])
    assert np.array_equal(components.matrix(2), [[2, 0], [0, 1]])
    assert (components.mean_precision, components.degrees_of_freedom) == (0.1, 4)
    for table, message in (
        ("", r"\[model.prior\] is empty. Give a concentration"),
        ("concentrations = 2", r"\[model.prior\] has no key 'concentrations'. Did you mean 'concentration'"),
        ("mean = 3", r"\[model.prior\] mean has the wrong type"),
        ("scale = 1\nmean = [1, 2]", r"\[model.prior\] lacks mean_precision, degrees_of_freedom"),
        ("concentration = 0.5", "infinite where a weight is zero"),
        ("concentration = -1", "`concentration` must be positive"),
    ):
        with pytest.raises(JobError, match=message):
            prior(table)
    with pytest.raises(JobError, match=r"both prior_scale and a table \[model.prior\]"):
        read_job(_write(tmp_path, FULL + "[model.prior]\nscale = 1\n"))
