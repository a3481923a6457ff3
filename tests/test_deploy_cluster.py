"""[cluster] kinds that start their own workers: their keys, what is refused, and a class that is called."""

import subprocess
import sys
from pathlib import Path

import pytest

from dgmmis.errors import JobError
from dgmmis.execution.cluster import QUEUE_TIMEOUT, ClusterSpec, foreseen
from dgmmis.execution.elastic import Elastic
from dgmmis.job import read_job
from dgmmis.runs import planned, run_job
from tests.interrupted import fitted, job_at

JOB = """
[data]
path = "survey.zarr"
[model]
n_components = 2
[cluster]
"""

SLURM = """
kind = "slurm"
queue = "debug"
account = "astro"
cores = 4
memory = "8GiB"
walltime = "1-02:00:00"
minimum = 2
maximum = 40
"""

CLASS = """
kind = "class"
path = "distributed:LocalCluster"
maximum = 2
"""


def spec(folder: Path, cluster: str, *, allow_code: bool = False) -> ClusterSpec:
    path = folder / "job.toml"
    path.write_text(JOB + cluster)
    return read_job(path, allow_code=allow_code).cluster_spec()


def test_every_key_of_slurm_arrives(tmp_path: Path) -> None:
    found = spec(tmp_path, SLURM)
    elastic = found.elastic
    assert elastic is not None
    assert (elastic.path, elastic.minimum, elastic.maximum) == ("dask_jobqueue:SLURMCluster", 2, 40)
    job = {"queue": "debug", "account": "astro", "cores": 4, "memory": "8GiB", "walltime": "1-02:00:00"}
    assert elastic.arguments == {**job, "processes": 4}
    assert found.seconds == QUEUE_TIMEOUT
    there = foreseen(found, small=False)
    assert there is not None
    assert (there.n_workers, there.n_processes, there.process_bytes) == (40, 40, 2 * 2**30)


def test_what_is_left_out_is_left_to_dask(tmp_path: Path) -> None:
    found = spec(tmp_path, 'kind = "slurm"\nmaximum = 4\ntimeout = 5')
    assert found.elastic is not None
    assert found.elastic.arguments == {}
    assert (found.elastic.minimum, found.seconds) == (0, 5.0)
    assert foreseen(found, small=False) is None


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ('kind = "slrum"\nmaximum = 1', "Did you mean 'slurm'"),
        (SLURM + 'quue = "debug"', "no key 'quue'. Did you mean 'queue'"),
        ('kind = "slurm"', "lacks the key 'maximum'"),
        ('kind = "class"\nmaximum = 1', "lacks the key 'path'"),
        ('kind = "local"\nqueue = "debug"', "'local' takes no `queue`. It goes with slurm"),
        ('kind = "local"\nmaximum = 3', "'local' takes no `maximum`. It goes with slurm, class"),
        (SLURM + 'path = "a:B"', "'slurm' takes no `path`. It goes with class"),
        (SLURM + "workers = 3", "'slurm' takes no `workers`"),
        (CLASS + 'queue = "debug"', "'class' takes no `queue`. It goes with slurm"),
        ('kind = "slurm"\nmaximum = 0', "do not go together: expected 0 <= minimum <= maximum"),
        ('kind = "slurm"\nminimum = 3\nmaximum = 2', "got 3 and 2"),
        ('kind = "slurm"\nminimum = -1\nmaximum = 2', "got -1 and 2"),
        ('kind = "slurm"\nmaximum = 2\ncores = 0', "`cores` must be at least one"),
        ('kind = "slurm"\nmaximum = 2\nmemory = "lots"', "memory is not a size: expected such as '4GiB', got lots"),
        ('kind = "slurm"\nmaximum = 2\nwalltime = "an hour"', "`walltime` is none that SLURM takes"),
        ('kind = "slurm"\nmaximum = 2.5', "maximum has the wrong type"),
        (CLASS + 'arguments = "n_workers=2"', "arguments has the wrong type"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, cluster: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        spec(tmp_path, cluster, allow_code=True)


@pytest.mark.parametrize("key", ["queue", "account", "walltime"])
@pytest.mark.parametrize(
    "value", ["debug --output=/root/.bashrc", "--wrap", "a;reboot", "$(reboot)", "a#b", "a/b", "", "a\\nreboot"]
)
def test_no_name_brings_another_option_into_the_script(tmp_path: Path, key: str, value: str) -> None:
    """It would stand on a line of the header of a job script."""
    with pytest.raises(JobError, match=rf"`{key}` is none that SLURM takes|cannot be printed"):
        spec(tmp_path, f'kind = "slurm"\nmaximum = 1\n{key} = "{value}"')


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ('password = "hunter2"', "password"),
        ('arguments = { api_token = "hunter2" }', "api_token"),
        ('arguments = { auth = { SecretKey = "hunter2" } }', "SecretKey"),
        ('arguments = { env = [{ AWS_ACCESS_KEY_ID = "hunter2" }] }', "AWS_ACCESS_KEY_ID"),
        ('arguments = { proxy = "https://me:hunter2@example.org" }', "proxy"),
        ('arguments = { urls = ["http://example.org", "tcp://me:hunter2@example.org:1"] }', "urls"),
    ],
)
def test_secrets_are_refused_and_not_repeated(tmp_path: Path, lines: str, name: str) -> None:
    with pytest.raises(JobError, match=rf"has a secret, '{name}'.*Leave it to dask's own configuration") as caught:
        spec(tmp_path, CLASS + lines, allow_code=True)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_secret_passes(tmp_path: Path) -> None:
    found = spec(tmp_path, CLASS + 'arguments = { name = "keys", host = "tcp://a:1" }', allow_code=True)
    assert found.elastic is not None
    assert found.elastic.arguments == {"name": "keys", "host": "tcp://a:1"}


