"""Clusters as they are met: they grow and shrink during a fit, encrypt what they say, and listen to loopback only."""

import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster

from dgmmis.errors import ClusterError, JobError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.tls import Tls
from dgmmis.job import read_job
from tests.disturbed import bits, fitted, undisturbed_bits, written
from tests.faulty import After
from tests.started import started

LOOPBACK = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}


@pytest.fixture(scope="module")
def survey_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("clusters"), "noisy")


@pytest.fixture(scope="module")
def expected_bits(survey_path: Path) -> str:
    return undisturbed_bits(survey_path)


def test_same_bits_where_workers_join_and_leave(
    survey_path: Path, expected_bits: str, survived: Callable[[str], None]
) -> None:
    """Chunks that one has kept are read again by others, and who joins gets some."""
    with LocalCluster(n_workers=1, **LOOPBACK) as cluster, Client(cluster, set_as_default=False) as client:
        seen = []

        def scaled(n: int) -> None:
            cluster.scale(n)
            cluster.wait_for_workers(n) if n > 1 else cluster.sync(cluster._correct_state)
            seen.append(sorted(client.nthreads()))

        steps = (After(lambda: scaled(3), 1), After(lambda: scaled(1), 2))
        assert bits(fitted(survey_path, Distributed(client), steps)) == expected_bits
        assert [len(addresses) for addresses in seen] == [3, 1]
    survived("workers left")


@pytest.mark.slow
def test_same_bits_on_a_cluster_that_adapts(survey_path: Path, expected_bits: str) -> None:
    """From no worker to as many as it likes, and back."""
    with LocalCluster(n_workers=0, **LOOPBACK) as cluster, Client(cluster, set_as_default=False) as client:
        cluster.adapt(minimum=0, maximum=3, interval="50ms", wait_count=1)
        assert bits(fitted(survey_path, Distributed(client))) == expected_bits


def _listens(process: psutil.Process) -> set[str]:
    """The addresses that a process can be reached at."""
    return {c.laddr.ip for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}


def test_a_local_cluster_listens_to_this_machine_only() -> None:
    """Its scheduler, the dashboard, the nannies (in this process), and the workers."""
    with closing(connect(ClusterSpec("local", workers=2), small=False)) as executor:
        assert isinstance(executor, Distributed)
        workers = [psutil.Process(pid) for pid in executor.client.run(_pid).values()]
        assert [_listens(process) for process in [psutil.Process(), *workers]] == [{"127.0.0.1"}] * 3
        assert ("dashboard", executor.client.dashboard_link.replace("/status", "/dgmmis")) in executor.about()
        assert executor.client.dashboard_link.startswith("http://127.0.0.1:")


def _pid() -> int:
    return psutil.Process().pid


JOB = """
[data]
path = "noisy.zarr"
[model]
n_components = 2
[cluster]
"""


def _job(folder: Path, cluster: str) -> Path:
    path = folder / "job.toml"
    path.write_text(JOB + cluster)
    return path


@pytest.mark.parametrize("key", ["host", "dashboard_address", "interface", "protocol", "security"])
def test_no_job_makes_it_listen_elsewhere(tmp_path: Path, key: str) -> None:
    with pytest.raises(JobError, match=rf"\[cluster\] has no key '{key}'"):
        read_job(_job(tmp_path, f'kind = "local"\n{key} = "0.0.0.0"'))
    with pytest.raises(JobError, match="takes no `address`"):
        read_job(_job(tmp_path, 'kind = "local"\naddress = "0.0.0.0"'))


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """One that signs itself, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    try:
        subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make certificates with")
    return certificate, key


TLS = """
kind = "scheduler-file"
address = "scheduler.json"
timeout = 60
tls_ca_file = "one.pem"
tls_cert = "one.pem"
tls_key = "one-key.pem"
"""


def test_a_cluster_that_encrypts(
    tmp_path: Path, survey_path: Path, expected_bits: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """By its file and by its address; who has no certificate, or one of somebody else, is not let in."""
    certificate, key = _certificate(tmp_path, "one")
    other, others_key = _certificate(tmp_path, "other")
    options = ("--tls-ca-file", str(certificate), "--tls-cert", str(certificate), "--tls-key", str(key))
    with started(tmp_path, *options, "--protocol", "tls") as cluster:
        spec = read_job(_job(tmp_path, TLS)).cluster_spec()
        with closing(connect(spec, small=False)) as executor:
            assert isinstance(executor, Distributed)
            address = executor.client.scheduler.address
            assert address.startswith("tls://127.0.0.1:")
            assert bits(fitted(survey_path, executor)) == expected_bits
        by_address = ClusterSpec("address", address=address, tls=spec.tls)
        connect(by_address, small=False).close()
        stranger = Tls(str(certificate), str(other), str(others_key))
        for tls in (None, stranger):
            with pytest.raises(ClusterError, match="cannot reach the cluster"):
                connect(ClusterSpec("address", address=address, tls=tls, timeout=2), small=False)
        in_the_clear = address.replace("tls", "tcp")
        with pytest.raises(ClusterError, match="cannot reach the cluster"):
            connect(ClusterSpec("address", address=in_the_clear, timeout=2), small=False)
        assert cluster.scheduler.poll() is None
    assert "Traceback" not in capfd.readouterr().err


def test_wrong_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="lacks tls_cert, tls_key"):
        read_job(_job(tmp_path, 'kind = "address"\naddress = "tls://127.0.0.1:1"\ntls_ca_file = "one.pem"'))
    files = 'tls_ca_file = "one.pem"\ntls_cert = "one.pem"\ntls_key = "one-key.pem"'
    with pytest.raises(JobError, match="takes no `tls_ca_file`"):
        read_job(_job(tmp_path, f'kind = "local"\n{files}'))
    with pytest.raises(JobError, match="certificates go with a tls:// address"):
        read_job(_job(tmp_path, f'kind = "address"\naddress = "tcp://127.0.0.1:1"\n{files}'))
    spec = read_job(_job(tmp_path, f'kind = "address"\naddress = "tls://127.0.0.1:1"\n{files}')).cluster_spec()
    with pytest.raises(JobError, match=rf"no file '{tmp_path / 'one.pem'}' for \[cluster\] tls_ca_file"):
        connect(spec, small=False)
    for name in ("one.pem", "one-key.pem"):
        (tmp_path / name).write_text("not a certificate")
    with pytest.raises(JobError, match=r"cannot use the certificates .*one-key\.pem.*must be PEM"):
        connect(spec, small=False)


def test_patience_is_a_key_of_the_job(tmp_path: Path) -> None:
    spec = read_job(_job(tmp_path, "patience = 900\ntimeout = 120")).cluster_spec()
    assert (spec.patience, spec.timeout) == (900.0, 120.0)
    with pytest.raises(JobError, match="cluster `patience` must be positive"):
        read_job(_job(tmp_path, "patience = 0"))
