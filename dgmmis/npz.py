"""npz files as data from anywhere: named arrays of plain numbers or words, read whole, never unpickled.

numpy makes room for what a header declares before it looks whether the file has it, so headers are read first.
"""

import io
import re
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.errors import DataError, DgmmisError

MOST_BYTES = 2 * 2**30
"""Of the arrays of a file that is read whole, as they are in memory: a compressed file may be a thousandth of it."""


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz file, by name: all, or those of some names that are there.

    Raises:
        FileNotFoundError: there is none.
        DataError: no npz file, a damaged one, arrays of Python objects, names that are paths, or more than MOST_BYTES.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = [
                member
                for member in archive.infolist()
                if names is None or member.filename.removesuffix(".npy") in names
            ]
            _check_members(path, members)
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except (FileNotFoundError, DgmmisError):
        raise
    except Exception as error:  # whatever zipfile, zlib and numpy make of bytes that mean nothing
        raise _damaged(path, error) from error


def read_header(stream: io.BufferedIOBase, n_bytes: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and type of an npy file of n_bytes; the stream then stands at the numbers.

    Raises:
        ValueError: it is none, its type holds Python objects, or the numbers that it declares are not there.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:  # the header is a literal of Python's, and what is none fails in many ways
        raise ValueError(f"no header of an array ({error})") from error
    if dtype.hasobject:
        raise ValueError(f"an array of Python objects (type {dtype}), which would have to be unpickled")
    if any(size < 0 for size in shape):
        raise ValueError(f"an array of shape {shape}")
    declared, there = dtype.itemsize, n_bytes - stream.tell()
    for size in shape:
        declared *= size
    if declared > there:
        raise ValueError(f"shape {shape} of {dtype} needs {declared} bytes, and there are {there}")
    return shape, fortran, dtype


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.npy", name) or name.startswith("."):
            raise DataError(
                f"'{path}' has a member '{name}' that is no array",
                expected="NAME.npy, without a folder",
                do="write the file with numpy.savez",
            )
    if len(set(names)) < len(names):
        raise DataError(f"'{path}' has two arrays of one name", got=", ".join(names), do="write it with numpy.savez")
    size = sum(member.file_size for member in members)
    if size > MOST_BYTES:
        raise DataError(
            f"'{path}' is too large to be read whole",
            expected=f"at most {MOST_BYTES} bytes uncompressed",
            got=size,
            do="make it coarser, or check where it is from",
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    stream: Any
    with archive.open(member) as stream:
        shape, fortran, dtype = read_header(stream, member.file_size)
        content = bytearray(stream.read())  # its checksum is looked at when the last byte is read
    count = 1
    for size in shape:
        count *= size
    array: np.ndarray = np.frombuffer(content, dtype, count) if count and dtype.itemsize else np.zeros(count, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"'{path}' is no npz file of plain arrays, or damaged",
        got=error,
        do="write it with numpy.savez, or copy it again",
    )
