"""Files that a survey store lacks, known without reading rows."""

from collections import defaultdict
from collections.abc import Iterator
from os import scandir
from pathlib import Path

from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, Manifest, Segment, file_name, read_document
from dgmmis.dataset.place import BucketPath
from dgmmis.dataset.reference import OF_WHOLE_NUMBERS, array_folder, array_tails, is_grid
from dgmmis.dataset.schema import Schema
from dgmmis.errors import in_one_line


def missing_files(path: Path, manifest: Manifest) -> Iterator[str]:
    """Those of the store at a path that are not there, or do not fit, by their names in it, with why."""
    if isinstance(path, BucketPath):
        return _missing_in_bucket(path, manifest)
    return (file for segment in manifest.segments for file in _missing_on_disk(path, manifest.schema, segment))


def _missing_in_bucket(path: BucketPath, manifest: Manifest) -> Iterator[str]:
    """By one listing: the arrays of a segment have as many files each. Their documents are read with their rows."""
    found = defaultdict[str, set[str]](set)
    for name in (path / SEGMENTS).objects() if manifest.segments else ():
        folder, _, file = name.rpartition("/")
        found[folder].add(file)
    for segment in manifest.segments:
        arrays = array_tails(manifest.schema, segment)
        most = max(len(found[f"{segment.name}/{name}"] - {DOCUMENT}) for name in arrays)
        for name, tail in arrays.items():
            names = [DOCUMENT, *(file_name(number, 1 + len(tail)) for number in range(max(most, 1)))]
            folder = f"{segment.name}/{name}"
            yield from (f"{SEGMENTS}/{folder}/{file}" for file in names if file not in found[folder])


def _missing_on_disk(path: Path, schema: Schema, segment: Segment) -> Iterator[str]:
    for name, tail in array_tails(schema, segment).items():
        folder = array_folder(path, segment, name)
        short = folder.relative_to(path)
        if folder.is_symlink() or folder.parent.is_symlink():
            yield f"{short} (a link)"
            continue
        try:
            document = read_document(folder / DOCUMENT)
            shape, grid = document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"]
            kind, codecs = document["data_type"], document["codecs"]
            rows, inner = grid[0], codecs[0].get("configuration", {}).get("chunk_shape", grid)
            there = {file.name for file in scandir(folder) if file.is_file()}
        except (OSError, KeyError, TypeError, IndexError, AttributeError):
            yield f"{short}/{DOCUMENT}"
            continue
        whole = "int64" if name in OF_WHOLE_NUMBERS else schema.storage
        if shape != [segment.n_rows, *tail]:
            yield f"{short}/{DOCUMENT} (shape {in_one_line(shape, 60)})"
            continue
        if kind != whole:
            yield f"{short}/{DOCUMENT} (type {in_one_line(kind, 60)})"
            continue
        if not is_grid(grid, inner, segment.n_rows, tail):
            yield f"{short}/{DOCUMENT} (chunks {in_one_line(grid, 60)} of {in_one_line(inner, 60)})"
            continue
        names = (file_name(shard, len(shape)) for shard in range(-(-segment.n_rows // rows)))
        yield from (f"{short}/{file}" for file in names if file not in there)
