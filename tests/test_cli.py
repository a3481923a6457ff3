"""The commands, run as a user runs them: processes, files, exit codes, what they say and where."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dgmmis.dataset.checkpoint import read_run
from dgmmis.dataset.dataset import Dataset


def dgmmis(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    command = [sys.executable, "-m", "dgmmis", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300, check=False)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated survey and its fit on a local cluster."""
    folder = tmp_path_factory.mktemp("cli")
    made = dgmmis("simulate", "survey.zarr", "--preset", "box-with-hole", "-n", 20_000, "--seed", 3, cwd=folder)
    assert made.returncode == 0, made.stderr
    assert "dgmmis fit survey.toml" in made.stdout
    fitted = dgmmis("fit", "survey.toml", cwd=folder)
    assert fitted.returncode == 0, fitted.stderr
    assert "converged" in fitted.stdout
    assert "objects before selection" in fitted.stdout
    assert "worker processes" in fitted.stderr  # the plan and where it runs
    assert "dashboard" in fitted.stderr
    return folder


def test_the_main_job_recovers_the_truth(survey: Path) -> None:
    run, truth = read_run(survey / "survey.run"), Dataset.open(survey / "survey.zarr").truth
    assert truth is not None
    before = run.document["n_samples"] / run.completeness
    assert before == pytest.approx(20_000, rel=0.1)  # five times the scatter of 2 % between seeds
    means = np.array(truth["means"])
    nearest = [np.abs(run.model.mixture.means - mean).max(axis=1).min() for mean in means]
    assert max(nearest) < 0.5  # about five standard errors of the widest, half hidden component


def test_what_is_said_of_a_survey_fits_on_a_screen(tmp_path: Path) -> None:
    made = dgmmis("simulate", "survey.zarr", "--preset", "many-components", "-n", 100, cwd=tmp_path)
    assert max(map(len, made.stdout.splitlines())) < 500, made.stdout  # of its truth, fifty covariances
    assert "... and 46 more" in made.stdout
    whole = json.loads(dgmmis("info", "survey.zarr", "--json", cwd=tmp_path).stdout)
    assert len(whole["truth"]["covariances"]) == 50


def test_the_example_compares_with_the_truth_and_draws(survey: Path) -> None:
    script = Path(__file__).parents[1] / "examples" / "is_the_truth_recovered.py"
    arguments = (survey / "survey.zarr", survey / "survey.run", survey / "recovery.png")
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    for words in ("component 2 weight", "cov x,y", "completeness", "objects in all", "20,000"):
        assert words in done.stdout
    assert (survey / "recovery.png").stat().st_size > 20_000


def test_progress_has_iteration_objective_completeness_and_time(survey: Path) -> None:
    fitted = dgmmis("fit", "survey.toml", "--out", "again.run", cwd=survey)
    assert fitted.returncode == 0
    lines = [line for line in fitted.stderr.splitlines() if line.startswith("pass")]
    assert lines, fitted.stderr
    assert all(
        "objective" in line and "completeness" in line and line.rstrip().endswith((" s", "left")) for line in lines
    )
    first, again = read_run(survey / "survey.run"), read_run(survey / "again.run")
    assert np.array_equal(first.model.mixture.means, again.model.mixture.means)  # the same bits


def test_machines_get_json_and_nothing_else(survey: Path) -> None:
    fitted = dgmmis("fit", "survey.toml", "--out", "json.run", "--json", "--quiet", cwd=survey)
    document = json.loads(fitted.stdout)
    assert document["converged"] is True
    assert fitted.stderr == ""
    for command in (("plan", "survey.toml"), ("info", "survey.zarr"), ("info", "survey.run")):
        json.loads(dgmmis(*command, "--json", cwd=survey).stdout)
    scored = json.loads(dgmmis("score", "survey.run", "survey.zarr", "--json", cwd=survey).stdout)
    errors = [part["completeness_error"] / part["completeness"] for part in (scored, document)]
    assert max(errors) < 1e-3
    # on points of its own; 6 errors of Student's t with seven degrees: 5e-4 by chance
    assert abs(scored["log_likelihood"] - document["log_likelihood"]) < 6 * np.hypot(*errors)


def test_sample_draws_the_population(survey: Path) -> None:
    drawn = dgmmis("sample", "survey.run", 70_000, "population.zarr", "--seed", 1, cwd=survey)
    assert drawn.returncode == 0, drawn.stderr
    points = Dataset.open(survey / "population.zarr").points.compute()
    mixture = read_run(survey / "survey.run").model.mixture
    mean = mixture.weights @ mixture.means
    error = np.sqrt(np.diag(np.cov(points.T)) / len(points))
    assert np.all(np.abs(points.mean(axis=0) - mean) < 5 * error)  # false alarm 1e-6
    again = dgmmis("sample", "survey.run", 100, "population.zarr", cwd=survey)
    assert again.returncode == 74
    assert "--overwrite" in again.stderr or "overwrite" in again.stderr


