"""Sources: the files that a job names, and which of them, or of their rows, the survey does not have yet."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmmis.dataset.bound_source import origin, outline
from dgmmis.errors import DataError, DgmmisError, StoreError


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file, or a store, whose rows are new.

    Args:
        path: of it.
        origin: what identifies it (`ingest.origin`).
        n_taken: of its rows, from the first, that the survey has already.
    """

    path: Path
    origin: Mapping[str, Any]
    n_taken: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A source that cannot be taken in, and why."""

    path: Path
    error: DgmmisError


def found(patterns: Sequence[str], folder: Path) -> list[Path]:
    """The files that names and patterns stand for, by name; patterns that match nothing yet stand for none.

    Raises:
        StoreError: a name that is no pattern, and that is not there.
    """
    paths: set[Path] = set()
    for pattern in patterns:
        whole = (folder / pattern).absolute()
        if glob.has_magic(pattern):
            paths.update(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor))))
        elif whole.exists():
            paths.add(whole)
        else:
            raise StoreError(f"no source '{pattern}' in '{folder}'", do="check its name, or use a pattern")
    return sorted(path for path in paths if not path.name.startswith("."))


def new_sources(
    paths: Sequence[Path], known: Iterable[Mapping[str, Any]], *, grows: bool, has_row_ids: bool
) -> tuple[list[Source], list[Problem]]:
    """Those that are not known, and those that cannot be taken in.

    Args:
        paths: that there are.
        known: origins of what was taken in, each with `source_rows` where it was taken from the first row on.
        grows: whether a source that has changed has more rows than before, and the same ones before them.
        has_row_ids: whether the rows of a source that has changed can be told from those that it had before.
    """
    entries = [entry for entry in known if "path" in entry]
    outlines = {outlined(entry) for entry in entries}
    contents = {entry["sha256"] for entry in entries if "sha256" in entry}
    taken: dict[str, int] = {}
    for entry in entries:
        if "why" in entry and not grows:  # set aside: nothing of it is in the survey
            continue
        taken[entry["path"]] = max(taken.get(entry["path"], 0), int(entry.get("source_rows", 0)))
    new, problems = [], []
    for path in paths:
        try:
            if outlined(outline(path)) in outlines:
                continue
            whole = origin(path)
        except OSError as error:
            problems.append(
                Problem(path, StoreError(f"'{path}' cannot be read", got=error, do="check its permissions"))
            )
            continue
        if whole.get("sha256") in contents:  # a copy, or touched
            continue
        before = taken.get(str(path))
        if before is not None and not (grows or has_row_ids):
            what = f"'{path.name}' has changed since it was taken in, and its rows have no ids"
            do = "put new rows into a new file; `dgmmis reprocess` tells them by a `row_id`, or where a file `grows`"
            problems.append(Problem(path, DataError(what, do=do)))
            continue
        new.append(Source(path, whole, before or 0 if grows else 0))
        contents.add(str(whole.get("sha256", path)))
    return new, problems


def is_as_it_was(entry: Mapping[str, Any]) -> bool:
    """Whether a source is there, and has not changed since it was taken in."""
    try:
        return outlined(outline(Path(str(entry["path"])))) == outlined(entry)
    except (OSError, KeyError):
        return False


def outlined(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Path, size and time: what tells, without reading it, that a source is as it was."""
    return entry.get("path"), entry.get("bytes"), entry.get("modified")
