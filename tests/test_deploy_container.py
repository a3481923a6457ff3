"""deploy/container: what the file says; and the image, built and run by a real docker, with few rights."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dgmmis.dataset.checkpoint import Run, is_unfinished, read_run
from dgmmis.job import read_job
from tests.containers import DOCKER, Docker, debian, docker
from tests.interrupted import fitted, job_at

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "container"
LINES = (FOLDER / "Dockerfile").read_text().splitlines()

RIGHTS = ("--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")

needs_docker = DOCKER.needed


def test_what_it_is_built_from_is_pinned() -> None:
    """The base to its patch release, every package to a version, and nothing comes from an address."""
    (base,) = (line.partition("=")[2] for line in LINES if line.startswith("ARG BASE="))
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base)
    assert [line.split()[1] for line in LINES if line.startswith("FROM")] == ["${BASE}", "${BASE}"]
    pins = [line for line in (FOLDER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.post]+", pin) for pin in pins)
    assert {"numpy", "zarr", "dask", "hatchling"} <= {pin.partition("==")[0] for pin in pins}
    assert not any("://" in line for line in LINES if not line.startswith("#"))


def test_nobody_in_it_is_root() -> None:
    assert [line for line in LINES if line.startswith("USER")] == ["USER 1000:1000"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Docker, str]]:
    """A daemon that has the image, built by the command of the page, on Debian's own Python."""
    folder = tmp_path_factory.mktemp("docker")
    with docker(folder) as here:
        options = ("--network=host", f"--build-arg=BASE={debian(here, folder)}", "--tag=dgmmis:test")
        here.call("build", *options, f"--file={FOLDER / 'Dockerfile'}", str(ROOT), seconds=2400)
        yield here, "dgmmis:test"


def numbers(run: Run) -> list[bytes]:
    mixture = run.model.mixture
    return [array.tobytes() for array in (mixture.weights, mixture.means, mixture.covariances)]


@needs_docker
@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_fit_in_a_container_without_rights(image: tuple[Docker, str], tmp_path: Path) -> None:
    """On a volume of the user's, stopped and run again: the same bits as outside; no pip, and no root."""
    here, name = image
    path = job_at(tmp_path, "background", 3000, "bootstrap = 200")
    whole = fitted(read_job(path), tmp_path / "whole.run")
    for entry in (tmp_path, *tmp_path.rglob("*")):
        entry.chmod(0o777 if entry.is_dir() else 0o666)
    run = ("run", *RIGHTS, f"--volume={tmp_path}:/surveys")
    stopped = here.call(*run, "--detach", name, "fit", "--quiet", "survey.toml")
    until = time.monotonic() + 120
    while not list((tmp_path / "survey.run" / "checkpoints").glob("*.npz")):
        assert time.monotonic() < until, here.tried("logs", stopped).stderr
        time.sleep(0.05)
    here.call("stop", "--time=60", stopped)
    assert here.call("wait", stopped) == "75"
    assert is_unfinished(tmp_path / "survey.run")
    run = (*run, "--rm")
    here.call(*run, name, "fit", "--quiet", "survey.toml")
    assert numbers(read_run(tmp_path / "survey.run")) == numbers(whole)
    assert here.call(*run, "--entrypoint=id", name, "--user") == "1000"
    assert "version" in here.call(*run, "--entrypoint=dask", name, "worker", "--version")
    refused = here.tried(*run, name, "fit", "no.toml")
    assert refused.returncode == 2
    assert "no job file" in refused.stderr
    assert here.tried(*run, "--entrypoint=pip", name, "list").returncode != 0
