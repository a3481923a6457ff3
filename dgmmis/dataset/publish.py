"""How a store comes into being without ever being half there: locks, folders under another name, and one rename."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from dgmmis.errors import LockedError, StoreError


def lock(folder: Path) -> int | None:
    """Hold a folder for writing until the descriptor is closed or the process dies; None where locks do not exist.

    Raises:
        LockedError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LockedError(f"'{folder}' is being written by another process", do="run again when it is done") from error
    except OSError:  # some network file systems have no locks on folders
        os.close(descriptor)
        return None
    return descriptor


def temporary_sibling(path: Path) -> tuple[Path, int | None]:
    """A locked new folder beside a path, on the same file system; removes those that killed writers left there."""
    prefix = f".{path.name}.writing-"
    for stale in [entry for entry in path.parent.iterdir() if entry.name.startswith(prefix)]:
        try:
            descriptor = lock(stale)
        except OSError:  # alive, or gone in the meantime
            continue
        if descriptor is not None:
            shutil.rmtree(stale, ignore_errors=True)
            os.close(descriptor)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    folder.chmod(0o777 & ~_umask())  # mkdtemp's folders are private; a store is as readable as its neighbours
    return folder, lock(folder)


def require_room(path: Path, n_bytes: int) -> None:
    """Refuse, before hours of work, to write what the disk has no room for.

    Args:
        path: of what is to be written.
        n_bytes: that it has in memory; on the disk it may have a quarter.

    Raises:
        StoreError: there is less than that.
    """
    try:
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
    except (OSError, ValueError) as error:
        raise StoreError(f"'{path}' cannot be written", got=error, do="give another path") from error
    if n_bytes > 4 * free:
        raise StoreError(
            f"there is no room for '{path}'",
            expected=f"up to {n_bytes / 1e9:,.0f} GB",
            got=f"{free / 1e9:,.0f} GB free",
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
