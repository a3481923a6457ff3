"""Executor: map a function over groups of items and join the sums on the canonical tree."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import Any, Protocol, runtime_checkable

from dgmmis.execution.tree import Partial
from dgmmis.spent import Spent


@dataclass(frozen=True, slots=True)
class Resources:
    """What there is to work with.

    Args:
        n_workers: tasks that run at the same time, in all.
        n_processes: that share them.
        process_bytes: memory that each process may use.
    """

    n_workers: int
    n_processes: int
    process_bytes: int


@dataclass(frozen=True, slots=True)
class Survived:
    """Faults that did no harm.

    Args:
        workers_lost: that nobody had asked to stop.
        tasks_again: that were done again, on other workers.
    """

    workers_lost: int = 0
    tasks_again: int = 0


Task = Callable[[Any, Any], Partial]
"""(shared, item) -> sums over the item's leaves; it may read items ahead (`ahead.ReadsAhead`)."""

FAN_IN = 8
"""So many tasks' sums are joined at a time, where that is done apart from the driver."""

UNEVEN = 32
"""A group may be longer or shorter than others by one part in so many."""


@runtime_checkable
class Executor(Protocol):
    """Runs one pass. All executors give the same bits."""

    @property
    def resources(self) -> Resources:
        """What it has to work with."""

    @property
    def in_process(self) -> bool:
        """Whether tasks run in this process and see its memory."""

    @property
    def spent(self) -> Spent:
        """Where the time went in all calls of so far; `driver` is nothing, and that of `map` is of reading."""

    def map_reduce(self, function: Task, shared: Any, groups: Sequence[Sequence[Any]]) -> Partial:
        """The sums of function(shared, item) over all items; each group is one task."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """function(item) for each item, in order; results must be small."""

    def everywhere(self, function: Callable[[], Any]) -> list[Any]:
        """function() in each process that does work; results must be small."""

    def about(self) -> list[tuple[str, str]]:
        """Where the work runs, in words, as (what, where)."""

    def survived(self) -> Survived:
        """The faults of so far, as far as they are known."""

    @property
    def is_watched(self) -> bool:
        """Whether there is a place where `show` shows something."""

    def show(self, news: Mapping[str, Any]) -> None:
        """Tell of a run where its cluster is looked at (`dashboard/shown.py`): values that travel, as they come."""

    def close(self) -> None:
        """Give back what was started; nothing if it was given."""


def grouped(items: Sequence[Any], n_groups: int, sizes: Sequence[int] | None = None) -> list[Sequence[Any]]:
    """Consecutive groups of nearly equal length, none empty.

    Long ones are cut where a few large nodes of the tree of sums end, since a group has two nodes for each level that
    its edges cut through, and each is as large as all the sums: that costs balance, at most one part in UNEVEN.

    Args:
        items: in order.
        n_groups: how many groups, or as many as there are items.
        sizes: of the items, where few of them differ; None: all alike.
    """
    n_groups = max(1, min(n_groups, len(items)))
    step = 1 << max(0, (len(items) // (UNEVEN * n_groups)).bit_length() - 1)
    ends = list(accumulate(sizes or [1] * len(items), initial=0))
    edges = [bisect_left(ends, ends[-1] * g / n_groups) for g in range(n_groups)]
    # the nearer of the two ends around each place
    edges = [e - (e > 0 and 2 * ends[-1] * g / n_groups < ends[e - 1] + ends[e]) for g, e in enumerate(edges)]
    edges = [round(edge / step) * step for edge in edges]
    return [items[a:b] for a, b in pairwise([*edges, len(items)]) if b > a]


def in_order(executor: Executor, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """function(item) for each item, in order, however large what it gives: no more is held than there are workers."""
    left = iter(items)
    while some := list(islice(left, executor.resources.n_workers)):
        yield from executor.map(function, some)
