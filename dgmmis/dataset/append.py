"""Append: a catalogue of the same kind added to a survey store; rows that are there already can be left out."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.bound_source import BoundSource
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.first_rows import first_rows
from dgmmis.dataset.held_store import HeldStore, held_store, is_there, path_of
from dgmmis.dataset.inherited import inherited_columns, inherited_schema
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import temporary_sibling
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.sources import open_source
from dgmmis.dataset.spill import Spill
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, StoreError, require_whole


@dataclass(frozen=True, slots=True, eq=False)
class Appended:
    """What became of a catalogue.

    Args:
        dataset: the survey as it is now.
        n_rows: that were added.
        n_left_out: whose row ids were in the survey, or earlier in the catalogue.
    """

    dataset: Dataset
    n_rows: int
    n_left_out: int = 0


def append(
    source: str | Path,
    store: str | Path | HeldStore,
    columns: Columns | Mapping[str, Any] | None = None,
    *,
    unique: bool = False,
    skip: int = 0,
    order: bool = False,
    storage: str | None = None,
    batch_rows: int = CHUNK_ROWS,
    on_batch: Callable[[int, int | None], object] | None = None,
) -> Appended:
    """Add the rows of a catalogue to a survey store, all or none. One is made if there is none.

    Args:
        source: as in `ingest`.
        store: its path; or the store itself, held for this and other steps.
        columns: which columns are what; a mapping gives some arguments of Columns. What is not given is as it was for
            the catalogue that was ingested last; shared noise, units and the names of features are the survey's.
        unique: leave out rows whose row id is in the survey already, or in an earlier row of the catalogue, whatever
            else they hold: the first one stays. The row ids of the catalogue are read before the rows.
        skip: so many of the first rows of the catalogue; it may not have fewer.
        order: put the rows along a k-d tree. Those of an ordered survey are without being asked for.
        storage: "float64" or "float32"; None: the survey's.
        batch_rows: how many rows are read at a time.
        on_batch: called with the rows done and the rows in all (None: not known), as in `ingest`.

    Raises:
        JobError: columns that do not exist, all named; or that are not known, as the survey was not made from a file.
        DataError: other units than the survey's, and as `ingest`.
        StoreError: another schema, and as `ingest`.
    """
    require_whole(skip, "skip", 0)
    if batch_rows < 1:
        raise JobError("batch_rows", expected="at least 1", got=batch_rows)
    path, out = place_of(source).absolute(), path_of(store)
    roles = columns.to_attributes() if isinstance(columns, Columns) else dict(columns or {})
    with ExitStack() as stack:
        held = stack.enter_context(held_store(store)) if is_there(out) else None
        bound, schema = _bound(path, roles, held)
        bound.skip = skip
        schema = replace(schema, storage=storage or schema.storage)
        provenance, kept, n_left_out = bound.provenance(), None, 0
        if unique:
            if bound.columns.row_id is None:
                raise JobError("rows without row ids cannot be told apart", do="name their column: --row-id (row_id=)")
            data = None if held is None else Dataset.open(out)
            kept = first_rows(bound.row_ids(batch_rows), data, stack.enter_context(_room(held or out)))
            n_left_out = kept.n_rows - _n_first(kept)
            if data is not None and n_left_out == kept.n_rows:
                return Appended(data, 0, n_left_out)
            provenance["left_out"] = n_left_out
        options: dict[str, Any] = {"order": order, "on_ordered": on_batch, "provenance": provenance}
        # one that another process makes meanwhile has row ids that were not looked at
        options["append"] = held is not None or not unique
        with SurveyWriter(held or out, schema, **options) as writer:
            done = 0
            for rows in bound.batches(batch_rows):
                start, done = done, done + len(rows["points"])
                writer.write(**rows, kept=None if kept is None else _part(kept, start, done, path))
                if on_batch is not None:
                    on_batch(done, bound.n_rows)
            if kept is not None and done < kept.n_rows:
                raise _changed(path)
            writer.provenance["source_rows"] = skip + done
        return Appended(Dataset.open(out), writer.n_rows, n_left_out)


def _bound(path: Path, roles: Mapping[str, Any], held: HeldStore | None) -> tuple[BoundSource, Schema]:
    """The catalogue with its columns, and the schema of its rows, as they are in a survey that is there."""
    table = open_source(path)
    if held is None:
        bound = BoundSource(path, table, Columns(**roles))
        return bound, bound.binding.schema
    held.clear()
    manifest = held.manifest
    bound = BoundSource(path, table, inherited_columns(held.path, manifest, roles))
    return bound, inherited_schema(held.path, manifest.schema, bound, units_given=bool(roles.get("units")))


@contextmanager
def _room(store: HeldStore | Path) -> Iterator[Path]:
    """A folder for what is needed in the meantime, which the next writer removes if this one is killed."""
    if isinstance(store, HeldStore):
        yield store.new_folder()  # goes with the step
        return
    if isinstance(store, BucketPath):
        with tempfile.TemporaryDirectory(prefix="dgmmis-") as name:
            yield Path(name)
        return
    folder, lock = temporary_sibling(store)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _n_first(flags: Spill) -> int:
    return sum(int(flags.read(start, start + CHUNK_ROWS).sum()) for start in range(0, flags.n_rows, CHUNK_ROWS))


def _part(flags: Spill, start: int, stop: int, source: Path) -> np.ndarray:
    """The flags of some rows, of which the catalogue had as many when they were made."""
    if stop > flags.n_rows:
        raise _changed(source)
    return flags.read(start, stop)


def _changed(source: Path) -> StoreError:
    return StoreError(f"'{source}' was changed while it was read", do="run again")
