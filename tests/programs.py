"""Programs of the system that some tests run."""

import os
import shutil
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Programs:
    """Some that belong together.

    Args:
        names: of all that it takes; of those that a | parts, one is enough.
        packages: of Debian, that they come in.
        places: beside those of PATH where they may be.
        as_root: whether they want to be.
    """

    names: tuple[str, ...]
    packages: str
    places: str = ""
    as_root: bool = False

    @property
    def path(self) -> str:
        """Where they are looked for."""
        return os.pathsep.join(filter(None, (os.environ["PATH"], self.places)))

    def find(self, name: str) -> str | None:
        """The path of one of them."""
        return next(filter(None, (shutil.which(one, path=self.path) for one in name.split("|"))), None)

    @property
    def lacking(self) -> str:
        """Why they cannot run here; empty: they can."""
        missing = [name for name in self.names if self.find(name) is None]
        if missing:
            return f"no {', '.join(missing)}: apt-get install --no-install-recommends {self.packages}"
        return f"{self.names[0]} wants to be root" if self.as_root and os.geteuid() != 0 else ""

    @property
    def needed(self) -> pytest.MarkDecorator:
        """Marks tests that are left out where they lack."""
        return pytest.mark.skipif(bool(self.lacking), reason=self.lacking or "they are here")
