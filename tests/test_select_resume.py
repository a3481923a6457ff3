"""A selection that something ended goes on from there: what has ended is not fitted again, and the end has the same
bits as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupted import PROGRAM, Interrupts, bits, counted, job_at

from dgmmis.alternatives import Alternative, fit_side_by_side
from dgmmis.callback import Callback, Notice
from dgmmis.chosen import Tried, read_choice, select_job, tried_in
from dgmmis.dataset.checkpoint import is_run, is_unfinished, read_run
from dgmmis.dataset.encoding import decoded, encoded
from dgmmis.dataset.selection_under_way import SoFar
from dgmmis.dataset.under_way import Sitting
from dgmmis.em import Stopping
from dgmmis.errors import DivergedError, JobError, NumericalError, StoreError
from dgmmis.execution.serial import Serial
from dgmmis.fit import Fit
from dgmmis.interruption import Interrupted
from dgmmis.job import Job, read_job
from dgmmis.model_selection import Choice, Criterion, Fitting
from dgmmis.model_selection.kept import KEPT, SAME, Common, Kept
from dgmmis.runaway import Runaway
from dgmmis.runs import given_by, resumed, run_job
from dgmmis.side_by_side import SideBySide
from dgmmis.status import status
from dgmmis.uncertainty import Bootstrap, bootstrap

KEPT_WHILE_IT_RUNS = ["ended", "job.json", "journal", "so_far.json"]
ABREAST = "dgmmis.model_selection.fitting.SIDE_BY_SIDE"
COMMON = {"observing", "sample", "constraints"}
LEFT_IN_THE_END = ["choice.json", "fit.json", "model.npz"]


class Hears(Callback):
    """Keeps what operators are told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_notice(self, notice: Notice) -> None:
        self.events.append(notice.event)


def table(of: Choice | Path) -> str:
    """All that a choice says, but for how long it took."""
    document = dict(of.document() if isinstance(of, Choice) else read_choice(of))
    document.pop("seconds")
    return json.dumps(document, sort_keys=True)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


@pytest.fixture
def few_abreast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fits share their readings at most, so that few models make several groups."""
    monkeypatch.setattr(ABREAST, 2)


BIC = Tried((1, 2), ("diag", "spherical"))
HELD_OUT = Tried((1, 2), (), Criterion("held-out", 2))


@pytest.mark.parametrize(
    ("preset", "n", "tried", "fit", "step"),
    [
        ("background", 1500, BIC, (), 9),
        ("background", 1200, HELD_OUT, (), 14),
        pytest.param("graded", 1500, HELD_OUT, (), 25, marks=pytest.mark.slow),
        pytest.param(
            "background", 2000, replace(HELD_OUT, n_starts=2), ("split_merge = 1",), 9, marks=pytest.mark.slow
        ),
        pytest.param("one-likelihood", 2000, BIC, ("bootstrap = 2",), 17, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("few_abreast")
def test_an_interrupted_selection_ends_with_the_same_bits(
    tmp_path: Path, preset: str, n: int, tried: Tried, fit: tuple[str, ...], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted again and again, later and later; and no pass is made twice."""
    job = read_job(job_at(tmp_path, preset, n, *fit))
    executors = counted("dgmmis.chosen", monkeypatch)
    whole, _ = select_job(job, tried, out=tmp_path / "whole.run")
    n_passes = executors.pop().count
    out, after, ended = tmp_path / "survey.run", 0, set()
    while True:
        try:
            choice, _ = select_job(job, tried, out=out, callbacks=[Interrupts(after)])
            break
        except Interrupted as error:
            (note,) = error.__notes__
            assert f"dgmmis resume {out}" in note
            assert names(out) == KEPT_WHILE_IT_RUNS
            ended.add(SoFar.of(out).ended)
            after = step * len(executors)
    assert len(ended) > 1  # in one part of the work and in another
    assert table(choice) == table(whole) == table(out)
    assert bits(read_run(out)) == bits(read_run(tmp_path / "whole.run"))
    assert sum(executor.count for executor in executors) == n_passes
    assert read_run(out).document["sittings"] == len(executors)
    assert names(out) == LEFT_IN_THE_END


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return read_job(job_at(tmp_path_factory.mktemp("job"), "background", 1500))


def interrupted(job: Job, out: Path, *, after: int, tried: Tried = BIC) -> None:
    with pytest.raises(Interrupted):
        select_job(job, tried, out=out, callbacks=[Interrupts(after)])


