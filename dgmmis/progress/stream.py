"""Stream: what is needed of a place to write to; stand-ins for stderr have no more than that."""

import threading
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stream(Protocol):
    """A file of text."""

    def write(self, text: str, /) -> int:
        """Write it."""

    def flush(self) -> None:
        """See to it that it is written."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""

    def fileno(self) -> int:
        """Of the file below; OSError: there is none."""


class WholeLines:
    """Stands in for a stream, and hands over what is written to it, line by line.

    Args:
        stream: the one that it stands in for.
        hand_over: receives whole lines, each without its end.
    """

    def __init__(self, stream: Stream, hand_over: Callable[[list[str]], None]) -> None:
        self.stream, self._hand_over = stream, hand_over
        self._rest = ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:  # loggers of libraries write from threads of their own
            *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._hand_over(lines)
        return len(text)

    def end(self) -> None:
        """Hand over what is left of a line."""
        if self._rest:
            self.write("\n")

    def flush(self) -> None:
        self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
