"""Stream: what is needed of a place to write to; stand-ins for stderr have no more than that."""

import io
import os
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


STDERR = 2
"""The file that processes which are started here write to."""

OVER = b"\0over"


def is_stderr(stream: Stream) -> bool:
    """Whether it writes to the process's own stderr: not where somebody catches it."""
    try:
        return stream.fileno() == STDERR
    except (OSError, ValueError, AttributeError):
        return False


class Overheard:
    """Stands in for the file below stderr, and hands over what any process writes to it, line by line: workers, and
    what of this one goes past Python's `sys.stderr`.

    Args:
        hand_over: receives whole lines, each without its end.
    """

    def __init__(self, hand_over: Callable[[list[str]], None]) -> None:
        self._hand_over = hand_over
        self.stream = io.TextIOWrapper(os.fdopen(os.dup(STDERR), "wb"), encoding="utf-8", line_buffering=True)
        self._reading, writing = os.pipe()
        os.dup2(writing, STDERR)
        os.close(writing)
        self._thread = threading.Thread(target=self._read, name="dgmmis-stderr", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hand over what is left, and let stderr be what it was. `stream` stays open."""
        os.write(STDERR, b"\n" + OVER + b"\n")  # the end of the file never comes: whoever lives on holds it open
        self._thread.join()
        os.dup2(self.stream.fileno(), STDERR)
        os.close(self._reading)

    def _read(self) -> None:
        rest = b""
        while OVER not in rest:
            *lines, rest = (rest + os.read(self._reading, 1 << 16)).split(b"\n")
            if OVER in lines:
                lines, rest = lines[: lines.index(OVER)], OVER
            said = [one.decode(errors="replace") for one in lines if one]
            if said:
                self._hand_over(said)