def in_its_second_part(job: Job, folder: Path) -> Path:
    """The folder of a selection that was interrupted there."""
    after = 4
    while SoFar.of(folder).ended < 1:
        interrupted(job, folder, after=after)
        after += 4
    return folder


@pytest.fixture(scope="module")
def half_done(job: Job) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ABREAST, 2)
        return in_its_second_part(job, job.path.parent / "half.run")


@pytest.fixture
def out(half_done: Path, tmp_path: Path, few_abreast: None) -> Path:
    """The folder of a selection that was interrupted in its second part."""
    del few_abreast
    return Path(shutil.copytree(half_done, tmp_path / "survey.run"))


def test_fits_that_have_ended_come_back_in_every_bit(tmp_path: Path) -> None:
    """Standard errors and noise classes among what is made of them; and why one failed, however long that is."""
    job = read_job(job_at(tmp_path, "one-likelihood", 2000))
    given, executor = given_by(job), Serial()
    fitting = Fitting(given.start, job.constraints(), Stopping(max_iter=4))
    way: dict[str, Any] = {"survey": given.survey, "constraints": fitting.constraints, "stopping": fitting.stopping}
    models = [Alternative(replace(given.start, n_components=k), "diag") for k in (1, 2)]
    found = fit_side_by_side(given.rows, models, executor=executor, **way)
    assert isinstance(found.ends[0], Fit)
    found.ends[0] = replace(found.ends[0], runaways=(Runaway(0, 1e-9, 30.0, 12.5, 0.9),))
    assert {field.name for field in fields(Fit)} == {*SAME, *COMMON, "model", "status", "points_of"}
    failed = SideBySide([*found.ends, NumericalError("x" * 500, expected="y" * 200, got="z" * 200)], found.n_passes)
    content = encoded(Kept.of(failed))
    again = decoded(content, KEPT).restored(Common.of(given.rows, fitting, given.survey, executor))
    assert encoded(Kept.of(again)) == content
    assert again.n_passes == found.n_passes
    assert str(again.ends[-1]) == str(failed.ends[-1])
    for one, other in zip(found.ends, again.ends[:-1], strict=True):
        assert isinstance(one, Fit)
        assert isinstance(other, Fit)
        assert str(one) == str(other)
        assert one.standard_errors().means.tobytes() == other.standard_errors().means.tobytes()
        assert one.n_objects(one.standard_errors()) == other.n_objects(other.standard_errors())
        assert str(one.constraints.floor) == str(other.constraints.floor)
        assert [str(c) for c in one.noise_classes] == [str(c) for c in other.noise_classes]


def test_what_is_kept_does_not_grow_with_the_rows(tmp_path: Path, few_abreast: None) -> None:
    del few_abreast
    sizes = []
    for n in (1000, 6000):
        (tmp_path / str(n)).mkdir()
        path = job_at(tmp_path / str(n), "background", n)
        path.write_text(path.read_text().replace("max_iter = 1000", "max_iter = 3"))
        out = tmp_path / str(n) / "survey.run"
        interrupted(read_job(path), out, after=9)  # the second group's
        assert SoFar.of(out).ended == 1
        sizes.append([(out / name).stat().st_size for name in ("ended", "journal")])
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=0.05)
    assert sizes[0][1] < 20_000  # of the part under way only


def test_resume_knows_what_was_tried(out: Path, job: Job) -> None:
    again, tried = resumed(out), tried_in(out)
    assert again is not None
    assert tried == BIC.of(job)
    assert again.text == job.text


def test_status_says_how_far_it_is(out: Path) -> None:
    standing = status(out)
    assert (standing.state, standing.exit_code) == ("interrupted", 75)
    assert "1 of 3 parts ended; 1 spherical to 2 spherical: " in standing.sentences[0]
    assert standing.facts["selection"]["ended"] == 1
    assert json.dumps(standing.document())


@pytest.mark.parametrize("content", ["", "[1]", '{"ended": "x"}', '{"parts": 1e999}', '{"other": 1}', "[" * 100_000])
def test_a_damaged_note_of_how_far_it_is_costs_nothing_else(out: Path, content: str) -> None:
    (out / "so_far.json").write_text(content)
    assert "nothing is kept yet" in status(out).sentences[0]


