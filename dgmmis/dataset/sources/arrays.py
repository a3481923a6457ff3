"""Arrays by name: numpy's npz and npy files, zarr groups and arrays."""

import io
import lzma
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.sources.source import LOAD_BYTES, Field
from dgmmis.errors import DataError
from dgmmis.npz import read_header

Stream = io.BufferedIOBase

ONLY = "X"
"""The name of the array where a file holds one without a name."""

CODECS = (
    *("bytes", "transpose", "sharding_indexed", "blosc", "zstd", "lz4", "gzip", "zlib", "bz2", "lzma", "shuffle"),
    *("crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3"),
    *("delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits"),
)
"""How the numbers of a zarr array may be packed. Others run code of the file's (pickle), or are for words."""


class NumpySource:
    """The arrays of an npz file, or the one of an npy file, called X. Read as streams, compressed or not.

    An array in Fortran order holds no rows together, so it is read whole, up to LOAD_BYTES.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members = {ONLY: ""}
        if zipfile.is_zipfile(path):
            try:
                with zipfile.ZipFile(path) as archive:
                    names = [name for name in archive.namelist() if name.endswith(".npy")]
            except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
                raise DataError(f"'{path.name}' is damaged", got=error, do="copy it again") from error
            self._members = {name.removesuffix(".npy"): name for name in names}
        self.fields = {}
        for name in self._members:
            with ExitStack() as stack:
                shape, _, dtype = self._open(name, stack)[1:]
            if shape:
                self.fields[name] = Field(str(dtype), dtype.kind in "iuf", shape[1:], shape[0])
        if not self.fields:
            raise DataError(f"'{path.name}' has no arrays", do="give an npz file made by numpy.savez")

    def batches(self, names: Collection[str], rows: int, whole: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        del whole  # the types are the file's
        with ExitStack() as stack:
            readers = {name: self._read(name, rows, stack) for name in names}
            while True:
                batch = {name: next(reader, None) for name, reader in readers.items()}
                arrays = {name: array for name, array in batch.items() if array is not None}
                if not arrays:
                    return
                yield arrays

    def _read(self, name: str, rows: int, stack: ExitStack) -> Iterator[np.ndarray]:
        stream, shape, fortran, dtype = self._open(name, stack)
        size = int(np.prod(shape[1:])) * dtype.itemsize
        if fortran and len(shape) > 1:
            if size * shape[0] > LOAD_BYTES:
                raise DataError(
                    f"'{name}' in '{self._path.name}' is in Fortran order and has {size * shape[0] / 2**20:.0f} MiB",
                    expected=f"rows together in the file, or at most {LOAD_BYTES // 2**20} MiB",
                    got="columns together",
                    do="save numpy.ascontiguousarray(array)",
                )
            array = np.frombuffer(self._bytes(stream, size * shape[0], name), dtype).reshape(shape, order="F")
            yield from (array[start : start + rows] for start in range(0, shape[0], rows))
            return
        for start in range(0, shape[0], rows):
            n = min(rows, shape[0] - start)
            yield np.frombuffer(self._bytes(stream, n * size, name), dtype).reshape(n, *shape[1:])

    def _bytes(self, stream: Stream, count: int, name: str) -> bytes:
        try:
            data = stream.read(count)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            raise DataError(f"'{name}' in '{self._path.name}' is damaged", got=error, do="copy it again") from error
        if len(data) < count:
            raise DataError(
                f"'{name}' in '{self._path.name}' is cut short",
                expected=f"{count} bytes",
                got=len(data),
                do="copy it again",
            )
        return data

    def _open(self, name: str, stack: ExitStack) -> tuple[Stream, tuple[int, ...], bool, np.dtype[Any]]:
        stream: Any
        try:
            if self._members[name]:
                archive = stack.enter_context(zipfile.ZipFile(self._path))
                stream = stack.enter_context(archive.open(self._members[name]))
                n_bytes = archive.getinfo(self._members[name]).file_size
            else:
                stream = stack.enter_context(self._path.open("rb"))
                n_bytes = self._path.stat().st_size
            return stream, *read_header(stream, n_bytes)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, RuntimeError, EOFError) as error:
            raise DataError(
                f"'{name}' in '{self._path.name}' is not an array, or damaged",
                expected="plain numbers, as numpy.save and numpy.savez write them",
                got=error,
                do="write it again from where it came",
            ) from error


class ZarrSource:
    """The arrays at the top of a zarr group by name, or a zarr array, called X."""

    def __init__(self, path: Path) -> None:
        import zarr

        self._path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what else lies in the folder
                node = zarr.open(path, mode="r")
                self._arrays: dict[str, Any] = {ONLY: node} if isinstance(node, zarr.Array) else dict(node.arrays())
        except Exception as error:  # whatever zarr makes of documents that say nonsense
            raise DataError(
                f"'{path}' is not a zarr group or array, or damaged", got=error, do="copy it again, or convert it"
            ) from error
        self._arrays = {name: array for name, array in self._arrays.items() if array.shape}
        self.fields = {
            name: Field(str(array.dtype), array.dtype.kind in "iuf", tuple(array.shape[1:]), array.shape[0])
            for name, array in self._arrays.items()
        }
        if not self.fields:
            raise DataError(f"'{path}' has no arrays", do="give a group that holds arrays of equal length")

    def batches(self, names: Collection[str], rows: int, whole: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        del whole  # the types are the store's
        for name in names:
            self._check(name)
        n_rows = max(self._arrays[name].shape[0] for name in names)
        for start in range(0, n_rows, rows):
            try:
                yield {name: np.asarray(self._arrays[name][start : start + rows]) for name in names}
            except Exception as error:  # whatever codecs make of bytes that mean nothing
                raise DataError(
                    f"rows {start} to {min(start + rows, n_rows) - 1} of '{self._path}' cannot be read",
                    got=error,
                    do="copy the store again",
                ) from error

    def _check(self, name: str) -> None:
        """Refuse an array that would run code, or that is all but absent: what is missing would read as numbers."""
        array = self._arrays[name]
        for codec in _codecs(array.metadata.to_dict()):
            if codec.removeprefix("numcodecs.") not in CODECS:
                raise DataError(
                    f"array '{name}' of '{self._path}' is packed with '{codec}'",
                    expected=f"one of {', '.join(CODECS)}",
                    got=codec,
                    do="write the array again with a codec for numbers",
                )
        folder = self._path if name == ONLY and not (self._path / ONLY).is_dir() else self._path / name
        pieces = 1
        for size, step in zip(array.shape, array.shards or array.chunks, strict=True):
            pieces *= -(-size // step)
        there = sum(1 for file in folder.rglob("*") if file.is_file() and not _is_document(file.name))
        if there < pieces / 2:
            raise DataError(
                f"array '{name}' of '{self._path}' lacks most of its chunks, which would read as the fill value",
                expected=f"{pieces} files",
                got=there,
                do="copy the store again, or write the array with write_empty_chunks=True",
            )


def _codecs(document: Any) -> Iterator[str]:
    """The names of all codecs of an array's document, of either version, those within others too."""
    if isinstance(document, dict):
        for key in ("codecs", "index_codecs", "filters", "compressor"):
            listed = document.get(key) or ()
            for codec in listed if isinstance(listed, (list, tuple)) else (listed,):
                said = codec.get_config() if hasattr(codec, "get_config") else codec
                yield str(said.get("name") or said.get("id") if isinstance(said, dict) else said)
                yield from _codecs(said.get("configuration") if isinstance(said, dict) else None)


def _is_document(name: str) -> bool:
    return name == "zarr.json" or name.startswith(".z")
