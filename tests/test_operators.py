"""What operators see of fits and of reprocessing: log, metrics, the line at the end; whatever ends them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from dgmmis.account import UNDER_WAY, Account
from dgmmis.dashboard.gauges import Gauges
from dgmmis.dashboard.plugin import NAME
from dgmmis.dashboard.shown import MOST_RUNS
from dgmmis.event_log import EventLog
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.job import Job, read_job
from dgmmis.metrics import EXIT_CODE, SUCCESS, VERSION, Gauge, MetricsFile, text
from dgmmis.runs import run_job
from tests.faulty import After, Faulty, killed
from tests.interrupted import PROGRAM, begun, job_at
from tests.nights import JOB, night

LOOPBACK = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}

N_PASSES = 6

ALWAYS = {"time", "level", "event", "run", "job"}


def dgmmis(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The objects of a log; each line is one, by the letter of JSON."""

    def no(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = [json.loads(line, parse_constant=no) for line in log.read_text().splitlines()]
    goes_on = [line.keys() >= ALWAYS - {"run"} for line in lines if line["event"] == "doing"]  # a run may not be known
    assert all(goes_on)
    assert all(line.keys() >= ALWAYS for line in lines if line["event"] != "doing")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    return lines


def events(lines: list[dict[str, Any]]) -> list[str]:
    """Without those of the passes, and those that say what goes on (`test_progress`)."""
    of_passes = ("step", "round", "repair", "checkpoint")
    return [line["event"] for line in lines if line["event"] not in (*of_passes, *UNDER_WAY)]


def samples(content: str) -> dict[str, float]:
    """By name, as Prometheus reads them."""
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install 'dgmmis[metrics]'")
    families = list(parser.text_string_to_metric_families(content))
    assert all(family.type == "gauge" and family.documentation for family in families)
    return {sample.name: sample.value for family in families for sample in family.samples}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_at(tmp_path_factory.mktemp("operators"), "box-with-hole", 60_000)


@pytest.fixture(scope="module")
def short(job: Path) -> Job:
    """A fit of a few passes."""
    path = job.with_name("short.toml")
    path.write_text(re.sub("max_iter = [0-9]+", f"max_iter = {N_PASSES}", job.read_text()))
    return read_job(path)


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """A folder with a night, and the job for it."""
    (tmp_path / "job.toml").write_text(JOB)
    night(tmp_path, 1, 2000)
    return tmp_path


def test_a_run_has_one_id_and_one_log_whatever_ends_it(job: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "survey.run", tmp_path / "survey.jsonl"
    process = begun(job, out, "--log", str(log))
    process.kill()
    process.communicate()
    process = begun(job, out, "--log", str(log))
    while '"event": "step"' not in log.read_text().partition('"event": "goes on"')[2]:  # a pass of its own is counted
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate()
    assert re.search(
        r"^dgmmis: Interrupted; exit 75; \d+ pass(es)?; .* rows/s; peak memory [\d.]+ [kMG]B", said, re.M
    ), said
    done = dgmmis("resume", out, "--log", log, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^dgmmis: converged: .*; exit 0; \d+ passes; [\d.]+ s; [\d,]+ rows/s; peak memory", done.stderr, re.M
    )
    lines = lines_of(log)
    assert len({line["run"] for line in lines if "run" in line}) == 1
    assert {line["job"] for line in lines} == {"survey"}
    assert lines[-1]["run"] == json.loads((out / "fit.json").read_text())["run_id"]
    assert events(lines) == [
        "start",
        "start",
        "goes on",
        "error",
        "end",
        "start",
        "goes on",
        "settled",
        "written",
        "end",
    ]
    starts = [line for line in lines if line["event"] == "start"]
    assert [(line["sitting"], line["goes_on"]) for line in starts] == [(1, False), (2, True), (3, True)]
    assert starts[0]["plan"]["n_rows"] > 20_000
    assert starts[0]["software"]["dgmmis"]
    error, ends = (next(line for line in lines if line["event"] == name) for name in ("error", "end"))
    assert (error["kind"], error["exit_code"], error["level"]) == ("Interrupted", 75, "error")
    assert "goes on from there" in error["notes"][0]
    assert (ends["exit_code"], lines[-1]["exit_code"], lines[-1]["level"]) == (75, 0, "info")
    steps = [line for line in lines if line["event"] == "step"]
    assert all(line["rows_per_second"] > 0 and line["objective"] < 0 for line in steps)
    passes = json.loads((out / "fit.json").read_text())["n_passes"]
    assert 0 < lines[-1]["passes"] < passes  # the others were of the sittings before
    assert {line["round"] for line in lines if line["event"] == "round"} == {line["round"] for line in steps}
    assert "checkpoint" in {line["event"] for line in lines}


def test_a_log_or_metrics_that_cannot_be_written_are_said_before_any_work(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "survey.run"
    for option, what in (("--log", "log"), ("--metrics", "metrics")):
        done = dgmmis("fit", job, "--out", out, option, tmp_path / "nowhere" / "file", cwd=tmp_path)
        assert done.returncode == 74
        assert done.stderr.startswith(f"dgmmis: the {what} '")
        assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_no_other_file_is_written_to(job: Path, tmp_path: Path) -> None:
    """Whatever a job from somebody else names."""
    other = tmp_path / ".profile"
    for key in ("log", "metrics"):
        other.write_text("export PATH\n")
        path = tmp_path / "survey.toml"
        text = job.read_text().replace('"survey.zarr"', f'"{job.parent / "survey.zarr"}"')
        path.write_text(text.replace("[output]\n", f'[output]\n{key} = ".profile"\n'))
        done = dgmmis("fit", path, cwd=tmp_path)
        assert (done.returncode, "is there and is not" in done.stderr) == (74, True)
        assert other.read_text() == "export PATH\n"


def test_a_log_on_a_disk_that_fills_does_not_end_the_fit(job: Path, tmp_path: Path) -> None:
    done = dgmmis("fit", job, "--out", "full.run", "--log", "/dev/full", "--quiet", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.count("the log '/dev/full' ends here") == 1


def test_the_line_at_the_end_is_for_people(job: Path, tmp_path: Path) -> None:
    done = dgmmis("fit", job, "--out", "a.run", "--quiet", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = dgmmis("fit", tmp_path / "nothing.toml", cwd=tmp_path)
    assert done.stderr.count("\n") == 1  # nothing had begun


def test_an_error_before_the_start_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    assert dgmmis("reprocess", tmp_path / "nothing.toml", "--log", log, cwd=tmp_path).returncode == 2
    begins, error, end = lines_of(log)
    assert begins["event"] == "doing"
    assert (error["event"], error["kind"], end["event"], end["exit_code"]) == ("error", "JobError", "end", 2)
    assert "no job file" in error["message"]


def test_a_log_goes_to_stderr(job: Path, tmp_path: Path) -> None:
    done = dgmmis("fit", job, "--out", "a.run", "--quiet", "--log", "-", cwd=tmp_path)
    (tmp_path / "said.jsonl").write_text(done.stderr)
    assert events(lines_of(tmp_path / "said.jsonl"))[-1] == "end"


def test_metrics_outlive_a_failure(job: Path, tmp_path: Path) -> None:
    file = tmp_path / "survey.prom"
    assert dgmmis("fit", job, "--out", "a.run", "--metrics", file, cwd=tmp_path).returncode == 0
    first = samples(file.read_text())
    document = json.loads((tmp_path / "a.run" / "fit.json").read_text())
    for name in ("objective", "completeness", "n_samples"):
        assert first[f"dgmmis_{name}"] == document[name]
    assert first["dgmmis_iteration"] == document["history"][-1]["iteration"]
    assert first["dgmmis_passes"] == document["n_passes"]
    assert first["dgmmis_rows_per_second"] > 0
    assert (first[EXIT_CODE], first["dgmmis_retries"]) == (0, 0)
    broken = tmp_path / "survey.toml"
    broken.write_text(job.read_text().replace('"survey.zarr"', '"nowhere.zarr"'))
    assert dgmmis("fit", broken, "--metrics", file, cwd=tmp_path).returncode == 74
    second = samples(file.read_text())
    assert (second[EXIT_CODE], second[SUCCESS]) == (74, first[SUCCESS])
    assert second["dgmmis_last_end_timestamp_seconds"] > first["dgmmis_last_end_timestamp_seconds"]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["survey", 'a "quoted" \\ name', "two\nlines", "Übersicht"])
def test_any_name_of_a_job_is_a_label(tmp_path: Path, name: str) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install 'dgmmis[metrics]'")
    content = text([Gauge("dgmmis_iteration", "Number.", 3.0)], name)
    (family,) = parser.text_string_to_metric_families(content)
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"job": name}, 3.0)]
    file = tmp_path / "a.prom"
    MetricsFile(file, Account(name, "")).ended(3)
    assert f"{EXIT_CODE}{{" in MetricsFile(file, Account(name, ""))._path.read_text()  # what was there is kept
    MetricsFile(file, Account("another", ""))
    assert EXIT_CODE not in file.read_text()


def test_reprocessing_says_what_it_decided(nights: Path) -> None:
    log, file = nights / "job.jsonl", nights / "job.prom"
    options = ("reprocess", "job.toml", "--quiet", "--log", log, "--metrics", file)
    assert dgmmis(*options, cwd=nights).returncode == 0
    published = lines_of(log)
    assert events(published) == ["reprocess", "taken in", "start", "settled", "written", "published", "end"]
    assert len({line["run"] for line in published if "run" in line}) == 1
    assert published[-2]["version"] == "000001"
    assert published[-1]["passes"] > 0
    log.unlink()
    first = file.read_text()
    assert dgmmis(*options, cwd=nights).returncode == 0
    assert events(lines_of(log)) == ["reprocess", "nothing new", "end"]
    log.unlink()
    night(nights, 2, shift=30.0)
    assert dgmmis(*options, cwd=nights).returncode == 1
    aside = lines_of(log)
    assert (aside[-2]["event"], aside[-2]["level"], aside[-1]["exit_code"]) == ("nothing new", "warning", 1)
    assert "set aside" in aside[-2]["sentence"]
    assert aside[-1]["run"] != published[-1]["run"]
    values = samples(file.read_text())
    assert (values[VERSION], values[EXIT_CODE]) == (1, 1)
    assert values[SUCCESS] > samples(first)[SUCCESS]  # the model that holds is of all that it could take in


def test_a_refusal_is_a_warning_and_no_success(nights: Path) -> None:
    (nights / "job.toml").write_text(
        JOB + "[reprocess.gate]\narrivals = inf\n[output]\nlog = 'a.jsonl'\nmetrics = 'a.prom'\n"
    )
    elsewhere = nights / "elsewhere"
    elsewhere.mkdir()
    assert dgmmis("reprocess", "../job.toml", cwd=elsewhere).returncode == 0  # paths are relative to the job file
    first = samples((nights / "a.prom").read_text())
    night(nights, 2, shift=30.0)
    done = dgmmis("reprocess", "../job.toml", cwd=elsewhere)
    assert done.returncode == 1
    assert "dgmmis: refused; exit 1; " in done.stderr
    lines = lines_of(nights / "a.jsonl")
    assert (lines[-2]["event"], lines[-2]["level"], lines[-2]["version"]) == ("refused", "warning", "000001")
    second = samples((nights / "a.prom").read_text())
    assert (second[EXIT_CODE], second[SUCCESS], second[VERSION]) == (1, first[SUCCESS], 1)
    assert list(elsewhere.iterdir()) == []


def test_lost_workers_are_counted(short: Job, tmp_path: Path, survived: Callable[[str], None]) -> None:
    with closing(connect(ClusterSpec("local", workers=2), small=False)) as executor:
        assert isinstance(executor, Distributed)
        client, account = executor.client, Account("survey", "")
        killer = After(lambda: os.kill(min(client.run(os.getpid).values()), signal.SIGKILL))
        with closing(EventLog(tmp_path / "a.jsonl", account)) as log:
            run_job(short, tmp_path / "a.run", executor=executor, callbacks=[account, log, killer])
        assert executor.survived().workers_lost == 1
        faults = [line for line in lines_of(tmp_path / "a.jsonl") if line["event"] == "faults"]
        assert [(line["workers_lost"], line["level"]) for line in faults] == [(1, "warning")]
        assert "survived 1 lost worker (" in str(account.ending(0))
        survived("worker killed between passes, and told")
        groups = [[item] for item in range(8)]
        executor.map_reduce(Faulty(killed, tmp_path / "flag"), None, groups)
        assert (executor.survived().workers_lost, executor.survived().tasks_again > 0) == (2, True)
    assert executor.survived().workers_lost == 2  # workers that were asked to stop are not lost
    survived("worker killed by a task, and told")


@contextmanager
def cluster_with_metrics() -> "Iterator[tuple[Distributed, Callable[[], str]]]":
    """A cluster of processes, and what its scheduler shows under /metrics."""
    with LocalCluster(**LOOPBACK) as cluster, Client(cluster, set_as_default=False) as client:
        address = cluster.dashboard_link.replace("/status", "/metrics")

        def shown() -> str:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return str(answer.read().decode())

        with closing(Distributed(client)) as executor:
            yield executor, shown


def test_the_scheduler_shows_the_numbers_of_a_fit(short: Job, tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install 'dgmmis[metrics]'")
    for name in ("first", "second"):  # a scheduler after another in the same process has the same gauges
        with cluster_with_metrics() as (executor, shown):
            job = replace(short, path=short.path.with_name(f"{name}.toml"))
            run = run_job(job, tmp_path / f"{name}.run", executor=executor)
            families = {family.name: family for family in parser.text_string_to_metric_families(shown())}
        record = run.document["history"][-1]
        for what in ("iteration", "objective", "completeness", "n_samples", "distance"):
            values = {sample.labels["job"]: sample.value for sample in families[f"dgmmis_{what}"].samples}
            assert values[name] == record[what]
        assert families["dgmmis_rows_per_second"].type == "gauge"
        assert "dask_scheduler_workers" in families


def test_a_scheduler_shows_the_jobs_that_it_heard_of_last() -> None:
    client = pytest.importorskip("prometheus_client", reason="pip install 'dgmmis[metrics]'")
    gauges, name = Gauges(), "dgmmis_of_many_jobs"
    for number in range(MOST_RUNS):
        gauges.show(f"job {number}", [(name, "Number.", float(number))])
    gauges.show("job 0", [(name, "Number.", 100.0)])
    gauges.show("another", [(name, "Number.", 200.0)])  # in the place of job 1, of which nothing was heard for longest
    (family,) = (family for family in client.REGISTRY.collect() if family.name == name)
    values = {sample.labels["job"]: sample.value for sample in family.samples}
    assert values == {"job 0": 100.0, "another": 200.0} | {f"job {n}": n for n in range(2, MOST_RUNS)}


def test_a_scheduler_without_prometheus_goes_without(
    short: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # the scheduler is in this process
    with cluster_with_metrics() as (executor, _):
        assert run_job(short, tmp_path / "a.run", executor=executor).document["n_passes"] == N_PASSES
        assert NAME in plugins(executor)


def test_a_scheduler_that_takes_no_plugins_goes_without(short: Job, tmp_path: Path) -> None:
    def refuse(dask_scheduler: Any) -> None:
        del dask_scheduler.handlers["register_scheduler_plugin"]

    with cluster_with_metrics() as (executor, _):
        executor.client.run_on_scheduler(refuse)
        assert run_job(short, tmp_path / "a.run", executor=executor).document["n_passes"] == N_PASSES
        assert NAME not in plugins(executor)


def plugins(executor: Distributed) -> list[str]:
    return list(executor.client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.plugins)))
