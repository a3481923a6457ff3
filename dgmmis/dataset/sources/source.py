"""Source: a file of columns that can be read some rows at a time, whatever its format."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from dgmmis.errors import DgmmisError

LOAD_BYTES = 512 * 2**20
"""The most that is read at once, where a format allows no less."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or an array whose first axis is the rows.

    Args:
        type: as the source calls it, for messages.
        numeric: whether it holds real numbers.
        tail: shape of the entry of one row; () for a plain column.
        n_rows: how many rows; None where that is known only at the end.
        unit: as the source says; "" where it does not.
    """

    type: str
    numeric: bool
    tail: tuple[int, ...] = ()
    n_rows: int | None = None
    unit: str = ""


@runtime_checkable
class Source(Protocol):
    """A file of columns."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """What it holds, by name."""

    def batches(self, names: Collection[str], rows: int, whole: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        """Consecutive rows of some fields: arrays (n, ...), about `rows` at a time, missing entries as NaN.

        Those named in `whole` are whole numbers and come as integers, unless some are missing.

        Raises:
            DataError: entries that cannot be read as numbers.
        """


def missing_package(package: str, what: str) -> DgmmisError:
    """The error for a format whose package is not installed."""
    return DgmmisError(
        f"{what} files are read with {package}, which is not installed", do="install it: pip install 'dgmmis[formats]'"
    )
