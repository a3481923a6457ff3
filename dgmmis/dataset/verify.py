"""Every byte of a survey store, read and held against its checksums."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.manifest import Manifest
from dgmmis.dataset.place import place_of
from dgmmis.dataset.reference import ChunkReference, array_tails
from dgmmis.errors import StoreError, UnreachableError


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that does not hold what was written there, and the rows of the store, first and last, that it cost."""

    file: str
    first_row: int
    last_row: int
    what: str


def damages(path: Path, on_rows: Callable[[int, int], object] | None = None) -> list[Damage]:
    """What is missing, changed or of another place in the survey store at a path; memory holds a chunk.

    `on_rows` is called with the rows done, and the rows in all.

    Raises:
        StoreError: there is no store, its manifest is damaged, or it was replaced meanwhile.
    """
    path = place_of(path).absolute()
    manifest = Manifest.read(path)
    data = Dataset(path, manifest)  # not opened: that refuses a store with missing files
    found: dict[tuple[str, str], Damage] = {}
    for reference in data.references:
        for damage in _damages(path, reference):
            before = found.get((damage.file, damage.what), damage)
            found[damage.file, damage.what] = replace(before, last_row=damage.last_row)
        if on_rows is not None:
            on_rows(reference.first_row + reference.n_rows, data.n_rows)
    if found and Manifest.read(path).identities[: len(manifest.identities)] != manifest.identities:
        raise StoreError(f"the survey '{path}' was replaced while it was read", do="run again")
    return list(found.values())


def _damages(path: Path, reference: ChunkReference) -> Iterator[Damage]:
    for name in array_tails(reference.schema, reference.segment):
        try:
            reference.read(name)
        except UnreachableError:
            raise
        except StoreError as error:
            cause = error.__cause__ or error
            yield Damage(
                str(reference.place(name).relative_to(path)),
                reference.first_row,
                reference.first_row + reference.n_rows - 1,
                str(cause) or type(cause).__name__,
            )
