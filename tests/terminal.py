"""A terminal: programs run on a real pseudo-terminal, and what a person would see there, and when."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen:
    """What stands on a terminal with so many columns: enough of one for lines that are painted over.

    It breaks lines that are too long, as terminals do; an unknown control sequence is an error.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._cells: list[list[str]] = [[]]
        self._row = self._column = 0
        self.cursor_is_shown = True
        self.colours = 0

    def feed(self, text: str) -> None:
        """Draw what was written."""
        for argument, control, carriage, new, printed in PART.findall(text):
            if control == "A":
                self._row = max(0, self._row - int(argument or 1))
            elif control == "J":
                del self._cells[self._row + 1 :]
                del self._cells[self._row][self._column :]
            elif control == "K":
                self._cells[self._row].clear()
            elif control == "m":
                self.colours += 1
            elif control in "lh" and argument == "?25":
                self.cursor_is_shown = control == "h"
            elif control:
                raise AssertionError(f"unknown: ESC [ {argument} {control}")
            elif carriage:
                self._column = 0
            elif new:
                self._down()
            for character in printed:
                if self._column == self._columns:
                    self._column = 0
                    self._down()
                row = self._cells[self._row]
                row.extend(" " * (self._column + 1 - len(row)))
                row[self._column] = character
                self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._cells):
            self._cells.append([])

    @property
    def lines(self) -> list[str]:
        """From the top."""
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column."""
        return self._row, self._column


@dataclass
class Session:
    """What a program did on a terminal.

    Args:
        screen: at the end.
        written: all that it wrote.
        pictures: what was on the screen after each piece that it wrote, and when, in seconds since it began.
        returncode: of the program.
    """

    screen: Screen
    written: str = ""
    pictures: list[tuple[float, list[str]]] = field(default_factory=list)
    returncode: int = 0

    @property
    def longest_silence(self) -> float:
        """Seconds from the first picture in which nothing on the screen changed."""
        times = [at for at, _ in self.pictures]
        return max((b - a for a, b in pairwise(times)), default=0.0)


def on_terminal(
    command: Sequence[str],
    *,
    cwd: Path,
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
    on_picture: Callable[[list[str], "subprocess.Popen[bytes]"], object] | None = None,
    timeout: float = 300.0,
) -> Session:
    """Run a program with all its streams on a terminal, to its end.

    Args:
        command: the program.
        cwd: where it runs.
        columns: of the terminal.
        environment: beside that of this process; an empty value takes a variable away.
        on_picture: called with each picture, and the process.
        timeout: seconds.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {**os.environ, "TERM": "xterm", **(environment or {})}
    variables = {name: value for name, value in variables.items() if value}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=variables, start_new_session=True
    )
    os.close(slave)
    session, began = Session(Screen(columns)), time.monotonic()
    try:
        while True:
            assert time.monotonic() - began < timeout, session.written[-3000:]
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                content = os.read(master, 1 << 16)
            except OSError:  # whoever had the other end has closed it
                break
            if not content:
                break
            text = content.decode(errors="replace")
            session.written += text
            session.screen.feed(text)
            picture = session.screen.lines
            if not session.pictures or session.pictures[-1][1] != picture:
                session.pictures.append((time.monotonic() - began, picture))
                if on_picture is not None:
                    on_picture(picture, process)
    finally:
        os.close(master)
        if process.poll() is None:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    session.returncode = process.returncode
    return session
