"""SegmentObjects: the segments of a store in a bucket, as a process sees them that writes to it.

There is no lock there. Segments are made in a folder of this machine, and put object by object under a name that no
other writer has; then the manifest is put on the condition that it is still the one that was read: of two writers one
wins, and what the other had put is removed. Nothing that is younger than SAFE_AGE is taken for a leftover.
"""

import secrets
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from dgmmis.dataset.disk import writing
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS, Manifest, group_document, is_segment_name
from dgmmis.dataset.place import BucketPath
from dgmmis.errors import LockedError, UnreachableError

SAFE_AGE = timedelta(days=1)
"""Of the youngest object of a segment that no manifest names. Another writer may be about to name it, or a reader of an
older manifest still at it."""

AT_A_TIME = 8
"""Objects that are put side by side, at most 16 MB each."""


class SegmentObjects:
    """Those of a store in a bucket; see Segments.

    Args:
        path: of the store.
        tag: of the manifest that is to be replaced; None: there is none yet.
    """

    def __init__(self, path: BucketPath, tag: str | None) -> None:
        self._path, self._tag = path, tag
        self._made: list[Path] = []
        self._put: list[str] = []
        self._is_cleared = False
        with writing("a folder for new rows, where this machine has its temporary files,"):
            self._room = tempfile.TemporaryDirectory(prefix="dgmmis-")

    def new_folder(self) -> Path:
        # no other writer makes one of that name, nor did one that was killed
        folder = Path(self._room.name) / f"{len(self._made):06d}{secrets.randbelow(10**12):012d}"
        with writing(f"'{folder}'"):
            folder.mkdir()
        self._made.append(folder)
        return folder

    def clear(self, named: set[str]) -> None:
        """Those that were replaced long enough ago go too."""
        if self._is_cleared:
            return
        self._is_cleared = True
        segments = self._path / SEGMENTS
        for name in segments.untouched(SAFE_AGE) - named:
            if is_segment_name(name):
                (segments / name).remove((segments / name).objects())

    def publish(self, document: str, named: set[str]) -> None:
        """Segments that are not named any more stay for a while: `clear`."""
        files = [file for folder in self._made if folder.name in named for file in folder.rglob("*") if file.is_file()]
        names = [f"{SEGMENTS}/{file.relative_to(self._room.name)}" for file in files]
        self._put += names
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for _ in pool.map(lambda name, file: (self._path / name).put(file.read_bytes()), names, files):
                pass
        if self._tag is None:
            (self._path / SEGMENTS / DOCUMENT).put(group_document({}).encode())
        # whatever interrupts this, it may have been written: what it names is not removed
        put, self._put = self._put, []
        try:
            tag = (self._path / DOCUMENT).put_if(document.encode(), self._tag)
        except UnreachableError as error:
            error.add_note(f"Whether the survey was changed is not known: `dgmmis info {self._path}` says so.")
            raise
        if tag is None:
            tag = self._tag_above({folder.name for folder in self._made} & named)
        if tag is None:
            self._put = put
            raise LockedError(
                f"another process changed '{self._path}' meanwhile; nothing of this one is kept", do="run again"
            )
        self._tag = tag
        self._forget()

    def discard(self, named: Callable[[], set[str]]) -> None:
        """What was put too, unless a manifest may name it."""
        del named
        put = self._put
        self._forget()
        self._path.remove(put)

    def release(self) -> None:
        self._room.cleanup()

    def _tag_above(self, names: set[str]) -> str | None:
        """Of the manifest there, if it has segments of these names: it was put, the answer got lost, and another writer
        has gone on from it."""
        tag = (self._path / DOCUMENT).read()[1]
        there = {segment.name for segment in Manifest.read(self._path).segments}
        return tag if names and names <= there else None

    def _forget(self) -> None:
        for folder in self._made:
            shutil.rmtree(folder, ignore_errors=True)
        self._made, self._put = [], []
