"""The errors and warnings of dgmmis. Each is also a builtin, and says what, expected, got, and what to do.

`exit_code` is what the command line returns for it (see `dgmmis --help`).
"""

import difflib
import re
from collections.abc import Iterable
from numbers import Integral
from typing import ClassVar

import numpy as np

__all__ = [
    "ClusterError",
    "DataError",
    "DgmmisError",
    "DivergedError",
    "JobError",
    "LockedError",
    "NotConvergedWarning",
    "NotNumbersError",
    "NumericalError",
    "PlanError",
    "RefusedError",
    "RepairWarning",
    "RunawayWarning",
    "ShapeError",
    "StoreError",
    "TaskError",
    "UnreachableError",
    "UnseenError",
    "counted",
    "in_one_line",
    "nearest_name",
    "rows_named",
    "size_named",
    "span_named",
]


ADDRESS = re.compile(r" (?:object )?at 0x[0-9a-fA-F]+")
"""Of an object in memory, which says nothing to anybody."""

MOST_CHARACTERS = 300
"""Of what was expected or got in a message; what a message says may be twice as long."""

MOST_NAMED = 20
"""Names that a message lists."""

MOST_NAME, MOST_COMPARED = 200, 10_000
"""Letters of a name, and names, that are looked through for the nearest."""


class DgmmisError(Exception):
    """Base of every error that dgmmis raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, expected: object = None, got: object = None, do: str | None = None) -> None:
        parts = [in_one_line(what, 2 * MOST_CHARACTERS)]
        if expected is not None or got is not None:
            said = (("expected", expected), ("got", got))
            parts.append(", ".join(f"{word} {in_one_line(value)}" for word, value in said if value is not None))
        message = ": ".join(parts)
        if do:
            do = in_one_line(do, 2 * MOST_CHARACTERS)
            message = f"{message.removesuffix('.')}. {do[0].upper() + do[1:]}{'' if do.endswith('?') else '.'}"
        super().__init__(message)


class ShapeError(DgmmisError, ValueError):
    """An array has the wrong shape or type."""

    exit_code = 65


class DataError(DgmmisError, ValueError):
    """Data hold values that no survey can have: infinite, negative variances, not positive definite."""

    exit_code = 65


class NotNumbersError(DataError, TypeError):
    """Data hold objects that are no numbers."""


class JobError(DgmmisError, ValueError):
    """A job file or an option is wrong."""

    exit_code = 2


class RefusedError(DgmmisError, ValueError):
    """A combination of options that has no meaning, or that is not supported; the message says why."""

    exit_code = 2


class StoreError(DgmmisError, OSError):
    """A store cannot be read or written."""

    exit_code = 74


class LockedError(StoreError):
    """Another process is writing here: nothing is wrong, run again when it is done."""

    exit_code = 75


class UnreachableError(StoreError):
    """An object store did not answer, or refused: what is there may be whole."""


class DivergedError(StoreError):
    """A fit that is gone on with takes other steps than it did: another version, or another kind of processor."""


class PlanError(DgmmisError, MemoryError):
    """What was asked for cannot fit; said before anything runs."""

    exit_code = 2

    # MemoryError allocates from a list of its own, which its subclasses of other bases may not use: it is found first,
    # and what rebuilds an error that came from a worker asks for it by name.
    __new__ = Exception.__new__  # type: ignore[assignment]


class ClusterError(DgmmisError, ConnectionError):
    """The dask cluster cannot be reached, or was lost."""

    exit_code = 69


class TaskError(DgmmisError, RuntimeError):
    """Something else went wrong with some rows, in a user's function perhaps; the message names them."""


class NumericalError(DgmmisError, ArithmeticError):
    """A sum that must be finite is not, or one that must be positive is not."""


class UnseenError(NumericalError):
    """The completeness cannot be told from zero with the points there are."""


def require_whole(value: object, what: str, least: int) -> None:
    """Raise JobError unless a value is a whole number, at least so large."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise JobError(f"{what} must be a whole number, at least {least}", got=value)


class NotConvergedWarning(UserWarning):
    """A fit stopped before it converged; the model is the best it had."""


class RepairWarning(UserWarning):
    """A component collapsed or starved and was repaired; the message names it."""


class RunawayWarning(UserWarning):
    """A component went out of sight, where nothing bounds how many objects it has; the message names it."""


def counted(n: int, what: str, many: str | None = None) -> str:
    """So many of something, for people: of one, of several (`many`; left out: with an s)."""
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def span_named(seconds: float) -> str:
    """A time, for people."""
    n = round(seconds)
    if n < 100:
        return f"{n} s"
    if n < 3600:
        return f"{n // 60} min {n % 60:02d} s"
    if n < 2 * 86400:
        return f"{n // 3600} h {n % 3600 // 60:02d} min"
    return f"{n // 86400} d {n % 86400 // 3600:02d} h"


def size_named(n_bytes: float) -> str:
    """A number of bytes, for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} TB"


def rows_named(rows: Iterable[int] | np.ndarray, limit: int = 5) -> str:
    """Name rows in a message: the first few and how many more."""
    rows = [int(r) for r in rows]
    named = ", ".join(str(r) for r in rows[:limit])
    rest = f" and {len(rows) - limit} more" if len(rows) > limit else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{rest}"


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest known one, or all of them, as far as they can be read."""
    known = list(known)
    if not known:
        return "there is none to choose from"
    # a comparison takes as long as the product of the lengths; a name of thousands of letters is none that was misspelt
    near = difflib.get_close_matches(name, known[:MOST_COMPARED], n=1, cutoff=0.5) if len(name) < MOST_NAME else []
    if near:
        return f"did you mean '{near[0]}'?"
    rest = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"known: {', '.join(known[:MOST_NAMED])}{rest}"


def in_one_line(value: object, most: int = MOST_CHARACTERS) -> str:
    """A value as it can be read in a message: on one line, not endless, and without what a terminal would obey."""
    try:
        text = str(value)
    except Exception as error:  # a user's object, or a number of more digits than Python writes down
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
    text = ADDRESS.sub("", text)
    short = text if len(text) <= most else f"{text[: most * 3 // 4]} ... {text[-(most // 5) :]}"
    shown = (c if c.isprintable() or c.isspace() else ascii(c)[1:-1] for c in short)
    return " ".join("".join(shown).split())
