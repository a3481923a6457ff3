"""Back to the order of the catalogue: what was found row by row along a store, in bounded memory."""

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Reference
from dgmmis.dataset.spill import Spill, record_type, taken

PART_BYTES = 16 * 2**20
"""Rows handed out at a time, where they had to be put in order."""

Arrays = dict[str, np.ndarray]


def row_by_row(
    references: Iterable[Reference], function: Callable[[Chunk], Iterable[Arrays]], folder: Path
) -> Generator[Arrays, None, None]:
    """What a function says of the rows, in the order of the catalogue.

    As long as rows come in that order they are handed on as they are. Those that do not go to files, each for some
    consecutive numbers, which are read one after the other in the end.

    Args:
        references: all chunks of a catalogue, in the order of the store.
        function: a chunk -> arrays with an entry for each of its rows, the same names each time; of some rows after the
            other, where memory is not to hold those of a chunk.
        folder: where room is for all that the function says, until the last is read.

    Yields:
        The arrays, of some rows at a time.

    Raises:
        StoreError: rows that cannot be read, or written to the folder.
    """
    done = 0
    with tempfile.TemporaryDirectory(prefix=".rows-", dir=folder) as place:
        parts: _Parts | None = None
        for reference in references:
            numbers = reference.numbers(np.arange(reference.n_rows))
            in_order = parts is None and np.array_equal(numbers, np.arange(done, done + len(numbers)))
            start = 0
            for arrays in function(reference.load()):
                stop = start + len(next(iter(arrays.values())))
                if in_order:
                    done += stop - start
                    yield arrays
                else:
                    if parts is None:
                        parts = _Parts(Path(place), done, arrays)
                    parts.add(numbers[start:stop], arrays)
                start = stop
        if parts is not None:
            yield from parts.in_order()


def part_rows(row_bytes: int) -> int:
    """Rows of a part: a power of two, so that parts and chunks of rows as wide end together."""
    return 1 << max(0, (PART_BYTES // row_bytes).bit_length() - 1)


class _Parts:
    """Rows of consecutive numbers in a file each."""

    def __init__(self, folder: Path, first: int, arrays: Arrays) -> None:
        self._folder, self._first = folder, first
        self._dtype = record_type({"number": np.empty(0, np.int64), **arrays})
        self._rows = part_rows(self._dtype.itemsize)
        self._spills: dict[int, Spill] = {}

    def add(self, numbers: np.ndarray, arrays: Arrays) -> None:
        order = np.argsort(numbers)
        records = np.empty(len(numbers), self._dtype)
        for name, array in {"number": numbers, **arrays}.items():
            records[name] = array[order]
        which = (records["number"] - self._first) // self._rows
        edges = [0, *np.flatnonzero(np.diff(which)) + 1, len(which)]
        for start, stop in pairwise(edges):
            part = int(which[start])
            if part not in self._spills:
                self._spills[part] = Spill(self._folder / f"{part:06d}", self._dtype)
            self._spills[part].append(records[start:stop])

    def in_order(self) -> Iterator[Arrays]:
        for _, spill in sorted(self._spills.items()):
            records = spill.read(0, spill.n_rows)
            spill.remove()
            records = taken(records, np.argsort(records["number"]))
            yield {name: np.ascontiguousarray(records[name]) for name in records.dtype.names or () if name != "number"}