def test_a_catalogue_is_drawn_as_the_survey_would_make_it(survey: Path) -> None:
    drawn = dgmmis("sample", "survey.run", 5_000, "seen.zarr", "--which", "seen", cwd=survey)
    assert drawn.returncode == 0, drawn.stderr
    dataset = Dataset.open(survey / "seen.zarr")
    points = dataset.points.compute()
    assert (dataset.n_rows, dataset.schema.noise) == (5_000, "shared")
    assert np.all((points > 0) & (points < 10))
    assert np.all(np.sum((points - [6.5, 6.0]) ** 2, axis=1) >= 4)


def test_info_says_what_the_survey_was_told_to_be(survey: Path) -> None:
    shown = dgmmis("info", "survey.run", cwd=survey).stdout
    for words in (
        "(box and not ball), of measured values, before any of them went missing",
        "one covariance for all of them",
        "completeness",
        " +- ",
        "objects before selection",
    ):
        assert words in shown


def test_functions_are_called_where_that_is_allowed(survey: Path) -> None:
    """By a job, and by the run that comes of it; `python -m` finds the code, which is in this folder."""
    (survey / "field.py").write_text("def omega(points):\n    return 0.5 + 0.0 * points[:, 0]\n")
    text = (
        (survey / "survey.toml").read_text().replace("max_iter = 1000", "max_iter = 2").replace('"local"', '"threads"')
    )
    head, tail = text.split("[selection]")
    tail = tail[tail.index("[noise]") :]
    (survey / "code.toml").write_text(f'{head}[selection]\nfunction = {{ path = "field:omega" }}\n\n{tail}')
    refused = dgmmis("plan", "code.toml", cwd=survey)
    assert refused.returncode == 2
    assert "would import and run 'field:omega'" in refused.stderr
    assert "--allow-code" in refused.stderr
    stopped = dgmmis("fit", "code.toml", "--out", "code.run", "--allow-code", cwd=survey)
    assert stopped.returncode == 3, stopped.stderr
    assert dgmmis("score", "code.run", "survey.zarr", cwd=survey).returncode == 2
    scored = dgmmis("score", "code.run", "survey.zarr", "--allow-code", "--json", cwd=survey)
    assert json.loads(scored.stdout)["completeness"] == pytest.approx(0.5, abs=5e-3)


def test_ingest_info_fit_on_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(6, 1, (300, 2))])
    lines = ["a,b,e_a,e_b", *(f"{a:.5f},{b:.5f},0.3,0.2" for a, b in rows)]
    lines[5] = ",1.0,,0.2"  # a missing measurement
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    done = dgmmis("ingest", "table.csv", "t.zarr", "--features", "a,b", "--errors", "e_a,e_b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "600" in dgmmis("info", "t.zarr", cwd=tmp_path).stdout
    (tmp_path / "job.toml").write_text('[data]\npath = "t.zarr"\n[model]\nn_components = 2\n')
    fitted = dgmmis("fit", "job.toml", cwd=tmp_path)
    assert fitted.returncode == 0, fitted.stderr
    means = np.sort(read_run(tmp_path / "job.run").model.mixture.means, axis=0)
    np.testing.assert_allclose(means, [[0, 0], [6, 6]], atol=0.4)


def test_exit_code_3_when_it_has_not_converged_but_the_model_is_there(survey: Path) -> None:
    text = (survey / "survey.toml").read_text().replace("max_iter = 1000", "max_iter = 3")
    (survey / "short.toml").write_text(text.replace("survey.run", "short.run").replace('"local"', '"threads"'))
    stopped = dgmmis("fit", "short.toml", cwd=survey)
    assert stopped.returncode == 3
    assert "raise max_iter" in stopped.stderr
    assert not read_run(survey / "short.run").document["converged"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fit", "none.toml"), 2, "no job file"),
        (("simulate", "x.zarr", "--preset", "box-with-whole"), 2, "Did you mean 'box-with-hole'"),
        (("simulate", "survey.zarr"), 74, "exists"),
        (("ingest", "none.csv", "x.zarr", "--features", "a"), 74, "none.csv"),
        (("score", "none.run", "survey.zarr"), 74, "no run at"),
        (("info", "none.zarr"), 74, "none.zarr"),
        (("fitt", "x"), 2, "No such command"),
        (("simulate",), 2, "Missing argument"),
        (("sample", "survey.run", "0", "x.zarr"), 2, "0"),
        (("fit", "survey.toml", "--out", "survey.zarr"), 74, "is not a run"),
        (("fit", "survey.toml", "--out", "survey.toml/x.run"), 74, "cannot be written"),  # said before the fit
    ],
)
def test_errors_are_one_message_and_a_code(survey: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    failed = dgmmis(*arguments, cwd=survey)
    assert failed.returncode == code, failed.stderr
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ('init = "kmeans"', 'init = "kmean"', 2, "Did you mean 'kmeans'"),
        ("seed = 0", "seed = -1", 2, "seed must not be negative"),
        ('kind = "local"', 'kind = "scheduler-file"\naddress = "none.json"', 69, "no scheduler file"),
        ('kind = "local"', 'kind = "address"\naddress = "foo://bar"', 69, "cannot reach the cluster"),
        ('kind = "local"', 'kind = "threads"\nmemory_limit = "1GB"', 2, "takes no `memory_limit`"),
    ],
)
def test_what_only_the_fit_can_find(survey: Path, old: str, new: str, code: int, message: str) -> None:
    text = (survey / "survey.toml").read_text()
    assert old in text
    (survey / "wrong.toml").write_text(text.replace(old, new))
    failed = dgmmis("fit", "wrong.toml", "--out", "wrong.run", cwd=survey)
    assert failed.returncode == code, failed.stderr
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr


