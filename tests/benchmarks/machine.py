"""The machine and the versions with which something was measured."""

import importlib.metadata
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

PACKAGES = ("numpy", "numba", "scipy", "dask", "distributed", "zarr", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and with what.

    Args:
        cpu: its model.
        cores: that this process may use.
        memory: bytes.
        versions: of Python and of packages.
        commit: of dgmmis; with "+" where files have been changed since.
    """

    cpu: str
    cores: int
    memory: int
    versions: dict[str, str]
    commit: str

    @classmethod
    def here(cls) -> "Machine":
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        return cls(
            _cpu(),
            len(os.sched_getaffinity(0)),
            psutil.virtual_memory().total,
            {"python": platform.python_version(), **versions},
            _commit(),
        )

    @property
    def slug(self) -> str:
        """For names of files."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.cpu} {self.cores} cores".lower()).strip("-")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    def git(*words: str) -> str:
        ran = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, check=False
        )
        return ran.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../../dgmmis")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
