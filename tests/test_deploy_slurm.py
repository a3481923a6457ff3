"""deploy/slurm on a real SLURM: fits that are warned, preempted, requeued and cancelled, and end with the same bits."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dgmmis.callback import TIMES
from dgmmis.dataset.checkpoint import Run, is_run, is_unfinished, read_run
from dgmmis.job import read_job
from dgmmis.runs import run_job
from tests.interrupted import job_at
from tests.slurm import SLURM, Slurm, slurm

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "deploy" / "slurm" / "dgmmis.sbatch"
SMALL = ("--ntasks=3", "--mem-per-cpu=1G")

pytestmark = [pytest.mark.slow, SLURM.needed]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm")) as here:
        here.environment.update(PYTHON=sys.executable, PYTHONPATH=str(ROOT))
        yield here


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A job file that runs in threads, and its run."""
    path = job_at(tmp_path_factory.mktemp("undisturbed"), "box-with-hole", 20_000, "bootstrap = 3")
    out = path.with_suffix(".run")
    run_job(read_job(path), out)
    return path, read_run(out)


def numbers(run: Run) -> tuple[bytes | str, ...]:
    """Of the model, and of every step to it."""
    history = [{k: v for k, v in record.items() if k not in TIMES} for record in run.document["history"]]
    mixture = run.model.mixture
    arrays = (mixture.weights, mixture.means, mixture.covariances, run.by_class)
    told = ("log_likelihood", "completeness", "n_passes", "standard_errors", "bootstrap")
    document = {name: run.document.get(name) for name in told}
    return (*(array.tobytes() for array in arrays), json.dumps([history, document], sort_keys=True))


def on_slurm(path: Path, folder: Path, name: str = "survey", **cluster: str) -> Path:
    """The same job in a folder of its own, on the cluster of an allocation."""
    table = {"kind": "scheduler-file", "address": f"{name}.scheduler.json", **cluster}
    text = path.read_text().replace('path = "survey.zarr"', f'path = "{path.parent / "survey.zarr"}"')
    text = text.replace('path = "survey.run"', f'path = "{name}.run"')
    lines = "\n".join(f'{key} = "{value}"' for key, value in table.items())
    job = folder / f"{name}.toml"
    job.write_text(re.sub(r'kind = "threads"', lines, text))
    return job


def under_way(cluster: Slurm, job: str, out: Path, after: int = 0) -> None:
    """Wait until the fit in a job has made some passes, more than it had."""
    until = time.monotonic() + 60
    while passes(out) <= after:
        about = cluster.about(job)
        assert time.monotonic() < until, about
        assert about["JobState"] in ("PENDING", "RUNNING", "COMPLETING"), about
        time.sleep(0.02)


def passes(out: Path) -> int:
    """So many that the last checkpoint is of."""
    return max((int(file.stem) for file in (out / "checkpoints").glob("*.npz")), default=0)


def said(folder: Path, job: str) -> str:
    return (folder / f"dgmmis-{job}.log").read_text()


