"""Row ids: which rows of a store have some numbers, without reading those chunks that cannot have any of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset import checksum
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.reference import ChunkReference, array_folder, open_array

ANY = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Row ids that lie together: the lowest and the highest, or bounds of them, and how to read them."""

    lowest: int
    highest: int
    read: Callable[[], np.ndarray]

    def within(self, numbers: np.ndarray) -> slice:
        """Those of sorted numbers that the page may have."""
        return slice(int(np.searchsorted(numbers, self.lowest)), int(np.searchsorted(numbers, self.highest, "right")))

    def mark(self, found: np.ndarray, numbers: np.ndarray) -> None:
        """Set those flags `found` (n,) whose sorted, distinct numbers (n,) the page has; it is read only if it may."""
        part = self.within(numbers)
        if part.start < part.stop:
            ids = np.sort(self.read())  # looked up in their order, they find the numbers in the cache
            places, is_there = looked_up(ids, numbers[part])
            found[part.start + places[is_there]] = True


def looked_up(ids: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each id (n,) is, or would be, among sorted, distinct numbers, of which there is one; and whether it is."""
    places = np.minimum(np.searchsorted(numbers, ids), len(numbers) - 1)
    return places, numbers[places] == ids


def pages(data: Dataset) -> Iterator[tuple[ChunkReference, Page]]:
    """The chunks of a store whose rows have ids, in their order."""
    for reference in data.references:
        yield reference, page_of(reference)


def page_of(reference: ChunkReference) -> Page:
    """The row ids of a chunk."""
    number = reference.start // CHUNK_ROWS
    lowest, highest = ANY.min, ANY.max
    ranges = _ranges(reference)
    if ranges is not None and number < len(ranges):
        lowest, highest = ranges[number]
    return Page(int(lowest), int(highest), lambda: reference.read("row_id"))


def _ranges(reference: ChunkReference) -> np.ndarray | None:
    """The lowest and the highest id of each chunk (c, 2); None where an earlier version wrote the segment."""
    segment = reference.segment
    summed = None if segment.checksums is None else segment.checksums.get(checksum.RANGES)
    if summed is None:
        return None
    listed = _listed(str(array_folder(reference.path, segment, "row_id")), segment.identity)
    return listed if checksum.of_ranges(listed) == summed else None


@lru_cache(maxsize=256)
def _listed(folder: str, identity: str) -> np.ndarray:
    try:
        return np.array(open_array(folder, identity).attrs[checksum.RANGES], dtype=np.int64).reshape(-1, 2)
    except (KeyError, TypeError, ValueError, OverflowError):  # damaged: every chunk is read
        return np.empty((0, 2), np.int64)
