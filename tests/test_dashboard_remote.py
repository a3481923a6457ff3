"""The page about fits on schedulers of their own: preloaded, encrypted, under a prefix, without bokeh, or closed."""

import logging
import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.tls import Tls
from dgmmis.job import Job, read_job
from dgmmis.runs import run_job
from tests.interrupted import begun, job_at
from tests.looked_at import answer, link_of, runs_at, until
from tests.started import started

SHOWN = ("--dashboard", "--dashboard-address", "127.0.0.1:0")
"""After `--no-dashboard`, which it takes back."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a fit of some passes."""
    return job_at(tmp_path_factory.mktemp("remote"), "background", 20_000)


@pytest.fixture
def short(job: Path) -> Job:
    path = job.with_name("short.toml")
    path.write_text(re.sub("max_iter = [0-9]+", "max_iter = 4", job.read_text()))
    return read_job(path)


def _fits(short: Job, out: Path, spec: ClusterSpec, caplog: pytest.LogCaptureFixture) -> tuple[str, list[str]]:
    """Where the page of a fit was, and what was said of it."""
    with caplog.at_level(logging.WARNING), closing(connect(spec, small=False)) as executor:
        assert isinstance(executor, Distributed)
        link = link_of(executor)
        assert run_job(short, out, executor=executor).document["n_passes"] == 4
        if link.endswith("/dgmmis"):
            (run,) = runs_at(link)
            assert run["is_over"]
            assert run["workers"]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("dgmmis")]
    return link, said


def _by_file(folder: Path) -> ClusterSpec:
    return ClusterSpec("scheduler-file", address=str(folder / "scheduler.json"))


def test_it_comes_to_a_scheduler_with_the_fit_and_sees_it_killed(
    job: Path, short: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with started(tmp_path, workers=1, of_scheduler=SHOWN):
        link, said = _fits(short, tmp_path / "a.run", _by_file(tmp_path), caplog)
        assert said == []
        assert "More..." in answer(link)
        remote = job.with_name("remote.toml")
        text = re.sub(
            r'kind = ".*"', f'kind = "scheduler-file"\naddress = "{tmp_path / "scheduler.json"}"', job.read_text()
        )
        remote.write_text(re.sub("tol = .*", "tol = 1e-15", text))
        process = begun(remote, tmp_path / "b.run")
        process.kill()
        _, said_by_it = process.communicate()
        assert f"{link}\n" in said_by_it  # the program leads there
        (killed,) = (run for run in runs_at(link) if run["job"] == "remote")
        until(lambda: runs_at(link, f"?run={killed['run']}")[0]["is_over"])
        (killed,) = runs_at(link, f"?run={killed['run']}")
        assert "its process is gone" in killed["status"]


def _certificate(folder: Path) -> Tls:
    certificate, key = folder / "one.pem", folder / "one-key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=one"]
    try:
        subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make certificates with")
    return Tls(str(certificate), str(certificate), str(key))


def test_it_is_there_from_the_start_where_it_is_preloaded(
    short: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a scheduler that encrypts, takes no plugins from clients, and whose dashboard stands under a prefix."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__BLOCKED_HANDLERS", '["register_scheduler_plugin"]')
    tls = _certificate(tmp_path)
    security = ("--tls-ca-file", tls.ca_file, "--tls-cert", tls.cert, "--tls-key", tls.key, "--protocol", "tls")
    options = (*SHOWN, "--dashboard-prefix", "a/place", "--preload", "dgmmis.dashboard")
    with started(tmp_path, *security, workers=1, of_scheduler=options):
        spec = ClusterSpec("scheduler-file", address=str(tmp_path / "scheduler.json"), tls=tls)
        link, said = _fits(short, tmp_path / "a.run", spec, caplog)
        assert said == []
        assert link.endswith("/a/place/dgmmis")
        assert "More..." in answer(link)
        assert "/individual-dgmmis-tasks" in answer(link.replace("/dgmmis", "/individual-plots.json"))


def test_a_scheduler_without_bokeh_shows_numbers_only(
    short: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bokeh.py").write_text("raise ImportError('not here')")  # where the scheduler starts
    with started(tmp_path, workers=1, of_scheduler=SHOWN):
        link, said = _fits(short, tmp_path / "a.run", _by_file(tmp_path), caplog)
        assert link.endswith("/status")
        assert said == ["no page of this fit on the dashboard: it is switched off, or its scheduler has no bokeh"]
        (run,) = runs_at(link.replace("/status", "/dgmmis"))
        assert run["is_over"]


@pytest.mark.slow
def test_a_dashboard_that_is_switched_off_stays_so(
    short: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with started(tmp_path, workers=1, of_scheduler=("--dashboard-address", "127.0.0.1:0")):
        _, said = _fits(short, tmp_path / "a.run", _by_file(tmp_path), caplog)
        assert said == ["no page of this fit on the dashboard: it is switched off, or its scheduler has no bokeh"]


def test_a_scheduler_that_takes_no_plugins_goes_without(
    short: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__BLOCKED_HANDLERS", '["register_scheduler_plugin"]')
    with started(tmp_path, workers=1, of_scheduler=SHOWN):
        link, said = _fits(short, tmp_path / "a.run", _by_file(tmp_path), caplog)
        assert link.endswith("/status")
        (line,) = said
        assert line.startswith("nothing of this fit on the dashboard: the scheduler takes no plugin of this package (")
