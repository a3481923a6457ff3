"""Stream: what is needed of a place to write to; stand-ins for stderr have no more than that."""

from typing import Protocol, runtime_checkable


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
