"""A fit that something ended goes on from there, and ends with the same bits as if nothing had happened."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from interrupted import PROGRAM, Counts, Interrupts, begun, bits, counted, fitted, job_at

from dgmmis.callback import Callback, Step
from dgmmis.cli import program
from dgmmis.dataset.checkpoint import Run, is_run, is_unfinished, read_file, read_run
from dgmmis.dataset.compact import compact
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.under_way import Sitting, last_checkpoint, unfinished
from dgmmis.dataset.withdraw import withdraw
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, LockedError, NumericalError, StoreError
from dgmmis.interruption import Interrupted
from dgmmis.job import Job, read_job
from dgmmis.runs import resumed, run_job
from dgmmis.simulate import simulate
from dgmmis.status import status


@pytest.mark.parametrize(
    ("preset", "n", "fit"),
    [
        ("background", 3000, ()),
        ("graded", 4000, ()),
        ("deconvolution", 2000, ("n_starts = 2", "split_merge = 1")),
        pytest.param("one-likelihood", 3000, ("bootstrap = 2",), marks=pytest.mark.slow),
        pytest.param("box-with-hole", 5000, ("n_starts = 2",), marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_fit_ends_with_the_same_bits(
    tmp_path: Path, preset: str, n: int, fit: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted again and again, later and later; and no pass is made twice."""
    job = read_job(job_at(tmp_path, preset, n, *fit))
    executors = counted("dgmmis.runs", monkeypatch)
    whole = fitted(job, tmp_path / "whole.run")
    n_passes = executors.pop().count
    out, after = tmp_path / "survey.run", 0
    while True:
        try:
            run = fitted(job, out, callbacks=[Interrupts(after)])
            break
        except Interrupted as error:
            (note,) = error.__notes__
            assert f"dgmmis resume {out}" in note
            after += 3
    assert bits(run) == bits(whole)
    assert len(executors) > 2
    assert sum(executor.count for executor in executors) == n_passes
    assert run.document["sittings"] == len(executors)
    assert sorted(entry.name for entry in out.iterdir()) == ["fit.json", "model.npz"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return read_job(job_at(tmp_path_factory.mktemp("job"), "background", 3000))


@pytest.fixture
def out(tmp_path: Path, job: Job) -> Path:
    """The folder of a fit that was interrupted."""
    with pytest.raises(Interrupted):
        run_job(job, tmp_path / "survey.run", callbacks=[Interrupts(4)])
    return tmp_path / "survey.run"


def test_what_is_kept_of_a_fit(out: Path, job: Job) -> None:
    """The last few models, whole, with their history; and the job."""
    files = sorted((out / "checkpoints").iterdir())
    assert len(files) == 3
    runs = [read_file(file) for file in files]
    assert [run.document["n_passes"] for run in runs] == [3, 4, 5]
    assert [len(run.document["history"]) for run in runs] == [3, 4, 5]
    assert runs[-1].document["history"][-1]["objective"] == runs[-1].document["objective"]
    last = last_checkpoint(out)
    assert last is not None
    assert bits(last) == bits(runs[-1])
    task = unfinished(out)
    assert task is not None
    assert task.text == job.text
    with pytest.raises(StoreError, match=r"not finished.*dgmmis resume"):
        read_run(out)


def test_a_damaged_checkpoint_is_passed_over(out: Path) -> None:
    files = sorted((out / "checkpoints").iterdir())
    content = bytearray(files[-1].read_bytes())
    content[len(content) // 2] ^= 1
    files[-1].write_bytes(bytes(content))
    last = last_checkpoint(out)
    assert last is not None
    assert last.document["n_passes"] == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"text": "', '"text": 5, "other": "'),
        ('"n_sittings": 1', '"n_sittings": "x"'),
        ('"segments": [', '"segments": [5, '),
        ("{", ""),
        ("{", "[" * 100_000),
        ('"path": "', '"path": "\\u0000'),
    ],
)
def test_a_damaged_note_of_the_job_is_an_error(out: Path, old: str, new: str) -> None:
    file = out / "job.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    done = subprocess.run([*PROGRAM, "resume", str(out)], capture_output=True, text=True, timeout=60)
    assert done.returncode in (2, 74)
    assert done.stderr.count("\n") == 1, done.stderr


