"""VersionFolders: the versions of a model store on a disk, as a process sees them that holds it."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from dgmmis.dataset.checkpoint import LATEST, VERSIONS
from dgmmis.dataset.disk import writing
from dgmmis.dataset.lock import held
from dgmmis.dataset.publish import replace_file, sync
from dgmmis.errors import StoreError

REFUSED = "refused"
"""Where the last run is that was not published."""

MANIFEST = "manifest.json"
"""What made a version; in its folder."""


class Versions(Protocol):
    """The ground of a model store."""

    @property
    def room(self) -> Path:
        """The folder, on a disk, where a run is made that may be published."""

    def held(self) -> AbstractContextManager[None]:
        """Hold the store against others."""

    def names(self) -> list[str]:
        """The versions there are, in no order."""

    def settle(self, folder: Path, number: int, describe: Callable[[str], None]) -> str:
        """Move a run from the room among the versions, whole or not at all; its name, of that number or a later one, by
        which it is described first."""

    def point(self, content: bytes, settled: str | None = None) -> None:
        """Replace the file that names the version which holds; `settled` is the one that is not yet known to any."""

    def refuse(self, folder: Path) -> None:
        """Move a run from the room to where the refused one is, in its place."""

    def drop_refused(self) -> None:
        """Remove the refused one."""

    def remove(self, name: str) -> None:
        """Remove a version: half of one is none."""

    def clear(self) -> None:
        """Remove what is left of versions that were being removed, or made, when a process was killed."""


class VersionFolders:
    """Those of a store on a disk; see Versions."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def room(self) -> Path:
        return self._path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the store against others.

        Raises:
            LockedError: another process holds it.
            StoreError: something else is there, or nothing can be written.
        """
        with writing(f"the model store '{self._path}'"):
            if self._path.exists() and not self._is_one():
                raise StoreError(f"'{self._path}' is there and is not a model store", do="give another path")
            (self._path / VERSIONS).mkdir(parents=True, exist_ok=True)
        with held(self._path):
            yield

    def names(self) -> list[str]:
        try:
            return [entry.name for entry in (self._path / VERSIONS).iterdir() if is_version_name(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def settle(self, folder: Path, number: int, describe: Callable[[str], None]) -> str:
        name = f"{number:06d}"
        describe(name)
        folder.rename(self._path / VERSIONS / name)
        sync(self._path / VERSIONS)
        return name

    def point(self, content: bytes, settled: str | None = None) -> None:
        del settled
        replace_file(self._path / LATEST, content)

    def refuse(self, folder: Path) -> None:
        self.drop_refused()
        folder.rename(self._path / REFUSED)

    def drop_refused(self) -> None:
        shutil.rmtree(self._path / REFUSED, ignore_errors=True)

    def remove(self, name: str) -> None:
        doomed = self._path / VERSIONS / f".{name}"
        (self._path / VERSIONS / name).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def clear(self) -> None:
        for leftover in (self._path / VERSIONS).glob(".[0-9]*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _is_one(self) -> bool:
        names = {entry.name for entry in self._path.iterdir() if not entry.name.startswith(".")}
        return VERSIONS in names or not names


def is_version_name(name: str) -> bool:
    """Whether a folder of that name is a version."""
    return re.fullmatch("[0-9]{6,}", name) is not None
