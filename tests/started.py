"""Clusters of processes of their own, as `dask scheduler` and `dask worker` start them, on this machine only."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Started:
    """A scheduler, its file, and workers, each with its nanny in a process group of its own."""

    file: Path
    scheduler: "subprocess.Popen[str]"
    workers: "Sequence[subprocess.Popen[str]]"


@contextmanager
def started(folder: Path, *options: str, workers: int = 2, of_scheduler: Sequence[str] = ()) -> Iterator[Started]:
    """A cluster that runs until the block ends; the options are those of both programs, or of the scheduler alone."""
    file = folder / "scheduler.json"
    at = ("--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard", *options)
    processes = [_process(folder, "scheduler", *at, "--port", "0", *of_scheduler)]
    try:
        of_worker = ("--nthreads", "1", "--memory-limit", "2GB")
        processes.extend(_process(folder, "worker", *at, *of_worker) for _ in range(workers))
        assert processes[0].stderr is not None
        said = iter(processes[0].stderr)
        for _ in range(workers):  # they wait for the file of the scheduler, and join
            assert any("Register worker addr" in line for line in said)
        yield Started(file, processes[0], processes[1:])
    finally:
        for process in processes:
            for number in (signal.SIGCONT, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            if process.stderr is not None:
                process.stderr.close()
            process.wait()


def _process(folder: Path, program: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{program}", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE if program == "scheduler" else subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
