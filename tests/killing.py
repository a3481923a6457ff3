"""Writers that are killed at some moment: what they leave behind is whole, and the next writer goes on from there."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dgmmis.dataset.dataset import Dataset


def start(code: str, path: Path, *options: str) -> "subprocess.Popen[str]":
    """A process that runs the code, and is ready to write."""
    command = [sys.executable, "-c", code, str(path), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def killed(
    code: str, append: Callable[[Path, int], Dataset], shares: Iterable[float], *, there: int, whole: int, folder: Path
) -> Iterator[tuple[int, Dataset]]:
    """Kill writers after shares of the time that they take; how many rows their stores had, and the stores once seven
    more were appended.

    Args:
        code: writes `whole` rows to the store that its argument names.
        append: adds rows to a store, or makes it.
        shares: of the time.
        there: rows that are in the store before.
        whole: all that are written, or none are.
        folder: for the stores.
    """
    process = start(code, folder / "timed.zarr")
    began = time.monotonic()
    assert process.communicate()[0] == "done\n"
    duration = time.monotonic() - began
    found = set()
    for attempt, share in enumerate(shares):
        path = folder / f"{attempt}.zarr"
        if there:
            append(path, there)
        process = start(code, path)
        time.sleep(share * duration)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        n_rows = Dataset.open(path).n_rows if path.exists() else 0
        assert n_rows in (there, there + whole)
        found.add(n_rows)
        after = append(path, 7)  # the next writer finds its way, and clears up
        assert after.n_rows == n_rows + 7
        assert {entry.name for entry in (path / "segments").glob("0*")} == {s.name for s in after.segments}
        yield n_rows, after
    assert there in found
    assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] == []
