"""Checksums of chunks: which chunk a file holds, not only whether its bytes are as they were written.

Every chunk ends with its CRC-32C, which reading it checks. That finds bytes that changed, but not a file of another
store, or another place, that fits. So an array's document lists the checksums of its chunks, and the manifest of the
store holds one of each list. To compare takes four bytes of a file, where a digest of it would take all of them.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import zarr

ATTRIBUTE = "dgmmis checksums"

RANGES = "dgmmis row id ranges"
"""Under this name the document of the row ids lists the lowest and the highest of each chunk, and the manifest has the
checksum of that list."""

EMPTY = 2**64 - 1
"""In the index of a shard: a chunk that was never written."""


def of_list(checksums: Sequence[int] | np.ndarray) -> int:
    """One checksum of many."""
    return zlib.crc32(np.asarray(checksums, dtype="<u4").tobytes())


def of_ranges(ranges: np.ndarray) -> int:
    """The checksum of a list of the lowest and the highest row id of each chunk (c, 2)."""
    return zlib.crc32(np.asarray(ranges, dtype="<i8").tobytes())


def in_file(file: Path, n_chunks: int, places: Sequence[int] | None = None) -> list[int]:
    """The checksums in a file of one chunk, or in a shard with room for several: of those that it has, or at places.

    Raises:
        OSError, ValueError: it cannot be read, or is too short.
    """
    with file.open("rb", buffering=0) as content:
        if n_chunks == 1:
            ends = [content.seek(0, os.SEEK_END)]
        else:  # a shard ends with where each of its chunks begins and how long it is, and a checksum of that
            content.seek(-index_bytes(n_chunks), os.SEEK_END)
            index = index_in(content.read(), n_chunks)
            index = index[index[:, 0] != EMPTY] if places is None else index[list(places)]
            ends = [int(start) + int(size) for start, size in index]
        checksums = []
        for end in ends:
            content.seek(end - 4)
            checksums.append(int.from_bytes(content.read(4), "little"))
    return checksums


def index_bytes(n_chunks: int) -> int:
    """With which a shard of so many chunks ends."""
    return 16 * n_chunks + 4


def index_in(content: bytes, n_chunks: int) -> np.ndarray:
    """Where each chunk of a shard begins, and how long it is (c, 2), from the end of the shard.

    Raises:
        ValueError: it is too short.
    """
    return np.frombuffer(content[-index_bytes(n_chunks) : -4], "<u8").reshape(n_chunks, 2)


def at_end(content: bytes) -> int:
    """The checksum with which a chunk ends.

    Raises:
        ValueError: it is too short.
    """
    if len(content) < 4:
        raise ValueError(f"{len(content)} bytes are no chunk")
    return int.from_bytes(content[-4:], "little")


def of_chunk(file: Path, n_chunks: int, place: int) -> int:
    """That of one of the chunks in a file; raises as `in_file` does."""
    (found,) = in_file(file, n_chunks, [place])
    return found


def chunks_a_file(array: "zarr.Array[Any]") -> int:
    """How many chunks a file of an array has room for."""
    return int((array.shards or array.chunks)[0] // array.chunks[0])
