"""Dataset: a survey store opened for reading."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmmis.chunk import CHUNK_ROWS, LEAF_ROWS
from dgmmis.dataset.arrays import Part
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, Manifest, Segment
from dgmmis.dataset.missing import missing_files
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.reference import ChunkReference, array_folder, array_tails, open_array
from dgmmis.dataset.rounding import rounding_error
from dgmmis.dataset.schema import Schema
from dgmmis.errors import StoreError, counted
from dgmmis.portrait import Portrait, Portrayed

if TYPE_CHECKING:
    import dask.array

__all__ = ["ChunkReference", "Dataset"]

LEAVES = CHUNK_ROWS // LEAF_ROWS

MOST_MISSING = 1000
"""Files that are looked for before it is said that they are missing."""


class Dataset(Portrayed):
    """A survey store. Opening it reads metadata only, and checks that every file is there."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._manifest = manifest
        self._references = tuple(_references(path, manifest))

    @classmethod
    def open(cls, path: str | Path) -> "Dataset":
        """Open the store at a path.

        Raises:
            StoreError: there is nothing, it is not a survey store, of another version, or files are missing (named).
        """
        path = place_of(path).absolute()
        if "\0" in str(path):
            raise StoreError(f"'{path}' is no path", got="a character of zero", do="check the path")
        manifest, missing = Manifest.read(path), None
        while missing is None:
            if manifest.segments and (path / SEGMENTS).is_symlink():
                raise StoreError(f"'{path / SEGMENTS}' is a link", expected="a folder", do="copy what it points to")
            found = missing_files(path, manifest)
            missing = [*islice(found, MOST_MISSING)]
            if missing and (now := Manifest.read(path)).identities != manifest.identities:
                manifest, missing = now, None  # written over in the meantime
        if missing:
            more = f" and {'at least ' if len(missing) == MOST_MISSING else ''}{len(missing) - 3} more"
            raise StoreError(
                f"files of the survey store are missing or do not fit: {', '.join(missing[:3])}"
                f"{more if len(missing) > 3 else ''}",
                do=f"restore them or ingest again: '{path}' is not whole",
            )
        return cls(path, manifest)

    def as_of(self, segments: Sequence[tuple[str, str]]) -> "Dataset":
        """The survey as it was when these, by name and identity, were its segments: rows appended since are left out.

        Raises:
            StoreError: they are no longer there.
        """
        if self.identities[: len(segments)] != tuple(segments):
            raise StoreError(
                f"the survey '{self.path}' is not the one that it was: written over, joined, or rows were withdrawn",
                expected=f"segments {', '.join(name for name, _ in segments)} as they were written",
                do="fit it anew, with `dgmmis fit --overwrite`",
            )
        return Dataset(self._path, replace(self._manifest, segments=self.segments[: len(segments)]))

    def part(self, segments: Collection[tuple[str, str]]) -> Part:
        """The rows of some segments, by name and identity, each with its place in the survey."""
        kept = [one for one in self.references if (one.segment.name, one.segment.identity) in segments]
        return Part(self.n_features, tuple(kept), in_memory=False)

    def __repr__(self) -> str:
        return f"Dataset('{self.path}': {self.n_rows} rows of {', '.join(self.schema.features)})"

    def portrait(self) -> Portrait:
        """What a notebook shows: what stands in the store's documents, without reading rows."""
        schema, segments = self.schema, counted(len(self.segments), "segment")
        lines = [
            ("path", str(self.path)),
            ("rows", f"{self.n_rows:,} in {segments}, {counted(len(self.references), 'chunk')}"),
            ("bytes", f"{self.nbytes:,} once loaded, kept as {schema.storage}"),
            ("noise", schema.noise),
            ("weights", "a weight for each row" if schema.weighted else "none"),
        ]
        if schema.measured is not None:
            lines.append(("measured", f"{', '.join(schema.measured)}: projections of the features"))
        lines += [("from", str(entry["source"])) for entry in self.provenance[-5:] if "source" in entry]
        units = dict(zip(schema.features, schema.units, strict=True))
        table = [("column", "unit", "smallest", "largest", "missing")]
        for column in self._columns():
            edges = ("-" if column[end] is None else f"{column[end]:.6g}" for end in ("minimum", "maximum"))
            table.append((column["name"], units.get(column["name"]) or "-", *edges, f"{column['missing']:,}"))
        return Portrait("Dataset", tuple(lines), tuple(table))

    @property
    def path(self) -> Path:
        return self._path

    @property
    def schema(self) -> Schema:
        return self._manifest.schema

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._manifest.segments

    @property
    def identities(self) -> tuple[tuple[str, str], ...]:
        """Name and identity of each segment: two surveys at a path that have them in common have the same rows."""
        return tuple((segment.name, segment.identity) for segment in self.segments)

    @property
    def references(self) -> tuple[ChunkReference, ...]:
        """Every chunk, in the order of the rows."""
        return self._references

    @property
    def n_rows(self) -> int:
        return sum(segment.n_rows for segment in self.segments)

    @property
    def n_features(self) -> int:
        return self.schema.n_features

    @property
    def in_memory(self) -> bool:
        """No: any process that sees the disk can load the chunks."""
        return False

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """The catalogues that were ingested, and the rows that were withdrawn, one after the other."""
        return [dict(entry) for entry in self._manifest.provenance]

    @property
    def truth(self) -> dict[str, Any] | None:
        """What a simulated survey was drawn from; None otherwise."""
        return self._manifest.truth

    @property
    def nbytes(self) -> int:
        """Bytes of all chunks once loaded."""
        return sum(reference.nbytes for reference in self.references)

    @property
    def points(self) -> "dask.array.Array":
        """Measured values (n, m), lazily, in the chunks of the store; NaN: missing."""
        points = self._lazy("points")
        if points is None:
            raise StoreError(f"'{self.path}' has no rows")
        return points

    @property
    def noise(self) -> "dask.array.Array | None":
        """Variances (n, m) or packed covariances (n, t), lazily. 1, and 0 off the diagonal, for missing features."""
        return self._lazy("noise")

    @property
    def weights(self) -> "dask.array.Array | None":
        """Weights (n,), lazily."""
        return self._lazy("weights")

    @property
    def projection(self) -> "dask.array.Array | None":
        """Projections (n, m, d), lazily."""
        return self._lazy("projection")

    @property
    def row_ids(self) -> "dask.array.Array | None":
        """The rows' own numbers (n,) int64, lazily."""
        return self._lazy("row_id")

    @property
    def has_row_ids(self) -> bool:
        """Whether the rows have numbers of their own."""
        return bool(self.segments) and all(segment.row_ids for segment in self.segments)

    @property
    def is_ordered(self) -> bool:
        """Whether the rows are in another order than the catalogue's, in all segments: near ones together."""
        return bool(self.segments) and all(segment.ordering is not None for segment in self.segments)

    @property
    def catalogue_rows(self) -> "dask.array.Array":
        """The number of each row in the catalogue (n,) int64, lazily: what follows from rows in the order of the store
        belongs there. 0, 1, 2 ... where the store has the catalogue's order."""
        import dask.array

        parts, first = [], 0
        for segment in self.segments:
            if segment.ordering is None:
                own = dask.array.arange(segment.n_rows, chunks=CHUNK_ROWS, dtype="int64")
            else:
                own = self._lazy_of(segment, "catalogue_row")
            parts.append(own + first)
            first += segment.n_rows
        joined: dask.array.Array = dask.array.concatenate(parts) if parts else dask.array.arange(0, dtype="int64")
        return joined

    def _lazy(self, name: str) -> "dask.array.Array | None":
        import dask.array

        if any(name not in array_tails(self.schema, segment) for segment in self.segments) or not self.segments:
            return None
        joined: dask.array.Array = dask.array.concatenate([self._lazy_of(segment, name) for segment in self.segments])
        return joined

    def _lazy_of(self, segment: Segment, name: str) -> "dask.array.Array":
        import dask.array

        array = open_array(str(array_folder(self.path, segment, name)), segment.identity)
        label = f"{name}-{self.path}:{segment.name}-{segment.identity}"
        lazy: dask.array.Array = dask.array.from_zarr(array, chunks=(CHUNK_ROWS, *array.shape[1:]), name=label)
        return lazy.astype(float) if lazy.dtype == "f4" else lazy

    def _columns(self) -> list[dict[str, Any]]:
        """Of the measured values: names, how many are missing, and between what the others are."""
        columns = []
        for i, name in enumerate(self.schema.columns):
            low = [x for segment in self.segments if (x := segment.minimum[i]) is not None]
            high = [x for segment in self.segments if (x := segment.maximum[i]) is not None]
            missing = sum(segment.missing[i] for segment in self.segments)
            columns.append({"name": name, "missing": missing, "minimum": min(low, default=None)})
            columns[-1]["maximum"] = max(high, default=None)
            if self.schema.storage == "float32" and low:
                columns[-1]["rounding_error"] = rounding_error(max(map(abs, low + high)))
        return columns

    def describe(self) -> dict[str, Any]:
        """What there is to know without reading rows, as JSON values."""
        schema, segments = self.schema, self.segments
        try:
            stored = _bytes_stored(self.path, segments)
        except FileNotFoundError as error:
            raise StoreError(f"'{self.path}' was replaced or removed meanwhile", do="run again") from error
        return {
            "path": str(self.path),
            "rows": self.n_rows,
            **schema.to_attributes()["schema"],
            "columns": self._columns(),
            "row_ids": self.has_row_ids,
            "storage": schema.storage,
            "ordered": self.is_ordered,
            "chunks": len(self.references),
            "chunk_rows": CHUNK_ROWS,
            "bytes": self.nbytes,
            "bytes_stored": stored,
            "segments": [
                {"name": segment.name, "rows": segment.n_rows, "ordering": segment.ordering} for segment in segments
            ],
            "provenance": self.provenance,
            "truth": self.truth,
        }


def _bytes_stored(path: Path, segments: Sequence[Segment]) -> int:
    names = [segment.name for segment in segments]  # others may be about to go, or to come
    if isinstance(path, BucketPath):
        of = {DOCUMENT: len(path.joinpath(DOCUMENT).read_bytes())}
        of |= {name: one.size for name, one in (path / SEGMENTS).objects().items() if name.split("/")[0] in names}
        return sum(of.values())
    files = [file for name in names for file in (path / SEGMENTS / name).rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in [path / DOCUMENT, *files])


def _references(path: Path, manifest: Manifest) -> Iterator[ChunkReference]:
    row = leaf = 0
    for segment in manifest.segments:
        for start in range(0, segment.n_rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, segment.n_rows)
            place = (row + start, leaf + start // LEAF_ROWS)
            yield ChunkReference(str(path), segment, start, stop, *place, manifest.schema)
        row, leaf = row + segment.n_rows, leaf + LEAVES * segment.n_chunks
