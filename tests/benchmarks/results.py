"""Results: what a run has measured, as JSON in a folder that the repository keeps."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import Machine

FOLDER = Path(__file__).parent / "results"
OURS = "dgmmis"
MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a contestant did when its turn came.

    Args:
        first: seconds of the first pass, which loads, or prepares; None: it is not told apart.
        seconds: of each of the others.
    """

    first: float | None
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """A contestant on a work.

    Args:
        work, who, how: "W2", "dgmmis", "threads"; or "W2", "gmmx", "JAX".
        outcome: "measured", or why not.
        turns: the contestants took turns: the i-th of one was beside the i-th of another.
        chosen: whether this is how dgmmis does it when it is not told.
        peaks: bytes of each process at most; of a peer's, all its processes together.
        planned: bytes that dgmmis planned for a process.
        versions: of what it consists of.
    """

    work: str
    who: str
    how: str
    outcome: str = MEASURED
    turns: tuple[Turn, ...] = ()
    chosen: bool = False
    peaks: Mapping[str, int] = field(default_factory=dict)
    planned: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> list[float]:
        return [seconds for turn in self.turns for seconds in turn.seconds]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def first(self) -> float | None:
        """Of the first turn."""
        return self.turns[0].first if self.turns else None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times longer a peer takes: median and range over the turns that both had."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, peer: Series, ours: Series) -> "Ratio | None":
        pairs = [
            statistics.median(theirs.seconds) / statistics.median(mine.seconds)
            for theirs, mine in zip(peer.turns, ours.turns, strict=False)
            if theirs.seconds and mine.seconds
        ]
        return cls(statistics.median(pairs), min(pairs), max(pairs)) if pairs else None


@dataclass(frozen=True, slots=True)
class Described:
    """A work in numbers: what it is, its floor and its target in seconds."""

    name: str
    title: str
    n: int
    d: int
    k: int
    floor: float | None
    target: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """All of a run.

    Args:
        kind: "works", "components" or "tycho".
        date: of the day.
        quick: whether the works were made small, to try it out.
        machine: on which.
        rates: product, exp, bandwidth.
        works: that were done.
        series: by contestant and work.
        extras: what has its own form: compilation, exactness, arrival, the sweep over K, Tycho-2.
    """

    kind: str
    date: str
    quick: bool
    machine: Machine
    rates: Mapping[str, float] = field(default_factory=dict)
    works: Sequence[Described] = ()
    series: Sequence[Series] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its file."""
        parts = (self.date, self.machine.slug, "" if self.kind == "works" else self.kind, "quick" if self.quick else "")
        return "-".join(part for part in parts if part)

    def of(self, work: str) -> list[Series]:
        return [one for one in self.series if one.work == work]

    def ours(self, work: str) -> Series | None:
        """dgmmis on a work, as it chooses to do it."""
        mine = [one for one in self.of(work) if one.who == OURS and one.seconds]
        return next((one for one in mine if one.chosen), mine[0] if mine else None)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Run":
        given = json.loads(text)
        turns = [tuple(Turn(t["first"], tuple(t["seconds"])) for t in one["turns"]) for one in given["series"]]
        series = tuple(Series(**{**one, "turns": own}) for one, own in zip(given["series"], turns, strict=True))
        works = tuple(Described(**one) for one in given["works"])
        return cls(**{**given, "machine": Machine(**given["machine"]), "works": works, "series": series})

    def write(self, folder: Path = FOLDER) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(self.to_json(), encoding="utf-8")
        return path


def latest(kind: str, folder: Path = FOLDER, *, quick: bool = False) -> Run | None:
    """The last run of a kind, or None."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("2*.json"))]  # others are not of runs
    runs = [Run.from_json(text) for text in texts]
    return next((run for run in reversed(runs) if run.kind == kind and run.quick == quick), None)
