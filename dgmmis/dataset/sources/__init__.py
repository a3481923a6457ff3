"""Where rows come from: one reader for each format, all alike."""

from pathlib import Path

from dgmmis.dataset.manifest import read_attributes
from dgmmis.dataset.place import BucketPath
from dgmmis.dataset.sources.arrays import NumpySource, ZarrSource
from dgmmis.dataset.sources.arrow import ParquetSource
from dgmmis.dataset.sources.delimited import DelimitedSource
from dgmmis.dataset.sources.fits import FitsSource
from dgmmis.dataset.sources.source import Field, Source
from dgmmis.errors import DataError, DgmmisError, RefusedError, StoreError

__all__ = ["Field", "Source", "open_source"]

COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
READABLE = "CSV (also compressed), parquet, FITS binary table, npz, npy or zarr"


def open_source(path: Path) -> Source:
    """The reader for what is at a path, told by its first bytes and not by its name.

    Raises:
        StoreError: nothing is there, or it cannot be read.
        DataError: it is none of the formats, or damaged.
        DgmmisError: the package for the format is not installed.
        RefusedError: it is in a bucket.
    """
    if isinstance(path, BucketPath):
        raise RefusedError(
            f"catalogues are read from a disk, and '{path}' is in a bucket", do="copy it to this machine"
        )
    try:
        if path.is_dir():
            return _folder(path)
        if path.exists() and not path.is_file():  # a pipe would be waited for, and cannot be read twice
            raise StoreError(
                f"'{path}' is neither a file nor a folder", do="write what comes out of it to a file first"
            )
        with path.open("rb") as file:
            start = file.read(4096)
    except FileNotFoundError as error:
        raise StoreError(f"no file '{path}'", do="check the path") from error
    except DgmmisError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise StoreError(f"'{path}' cannot be read", got=error, do="check the path") from error
    if not start:
        raise DataError(f"'{path}' is empty", expected=READABLE, got="no bytes", do="check the path")
    if start.startswith(b"PAR1"):
        return ParquetSource([path])
    if start.startswith(b"SIMPLE  ="):
        return FitsSource(path)
    if start.startswith((b"PK\x03\x04", b"\x93NUMPY")):
        return NumpySource(path)
    for magic, compression in COMPRESSIONS.items():
        if start.startswith(magic):
            return DelimitedSource(path, compression)
    if b"\x00" in start:
        raise DataError(f"'{path}' has an unknown format", expected=READABLE, got=repr(start[:8]), do="convert it")
    return DelimitedSource(path)


def _folder(path: Path) -> Source:
    if read_attributes(path):
        raise DataError(f"'{path}' is a survey store already", do="open it, or give the file it was made from")
    if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
        return ZarrSource(path)
    parts = sorted(path.glob("*.parquet"))
    if not parts:
        raise DataError(
            f"'{path}' is a folder of an unknown kind",
            expected="a zarr store or *.parquet files",
            got="none of them",
            do="give a file, or the folder with the parts",
        )
    return ParquetSource(parts)
