"""FITS binary tables, read some rows at a time."""

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.sources.source import Field, missing_package
from dgmmis.errors import DataError


class FitsSource:
    """The first binary table of a FITS file.

    Astropy reads the headers; the rows are read from the file itself, since a memory map would count as memory, and
    astropy's columns hand out the null value of integers as a number.
    """

    def __init__(self, path: Path) -> None:
        try:
            from astropy.io import fits
        except ImportError as error:
            raise missing_package("astropy", "FITS") from error
        self._path = path
        try:
            with warnings.catch_warnings(), fits.open(path, memmap=True) as units:
                # of a file cut short, which we say ourselves, and of other headers than those of the table
                warnings.simplefilter("ignore")
                table = next((unit for unit in units if isinstance(unit, fits.BinTableHDU)), None)
                if table is None:
                    raise DataError(
                        f"'{path.name}' has no binary table", do="give a FITS file with a BINTABLE extension"
                    )
                self._columns: dict[str, Any] = {column.name: column for column in table.columns}
                self._rows = np.dtype(table.columns.dtype).newbyteorder(">")
                self._n_rows, self._offset = int(table.header["NAXIS2"]), int(table.fileinfo()["datLoc"])
                self.fields = {name: self._field(name, column) for name, column in self._columns.items()}
        except DataError:
            raise
        except Exception as error:  # whatever astropy makes of headers that say nonsense
            raise DataError(f"'{path.name}' is damaged", got=error, do="copy it again") from error
        there = (path.stat().st_size - self._offset) // max(1, self._rows.itemsize)
        if there < self._n_rows:
            raise DataError(
                f"'{path.name}' is cut short", expected=f"{self._n_rows} rows", got=there, do="copy it again"
            )

    def _field(self, name: str, column: Any) -> Field:
        numeric = column.format.lstrip("0123456789")[:1] in "BIJKED"
        return Field(column.format, numeric, self._rows[name].shape, self._n_rows, column.unit or "")

    def batches(self, names: Collection[str], rows: int, whole: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        del whole  # the types are the file's
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for start in range(0, self._n_rows, rows):
                count = min(rows, self._n_rows - start)
                block = np.fromfile(file, self._rows, count)
                try:
                    yield {name: self._values(block, name) for name in names}
                except (TypeError, ValueError, OverflowError) as error:
                    raise DataError(
                        f"'{self._path.name}' has a null value, a scale or a zero that is no number",
                        got=error,
                        do="correct TNULL, TSCAL and TZERO",
                    ) from error

    def _values(self, block: np.ndarray, name: str) -> np.ndarray:
        column, raw = self._columns[name], block[name]
        null = None if raw.dtype.kind == "f" or column.null is None else raw == column.null
        values: np.ndarray
        scale, zero = column.bscale or 1, column.bzero or 0
        if scale != 1 or zero != int(zero):
            values = raw * float(scale) + float(zero)
        elif zero and raw.dtype.kind != "f":  # how FITS writes unsigned integers; modulo 2**64 this is exact
            values = raw.astype(np.int64).view(np.uint64) + np.uint64(int(zero) % 2**64)
            values = values if raw.dtype.itemsize == 8 and zero > 0 else values.view(np.int64)
        else:
            values = raw + zero if zero else raw.astype(raw.dtype.newbyteorder("="))
        return values if null is None or not null.any() else np.where(null, np.nan, values)
