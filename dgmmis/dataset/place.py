"""A place where a survey, a run or a model store is: a path on a disk, or one in a bucket, named by its URL."""

import io
import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PosixPath
from typing import Any, NoReturn

from dgmmis.dataset.object_store import asking, client, library
from dgmmis.errors import RefusedError, StoreError

SCHEME = "s3:"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its bytes, and when it was written."""

    size: int
    modified: datetime


class BucketPath(PosixPath):
    """A path in a bucket, s3://bucket/surveys/stars.zarr: the objects whose names begin so.

    To what reads a store it is a path like others. Whatever only a disk can do is refused: there, it has no path.
    """

    __slots__ = ()

    def __str__(self) -> str:
        parts = self.parts
        return f"s3://{'/'.join(parts[1:])}" if parts[:1] == (SCHEME,) else super().__str__()

    def __fspath__(self) -> NoReturn:
        raise RefusedError(
            f"'{self}' is in an object store, and this is done on a disk only",
            do="give a path of a disk, and copy what is there",
        )

    @property
    def bucket(self) -> str:
        return self.parts[1]

    @property
    def key(self) -> str:
        """Of the object, or of those below it the beginning."""
        return "/".join(self.parts[2:])

    def __rtruediv__(self, folder: object) -> "BucketPath":
        """Itself: it is absolute."""
        return self

    def is_absolute(self) -> bool:
        return True

    def absolute(self) -> "BucketPath":
        return self

    def is_symlink(self) -> bool:
        """No: there are none."""
        return False

    def is_file(self, **_: Any) -> bool:
        """Whether there is an object of just this name."""
        return self.modified() is not None

    def is_dir(self, **_: Any) -> bool:
        """Whether there are objects below."""
        return bool(self.objects(most=1))

    def exists(self, **_: Any) -> bool:
        """Whether there are objects below, or one of just this name."""
        return self.is_dir() or self.is_file()

    def read_bytes(self) -> bytes:
        return self.read()[0]

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """The object as a file, read whole.

        Raises:
            RefusedError: it is to be written.
        """
        if mode not in ("r", "rb"):
            os.fspath(self)
        content = io.BytesIO(self.read_bytes())
        return content if mode == "rb" else io.TextIOWrapper(content, encoding="utf-8")

    def read(self) -> tuple[bytes, str]:
        """The object, and its tag: another one has another.

        Raises:
            FileNotFoundError: there is none.
            UnreachableError: the store does not answer, or refuses.
        """
        obstore = library()
        with asking(self):
            found = obstore.get(client(self.bucket), self.key)
            return bytes(found.bytes()), str(found.meta["e_tag"])

    def objects(self, most: int | None = None) -> dict[str, Stored]:
        """What is below, by its name from here on: all of it (a request for every thousand), or at most so many."""
        obstore = library()
        found: dict[str, Stored] = {}
        start = len(self.key) + 1 if self.key else 0
        with asking(self):
            for part in obstore.list(client(self.bucket), prefix=self.key or None, chunk_size=min(most or 1000, 1000)):
                found |= {one["path"][start:]: Stored(one["size"], one["last_modified"]) for one in part}
                if most is not None and len(found) >= most:
                    break
        return found

    def untouched(self, age: timedelta) -> set[str]:
        """What is just below, all of whose objects are older than that."""
        youngest: dict[str, datetime] = {}
        for place, one in self.objects().items():
            name = place.split("/")[0]
            youngest[name] = max(youngest.get(name, one.modified), one.modified)
        before = datetime.now(UTC) - age
        return {name for name, when in youngest.items() if when < before}

    def names(self) -> set[str]:
        """What is just below: objects, and what others begin with."""
        obstore = library()
        with asking(self):
            found = obstore.list_with_delimiter(client(self.bucket), prefix=self.key or None)
        paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        return {path.rpartition("/")[2] for path in paths}

    def iterdir(self) -> Generator["BucketPath", None, None]:
        return (self / name for name in sorted(self.names()))

    def put(self, content: bytes) -> None:
        """Write the object, in the place of the one that is there."""
        obstore = library()
        with asking(self):
            obstore.put(client(self.bucket), self.key, content, use_multipart=False)

    def put_if(self, content: bytes, tag: str | None) -> str | None:
        """Write the object if the one there still has a tag; None: if there is none. The tag of the new one, or None
        where another one was there.

        Raises:
            UnreachableError: the store does not answer, or refuses; whether the object was written is not known.
        """
        obstore = library()
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with asking(self):
            try:
                result = obstore.put(
                    client(self.bucket), self.key, content, mode="create" if tag is None else {"e_tag": tag}
                )
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                # a try whose answer was lost may have written it, and the next one found it
                now, its_tag = self.now()
                return its_tag if now == content else None
        return str(result["e_tag"])

    def now(self) -> tuple[bytes | None, str | None]:
        """The object and its tag, as `read`; None and None where there is none."""
        try:
            return self.read()
        except FileNotFoundError:
            return None, None

    def modified(self) -> datetime | None:
        """When the object was written; None where there is none."""
        obstore = library()
        try:
            with asking(self):
                found: datetime = obstore.head(client(self.bucket), self.key)["last_modified"]
        except FileNotFoundError:
            return None
        return found

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(str(self))
        self.parent.remove([self.name])

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects below, by their names from here on; those that are not there are no error."""
        obstore = library()
        keys = [(self / name).key for name in names]
        with asking(self):
            if keys:
                obstore.delete(client(self.bucket), keys)


def place_of(path: str | Path) -> Path:
    """The place that a path or a URL names.

    Raises:
        StoreError: a URL that names no bucket.
    """
    if isinstance(path, BucketPath):
        return path
    parts = Path(path).parts  # of which a URL that was taken for a path still has all
    if parts[:1] != (SCHEME,):
        return Path(path)
    if len(parts) < 2 or str(path).startswith(f"{SCHEME}///") or ".." in parts:
        raise StoreError(f"'{path}' names nothing in a bucket", expected="s3://BUCKET/NAME", do="check the URL")
    return BucketPath(*parts)
