"""ChunkReference: one chunk of a survey store, loaded where it is needed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.chunk import CHUNK_ROWS, LEAF_ROWS, Chunk, chunk_from_arrays, leaf_pieces
from dgmmis.dataset import checksum
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, Manifest, Segment, file_name
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.schema import Schema
from dgmmis.errors import StoreError, UnreachableError
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise

if TYPE_CHECKING:
    import zarr


OF_WHOLE_NUMBERS = ("row_id", "catalogue_row")


@dataclass(frozen=True, slots=True, eq=False)
class ChunkReference:
    """Where to find consecutive rows of one segment, and their place in the survey; small, and picklable.

    Args:
        path: of the store.
        segment: the segment they belong to.
        start, stop: rows of the segment; start is a multiple of LEAF_ROWS.
        first_row: number of the first row in the store.
        first_leaf: number of the first leaf of the summation tree; a segment's is a multiple of 16.
        schema: of the survey.
    """

    path: str
    segment: Segment
    start: int
    stop: int
    first_row: int
    first_leaf: int
    schema: Schema

    def __str__(self) -> str:
        return f"rows {self.first_row} to {self.first_row + self.n_rows - 1} of '{self.path}'"

    @property
    def n_rows(self) -> int:
        return self.stop - self.start

    @property
    def n_leaves(self) -> int:
        return -(-self.n_rows // LEAF_ROWS)

    @property
    def nbytes(self) -> int:
        """Bytes of the chunk once loaded."""
        shared = self.schema.shared_covariance
        return self.n_rows * self.schema.row_nbytes + (0 if shared is None else shared.nbytes)

    @property
    def key(self) -> str:
        """Names these rows for good: another store at the same path has other keys."""
        return f"{self.path}:{self.segment.name}-{self.segment.identity}:{self.start}-{self.stop}"

    def split(self, n: int) -> "tuple[ChunkReference, ...]":
        """The same rows in up to n references, cut between leaves: for catalogues of fewer chunks than workers."""
        pieces = leaf_pieces(self.n_rows, n)
        return tuple(
            replace(
                self,
                start=self.start + a,
                stop=self.start + b,
                first_row=self.first_row + a,
                first_leaf=self.first_leaf + a // LEAF_ROWS,
            )
            for a, b in pieces
        )

    @property
    def is_ordered(self) -> bool:
        """Whether rows near one another were put together."""
        return self.segment.ordering is not None

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """The numbers in the catalogue of some of the rows, counted from 0 here: read where a message needs them."""
        if not self.is_ordered:
            return self.first_row + rows
        return np.asarray(self.first_row - self.start + self.read("catalogue_row")[rows])

    def load(self) -> Chunk:
        """Read the rows.

        Raises:
            StoreError: a file is missing, truncated or damaged; it is named.
        """
        # whatever the storage, sums are of float64
        arrays = {name: np.asarray(self.read(name), dtype=float) for name in self.schema.arrays}
        return chunk_from_arrays(
            arrays["points"],
            self._noise(arrays.get("noise")),
            weights=arrays.get("weights"),
            projection=arrays.get("projection"),
            first_row=self.first_row,
        )

    def _noise(self, values: np.ndarray | None) -> Noise:
        if values is not None:
            return DiagonalNoise(values) if self.schema.noise == "diagonal" else FullNoise(values)
        covariance = self.schema.shared_covariance
        return NoNoise() if covariance is None else SharedNoise(covariance)

    def read(self, name: str) -> np.ndarray:
        """The rows of one array, as they are stored.

        Raises:
            StoreError: its file is missing, truncated, damaged or another one; it is named.
        """
        try:
            array = open_array(str(self._folder(name)), self.segment.identity)
            file = self.place(name)
            if isinstance(file, BucketPath):
                return self._read_object(name, array, file)
            if not file.is_file():  # zarr would hand out the fill value without a word
                raise StoreError("missing file")
            rows = np.ascontiguousarray(array[self.start : self.stop])
            self._check(name, array, partial(checksum.of_chunk, file))
            return rows
        except UnreachableError:
            raise
        except Exception as error:  # whatever zarr and its codecs make of damaged bytes
            raise self._unreadable(self.place(name), error) from error

    def _read_object(self, name: str, array: "zarr.Array[Any]", file: BucketPath) -> np.ndarray:
        """The same of a bucket: what is checked are the bytes that were decoded, and nothing else is asked for."""
        from dgmmis.dataset.fetched import fetched

        tail, grid = array_tails(self.schema, self.segment)[name], [*(array.shards or array.chunks)]
        kind = np.dtype("int64" if name in OF_WHOLE_NUMBERS else self.schema.storage)
        fits = array.shape == (self.segment.n_rows, *tail) and array.dtype == kind
        if not (fits and is_grid(grid, [*array.chunks], self.segment.n_rows, tail)):
            raise StoreError(f"the document of the array '{name}' is of another one")
        array, kept = fetched(array)
        rows = np.ascontiguousarray(array[self.start : self.stop])
        kept.require(file)
        self._check(name, array, partial(kept.checksum, file))
        return rows

    def place(self, name: str) -> Path:
        """The file with the rows of one array; the array's document if that is damaged."""
        try:
            array = open_array(str(self._folder(name)), self.segment.identity)
        except UnreachableError:
            raise
        except Exception:  # whatever zarr makes of it
            return self._folder(name) / DOCUMENT
        return self._folder(name) / file_name(self.start // (array.shards or array.chunks)[0], array.ndim)

    def _folder(self, name: str) -> Path:
        return array_folder(self.path, self.segment, name)

    def _check(self, name: str, array: "zarr.Array[Any]", found: Callable[[int, int], int]) -> None:
        """That the chunk is the one that was written there. Rows were read before: those of a file that is replaced
        between the two are not taken for it. `found`: of so many chunks in the file, the checksum of one."""
        if self.segment.checksums is None:
            return
        listed = listed_checksums(str(self._folder(name)), self.segment.identity)
        if checksum.of_list(listed) != self.segment.checksums[name]:
            raise StoreError(f"the array '{name}' is not the one that was written there")
        n_chunks, number = checksum.chunks_a_file(array), self.start // array.chunks[0]
        if found(n_chunks, number % n_chunks) != listed[number]:
            raise StoreError("a chunk of another store, or of other rows")

    def _unreadable(self, place: Path, error: Exception) -> StoreError:
        try:
            is_there = self.segment.identity in Manifest.read(place_of(self.path)).identities
        except UnreachableError as unreachable:
            return unreachable
        except StoreError:
            is_there = False
        if not is_there:
            return StoreError(f"the survey '{self.path}' was replaced or removed while it was read", do="run again")
        rows = f"rows {self.first_row} to {self.first_row + self.n_rows - 1}"
        do = f"restore it or ingest the survey again; `dgmmis info --verify {self.path}` finds all that is damaged"
        return StoreError(f"{rows} cannot be read from '{place}'", got=error, do=do)


def array_tails(schema: Schema, segment: Segment) -> dict[str, tuple[int, ...]]:
    own = {"row_id": segment.row_ids, "catalogue_row": segment.ordering is not None}
    return {**schema.arrays, **{name: () for name, is_there in own.items() if is_there}}


def array_folder(path: str | Path, segment: Segment, name: str) -> Path:
    return place_of(path) / SEGMENTS / segment.name / name


@lru_cache(maxsize=256)
def open_array(folder: str, identity: str) -> "zarr.Array[Any]":
    del identity  # part of the cache's key: a store made anew at the same path is another one
    import zarr

    place = place_of(folder)
    if isinstance(place, BucketPath):
        from dgmmis.dataset.fetched import bucket_array

        return bucket_array(place)
    return zarr.open_array(folder, mode="r", zarr_format=3)


@lru_cache(maxsize=256)
def listed_checksums(folder: str, identity: str) -> np.ndarray:
    """Those of an array's chunks, as its document lists them."""
    return np.array(open_array(folder, identity).attrs[checksum.ATTRIBUTE], dtype=np.uint32)


def is_grid(grid: Any, inner: Any, n_rows: int, tail: tuple[int, ...]) -> bool:
    """Whether chunks and shards are of whole rows, not fewer nor more than a writer makes: what is read of an array
    with billions of chunks, or with a chunk of billions of rows, has no bound.
    """
    for shape in (grid, inner):
        if not isinstance(shape, list) or shape[1:] != list(tail) or not isinstance(shape[0], int):
            return False
    most = -(-n_rows // CHUNK_ROWS) * CHUNK_ROWS
    return bool(min(n_rows, CHUNK_ROWS) <= inner[0] <= CHUNK_ROWS and inner[0] <= grid[0] <= most)
