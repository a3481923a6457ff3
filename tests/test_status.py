"""`dgmmis status`: what a monitor is told of runs, model stores and surveys, alive, interrupted, killed and damaged."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.held_store import HeldStore
from dgmmis.dataset.last_run import LastRun
from dgmmis.dataset.lock import held
from dgmmis.dataset.publish import temporary_sibling
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import StoreError
from dgmmis.job import read_job
from dgmmis.reprocess import reprocess
from dgmmis.status import Standing, status
from tests.interrupted import PROGRAM, begun, job_at
from tests.nights import JOB, night

HOLDS = """
import sys
from dgmmis.dataset.held_store import HeldStore
with HeldStore(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def told(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*PROGRAM, "status", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def entries(folder: Path) -> dict[str, int]:
    """Everything in a folder, and when it last changed."""
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_at(tmp_path_factory.mktemp("fit"), "box-with-hole", 60_000)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model store with a version."""
    (tmp_path / "job.toml").write_text(JOB)
    night(tmp_path, 1, 2000)
    again(tmp_path)
    return tmp_path / "job.models"


def again(folder: Path) -> None:
    reprocess(read_job(folder / "job.toml"))


def test_a_fit_under_way_killed_interrupted_and_finished(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "survey.run"
    process = begun(job, out)
    try:
        os.kill(process.pid, signal.SIGSTOP)  # so that it stays under way, and alive
        alive = status(out)
        assert (alive.kind, alive.state, alive.exit_code) == ("run", "under way", 0)
        assert alive.facts["holder"]["pid"] == process.pid
        assert alive.facts["n_passes"] >= 1
        assert f"process {process.pid}" in alive.sentences[-1]
        assert status(out, max_age=0.0).exit_code == 1  # a fit that gives no sign
    finally:
        process.kill()
        process.communicate()
    dead = told(out)
    assert dead.returncode == 75
    assert f"process {process.pid} was killed: `dgmmis resume {out}` goes on" in dead.stdout
    run_id = status(out).facts["run_id"]
    again = begun(job, out)
    again.terminate()
    again.communicate()
    interrupted = status(out)
    assert (interrupted.state, interrupted.exit_code) == ("interrupted", 75)
    assert (interrupted.facts["run_id"], interrupted.facts["sittings"]) == (run_id, 2)
    done = subprocess.run([*PROGRAM, "resume", str(out), "--quiet"], capture_output=True, timeout=300, check=False)
    assert done.returncode == 0
    finished = told(out, "--json")
    document = json.loads(finished.stdout)
    assert (finished.returncode, document["state"], document["converged"]) == (0, "finished", True)
    assert document["run_id"] == run_id
    assert status(out, max_age=3600).exit_code == 0
    assert status(out, max_age=0.0).state == "too old"


def test_a_fit_that_did_not_converge(job: Path, tmp_path: Path) -> None:
    path = tmp_path / "survey.toml"
    text = job.read_text().replace('"survey.zarr"', f'"{job.parent / "survey.zarr"}"')
    path.write_text(re.sub("max_iter = [0-9]+", "max_iter = 3", text))
    command = [*PROGRAM, "fit", str(path), "--quiet"]
    assert subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == 3
    standing = told(path.with_suffix(".run"))
    assert standing.returncode == 3
    assert "stopped at max_iter" in standing.stdout


def test_a_model_store_that_follows_its_survey(models: Path) -> None:
    first = status(models)
    assert (first.kind, first.state, first.exit_code, first.facts["version"]) == ("model store", "fine", 0, "000001")
    again(models.parent)
    nothing = status(models, max_age=3600)
    assert (nothing.exit_code, nothing.facts["last_run"]["outcome"]) == (0, "nothing new")
    assert nothing.facts["succeeded"] > first.facts["succeeded"]
    assert any("version 000001 holds, published " in sentence for sentence in nothing.sentences)


def test_an_old_success_is_told(models: Path) -> None:
    last = LastRun.of(models)
    assert last is not None
    before = (datetime.now(UTC) - timedelta(hours=50)).isoformat("T", "seconds")
    replace(last, began=before, ended=before, succeeded=before).write(models)
    old = told(models, "--max-age", "36h")
    assert old.returncode == 1
    assert "the last success was 2 d 02 h ago, and may be 36 h 00 min old at most" in old.stdout
    assert told(models, "--max-age", "3d").returncode == 0
    assert told(models, "--max-age", "soon").returncode == 2


def test_a_store_of_before_outcomes_were_noted(models: Path) -> None:
    (models / "last.json").unlink()
    assert status(models, max_age=3600).exit_code == 0  # by when it was published
    assert status(models, max_age=0.0).exit_code == 1


def test_what_was_set_aside_is_told_until_it_is_taken_back(models: Path) -> None:
    night(models.parent, 2, shift=30.0)
    again(models.parent)
    aside = told(models)
    assert aside.returncode == 1
    assert "1 set aside: 002.csv" in aside.stdout
    again(models.parent)
    assert status(models).state == "set aside"
    reprocess(read_job(models.parent / "job.toml"), accept=True)
    assert status(models).exit_code == 0


def test_a_refused_model_is_told(models: Path) -> None:
    path = models.parent / "job.toml"
    path.write_text(JOB + "[reprocess.gate]\narrivals = inf\n")
    night(models.parent, 2, shift=30.0)
    again(models.parent)
    refused = status(models)
    assert (refused.exit_code, refused.facts["last_run"]["outcome"]) == (1, "refused")
    assert refused.facts["refused"] is not None
    assert "held-out log-likelihood" in " ".join(refused.sentences)
    again(models.parent)
    assert status(models).exit_code == 1


def test_a_source_that_cannot_be_read_is_told(models: Path) -> None:
    bad = night(models.parent, 2)
    bad.write_text(bad.read_text().replace("id,x,y", "id,x,z"))
    again(models.parent)
    standing = status(models)
    assert (standing.state, standing.exit_code) == ("nothing new", 1)
    assert "002.csv was not taken in" in " ".join(standing.sentences)


def test_an_error_is_noted_and_the_last_success_kept(models: Path) -> None:
    before = status(models).facts["succeeded"]
    survey = models.parent / "survey.zarr"
    shutil.rmtree(survey / "segments")
    with pytest.raises(StoreError, match="missing"):
        again(models.parent)
    failed = status(models)
    assert (failed.state, failed.exit_code, failed.facts["succeeded"]) == ("failed", 1, before)
    assert failed.facts["last_run"]["exit_code"] == 74
    assert "missing" in " ".join(failed.sentences)


def reprocessing(models: Path) -> "subprocess.Popen[str]":
    """A process that reprocesses, is within a fit that takes long, and has stopped there."""
    folder = models.parent
    for number in range(2, 5):
        night(folder, number, 20_000)
    text = JOB.replace("n_components = 2", "n_components = 12")
    (folder / "job.toml").write_text(text + "[fit]\ntol = 1e-12\n[output]\ncheckpoint_seconds = 0\nlog = '-'\n")
    command = [*PROGRAM, "reprocess", str(folder / "job.toml"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any('"event": "checkpoint"' in line for line in process.stderr)
    process.send_signal(signal.SIGSTOP)
    return process


def test_reprocessing_under_way_killed_and_interrupted(models: Path) -> None:
    process = reprocessing(models)
    try:
        alive = status(models)
        assert (alive.state, alive.exit_code, alive.facts["holder"]["pid"]) == ("under way", 0, process.pid)
    finally:
        process.kill()
        process.communicate()
    dead = told(models)
    assert dead.returncode == 75
    assert "was killed: `dgmmis reprocess` goes on" in dead.stdout
    process = reprocessing(models)
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 75
    interrupted = status(models)
    assert (interrupted.state, interrupted.exit_code) == ("interrupted", 75)
    assert "interrupted by SIGTERM" in " ".join(interrupted.sentences)


def survey(path: Path) -> Path:
    with SurveyWriter(path, Schema(("a", "b"), noise="none")) as writer:
        writer.write(np.random.default_rng(0).normal(size=(300, 2)))
    return path


@pytest.fixture
def writing(tmp_path: Path) -> "Iterator[tuple[Path, subprocess.Popen[str]]]":
    """A survey, and a process that holds it for writing."""
    path = survey(tmp_path / "survey.zarr")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], text=True, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield path, process
    finally:
        process.kill()
        process.communicate()


def test_a_survey_that_is_written(writing: "tuple[Path, subprocess.Popen[str]]") -> None:
    path, process = writing
    alive = status(path)
    assert (alive.kind, alive.state, alive.exit_code, alive.facts["rows"]) == ("survey", "under way", 0, 300)
    assert alive.facts["holder"]["pid"] == process.pid
    process.kill()
    process.communicate()
    assert (status(path).state, status(path).exit_code) == ("dead", 75)
    with HeldStore(path):  # the next writer
        assert status(path).facts["holder"]["pid"] == os.getpid()
    assert told(path).stdout.split() == ["survey", "fine", "300", "rows", "in", "1", "segment"]
    assert status(path, max_age=0.0).exit_code == 1


def test_a_survey_that_is_being_made(tmp_path: Path) -> None:
    path = tmp_path / "survey.zarr"
    folder, lock = temporary_sibling(path)
    assert (status(path).state, status(path).exit_code) == ("under way", 0)
    note = (folder / ".lock").read_text()
    lock.release()
    (folder / ".lock").write_text(note.replace(str(os.getpid()), "999999999"))
    assert (status(path).state, status(path).exit_code) == ("dead", 75)


def test_a_writer_on_another_host_may_be_alive(tmp_path: Path) -> None:
    path = survey(tmp_path / "survey.zarr")
    note = {"host": "elsewhere", "pid": 1, "started": "then", "since": "2026-01-01 00:00:00 UTC"}
    (path / ".lock").write_text(json.dumps(note))
    standing = status(path)
    assert (standing.state, standing.exit_code, standing.facts["holder"]["alive"]) == ("under way", 0, None)


def test_what_cannot_be_read(tmp_path: Path, models: Path) -> None:
    path = survey(tmp_path / "other.zarr")
    (tmp_path / "notes.txt").write_text("nothing of the kind")
    shutil.rmtree(path / "segments")
    run = tmp_path / "some.run"
    run.mkdir()
    (run / "model.npz").write_bytes(b"torn")
    for what in (tmp_path / "nowhere", tmp_path / "notes.txt", path, run):
        done = told(what)
        assert done.returncode == 74
        assert done.stderr.startswith("dgmmis: ")
        assert done.stdout == ""
    for name, text in (("last.json", "{"), ("last.json", '{"run": 3}'), ("latest", "[]")):
        before = (models / name).read_text()
        (models / name).write_text(text)
        with pytest.raises(StoreError, match=name):
            status(models)
        (models / name).write_text(before)


def test_nothing_is_locked_or_changed(models: Path, tmp_path: Path) -> None:
    path = survey(tmp_path / "other.zarr")
    before = entries(tmp_path)
    with held(models), HeldStore(path):
        inside = entries(tmp_path)
        for what in (models, path, models / "versions" / "000001"):
            assert isinstance(status(what), Standing)
        assert entries(tmp_path) == inside
    assert before.keys() == entries(tmp_path).keys()
    assert Dataset.open(path).n_rows == 300


def test_it_is_quick(models: Path) -> None:
    code = (
        "import sys; from dgmmis.status import status; standing = status(sys.argv[1]); "
        "sys.stdout.write(' '.join([standing.state, *sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(models)], capture_output=True, text=True, check=True)
    state, *loaded = done.stdout.split()
    assert state == "fine"
    assert {"numpy", "dgmmis.dataset.model_store"} <= set(loaded)
    assert not {"distributed", "dask", "zarr", "scipy.stats"} & set(loaded)
