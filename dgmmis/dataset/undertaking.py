"""Undertaking: what a run that is under way is about, so that whoever goes on with it does the same work."""

import hashlib
import json
from dataclasses import dataclass

REPLACED = "rows that were replaced since"


@dataclass(frozen=True, slots=True)
class Undertaking:
    """What is fitted to what.

    Args:
        text: of the job file.
        path: of the job file, from which its relative paths go out.
        essence: what of the job decides the answer, as JSON text: all but where the work runs.
        inputs: a digest of what the job's files hold: selection, noise law, background, first mixture.
        data: path of the survey store.
        segments: name and identity of each of its segments when the fit began.
        starts_from: whether the fit begins with the model in START, since its journal could not be gone on with.
        n_sittings: how often it was begun.
        run_id: a short random word that it keeps for life.
        destination: URL of the run in a bucket, where it is not made in its own folder.
        tried: models that it is to be the best of, as JSON text; empty: it is of one.
        failed: why the last sitting ended, if what it found cannot be right; empty: something else ended it.
    """

    text: str
    path: str
    essence: str
    inputs: str
    data: str
    segments: tuple[tuple[str, str], ...]
    starts_from: bool = False
    n_sittings: int = 0
    run_id: str = ""
    destination: str = ""
    tried: str = ""
    failed: str = ""

    def __post_init__(self) -> None:
        # read from a file, they may be anything
        words = [self.text, self.path, self.essence, self.inputs, self.data, self.run_id, self.destination]
        if not all(isinstance(word, str) for word in [*words, self.tried, self.failed]) or not isinstance(
            self.n_sittings, int
        ):
            raise TypeError("a value of another type")

    @property
    def kind(self) -> str:
        """What people call it."""
        return "selection" if self.tried else "fit"

    @property
    def command(self) -> str:
        """What begins it."""
        return "dgmmis select" if self.tried else "dgmmis fit"

    def digest(self) -> str:
        """What tells it from all others, wherever it is made."""
        said = (self.essence, self.tried, self.inputs, self.data, self.segments)
        return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()

    def difference(self, other: "Undertaking") -> str | None:
        """What another one has otherwise, in words."""
        if (self.essence, self.tried) != (other.essence, other.tried):
            return "another job"
        if self.inputs != other.inputs:
            return "other files of its job (selection, noise, background or init)"
        if self.data != other.data:
            return "another survey"
        if self.segments != other.segments:
            return "fewer rows" if other.segments[: len(self.segments)] == self.segments else REPLACED
        return None
