"""Spent: where time went, and what was read in it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from operator import add, attrgetter, sub
from typing import Any


@dataclass(frozen=True, slots=True)
class Spent:
    """Where time went, in seconds, and what was read in it: of a task, of a pass, or of a fit.

    Of a task they are those of its thread. Of anything longer they are of the clock on the wall: what many workers did
    at a time counts once, and the four kinds add up.

    Args:
        read: opening and decoding chunks, as far as nothing else was done meanwhile; samples of the rows.
        compute: in kernels, with laying rows out and drawing points for them.
        reduce: joining sums and moving them, the scheduler, workers without work.
        driver: M-steps, longer steps, the information, rounds of points, checkpoints, the journal.
        replayed: of reading, computing and reducing, what an earlier sitting spent, whose sums the journal had.
        rows, bytes: that were read, as loaded; not those that were kept from before.
        tasks: groups of chunks that were worked on; 0: where the time went is not known.
    """

    read: float = 0.0
    compute: float = 0.0
    reduce: float = 0.0
    driver: float = 0.0
    replayed: float = 0.0
    rows: int = 0
    bytes: int = 0
    tasks: int = 0

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "Spent":
        """From JSON values.

        Raises:
            TypeError, ValueError: they are something else.
        """
        kinds: dict[str, Any] = {of.name: float if isinstance(of.default, float) else int for of in fields(cls)}
        return cls(**{name: kind(document[name]) for name, kind in kinds.items() if name in document})

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(*map(add, VALUES(self), VALUES(other)))

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(*map(sub, VALUES(self), VALUES(other)))

    @property
    def seconds(self) -> float:
        """In all, what was replayed included."""
        return self.read + self.compute + self.reduce + self.driver

    def over(self, seconds: float, n_workers: int) -> "Spent":
        """Of tasks that took so many seconds, on workers of which some may have waited: the rest is `reduce`."""
        busy = self.read + self.compute
        share = min(1 / n_workers, seconds / busy) if busy > 0 else 0.0  # workers that left were counted, too
        wall = (share * self.read, share * self.compute, seconds - share * busy)
        return Spent(*wall, rows=self.rows, bytes=self.bytes, tasks=self.tasks)

    def within(self, seconds: float) -> "Spent":
        """Of a stretch of so many seconds in which this was spent elsewhere: the rest is `driver`."""
        elsewhere = self.read + self.compute + self.reduce - self.replayed
        return replace(self, driver=max(0.0, seconds - elsewhere))


VALUES = attrgetter(*(field.name for field in fields(Spent)))
"""Of the fields, in order: sums are made for each task, which may be a small one."""

NOTHING = Spent()
