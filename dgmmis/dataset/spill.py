"""Spill: rows of a fixed number of bytes in a temporary file, appended and read a part at a time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dgmmis.dataset.disk import writing
from dgmmis.errors import StoreError


def record_type(arrays: Mapping[str, np.ndarray]) -> np.dtype:
    """The record of a row of some arrays of equal length, by name."""
    return np.dtype([(name, array.dtype, array.shape[1:]) for name, array in arrays.items()])


def taken(records: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """records[rows], as bytes: several times as fast as numpy takes records field by field."""
    table = records.view(np.uint8).reshape(len(records), records.dtype.itemsize)
    return table.take(rows, axis=0).view(records.dtype)[:, 0]


class Spill:
    """Records in a file.

    Args:
        path: of the file, which must not be there; it comes with the first record.
        dtype: of a record.
        what: they are, for messages.

    Raises:
        StoreError: from any method: the file cannot be written or read.
    """

    def __init__(self, path: Path, dtype: np.dtype, what: str = "rows to be ordered") -> None:
        self.path, self.dtype, self.n_rows = path, dtype, 0
        self._what = what

    def append(self, records: np.ndarray) -> None:
        """Add records (n,) at the end."""
        if len(records) == 0:
            return
        content = np.ascontiguousarray(records).view(np.uint8).data
        # opened for as long as it takes: hundreds may be there, and none is left open when something goes wrong
        with writing(f"{self._what}, to '{self.path}',"), self.path.open("ab") as file:
            file.write(content)
        self.n_rows += len(records)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The records from start to before stop."""
        n = max(0, min(stop, self.n_rows) - start)
        if n == 0:
            return np.empty(0, self.dtype)
        try:
            records = np.fromfile(self.path, self.dtype, n, offset=start * self.dtype.itemsize)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(records) < n:
            raise self._unreadable(f"{len(records)} records of {n}")
        return records

    def sample(self, n: int) -> np.ndarray:
        """About n records, one from each of as many equal parts, at a place that is random but the same every time: in
        a catalogue with a period, evenly spaced rows may all be alike."""
        edges = np.linspace(0, self.n_rows, min(n, self.n_rows) + 1)
        places = edges[:-1] + np.diff(edges) * np.random.default_rng(self.n_rows).random(len(edges) - 1)
        size = self.dtype.itemsize
        content = bytearray()
        try:
            with self.path.open("rb", buffering=0) as file:
                for place in np.unique(places.astype(np.int64)):
                    file.seek(int(place) * size)
                    content += file.read(size)
        except OSError as error:
            raise self._unreadable(error) from error
        return np.frombuffer(bytes(content), self.dtype)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    def _unreadable(self, got: object) -> StoreError:
        return StoreError(f"{self._what} cannot be read from '{self.path}'", got=got, do="check the disk and run again")
