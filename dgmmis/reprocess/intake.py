"""Intake: new sources become segments of the survey, each whole or not at all; a refused one leaves it again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dgmmis.callback import Callback, Counting, doing
from dgmmis.dataset.append import append
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.held_store import HeldStore
from dgmmis.dataset.model_store import ModelStore
from dgmmis.dataset.new_sources import Problem, found, is_as_it_was, new_sources
from dgmmis.errors import DgmmisError, LockedError, counted
from dgmmis.job import Job

Segment = tuple[str, str]
"""Name and identity."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A source that was taken in: its name, the rows that it added, and those that were in the survey already."""

    name: str
    n_rows: int
    n_left_out: int


@dataclass(frozen=True, slots=True, eq=False)
class Intake:
    """What became of the sources.

    Args:
        taken: those that were new.
        problems: those that could not be read as the survey needs them; they are tried again each time.
        set_aside: names of those that are left out, since a model with them was refused.
        unmatched: patterns that no file has.
    """

    taken: tuple[Taken, ...]
    problems: tuple[Problem, ...]
    set_aside: tuple[str, ...]
    unmatched: tuple[str, ...] = ()


def take_in(job: Job, store: ModelStore, callback: Callback | None = None) -> Intake:
    """Add what is new to the survey of a job; one source that is bad does not keep the others out.

    Raises:
        StoreError: the survey, or a source by its name, is not there.
        LockedError: another writer holds the survey.
    """
    table, path, callback = job.reprocess, job.resolve(job.data.path), callback or Callback()
    assert table is not None
    data = Dataset.open(path) if path.exists() else None
    if not table.grows:  # or what comes behind them could not be told from them
        store.forget(is_as_it_was)
    aside = store.set_aside()
    known = [*(() if data is None else data.provenance), *aside, *store.without_rows()]
    has_ids = bool(table.columns.get("row_id")) or (data is not None and data.has_row_ids)
    by_pattern = {pattern: found([pattern], job.path.parent) for pattern in table.sources}
    paths = sorted({path for paths in by_pattern.values() for path in paths})
    callback.on_notice(doing("looking for new sources"))
    new, problems = new_sources(paths, known, grows=table.grows, has_row_ids=has_ids)
    storage = "float32" if table.float32 and data is None else None
    unmatched = tuple(pattern for pattern, paths in by_pattern.items() if not paths)
    taken = []
    options: dict[str, Any] = {"unique": has_ids, "order": table.order, "storage": storage}
    for number, source in enumerate(new, 1):
        what = f"taking in {number} of {counted(len(new), 'file')}"
        callback.on_notice(doing(f"{what}: {source.path.name}"))
        try:
            on_batch = Counting(callback, what)
            result = append(source.path, path, table.columns, skip=source.n_taken, on_batch=on_batch, **options)
        except LockedError:
            raise
        except DgmmisError as error:
            problems.append(Problem(source.path, error))
            continue
        if result.n_rows == 0:
            store.add_without_rows({**source.origin, "source_rows": source.n_taken + result.n_left_out})
        taken.append(Taken(source.path.name, result.n_rows, result.n_left_out))
    return Intake(tuple(taken), tuple(problems), tuple(str(entry.get("source")) for entry in aside), unmatched)


def segment_of(entry: Mapping[str, Any]) -> Segment | None:
    """The segment that a source became, of which an entry of the provenance tells."""
    found = entry.get("segment")
    return (str(found[0]), str(found[1])) if isinstance(found, (list, tuple)) and len(found) == 2 else None


def drop(path: Path, segments: Collection[Segment]) -> None:
    """Take segments, by name and identity, out of a survey, in one step; those that are not there are no matter."""
    if not any(one in segments for one in Dataset.open(path).identities):
        return
    with HeldStore(path) as held:
        manifest = held.manifest
        kept = tuple(one for one in manifest.segments if (one.name, one.identity) not in segments)
        entries = tuple(entry for entry in manifest.provenance if segment_of(entry) not in segments)
        held.publish(replace(manifest, segments=kept, provenance=entries))
