"""CSV, and text with other separators; compressed or not. Read as a stream of blocks."""

import re
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.sources.arrow import column_values, is_numeric, refuse_twice
from dgmmis.dataset.sources.source import Field, missing_package
from dgmmis.errors import DataError

BLOCK_BYTES = 1 * 2**20


class DelimitedSource:
    """A text table with one line of names. Empty, NA, null and NaN entries are missing.

    Args:
        path: of the file.
        compression: "gzip", "bz2", "zstd", "lz4" or None.

    Raises:
        DataError: there is no table in it.
    """

    def __init__(self, path: Path, compression: str | None = None) -> None:
        try:
            import pyarrow.csv
        except ImportError as error:
            raise missing_package("pyarrow", "CSV") from error
        self._path, self._compression = path, compression
        self._names: list[str] = []
        try:
            with closing(self._stream()) as stream:
                header = stream.read(65536).split(b"\n")[0].decode(errors="replace")
        except (pyarrow.ArrowException, OSError) as error:
            raise self._error(error) from error
        if header.startswith("SIMPLE  ="):
            raise DataError(f"'{path.name}' is a compressed FITS file, not readable in parts", do="uncompress it first")
        self._delimiter = max(",\t;|", key=header.count)
        with self._reader(pyarrow.csv.ConvertOptions()) as reader:
            schema = reader.schema
        try:
            self._names = list(schema.names)
        except UnicodeDecodeError as error:
            raise DataError(
                f"the names in '{path.name}' are not text in UTF-8",
                got=error,
                do="convert the file, for example with iconv",
            ) from error
        self.fields = {field.name: Field(str(field.type), is_numeric(field.type)) for field in schema}

    def batches(self, names: Collection[str], rows: int, whole: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        import pyarrow
        import pyarrow.csv

        refuse_twice(names, self._names, self._path)
        # types are ours, not guessed from the first block, where a column may look like whole numbers
        types = {name: pyarrow.int64() if name in whole else pyarrow.float64() for name in names}
        options = pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(names))
        with self._reader(options) as reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (pyarrow.ArrowException, OSError) as error:
                    raise self._error(error) from error
                for start in range(0, batch.num_rows, rows):
                    part = batch.slice(start, rows)
                    yield {name: column_values(part.column(name)) for name in names}

    def _stream(self) -> Any:
        import pyarrow

        return pyarrow.input_stream(str(self._path), compression=self._compression)

    def _reader(self, convert: Any) -> Any:
        import pyarrow
        import pyarrow.csv

        try:
            return pyarrow.csv.open_csv(
                self._stream(),
                # one thread: no blocks are read ahead, and messages name the line
                read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(delimiter=self._delimiter),
                convert_options=convert,
            )
        except (pyarrow.ArrowException, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> DataError:
        column = re.search(r"column #(\d+): (?:Row #(\d+): )?(?:CSV conversion error to \w+: )?(.*)", str(error), re.S)
        if column is None or int(column[1]) >= len(self._names):
            return DataError(
                f"'{self._path.name}' cannot be read as a table",
                expected="a line of names, and lines of as many entries, separated by a comma, a tab, ; or |",
                got=error,
                do="correct the file",
            )
        name = self._names[int(column[1])]
        line = f" in line {column[2]}" if column[2] else ""
        return DataError(
            f"column '{name}' ({self.fields[name].type}) of '{self._path.name}' is not numeric{line}",
            got=column[3],
            do="choose another column, or leave the entry empty where it is missing",
        )
