"""One task: its items one after the other, the next one being read while this one is worked on; and what it spends."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol, TypeGuard, runtime_checkable

from dgmmis.execution.failure import working_on
from dgmmis.execution.tree import Partial
from dgmmis.spent import Spent


@runtime_checkable
class ReadsAhead(Protocol):
    """A task whose items can be read before their turn."""

    def __call__(self, shared: Any, item: Any, read: Callable[[], Any] | None = None, /) -> Partial:
        """The sums over the item's leaves; `read`, where there is something to read, gives it, waits for it where it
        began before, or raises."""

    def reads(self, shared: Any, item: Any, /) -> Callable[[], Any] | None:
        """What reads an item, whose `n_rows` and `nbytes`, if it has them, count as read then; None where there is
        nothing to read."""


def run_group(function: Callable[[Any, Any], Partial], shared: Any, group: Sequence[Any]) -> Partial:
    """The sums over a group's items; never is more than one read ahead, so that memory holds two at most."""
    clock = _Clock()
    if not _reads_ahead(function):
        sums = Partial.join(clock.sums(function, shared, item) for item in group)
    elif len(group) == 1:  # a helper takes longer to make than a small task does
        sums = clock.sums(function, shared, group[0], function.reads(shared, group[0]))
    else:
        # the helper starts its thread with the first read
        with ThreadPoolExecutor(1, thread_name_prefix="dgmmis-reads") as helper:
            sums = Partial.join(clock.sums(function, shared, *item) for item in _ahead(function, shared, group, helper))
    sums.spent = clock.spent
    return sums


def _reads_ahead(function: Any) -> TypeGuard[ReadsAhead]:
    kind: Any = type(function)
    return _is_kind_that_does(kind)


@cache
def _is_kind_that_does(kind: type) -> bool:
    """Looked up once: that of a protocol takes as long as a small task."""
    return issubclass(kind, ReadsAhead)


class _Clock:
    """What a task spends: on reading, as far as it waits for it, and on its sums; not on joining them."""

    def __init__(self) -> None:
        self._in_function = self._reading = 0.0
        self._rows = self._bytes = 0

    @property
    def spent(self) -> Spent:
        compute = self._in_function - self._reading
        return Spent(read=self._reading, compute=compute, rows=self._rows, bytes=self._bytes, tasks=1)

    def sums(self, function: Callable[..., Partial], shared: Any, item: Any, *read: Any) -> Partial:
        began = time.perf_counter()
        with working_on(item):
            found = function(shared, item, *(self._timed(one, item) for one in read))
        self._in_function += time.perf_counter() - began
        return found

    def _timed(self, read: Callable[[], Any] | None, item: Any) -> Callable[[], Any] | None:
        if read is None:
            return None

        def timed() -> Any:
            began = time.perf_counter()
            value = read()
            self._reading += time.perf_counter() - began
            self._rows += getattr(item, "n_rows", 0)
            self._bytes += getattr(item, "nbytes", 0)
            return value

        return timed


def _ahead(
    function: ReadsAhead, shared: Any, group: Sequence[Any], helper: ThreadPoolExecutor
) -> Iterator[tuple[Any, Callable[[], Any] | None]]:
    """The items and their readings, each handed out once the reading of the one after it has begun; the first is read
    where it is used."""
    item = group[0], function.reads(shared, group[0])
    for following in group[1:]:
        reads = function.reads(shared, following)
        under_way: Future[Any] | None = None if reads is None else helper.submit(reads)
        yield item
        item = following, None if under_way is None else under_way.result
        del under_way  # what was read lives no longer than the item
    yield item
