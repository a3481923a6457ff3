"""Journal: what the workers answered to what a fit asked, in order, in one file that only grows.

The driver is a pure function of the seed and of these answers. So they are the checkpoint: a fit that is begun again
and given its answers from here takes the same steps to the same bits, without reading the data, and goes on where they
end.
Any whole part of a journal from its beginning on is a valid one, so that what tore when the power went is left out.
"""

import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dgmmis.dataset.disk import refused
from dgmmis.dataset.encoding import Classes, decoded, encoded
from dgmmis.dataset.publish import sync
from dgmmis.errors import DivergedError

FRAME = struct.Struct("<4sQI")
"""Mark, length and CRC-32 of what follows."""

MARK = b"DGJ1"


class Journal:
    """A journal opened for writing; first it gives the answers that it holds.

    Args:
        path: of the file, made if there is none.
        classes: dataclasses that answers may consist of.
        interval: seconds that answers may wait before they are brought to the disk; 0: none do.

    Raises:
        StoreError: the file cannot be read or written.
    """

    def __init__(self, path: Path, classes: Classes, interval: float = 0.0) -> None:
        self.path, self._classes, self._interval = path, classes, interval
        self._pending: list[bytes] = []
        self.n_flushes = 0
        self.n_answers = 0
        """Given so far, from the file or by the workers."""
        try:
            self._file = io.FileIO(path, "r+" if path.exists() else "x+")
        except OSError as error:
            raise refused(f"the journal '{path}' cannot be opened", error) from error
        self._end = 0  # of what is whole
        self._last: int | None = None  # where the last answer begins
        self._replays = os.fstat(self._file.fileno()).st_size > 0
        self._flushed = time.monotonic()

    @property
    def replays(self) -> bool:
        """Whether the next answer may be one that is there."""
        return self._replays

    def answer(self, question: str, ask: Callable[[], Any]) -> Any:
        """The answer to a question: the next of the journal, or else what `ask` gives, which is noted.

        Raises:
            DivergedError: the journal's next answer is one to another question.
            StoreError: the answers cannot be written.
        """
        noted = self._next() if self._replays else None
        if noted is not None:
            if noted["question"] != question:
                raise DivergedError(
                    f"the journal '{self.path}' answers other questions than this fit asks",
                    do="go on from the last model that was kept",
                )
            self.n_answers += 1
            return noted["answer"]
        value = ask()
        self._pending.append(_frame(encoded({"question": question, "answer": value}, self._classes)))
        self.n_answers += 1
        if time.monotonic() - self._flushed >= self._interval:
            self.flush()
        return value

    def doubt(self) -> None:
        """Forget the last answer: what follows from it cannot be right, and it is to be asked for again."""
        if self._pending:
            self._pending.pop()
        elif self._last is not None and self._end == os.fstat(self._file.fileno()).st_size:  # no other one follows
            self._end, self._last, self._replays = self._last, None, False
            self._file.truncate(self._end)
        else:
            return
        self.n_answers -= 1

    def clear(self) -> None:
        """Forget all answers: nothing will ask for them again."""
        self._pending, self._end, self._last, self._replays, self.n_answers = [], 0, None, False, 0
        try:
            self._file.truncate(0)
        except OSError as error:
            raise refused(f"the journal '{self.path}' cannot be written", error) from error

    def flush(self) -> None:
        """Bring every answer to the disk. One that was interrupted is done again from where the file was whole."""
        if self._pending and not self._replays:
            try:
                self._file.seek(self._end)
                self._file.truncate()
                content = b"".join(self._pending)
                written = 0
                while written < len(content):
                    written += self._file.write(content[written:]) or 0
                os.fsync(self._file.fileno())
                if self._end == 0:
                    sync(self.path.parent)
            except OSError as error:
                raise refused(f"the journal '{self.path}' cannot be written", error) from error
            end, last = self._end + len(content), self._end + len(content) - len(self._pending[-1])
            # no call between these: a signal's handler finds all of them done, or none
            self._last = last
            self._end = end
            self._pending = []
            self.n_flushes += 1
        self._flushed = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> Mapping[str, Any] | None:
        """The next whole frame; None, for good, where there is none."""
        try:
            self._file.seek(self._end)
            head = self._file.read(FRAME.size)
            if len(head) == FRAME.size:
                mark, length, crc = FRAME.unpack(head)
                left = os.fstat(self._file.fileno()).st_size - self._end - FRAME.size
                content = self._file.read(length) if mark == MARK and length <= left else b""
                if len(content) == length and zlib.crc32(content) == crc and mark == MARK:
                    frame: Mapping[str, Any] = decoded(content, self._classes)
                    if set(frame) == {"question", "answer"}:
                        self._last, self._end = self._end, self._end + FRAME.size + length
                        return frame
        except OSError as error:
            raise refused(f"the journal '{self.path}' cannot be read", error) from error
        except (ValueError, TypeError):
            pass  # whole, but of another version
        self._replays = False
        return None


def _frame(content: bytes) -> bytes:
    return FRAME.pack(MARK, len(content), zlib.crc32(content)) + content
