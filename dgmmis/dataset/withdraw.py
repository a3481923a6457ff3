"""Withdraw: rows taken out of a survey store by their row ids, all of them in one step."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis import __version__
from dgmmis.dataset.dataset import ChunkReference, Dataset
from dgmmis.dataset.held_store import HeldStore, held_store
from dgmmis.dataset.manifest import Segment
from dgmmis.dataset.reference import array_tails
from dgmmis.dataset.row_ids import looked_up, page_of
from dgmmis.dataset.segment import SegmentWriter
from dgmmis.dataset.tally import Tally
from dgmmis.errors import DataError, RefusedError

MOST_NOTED = 100
"""Row ids that the provenance lists; of more it has their number and a checksum."""


@dataclass(frozen=True, slots=True, eq=False)
class Withdrawn:
    """What became of a list of row ids.

    Args:
        dataset: the survey as it is now.
        n_rows: that were taken out.
        n_unknown: row ids that no row had.
    """

    dataset: Dataset
    n_rows: int
    n_unknown: int = 0


def withdraw(
    store: str | Path | HeldStore,
    row_ids: np.ndarray | Sequence[int],
    *,
    missing_ok: bool = False,
    provenance: Mapping[str, Any] | None = None,
    on_rows: Callable[[int, int], object] | None = None,
) -> Withdrawn:
    """Take rows out of a survey store, all of them in one step. The others keep their order: segments that lose some
    are written anew, chunk by chunk, and those that lose all of theirs go.

    A row id that several rows have stands for all of them. Whoever reads the survey meanwhile ends with an error, as
    when it is written over, unless what is read did not change. A row that is appended again is there again.

    Args:
        store: its path; or the store itself, held for this and other steps.
        row_ids: whole numbers (n,), in any order.
        missing_ok: whether some may be of no row.
        provenance: where the list comes from, as JSON values; number, time and version are added.
        on_rows: called with the rows done of the segments that change, and those in all.

    Raises:
        DataError: row ids that no row has, or that are not whole numbers; or rows without row ids.
        RefusedError: no rows would be left.
        StoreError: there is no survey, or it cannot be read or written.
    """
    numbers = _distinct(row_ids)
    with held_store(store) as held:
        held.clear()
        data = Dataset.open(held.path)
        if not data.has_row_ids:
            raise DataError(
                f"the rows of '{held.path}' have no row ids",
                expected="a survey whose rows are numbered",
                do="ingest it with --row-id (row_id=), or write it anew without these rows",
            )
        if len(numbers) == 0:
            return Withdrawn(data, 0)
        found = np.zeros(len(numbers), dtype=bool)
        parts = [_Part(segment, list(group)) for segment, group in groupby(data.references, lambda r: r.segment)]
        for part in parts:
            part.look_for(numbers, found)
        unknown, n_gone = numbers[~found], sum(part.n_gone for part in parts)
        if len(unknown) and not missing_ok:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise DataError(
                f"no rows of '{held.path}' have the row ids {', '.join(map(str, unknown[:5].tolist()))}{more}",
                do="check the list, or leave out what is not there with --missing-ok (missing_ok=True)",
            )
        if 0 < n_gone == data.n_rows:
            raise RefusedError(f"no rows of '{held.path}' would be left", do="check the list, or remove the survey")
        if n_gone == 0:
            return Withdrawn(data, 0, len(unknown))
        tally = Tally(on_rows, sum(part.segment.n_rows for part in parts if part.n_gone))
        segments, moved = [], dict[tuple[str, str], tuple[str, str] | None]()
        for part in parts:
            if part.n_gone == 0:
                segments.append(part.segment)
                continue
            place = (part.segment.name, part.segment.identity)
            moved[place] = None
            if part.n_gone < part.segment.n_rows:
                left = part.written_anew(numbers, held.new_folder(), tally)
                moved[place] = (left.name, left.identity)
                segments.append(left)
            tally.end_piece(part.segment.n_rows)
        entry = {**(provenance or {}), **_noted(numbers[found]), "withdrawn": n_gone, "dgmmis": __version__}
        entry["written"] = datetime.now(UTC).isoformat("T", "seconds")
        now = held.manifest.of_segments(segments, moved)
        held.publish(replace(now, provenance=(*now.provenance, entry)))
        return Withdrawn(Dataset.open(held.path), n_gone, len(unknown))


class _Part:
    """A segment, and which of its rows go."""

    def __init__(self, segment: Segment, references: Sequence[ChunkReference]) -> None:
        self.segment = segment
        self.n_gone = 0
        self._references = references
        self._gone: list[np.ndarray] = []

    def look_for(self, numbers: np.ndarray, found: np.ndarray) -> None:
        """Note which rows have some of the sorted numbers (n,), and in `found` (n,) which of these they are."""
        for reference in self._references:
            page = page_of(reference)
            part = page.within(numbers)
            if part.start == part.stop:
                continue
            places, is_gone = looked_up(page.read(), numbers[part])
            found[part.start + places[is_gone]] = True
            self.n_gone += int(is_gone.sum())
            if self.segment.ordering is not None and is_gone.any():
                self._gone.append(reference.read("catalogue_row")[is_gone])

    def written_anew(self, numbers: np.ndarray, folder: Path, tally: Tally) -> Segment:
        """The segment without the rows that have some of the sorted numbers, in the same order.

        The numbers of the catalogue are counted anew: those behind a row that goes move up.
        """
        gone = np.sort(np.concatenate(self._gone)) if self._gone else np.empty(0, np.int64)
        schema = self._references[0].schema
        writer = SegmentWriter(folder, schema)
        for reference in self._references:
            is_kept = ~looked_up(reference.read("row_id"), numbers)[1]
            arrays = {name: reference.read(name)[is_kept] for name in array_tails(schema, self.segment)}
            if "catalogue_row" in arrays:
                arrays["catalogue_row"] -= np.searchsorted(gone, arrays["catalogue_row"])
            if is_kept.any():
                writer.add(arrays)
            tally(reference.stop)
        return writer.finish(self.segment.ordering)


def _distinct(row_ids: np.ndarray | Sequence[int]) -> np.ndarray:
    """Sorted, each once."""
    numbers = np.asarray(row_ids)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        got = f"{numbers.dtype} of shape {numbers.shape}"
        raise DataError("row ids to withdraw", expected="whole numbers, one after the other", got=got)
    if numbers.size and numbers.dtype.kind == "u" and numbers.max() > np.iinfo(np.int64).max:
        raise DataError("row ids to withdraw", expected="numbers of 64 bits with a sign", got=numbers.max())
    return np.unique(numbers.astype(np.int64))


def _noted(numbers: np.ndarray) -> dict[str, Any]:
    """Row ids, as a provenance keeps them."""
    if len(numbers) <= MOST_NOTED:
        return {"row_ids": numbers.tolist()}
    summed = zlib.crc32(numbers.astype("<i8").tobytes())
    return {"row_ids": [int(numbers[0]), "...", int(numbers[-1])], "row_ids_crc32": summed}
