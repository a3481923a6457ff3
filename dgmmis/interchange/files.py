"""A document and some arrays in a file: as one JSON object, as one npz, as one zarr group. Reading runs no code."""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from dgmmis.dataset.disk import writing
from dgmmis.dataset.publish import replace_document, replace_file, sync, sync_tree, temporary_sibling
from dgmmis.dataset.sources.arrays import ZarrSource
from dgmmis.errors import DataError, StoreError
from dgmmis.npz import MOST_BYTES, read_npz
from dgmmis.reals import reals

ENDINGS = (".json", ".npz", ".zarr")

DOCUMENT, ATTRIBUTE = "document", "dgmmis model"
"""Where the document is in an npz, and in a zarr group."""

MOST_TEXT = 256 * 2**20
"""Bytes of a JSON file: some 30 million numbers."""

Arrays = Mapping[str, np.ndarray]


def write(path: Path, document: Mapping[str, Any], arrays: Arrays) -> None:
    """Write them, by the path's ending, in one step.

    Raises:
        StoreError: the disk refuses, or there is a zarr group.
    """
    with writing(f"'{path}'"):
        if path.suffix == ".zarr":
            _write_group(path, document, arrays)
        elif path.suffix == ".npz":
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **arrays, **{DOCUMENT: np.array(json.dumps(document))})
            replace_file(path, buffer.getvalue())
        else:
            lists = {name: array.tolist() for name, array in arrays.items()}
            replace_document(path, {**document, **lists})


def read(path: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The document, empty where there is none, and those of the arrays that are there.

    Raises:
        StoreError: there is nothing, or it cannot be read.
    """
    if not path.exists():
        raise StoreError(f"there is no '{path}'", do="check the path")
    try:
        if path.suffix == ".zarr":
            return _read_group(path, names)
        if not path.is_file():
            raise DataError("it is no file")
        if path.suffix == ".npz":
            found = read_npz(path, {*names, DOCUMENT})
            document = _object(str(found.pop(DOCUMENT))) if DOCUMENT in found else {}
        else:
            document = _object(_text(path))
            found = {name: document.pop(name) for name in names if name in document}
        return document, {name: reals(array, name) for name, array in found.items()}
    except (DataError, OSError) as error:
        raise StoreError(f"the model '{path}' cannot be read: {error}", do="copy it again, or save it again") from error


def is_document(path: Path, kind: str) -> bool:
    """Whether what is at a path says that it is of a kind."""
    try:
        if path.suffix == ".zarr":
            document = _attributes(path)
        elif not path.is_file():
            return False
        elif path.suffix == ".npz":
            document = _object(str(read_npz(path, {DOCUMENT})[DOCUMENT]))
        else:
            document = _object(_text(path))
    except (DataError, OSError, KeyError):
        return False
    return document.get("format") == kind


def _write_group(path: Path, document: Mapping[str, Any], arrays: Arrays) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    if path.exists():
        raise StoreError(
            f"'{path}' exists, and a folder is not replaced in one step", do="give another path, or remove it"
        )
    folder, lock = temporary_sibling(path)
    try:
        codecs = (ZstdCodec(), Crc32cCodec())
        group = zarr.create_group(folder, attributes={ATTRIBUTE: dict(document)})
        for name, array in arrays.items():
            made = group.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                chunks=array.shape,
                compressors=codecs,
                config={"write_empty_chunks": True},  # of zeros: what is not there is damage
            )
            made[:] = array
        sync_tree(folder)
        folder.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _read_group(path: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    document = _attributes(path)
    if not document:
        return {}, {}
    source = ZarrSource(path)
    there = [name for name in names if name in source.fields]
    sizes = [8.0 * prod([float(source.fields[name].n_rows or 0), *source.fields[name].tail]) for name in there]
    if sum(sizes) > MOST_BYTES:
        raise DataError("its arrays are too large to be read whole", expected=f"{MOST_BYTES} bytes", got=sum(sizes))
    arrays: dict[str, np.ndarray] = {}
    for name in there:
        (batch,) = source.batches([name], source.fields[name].n_rows or 1, ())
        arrays |= batch
    return document, {name: reals(array, name) for name, array in arrays.items()}


def _attributes(path: Path) -> dict[str, Any]:
    """The document of a group; empty for what is none."""
    file = path / "zarr.json"
    if not file.is_file():
        return {}
    attributes = _object(_text(file)).get("attributes")
    found = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    size = path.stat().st_size
    if size > MOST_TEXT:
        raise DataError("it is too large", expected=f"at most {MOST_TEXT} bytes", got=size)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError("no text in UTF-8", got=error) from error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # also of numbers with too many digits
        raise DataError("no JSON", got=error) from error
    if not isinstance(found, dict):
        raise DataError("no JSON object", got=type(found).__name__)
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
