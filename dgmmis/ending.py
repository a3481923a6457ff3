"""Ending: how a command ended, in the numbers that operators ask for, and the exit code of what ended it."""

import select
from dataclasses import asdict, dataclass
from typing import Any

from dgmmis.errors import DgmmisError, counted, size_named
from dgmmis.interruption import Interrupted

FAILED, USAGE, NOT_CONVERGED, BAD_DATA, INPUT_OUTPUT, RUN_AGAIN = 1, 2, 3, 65, 74, 75
"""Exit codes, beside those that errors have (`errors`)."""

UNREAD = 128 + 13
"""As a shell says it of the tools that SIGPIPE ends: whoever read the output has gone, `head` perhaps."""


def is_unread() -> bool:
    """Whether nobody reads the output any more."""
    outputs = select.poll()
    for output in (1, 2):
        outputs.register(output, 0)
    return bool(outputs.poll(0))


def exit_code_of(error: BaseException) -> int:
    """What a command that ends with an error tells its caller."""
    match error:
        case DgmmisError():
            return error.exit_code
        case Interrupted() | KeyboardInterrupt():
            return RUN_AGAIN
        case BrokenPipeError() if is_unread():
            return UNREAD
        case UnicodeDecodeError():
            return BAD_DATA
        case OSError():
            return INPUT_OUTPUT
    return FAILED


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended.

    Args:
        status: a word or a sentence.
        exit_code: of the process.
        passes: over the data, those that an earlier sitting had done left out.
        seconds: that the command took.
        rows_per_second: rows times passes over the seconds that these took; None: there was no pass.
        workers_lost, tasks_again: what was survived, as far as it is known.
        peak_bytes: largest memory of this process.
        peak_bytes_of_a_child: of the largest process that it started and that has ended; 0: there was none.
    """

    status: str
    exit_code: int
    passes: int
    seconds: float
    rows_per_second: float | None
    workers_lost: int
    tasks_again: int
    peak_bytes: int
    peak_bytes_of_a_child: int

    def __str__(self) -> str:
        parts = [self.status, f"exit {self.exit_code}", counted(self.passes, "pass", "passes"), f"{self.seconds:.1f} s"]
        if self.rows_per_second is not None:
            parts.append(f"{self.rows_per_second:,.0f} rows/s")
        if self.workers_lost:
            lost, again = counted(self.workers_lost, "lost worker"), counted(self.tasks_again, "task")
            parts.append(f"survived {lost} ({again} done again)")
        child = f" (a worker {size_named(self.peak_bytes_of_a_child)})" if self.peak_bytes_of_a_child else ""
        return "; ".join([*parts, f"peak memory {size_named(self.peak_bytes)}{child}"])

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