def certificate(folder: Path) -> dict[str, str]:
    """One that signs itself, and its key, as keys of a job file: the command is that of deploy/slurm/README.md."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=dgmmis -keyout tls-key.pem -out tls.pem"
    try:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make certificates with")
    return {"tls_ca_file": "tls.pem", "tls_cert": "tls.pem", "tls_key": "tls-key.pem"}


def test_a_fit_is_warned_and_preempted_and_ends_with_the_same_bits(
    cluster: Slurm, undisturbed: tuple[Path, Run], tmp_path: Path, survived: Callable[[str], None]
) -> None:
    """The warning before the end of the time, then a job of a higher partition that wants the whole machine."""
    path, whole = undisturbed
    file = on_slurm(path, tmp_path)
    out = file.with_suffix(".run")
    job = cluster.submit(*SMALL, str(SCRIPT), file.name, cwd=tmp_path)
    under_way(cluster, job, out)
    cluster.call("scancel", "--batch", "--signal=USR1", job)
    cluster.wait(job, lambda about: about["Restarts"] == "1")
    assert is_unfinished(out)
    under_way(cluster, job, out, passes(out))
    urgent = cluster.submit("--partition=high", "--exclusive", "--wrap", "true", cwd=tmp_path)
    assert cluster.ended(urgent)["JobState"] == "COMPLETED"
    about = cluster.ended(job)
    assert (about["JobState"], about["Restarts"]) == ("COMPLETED", "2"), said(tmp_path, job)
    run = read_run(out)
    assert numbers(run) == numbers(whole)
    assert run.document["sittings"] == 3
    log = said(tmp_path, job)
    assert "goes on with" in log
    assert "interrupted by SIGTERM" in log
    survived("warned by SLURM")
    survived("preempted by SLURM")


def test_what_is_cancelled_stays_cancelled(cluster: Slurm, undisturbed: tuple[Path, Run], tmp_path: Path) -> None:
    """And what it has found is kept, for whoever submits it again."""
    path, whole = undisturbed
    file = on_slurm(path, tmp_path)
    job = cluster.submit(*SMALL, str(SCRIPT), file.name, cwd=tmp_path)
    under_way(cluster, job, file.with_suffix(".run"))
    cluster.call("scancel", job)
    about = cluster.ended(job)
    assert (about["JobState"], about["Restarts"]) == ("CANCELLED", "0"), said(tmp_path, job)
    assert is_unfinished(file.with_suffix(".run"))
    again = cluster.submit(*SMALL, str(SCRIPT), file.name, cwd=tmp_path)
    assert cluster.ended(again)["JobState"] == "COMPLETED", said(tmp_path, again)
    assert numbers(read_run(file.with_suffix(".run"))) == numbers(whole)


def test_an_array_of_surveys(cluster: Slurm, undisturbed: tuple[Path, Run], tmp_path: Path) -> None:
    """One a line: in the clear, with certificates, and one whose job file wants another cluster; and no fourth line."""
    path, whole = undisturbed
    files = [
        on_slurm(path, tmp_path, "one"),
        on_slurm(path, tmp_path, "two", **certificate(tmp_path)),
        on_slurm(path, tmp_path, "three", kind="local"),
    ]
    (tmp_path / "surveys.txt").write_text("".join(f"{file.name}\n" for file in files))
    array = cluster.submit("--array=1-4", "--output=%a.log", *SMALL, str(SCRIPT), "surveys.txt", cwd=tmp_path)
    about = [cluster.ended(f"{array}_{task}") for task in (1, 2, 3, 4)]
    logs = [(tmp_path / f"{task}.log").read_text() for task in (1, 2, 3, 4)]
    assert [one["ExitCode"] for one in about] == ["0:0", "0:0", "2:0", "2:0"], logs
    for file in files[:2]:
        assert numbers(read_run(file.with_suffix(".run"))) == numbers(whole)
    assert "tcp://127.0.0.1" in logs[0]
    assert "tls://127.0.0.1" in logs[1]
    assert '[cluster] needs kind = "scheduler-file" and address = "three.scheduler.json"' in logs[2]
    assert "has no line 4" in logs[3]
    assert not is_run(files[2].with_suffix(".run"))


def at_home(cluster: Slurm, folder: Path) -> dict[str, str]:
    """The environment of a fit that starts its workers as jobs, which log to a folder; all on this machine only."""
    where = "['--host', '127.0.0.1', '--no-dashboard']"
    config = {"SCHEDULER_OPTIONS": "{'host': '127.0.0.1'}", "WORKER_EXTRA_ARGS": where, "LOG_DIRECTORY": str(folder)}
    return {**cluster.environment, **{f"DASK_JOBQUEUE__SLURM__{key}": value for key, value in config.items()}}


def queued(cluster: Slurm) -> list[str]:
    """The numbers of the workers' jobs that wait or run."""
    return cluster.call("squeue", "--noheader", "--format=%A", "--name=dask-worker").split()


@contextmanager
def working(
    cluster: Slurm, command: Sequence[str | Path], environment: dict[str, str], out: Path, after: int = 0, jobs: int = 1
) -> Iterator["subprocess.Popen[str]"]:
    """A fit that has made some passes, more than it had, on the workers of some jobs."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while passes(out) <= after or len(queued(cluster)) < jobs:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_fit_starts_its_workers_as_jobs(
    cluster: Slurm, undisturbed: tuple[Path, Run], tmp_path: Path, survived: Callable[[str], None]
) -> None:
    """A plan starts none; a fit that is interrupted takes its jobs with it; one that is cancelled is replaced; what is
    said is encrypted; none is left in the end."""
    pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue: pip install 'dgmmis[slurm]'")
    path, whole = undisturbed
    file = on_slurm(path, tmp_path, kind="slurm", queue="low", memory="1GiB", walltime="00:10:00")
    text = file.read_text().replace('address = "survey.scheduler.json"', "cores = 1\nminimum = 2\nmaximum = 3")
    files = "".join(f'{key} = "{value}"\n' for key, value in certificate(tmp_path).items())
    file.write_text(text.replace("[cluster]\n", f"[cluster]\n{files}"))
    program = [sys.executable, "-m", "dgmmis"]
    environment = at_home(cluster, tmp_path / "logs")
    plan = subprocess.run([*program, "plan", "--json", file], env=environment, capture_output=True, check=True)
    assert json.loads(plan.stdout)["n_workers"] == 3
    assert queued(cluster) == []
    out, fit = file.with_suffix(".run"), [*program, "fit", file]
    with working(cluster, fit, environment, out) as first:
        first.terminate()
        first.communicate(timeout=120)
    assert first.returncode == 75
    cluster.until(lambda: queued(cluster) == [], "its jobs to end")
    with working(cluster, fit, environment, out, passes(out), 2) as second:
        lost = queued(cluster)[0]
        cluster.call("scancel", lost)
        _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert "tls://127.0.0.1" in errors
    assert numbers(read_run(out)) == numbers(whole)
    assert cluster.ended(lost)["JobState"] == "CANCELLED"
    cluster.until(lambda: queued(cluster) == [], "its jobs to end")
    survived("jobs of workers cancelled")
