"""Losses: workers that a cluster lost while it worked, and the tasks that were done again for it."""

from collections.abc import Collection
from typing import Any

from dgmmis.errors import ClusterError
from dgmmis.execution.executor import Survived
from dgmmis.execution.watch import Watch

TOPIC = "all"
"""Under which the scheduler notes that a worker left, what it held, and whether that was expected."""

OURS = ("pass-", "join-", "map-")
"""How the keys of tasks begin (`Distributed`)."""


class Losses:
    """Those since it was made. The scheduler's notes are read only once a worker is no longer there.

    Args:
        watch: over the cluster.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._since = max((at for at, _ in watch.ask("events", topic=TOPIC)), default=0.0)  # by the scheduler's clock
        self._there: frozenset[str] = frozenset()
        self._survived = Survived()

    def counted(self, workers: Collection[str] | None = None) -> Survived:
        """The losses of so far; `workers` are those that are there now. What a cluster that is gone did not tell is
        not known."""
        try:
            there = frozenset(self._watch.ask("ncores") if workers is None else workers)
            if self._there - there:
                self._survived = self._of_notes()
        except ClusterError:
            return self._survived
        self._there = there
        return self._survived

    def _of_notes(self) -> Survived:
        notes = [note for at, note in self._watch.ask("events", topic=TOPIC) if at > self._since and _is_loss(note)]
        held = ("processing-tasks", "lost-computed-tasks")
        keys = [str(key) for note in notes for name in held for key in note.get(name, ())]
        return Survived(len(notes), sum(key.startswith(OURS) for key in keys))


def _is_loss(note: Any) -> bool:
    return isinstance(note, dict) and note.get("action") == "remove-worker" and not note.get("expected")
