"""HeldStore: a survey store that this process holds for writing, and the one step in which it becomes another."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from dgmmis.dataset.disk import refused, writing
from dgmmis.dataset.lock import Lock
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, Manifest, is_segment_name, read_attributes
from dgmmis.dataset.publish import replace_file, sync, sync_tree
from dgmmis.dataset.schema import FORMAT
from dgmmis.errors import StoreError


class HeldStore:
    """A survey store that is there, held for writing until it is released; a context manager.

    What takes the path of a store to write to takes this in its place, so that several steps come under one lock:

        with HeldStore("survey.zarr") as store:
            append("night.csv", store, unique=True)
            compact(store)

    Each step is whole by itself: readers, and whoever comes after a crash, find the survey as one of them left it.

    Raises:
        StoreError: there is no survey store, or it cannot be written.
        LockedError: another writer holds it; the message says who, and since when.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        if read_attributes(self.path).get("format") != FORMAT:
            raise StoreError(f"'{self.path}' is not a dgmmis survey", do="give another path; it is left as it is")
        self._made: list[Path] = []
        self._number = 0
        self._lock: Lock | None = Lock(self.path)

    def __enter__(self) -> "HeldStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    @property
    def manifest(self) -> Manifest:
        """The manifest as it stands.

        Raises:
            StoreError: it is damaged, or of another version.
        """
        return Manifest.read(self.path)

    def new_folder(self) -> Path:
        """A new folder among those of the segments. It goes with the next step, unless that names it.

        Raises:
            StoreError: the store was released, or the folder cannot be made.
        """
        if self._lock is None:
            raise StoreError(f"'{self.path}' is no longer held", do="use it within `with HeldStore(path) as store:`")
        self._folders()
        folder = self.path / SEGMENTS / f"{self._number:06d}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise refused(f"'{folder}' cannot be made", error) from error
        self._made.append(folder)
        return folder

    def clear(self) -> None:
        """Remove what writers left that were killed: folders that the manifest does not name.

        Raises:
            StoreError: the manifest cannot be read, or they cannot be removed.
        """
        named = _named(self.manifest)
        with writing(f"'{self.path}'"):
            for folder in self._folders():
                if folder.name not in named and folder not in self._made:
                    shutil.rmtree(folder)

    def publish(self, manifest: Manifest) -> None:
        """Replace the manifest in one step; then segments go that the new one does not name.

        Raises:
            StoreError: it cannot be written.
            DataError: provenance or truth that JSON cannot hold.
        """
        document, named = manifest.document(), _named(manifest)
        with writing(f"'{self.path}'"):
            older = [folder for folder in self._folders() if folder.name not in named]
            for folder in self._made:
                if folder.name in named:
                    sync_tree(folder)
            sync(self.path / SEGMENTS)
            replace_file(self.path / DOCUMENT, document.encode())
            for folder in older:
                shutil.rmtree(folder, ignore_errors=True)
        self._made.clear()

    def discard(self) -> None:
        """Remove the folders that were made since the last step, and not published."""
        with suppress(StoreError):  # what cannot be read is left alone: the next writer removes what no manifest names
            # the manifest may have been replaced before an error of the disk, or a signal, came
            named = _named(self.manifest) if self._made else set()
            for folder in self._made:
                if folder.name not in named:
                    shutil.rmtree(folder, ignore_errors=True)
        self._made.clear()

    def release(self) -> None:
        """Let go of the store; what was not published is removed."""
        self.discard()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _folders(self) -> list[Path]:
        """Those of segments, and nothing else: they may be removed, with all that is in them."""
        parent = self.path / SEGMENTS
        if parent.is_symlink():
            raise StoreError(
                f"'{parent}' is a link",
                expected="a folder of this store, whose old segments are removed",
                do="give another path; it is left as it is",
            )
        found = [
            entry
            for entry in parent.glob("*")
            if is_segment_name(entry.name) and entry.is_dir() and not entry.is_symlink()
        ]
        # a number is not given twice, or a reader of an older manifest might find new rows in an old place
        self._number = max([self._number, *(int(folder.name) + 1 for folder in found)])
        return found


@contextmanager
def held_store(store: str | Path | HeldStore) -> Iterator[HeldStore]:
    """Hold a store for a step. One that is held already stays so; in any case nothing stays of a step that failed.

    Raises:
        StoreError, LockedError: as HeldStore.
    """
    held = store if isinstance(store, HeldStore) else HeldStore(store)
    try:
        yield held
    finally:
        if held is store:
            held.discard()
        else:
            held.release()


def path_of(store: str | Path | HeldStore) -> Path:
    """Where a store is, or is to be."""
    return store.path if isinstance(store, HeldStore) else Path(store).absolute()


def is_there(path: Path) -> bool:
    """Whether there is anything at a path.

    Raises:
        StoreError: it may not be looked at, or is no path.
    """
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise StoreError(f"'{path}' cannot be written", got=error, do="give another path") from error


def _named(manifest: Manifest) -> set[str]:
    return {segment.name for segment in manifest.segments}
