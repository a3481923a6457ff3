"""`dgmmis select`, run as a user runs it: processes, files, exit codes, what it says and where."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dgmmis.dataset.checkpoint import read_run
from dgmmis.dataset.place import place_of
from dgmmis.job import constraints_of, read_job
from dgmmis.simulate import simulate

COMMAND = [sys.executable, "-m", "dgmmis", "select"]


def select(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated survey whose job works in threads."""
    folder = tmp_path_factory.mktemp("select")
    simulate(folder / "survey.zarr", preset="background", n=2000, seed=3)
    path = folder / "survey.toml"
    path.write_text(_with(path.read_text(), kind="threads"))
    return folder


def _with(text: str, *, kind: str) -> str:
    lines = [f'kind = "{kind}"' if line.startswith("kind = ") else line for line in text.splitlines()]
    return "\n".join(lines).replace("tol = 1e-06", "tol = 1e-4") + "\n"


def test_the_best_is_said_drawn_and_written(survey: Path) -> None:
    done = select(survey, "survey.toml", "--components", "1:4", "--out", "best.run", "--plot", "select.png")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["components", "covariances", "parameters", "log"]
    assert [line.split()[0] for line in lines[1:5]].count("*") == 1
    assert "BIC is best for" in lines[6]
    assert "standard errors" in lines[6]
    assert "written to best.run" in lines[7]
    assert "models" in done.stderr  # the plan
    assert "threads" in done.stderr
    assert (survey / "select.png").read_bytes().startswith(b"\x89PNG")
    table = json.loads((survey / "best.run" / "choice.json").read_text())
    run = read_run(survey / "best.run")
    assert run.model.mixture.n_components == table["n_components"]
    assert [entry["n_components"] for entry in table["table"]] == [1, 2, 3, 4]
    bests = [entry for entry in table["table"] if entry["worse"] == 0]
    assert bests[0]["bic"] == min(entry["bic"] for entry in table["table"])
    assert run.document["log_likelihood"] == bests[0]["log_likelihood"]
    assert run.model.background is not None
    for command in (["info", "best.run"], ["score", "best.run", "survey.zarr"]):
        shown = subprocess.run([sys.executable, "-m", "dgmmis", *command], cwd=survey, capture_output=True, check=False)
        assert shown.returncode == 0, shown.stderr
    # the run's job is the one that fits it again
    (survey / "again.toml").write_text(str(run.document["job"]))
    again = subprocess.run(
        [sys.executable, "-m", "dgmmis", "fit", "again.toml", "--quiet"], cwd=survey, capture_output=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert read_job(survey / "again.toml").model.n_components == table["n_components"]
    assert np.array_equal(read_run(survey / "survey.run").model.mixture.means, run.model.mixture.means)


def test_the_help_says_what_is_kept_and_has_an_example(survey: Path) -> None:
    shown = select(survey, "--help")
    assert shown.returncode == 0
    for words in (
        "dgmmis select survey.toml --components 1:20",
        "Without --out nothing is kept",
        "bic, aic, icl, or held-out",
    ):
        assert words in " ".join(shown.stdout.split())


def test_machines_get_json_and_nothing_else(survey: Path) -> None:
    options = ("--covariance-types", "diag,spherical", "--criterion", "held-out", "--folds", 2, "--starts", 2)
    done = select(survey, "survey.toml", "--components", "1,3", *options, "--out", "held.run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["criterion"] == {"name": "held-out", "n_folds": 2}
    assert document["run"] == "held.run"
    named = [(entry["covariance_type"], entry["n_components"]) for entry in document["table"]]
    assert named == [("diag", 1), ("diag", 3), ("spherical", 1), ("spherical", 3)]
    best = max(document["table"], key=lambda entry: entry["held_out"])
    assert (document["covariance_type"], document["n_components"]) == (best["covariance_type"], best["n_components"])
    text = read_run(survey / "held.run").document["job"]
    assert constraints_of(str(text)).covariance_type == document["covariance_type"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--components", "0:3"], "'0:3' is not of the form"),
        (["--components", "3:1"], "'3:1' is not of the form"),
        (["--components", "1:9:0"], "'1:9:0' is not of the form"),
        (["--components", "1:2:3:4"], "'1:2:3:4' is not of the form"),
        (["--components", "two"], "'two' is not of the form"),
        (["--components", "1:999999999999999999999999"], "is not of the form"),
        (["--components", "1:401"], "up to 400 of them"),
        ([], "Missing option '--components'"),
        (["--components", "1:3", "--criterion", "bci"], "unknown criterion 'bci'. Did you mean 'bic'"),
        (["--components", "1:3", "--folds", "1"], "1 is not in the range x>=2"),
        (["--components", "1:3", "--covariance-types", "full,round"], "unknown covariance_type 'round'"),
        (["--components", "1:3", "--plot", "select.gif"], "must end in one of .png, .pdf, .svg"),
        (["--components", "1:3", "--plot", "nowhere/select.png"], "there is no folder 'nowhere'"),
    ],
)
def test_bad_arguments_are_refused_before_work_starts(survey: Path, arguments: list[str], said: str) -> None:
    done = select(survey, "survey.toml", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "models" not in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_chosen_is_refused(survey: Path) -> None:
    text = (survey / "survey.toml").read_text()
    frozen = text.replace('init = "kmeans"', 'init = "kmeans"\nfrozen = { means = [0] }')
    assert select(survey, "survey.toml", "--components", 1, "--out", "one.run", "--quiet").returncode == 0
    run = text.replace('init = "kmeans"', 'init = "one.run"')
    misspelt = text.replace('init = "kmeans"', 'init = "kmean"')
    tight = _with(text, kind="local").replace("[cluster]", '[cluster]\nmemory_limit = "300MB"')
    for changed, said in (
        (frozen, "frozen, and a choice"),
        (run, "init is a run, which has one number"),
        (misspelt, "init 'kmean' is neither a way to start nor the path of a run"),
        (tight, "do not fit into a worker's memory"),
    ):
        (survey / "changed.toml").write_text(changed)
        done = select(survey, "changed.toml", "--components", "1:3")
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
    done = select(survey, "survey.toml", "--components", "1:3", "--out", "survey.zarr")
    assert done.returncode == 74
    assert "is there and is not a run" in done.stderr
    done = select(survey, "survey.toml", "--components", "1,99999")
    assert done.returncode == 65
    assert "fewer objects than components" in done.stderr


def test_the_best_is_put_into_a_bucket(survey: Path, bucket: str) -> None:
    done = select(survey, "survey.toml", "--components", "1,2", "--out", f"{bucket}/best.run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["run"] == f"{bucket}/best.run"
    place = place_of(bucket) / "best.run"
    assert json.loads((place / "choice.json").read_bytes())["table"] == document["table"]
    assert read_run(f"{bucket}/best.run").model.mixture.n_components == document["n_components"]


def test_one_that_has_not_settled_has_an_exit_code(survey: Path) -> None:
    text = (survey / "survey.toml").read_text().replace("max_iter = 1000", "max_iter = 2")
    (survey / "short.toml").write_text(text)
    done = select(survey, "short.toml", "--components", "3", "--out", "short.run")
    assert done.returncode == 3, done.stderr
    assert "No fit is sound" in done.stdout
    assert "stopped at max_iter" in done.stderr
    assert not read_run(survey / "short.run").document["converged"]


@pytest.mark.parametrize("warning", [signal.SIGTERM, signal.SIGINT])
def test_without_a_place_nothing_is_kept(survey: Path, warning: signal.Signals) -> None:
    text = (survey / "survey.toml").read_text().replace("tol = 1e-4", "tol = 1e-15")
    (survey / "long.toml").write_text(text)
    arguments = ("long.toml", "--components", "2:9", "--starts", "8")
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=survey
    )
    assert process.stderr is not None
    assert any("pass " in line for line in process.stderr)  # until it has begun
    process.send_signal(warning)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"dgmmis: interrupted by {warning.name}" in said
    assert "Run again." in said
    assert "resume" not in said


@pytest.mark.slow
def test_same_numbers_on_a_cluster(survey: Path) -> None:
    text = (survey / "survey.toml").read_text()
    (survey / "cluster.toml").write_text(_with(text, kind="local").replace("[cluster]", "[cluster]\nworkers = 2"))
    found = []
    for job in ("survey.toml", "cluster.toml"):
        done = select(
            survey, job, "--components", "1:3", "--criterion", "icl", "--covariance-types", "full,tied", "--json"
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        found.append({name: value for name, value in document.items() if name != "seconds"})
    assert found[0] == found[1]
