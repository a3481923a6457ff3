"""Fits that are interrupted, and what they leave, to be compared to the bit."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dgmmis.callback import TIMES, Callback, Step
from dgmmis.dataset.checkpoint import Run, read_run
from dgmmis.execution.serial import Serial
from dgmmis.interruption import Interrupted
from dgmmis.job import Job
from dgmmis.runs import run_job
from dgmmis.simulate import simulate

PROGRAM = (sys.executable, "-m", "dgmmis")


def job_at(folder: Path, preset: str, n: int, *fit: str, kind: str = "threads") -> Path:
    """The job file of a simulated survey that keeps every pass."""
    simulate(folder / "survey.zarr", preset=preset, n=n, seed=3)
    path = folder / "survey.toml"
    text = path.read_text()
    text = re.sub(r'kind = ".*"', f'kind = "{kind}"', text)
    text = text.replace("[fit]\n", "\n".join(["[fit]", *fit, ""]))
    path.write_text(text.replace("[output]\n", "[output]\ncheckpoint_seconds = 0\n"))
    return path


def bits(run: Run) -> tuple[Any, ...]:
    """All that a run says, but for how long it took."""
    timed = ("seconds", "compile_seconds", "costs", "sittings", "run_id")
    document = {name: value for name, value in run.document.items() if name not in timed}
    document["history"] = [{k: v for k, v in record.items() if k not in TIMES} for record in document["history"]]
    mixture = run.model.mixture
    arrays = (mixture.weights, mixture.means, mixture.covariances, run.by_class)
    return (*(array.tobytes() for array in arrays), run.model.background_fraction, json.dumps(document, sort_keys=True))


def fitted(job: Job, out: Path, **options: Any) -> Run:
    """The run that a job leaves in a folder."""
    run_job(job, out, **options)
    return read_run(out)


class Counts(Serial):
    """Counts the passes over the data."""

    def __init__(self) -> None:
        self.count = 0

    def map_reduce(self, function: Any, shared: Any, groups: Sequence[Sequence[Any]]) -> Any:
        self.count += 1
        return super().map_reduce(function, shared, groups)


def counted(module: str, monkeypatch: pytest.MonkeyPatch) -> list[Counts]:
    """The executors that a module connects to from now on, one for each sitting."""
    executors: list[Counts] = []

    def connect(*_: Any, **__: Any) -> Counts:
        executors.append(Counts())
        return executors[-1]

    monkeypatch.setattr(f"{module}.connect", connect)
    return executors


class Interrupts(Callback):
    """Ends a fit after some of its passes, as a signal would."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_step(self, step: Step) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted("SIGTERM")


def begun(path: Path, out: Path, *options: str) -> "subprocess.Popen[str]":
    """A fit by the program, in a process group of its own, that has made some passes."""
    names = {file.name for file in (out / "checkpoints").glob("*.npz")}
    process = subprocess.Popen(
        [*PROGRAM, "fit", str(path), "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while {file.name for file in (out / "checkpoints").glob("*.npz")} <= names:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    return process
