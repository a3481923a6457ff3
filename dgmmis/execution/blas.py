"""One BLAS thread while tasks run: parallelism is the executor's, and products keep the order of their sums."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_users = 0
_limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last of those who asked for it has left; then it is as it was."""
    global _users, _limit
    with _lock:
        if _users == 0:
            _limit = _pools().limit(limits=1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limit is not None:
                _limit.restore_original_limits()
                _limit = None


@cache
def _pools() -> ThreadpoolController:
    """Looked for once: that takes as long as a pass over some thousand rows, and numpy's and scipy's are there."""
    import scipy.linalg  # noqa: F401  # with a BLAS of its own

    return ThreadpoolController()