def test_other_work_is_not_gone_on_with(out: Path, job: Job, tmp_path: Path) -> None:
    before = (out / "ended").read_bytes()
    with pytest.raises(
        JobError, match=r"a selection of another job is not finished.*resume.*dgmmis select --overwrite"
    ):
        select_job(job, replace(BIC, components=(1, 3)), out=out)
    with pytest.raises(JobError, match=r"a selection of another job is not finished.*dgmmis fit --overwrite"):
        run_job(job, out)
    assert (out / "ended").read_bytes() == before
    select_job(job, Tried((1,)), out=out, sitting=Sitting(overwrite=True))
    assert names(out) == LEFT_IN_THE_END
    with pytest.raises(Interrupted):
        run_job(job, tmp_path / "fit.run", callbacks=[Interrupts(2)])
    with pytest.raises(JobError, match=r"a fit of another job is not finished.*dgmmis select --overwrite"):
        select_job(job, BIC, out=tmp_path / "fit.run")


def test_what_tore_is_done_again(out: Path, job: Job, tmp_path: Path) -> None:
    """Both journals, in the middle of what they hold."""
    for name in ("ended", "journal"):
        with (out / name).open("r+b") as file:
            file.truncate((out / name).stat().st_size * 2 // 3)
    whole, _ = select_job(job, BIC, out=tmp_path / "whole.run")
    choice, _ = select_job(job, BIC, out=out)
    assert table(choice) == table(whole)
    assert bits(read_run(out)) == bits(read_run(tmp_path / "whole.run"))


def test_a_file_from_elsewhere_is_an_error(out: Path, job: Job, tmp_path: Path) -> None:
    other = replace(BIC, components=(1, 2, 3))
    interrupted(job, tmp_path / "other.run", after=4, tried=other)
    (out / "ended").write_bytes((tmp_path / "other.run" / "ended").read_bytes())
    with pytest.raises(StoreError, match=r"is of another selection.*dgmmis select --overwrite"):
        select_job(job, BIC, out=out)


def test_where_steps_differ_the_part_begins_again(out: Path, job: Job, tmp_path: Path) -> None:
    """As on another processor: what has ended stays, and so do the bits, since here it is the same one after all."""
    (tmp_path / "other").mkdir()
    other = read_job(job_at(tmp_path / "other", "background", 1400))
    folder = in_its_second_part(other, tmp_path / "other.run")
    (out / "journal").write_bytes((folder / "journal").read_bytes())
    heard = Hears()
    choice, _ = select_job(job, BIC, out=out, callbacks=[heard])
    assert heard.events.count("begins again") == 1
    assert table(choice) == table(select_job(job, BIC, out=tmp_path / "whole.run")[0])


def test_where_steps_of_the_bootstrap_differ_it_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = read_job(job_at(tmp_path, "background", 1500, "bootstrap = 2"))
    begun: list[str] = []

    def diverging(*words: Any, **options: Any) -> Bootstrap:
        begun.append("again" if begun else "once")
        if len(begun) == 1:
            raise DivergedError("other questions than are asked")
        return bootstrap(*words, **options)

    monkeypatch.setattr("dgmmis.chosen.bootstrap", diverging)
    heard = Hears()
    _, run = select_job(job, Tried((1,)), out=tmp_path / "survey.run", callbacks=[heard])
    assert begun == ["once", "again"]
    assert heard.events.count("begins again") == 1
    assert run is not None
    assert run.document["bootstrap"]["n_replicates"] == 2


def test_a_selection_that_never_began_leaves_nothing(job: Job, tmp_path: Path) -> None:
    class Refuses(Callback):
        def on_sample(self, sample: Any) -> None:
            raise Interrupted("SIGTERM")

    with pytest.raises(Interrupted) as caught:
        select_job(job, BIC, out=tmp_path / "survey.run", callbacks=[Refuses()])
    assert not getattr(caught.value, "__notes__", [])
    assert not (tmp_path / "survey.run").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [('"tried": "', '"tried": "x'), ('"tried": "', '"tried": 5, "other": "'), ('\\"components\\"', '\\"numbers\\"')],
)
def test_a_damaged_note_of_the_models_is_an_error(out: Path, old: str, new: str) -> None:
    text = (out / "job.json").read_text()
    assert old in text
    (out / "job.json").write_text(text.replace(old, new, 1))
    with pytest.raises(StoreError, match="cannot be read"):
        tried_in(out)


