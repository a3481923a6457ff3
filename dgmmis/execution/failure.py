"""What went wrong with one item: the error says which, and is the same on every executor."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dgmmis.errors import DgmmisError, TaskError


@contextmanager
def working_on(item: Any) -> Iterator[None]:
    """Errors name the item.

    Raises:
        DgmmisError: that was raised, with a note.
        TaskError: for any other.
    """
    try:
        yield
    except DgmmisError as error:
        error.add_note(f"while working on {item}")
        raise
    except Exception as error:
        # the cause does not travel between processes, and its message may be empty
        memory = "give workers more memory, or fit fewer components" if isinstance(error, MemoryError) else None
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise TaskError(
            f"could not work on {item}",
            got=f"{type(error).__name__}: {error} ({last.name}, {last.filename}:{last.lineno})",
            do=memory,
        ) from error
