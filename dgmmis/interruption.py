"""Interruption: a warning from a scheduler, or a person's Ctrl-C, ends the work in hand in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WARNINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))
"""SLURM sends the first at the end of the time or before it preempts, and the second where a job asks for a warning."""


class Interrupted(BaseException):
    """A signal asked to stop. No Exception: what mends errors must not mend it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"interrupted by {name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first of the warnings into Interrupted, wherever the main thread is, and ignore those that follow; but a
    second Ctrl-C ends the process at once. Does nothing in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for warning in WARNINGS:
            signal.signal(warning, signal.SIG_DFL if warning == signal.SIGINT else signal.SIG_IGN)
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
