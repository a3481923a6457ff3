"""SurveyWriter: rows in, a survey store out; never half written, whatever kills it.

A new store is built in a folder beside its final name and renamed when it is whole. Rows appended, or written over an
older survey, go into a new segment; then the manifest is replaced in one step. Segments never change. In a bucket that
is so for a new store too.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dgmmis import __version__
from dgmmis.dataset.disk import writing
from dgmmis.dataset.held_store import HeldStore, NewInBucket, held_store, is_there, path_of
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, Manifest, Segment, group_document
from dgmmis.dataset.ordered_segment import OrderedSegmentWriter
from dgmmis.dataset.place import BucketPath
from dgmmis.dataset.publish import sync, sync_tree, temporary_sibling
from dgmmis.dataset.rounding import ErrorSample
from dgmmis.dataset.rows import checked_rows
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.segment import SegmentWriter
from dgmmis.errors import DataError, LockedError, RefusedError, StoreError
from dgmmis.noise import DiagonalNoise, FullNoise


class SurveyWriter:
    """Writes rows to a survey store; a context manager, which publishes the rows when it is left without an exception.

    Args:
        path: of the store; or the store itself, held by the caller, who then lets go of it.
        schema: what each row holds.
        append: add the rows to the survey there, of the same schema; a new one is made if there is none.
        overwrite: put the rows in the place of the survey there, which stays as it is until they are written.
        order: put the rows along a k-d tree, so that rows that follow one another lie near one another, and keep their
            numbers. Rows appended to a survey that is ordered are ordered whether asked for or not.
        on_ordered: called while rows are ordered, in the end, with those that are in their place, and those in all.
        provenance: where the rows come from, as JSON values; segment, version, time and number of rows are added.
        truth: what a simulated survey was drawn from, as JSON values; only for a new survey.

    Raises:
        StoreError: there is something at the path already, of another schema (it says in what), or being written.
        RefusedError: append with overwrite, or with a truth.
        DataError: no rows were written to a new store, or provenance or truth that JSON cannot hold.

    `n_rows` counts the rows written so far, not those that were there before. `provenance` may be added to meanwhile.
    """

    def __init__(
        self,
        path: str | Path | HeldStore,
        schema: Schema,
        *,
        append: bool = False,
        overwrite: bool = False,
        order: bool = False,
        on_ordered: Callable[[int, int], object] | None = None,
        provenance: Mapping[str, Any] | None = None,
        truth: Mapping[str, Any] | None = None,
    ) -> None:
        if append and overwrite:
            raise RefusedError(
                "append and overwrite exclude one another", do="give one of them: --append or --overwrite"
            )
        self.path = path_of(path)
        self.schema = schema
        self.n_rows = self._n_given = 0
        self._target = path
        self._append, self._overwrite, self._order = append, overwrite, order
        self._on_ordered = on_ordered
        self.provenance = dict(provenance or {})
        self._before = Manifest(schema, truth=None if truth is None else dict(truth))
        self._errors = ErrorSample(schema) if schema.storage == "float32" else None
        self._row_ids: bool | None = None
        self._segment: SegmentWriter | OrderedSegmentWriter | None = None
        self._held: HeldStore | None = None
        self._unpublished: Path | None = None
        self._claims = ExitStack()

    def __enter__(self) -> "SurveyWriter":
        # what cannot be stored is known before the rows are read
        Manifest(self.schema, provenance=(self.provenance,), truth=self._before.truth).document()
        try:
            with writing(f"'{self.path}'"):
                folder = self._claim()
            if self._order:
                self._segment = OrderedSegmentWriter(folder, self.schema, self._on_ordered)
            else:
                self._segment = SegmentWriter(folder, self.schema)
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with writing(f"'{self.path}'"):
                    self._publish()
        finally:
            self._discard()

    def write(
        self,
        points: np.ndarray,
        noise: np.ndarray | DiagonalNoise | FullNoise | None = None,
        *,
        weights: np.ndarray | None = None,
        row_ids: np.ndarray | None = None,
        projection: np.ndarray | None = None,
        kept: np.ndarray | None = None,
    ) -> None:
        """Add rows, any number at a time. Messages count rows from 0, the first that this writer was given.

        Args:
            points: measured values (n, m); NaN: missing.
            noise: where the schema has noise per row: variances (n, m), or covariances (n, m, m) or packed (n, t). That
                of missing features is not looked at, and stored as variance 1 and covariance 0.
            weights: (n,) where the schema is weighted.
            row_ids: whole numbers (n,) of the rows' own; with all rows of a survey, or none.
            projection: R (n, m, d) where the schema has measured values.
            kept: flags (n,): the others are looked at, and counted in messages, but not written. None: all are.

        Raises:
            ShapeError, DataError: arrays that do not fit the schema or one another, or values that none can have.
            StoreError: the rows cannot be written.
        """
        if self._segment is None:
            raise StoreError("the writer is not open", do="use it as `with SurveyWriter(...) as w:`")
        if self._row_ids is None:
            self._row_ids = row_ids is not None
        if self._row_ids != (row_ids is not None):
            raise DataError(
                "row_ids for some of the rows only",
                expected="row_ids, as in the rows before" if self._row_ids else "none, as in the rows before",
                got="none" if self._row_ids else "row_ids",
                do="give them with every row of a survey, or with none",
            )
        values = noise.values if isinstance(noise, (DiagonalNoise, FullNoise)) else noise
        arrays = {"points": points, "noise": values, "weights": weights, "row_id": row_ids, "projection": projection}
        done = 0
        for rows in checked_rows(self.schema, arrays, self._n_given):
            n = len(rows["points"])
            if kept is not None and not kept[done : done + n].all():
                rows = {name: array[kept[done : done + n]] for name, array in rows.items()}
            done += n
            if len(rows["points"]):
                self._segment.add(rows)
                if self._errors is not None:
                    self._errors.add(rows)
            self.n_rows = self._segment.n_rows
        self._n_given += done

    def _claim(self) -> Path:
        """The folder for the rows: of a new store beside the path, or a new segment in the store there."""
        if not is_there(self.path):
            if isinstance(self.path, BucketPath):
                self._held = self._claims.enter_context(NewInBucket(self.path))
                return self._held.new_folder()
            root, lock = temporary_sibling(self.path)
            self._claims.callback(lock.release)
            self._unpublished = root
            folder = root / SEGMENTS / "000000"
            folder.mkdir(parents=True)
            return folder
        if not (self._append or self._overwrite):
            raise StoreError(
                f"'{self.path}' exists",
                do="give another path; or replace it with --overwrite (overwrite=True), or add rows to it with "
                "`dgmmis ingest --append` (append=True)",
            )
        self._held = self._claims.enter_context(held_store(self._target))
        if self._append:
            self._continue(self._held.manifest)
            self._held.clear()
        return self._held.new_folder()

    def _continue(self, before: Manifest) -> None:
        differences = before.schema.differences(self.schema)
        if differences:
            raise StoreError(
                f"'{self.path}' has another schema: {'; '.join(differences)}",
                do="append rows of the same kind, or write a new store",
            )
        if self._before.truth is not None:
            raise RefusedError("truth is for a new survey only", do="append without it")
        self._before = before
        self._row_ids = before.segments[0].row_ids if before.segments else None
        self._order |= any(segment.ordering is not None for segment in before.segments)

    def _publish(self) -> None:
        if self._segment is None:
            return
        if self.n_rows == 0:
            if self._before.segments:  # nothing new to append: the survey stays as it is
                return
            raise DataError("no rows were written", do=f"check that the source has rows; '{self.path}' was not changed")
        if self._errors is not None:
            self._errors.require_fine_steps()
        manifest = self._manifest(self._segment.finish())
        if self._held is not None:
            self._held.publish(manifest)
            return
        root = self._unpublished
        assert root is not None
        (root / SEGMENTS / DOCUMENT).write_text(group_document({}))
        (root / DOCUMENT).write_text(manifest.document())
        sync_tree(root)
        try:
            root.rename(self.path)
        except OSError as error:
            what = f"'{self.path}' was made by another process meanwhile"
            if self._append:
                raise LockedError(what, do="run again: the rows are then added to its own") from error
            raise StoreError(what, got=error, do="give another path, append to it, or overwrite it") from error
        self._unpublished = None
        sync(self.path.parent)

    def _manifest(self, segment: Segment) -> Manifest:
        entry = {
            "segment": [segment.name, segment.identity],
            "rows": segment.n_rows,
            "dgmmis": __version__,
            "written": datetime.now(UTC).isoformat("T", "seconds"),
        }
        before = self._before
        provenance = (*before.provenance, {**self.provenance, **entry})
        return Manifest(self.schema, (*before.segments, segment), provenance, before.truth)

    def _discard(self) -> None:
        """Remove what was not published, and let go of the lock and of the memory."""
        self._segment = self._held = None
        if self._unpublished is not None:
            shutil.rmtree(self._unpublished, ignore_errors=True)
            self._unpublished = None
        self._claims.close()
