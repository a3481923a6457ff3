"""Sums that do not depend on how the work was divided: terms join pairwise on the aligned binary tree over leaves.

Floating-point addition is not associative, so a sum in order of arrival differs from run to run. Here a node is only
ever `left + right` of its two children, so any grouping of leaves, on any number of workers, gives the same bits.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from dgmmis.spent import NOTHING

TOP = 63
"""Level of a whole tree."""


@runtime_checkable
class Summand(Protocol):
    """What can be summed: a monoid's elements."""

    def __add__(self, other: Any, /) -> Any:
        """The sum."""


class Node(NamedTuple):
    """A node of the tree called `tree`: leaves [index * 2^level, (index + 1) * 2^level).

    A tuple, since a pass makes and looks up some for each leaf.
    """

    tree: str
    level: int
    index: int  # type: ignore[assignment]  # tuples have a method of this name, which nobody wants here

    @property
    def parent(self) -> "Node":
        return Node(self.tree, self.level + 1, self.index >> 1)

    @property
    def sibling(self) -> "Node":
        return Node(self.tree, self.level, self.index ^ 1)

    @property
    def first_leaf(self) -> int:
        return self.index << self.level


class Partial:
    """Sums over some of the leaves: for each tree the largest complete nodes; and what the tasks spent on them."""

    __slots__ = ("nodes", "spent")

    def __init__(self) -> None:
        self.nodes: dict[Node, Any] = {}
        self.spent = NOTHING

    @classmethod
    def of(cls, terms: Iterable[tuple[str, int, Summand]]) -> "Partial":
        """From terms (tree, leaf number, value)."""
        partial = cls()
        for tree, leaf, value in terms:
            partial._insert(Node(tree, 0, leaf), value)
        return partial

    @classmethod
    def join(cls, partials: Iterable["Partial"]) -> "Partial":
        """The sums over all their leaves; no leaf may be in two of them."""
        joined = cls()
        for partial in partials:
            for node, value in partial.nodes.items():
                joined._insert(node, value)
            if partial.spent is not NOTHING:
                joined.spent += partial.spent
        return joined

    def total(self, tree: str) -> Any:
        """The sum over a whole tree, or None if it has no leaves: complete nodes in leaf order, last ones first."""
        nodes = sorted((node for node in self.nodes if node.tree == tree), key=lambda node: node.first_leaf)
        total = None
        for node in reversed(nodes):  # smaller nodes lie to the right: they join among themselves first
            total = self.nodes[node] if total is None else self.nodes[node] + total
        return total

    def totals(self) -> dict[str, Any]:
        """The sum over each tree, by its name."""
        return {tree: self.total(tree) for tree in sorted({node.tree for node in self.nodes})}

    @classmethod
    def of_totals(cls, totals: Mapping[str, Any]) -> "Partial":
        """With one node a tree, its sum."""
        closed = cls()
        for tree, total in totals.items():
            closed.nodes[Node(tree, TOP, 0)] = total
        return closed

    def closed(self) -> "Partial":
        """Its totals alone: what is left to send where nothing is to be joined any more."""
        closed = Partial.of_totals(self.totals())
        closed.spent = self.spent
        return closed

    def _insert(self, node: Node, value: Any) -> None:
        while node.sibling in self.nodes:
            other = self.nodes.pop(node.sibling)
            value = value + other if node.index % 2 == 0 else other + value
            node = node.parent
        if node in self.nodes:
            raise ValueError(f"leaf counted twice: {node}")
        self.nodes[node] = value


def n_nodes(first: int, stop: int) -> int:
    """How many nodes the sums over the leaves [first, stop) are."""
    count = 0
    while first < stop:
        count += (first & 1) + (stop & 1)
        first, stop = (first + 1) >> 1, stop >> 1
    return count