def test_one_in_a_bucket_is_made_beside_the_job(tmp_path: Path, bucket: str) -> None:
    job, place = read_job(job_at(tmp_path, "background", 1500)), f"{bucket}/survey.run"
    folder = tmp_path / "survey.run.fitting"
    with pytest.raises(Interrupted) as caught:
        select_job(job, BIC, out=Path(place), callbacks=[Interrupts(6)])
    assert f"dgmmis resume {folder}" in caught.value.__notes__[0]
    assert names(folder) == KEPT_WHILE_IT_RUNS
    choice, _ = select_job(job, BIC, out=folder)
    assert not folder.exists()
    assert table(Path(place)) == table(choice)
    assert is_run(place)


# ---- processes


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The job file of a selection of some seconds, and its run."""
    path = job_at(tmp_path_factory.mktemp("large"), "background", 6000)
    select_job(read_job(path), Tried((1, 2, 3), (), Criterion("held-out", 2)), out=path.parent / "whole.run")
    return path, path.parent / "whole.run"


def command(path: Path, out: Path) -> list[str]:
    options = ("--components", "1:3", "--criterion", "held-out", "--folds", "2")
    return [*PROGRAM, "select", str(path), *options, "--out", str(out)]


def begun(words: Sequence[str], out: Path) -> "subprocess.Popen[str]":
    """A selection by the program, in a process group of its own, that has come further than it was."""

    def stamp() -> tuple[int, int]:
        told = out / "so_far.json"
        return (told.stat().st_mtime_ns, told.stat().st_ino) if told.exists() else (0, 0)

    before = stamp()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 120
    while stamp() == before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


def test_signals_and_kills_end_it_in_order(large: tuple[Path, Path], tmp_path: Path) -> None:
    """Exit code 75, the command that goes on, no traceback; a monitor is told; and in the end the same bits."""
    path, whole = large
    out = tmp_path / "survey.run"
    process = begun(command(path, out), out)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "interrupted by SIGTERM" in said
    assert f"`dgmmis resume {out}`" in said
    assert "Traceback" not in said
    process = begun([*PROGRAM, "resume", str(out)], out)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert status(out).state == "dead"
    shown = subprocess.run([*PROGRAM, "info", str(out)], capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "not finished: " in shown.stdout
    assert f"`dgmmis resume {out}` goes on" in shown.stdout
    done = subprocess.run([*PROGRAM, "resume", str(out)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 3), done.stderr
    assert "goes on with" in done.stderr
    assert "held-out log-likelihood is best for" in done.stdout
    assert table(out) == table(whole)
    assert bits(read_run(out)) == bits(read_run(whole))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "kills"), [("threads", 30), ("local", 6)])
def test_many_kills(large: tuple[Path, Path], tmp_path: Path, kind: str, kills: int) -> None:
    """Of the driver and all that it started, at random instants from its first import to its last write, until a
    selection survives; then the next one begins. Each ends with the same bits."""
    path, whole = large
    survey = path.parent / "survey.zarr"
    text = path.read_text().replace('kind = "threads"', f'kind = "{kind}"')
    job = tmp_path / "survey.toml"
    job.write_text(text.replace('path = "survey.zarr"', f'path = "{survey}"'))
    rng = np.random.default_rng(11)
    n_kills, n_runs, where = 0, 0, set[int]()
    began = time.monotonic()
    subprocess.run([*command(job, tmp_path / "timed.run"), "--quiet"], capture_output=True, timeout=600, check=False)
    duration = time.monotonic() - began
    while n_kills < kills:
        out = tmp_path / f"{n_runs}.run"
        for _ in range(1000):
            words = [*PROGRAM, "resume", str(out)] if is_unfinished(out) else command(job, out)
            process = subprocess.Popen([*words, "--quiet"], stdout=subprocess.DEVNULL, start_new_session=True)
            try:
                process.wait(timeout=rng.uniform(0.2, 0.7) * duration)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                n_kills += 1
                where.add(SoFar.of(out).ended)
                if is_run(out) and not is_unfinished(out):
                    break  # in its very last moments: nothing is left to do
            else:
                assert process.returncode in (0, 3)
                break
        assert bits(read_run(out))[:-1] == bits(read_run(whole))[:-1]
        assert table(out) == table(whole)
        n_runs += 1
    assert len(where) > 1