def test_fit_and_resume_are_the_same(out: Path, job: Job, tmp_path: Path) -> None:
    again = resumed(out)
    assert again is not None
    assert again.path == job.path
    assert bits(fitted(again, out)) == bits(fitted(job, tmp_path / "whole.run"))
    assert resumed(out) is None


def test_where_it_runs_may_change(out: Path, job: Job) -> None:
    text = job.text.replace('kind = "threads"', 'kind = "serial"')
    other = replace(job, text=text, cluster=replace(job.cluster, kind="serial"))
    assert fitted(other, out).document["sittings"] == 2


def test_another_job_is_not_gone_on_with(out: Path, job: Job) -> None:
    other = replace(job, text=job.text.replace("seed = 0", "seed = 1"), fit=replace(job.fit, seed=1))
    with pytest.raises(JobError, match=r"fit of another job is not finished.*resume.*--overwrite"):
        run_job(other, out)
    assert last_checkpoint(out) is not None
    assert fitted(other, out, sitting=Sitting(overwrite=True)).document["sittings"] == 1


def test_rows_that_were_appended_meanwhile_are_left_out(tmp_path: Path) -> None:
    path = job_at(tmp_path, "background", 3000)
    job, out = read_job(path), tmp_path / "survey.run"
    whole = fitted(job, tmp_path / "whole.run")
    with pytest.raises(Interrupted):
        run_job(job, out, callbacks=[Interrupts(3)])
    survey = tmp_path / "survey.zarr"
    with SurveyWriter(survey, Dataset.open(survey).schema, append=True) as writer:
        writer.write(np.zeros((500, 2)), np.ones((500, 2)))
    with pytest.raises(JobError, match="fit of fewer rows is not finished"):
        run_job(job, out)
    again = resumed(out)
    assert again is not None
    assert bits(fitted(again, out)) == bits(whole)


def test_a_survey_that_was_replaced_is_an_error(tmp_path: Path) -> None:
    job, out = read_job(job_at(tmp_path, "background", 3000)), tmp_path / "survey.run"
    with pytest.raises(Interrupted):
        run_job(job, out, callbacks=[Interrupts(3)])
    simulate(tmp_path / "survey.zarr", preset="background", n=3000, seed=4, overwrite=True)
    again = resumed(out)
    assert again is not None
    with pytest.raises(StoreError, match="is not the one that it was"):
        run_job(again, out)


@pytest.mark.parametrize("kind", ["withdraw", "compact"])
def test_a_survey_that_was_joined_or_thinned_out_is_an_error(tmp_path: Path, kind: str) -> None:
    """Never a fit of some of the old rows and some of the new."""
    job, out, survey = read_job(job_at(tmp_path, "background", 3000)), tmp_path / "survey.run", tmp_path / "survey.zarr"
    schema = Dataset.open(survey).schema
    for night, options in enumerate(({"overwrite": True}, {"append": True})):
        points = np.random.default_rng(night).uniform(0, 10, (400, 2))
        with SurveyWriter(survey, schema, **options) as writer:
            writer.write(points, np.full((400, 2), 0.01), row_ids=np.arange(400) + 400 * night)
    with pytest.raises(Interrupted):
        run_job(job, out, callbacks=[Interrupts(3)])
    if kind == "withdraw":
        withdraw(survey, [3, 500])
    else:
        compact(survey)
    again = resumed(out)
    assert again is not None
    with pytest.raises(StoreError, match=r"is not the one that it was: .*withdrawn.*dgmmis fit --overwrite"):
        run_job(again, out)
    assert fitted(job, out, sitting=Sitting(overwrite=True)).document["n_samples"] == Dataset.open(survey).n_rows


