"""One task: its items one after the other, the next one being read while this one is worked on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

from dgmmis.execution.failure import working_on
from dgmmis.execution.tree import Partial


@runtime_checkable
class ReadsAhead(Protocol):
    """A task whose items can be read before their turn."""

    def __call__(self, shared: Any, item: Any, read: Callable[[], Any] | None = None, /) -> Partial:
        """The sums over the item's leaves; `read`, where it began before, waits for what it gives, or raises."""

    def reads(self, shared: Any, item: Any, /) -> Callable[[], Any] | None:
        """What reads an item; None where there is nothing to read."""


def run_group(function: Callable[[Any, Any], Partial], shared: Any, group: Sequence[Any]) -> Partial:
    """The sums over a group's items; never is more than one read ahead, so that memory holds two at most."""
    if len(group) == 1 or not isinstance(function, ReadsAhead):
        return Partial.join(_sums(function, shared, item) for item in group)
    with ThreadPoolExecutor(1, thread_name_prefix="dgmmis-reads") as helper:  # starts its thread with the first read
        return Partial.join(_sums(function, shared, *item) for item in _ahead(function, shared, group, helper))


def _sums(function: Callable[..., Partial], shared: Any, item: Any, *read: Callable[[], Any] | None) -> Partial:
    with working_on(item):
        return function(shared, item, *read)


def _ahead(
    function: ReadsAhead, shared: Any, group: Sequence[Any], helper: ThreadPoolExecutor
) -> Iterator[tuple[Any, Callable[[], Any] | None]]:
    """The items and their readings, each handed out once the reading of the one after it has begun; the first is read
    where it is used."""
    item: tuple[Any, Callable[[], Any] | None] = group[0], None
    for following in group[1:]:
        reads = function.reads(shared, following)
        under_way: Future[Any] | None = None if reads is None else helper.submit(reads)
        yield item
        item = following, None if under_way is None else under_way.result
        del under_way  # what was read lives no longer than the item
    yield item
