"""SegmentWriter: rows gathered into whole shards and written to one folder of a store."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset import checksum
from dgmmis.dataset.disk import writing
from dgmmis.dataset.manifest import DOCUMENT, Segment, file_name, group_document
from dgmmis.dataset.schema import Schema

if TYPE_CHECKING:
    import zarr

SHARD_BYTES = 16 * 2**20
"""A shard is the rows held in memory before they are written: up to 8 chunks, as many as fit in this, at least one."""


class SegmentWriter:
    """Writes rows, already checked, to a new folder."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self.folder = folder
        self.n_rows = 0
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._buffer: dict[str, np.ndarray] = {}
        self._filled = 0
        self._missing = np.zeros(schema.n_measured, dtype=int)
        self._minimum = np.full(schema.n_measured, np.nan)
        self._maximum = np.full(schema.n_measured, np.nan)
        self._id_ranges: list[list[int]] = []
        chunks = max(SHARD_BYTES // (schema.row_nbytes * CHUNK_ROWS), 1)
        self._shard_rows = CHUNK_ROWS * min(1 << (chunks.bit_length() - 1), 8)

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Add rows: arrays of equal length by name, the same names each time.

        Raises:
            StoreError: they cannot be written.
        """
        if not self._buffer:  # memory is taken page by page as rows arrive, so a small survey stays small
            self._buffer = {
                name: np.empty((self._shard_rows, *array.shape[1:]), array.dtype) for name, array in arrays.items()
            }
        points = arrays["points"]
        columns = np.ascontiguousarray(points.T)  # along columns of a table numpy takes ten times as long
        self._missing += np.sum(np.isnan(columns), axis=1)
        self._minimum = np.fmin(self._minimum, np.fmin.reduce(columns, axis=1))
        self._maximum = np.fmax(self._maximum, np.fmax.reduce(columns, axis=1))
        done = 0
        while done < len(points):
            take = min(len(points) - done, self._shard_rows - self._filled)
            for name, array in arrays.items():
                self._buffer[name][self._filled : self._filled + take] = array[done : done + take]
            self._filled, self.n_rows, done = self._filled + take, self.n_rows + take, done + take
            if self._filled == self._shard_rows:
                self._flush()

    def finish(self, ordering: dict[str, Any] | None = None) -> Segment:
        """Write what is left, and say what the segment holds; `ordering` as in Segment.

        Raises:
            StoreError: it cannot be written.
        """
        self._flush()
        with writing(f"'{self.folder}'"):
            (self.folder / DOCUMENT).write_text(group_document({}))
            checksums = {name: self._summed(name, array) for name, array in self._arrays.items()}
            if self._id_ranges:
                self._arrays["row_id"].update_attributes({checksum.RANGES: self._id_ranges})
                checksums[checksum.RANGES] = checksum.of_ranges(np.array(self._id_ranges))
        return Segment(
            name=self.folder.name,
            n_rows=self.n_rows,
            identity=uuid.uuid4().hex[:12],
            row_ids="row_id" in self._buffer,
            missing=tuple(self._missing.tolist()),
            minimum=tuple(None if np.isnan(x) else x for x in self._minimum.tolist()),
            maximum=tuple(None if np.isnan(x) else x for x in self._maximum.tolist()),
            ordering=ordering,
            checksums=checksums,
        )

    def _summed(self, name: str, array: "zarr.Array[Any]") -> int:
        """List the checksums of an array's chunks in its document; that of the list."""
        n_chunks = checksum.chunks_a_file(array)
        files = -(-self.n_rows // (n_chunks * array.chunks[0]))
        listed: list[int] = []
        for number in range(files):
            listed += checksum.in_file(self.folder / name / file_name(number, array.ndim), n_chunks)
        array.update_attributes({checksum.ATTRIBUTE: listed})
        return checksum.of_list(listed)

    def _flush(self) -> None:
        start = self.n_rows - self._filled
        for name, rows in self._buffer.items():
            with writing(f"'{self.folder / name}'"):
                if name not in self._arrays:
                    self._arrays[name] = self._create(name, rows)
                array = self._arrays[name]
                if self._filled:
                    array.resize((self.n_rows, *rows.shape[1:]))
                    array[start : self.n_rows] = rows[: self._filled]
            if name == "row_id":
                parts = (rows[a : min(a + CHUNK_ROWS, self._filled)] for a in range(0, self._filled, CHUNK_ROWS))
                self._id_ranges += [[int(part.min()), int(part.max())] for part in parts]
        self._filled = 0

    def _create(self, name: str, rows: np.ndarray) -> "zarr.Array[Any]":
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        tail, n = rows.shape[1:], min(self.n_rows, self._shard_rows)
        chunks, shards = min(n, CHUNK_ROWS), -(-n // CHUNK_ROWS) * CHUNK_ROWS
        return zarr.create_array(
            self.folder / name,
            shape=(0, *tail),
            dtype=rows.dtype,
            chunks=(chunks, *tail),
            shards=(shards, *tail) if shards > CHUNK_ROWS else None,
            # lz4 reads at twice the speed of zarr's default, and the checksum is nearly free
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()],
            fill_value=float("nan") if rows.dtype.kind == "f" else -1,
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},  # a chunk of missing features must not look like a lost file
        )
