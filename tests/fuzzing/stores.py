"""Survey stores: manifests, documents of arrays, chunks, files and folders that are not what they were."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.manifest import DOCUMENT
from dgmmis.dataset.reference import open_array
from fuzzing.judgement import Judge
from fuzzing.material import copied, write_store
from fuzzing.mutation import mutated_bytes, mutated_json

NAMES = ("none.zarr", "shared.zarr", "diagonal.zarr", "full.zarr", "ordered.zarr")

Spoiler = Callable[[Path, np.random.Generator], None]


def read(path: Path) -> None:
    """All that is in a store."""
    open_array.cache_clear()  # it knows segments by their identity, which a spoilt copy has as well
    data = Dataset.open(path)
    assert data.describe()["rows"] == data.n_rows
    for reference in data.references:
        chunk = reference.load()
        reference.numbers(np.arange(reference.n_rows))
        assert chunk.n_samples == reference.n_rows
    for lazy in (data.points, data.noise, data.weights, data.projection):
        if lazy is not None:
            assert len(lazy.shape) > 0


def mutated(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """One thing is changed, and the store is read; one time in eight it is written to."""
    rng = np.random.default_rng(seed)
    witness = folder / "outside"
    witness.mkdir()
    (witness / "kept").write_text("kept")
    for number in range(n):
        store = copied(NAMES[number % len(NAMES)], folder)
        spoil = SPOILERS[int(rng.integers(len(SPOILERS)))]
        spoil(store, rng)
        judge(partial(read, store), f"{store.name} {spoil.__name__}")
        if number % 8 == 0:
            for how in ({"append": True}, {"overwrite": True}):
                judge(partial(write_store, store, "diagonal", n=5, **how), spoil.__name__)
        assert (witness / "kept").read_text() == "kept"
        assert sorted(entry.name for entry in witness.iterdir()) == ["kept"]
    return {}


def _manifest(store: Path, rng: np.random.Generator) -> None:
    document = json.loads((store / DOCUMENT).read_text())
    document["attributes"]["dgmmis"] = mutated_json(document["attributes"]["dgmmis"], rng)
    (store / DOCUMENT).write_text(json.dumps(document))


def _whole_manifest(store: Path, rng: np.random.Generator) -> None:
    (store / DOCUMENT).write_text(json.dumps(mutated_json(json.loads((store / DOCUMENT).read_text()), rng)))


def _array_document(store: Path, rng: np.random.Generator) -> None:
    file = _some(store, f"segments/*/*/{DOCUMENT}", rng)
    file.write_text(json.dumps(mutated_json(json.loads(file.read_text()), rng)))


def _consistently(store: Path, rng: np.random.Generator) -> None:
    """A number of rows that manifest and documents agree on, but the files do not."""
    rows = int(rng.choice([1, 59, 61, 10**6, 10**12, 2**52]))
    for file in [store / DOCUMENT, *store.glob(f"segments/*/*/{DOCUMENT}")]:
        file.write_text(file.read_text().replace("60", str(rows)))


def _bytes(store: Path, rng: np.random.Generator) -> None:
    file = _some(store, "segments/*/*/c.*", rng)
    file.write_bytes(mutated_bytes(file.read_bytes(), rng))


def _text(store: Path, rng: np.random.Generator) -> None:
    file = _some(store, f"**/{DOCUMENT}", rng)
    file.write_bytes(mutated_bytes(file.read_bytes(), rng))


def _removed(store: Path, rng: np.random.Generator) -> None:
    entry = _some(store, "**/*", rng)
    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _file_for_folder(store: Path, rng: np.random.Generator) -> None:
    _removed(store, rng)
    entry = store / "segments"
    if entry.is_dir():
        shutil.rmtree(entry)
    entry.write_text("a file")


def _folder_for_file(store: Path, rng: np.random.Generator) -> None:
    file = _some(store, "**/*.*", rng)
    file.unlink()
    file.mkdir()


def _link(store: Path, rng: np.random.Generator) -> None:
    """To a folder outside, in the place of one inside, or beside it."""
    places = [store / "segments", *store.glob("segments/*"), *store.glob("segments/*/*"), store / "segments" / "000007"]
    place = places[int(rng.integers(len(places)))]
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    if place.parent.is_dir():
        place.symlink_to(store.parent / "outside", target_is_directory=True)


def _renamed_segment(store: Path, rng: np.random.Generator) -> None:
    names = ("../outside", "..", "/etc", "x/y", "", "000000/../../../outside", "0", "\u0662" * 6, "a\x00")
    name = names[int(rng.integers(len(names)))]
    file = store / DOCUMENT
    document = json.loads(file.read_text())
    document["attributes"]["dgmmis"]["segments"][0]["name"] = name
    file.write_text(json.dumps(document))


def _foreign(store: Path, rng: np.random.Generator) -> None:
    import zarr

    shutil.rmtree(store)
    group = zarr.create_group(store, zarr_format=int(rng.choice([2, 3])), attributes={"dgmmis": {"format": "other"}})
    group.create_array("points", data=rng.normal(size=(5, 2)))


def _another_array(store: Path, rng: np.random.Generator) -> None:
    """One of another type, shape or chunking, where the array was."""
    import zarr

    folder = _some(store, f"segments/*/*/{DOCUMENT}", rng).parent
    shape = json.loads((folder / DOCUMENT).read_text())["shape"]
    shutil.rmtree(folder)
    kind = str(rng.choice(["f8", "f4", "i8", "c16", "bool", "U3"]))
    chunks = tuple(int(rng.integers(1, size + 1)) for size in shape)
    values = np.zeros(shape if rng.random() < 0.7 else (*shape, 2), dtype=kind)
    zarr.create_array(folder, data=values, chunks=chunks if values.ndim == len(shape) else "auto")


def _values(store: Path, rng: np.random.Generator) -> None:
    """Numbers that no survey has, with a valid checksum."""
    import zarr

    folder = _some(store, f"segments/*/*/{DOCUMENT}", rng).parent
    array = zarr.open_array(folder, mode="r+")
    array[int(rng.integers(60))] = rng.choice([np.inf, -np.inf, np.nan, -1.0, 1e300]) if array.dtype.kind == "f" else -5


def _some(store: Path, pattern: str, rng: np.random.Generator) -> Path:
    found = sorted(store.glob(pattern))
    return found[int(rng.integers(len(found)))]


SPOILERS: tuple[Spoiler, ...] = (
    *(_manifest, _manifest, _manifest, _whole_manifest, _array_document, _array_document, _consistently, _bytes, _text),
    *(_removed, _file_for_folder, _folder_for_file, _link, _renamed_segment, _foreign, _another_array, _values),
)
