"""Peers that live in an environment of their own: arrays go to their driver in a npz file, and come back in another.

`DGMMIS_PEERS_PYTHON` names the python of that environment (`make_environment.sh` makes one).
"""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

VARIABLE = "DGMMIS_PEERS_PYTHON"
DRIVERS = {"pygmmis": "run_pygmmis.py", "astroML": "run_xdgmm.py"}
"""Package -> the script that drives it."""

SECONDS = 500
"""After which a driver is given up."""


@functools.cache
def python_of(package: str) -> str | None:
    """The python that can import a peer: the one the variable names, else this one, else none."""
    named = os.environ.get(VARIABLE)
    if named:
        found = subprocess.run([named, "-c", f"import {package}"], capture_output=True, check=False, timeout=120)
        return named if found.returncode == 0 else None
    return sys.executable if importlib.util.find_spec(package) else None


def run_peer(package: str, folder: Path, **arrays: object) -> dict[str, np.ndarray]:
    """What a peer makes of some arrays; the test is skipped where there is no such peer.

    Args:
        package: "pygmmis" or "astroML".
        folder: where the files may lie.
        arrays: what the driver asks for; None: left out.
    """
    python = python_of(package)
    if python is None:
        pytest.skip(f"{package} is not installed: set {VARIABLE} to a python that has it (make_environment.sh)")
    given, made = folder / f"to_{package}.npz", folder / f"from_{package}.npz"
    np.savez(given, **{name: np.asarray(value) for name, value in arrays.items() if value is not None})
    script = Path(__file__).with_name(DRIVERS[package])
    # one thread: these are small sums in many processes
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    ran = subprocess.run(
        [python, str(script), str(given), str(made)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    with np.load(made) as answer:
        return dict(answer)
