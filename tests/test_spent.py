"""Where the time went: put where it was spent, adding up to the clock on the wall, the same bits; dask's own report."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from dgmmis.callback import TIMES, Callback, Clocked, History, Record, Step
from dgmmis.chunk import Chunk
from dgmmis.cli import program
from dgmmis.costs import Costs
from dgmmis.dataset.arrays import Part
from dgmmis.dataset.checkpoint import Run, read_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.reference import ChunkReference
from dgmmis.em import Stopping
from dgmmis.errors import DataError, RefusedError, StoreError
from dgmmis.execution.ahead import run_group
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.serial import Serial, Threads
from dgmmis.execution.tree import Partial
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.job import read_job
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.plotting import timeline_figure
from dgmmis.runs import resumed, run_job
from dgmmis.spent import Spent
from tests.interrupted import PROGRAM, Interrupts, begun, bits, fitted, job_at

KINDS = ("read", "compute", "reduce", "driver")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_at(tmp_path_factory.mktemp("spent"), "box-with-hole", 20_000)


@pytest.fixture(scope="module")
def run(job: Path) -> Run:
    return fitted(read_job(job), job.with_suffix(".run"))


def spent_of(run: Run) -> list[Spent]:
    return [Spent(**record["spent"]) for record in run.document["history"]]


def test_what_many_workers_do_at_a_time_counts_once() -> None:
    task = Spent(read=1.0, compute=3.0, rows=10, bytes=80, tasks=1)
    both = (task + task).over(5.0, 2)
    assert (both.read, both.compute, both.reduce, both.tasks, both.rows) == (1.0, 3.0, 1.0, 2, 20)
    assert both.within(6.5).driver == 1.5
    left = task.over(2.0, 1)  # workers that left, or clocks that differ
    assert (left.read, left.compute, left.reduce) == (0.5, 1.5, 0.0)
    assert Spent().over(0.2, 3).reduce == 0.2
    assert (both + task - task).seconds == pytest.approx(both.seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Slow:
    """A task that reads, and computes, for so long."""

    reading: float
    computing: float

    def __call__(self, shared: Any, item: int, read: Callable[[], Any] | None = None) -> Partial:
        assert read is not None
        read()
        until = time.perf_counter() + self.computing
        while time.perf_counter() < until:
            pass
        return Partial.of([("a", item, 1.0)])

    def reads(self, shared: Any, item: int) -> Callable[[], Any]:
        return lambda: time.sleep(self.reading)


def test_waiting_for_what_is_read_ahead_is_reading() -> None:
    first = run_group(Slow(0.05, 0.0), None, [0]).spent
    assert 0.05 <= first.read < 0.5
    assert first.compute < first.read
    hidden = run_group(Slow(0.05, 0.15), None, range(6)).spent
    assert hidden.compute >= 0.9
    assert 0.05 <= hidden.read < 0.2  # of six readings five were done while others were worked on
    assert hidden.tasks == 1


@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_kinds_add_up_to_the_time_of_calls(executor: Serial) -> None:
    began = time.perf_counter()
    executor.map_reduce(Slow(0.01, 0.02), None, [[0, 1], [2, 3], [4, 5], [6, 7]])
    executor.map(time.sleep, [0.01] * 4)
    seconds = time.perf_counter() - began
    spent = executor.spent
    assert spent.seconds == pytest.approx(seconds, rel=0.05, abs=0.005)
    assert spent.tasks == 4
    assert spent.compute >= 8 * 0.02 / executor.resources.n_workers
    assert spent.driver == 0
    executor.close()


@dataclass(frozen=True, slots=True, eq=False)
class SlowReference(ChunkReference):
    """Of a slow disk."""

    def load(self) -> Chunk:
        time.sleep(0.05)
        return ChunkReference.load(self)


class SlowCallback(Callback):
    """What is done after a pass, as a checkpoint is."""

    def on_step(self, step: Step) -> None:
        time.sleep(0.25)


def test_time_is_put_where_it_was_spent(job: Path) -> None:
    """A disk that is slow, and a driver that is: each shows in its own kind, in the passes where it was."""
    data = Dataset.open(job.parent / "survey.zarr")
    names = ("path", "segment", "start", "stop", "first_row", "first_leaf", "schema")
    slow = tuple(SlowReference(*(getattr(one, name) for name in names)) for one in data.references)
    start, stopping = Start(3), Stopping(max_iter=6)
    plain = fit(data, start, stopping=stopping, executor=Serial())
    executor = Serial()
    began = time.perf_counter()
    result = fit(
        Part(data.n_features, slow, False), start, stopping=stopping, executor=executor, callbacks=[SlowCallback()]
    )
    seconds = time.perf_counter() - began
    first, *others = (record.spent for record in result.records)
    assert first.read >= 0.05 * len(slow)
    assert first.rows == data.n_rows
    assert first.bytes == pytest.approx(sum(reference.nbytes for reference in data.references), rel=0.01)
    assert all(spent.read < 0.05 and spent.rows == 0 for spent in others)  # kept
    assert all(spent.driver >= 0.25 for spent in others)
    assert first.driver < 0.25
    before = executor.spent.read - sum(record.spent.read for record in result.records)  # the sample of the rows
    assert before >= 0.05
    assert sum(record.spent.seconds for record in result.records) < seconds
    for record, of_plain in zip(result.records, plain.records, strict=True):
        assert record.spent.seconds >= record.seconds
        assert replace(record, spent=Spent(), seconds=0.0) == replace(of_plain, spent=Spent(), seconds=0.0)


def test_records_cover_the_time_from_one_to_the_next(job: Path) -> None:
    """All of it, refused steps and rounds included: against a clock of its own."""

    class Clock(Callback):
        def __init__(self) -> None:
            self.at: list[float] = []
            self.records: list[Record] = []

        def on_step(self, step: Step) -> None:
            self.at.append(time.perf_counter())
            self.records.append(step.record)

    clock = Clock()
    parsed = read_job(job)
    run_job(parsed, job.parent / "clocked.run", callbacks=[clock])
    whole = clock.at[-1] - clock.at[0]
    assert sum(record.spent.seconds for record in clock.records[1:]) == pytest.approx(whole, rel=0.02, abs=0.1)
    assert {record.round for record in clock.records} > {0}


def test_a_callback_beside_a_loop_gets_times() -> None:
    history, ticks = History(), iter([Spent(), Spent(compute=0.25, tasks=2), Spent(compute=0.25, tasks=2)])
    clocked = Clocked(history, lambda: next(ticks))
    record = Record(0, 0, -1.0, np.nan, np.inf, -1.0, 1.0, 0.0, 0.1, 10.0, 0.1)
    model = Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]]))
    clocked.on_step(Step(record, model))
    clocked.on_step(Step(record, model))
    assert [one.spent.tasks for one in history.records] == [2, 0]
    assert history.records[0].spent.compute == 0.25


def test_a_run_says_what_it_took(run: Run, job: Path) -> None:
    costs = Costs.of_document(run.document)
    assert costs is not None
    assert costs.seconds == run.document["seconds"]
    assert costs.spent.seconds + costs.around == pytest.approx(costs.seconds, rel=1e-6)
    assert sum(costs.shares.values()) == pytest.approx(1)
    records = spent_of(run)
    assert costs.spent.rows == run.document["n_samples"]  # weights are one, and rows are kept once they are read
    assert sum(one.tasks for one in records) <= costs.spent.tasks
    assert sum(one.driver for one in records) == pytest.approx(costs.spent.driver)
    assert costs.peak_bytes > 50e6
    assert costs.peak_bytes_of_a_worker == 0
    said = CliRunner().invoke(program, ["info", str(job.with_suffix(".run"))]).stdout
    assert re.search(r"^time +[\d.]+ s: \d+% [a-z ,]+, \d+% ", said, re.M), said
    assert re.search(r"^read +[\d,]+ rows, [\d.]+ [kM]B; \d+ tasks on \d+ workers?$", said, re.M), said
    assert "costs" not in said
    document = {name: value for name, value in run.document.items() if name != "costs"}
    assert Costs.of_document(document) is None  # of before


def test_passes_of_an_earlier_sitting_say_what_they_took_then(job: Path, run: Run, tmp_path: Path) -> None:
    out, parsed, n = tmp_path / "survey.run", read_job(job), 4
    history = History()
    with pytest.raises(BaseException, match="interrupted"):
        run_job(parsed, out, callbacks=[history, Interrupts(n)])
    goes_on = resumed(out)
    assert goes_on is not None
    again = fitted(goes_on, out)
    assert bits(again) == bits(run)
    then, now = [record.spent for record in history.records], spent_of(again)
    for before, after in zip(then[:n], now[:n], strict=True):
        assert (after.read, after.compute, after.reduce) == pytest.approx((before.read, before.compute, before.reduce))
        assert after.replayed == pytest.approx(before.read + before.compute + before.reduce)
        assert after.tasks == before.tasks
    assert all(spent.replayed == 0 for spent in now[n + 1 :])
    costs = Costs.of_document(again.document)
    assert costs is not None
    assert costs.spent.replayed >= sum(spent.replayed for spent in now[:n])
    figure = timeline_figure(again)
    assert {bar.get_alpha() for bar in figure.axes[1].patches} == {0.45, 1.0}


def test_times_alone_differ_between_two_fits(job: Path, run: Run, tmp_path: Path) -> None:
    again = fitted(read_job(job), tmp_path / "again.run")
    assert bits(again) == bits(run)
    pairs = list(zip(again.document["history"], run.document["history"], strict=True))
    for one, other in pairs:
        assert {name for name in one if one[name] != other[name]} <= set(TIMES)
    assert any(one["spent"] != other["spent"] for one, other in pairs)


def test_bars_are_the_shares_of_the_passes(run: Run) -> None:
    figure = timeline_figure(run)
    above, below = figure.axes
    records = spent_of(run)
    heights = np.array([bar.get_height() for bar in below.patches]).reshape(4, len(records))
    assert heights.sum(axis=0) == pytest.approx(np.ones(len(records)))
    assert heights[0] == pytest.approx([one.compute / one.seconds for one in records])
    widths = np.array([bar.get_width() for bar in below.patches[: len(records)]])
    assert widths.sum() == run.document["history"][-1]["iteration"] + 1  # also of steps that were refused
    line = above.lines[-3].get_ydata()
    assert line == pytest.approx([one.seconds for one in records])
    rounds = {record["round"] for record in run.document["history"]}
    assert sum(one.get_label() == "_round" for one in below.lines) == len(rounds) - 1
    assert len(figure.legends[0].texts) == 4


def test_passes_whose_times_are_not_known_are_marked(run: Run) -> None:
    history = run.document["history"]
    old = [{name: value for name, value in record.items() if name != "spent"} for record in history]
    mixed = replace(run, document={**run.document, "history": [*old[:2], *history[2:]]})
    figure = timeline_figure(mixed)
    assert [text.get_text() for text in figure.legends[0].texts][-1] == "not known"
    with pytest.raises(DataError, match="no times of passes"):
        timeline_figure(replace(run, document={**run.document, "history": old}))
    for damaged in ({**history[0]["spent"], "read": "long"}, [1.0]):
        entries = [{**history[0], "spent": damaged}, *history[1:]]
        with pytest.raises(StoreError, match="history of the run is damaged"):
            timeline_figure(replace(run, document={**run.document, "history": entries}))


def test_the_command_draws_it(job: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    done = CliRunner().invoke(program, ["plot", str(job.with_suffix(".run")), "--what", "timeline", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.stat().st_size > 10_000
    done = CliRunner().invoke(program, ["plot", str(job.with_suffix(".run")), "--what", "timeline", "--features", "x"])
    assert done.exit_code == 2


def test_a_log_has_the_times_of_each_step(job: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    done = CliRunner().invoke(
        program, ["fit", str(job), "--out", str(tmp_path / "a.run"), "--quiet", "--log", str(log)]
    )
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [line["spent"] for line in lines if line["event"] == "step"]
    assert all(set(KINDS) <= set(one) for one in steps)
    doing = {line["what"].partition(":")[0] for line in lines if line["event"] == "doing"}
    assert {"round 0", "looking whether it is a maximum", "judging the imputed points"} <= doing
    written = next(line for line in lines if line["event"] == "written")
    assert written["costs"] == read_run(tmp_path / "a.run").document["costs"]


@pytest.mark.parametrize("kind", ["threads", "serial"])
def test_a_report_of_no_scheduler_is_refused_before_work(job: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "survey.toml"
    text = job.read_text().replace('"survey.zarr"', f'"{job.parent / "survey.zarr"}"')
    path.write_text(text.replace('kind = "threads"', f'kind = "{kind}"'))
    page = tmp_path / "page.html"
    for command in (["fit", path], ["select", path, "--components", "1,2"], ["reprocess", path]):
        done = CliRunner().invoke(program, [*map(str, command), "--performance-report", str(page)])
        assert isinstance(done.exception, RefusedError), done.output
        assert '[cluster] kind = "local"' in str(done.exception)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["survey.toml"]
    with pytest.raises(RefusedError, match="threads of this process"):
        connect(ClusterSpec("auto", performance_report=page), small=True)


def test_a_page_that_cannot_be_is_refused(job: Path, tmp_path: Path) -> None:
    for page, what in (("page.txt", "must end in .html"), ("nowhere/page.html", "there is no folder")):
        done = CliRunner().invoke(program, ["fit", str(job), "--performance-report", str(tmp_path / page)])
        assert (done.exit_code, what in " ".join(done.stderr.split())) == (2, True)


@pytest.fixture(scope="module")
def on_cluster(job: Path) -> Path:
    path = job.with_name("cluster.toml")
    path.write_text(job.read_text().replace('kind = "threads"', 'kind = "local"\nworkers = 2'))
    return path


def test_dask_reports_what_the_cluster_did(on_cluster: Path, run: Run, tmp_path: Path) -> None:
    page, out = tmp_path / "page.html", tmp_path / "a.run"
    done = subprocess.run(
        [*PROGRAM, "fit", on_cluster, "--out", out, "--performance-report", page], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "Dask Performance Report" in text
    (n_tasks,) = re.findall(r"number of tasks: (\d+)", text)
    assert int(n_tasks) > len(run.document["history"])
    assert "A command of dgmmis" in text
    assert "cdn.bokeh.org" not in re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.S)  # it stands alone
    costs = Costs.of_document(read_run(out).document)
    assert costs is not None
    assert (costs.workers, costs.processes) == (2, 2)
    assert costs.peak_bytes_of_a_worker > 50e6
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.slow
def test_a_report_is_written_when_the_fit_is_interrupted(on_cluster: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    process = begun(on_cluster, tmp_path / "a.run", "--performance-report", str(page))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "number of tasks" in page.read_text()


@pytest.mark.slow
def test_a_report_that_cannot_be_written_ends_nothing(on_cluster: Path, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    code = (
        "import resource, sys; from dgmmis.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); sys.argv[0] = 'dgmmis'; main()"
    )
    command = ["fit", on_cluster, "--out", tmp_path / "a.run", "--quiet", "--performance-report", folder / "page.html"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the performance report") == 1
    assert list(folder.iterdir()) == []
