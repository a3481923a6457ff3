"""How a store comes into being without ever being half there: folders under another name, and one rename."""

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from dgmmis.dataset.disk import writing
from dgmmis.dataset.lock import Lock, held, is_at
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.errors import LockedError, StoreError, size_named


def temporary_sibling(path: Path) -> tuple[Path, Lock]:
    """A new folder beside a path, on the same file system, and its lock; removes those that killed writers left there.

    Raises:
        StoreError: nothing can be written there.
    """
    prefix = f".{path.name}.writing-"
    with writing(f"'{path}'"):
        for stale in [entry for entry in path.parent.iterdir() if entry.name.startswith(prefix)]:
            with suppress(StoreError), held(stale):  # alive, or gone in the meantime
                shutil.rmtree(stale, ignore_errors=True)
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
            try:
                lock = Lock(folder)
            except LockedError:  # taken for one that was left
                continue
            except StoreError:
                if folder.exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
                continue
            folder.chmod(0o777 & ~_umask())  # mkdtemp's folders are private; a store is as readable as its neighbours
            return folder, lock


def require_room(path: Path, n_bytes: int) -> None:
    """Refuse, before hours of work, to write what the disk has no room for.

    Args:
        path: of what is to be written.
        n_bytes: that it has in memory; on the disk it may have a quarter.

    Raises:
        StoreError: there is less than that.
    """
    try:
        if isinstance(place_of(path), BucketPath):
            folder = Path(tempfile.gettempdir())  # where it is made before it is put there
        else:
            folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
    except (OSError, ValueError) as error:
        raise StoreError(f"'{path}' cannot be written", got=error, do="give another path") from error
    if n_bytes > 4 * free:
        raise StoreError(
            f"there is no room for '{path}'",
            expected=f"up to {size_named(n_bytes)}",
            got=f"{size_named(free)} free",
            do="write fewer rows, or to another disk",
        )


def sync_tree(folder: Path) -> None:
    """Bring every file and folder under one to the disk."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old content or the new one, and so does the disk after a crash.

    What killed processes left of their own replacements is removed. An object in a bucket is put, which is one step.
    """
    if isinstance(path, BucketPath):
        path.put(content)
        return
    descriptor, temporary = _temporary_file(path)
    with os.fdopen(descriptor, "wb") as file:  # and locked until it has its name
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync(path.parent)


def replace_document(path: Path, values: Any) -> None:
    """Replace a file of JSON values, as `replace_file` does."""
    replace_file(path, document_bytes(values))


def document_bytes(values: Any) -> bytes:
    """JSON values as the content of a file that people read, too."""
    return (json.dumps(values, indent=1) + "\n").encode()


def _temporary_file(path: Path) -> tuple[int, Path]:
    prefix = f".{path.name}.writing-"
    for stale in [entry for entry in path.parent.iterdir() if entry.name.startswith(prefix)]:
        with suppress(OSError), stale.open("rb+") as file:  # alive, or gone; or nobody knows, without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale.unlink()
    while True:
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # taken for one that was left
            os.close(descriptor)
            continue
        except OSError:  # without locks nobody removes it
            pass
        if is_at(descriptor, Path(name)):
            return descriptor, Path(name)
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
