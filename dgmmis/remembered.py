"""Remembered: an executor whose sums are noted in a journal, and taken from there when a fit is begun again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from dgmmis.dataset.journal import Journal
from dgmmis.execution.executor import Executor, Gauge, Resources, Survived, Task
from dgmmis.execution.tree import Partial
from dgmmis.imputation import Unseen
from dgmmis.information import Information
from dgmmis.latent import LatentError
from dgmmis.moments import Moments
from dgmmis.spent import Spent
from dgmmis.split_merge import Shapes

SUMMANDS: Mapping[str, type] = MappingProxyType(
    {summand.__name__: summand for summand in (Information, LatentError, Moments, Shapes, Spent, Unseen)}
)
"""What tasks sum, besides arrays and numbers."""

SPENT = "spent"
"""Beside the sums in the journal, under a name that no tree has: where the time went."""


class Remembered:
    """Runs passes on an executor, but for those whose sums the journal has. What `map` gives is asked for again: rows
    of the sample, noise classes.

    Args:
        executor: that does the work.
        journal: of the fit.
    """

    def __init__(self, executor: Executor, journal: Journal) -> None:
        self.executor, self.journal = executor, journal
        self._before, self._replayed = executor.spent, Spent()

    @property
    def resources(self) -> Resources:
        return self.executor.resources

    @property
    def in_process(self) -> bool:
        return self.executor.in_process

    @property
    def spent(self) -> Spent:
        """Of the fit, and what its earlier sittings spent on the sums that the journal had."""
        return self.executor.spent - self._before + self._replayed

    def map_reduce(self, function: Task, shared: Any, groups: Sequence[Sequence[Any]]) -> Partial:
        before, asked = self.executor.spent, False

        def ask() -> dict[str, Any]:
            nonlocal asked
            asked = True
            totals = self.executor.map_reduce(function, shared, groups).totals()
            return {**totals, SPENT: self.executor.spent - before}

        totals = dict(self.journal.answer(_question(function, shared), ask))
        spent = totals.pop(SPENT, Spent())  # a journal of before does not know
        if not asked:
            self._replayed += replace(spent, replayed=spent.seconds)
        return Partial.of_totals(totals)

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return self.executor.map(function, items)

    def everywhere(self, function: Callable[[], Any]) -> list[Any]:
        return self.executor.everywhere(function)

    def about(self) -> list[tuple[str, str]]:
        return self.executor.about()

    def survived(self) -> Survived:
        return self.executor.survived()

    def show(self, job: str, gauges: Sequence[Gauge]) -> None:
        self.executor.show(job, gauges)

    def close(self) -> None:
        self.executor.close()


def _question(function: Task, shared: Any) -> str:
    """What tells one pass from another: the kind of sums, and of which models."""
    inner = getattr(function, "function", None)
    kinds = [type(function).__name__] + ([] if inner is None else [getattr(inner, "__name__", type(inner).__name__)])
    return " ".join([*kinds, shared.digest() if hasattr(shared, "digest") else type(shared).__name__])