def test_where_steps_differ_the_last_model_goes_on(out: Path, job: Job, tmp_path: Path) -> None:
    """As on another processor: the journal is of no use then, but nothing else is lost."""
    journal = out / "journal"
    other = read_job(job_at(tmp_path, "background", 2500))
    with pytest.raises(Interrupted):
        run_job(other, tmp_path / "other.run", callbacks=[Interrupts(4)])
    journal.write_bytes((tmp_path / "other.run" / "journal").read_bytes())
    said: list[tuple[str, str]] = []
    with pytest.raises(Interrupted):
        run_job(job, out, announce=said.extend, callbacks=[Interrupts(1)])
    assert "begins again" in dict(said)
    run = fitted(job, out)  # and that goes on, too
    whole = fitted(job, tmp_path / "whole.run")
    assert run.document["converged"]
    assert run.document["objective"] == pytest.approx(whole.document["objective"], abs=1e-5)
    assert run.document["n_passes"] < whole.document["n_passes"]


def test_a_second_fit_in_the_same_folder_is_locked_out(job: Job, tmp_path: Path) -> None:
    out = tmp_path / "survey.run"

    class Intrudes(Callback):
        tried = False

        def on_step(self, step: Step) -> None:
            if not self.tried:
                self.tried = True
                with pytest.raises(LockedError, match=f"process {os.getpid()}"):
                    run_job(job, out)

    intruder = Intrudes()
    run = fitted(job, out, callbacks=[intruder])
    assert intruder.tried
    assert run.document["converged"]


def test_a_fit_that_never_began_leaves_nothing(job: Job, tmp_path: Path) -> None:
    class Refuses(Callback):
        def on_start(self, model: Any, max_iter: int, tol: float) -> None:
            raise Interrupted("SIGTERM")

    with pytest.raises(Interrupted) as caught:
        run_job(job, tmp_path / "survey.run", callbacks=[Refuses()])
    assert not getattr(caught.value, "__notes__", [])
    assert not (tmp_path / "survey.run").exists()


def test_a_finished_run_stays_until_the_new_one_is_whole(job: Job, tmp_path: Path) -> None:
    out = tmp_path / "survey.run"
    first = fitted(job, out)
    other = replace(job, text=job.text.replace("seed = 0", "seed = 1"), fit=replace(job.fit, seed=1))
    with pytest.raises(Interrupted):
        run_job(other, out, callbacks=[Interrupts(2)])
    assert bits(read_run(out)) == bits(first)
    run_job(other, out)
    assert bits(read_run(out)) != bits(first)


