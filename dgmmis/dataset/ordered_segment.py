"""OrderedSegmentWriter: rows written along a k-d tree, however many there are: an external sort.

Rows are spilled to a file as they come. When all are there, those that fit in memory are ordered and written; more are
shared out among buckets by the top of a k-d tree that a sample of them makes, and each bucket is treated in the same
way, one after the other. A bucket that came out too large is shared out again.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.chunk import CHUNK_ROWS, LEAF_ROWS
from dgmmis.dataset.cuts import Cuts
from dgmmis.dataset.disk import writing
from dgmmis.dataset.manifest import Segment
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.segment import SegmentWriter
from dgmmis.dataset.spill import Spill, record_type, taken
from dgmmis.ordering import kd_order, spread

BUCKET_BYTES = 32 * 2**20
"""Rows ordered in memory at a time; a few times as much is needed to do so."""

BLOCK_BYTES = 8 * 2**20
"""Rows sent to their buckets at a time."""

ORDER_ROWS = 128
"""Rows of the smallest parts of the tree."""

MOST_CUTS = 8
"""One below the other, in a reading of the rows: 256 buckets."""

SAMPLE_ROWS = 1 << 16

FILL = 0.7
"""Of a bucket as it is planned, so that few come out too large."""

UNORDERED = "unordered"
"""The folder of the spilled rows, in that of the segment: who clears up after a killed writer removes both."""


class OrderedSegmentWriter:
    """Writes rows, already checked, to a new folder, along a k-d tree, each with its number: an array `catalogue_row`.

    The order is a function of the rows and their order, whatever batches they come in. Beside the segment, room is
    needed for twice its rows, uncompressed, until it is finished. `on_ordered` is called with the rows that are in
    their place, and the rows in all.
    """

    def __init__(self, folder: Path, schema: Schema, on_ordered: Callable[[int, int], object] | None = None) -> None:
        self._on_ordered = on_ordered
        self.folder = folder
        self.n_rows = 0
        self._segment = SegmentWriter(folder, schema)
        self._spill: Spill | None = None
        self._scale: np.ndarray | None = None
        self._rest: np.ndarray | None = None
        self._files = 0

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Add rows: arrays of equal length by name, the same names each time.

        Raises:
            StoreError: they cannot be written.
        """
        n = len(arrays["points"])
        rows = {"catalogue_row": np.arange(self.n_rows, self.n_rows + n), **arrays}
        if self._spill is None:
            self._spill = self._new_spill(record_type(rows))
        records = np.empty(n, self._spill.dtype)
        for name, array in rows.items():
            records[name] = array
        self._spill.append(records)
        self.n_rows += n

    def finish(self) -> Segment:
        """Order the rows, write them, and say what the segment holds.

        Raises:
            StoreError: they cannot be written.
        """
        if self._spill is not None:
            self._write(self._spill)
            if self._rest is not None:
                self._add(self._rest)
            self._spill = self._rest = None
            shutil.rmtree(self.folder / UNORDERED)
        return self._segment.finish(ordering={"method": "k-d tree", "leaf_rows": ORDER_ROWS})

    def _write(self, spill: Spill) -> None:
        """Write the records of a spill in their order; it is removed."""
        bound = max(2 * ORDER_ROWS, BUCKET_BYTES // spill.dtype.itemsize)
        if spill.n_rows > bound:
            for bucket in self._divided(spill):
                self._write(bucket)
            return
        records = spill.read(0, spill.n_rows)
        spill.remove()
        if self._rest is not None:
            records = np.concatenate([self._rest, records])
        if self._scale is None:
            self._scale = spread(_points(records))
        order = kd_order(_points(records), ORDER_ROWS, self._scale)
        # a bucket ends where a chunk does, so that chunks, and the leaves of sums, are nodes of its tree; the rows that
        # are left over go with the next
        whole = CHUNK_ROWS if bound >= 4 * CHUNK_ROWS else LEAF_ROWS
        n = len(order) // whole * whole
        for start in range(0, n, LEAF_ROWS):  # so many stay in the cache
            self._add(taken(records, order[start : min(n, start + LEAF_ROWS)]))
        self._rest = taken(records, order[n:])
        if self._on_ordered is not None:
            self._on_ordered(self._segment.n_rows + len(self._rest), self.n_rows)

    def _add(self, records: np.ndarray) -> None:
        if len(records):
            self._segment.add({name: np.ascontiguousarray(records[name]) for name in records.dtype.names or ()})

    def _divided(self, spill: Spill) -> list[Spill]:
        """The records of a spill in buckets, in the order of the tree; it is removed."""
        sample = spill.sample(SAMPLE_ROWS)
        if self._scale is None:  # one unit for all buckets
            self._scale = spread(_points(sample))
        wanted = spill.n_rows * spill.dtype.itemsize / (FILL * BUCKET_BYTES)
        depth = min(max(1, int(np.ceil(np.log2(wanted)))), MOST_CUTS)
        cuts = Cuts.of(_points(sample), sample["catalogue_row"], depth, self._scale)
        buckets = [self._new_spill(spill.dtype) for _ in range(1 << depth)]
        block = _block_rows(spill.dtype)
        for start in range(0, spill.n_rows, block):
            records = spill.read(start, start + block)
            which = cuts.buckets(_points(records), records["catalogue_row"])
            records = taken(records, np.argsort(which, kind="stable"))
            edges = np.cumsum(np.bincount(which, minlength=len(buckets)))
            for bucket, part in zip(buckets, np.split(records, edges[:-1]), strict=True):
                bucket.append(part)
        spill.remove()
        return buckets

    def _new_spill(self, dtype: "np.dtype[Any]") -> Spill:
        folder = self.folder / UNORDERED
        with writing(f"'{folder}'"):
            folder.mkdir(exist_ok=True)
        self._files += 1
        return Spill(folder / f"{self._files:06d}", dtype)


def _points(records: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(records["points"], dtype=float)


def _block_rows(dtype: "np.dtype[Any]") -> int:
    return max(1024, BLOCK_BYTES // dtype.itemsize)
