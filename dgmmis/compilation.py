"""How long this process has compiled kernels: some seconds where numba's cache does not have them yet, else nothing."""

import os
import platform
import threading
import time

from numba.core import event


class _Stopwatch(event.Listener):
    """Sums the time of compilations; those that one sets off within it count with it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.threads = set[int]()
        self._under_way = threading.local()

    def on_start(self, event: event.Event) -> None:
        del event
        depth = getattr(self._under_way, "depth", 0)
        if depth == 0:
            self._under_way.since = time.perf_counter()
            self.threads.add(threading.get_ident())
        self._under_way.depth = depth + 1

    def on_end(self, event: event.Event) -> None:
        del event
        if not getattr(self._under_way, "depth", 0):  # began before this was listening
            return
        self._under_way.depth -= 1
        if self._under_way.depth == 0:
            self.seconds += time.perf_counter() - self._under_way.since
            self.threads.discard(threading.get_ident())


_stopwatch = _Stopwatch()
event.register("numba:compile", _stopwatch)  # type: ignore[no-untyped-call]


def seconds_compiling() -> dict[str, float]:
    """Of this process, by its name among all processes of a cluster."""
    return {f"{platform.node()}-{os.getpid()}": _stopwatch.seconds}


def is_compiling() -> bool:
    """Whether a thread of this process compiles at the moment."""
    return bool(_stopwatch.threads)
