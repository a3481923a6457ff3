"""Terminal: a few lines that are painted over, at the bottom of what was said.

The cursor stays where it can be seen and below the last line, so that nothing has to be put back, whatever ends the
process.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress

from rich.cells import cell_len, set_cell_size

from dgmmis.progress.activity import Activity
from dgmmis.progress.stream import Stream
from dgmmis.progress.words import Said, line, of_activity, of_fits

INTERVAL = 0.1
"""Seconds between two pictures."""

BAR = 30
"""Cells of a bar at most."""

FEWEST = 24
"""Columns that a terminal is taken to have at least."""


def is_terminal(stream: Stream) -> bool:
    """Whether lines can be painted over there."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Terminal:
    """Paints what goes on.

    Args:
        stream: a terminal.
        patience: seconds before anything is painted.
    """

    def __init__(self, stream: Stream, patience: float) -> None:
        self._stream, self._patience = stream, patience
        self._painted: list[str] = []
        self._at, self._since = float("-inf"), 0.0
        self._has_colour = not os.environ.get("NO_COLOR")
        encoding = getattr(stream, "encoding", None) or "ascii"
        self._full, self._empty = ("━", "─") if _can_write("━─", encoding) else ("#", "-")

    def show(self, activity: Activity, now: float) -> None:
        """Paint it, if it is time to."""
        if now - activity.began < self._patience or (now - self._at < INTERVAL and activity.since == self._since):
            return
        said = of_activity(activity, now) + (of_fits(activity) if activity.what else [])
        width, height = self._size()
        lines = flowed(said, width)[: height - 1]
        share = None if activity.rows is None or activity.what else activity.rows.share
        self._at, self._since = now, activity.since
        bars = [] if share is None else [self._bar(share, min(BAR, width))]
        self._write(self._erasing() + "".join(f"{one}\n" for one in [*bars, *lines]))
        self._painted = [*([" " * min(BAR, width)] if bars else []), *lines]

    def say(self, text: str) -> None:
        """Something that stays, above what is painted over."""
        self._write(self._erasing() + text + "\n")
        self._painted = []

    def end(self, last: Sequence[Said], sentence: str) -> None:
        """The last pass, and how the fit ended."""
        for text in (line(last), sentence):
            if text:
                self.say(text)

    def clear(self) -> None:
        """Take away what is painted."""
        if self._painted:
            self._write(self._erasing())
            self._painted = []

    def _erasing(self) -> str:
        """What takes away the last picture; a terminal that is narrower by now has broken its lines."""
        width, _ = self._size()
        n = sum(max(1, -(-cell_len(one) // (width + 1))) for one in self._painted)
        return f"\r\x1b[{n}A\x1b[J" if n else ""

    def _bar(self, share: float, width: int) -> str:
        n = int(share * width)
        full, empty = self._full * n, self._empty * (width - n)
        return f"\x1b[36m{full}\x1b[2m{empty}\x1b[0m" if self._has_colour else full + empty

    def _size(self) -> tuple[int, int]:
        """Columns, but for the last, in which a terminal may break the line; and lines."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            size = shutil.get_terminal_size()
        return max(size.columns or 80, FEWEST) - 1, max(size.lines or 24, 2)

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that was closed is no reason to end the work
            self._stream.write(text)
            self._stream.flush()


def flowed(said: Sequence[Said], width: int) -> list[str]:
    """Names and values in lines of so many cells; what is longer than one is cut."""
    lines: list[str] = []
    for one in said:
        # names of files, and of fits, need not be fit for a terminal
        text = "".join(c if c.isprintable() else "?" for c in str(one))
        if lines and cell_len(lines[-1]) + 2 + cell_len(text) <= width:
            lines[-1] += f"  {text}"
        else:
            lines.append(text if cell_len(text) <= width else set_cell_size(text, width))
    return lines


def _can_write(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
