"""BoundSource: a catalogue on the disk, and which of its columns are what."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.binding import Binding
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.sources import Source
from dgmmis.errors import DataError

HASH_BYTES = 64 * 2**20
"""Sources up to this size are identified by their SHA-256; larger ones by size and time."""


class BoundSource:
    """A source at a path, with the columns that were asked for, from row `skip` on: 0, or as it is set.

    Raises:
        JobError, DataError, ShapeError: columns that are not there, or not of the right kind.
    """

    def __init__(self, path: Path, table: Source, columns: Columns) -> None:
        self.path, self.columns, self.skip = path, columns, 0
        self.binding = Binding(columns, table.fields)
        self._table = table

    @property
    def n_rows(self) -> int | None:
        """How many rows; None where that is known only at the end."""
        n = self.binding.n_rows
        return None if n is None else max(0, n - self.skip)

    def batches(self, rows: int) -> Iterator[dict[str, np.ndarray]]:
        """What `SurveyWriter.write` takes, about so many rows at a time."""
        done = 0
        for batch in self._table.batches(self.binding.names, rows, self._whole):
            arrays = self.binding.rows(batch, done)
            first, n = max(0, self.skip - done), len(arrays["points"])
            done += n
            if first < n:
                yield {name: values[first:] for name, values in arrays.items()} if first else arrays
        if done < self.skip:
            do = "put new rows into a new file, or restore this one"
            raise DataError(f"'{self.path}' has lost rows", expected=f"{self.skip:,} or more", got=f"{done:,}", do=do)

    def row_ids(self, rows: int) -> Iterator[np.ndarray]:
        """The row ids alone, about so many at a time."""
        done = 0
        for batch in self._table.batches(self.binding.row_id_names, rows, self._whole):
            ids = self.binding.row_ids(batch, done)
            first = max(0, self.skip - done)
            done += len(ids)
            if first < len(ids):
                yield ids[first:]

    def provenance(self) -> dict[str, Any]:
        """Where the rows come from, as JSON values."""
        return {**origin(self.path), "columns": self.columns.to_attributes()}

    @property
    def _whole(self) -> tuple[str, ...]:
        return () if self.columns.row_id is None else (self.columns.row_id,)


def outline(path: Path) -> dict[str, Any]:
    """Name, path, size and time of a file, or of a folder of files: what can be known without reading it."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    modified = datetime.fromtimestamp(max((file.stat().st_mtime for file in files), default=0.0), UTC)
    return {"source": path.name, "path": str(path), "bytes": size, "modified": modified.isoformat("T", "seconds")}


def origin(path: Path) -> dict[str, Any]:
    """What identifies a file, or a folder of files: with its SHA-256, where that is soon known."""
    found = outline(path)
    if path.is_file() and found["bytes"] <= HASH_BYTES:
        with path.open("rb") as file:
            found["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
