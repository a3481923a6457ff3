"""A run in a bucket: made in a folder beside its job file, put there when it is whole, gone on with like any other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interrupted import Interrupts, bits, fitted, job_at
from object_server import SECRET
from writers import rows, run

from dgmmis import GMMis
from dgmmis.dataset.checkpoint import DESCRIBED, MODEL, read_file, read_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.under_way import Sitting, unfinished
from dgmmis.errors import JobError, StoreError, UnreachableError
from dgmmis.interruption import Interrupted
from dgmmis.job import Job, read_job
from dgmmis.runs import resumed, run_job


@pytest.fixture
def job(tmp_path: Path, bucket: str) -> Job:
    """One whose run goes to a bucket."""
    path = job_at(tmp_path, "background", 3000)
    path.write_text(path.read_text().replace('path = "survey.run"', f'path = "{bucket}/survey.run"'))
    return read_job(path)


def left(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {"survey.zarr", "survey.toml"}


def test_what_is_written_is_read(bucket: str, tmp_path: Path) -> None:
    one = run(rows(3, 1)[0])
    write_run(bucket, one)
    write_run(tmp_path / "x.run", one)
    place = place_of(bucket)
    assert isinstance(place, BucketPath)
    assert place.names() == {MODEL, DESCRIBED}
    found, on_disk = read_run(bucket), read_run(tmp_path / "x.run")
    assert found.numbers() == on_disk.numbers() == read_file(place / MODEL).numbers() == one.numbers()
    assert found.document == on_disk.document
    write_run(bucket, run(rows(3, 2)[0]))
    assert read_run(bucket).numbers() != one.numbers()
    assert GMMis(init=bucket, n_components=3).get_params()["init"] == bucket


def test_what_is_something_else_is_left(bucket: str) -> None:
    place = place_of(bucket)
    assert isinstance(place, BucketPath)
    (place / "notes.txt").put(b"mine")
    with pytest.raises(StoreError, match=f"'{bucket}' is there and is not a run"):
        write_run(bucket, run(rows(3, 1)[0]))
    assert place.names() == {"notes.txt"}


def test_a_damaged_run_is_said(bucket: str) -> None:
    place = place_of(bucket)
    assert isinstance(place, BucketPath)
    write_run(bucket, run(rows(3, 1)[0]))
    content = (place / MODEL).read_bytes()
    for damaged in (b"", content[:-100], content[:200] + b"x" + content[201:]):
        (place / MODEL).put(damaged)
        with pytest.raises(StoreError, match=rf"the run '{bucket}/{MODEL}' cannot be read|is damaged"):
            read_run(bucket)


def test_a_fit_is_interrupted_and_gone_on_with(job: Job, bucket: str, tmp_path: Path) -> None:
    whole = fitted(job, tmp_path / "on_disk.run")
    folder, out = tmp_path / "survey.run.fitting", f"{bucket}/survey.run"
    with pytest.raises(Interrupted) as caught:
        run_job(job, job.output_path, callbacks=[Interrupts(3)])
    assert f"`dgmmis resume {folder}` goes on from there" in caught.value.__notes__[0]
    with pytest.raises(StoreError, match=f"no run at '{out}'"):
        read_run(out)
    with pytest.raises(Interrupted):  # the same command again
        run_job(job, job.output_path, callbacks=[Interrupts(6)])
    again = resumed(folder)  # and `resume`, of the folder
    assert again is not None
    said: list[tuple[str, str]] = []
    run_job(again, folder, announce=said.extend)
    assert ("run", f"{out}, made in {folder}") in said
    assert bits(read_run(out)) == bits(whole)
    assert left(tmp_path) == {"on_disk.run"}


def test_a_fit_of_something_else_is_not_given_up(job: Job, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_job(job, job.output_path, callbacks=[Interrupts(3)])
    job.path.write_text(job.text.replace("seed = 0", "seed = 1"))
    other = read_job(job.path)
    with pytest.raises(JobError, match=r"in '.*/survey\.run\.fitting' a fit of another job is not finished"):
        run_job(other, other.output_path)
    task = unfinished(tmp_path / "survey.run.fitting")
    assert task is not None
    assert task.destination == str(job.output_path)
    run_job(other, other.output_path, sitting=Sitting(overwrite=True))
    assert read_run(other.output_path).document["job"] == other.text


def test_a_bucket_that_refuses_the_run_costs_nothing(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self: BucketPath, content: bytes) -> None:
        raise UnreachableError(f"the object store refuses '{self}'")

    with monkeypatch.context() as patch:
        patch.setattr(BucketPath, "put", refuses)
        with pytest.raises(UnreachableError) as caught:
            run_job(job, job.output_path)
    assert "What was found so far is kept" in caught.value.__notes__[0]
    finished = run_job(job, job.output_path)
    assert finished.document["sittings"] == 2
    assert read_run(job.output_path).numbers() == finished.numbers()
    assert left(tmp_path) == set()


@pytest.mark.slow
def test_the_command_is_stopped_and_resumed(job: Job, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dgmmis"]
    folder = tmp_path / "survey.run.fitting"
    with subprocess.Popen([*command, "fit", str(job.path)], stderr=subprocess.PIPE, text=True) as process:
        while not list(folder.glob("checkpoints/*.npz")):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 75
    assert f"dgmmis resume {folder}" in said
    done = subprocess.run([*command, "resume", str(folder), "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said += done.stderr
    assert read_run(job.output_path).document["converged"]
    assert left(tmp_path) == set()
    assert Dataset.open(tmp_path / "survey.zarr").n_rows
    assert SECRET not in said
    assert os.environ["AWS_ACCESS_KEY_ID"] not in said
