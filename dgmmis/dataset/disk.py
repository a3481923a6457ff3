"""What the disk refuses, said with the path and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from dgmmis.errors import DgmmisError, StoreError

REMEDIES = {
    errno.ENOSPC: "make room and run again",
    errno.EDQUOT: "make room within the quota and run again",
    errno.EFBIG: "make room, or raise the limit on the size of files, and run again",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.EACCES: "check the permissions, or choose another place",
    errno.EPERM: "check the permissions, or choose another place",
    errno.EEXIST: "another process made it meanwhile: give another path, or remove it",
    errno.ENOTEMPTY: "another process made it meanwhile: give another path, or remove it",
    errno.ENOENT: "make the folder, and run again",
}


def refused(what: str, error: OSError) -> StoreError:
    """The error for something that the disk refused to do, in words."""
    return StoreError(what, got=error, do=REMEDIES.get(error.errno or 0, "check the disk and run again"))


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Name what is written, in the errors of the disk.

    Raises:
        StoreError: instead of an OSError.
    """
    try:
        yield
    except DgmmisError:
        raise
    except OSError as error:
        raise refused(f"{what} cannot be written", error) from error
