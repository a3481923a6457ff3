"""What a process keeps between passes: loaded chunks, while they fit; the rest is streamed.

A pass visits items in the same order again and again, so dropping the least recently used would drop exactly what is
wanted next. Instead what came first stays, and only what the previous pass did not touch makes room. The points of a
round that is over go at once: those of the next are as many, or four times as many.
"""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

Key = tuple[Hashable, ...]


@dataclass(slots=True)
class _Entry:
    value: Any
    nbytes: int
    last_pass: int


class Resident:
    """A bounded store of loaded items; safe to use from several threads."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, Key], _Entry] = {}
        self._lock = threading.Lock()
        self.nbytes = 0

    def get(self, run: str, number: int, key: Key, load: Callable[[], Any], budget: int) -> Any:
        """The item `key` of a run in its pass `number`: kept, or loaded, and kept from now on if the budget allows.

        The value must have `nbytes`.
        """
        with self._lock:
            entry = self._entries.get((run, key))
            if entry is not None:
                entry.last_pass = number
                return entry.value
        value = load()
        with self._lock:
            if (run, key) not in self._entries:
                self._make_room(run, number, value.nbytes, budget)
                if self.nbytes + value.nbytes <= budget:
                    self._entries[run, key] = _Entry(value, value.nbytes, number)
                    self.nbytes += value.nbytes
        return value

    def holds(self, run: str, key: Key) -> bool:
        """Whether an item of a run is kept, and need not be loaded."""
        with self._lock:
            return (run, key) in self._entries

    def forget(self, run: str, part: Hashable) -> None:
        """Let go of a run's items that have this part in their keys."""
        with self._lock:
            for name in [name for name in self._entries if name[0] == run and part in name[1]]:
                self.nbytes -= self._entries.pop(name).nbytes

    def drop(self, run: str | None = None) -> None:
        """Forget a run's items, or everything."""
        with self._lock:
            for name in [name for name in self._entries if run is None or name[0] == run]:
                self.nbytes -= self._entries.pop(name).nbytes

    def _make_room(self, run: str, number: int, nbytes: int, budget: int) -> None:
        stale = (name for name, entry in self._entries.items() if name[0] == run and entry.last_pass < number - 1)
        others = (name for name in self._entries if name[0] != run)
        for name in [*stale, *others]:
            if self.nbytes + nbytes <= budget:
                return
            self.nbytes -= self._entries.pop(name).nbytes


RESIDENT = Resident()
"""The one of this process."""


def drop_resident(run: str | None = None) -> None:
    """Forget what this process keeps (a function, so that it can be sent to workers)."""
    RESIDENT.drop(run)
