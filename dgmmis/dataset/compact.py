"""Compact: many short segments of a survey store, one a night perhaps, joined into few long ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.dataset import ChunkReference, Dataset
from dgmmis.dataset.held_store import HeldStore, held_store
from dgmmis.dataset.manifest import Segment
from dgmmis.dataset.ordered_segment import OrderedSegmentWriter
from dgmmis.dataset.reference import array_tails
from dgmmis.dataset.segment import SegmentWriter
from dgmmis.dataset.tally import Tally

SHORT_ROWS = 16 * CHUNK_ROWS
"""A segment of fewer rows is short. Every segment ends with a part of a chunk, and has files of its own; of 16 chunks,
that is little. Joined every night, rows are written anew until their segment is long, and then never again."""


@dataclass(frozen=True, slots=True, eq=False)
class Compacted:
    """What became of the segments.

    Args:
        dataset: the survey as it is now.
        n_joined: segments that were joined; 0 where there was nothing to do.
        n_made: that took their place.
    """

    dataset: Dataset
    n_joined: int = 0
    n_made: int = 0


def compact(
    store: str | Path | HeldStore,
    *,
    all_segments: bool = False,
    on_rows: Callable[[int, int], object] | None = None,
) -> Compacted:
    """Join segments of a survey store that follow one another and are short, each run of them into one, in one step.

    Rows, their numbers in the catalogue, and the provenance stay as they are. Where a segment of a run is ordered, its
    rows are put along one k-d tree, which takes room on the disk for twice the rows; else they keep their order. What
    is read is held against its checksums. Whoever reads the survey meanwhile ends with an error, as when it is written
    over, unless what is read was not joined.

    Args:
        store: its path; or the store itself, held for this and other steps.
        all_segments: join all there are, long or short.
        on_rows: called with the rows done, and those in all; once more from the first while they are ordered.

    Raises:
        StoreError: there is no survey, or it cannot be read or written.
    """
    with held_store(store) as held:
        held.clear()
        data = Dataset.open(held.path)
        parts = [list(group) for _, group in groupby(data.references, lambda reference: reference.segment)]
        runs = [range(len(parts))] if all_segments else short_runs([segment.n_rows for segment in data.segments])
        runs = [run for run in runs if len(run) > 1]
        if not runs:
            return Compacted(data)
        segments, moved = list(data.segments), dict[tuple[str, str], tuple[str, str] | None]()
        tally = Tally(on_rows, sum(segments[number].n_rows for run in runs for number in run))
        for run in reversed(runs):  # so that the places of those before it stay
            places = slice(run.start, run.stop)
            joined = _joined(parts[places], held.new_folder(), tally)
            moved |= dict.fromkeys(data.identities[places], (joined.name, joined.identity))
            segments[places] = [joined]
            tally.end_piece(segments[run.start].n_rows)
        before = held.manifest
        held.publish(before.of_segments(segments, moved))
        return Compacted(Dataset.open(held.path), sum(map(len, runs)), len(runs))


def short_runs(n_rows: Sequence[int]) -> list[range]:
    """Which segments, of so many rows each, are short and follow one another."""
    runs = []
    for is_short, group in groupby(range(len(n_rows)), lambda number: n_rows[number] < SHORT_ROWS):
        numbers = list(group)
        if is_short:
            runs.append(range(numbers[0], numbers[-1] + 1))
    return runs


def _joined(parts: Sequence[Sequence[ChunkReference]], folder: Path, tally: Tally) -> Segment:
    """The rows of some segments, given by their chunks, in a new one."""
    references = [reference for part in parts for reference in part]
    schema = references[0].schema
    writer: SegmentWriter | OrderedSegmentWriter = SegmentWriter(folder, schema)
    is_ordered = any(reference.is_ordered for reference in references)
    if is_ordered:
        writer = OrderedSegmentWriter(folder, schema, lambda done, _: tally(done))
    for reference in references:
        arrays = {name: reference.read(name) for name in array_tails(schema, reference.segment)}
        if is_ordered:
            numbers = reference.numbers(np.arange(reference.n_rows))
            arrays["catalogue_row"] = numbers - references[0].first_row
        writer.add(arrays)
        tally(writer.n_rows)
    return writer.finish()
