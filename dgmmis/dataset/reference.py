"""ChunkReference: one chunk of a survey store, loaded where it is needed."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmmis.chunk import LEAF_ROWS, Chunk, chunk_from_arrays, leaf_pieces
from dgmmis.dataset.manifest import SEGMENTS, Segment
from dgmmis.dataset.schema import Schema
from dgmmis.errors import StoreError
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise

if TYPE_CHECKING:
    import zarr


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
        return np.asarray(self.first_row - self.start + self._read("catalogue_row")[rows])

    def load(self) -> Chunk:
        """Read the rows.

        Raises:
            StoreError: a file is missing, truncated or damaged; it is named.
        """
        # whatever the storage, sums are of float64
        arrays = {name: np.asarray(self._read(name), dtype=float) for name in self.schema.arrays}
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

    def _read(self, name: str) -> np.ndarray:
        folder = array_folder(self.path, self.segment, name)
        try:
            array = open_array(str(folder), self.segment.identity)
            file = folder / file_name(self.start // (array.shards or array.chunks)[0], array.ndim)
            if not file.is_file():  # zarr would hand out the fill value without a word
                raise StoreError("missing file", do=f"restore '{file}' or ingest the survey again")
            return np.ascontiguousarray(array[self.start : self.stop])
        except Exception as error:  # whatever zarr and its codecs make of damaged files
            raise StoreError(
                f"rows {self.first_row} to {self.first_row + self.n_rows - 1} cannot be read from '{folder}'",
                got=error,
                do="restore the store, or ingest the survey again",
            ) from error


def array_tails(schema: Schema, segment: Segment) -> dict[str, tuple[int, ...]]:
    own = {"row_id": segment.row_ids, "catalogue_row": segment.ordering is not None}
    return {**schema.arrays, **{name: () for name, is_there in own.items() if is_there}}


def array_folder(path: str | Path, segment: Segment, name: str) -> Path:
    return Path(path) / SEGMENTS / segment.name / name


def file_name(shard: int, ndim: int) -> str:
    return ".".join(["c", str(shard), *["0"] * (ndim - 1)])


@lru_cache(maxsize=256)
def open_array(folder: str, identity: str) -> "zarr.Array[Any]":
    del identity  # part of the cache's key: a store made anew at the same path is another one
    import zarr

    return zarr.open_array(folder, mode="r", zarr_format=3)
