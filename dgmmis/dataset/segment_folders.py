"""SegmentFolders: the segments of a store on a disk, as the process sees them that holds it for writing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from dgmmis.dataset.disk import refused, writing
from dgmmis.dataset.lock import Lock
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, is_segment_name
from dgmmis.dataset.publish import replace_file, sync, sync_tree
from dgmmis.errors import StoreError


@runtime_checkable
class Segments(Protocol):
    """Where the segments of a store are made, and the one step in which they become the store's."""

    def new_folder(self) -> Path:
        """A new folder on a disk, for the files of a segment; its name is the segment's."""

    def clear(self, named: set[str]) -> None:
        """Remove what writers left that were killed: segments that are not named, nor made here."""

    def publish(self, document: str, named: set[str]) -> None:
        """Replace the manifest in one step by a document that names some of the segments."""

    def discard(self, named: Callable[[], set[str]]) -> None:
        """Remove the folders that were made since the last step, but for those that the manifest names."""

    def release(self) -> None:
        """Let go of the store."""


class SegmentFolders:
    """Those in a folder, which is locked until it is released; see Segments.

    Raises:
        LockedError: another writer holds it; the message says who, and since when.
        StoreError: it cannot be locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made: list[Path] = []
        self._number = 0
        self._lock = Lock(path)

    def new_folder(self) -> Path:
        self._folders()
        folder = self._path / SEGMENTS / f"{self._number:06d}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise refused(f"'{folder}' cannot be made", error) from error
        self._made.append(folder)
        return folder

    def clear(self, named: set[str]) -> None:
        with writing(f"'{self._path}'"):
            for folder in self._folders():
                if folder.name not in named and folder not in self._made:
                    shutil.rmtree(folder)

    def publish(self, document: str, named: set[str]) -> None:
        """Then segments go that are not named any more."""
        with writing(f"'{self._path}'"):
            older = [folder for folder in self._folders() if folder.name not in named]
            for folder in self._made:
                if folder.name in named:
                    sync_tree(folder)
            sync(self._path / SEGMENTS)
            replace_file(self._path / DOCUMENT, document.encode())
            for folder in older:
                shutil.rmtree(folder, ignore_errors=True)
        self._made.clear()

    def discard(self, named: Callable[[], set[str]]) -> None:
        # the manifest may have been replaced before an error of the disk, or a signal, came
        made, self._made = self._made, []
        kept = named() if made else set()
        for folder in made:
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def release(self) -> None:
        self._lock.release()

    def _folders(self) -> list[Path]:
        """Those of segments, and nothing else: they may be removed, with all that is in them."""
        parent = self._path / SEGMENTS
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
