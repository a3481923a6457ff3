"""A folder held for writing by one process at a time, and a note that says by which.

The note is a file `.lock` in the folder. The kernel's lock on it is the truth where there is one: it goes with the
process, however that ends. Some network file systems have none. There the file itself is the lock, and stale once the
process that it names is dead.
"""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dgmmis.dataset.disk import refused
from dgmmis.errors import DgmmisError, LockedError, StoreError

LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What the kernel says of a file system without locks."""

CLEARING = ".lock-clearing"
"""Who removes the note of a dead process holds this for that moment, where the kernel has no locks."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process: its host, number and start, which together no other has, and since when it holds the lock."""

    host: str
    pid: int
    started: str
    since: str

    @classmethod
    def this_process(cls) -> "Holder":
        pid = os.getpid()
        return cls(socket.gethostname(), pid, start_of(pid) or "", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")

    @classmethod
    def read(cls, note: Path) -> "Holder | None":
        """The holder that a note names; None where there is none, or half of one."""
        try:
            found = json.loads(note.read_text())
            return cls(str(found["host"]), int(found["pid"]), str(found["started"]), str(found["since"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone: of another host that cannot be known from here."""
        return self.is_here and bool(self.started) and start_of(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on '{self.host}' since {self.since}"


def start_of(pid: int) -> str | None:
    """When a process of this host started, in words that another one of the same number has not; None if it is dead."""
    try:
        # behind the name, which may hold anything: the state first, and the start, in ticks since the boot, 20th
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {fields[18]}"
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:  # no Linux: whether there is one of that number is all that can be known
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


class Lock:
    """A folder held for writing, until the lock is released or this process ends.

    Raises:
        LockedError: another writer holds it; the message says who, and since when.
        StoreError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StoreError(f"'{folder}' cannot be locked", got=error, do="check that it is a folder") from error
        try:
            self._note = _taken(folder / LOCK)
        except BaseException:
            os.close(self._folder)
            raise

    def release(self) -> None:
        """Let go of the folder, wherever it was moved in the meantime."""
        with suppress(OSError):  # the folder was removed, or the disk has become read-only
            if os.path.samestat(os.fstat(self._note), os.stat(LOCK, dir_fd=self._folder)):
                os.unlink(LOCK, dir_fd=self._folder)
        os.close(self._note)
        os.close(self._folder)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is there, for writing.

    Raises:
        LockedError: another writer holds it; the message says who, and since when.
        StoreError: nothing can be written there.
    """
    lock = Lock(folder)
    try:
        yield
    finally:
        lock.release()


def _taken(note: Path) -> int:
    """Make the note and lock it; its descriptor. One that is there is removed first, if nobody holds it."""
    while True:
        try:
            descriptor, is_new = _opened(note)
            try:
                if _is_held(descriptor, note, is_new=is_new):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        except DgmmisError:
            raise
        except FileNotFoundError as error:  # released this moment
            if not note.parent.exists():
                raise StoreError(f"'{note.parent}' was removed by another process", do="run again") from error
        except OSError as error:
            raise refused(f"'{note}' cannot be written", error) from error


def _opened(note: Path) -> tuple[int, bool]:
    """The note's descriptor, and whether it was made."""
    try:
        return os.open(note, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        pass
    try:
        return os.open(note, os.O_RDWR), False  # network file systems lock for writing what is open for it
    except PermissionError:  # left by another user
        return os.open(note, os.O_RDONLY), False


def _is_held(descriptor: int, note: Path, *, is_new: bool) -> bool:
    """Whether this process now holds the note, and has written it; else it may try again, with a new one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _locked(note) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        if not is_new:
            _clear(note)
            return False
    else:
        if not is_at(descriptor, note):  # removed by its holder before it was locked; another may be in its place
            return False
        if not is_new:  # of a process that was killed
            note.unlink()
            return False
    try:
        os.write(descriptor, json.dumps(asdict(Holder.this_process())).encode())
    except BaseException:
        note.unlink(missing_ok=True)
        raise
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether a file that is open is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _clear(note: Path) -> None:
    """Remove the note of a process that is dead, where the kernel has no locks.

    Raises:
        LockedError: it is not known to be dead.
    """
    holder = Holder.read(note)
    if holder is None or not holder.is_dead:
        raise _locked(note, "or, if it is dead, remove the file '{}'")
    clearing = note.with_name(CLEARING)
    try:  # or two would remove it: the second one, what the first one has put in its place
        os.close(os.open(clearing, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError as error:
        raise _locked(note, f"or, if none is running, remove '{clearing}' and '{{}}'") from error
    try:
        if Holder.read(note) == holder:
            note.unlink()
    finally:
        clearing.unlink()


def _locked(note: Path, remedy: str = "") -> LockedError:
    holder = Holder.read(note)
    who = "another process" if holder is None or holder.is_dead else holder  # a note about to be replaced
    do = f"run again when it is done{', ' if remedy else ''}{remedy.format(note)}"
    return LockedError(f"'{note.parent}' is being written by {who}", do=do)