def test_objects_that_the_survey_cannot_see_are_not_scored(survey: Path) -> None:
    dgmmis("sample", "survey.run", 500, "everywhere.zarr", cwd=survey)
    refused = dgmmis("score", "survey.run", "everywhere.zarr", cwd=survey)
    assert refused.returncode == 65
    assert "zero probability to observed objects in row" in refused.stderr


def test_the_parameters_come_out_for_machines(survey: Path) -> None:
    mixture = read_run(survey / "survey.run").model.mixture
    written = json.loads((survey / "survey.run" / "fit.json").read_text())
    shown = json.loads(dgmmis("info", "survey.run", "--json", cwd=survey).stdout)
    for document in (written, shown):
        for name in ("weights", "means", "covariances"):
            assert np.array_equal(document[name], getattr(mixture, name))


def test_text_that_is_not_utf8_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("a,gr\u00f6\u00dfe\n1,2\n".encode("latin-1"))
    failed = dgmmis("ingest", "latin.csv", "x.zarr", "--features", "a", cwd=tmp_path)
    assert failed.returncode == 65
    assert "UTF-8" in failed.stderr


def test_debug_shows_the_traceback(survey: Path) -> None:
    assert "Traceback" in dgmmis("--debug", "fit", "none.toml", cwd=survey).stderr


def test_bad_data_is_exit_code_65(survey: Path) -> None:
    text = (survey / "survey.toml").read_text()
    (survey / "shifted.toml").write_text(text.replace("[10.0, 10.0]", "[9.0, 10.0]").replace('"local"', '"threads"'))
    failed = dgmmis("fit", "shifted.toml", "--out", "x.run", cwd=survey)
    assert failed.returncode == 65
    assert "zero probability to observed objects in row" in failed.stderr
    assert not (survey / "x.run").exists()


def test_a_plan_that_cannot_fit_is_refused_with_the_plan(survey: Path) -> None:
    text = (survey / "survey.toml").read_text().replace('"local"', '"local"\nmemory_limit = "300MB"')
    (survey / "tight.toml").write_text(text)
    for command in ("plan", "fit"):
        refused = dgmmis(command, "tight.toml", cwd=survey)
        assert refused.returncode == 2
        assert "do not fit into a worker's memory" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_ordered_and_rounded_stores_say_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.savetxt(tmp_path / "t.csv", rng.normal(1e6, 1, size=(500, 1)), header="a", comments="")
    made = dgmmis("ingest", "t.csv", "t.zarr", "--features", "a", "--order", "--float32", "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    said = json.loads(made.stdout)
    assert (said["ordered"], said["storage"], said["columns"][0]["rounding_error"]) == (True, "float32", 0.03125)
    shown = dgmmis("info", "t.zarr", cwd=tmp_path).stdout
    assert "rounding error 0.03125" in shown
    assert "method k-d tree" in shown
    drawn = dgmmis("simulate", "s.zarr", "-n", "500", "--order", "--json", cwd=tmp_path)
    assert json.loads(drawn.stdout)["ordered"] is True


@pytest.mark.parametrize(
    "command", ["simulate", "ingest", "info", "plan", "fit", "resume", "score", "predict", "sample"]
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = dgmmis(command, "--help")
    assert shown.returncode == 0
    assert f"dgmmis {command}" in shown.stdout.replace("Usage: python -m dgmmis", "")
    assert "Example" in shown.stdout


@pytest.mark.parametrize("warning", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_command_that_is_interrupted_leaves_nothing(tmp_path: Path, warning: signal.Signals) -> None:
    command = [sys.executable, "-m", "dgmmis", "simulate", str(tmp_path / "large.zarr"), "-n", "20000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".large.zarr.writing-*/segments/*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(warning)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert said.splitlines()[-2:] == [f"dgmmis: interrupted by {warning.name}", "Run again."]
    assert list(tmp_path.iterdir()) == []
