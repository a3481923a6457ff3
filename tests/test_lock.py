"""Locks: one writer at a time, who it is, and that the dead hold nothing; with real processes."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr

from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.lock import CLEARING, LOCK, Holder, held, start_of
from dgmmis.dataset.publish import temporary_sibling
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import LockedError, StoreError

WITHOUT_KERNEL = """
import errno, fcntl
def refuse(descriptor, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
"""
"""A file system without locks: its kernel says so, as here."""

HOLD = """
import sys
from pathlib import Path
from dgmmis.dataset.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["kernel", "note"])
def prelude(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Code that processes run first; here, too, the kernel has locks or none."""
    if request.param == "kernel":
        return ""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    return WITHOUT_KERNEL


@contextmanager
def holding(folder: Path, prelude: str) -> "Iterator[subprocess.Popen[str]]":
    """A process that holds a folder."""
    command = [sys.executable, "-c", prelude + HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_holder_is_named(tmp_path: Path, prelude: str) -> None:
    with holding(tmp_path, prelude) as process:
        holder = Holder.read(tmp_path / LOCK)
        assert holder is not None
        assert (holder.pid, holder.host, holder.is_dead) == (process.pid, socket.gethostname(), False)
        with (
            pytest.raises(LockedError, match=rf"written by {holder}\. Run again when it is done") as caught,
            held(tmp_path),
        ):
            pass
        assert str(process.pid) in str(caught.value)
        assert caught.value.exit_code == 75
        process.communicate("")
    with held(tmp_path):
        assert Holder.read(tmp_path / LOCK).pid == os.getpid()
        with pytest.raises(LockedError, match=f"process {os.getpid()} "), held(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_dead_hold_nothing(tmp_path: Path, prelude: str) -> None:
    with holding(tmp_path, prelude) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Holder.read(tmp_path / LOCK).is_dead
        with held(tmp_path):
            assert Holder.read(tmp_path / LOCK).pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_zombie_is_dead(tmp_path: Path, prelude: str) -> None:
    with holding(tmp_path, prelude) as process:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its number is still taken
        assert Path(f"/proc/{process.pid}").exists()
        with held(tmp_path):
            pass


def note(**other: object) -> str:
    own = {"host": socket.gethostname(), "pid": os.getpid(), "started": start_of(os.getpid()), "since": "today"}
    return json.dumps(own | other)


def test_a_number_used_again_is_another_process(tmp_path: Path, prelude: str) -> None:
    """This process is alive, but did not start when the note says."""
    (tmp_path / LOCK).write_text(note(started="another boot 17"))
    with held(tmp_path):
        pass
    (tmp_path / LOCK).write_text(note())
    if not prelude:  # the kernel knows better than any note
        with held(tmp_path):
            pass
        return
    with pytest.raises(LockedError, match="since today"), held(tmp_path):
        pass


def test_of_another_host_nothing_is_known(tmp_path: Path, prelude: str) -> None:
    (tmp_path / LOCK).write_text(note(host="far", pid=17))
    if not prelude:
        with held(tmp_path):
            pass
        return
    said = rf"process 17 on 'far'.*if it is dead, remove the file '{tmp_path}/\.lock'"
    with pytest.raises(LockedError, match=said), held(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 1}', "\x00"])
def test_half_a_note_is_not_believed(tmp_path: Path, prelude: str, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    if not prelude:
        with held(tmp_path):
            pass
        return
    with pytest.raises(LockedError, match=r"by another process.*remove the file"), held(tmp_path):
        pass


def test_two_do_not_clear_the_same_note(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(note(started="another boot 17"))
    (tmp_path / CLEARING).touch()
    code = f"{WITHOUT_KERNEL}\n{HOLD}"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert f"if none is running, remove '{tmp_path / CLEARING}' and" in done.stderr


def test_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "nothing"):
        with (
            pytest.raises(StoreError, match=rf"{name}' cannot be locked.*Check that it is a folder"),
            held(tmp_path / name),
        ):
            pass


COUNT = """
import sys
from pathlib import Path
from dgmmis.dataset.lock import held
from dgmmis.errors import LockedError
folder, wanted, done = Path(sys.argv[1]), int(sys.argv[2]), 0
print("ready", flush=True)
sys.stdin.readline()
while done < wanted:
    try:
        with held(folder):
            number = int((folder / "number").read_text())
            (folder / "number").write_text(str(number + 1))
    except LockedError:
        continue
    done += 1
"""


def racing(code: str, *arguments: str, processes: int) -> list[int]:
    """Processes that begin at the same moment; how they ended."""
    command = [sys.executable, "-c", code, *arguments]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in running:
        process.communicate()
    return [process.returncode for process in running]


def test_one_at_a_time(tmp_path: Path, prelude: str) -> None:
    """A thousand times by four processes, from a note that a dead one left: a number read and written is never lost."""
    (tmp_path / "number").write_text("0")
    (tmp_path / LOCK).write_text(note(started="another boot 17"))
    assert racing(prelude + COUNT, str(tmp_path), "250", processes=4) == [0] * 4
    assert (tmp_path / "number").read_text() == "1000"
    assert [entry.name for entry in tmp_path.iterdir()] == ["number"]


APPEND = """
import os, sys
import numpy as np
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import LockedError
import zarr
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    while True:
        try:
            with SurveyWriter(sys.argv[1], Schema(("pid", "number")), append=True) as writer:
                writer.write(np.array([[os.getpid(), number]], float))
            break
        except LockedError:
            pass
"""


@pytest.mark.slow
def test_no_row_is_lost_when_writers_race(tmp_path: Path, prelude: str) -> None:
    """Three processes append to a store that none of them finds there, 20 times each."""
    path = tmp_path / "s.zarr"
    assert racing(prelude + APPEND, str(path), "20", processes=3) == [0] * 3
    rows = Dataset.open(path).points.compute()
    assert len(rows) == 60
    for pid in np.unique(rows[:, 0]):
        np.testing.assert_array_equal(rows[rows[:, 0] == pid, 1], np.arange(20))
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.zarr"]
    assert {entry.name for entry in path.iterdir()} == {"segments", "zarr.json"}


SIBLINGS = """
import shutil, sys
from pathlib import Path
from dgmmis.dataset.publish import temporary_sibling
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    folder, lock = temporary_sibling(Path(sys.argv[1]))
    (folder / "here").touch()
    assert (folder / "here").exists()
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
"""


def test_a_folder_just_made_is_not_taken_for_one_that_was_left(tmp_path: Path, prelude: str) -> None:
    left, lock = temporary_sibling(tmp_path / "s.zarr")
    lock.release()
    assert racing(prelude + SIBLINGS, str(tmp_path / "s.zarr"), "200", processes=3) == [0] * 3
    assert not left.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Object at .lock")  # it is not recognised: as it should be
def test_readers_do_not_mind_a_writer(tmp_path: Path, prelude: str) -> None:
    path, schema = tmp_path / "s.zarr", Schema(("a",))
    with SurveyWriter(path, schema) as writer:
        writer.write(np.ones((5, 1)))
    with SurveyWriter(path, schema, append=True) as writer:
        writer.write(np.full((3, 1), 2.0))
        assert (path / LOCK).exists()
        np.testing.assert_array_equal(Dataset.open(path).references[0].load().points, np.ones((5, 1)))
        assert [name for name, _ in zarr.open_group(path, mode="r").members()] == ["segments"]
        with pytest.raises(LockedError), SurveyWriter(path, schema, append=True):
            pass
    assert Dataset.open(path).n_rows == 8
    assert not (path / LOCK).exists()
