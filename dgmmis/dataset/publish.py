"""How a store comes into being without ever being half there: folders under another name, and one rename."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from dgmmis.dataset.lock import Lock, held
from dgmmis.errors import DgmmisError, LockedError, StoreError

__all__ = ["held", "replace_file", "sync", "sync_tree", "temporary_sibling"]


def temporary_sibling(path: Path) -> tuple[Path, Lock]:
    """A new folder beside a path, on the same file system, and its lock; removes those that killed writers left there.

    Raises:
        StoreError: nothing can be written there.
    """
    prefix = f".{path.name}.writing-"
    try:
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
    except DgmmisError:
        raise
    except OSError as error:
        raise StoreError(
            f"'{path}' cannot be written",
            got=error,
            do="make room, check the folder and its permissions, and run again",
        ) from error


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
    """Replace a file in one step: readers see the old content or the new one, and so does the disk after a crash."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
