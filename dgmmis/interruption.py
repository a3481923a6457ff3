"""Interruption: a warning from a scheduler, or a person's Ctrl-C, ends the work in hand in order."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

WARNINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))
"""SLURM sends the first at the end of the time or before it preempts, and the second where a job asks for a warning."""

PATIENCE = 30.0
"""Seconds for what has to be put in order."""


class Interrupted(BaseException):
    """A signal asked to stop. No Exception: what mends errors must not mend it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"interrupted by {name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first of the warnings into Interrupted, wherever the main thread is.

    Those that follow within PATIENCE are ignored, as schedulers send several; later ones stop again, should the first
    have been lost, as in a destructor. A second Ctrl-C ends the process at once. Does nothing in other threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopped = [-math.inf]

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if time.monotonic() - stopped[0] < PATIENCE:
            return
        stopped[0] = time.monotonic()
        raise Interrupted(signal.Signals(number).name)

    # what the caller ignores stays ignored: nohup, and shells that start a job in the background
    before = {warning: signal.getsignal(warning) for warning in WARNINGS}
    try:
        for warning, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(warning, stop)
        yield
    finally:
        for warning, handler in before.items():
            signal.signal(warning, signal.SIG_DFL if handler is None else handler)


@contextmanager
def unwarned_children() -> Iterator[None]:
    """Threads and processes that are started here, and those that they start, never see a warning: it goes to a whole
    group of processes, and whoever started them ends them in order. One that comes meanwhile waits."""
    resource_tracker.ensure_running()  # it lifts the block of whoever starts it
    came: list[int] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        # the block is of this thread, and others that are there already take the signal for it
        handlers = {warning: signal.getsignal(warning) for warning in WARNINGS}
        handlers = {warning: handler for warning, handler in handlers.items() if callable(handler)}

    def hold(number: int, frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:  # who insists does not wait
            handlers[number](number, frame)
        came.append(number)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    try:
        for warning in handlers:
            signal.signal(warning, hold)
        yield
    finally:
        for warning, handler in handlers.items():
            signal.signal(warning, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(came[0])
