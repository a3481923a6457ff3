"""Parquet files, read some rows at a time; and columns of Arrow as numpy arrays."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.sources.source import Field, missing_package
from dgmmis.errors import DataError


def is_numeric(kind: Any) -> bool:
    """Whether an Arrow type holds real numbers (a column of nulls may)."""
    import pyarrow

    types = pyarrow.types
    return any(test(kind) for test in (types.is_integer, types.is_floating, types.is_decimal, types.is_null))


def column_values(column: Any) -> np.ndarray:
    """A column as numbers: integers where it has no nulls, else float64 with NaN."""
    import pyarrow

    if pyarrow.types.is_integer(column.type) and column.null_count == 0:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return np.asarray(column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False))


def refuse_twice(names: Collection[str], there: Sequence[str], path: Path) -> None:
    """Raise DataError for a wanted column that is there more than once."""
    twice = [name for name in names if there.count(name) > 1]
    if twice:
        raise DataError(f"'{path.name}' has more than one column '{twice[0]}'", do="give them distinct names")


class ParquetSource:
    """One parquet file, or several with the same columns, one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        n_rows = 0
        for path in paths:
            with self._open(path) as file:
                n_rows += file.metadata.num_rows
                if path == paths[0]:
                    schema = file.schema_arrow
        self.fields = {field.name: Field(str(field.type), is_numeric(field.type), (), n_rows) for field in schema}

    def batches(self, names: Collection[str], rows: int, whole: Collection[str]) -> Iterator[dict[str, np.ndarray]]:
        del whole  # the types are the file's
        import pyarrow

        for path in self._paths:
            with self._open(path) as file:
                absent = set(names) - set(file.schema_arrow.names)
                if absent:
                    raise DataError(
                        f"'{path.name}' has no column '{min(absent)}'",
                        do=f"it must have those of '{self._paths[0].name}'",
                    )
                refuse_twice(names, file.schema_arrow.names, path)
                try:
                    for batch in file.iter_batches(batch_size=rows, columns=list(names)):
                        yield {name: column_values(batch.column(name)) for name in names}
                except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
                    raise DataError(
                        f"'{path.name}' cannot be read as numbers",
                        got=error,
                        do="copy it again, or write the columns as float64",
                    ) from error

    def _open(self, path: Path) -> Any:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise missing_package("pyarrow", "parquet") from error
        try:
            # a small buffer and no reading ahead: a row group may be larger than the memory
            return pyarrow.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise DataError(f"'{path}' is not a whole parquet file", got=error, do="copy it again") from error
