"""Manifest: which segments of rows make up a survey store; the root of the store, replaced in one step."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.place import BucketPath
from dgmmis.dataset.schema import Schema
from dgmmis.errors import DataError, StoreError, in_one_line

DOCUMENT = "zarr.json"
SEGMENTS = "segments"


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows that were written together, and never change.

    Args:
        name: its folder under `segments`.
        n_rows: how many rows.
        identity: random, so that a store made anew at the same path is not mistaken for the old one.
        row_ids: whether each row has a number of its own.
        missing, minimum, maximum: per measured value: how many rows lack it, and its range (None: all lack it).
        ordering: how the rows were put into another order than the catalogue's, as JSON values; then `catalogue_row`
            holds the number of each, from 0, among the rows that were written. None: they are in the catalogue's.
        checksums: one for each array, of those of its chunks (`checksum`); None where an earlier version wrote it.
    """

    name: str
    n_rows: int
    identity: str
    row_ids: bool
    missing: tuple[int, ...]
    minimum: tuple[float | None, ...]
    maximum: tuple[float | None, ...]
    ordering: dict[str, Any] | None = None
    checksums: dict[str, int] | None = None

    @property
    def n_chunks(self) -> int:
        return -(-self.n_rows // CHUNK_ROWS)

    def to_attributes(self) -> dict[str, Any]:
        """As JSON values; the checksums stand apart, where versions that do not know them do not mind."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "checksums"}
        if self.ordering is None:
            del values["ordering"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Segment":
        """The reverse of `to_attributes`.

        Raises:
            DataError: what no segment is; above all a name that is another folder's.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()
        }
        segment = cls(**values)
        _require(is_segment_name(segment.name), "name", "the number of a folder", segment.name)
        _require(_is_whole(segment.n_rows, 1), "n_rows", "a positive whole number", segment.n_rows)
        _require(isinstance(segment.identity, str), "identity", "a word", segment.identity)
        _require(isinstance(segment.row_ids, bool), "row_ids", "true or false", segment.row_ids)
        _require(isinstance(segment.ordering, (dict, type(None))), "ordering", "a table or none", segment.ordering)
        for name in ("missing", "minimum", "maximum"):
            entries = getattr(segment, name)
            fine = isinstance(entries, tuple) and all(
                _is_whole(x, 0) if name == "missing" else x is None or _is_number(x) for x in entries
            )
            _require(fine, name, "one number a measured value", entries)
        return segment


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """Schema, segments in order, what became of the survey, and the truth of a simulation where known.

    The provenance has an entry for each catalogue that was ingested, with name and identity of the segment that it
    became, and for each list of rows that was withdrawn, in that order; segments may have been joined since.
    """

    schema: Schema
    segments: tuple[Segment, ...] = ()
    provenance: tuple[dict[str, Any], ...] = ()
    truth: dict[str, Any] | None = None

    @property
    def identities(self) -> tuple[str, ...]:
        """Of the segments: two manifests that have them in common are of the same rows."""
        return tuple(segment.identity for segment in self.segments)

    def of_segments(
        self, segments: Iterable[Segment], moved: Mapping[tuple[str, str], tuple[str, str] | None]
    ) -> "Manifest":
        """With other segments in the place of some, by name and identity: the provenance then tells of these."""
        entries = []
        for entry in self.provenance:
            place = entry.get("segment")
            key = (str(place[0]), str(place[1])) if isinstance(place, list) and len(place) == 2 else None
            new = moved.get(key, key) if key is not None else None
            entries.append({**entry, "segment": None if new is None else list(new)} if key in moved else entry)
        return replace(self, segments=tuple(segments), provenance=tuple(entries))

    def document(self) -> str:
        """The group document at the root of the store.

        Raises:
            DataError: provenance or truth that JSON cannot hold.
        """
        attributes = {
            **self.schema.to_attributes(),
            "segments": [segment.to_attributes() for segment in self.segments],
            "provenance": list(self.provenance),
            "truth": self.truth,
        }
        checksums = {segment.name: segment.checksums for segment in self.segments if segment.checksums is not None}
        if checksums:
            attributes["checksums"] = checksums
        if any(segment.ordering is not None for segment in self.segments):
            attributes["version"] = 2
        try:
            return group_document({"dgmmis": attributes})
        except (TypeError, ValueError) as error:
            raise DataError(
                "provenance or truth cannot be stored as JSON",
                got=error,
                do="use finite numbers, strings, lists and dicts",
            ) from error

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """The manifest of the store at a path.

        Raises:
            StoreError: there is none, it is not of a survey, of another version, or damaged.
        """
        attributes = read_attributes(path)
        try:
            schema = Schema.from_attributes(attributes)
        except StoreError as error:
            raise StoreError(f"'{path}' cannot be opened: {error}") from error
        try:
            checksums = attributes.get("checksums", {})
            segments = tuple(
                Segment.from_attributes({**entry, "checksums": checksums.get(entry["name"])})
                for entry in attributes["segments"]
            )
            names = [segment.name for segment in segments]
            _require(len(set(names)) == len(names), "segments", "distinct names", names)
            for segment in segments:
                for entries in (segment.missing, segment.minimum, segment.maximum):
                    _require(len(entries) == schema.n_measured, segment.name, f"{schema.n_measured} columns", entries)
            provenance, truth = attributes["provenance"], attributes["truth"]
            _require(isinstance(provenance, list), "provenance", "a list", provenance)
            _require(all(isinstance(entry, dict) for entry in provenance), "provenance", "tables", provenance)
            _require(isinstance(truth, (dict, type(None))), "truth", "a table or none", truth)
            return cls(schema, segments, tuple(provenance), truth)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the manifest of '{path}' is damaged", got=error, do="ingest it again") from error


def read_attributes(path: Path) -> dict[str, Any]:
    """What a store says of itself under "dgmmis"; empty for anything else that is there."""
    try:
        if not isinstance(path, BucketPath) and not path.exists():
            raise _nothing_at(path)
        attributes = read_document(path / DOCUMENT).get("attributes", {}).get("dgmmis", {})
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise _nothing_at(path) from error
    except AttributeError:
        return {}
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise StoreError(f"'{path}' cannot be read", got=error, do="check the path and its permissions") from error
    return attributes if isinstance(attributes, dict) else {}


def _nothing_at(path: Path) -> StoreError:
    return StoreError(f"no survey store at '{path}'", do="check the path, or make it with `dgmmis ingest`")


def read_document(file: Path) -> dict[str, Any]:
    """A document of JSON; empty where there is no file, or none that is such a document.

    Raises:
        OSError: it may not be read.
        FileNotFoundError: there is none in the bucket.
    """
    if not isinstance(file, BucketPath) and not file.is_file():  # one that is a pipe would be waited for
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_segment_name(name: object) -> bool:
    """Whether it is a name that a writer gives a segment: no other folder is read, or removed."""
    return isinstance(name, str) and re.fullmatch("[0-9]{6,18}", name) is not None


def _require(fine: bool, what: str, expected: str, got: object) -> None:
    if not fine:
        raise DataError(f"{what} must be {expected}", got=in_one_line(repr(got), 80))


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**53


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def group_document(attributes: Mapping[str, Any]) -> str:
    """The metadata document of a zarr (version 3) group."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(document, indent=1, default=_plain, allow_nan=False)


def file_name(shard: int, ndim: int) -> str:
    """Of the file of an array's shard."""
    return ".".join(["c", str(shard), *["0"] * (ndim - 1)])


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}")
