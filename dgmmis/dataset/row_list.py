"""Row list: a file that names rows by their row ids."""

from array import array
from pathlib import Path

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.bound_source import BoundSource
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.sources import open_source
from dgmmis.errors import DataError, JobError, StoreError

MOST_DIGITS = 25
"""Characters of a line that may be a number."""


def read_row_list(path: str | Path, column: str | None = None, *, usual: str | None = None) -> np.ndarray:
    """The row ids in a file (n,) int64: text of one number a line, or a column of a table in any format of `ingest`.

    Args:
        path: of the file.
        column: of a table; None: `usual` where the table has it, or its only column.
        usual: what the column of row ids was called when the survey was made.

    Raises:
        StoreError: the file cannot be read.
        JobError: the column is not there, or must be named.
        DataError: what is no whole number of 64 bits; its line or row is named.
    """
    path = Path(path).absolute()
    if column is None and _is_plain(path):
        return _lines(path)
    table = open_source(path)
    if column is None:
        if usual is not None and usual in table.fields:
            column = usual
        elif len(table.fields) == 1:
            (column,) = table.fields
        else:
            raise JobError(
                f"'{path.name}' has {len(table.fields)} columns",
                expected="row ids alone",
                do="name their column: --column",
            )
    bound = BoundSource(path, table, Columns(features=(column,), row_id=column))
    parts = [*bound.row_ids(CHUNK_ROWS)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _is_plain(path: Path) -> bool:
    """Whether a file is text that begins with a line of one number, or with nothing at all."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(4096)
    except (OSError, ValueError) as error:
        raise StoreError(f"'{path}' cannot be read", got=error, do="check the path") from error
    line = start.lstrip().split(b"\n")[0]
    return not start.strip() or (len(line) <= MOST_DIGITS and _number(line) is not None)


def _lines(path: Path) -> np.ndarray:
    numbers = array("q")
    try:
        with path.open("rb") as file:
            for place, line in enumerate(file, start=1):
                number = _number(line[: MOST_DIGITS + 1])
                if number is not None and -(2**63) <= number < 2**63:
                    numbers.append(number)
                elif line.strip():
                    raise DataError(
                        f"line {place} of '{path.name}' is no row id",
                        expected="a whole number of 64 bits",
                        got=repr(line[:MOST_DIGITS].decode(errors="replace").strip()),
                        do="correct it",
                    )
    except OSError as error:
        raise StoreError(f"'{path}' cannot be read", got=error, do="check the file") from error
    return np.array(numbers, dtype=np.int64)


def _number(line: bytes) -> int | None:
    try:
        return int(line)
    except ValueError:
        return None
