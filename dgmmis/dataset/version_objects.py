"""VersionObjects: the versions of a model store in a bucket, as a process sees them that publishes there.

There is no lock there, and no rename. A run is made in a folder of this machine, which is held, so that of two
processes here one waits. It is put under the first number whose model nobody has put, its manifest last: without that
it is no version. `latest` is then put on the condition that it is still the one that was read: of two machines one
wins, and what the other had put is removed.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgmmis.dataset.checkpoint import LATEST, MODEL, VERSIONS
from dgmmis.dataset.disk import writing
from dgmmis.dataset.lock import held
from dgmmis.dataset.place import BucketPath
from dgmmis.dataset.segment_objects import SAFE_AGE
from dgmmis.dataset.version_folders import MANIFEST, REFUSED, is_version_name
from dgmmis.errors import LockedError, StoreError, UnreachableError


class VersionObjects:
    """Those of a store in a bucket; see Versions.

    Args:
        path: of the store.
        room: the folder of this machine where runs are made; None: none is.
    """

    def __init__(self, path: BucketPath, room: Path | None) -> None:
        self._path, self._room = path, room
        self._tag: str | None = None

    @property
    def room(self) -> Path:
        assert self._room is not None, "no run is made"
        return self._room

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the room against others of this machine, and from now on notice if another machine publishes.

        Raises:
            LockedError: another process of this machine is at it.
            StoreError: something else is there, or the room cannot be made.
            UnreachableError: the object store does not answer, or refuses.
        """
        names = self._path.names()
        if names and not names & {VERSIONS, LATEST}:
            raise StoreError(f"'{self._path}' is there and is not a model store", do="give another place")
        if self._room is None:
            self._tag = (self._path / LATEST).now()[1]
            yield
            return
        with writing(f"'{self._room}', where the runs for '{self._path}' are made,"):
            self._room.mkdir(parents=True, exist_ok=True)
        with held(self._room):
            self._tag = (self._path / LATEST).now()[1]
            yield
        with suppress(OSError):
            self._room.rmdir()  # if nothing is there

    def names(self) -> list[str]:
        return [
            place.split("/")[0]
            for place in (self._path / VERSIONS).objects()
            if place.endswith(f"/{MANIFEST}") and is_version_name(place.split("/")[0])
        ]

    def settle(self, folder: Path, number: int, describe: Callable[[str], None]) -> str:
        model = (folder / MODEL).read_bytes()
        # what a process left that was killed has a number too
        number = max([number, *(1 + int(name) for name in (self._path / VERSIONS).names() if name.isdecimal())])
        while (self._path / VERSIONS / f"{number:06d}" / MODEL).put_if(model, None) is None:
            number += 1
        name = f"{number:06d}"
        describe(name)
        self._put_rest(folder, self._path / VERSIONS / name)
        shutil.rmtree(folder)
        return name

    def point(self, content: bytes, settled: str | None = None) -> None:
        """As Versions.

        Raises:
            LockedError: another machine published meanwhile.
        """
        try:
            tag = (self._path / LATEST).put_if(content, self._tag)
        except UnreachableError as error:
            error.add_note(f"Whether it was published is not known: `dgmmis versions {self._path}` says so.")
            raise
        if tag is None and settled is not None:
            tag = self._tag_that_names(settled)
            if tag is None:
                self.remove(settled)
        if tag is None:
            raise LockedError(
                f"another process published in '{self._path}' meanwhile; nothing of this one is kept", do="run again"
            )
        self._tag = tag

    def refuse(self, folder: Path) -> None:
        self.drop_refused()
        place = self._path / REFUSED
        (place / MODEL).put((folder / MODEL).read_bytes())
        self._put_rest(folder, place)
        shutil.rmtree(folder)

    def drop_refused(self) -> None:
        self._drop(self._path / REFUSED)

    def remove(self, name: str) -> None:
        self._drop(self._path / VERSIONS / name)

    def clear(self) -> None:
        """Of those that are old enough: another machine may be putting what is not whole yet."""
        versions = self._path / VERSIONS
        for name in versions.untouched(SAFE_AGE) - {*self.names()}:
            if is_version_name(name):
                self._drop(versions / name)

    def _put_rest(self, folder: Path, place: BucketPath) -> None:
        """All but the model, the manifest last."""
        names = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
        for name in [*(name for name in names if name not in (MODEL, MANIFEST)), MANIFEST]:
            (place / name).put((folder / name).read_bytes())

    def _drop(self, place: BucketPath) -> None:
        place.remove([MANIFEST])
        place.remove(place.objects())

    def _tag_that_names(self, name: str) -> str | None:
        """Of the pointer, if it names a version: another machine took it for that of a process which was killed."""
        content, tag = (self._path / LATEST).now()
        with suppress(ValueError, TypeError, KeyError):
            return tag if content is not None and json.loads(content)["version"] == name else None
        return None
