"""The model store: the versions of a model that were published, each a run that never changes, and which one holds.

STORE/versions/000012/ is a run with what made it in `manifest.json`; STORE/latest names the version that holds, and is
replaced in one step. STORE/refused is the last run that was not published, and STORE/set_aside.json lists the sources
that are left out since. A run that may be published is made in `candidate`, on a disk: in the store, or in the room of
one in a bucket (`version_folders`, `version_objects`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dgmmis.dataset.checkpoint import LATEST, VERSIONS, Run, is_run, is_unfinished, latest_name, read_run
from dgmmis.dataset.disk import writing
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import document_bytes, replace_document, sync_tree
from dgmmis.dataset.version_folders import MANIFEST, REFUSED, VersionFolders, Versions
from dgmmis.dataset.version_objects import VersionObjects
from dgmmis.errors import JobError, StoreError, UnreachableError

SET_ASIDE, WITHOUT_ROWS = "set_aside.json", "without_rows.json"
ABOUT_CANDIDATE = "candidate.json"


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A run of the store, and what made it.

    Args:
        path: of the run.
        manifest: JSON values: inputs with their checksums, versions, seeds, settings, costs, results.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def published(self) -> str:
        """When, in UTC."""
        return str(self.manifest["published"])

    def run(self, *, allow_code: bool = False) -> Run:
        return read_run(self.path, allow_code=allow_code)


class ModelStore:
    """The store at a path, which need not be there yet. What changes it wants it to be held (`held`).

    Args:
        path: of it, or its URL in a bucket.
        beside: the folder beside which runs are made for one in a bucket; None: none is made.
    """

    def __init__(self, path: str | Path, beside: Path | None = None) -> None:
        self.path = place_of(path).absolute()
        self._versions: Versions = VersionFolders(self.path)
        if isinstance(self.path, BucketPath):
            room = None if beside is None else beside / f"{self.path.name}.publishing"
            self._versions = VersionObjects(self.path, room)

    def require(self) -> "ModelStore":
        """This one, if it is there.

        Raises:
            StoreError: nothing is, or something else.
        """
        if not (self.path / VERSIONS).is_dir():
            raise StoreError(f"no model store at '{self.path}'", do="`dgmmis reprocess` makes one beside its job file")
        return self

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the store against others; in a bucket, against others of this machine.

        Raises:
            LockedError: another process holds it.
            StoreError: something else is there, or nothing can be written.
        """
        with self._versions.held():
            yield

    def finish(self) -> None:
        """Point to a version that a process was about to, which was killed.

        Raises:
            StoreError: there are versions, and nothing says which of them holds.
        """
        names, pointer = self.names(), self._pointer()
        if not names:
            return
        last = self.version(names[-1])
        if last.manifest.get("previous") == pointer.get("version"):
            if last.name not in pointer.get("rolled_back", []):
                self._point_to(last.name)
        elif "version" not in pointer:
            do = f"say which: `dgmmis rollback --to VERSION {self.path}`"
            raise StoreError(f"nothing says which version of '{self.path}' holds", do=do)

    @property
    def candidate(self) -> Path:
        """Where the run is made that may be published."""
        return self._versions.room / "candidate"

    def candidate_of(self, about: Mapping[str, Any], *, allow_code: bool) -> Run | None:
        """The candidate, if it was made of the same and is finished, but a process was killed before it was published,
        or it did not converge. From now on the candidate is of `about`."""
        with suppress(StoreError):  # what is damaged is made anew
            if (
                self._json(self._versions.room / ABOUT_CANDIDATE, None) == about
                and is_run(self.candidate)
                and not is_unfinished(self.candidate)
            ):
                return read_run(self.candidate, allow_code=allow_code)
        with writing(f"the model store '{self.path}'"):
            replace_document(self._versions.room / ABOUT_CANDIDATE, about)
        return None

    def names(self) -> list[str]:
        """The versions there are, oldest first."""
        return sorted(self._versions.names(), key=int)

    def version(self, name: str) -> Version:
        """A version by name.

        Raises:
            JobError: there is none of that name.
            StoreError: it is damaged.
        """
        if name not in self.names():
            known = ", ".join(self.names()[-5:]) or "none yet"
            raise JobError(f"no version '{name}' in '{self.path}'", expected=f"one of {known}")
        return self._read(self.path / VERSIONS / name)

    def newest(self) -> Version | None:
        """The version that was made last, be it rolled back since; one that another machine made and that never held
        is none."""
        pointer = self._pointer()
        held_once = {pointer.get("version"), *pointer.get("rolled_back", [])}
        names = [name for name in self.names() if name in held_once]
        return self.version(names[-1]) if names else None

    def latest(self) -> Version | None:
        """The version that holds."""
        name = latest_name(self.path)
        return None if name is None else self.version(name)

    @property
    def refused_path(self) -> Path:
        """Where the last run is kept that was not published."""
        return self.path / REFUSED

    def refused(self) -> Version | None:
        """The last run that was made after the newest version and not published, if there is one."""
        return self._read(self.refused_path) if (self.refused_path / MANIFEST).is_file() else None

    def publish(self, manifest: Mapping[str, Any]) -> Version:
        """Make the candidate the version that holds, in one step."""
        names, pointer = self.names(), self._pointer()
        number = 1 + int(names[-1]) if names else 1

        def described(name: str) -> None:
            self._describe({**manifest, "version": name, "previous": pointer.get("version")})

        with writing(f"the model store '{self.path}'"):
            name = self._versions.settle(self.candidate, number, described)
            self._point_to(name, settled=name)
            (self._versions.room / ABOUT_CANDIDATE).unlink(missing_ok=True)
            self._versions.drop_refused()
        return self.version(name)

    def refuse(self, manifest: Mapping[str, Any]) -> None:
        """Keep the candidate to be looked at, in the place of an earlier one."""
        self._describe(manifest)
        with writing(f"the model store '{self.path}'"):
            self._versions.refuse(self.candidate)

    def set_aside(self) -> list[dict[str, Any]]:
        """The sources that are left out: their origins, the segment each was in, why, and since when."""
        return self._list(SET_ASIDE)

    def without_rows(self) -> list[dict[str, Any]]:
        """Origins of the sources that had no rows which the survey had not."""
        return self._list(WITHOUT_ROWS)

    def add_without_rows(self, origin: Mapping[str, Any]) -> None:
        with writing(f"the model store '{self.path}'"):
            self._write(WITHOUT_ROWS, [*self.without_rows(), origin])

    def leave_out(self, sources: Sequence[Mapping[str, Any]]) -> None:
        """Set sources aside."""
        known = [entry.get("segment") for entry in self.set_aside()]
        with writing(f"the model store '{self.path}'"):
            new = [source for source in sources if source.get("segment") not in known]
            self._write(SET_ASIDE, [*self.set_aside(), *new])

    def forget(self, is_kept: Callable[[Mapping[str, Any]], bool]) -> None:
        """Set only those aside of the sources that are, which are to be kept there."""
        entries = self.set_aside()
        kept = [entry for entry in entries if is_kept(entry)]
        if len(kept) < len(entries):
            with writing(f"the model store '{self.path}'"):
                self._write(SET_ASIDE, kept)

    def take_back(self) -> None:
        """Leave no source out any more."""
        with writing(f"the model store '{self.path}'"):
            (self.path / SET_ASIDE).unlink(missing_ok=True)

    def roll_back(self, name: str | None = None) -> Version:
        """Make an earlier version hold again: the one before the one that holds, or the one of a name. Newer ones stay.

        Raises:
            JobError: there is none.
        """
        if name is None:
            holds = latest_name(self.path)
            if holds is None:
                raise JobError(f"nothing is published in '{self.path}'", do="`dgmmis reprocess` publishes")
            earlier = [other for other in self.names() if int(other) < int(holds)]
            if not earlier:
                raise JobError(f"no version before {holds} in '{self.path}'", do="`dgmmis versions` lists them")
            name = earlier[-1]
        chosen = self.version(name)
        self._point_to(chosen.name, [other for other in self.names() if int(other) > int(chosen.name)])
        return chosen

    def prune(self, keep: int, days: float | None) -> list[str]:
        """Remove all but the last `keep` versions, and those older than so many days; never the one that holds, nor the
        newest. Returns what went."""
        names, holds = self.names(), latest_name(self.path)
        gone = []
        for position, name in enumerate(reversed(names)):
            if position == 0 or name == holds:
                continue
            is_old = days is not None and self._age(name) > timedelta(days=days)
            if position >= keep or is_old:
                with writing(f"the model store '{self.path}'"):
                    self._versions.remove(name)
                gone.append(name)
        self._versions.clear()
        return gone

    def _age(self, name: str) -> timedelta:
        """Of a version; of one that cannot be read, none."""
        try:
            return datetime.now(UTC) - datetime.fromisoformat(self.version(name).published)
        except (StoreError, ValueError, TypeError):
            return timedelta()

    def _describe(self, manifest: Mapping[str, Any]) -> None:
        """The candidate with its manifest, on the disk."""
        document = {**manifest, "published": datetime.now(UTC).isoformat("T", "seconds")}
        with writing(f"the model store '{self.path}'"):
            replace_document(self.candidate / MANIFEST, document)
            sync_tree(self.candidate)

    def _point_to(self, name: str, rolled_back: Sequence[str] = (), *, settled: str | None = None) -> None:
        now = datetime.now(UTC).isoformat("T", "seconds")
        pointer = {"version": name, "since": now, "rolled_back": list(rolled_back)}
        self._versions.point(document_bytes(pointer), settled)

    def _pointer(self) -> dict[str, Any]:
        try:
            found = self._json(self.path / LATEST, {})
        except UnreachableError:
            raise
        except StoreError:  # `latest_name` says so where it matters
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, value: Any) -> None:
        replace_document(self.path / name, value)

    def _list(self, name: str) -> list[dict[str, Any]]:
        found = self._json(self.path / name, [])
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise StoreError(f"'{self.path / name}' is damaged", do="correct it, or remove it to try all again")
        return found

    def _json(self, file: Path, default: Any) -> Any:
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return default
        except UnreachableError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"'{file}' cannot be read", got=error, do="restore it") from error

    def _read(self, path: Path) -> Version:
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            return Version(path, {**manifest, "published": str(manifest["published"])})
        except UnreachableError:
            raise
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreError(f"the version '{path}' cannot be read", got=error, do="restore or remove it") from error
