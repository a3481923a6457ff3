"""The peers: where each is installed, or why not, and which works it can do."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.benchmarks.works import Work

VARIABLE = "DGMMIS_BENCH_PEERS"
"""Names the folder with the environments that make_peers.sh has made."""

FOLDER = ".venv/bench-peers"
"""It is here unless the variable says otherwise."""

TRUNCATED = "W4"
"""The work of `truncated`."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another program that does some of the works.

    Args:
        name: of it.
        package: that its driver imports.
        environment: in make_peers.sh; None: where dgmmis itself is installed.
        driver: its script; None: there was nothing to try it on.
        works: that it can do.
        remark: what to know of its figures.
        patience: how many times the usual limit it gets, where starting alone takes most of that.
    """

    name: str
    package: str
    environment: str | None
    driver: str | None
    works: tuple[str, ...]
    remark: str = ""
    patience: float = 1.0

    def python(self) -> str | None:
        """The python that can import it, or None."""
        return _python_of(self.package, self.environment)

    def absence(self) -> str:
        """Why it cannot be run."""
        said = peers_folder() / f"{self.environment}.reason"
        if said.exists():
            return f"not installed: {said.read_text(encoding='utf-8').strip()}"
        return "not installed: make bench-peers"

    def command(self, arrays: Path) -> list[str] | None:
        """That starts its driver; None: it is not installed."""
        python = None if self.driver is None else self.python()
        if python is None:
            return None
        return [python, str(Path(__file__).parent / "drivers" / str(self.driver)), str(arrays)]


PEERS = (
    Peer("scikit-learn", "sklearn", None, "scikit_learn.py", ("W1", "W2", "W5")),
    Peer("gmmx", "gmmx", "gmmx", "gmmx_em.py", ("W1", "W2", "W5"), "JAX, float32 only"),
    Peer("pomegranate", "pomegranate", "pomegranate", "pomegranate_em.py", ("W1", "W2"), "torch"),
    Peer("Spark", "pyspark", "spark", "spark_em.py", ("W2",), "local[2], a start of its own", patience=2.0),
    Peer("pyGMMis", "pygmmis", "old", "pygmmis_em.py", ("W2", "W3", "W3b", TRUNCATED, "W5c")),
    Peer("astroML", "astroML", "old", "astroml_xd.py", ("W3", "W3b"), "XDGMM"),
    Peer("extreme-deconvolution", "extreme_deconvolution", "xd", None, ("W3", "W3b"), "the C code"),
    Peer("scalable_xd", "scalable_xd", "scalable_xd", None, ("W3", "W3b")),
)


def peers_of(work: Work) -> list[Peer]:
    return [peer for peer in PEERS if work.name in peer.works]


def peers_folder() -> Path:
    return Path(os.environ.get(VARIABLE, FOLDER)).absolute()


def own_environment() -> dict[str, str]:
    """Of a peer's process: without what points to this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@cache
def _python_of(package: str, environment: str | None) -> str | None:
    if environment is None:
        return sys.executable if importlib.util.find_spec(package) else None
    python = peers_folder() / environment / "bin" / "python"
    if not python.exists():
        return None
    found = subprocess.run(
        [python, "-c", f"import importlib.util; assert importlib.util.find_spec('{package}')"],
        capture_output=True,
        check=False,
        timeout=60,
        env=own_environment(),
    )
    return str(python) if found.returncode == 0 else None
