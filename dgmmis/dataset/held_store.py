"""HeldStore: a survey store that this process holds for writing, and the one step in which it becomes another."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, Manifest, read_attributes
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.schema import FORMAT
from dgmmis.dataset.segment_folders import SegmentFolders, Segments
from dgmmis.dataset.segment_objects import SegmentObjects
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
        self.path = place_of(path).absolute()
        if read_attributes(self.path).get("format") != FORMAT:
            raise StoreError(f"'{self.path}' is not a dgmmis survey", do="give another path; it is left as it is")
        self._segments: Segments | None = _segments_of(self.path)

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
        return self._open().new_folder()

    def clear(self) -> None:
        """Remove what writers left that were killed: segments that the manifest does not name.

        Raises:
            StoreError: the manifest cannot be read, or they cannot be removed.
        """
        self._open().clear(_named(self.manifest))

    def publish(self, manifest: Manifest) -> None:
        """Replace the manifest in one step; then segments go that the new one does not name.

        Raises:
            StoreError: it cannot be written.
            LockedError: in a bucket, where others cannot be kept out: another writer came first.
            DataError: provenance or truth that JSON cannot hold.
        """
        self._open().publish(manifest.document(), _named(manifest))

    def discard(self) -> None:
        """Remove the folders that were made since the last step, and not published."""
        if self._segments is not None:
            with suppress(StoreError):  # what cannot be read is left: the next writer removes what no manifest names
                self._segments.discard(lambda: _named(self.manifest))

    def release(self) -> None:
        """Let go of the store; what was not published is removed."""
        self.discard()
        if self._segments is not None:
            self._segments.release()
            self._segments = None

    def _open(self) -> Segments:
        if self._segments is None:
            raise StoreError(f"'{self.path}' is no longer held", do="use it within `with HeldStore(path) as store:`")
        return self._segments


class NewInBucket(HeldStore):
    """A survey store in a bucket that is not there yet: its first step makes it, unless another process came first."""

    def __init__(self, path: BucketPath) -> None:
        self.path = path
        self._segments = SegmentObjects(path, None)


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
    return store.path if isinstance(store, HeldStore) else place_of(store).absolute()


def is_there(path: Path) -> bool:
    """Whether there is anything at a path; in a bucket, but what a writer left that was killed before it was done.

    Raises:
        StoreError: it may not be looked at, or is no path.
    """
    if isinstance(path, BucketPath):
        return bool(path.names() - {SEGMENTS})
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise StoreError(f"'{path}' cannot be written", got=error, do="give another path") from error


def _segments_of(path: Path) -> Segments:
    if not isinstance(path, BucketPath):
        return SegmentFolders(path)
    return SegmentObjects(path, (path / DOCUMENT).read()[1])


def _named(manifest: Manifest) -> set[str]:
    return {segment.name for segment in manifest.segments}
