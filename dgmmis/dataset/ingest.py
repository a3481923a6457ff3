"""Ingest: a catalogue in any common format -> a survey store, some rows at a time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.append import append as append_to
from dgmmis.dataset.bound_source import BoundSource
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.place import place_of
from dgmmis.dataset.sources import open_source
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError

__all__ = ["Columns", "ingest"]


def ingest(
    source: str | Path,
    out: str | Path,
    columns: Columns,
    *,
    append: bool = False,
    overwrite: bool = False,
    order: bool = False,
    storage: str | None = None,
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
        append: add the rows to the survey that is there; one is made if there is none. `dgmmis.dataset.append` does
            the same and can do more.
        overwrite: put them in its place.
        order: put the rows of the store along a k-d tree, so that rows that follow one another lie near one another.
            Their numbers in the catalogue are kept. Takes, while it runs, room on the disk for twice the rows. Rows
            appended to an ordered survey are ordered without being asked for.
        storage: "float64", or "float32": half the room and the reading, values and noise rounded by up to 6e-8 of each.
            None: as the survey has it that they are appended to, else "float64".
        batch_rows: how many rows are read at a time.
        on_batch: called with the rows done and the rows in all (None: not known), after every batch; and once more from
            the first while they are ordered.

    Raises:
        StoreError: the source cannot be read or the store not written.
        JobError: columns that do not exist, with the nearest name.
        DataError, ShapeError: values or columns that no survey can have, or that float32 cannot hold finely enough;
            rows are counted from 0 in the source.
        RefusedError: append with overwrite.
        DgmmisError: the package for the format is not installed.
    """
    if append and not overwrite:
        return append_to(
            source, out, columns, order=order, storage=storage, batch_rows=batch_rows, on_batch=on_batch
        ).dataset
    if batch_rows < 1:
        raise JobError("batch_rows", expected="at least 1", got=batch_rows)
    path = place_of(source).absolute()
    bound = BoundSource(path, open_source(path), columns)
    schema = replace(bound.binding.schema, storage=storage or "float64")
    options: dict[str, Any] = {"append": append, "overwrite": overwrite, "order": order}
    with SurveyWriter(out, schema, on_ordered=on_batch, provenance=bound.provenance(), **options) as writer:
        for rows in bound.batches(batch_rows):
            writer.write(**rows)
            if on_batch is not None:
                on_batch(writer.n_rows, bound.n_rows)
    return Dataset.open(out)