def test_a_class_runs_only_where_that_is_allowed_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster = CLASS.replace("distributed:LocalCluster", "witness_of_a_class:Cluster")
    with pytest.raises(
        JobError, match=r"cluster `path` would import and run 'witness_of_a_class:Cluster'.*--allow-code"
    ):
        spec(tmp_path, cluster)
    assert spec(tmp_path, cluster, allow_code=True).elastic is not None
    assert caplog.messages == ["--allow-code: the cluster imports and runs 'witness_of_a_class:Cluster', as you"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("distributed", "named by its module and its name"),
        ("no_such_module:Cluster", "cannot import 'no_such_module'.*PYTHONPATH"),
        ("distributed:LocalClutser", "no class of dask clusters"),
        ("pathlib:Path", "no class of dask clusters"),
    ],
)
def test_a_class_that_is_none(path: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        Elastic(path, maximum=1).start(None)


def test_arguments_that_a_class_does_not_take() -> None:
    with pytest.raises(JobError, match=r"SpecCluster does not take what it is given: .*colour.*Correct \[cluster\]"):
        Elastic("distributed:SpecCluster", {"colour": "red"}).start(None)


def test_without_dask_jobqueue_it_says_what_to_install(tmp_path: Path) -> None:
    """In a process that cannot import it, whether or not it is there."""
    path = job_at(tmp_path, "background", 500, kind="slurm")
    path.write_text(path.read_text().replace('"slurm"', '"slurm"\nmaximum = 1'))
    code = "import sys; sys.modules['dask_jobqueue'] = None; from dgmmis.cli import main; main()"
    command = [sys.executable, "-c", code, "fit", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot import 'dask_jobqueue'" in done.stderr
    assert "pip install 'dgmmis[slurm]'" in done.stderr
    assert "Traceback" not in done.stderr


ARGUMENTS = '{ host = "127.0.0.1", dashboard_address = "127.0.0.1:0", threads_per_worker = 1, n_workers = 0 }'


def test_a_class_of_clusters_runs_a_fit(tmp_path: Path) -> None:
    """Its workers come because there is work; the plan needs the class, which says what it has; same bits."""
    path = job_at(tmp_path, "background", 3000)
    whole = fitted(read_job(path), tmp_path / "whole.run").model.mixture
    lines = CLASS.strip().partition("\n")[2] + f"\narguments = {ARGUMENTS}"
    path.write_text(path.read_text().replace('kind = "threads"', f'kind = "class"\n{lines}'))
    job = read_job(path, allow_code=True)
    assert planned(job).n_workers >= 1
    said: list[tuple[str, str]] = []
    run = run_job(job, tmp_path / "elastic.run", announce=said.extend)
    assert "tcp://127.0.0.1" in dict(said)["runs on"]
    assert all(
        getattr(run.model.mixture, name).tobytes() == getattr(whole, name).tobytes()
        for name in ("weights", "means", "covariances")
    )
