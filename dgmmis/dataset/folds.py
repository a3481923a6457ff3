"""Folds of a catalogue: views of it that keep one of L parts of the rows, or all the others.

Which row is in which fold is addressed by the seed and the leaf (`address`), so that any worker decides the same, and
how many rows a fold has of a leaf is known without looking. Within a leaf the folds differ by one row at most.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.chunk import LEAF_ROWS, Chunk, leaf_pieces
from dgmmis.dataset.arrays import Catalogue, Part, Reference
from dgmmis.errors import DataError, JobError


@dataclass(frozen=True, slots=True)
class Fold:
    """One of several parts of the rows.

    Args:
        seed: of the parts.
        n_folds: L.
        number: which of them, from 0.

    Raises:
        JobError: fewer than two folds, or no such fold.
    """

    seed: int
    n_folds: int
    number: int

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise JobError("n_folds must be at least 2", got=self.n_folds)
        if not 0 <= self.number < self.n_folds:
            raise JobError("no such fold", expected=f"0 to {self.n_folds - 1}", got=self.number)

    @classmethod
    def all(cls, n_folds: int, seed: int) -> "tuple[Fold, ...]":
        """The L folds."""
        return tuple(cls(seed, n_folds, number) for number in range(max(1, n_folds)))

    def has(self, leaf: int, n: int) -> np.ndarray:
        """Which of the n rows of a leaf of the catalogue are in the fold (n,)."""
        order = generator(self.seed, Purpose.FOLD, leaf).permutation(n)
        return np.asarray((order + self._turn(leaf)) % self.n_folds == self.number)

    def count(self, leaf: int, n: int) -> int:
        """How many they are: places first, first + L, first + 2 L ... of the leaf's random order."""
        first = (self.number - self._turn(leaf)) % self.n_folds
        return max(0, -(-(n - first) // self.n_folds))

    def _turn(self, leaf: int) -> int:
        """Another fold has the first place in another leaf (Knuth's multiplicative hash), or all small leaves were in
        the first folds."""
        return leaf * 2654435769 >> 16


@dataclass(frozen=True, slots=True, eq=False)
class FoldReference:
    """The rows of a reference that are in a fold, or those that are not; small, and picklable if the reference is.

    Args:
        whole: the reference.
        fold: the fold.
        is_held_out: whether its rows are kept, or the others.
        start, stop: of the rows that are kept; start is a multiple of LEAF_ROWS.
        first_leaf: number of the first leaf. Leaves are packed anew and numbered on from reference to reference: with
            gaps in their numbers sums would not join.
    """

    whole: Reference
    fold: Fold
    is_held_out: bool
    start: int
    stop: int
    first_leaf: int

    @property
    def n_rows(self) -> int:
        return self.stop - self.start

    @property
    def nbytes(self) -> int:
        """Bytes of the whole: it is loaded to choose from."""
        return self.whole.nbytes

    @property
    def key(self) -> str:
        fold, part = self.fold, "held-out" if self.is_held_out else "training"
        return f"{self.whole.key}:{part}-{fold.number}-of-{fold.n_folds}-by-{fold.seed}:{self.start}-{self.stop}"

    def split(self, n: int) -> "tuple[FoldReference, ...]":
        return tuple(
            replace(self, start=self.start + a, stop=self.start + b, first_leaf=self.first_leaf + a // LEAF_ROWS)
            for a, b in leaf_pieces(self.n_rows, n)
        )

    @property
    def is_ordered(self) -> bool:
        return self.whole.is_ordered

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        return self.whole.numbers(self._kept()[rows])

    def load(self) -> Chunk:
        chunk, rows = self.whole.load(), self._kept()
        return replace(chunk.take(rows), first_row=chunk.first_row + int(rows[0]))

    def _kept(self) -> np.ndarray:
        """The rows of the whole that these are."""
        kept = [self.fold.has(leaf, n) == self.is_held_out for leaf, n in _leaves(self.whole)]
        return np.flatnonzero(np.concatenate(kept))[self.start : self.stop]


def training(catalogue: Catalogue, fold: Fold) -> Part:
    """The rows that are not in a fold, in their order.

    Raises:
        DataError: a fold without rows.
    """
    return _view(catalogue, fold, is_held_out=False)


def held_out(catalogue: Catalogue, fold: Fold) -> Part:
    """The rows that are in a fold, in their order.

    Raises:
        DataError: a fold without rows.
    """
    return _view(catalogue, fold, is_held_out=True)


def _view(catalogue: Catalogue, fold: Fold, *, is_held_out: bool) -> Part:
    n = catalogue.n_rows
    references, leaf = [], 0
    for whole in catalogue.references:
        within = sum(fold.count(number, rows) for number, rows in _leaves(whole))
        kept = within if is_held_out else whole.n_rows - within
        if kept:
            references.append(FoldReference(whole, fold, is_held_out, 0, kept, leaf))
            leaf += -(-kept // LEAF_ROWS)
    if not references:
        raise DataError("a fold has no rows", got=f"{n} rows and {fold.n_folds} folds", do="take fewer folds")
    return Part(catalogue.n_features, tuple(references), catalogue.in_memory)


def _leaves(whole: Reference) -> Iterator[tuple[int, int]]:
    """Number and rows of each leaf."""
    for number, start in enumerate(range(0, whole.n_rows, LEAF_ROWS), start=whole.first_leaf):
        yield number, min(LEAF_ROWS, whole.n_rows - start)
