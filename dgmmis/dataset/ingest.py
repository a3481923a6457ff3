"""Ingest: a catalogue in any common format -> a survey store, some rows at a time."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.binding import Binding
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.sources import open_source
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError

__all__ = ["Columns", "ingest"]

HASH_BYTES = 64 * 2**20
"""Sources up to this size are identified by their SHA-256; larger ones by size and time."""


def ingest(
    source: str | Path,
    out: str | Path,
    columns: Columns,
    *,
    append: bool = False,
    overwrite: bool = False,
    order: bool = False,
    storage: str = "float64",
    batch_rows: int = CHUNK_ROWS,
    on_batch: Callable[[int, int | None], object] | None = None,
) -> Dataset:
    """Read a catalogue into a survey store. Memory is bounded by the batch and the shard, not by the catalogue.

    Args:
        source: a file of CSV (also compressed), parquet, a FITS binary table, npz, npy; or a zarr store, or a folder of
            parquet files. Told apart by their content.
        out: the store to make.
        columns: which columns are what. Nulls, NaN and masked entries of features are missing features; rows are kept
            even if all of theirs are.
        append: add the rows to the survey that is there; one is made if there is none.
        overwrite: put them in its place.
        order: put the rows of the store along a k-d tree, so that rows that follow one another lie near one another.
            Their numbers in the catalogue are kept. Takes, while it runs, room on the disk for twice the rows. Rows
            appended to an ordered survey are ordered without being asked for.
        storage: "float64", or "float32": half the room and the reading, values and noise rounded by up to 6e-8 of each.
        batch_rows: how many rows are read at a time.
        on_batch: called with the rows done and the rows in all (None: not known), after every batch; and once more from
            the first while they are ordered.

    Raises:
        StoreError: the source cannot be read or the store not written.
        JobError: columns that do not exist, with the nearest name.
        DataError, ShapeError: values or columns that no survey can have, or that float32 cannot hold finely enough;
            rows are counted from 0 in the source.
        DgmmisError: the package for the format is not installed.
    """
    if batch_rows < 1:
        raise JobError("batch_rows", expected="at least 1", got=batch_rows)
    path = Path(source).absolute()
    table = open_source(path)
    binding = Binding(columns, table.fields)
    whole = () if columns.row_id is None else (columns.row_id,)
    provenance = {**_origin(path), "columns": columns.to_attributes()}
    schema = replace(binding.schema, storage=storage)
    with SurveyWriter(
        out, schema, append=append, overwrite=overwrite, order=order, on_ordered=on_batch, provenance=provenance
    ) as writer:
        for batch in table.batches(binding.names, batch_rows, whole):
            writer.write(**binding.rows(batch, writer.n_rows))
            if on_batch is not None:
                on_batch(writer.n_rows, binding.n_rows)
    return Dataset.open(out)


def _origin(path: Path) -> dict[str, Any]:
    """What identifies a source."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    modified = datetime.fromtimestamp(max(file.stat().st_mtime for file in files), UTC)
    origin = {"source": path.name, "path": str(path), "bytes": size, "modified": modified.isoformat("T", "seconds")}
    if path.is_file() and size <= HASH_BYTES:
        with path.open("rb") as file:
            origin["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return origin
