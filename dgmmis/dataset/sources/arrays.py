"""Arrays by name: numpy's npz and npy files, zarr groups and arrays."""

import io
import zipfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.sources.source import LOAD_BYTES, Field
from dgmmis.errors import DataError

Stream = zipfile.ZipExtFile | io.BufferedReader

ONLY = "X"
"""The name of the array where a file holds one without a name."""


class NumpySource:
    """The arrays of an npz file, or the one of an npy file, called X. Read as streams, compressed or not.

    An array in Fortran order holds no rows together, so it is read whole, up to LOAD_BYTES.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members = {ONLY: ""}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
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
        except (zipfile.BadZipFile, EOFError) as error:
            raise DataError(f"'{name}' in '{self._path.name}' is damaged", got=error) from error
        if len(data) < count:
            raise DataError(f"'{name}' in '{self._path.name}' is cut short", expected=f"{count} bytes", got=len(data))
        return data

    def _open(self, name: str, stack: ExitStack) -> tuple[Stream, tuple[int, ...], bool, np.dtype[Any]]:
        stream: Any
        if self._members[name]:
            archive = stack.enter_context(zipfile.ZipFile(self._path))
            stream = stack.enter_context(archive.open(self._members[name]))
        else:
            stream = stack.enter_context(self._path.open("rb"))
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
        except ValueError as error:
            raise DataError(f"'{name}' in '{self._path.name}' is not an array", got=error) from error
        return stream, shape, fortran, dtype


class ZarrSource:
    """The arrays at the top of a zarr group by name, or a zarr array, called X."""

    def __init__(self, path: Path) -> None:
        import zarr

        try:
            node = zarr.open(path, mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"'{path}' is not a zarr group or array", got=error) from error
        self._arrays: dict[str, Any] = {ONLY: node} if isinstance(node, zarr.Array) else dict(node.arrays())
        self._arrays = {name: array for name, array in self._arrays.items() if array.shape}
        self.fields = {
            name: Field(str(array.dtype), array.dtype.kind in "iuf", tuple(array.shape[1:]), array.shape[0])
            for name, array in self._arrays.items()
        }
        if not self.fields:
            raise DataError(f"'{path}' has no arrays", do="give a group that holds arrays of equal length")

    def batches(self, names: Collection[str], rows: int, whole: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        del whole  # the types are the store's
        n_rows = max(self._arrays[name].shape[0] for name in names)
        for start in range(0, n_rows, rows):
            yield {name: np.asarray(self._arrays[name][start : start + rows]) for name in names}
