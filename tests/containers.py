"""A docker daemon in a folder, and an image of Debian to build on; neither outlives the block."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.programs import Programs

DOCKER = Programs(("docker", "dockerd", "containerd", "runc", "debootstrap"), "docker.io debootstrap", as_root=True)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Docker:
    """A daemon that runs: `socket` is where."""

    socket: str

    def call(self, *words: str, seconds: float = 300) -> str:
        """What docker says."""
        done = self.tried(*words, seconds=seconds)
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout.strip()

    def tried(self, *words: str, seconds: float = 300) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "DOCKER_HOST": self.socket, "DOCKER_BUILDKIT": "0"}
        command = ["docker", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


@contextmanager
def docker(folder: Path) -> Iterator[Docker]:
    """It runs until the block ends; its containers have no network but that of the machine."""
    here = Docker(f"unix://{folder}/docker.sock")
    files = [f"--{name}={folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", f"--host={here.socket}", "--bridge=none", "--iptables=false", *files],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 60
        while here.tried("info").returncode != 0:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield here
    finally:
        process.terminate()
        process.wait(60)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):  # that of no network stays
            place = line.split()[1]
            if place.startswith(f"{folder}/"):
                subprocess.run(["umount", "--lazy", place], check=True, timeout=60)
        for name in ("data-root", "exec-root"):  # pytest keeps the folders of some runs
            shutil.rmtree(folder / name)


def debian(here: Docker, folder: Path) -> str:
    """The name of an image of Debian with its Python, which trusts whom this machine trusts."""
    root = folder / "root"
    packages = "python3,python3-venv,ca-certificates"
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
    archive = folder / "root.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True, timeout=300)
    here.call("import", str(archive), "debian:test")
    shutil.rmtree(root)
    archive.unlink()
    return "debian:test"
