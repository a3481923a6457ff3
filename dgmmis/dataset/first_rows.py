"""Which rows of a catalogue have a number that was not there before, in bounded memory.

The numbers come in blocks, which are sorted and looked up in those of the survey, chunk by chunk, and in those of the
blocks before, which lie sorted in a file. A block costs a reading of the row ids that lie in its range: 8 bytes a row.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.row_ids import Page, pages
from dgmmis.dataset.spill import Spill

BLOCK_ROWS = 1 << 21
"""Numbers that are sorted in memory at a time: 16 MB, and several times as much to do so."""


def first_rows(batches: Iterable[np.ndarray], data: Dataset | None, folder: Path) -> Spill:
    """A flag for each row, in a file: whether its number is neither in a survey nor in a row before it.

    Args:
        batches: the numbers of the rows, some at a time.
        data: a survey whose rows have numbers; None: there is none yet.
        folder: for the files.

    Raises:
        StoreError: row ids that cannot be read, or no room for the files.
    """
    flags = Spill(folder / "first", np.dtype(bool), "flags of rows")
    earlier = Spill(folder / "numbers", np.dtype(np.int64), "row ids")
    earlier_pages: list[Page] = []
    for block in _blocks(batches):
        order = np.argsort(block, kind="stable")  # of equal ones the first comes first
        ordered = block[order]
        is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        numbers, rows = ordered[is_first], order[is_first]
        known = np.zeros(len(numbers), dtype=bool)
        for page in _all(data, earlier_pages):
            page.mark(known, numbers)
        flag = np.zeros(len(block), dtype=bool)
        flag[rows[~known]] = True
        flags.append(flag)
        new = numbers[~known]
        for start in range(0, len(new), CHUNK_ROWS):
            part = new[start : start + CHUNK_ROWS]
            first = earlier.n_rows
            earlier.append(part)
            read = partial(earlier.read, first, first + len(part))
            earlier_pages.append(Page(int(part[0]), int(part[-1]), read))
    return flags


def _all(data: Dataset | None, earlier: Iterable[Page]) -> Iterator[Page]:
    if data is not None:
        for _, page in pages(data):
            yield page
    yield from earlier


def _blocks(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same numbers, at least BLOCK_ROWS at a time, but for the last."""
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for batch in batches:
        waiting.append(batch)
        n_waiting += len(batch)
        if n_waiting >= BLOCK_ROWS:
            block = np.concatenate(waiting)
            waiting, n_waiting = [], 0
            yield block
    if n_waiting:
        yield np.concatenate(waiting)
