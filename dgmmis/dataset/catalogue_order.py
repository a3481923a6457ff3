"""Back to the order of the catalogue: what was found row by row along a store, in bounded memory."""

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Reference
from dgmmis.dataset.spill import Spill, record_type, taken

PART_BYTES = 16 * 2**20
"""Rows handed out at a time, where they had to be put in order."""

MOST_PARTS = 256
"""Files that rows of a chunk may go to: each is opened for them, and closed."""

Arrays = dict[str, np.ndarray]


def row_by_row(
    references: Sequence[Reference], function: Callable[[Chunk], Iterable[Arrays]], folder: Path
) -> Generator[Arrays, None, None]:
    """What a function says of the rows, in the order of the catalogue.

    As long as rows come in that order they are handed on as they are. Those that do not go to files, each for some
    consecutive numbers, which are read one after the other in the end; those of many rows are shared out once more.

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
                        dtype = record_type({"number": np.empty(0, np.int64), **arrays})
                        n_rows = sum(reference.n_rows for reference in references)
                        parts = _Parts(Path(place), dtype, range(done, n_rows))
                    parts.add(_records(numbers[start:stop], arrays, dtype))
                start = stop
        if parts is not None:
            del arrays
            for records in parts.in_order():
                names = [name for name in dtype.names or () if name != "number"]
                yield {name: np.ascontiguousarray(records[name]) for name in names}


def part_rows(row_bytes: int) -> int:
    """Rows of a part: a power of two, so that parts and chunks of rows as wide end together."""
    return 1 << max(0, (PART_BYTES // row_bytes).bit_length() - 1)


class _Parts:
    """Rows of consecutive numbers in a file each, MOST_PARTS files at the most.

    Args:
        folder: of the files.
        dtype: of a row and its number.
        numbers: that the rows have.
    """

    def __init__(self, folder: Path, dtype: np.dtype, numbers: range) -> None:
        self._folder, self._dtype, self._numbers = folder, dtype, numbers
        self._bound = self._step = part_rows(dtype.itemsize)
        while self._step * MOST_PARTS < len(numbers):
            self._step *= 2
        self._spills: dict[int, Spill] = {}

    def add(self, records: np.ndarray) -> None:
        """Send rows, in the order of their numbers, to their files."""
        which = (records["number"] - self._numbers.start) // self._step
        edges = [0, *np.flatnonzero(np.diff(which)) + 1, len(which)]
        for start, stop in pairwise(edges):
            first = self._numbers.start + int(which[start]) * self._step
            if first not in self._spills:
                self._spills[first] = Spill(self._folder / f"{first}-{self._step}", self._dtype)
            self._spills[first].append(records[start:stop])

    def in_order(self) -> Iterator[np.ndarray]:
        """The rows, as many at a time as may be in memory; a file of more is shared out again."""
        for first, spill in sorted(self._spills.items()):
            if spill.n_rows > self._bound:
                parts = _Parts(self._folder, self._dtype, range(first, first + self._step))
                for start in range(0, spill.n_rows, self._bound):
                    parts.add(_sorted(spill.read(start, start + self._bound)))
                spill.remove()
                yield from parts.in_order()
            else:
                records = spill.read(0, spill.n_rows)
                spill.remove()
                yield _sorted(records)


def _records(numbers: np.ndarray, arrays: Arrays, dtype: np.dtype) -> np.ndarray:
    """The rows as records, in the order of their numbers."""
    order = np.argsort(numbers)
    records = np.empty(len(numbers), dtype)
    for name, array in {"number": numbers, **arrays}.items():
        records[name] = array[order]
    return records


def _sorted(records: np.ndarray) -> np.ndarray:
    return taken(records, np.argsort(records["number"]))
