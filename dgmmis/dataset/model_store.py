"""The model store: the versions of a model that were published, each a run that never changes, and which one holds.

STORE/versions/000012/ is a run with what made it in `manifest.json`; STORE/latest names the version that holds, and is
replaced in one step. STORE/candidate is a run that is being made, STORE/refused the last one that was not published,
and STORE/set_aside.json lists the sources that are left out since.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dgmmis.dataset.checkpoint import LATEST, VERSIONS, Run, is_run, is_unfinished, latest_name, read_run
from dgmmis.dataset.disk import writing
from dgmmis.dataset.lock import held
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import replace_file, sync, sync_tree
from dgmmis.errors import JobError, RefusedError, StoreError

MANIFEST, SET_ASIDE, WITHOUT_ROWS = "manifest.json", "set_aside.json", "without_rows.json"
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
    """The store at a path, which need not be there yet. What changes it wants it to be held (`held`)."""

    def __init__(self, path: str | Path) -> None:
        self.path = place_of(path).absolute()

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
        """Hold the store against others.

        Raises:
            LockedError: another process holds it.
            RefusedError: it is in a bucket, where it can be read only.
            StoreError: something else is there, or nothing can be written.
        """
        if isinstance(self.path, BucketPath):
            raise RefusedError(
                f"models are published on a disk, and '{self.path}' is in a bucket, where they can be read only",
                do=f"publish in a folder, and copy it there, the file `{LATEST}` last",
            )
        with writing(f"the model store '{self.path}'"):
            if self.path.exists() and not self._is_one():
                raise StoreError(f"'{self.path}' is there and is not a model store", do="give another path")
            (self.path / VERSIONS).mkdir(parents=True, exist_ok=True)
        with held(self.path):
            yield

    def finish(self) -> None:
        """Point to a version that a process was about to, which was killed.

        Raises:
            StoreError: there are versions, and nothing says which of them holds.
        """
        newest, pointer = self.newest(), self._pointer()
        if newest is None:
            return
        if newest.manifest.get("previous") == pointer.get("version"):
            if newest.name not in pointer.get("rolled_back", []):
                self._point_to(newest.name)
        elif "version" not in pointer:
            do = f"say which: `dgmmis rollback --to VERSION {self.path}`"
            raise StoreError(f"nothing says which version of '{self.path}' holds", do=do)

    @property
    def candidate(self) -> Path:
        """Where the run is made that may be published."""
        return self.path / "candidate"

    def candidate_of(self, about: Mapping[str, Any], *, allow_code: bool) -> Run | None:
        """The candidate, if it was made of the same and is finished, but a process was killed before it was published,
        or it did not converge. From now on the candidate is of `about`."""
        with suppress(StoreError):  # what is damaged is made anew
            if (
                self._json(ABOUT_CANDIDATE, None) == about
                and is_run(self.candidate)
                and not is_unfinished(self.candidate)
            ):
                return read_run(self.candidate, allow_code=allow_code)
        with writing(f"the model store '{self.path}'"):
            self._write(ABOUT_CANDIDATE, about)
        return None

    def names(self) -> list[str]:
        """The versions there are, oldest first."""
        try:
            found = [entry.name for entry in (self.path / VERSIONS).iterdir() if re.fullmatch("[0-9]{6,}", entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=int)

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
        """The version that was made last, be it rolled back since."""
        names = self.names()
        return self.version(names[-1]) if names else None

    def latest(self) -> Version | None:
        """The version that holds."""
        name = latest_name(self.path)
        return None if name is None else self.version(name)

    def refused(self) -> Version | None:
        """The last run that was made after the newest version and not published, if there is one."""
        path = self.path / "refused"
        return self._read(path) if path.is_dir() else None

    def publish(self, manifest: Mapping[str, Any]) -> Version:
        """Make the candidate the version that holds, in one step."""
        names, pointer = self.names(), self._pointer()
        name = f"{1 + int(names[-1]) if names else 1:06d}"
        folder = self.path / VERSIONS / name
        self._described({**manifest, "version": name, "previous": pointer.get("version")})
        with writing(f"the model store '{self.path}'"):
            self.candidate.rename(folder)
            sync(folder.parent)
            self._point_to(name)
            (self.path / ABOUT_CANDIDATE).unlink(missing_ok=True)
            shutil.rmtree(self.path / "refused", ignore_errors=True)
        return self._read(folder)

    def refuse(self, manifest: Mapping[str, Any]) -> None:
        """Keep the candidate to be looked at, in the place of an earlier one."""
        self._described(manifest)
        with writing(f"the model store '{self.path}'"):
            shutil.rmtree(self.path / "refused", ignore_errors=True)
            self.candidate.rename(self.path / "refused")

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
                    # under another name first: half a version is none
                    doomed = self.path / VERSIONS / f".{name}"
                    (self.path / VERSIONS / name).rename(doomed)
                    shutil.rmtree(doomed, ignore_errors=True)
                gone.append(name)
        for leftover in (self.path / VERSIONS).glob(".[0-9]*"):
            shutil.rmtree(leftover, ignore_errors=True)
        return gone

    def _age(self, name: str) -> timedelta:
        """Of a version; of one that cannot be read, none."""
        try:
            return datetime.now(UTC) - datetime.fromisoformat(self.version(name).published)
        except (StoreError, ValueError, TypeError):
            return timedelta()

    def _is_one(self) -> bool:
        names = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        return VERSIONS in names or not names

    def _described(self, manifest: Mapping[str, Any]) -> None:
        """The candidate with its manifest, on the disk."""
        document = {**manifest, "published": datetime.now(UTC).isoformat("T", "seconds")}
        with writing(f"the model store '{self.path}'"):
            replace_file(self.candidate / MANIFEST, (json.dumps(document, indent=1) + "\n").encode())
            sync_tree(self.candidate)

    def _point_to(self, name: str, rolled_back: Sequence[str] = ()) -> None:
        now = datetime.now(UTC).isoformat("T", "seconds")
        self._write(LATEST, {"version": name, "since": now, "rolled_back": list(rolled_back)})

    def _pointer(self) -> dict[str, Any]:
        try:
            found = self._json(LATEST, {})
        except StoreError:  # `latest_name` says so where it matters
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, value: Any) -> None:
        replace_file(self.path / name, (json.dumps(value, indent=1) + "\n").encode())

    def _list(self, name: str) -> list[dict[str, Any]]:
        found = self._json(name, [])
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise StoreError(f"'{self.path / name}' is damaged", do="correct it, or remove it to try all again")
        return found

    def _json(self, name: str, default: Any) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return default
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"'{self.path / name}' cannot be read", got=error, do="restore it") from error

    def _read(self, path: Path) -> Version:
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            return Version(path, {**manifest, "published": str(manifest["published"])})
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreError(f"the version '{path}' cannot be read", got=error, do="restore or remove it") from error