def test_sums_that_cannot_be_right_are_not_kept(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a processor that erred once: the fit stops, and the next sitting asks again."""
    out = tmp_path / "survey.run"
    whole = fitted(job, tmp_path / "whole.run")

    class Errs(Counts):
        def map_reduce(self, function: Any, shared: Any, groups: Sequence[Sequence[Any]]) -> Any:
            found = super().map_reduce(function, shared, groups)
            if self.count == 3:
                found = type(found).of_totals({"0-observed": replace(found.total("0-observed"), log_likelihood=np.nan)})
            return found

    with monkeypatch.context() as patch:
        patch.setattr("dgmmis.runs.connect", lambda *_, **__: Errs())
        with pytest.raises(NumericalError, match="not finite"):
            run_job(job, out)
    last = last_checkpoint(out)
    assert last is not None
    assert np.isfinite(last.document["objective"])
    told = status(out)
    assert (told.state, told.exit_code) == ("failed", 1)
    assert "not finite" in told.sentences[-1]
    described = CliRunner().invoke(program, ["info", str(out)])
    assert "not finite" in described.output
    with pytest.raises(Interrupted):
        run_job(job, out, callbacks=[Interrupts(5)])
    assert status(out).state == "interrupted"
    assert bits(fitted(job, out)) == bits(whole)


def test_a_distance_that_nobody_knows_is_null(tmp_path: Path) -> None:
    path = job_at(tmp_path, "background", 500)
    path.write_text(path.read_text().replace("max_iter = 1000", "max_iter = 1"))
    run = fitted(read_job(path), tmp_path / "survey.run")
    assert (run.document["distance"], run.document["arrived"]) == (None, 0.03)
    assert "Infinity" not in (tmp_path / "survey.run" / "fit.json").read_text()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """The job file of a fit of some seconds, and its run."""
    path = job_at(tmp_path_factory.mktemp("large"), "box-with-hole", 20_000)
    return path, fitted(read_job(path), path.parent / "whole.run")


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """The same, with a million imputed points in the end: no machine is so busy that it ends before it is stopped."""
    path = job_at(tmp_path_factory.mktemp("longer"), "box-with-hole", 20_000, "imputation_error = 0.02")
    return path, fitted(read_job(path), path.parent / "whole.run")


def is_gone(group: int) -> bool:
    """Whether no process of a group is left; Python's own tracker ends a moment after those that it tracks."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not any(_runs_in(process, group) for process in psutil.process_iter()):
            return True
        time.sleep(0.05)
    return False


def _runs_in(process: psutil.Process, group: int) -> bool:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("kind", ["threads", pytest.param("local", marks=pytest.mark.slow)])
def test_signals_end_a_fit_in_order(longer: tuple[Path, Run], tmp_path: Path, kind: str) -> None:
    """Each of them, one after the other, on the whole process group as a terminal or a scheduler sends them: exit code
    75, the command that goes on, no traceback, no process left; and in the end the same bits."""
    path, whole = longer
    out, job = tmp_path / "survey.run", tmp_path / "survey.toml"
    job.write_text(
        path.read_text()
        .replace('kind = "threads"', f'kind = "{kind}"')
        .replace('path = "survey.zarr"', f'path = "{path.parent / "survey.zarr"}"')
    )
    for warning in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        process = begun(job, out)
        if warning is signal.SIGUSR1:
            process.send_signal(warning)  # SLURM's `--signal` is for the driver; workers know nothing of it
        else:
            os.killpg(process.pid, warning)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 75, said
        assert f"interrupted by {warning.name}" in said
        assert f"`dgmmis resume {out}`" in said
        assert "Traceback" not in said
        assert is_gone(process.pid)
    done = subprocess.run([*PROGRAM, "resume", str(out), "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["sittings"] == 4
    assert document["means"] == whole.model.mixture.means.tolist()
    shown = subprocess.run([*PROGRAM, "resume", str(out)], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0
    assert "converged" in shown.stdout


def test_a_killed_fit_goes_on(large: tuple[Path, Run], tmp_path: Path) -> None:
    path, whole = large
    out = tmp_path / "survey.run"
    for _ in range(2):
        process = begun(path, out)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    info = subprocess.run([*PROGRAM, "info", str(out)], capture_output=True, text=True, timeout=60)
    assert info.returncode == 0
    assert "not finished: pass" in info.stdout
    subprocess.run([*PROGRAM, "resume", str(out), "--quiet"], check=True, capture_output=True, timeout=300)
    assert bits(read_run(out)) == bits(whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_kills(large: tuple[Path, Run], tmp_path: Path) -> None:
    """Of the driver and all that it started, at random instants from its first import to its last write, until a fit
    survives; then the next fit begins. Each ends with the same bits."""
    path, whole = large
    rng = np.random.default_rng(11)
    n_kills, n_fits, where = 0, 0, set()
    began = time.monotonic()
    subprocess.run(
        [*PROGRAM, "fit", str(path), "--out", str(tmp_path / "timed.run"), "--quiet"], check=True, timeout=300
    )
    duration = time.monotonic() - began
    while n_kills < 100:
        out = tmp_path / f"{n_fits}.run"
        for _ in range(1000):
            command = [*PROGRAM, *(("resume",) if is_unfinished(out) else ("fit", str(path), "--out"))]
            process = subprocess.Popen(
                [*command, str(out), "--quiet"], stdout=subprocess.DEVNULL, start_new_session=True
            )
            try:
                process.wait(timeout=rng.uniform(0.3, 0.7) * duration)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                n_kills += 1
                where.add("before the fit" if not out.exists() or last_checkpoint(out) is None else "in the fit")
                if is_run(out) and not unfinished(out):
                    break  # in its very last moments: nothing is left to do
            else:
                assert process.returncode == 0
                break
        assert bits(read_run(out)) == bits(whole)
        n_fits += 1
    assert where == {"before the fit", "in the fit"}
