"""Answers: what is said of each row of X, in the kind of array that X is.

numpy arrays, tables of pandas, zarr arrays and stores are answered in numpy, in the order of the catalogue. dask arrays
and dask tables are answered in lazy dask arrays, chunk for chunk, and nothing is read before these are computed. An
xarray DataArray is answered in a DataArray with the coordinates of its rows, lazy where it was.

What needs points drawn for it, Z where the noise differs by object and rows selected on what the catalogue lacks, has
them drawn chunk by chunk: such answers depend, within the error that `scoring` allows, on how rows are cut.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.execution.blas import one_blas_thread
from dgmmis.rows.blocks import by_block
from dgmmis.rows.measured import Measured, is_labelled


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """The kind of array in which something is said of rows.

    Args:
        dtype: of it.
        columns: {name: how many, or their labels} of its axes after the rows; empty: (n,).
    """

    dtype: Any = float
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tail(self) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else len(size) for size in self.columns.values())

    def empty(self, n: int) -> np.ndarray:
        """Room for what is said of n rows."""
        return np.empty((n, *self.tail), self.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """What is asked of rows, and found together.

    Args:
        ask: a chunk -> an array of each kind, of some of its rows after the other; for rows of dask it may be delayed.
        kinds: of the arrays.
    """

    ask: Callable[[Chunk], Iterable[tuple[np.ndarray, ...]]] | Any
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One thing that is asked of rows.

    Args:
        ask: a chunk -> arrays, of some of its rows after the other.
        kind: of them.
    """

    ask: Callable[[Chunk], Iterable[np.ndarray]]
    kind: Kind = field(default_factory=Kind)


def answer(question: Question, measured: Measured) -> Any:
    """What it says of each row: (n,), or (n, columns).

    Raises:
        DgmmisError: rows that are wrong; of lazy ones when they are computed.
    """
    (found,) = answers(Questions(partial(_alone, question.ask), (question.kind,)), measured)
    return found


def answers(questions: Questions, measured: Measured) -> tuple[Any, ...]:
    """What they say of each row; raises as `answer` does."""
    found = _lazily(questions, measured) if measured.is_lazy else _here(questions, measured)
    if is_labelled(measured.given):
        return tuple(
            _labelled(measured.given, kind, values) for kind, values in zip(questions.kinds, found, strict=True)
        )
    return found


def total(question: Question, measured: Measured) -> np.ndarray:
    """The sum over all rows of what a question says of each; computed at once, for lazy rows too. Memory holds a chunk.

    Raises:
        DgmmisError: rows that are wrong.
    """
    if measured.is_lazy:
        return np.asarray(answer(question, measured).sum(axis=0).compute())
    with one_blas_thread():
        parts = [
            values.sum(axis=0)
            for reference in measured.in_memory().references
            for values in question.ask(reference.load())
        ]
    return np.asarray(np.sum(parts, axis=0))


def _alone(ask: Callable[[Chunk], Iterable[np.ndarray]], chunk: Chunk) -> Iterator[tuple[np.ndarray]]:
    for values in ask(chunk):
        yield (values,)


def _here(questions: Questions, measured: Measured) -> tuple[np.ndarray, ...]:
    catalogue = measured.in_memory()
    out = tuple(kind.empty(catalogue.n_rows) for kind in questions.kinds)
    with one_blas_thread():  # the bits do not depend on how many cores there are
        for reference in catalogue.references:
            numbers, done = reference.numbers(np.arange(reference.n_rows)), 0
            for said in questions.ask(reference.load()):
                rows = numbers[done : done + len(said[0])]
                for into, values in zip(out, said, strict=True):
                    into[rows] = values
                done += len(rows)
    return out


def _lazily(questions: Questions, measured: Measured) -> tuple[Any, ...]:
    import dask.array
    from dask.delayed import delayed

    # in the graph once, and not in each of its tasks
    ask = delayed(questions.ask, pure=True)
    blocks = by_block(_said, measured, ask=ask, kinds=questions.kinds)
    return tuple(
        dask.array.blockwise(
            _one_of,
            "iabc"[: 1 + len(kind.tail)],
            blocks,
            "i",
            number=number,
            new_axes=dict(zip("abc", kind.tail, strict=False)),
            dtype=kind.dtype,
            meta=kind.empty(0),
        )
        for number, kind in enumerate(questions.kinds)
    )


def _said(
    chunk: Chunk, *, ask: Callable[[Chunk], Iterable[tuple[np.ndarray, ...]]], kinds: Sequence[Kind]
) -> tuple[np.ndarray, ...]:
    """What is said of the rows of a block, an array of each kind."""
    if chunk.n_samples == 0:
        return tuple(kind.empty(0) for kind in kinds)
    with one_blas_thread():
        parts = zip(*ask(chunk), strict=True)
        return tuple(
            np.concatenate(part).astype(kind.dtype, copy=False) for part, kind in zip(parts, kinds, strict=True)
        )


def _one_of(said: tuple[np.ndarray, ...], *, number: int) -> np.ndarray:
    return said[number]


def _labelled(X: Any, kind: Kind, values: Any) -> Any:
    """Values of X's rows, with the coordinates of these."""
    rows = X.isel({X.dims[1]: 0}, drop=True).rename(None)
    rows.attrs = {}
    if kind.columns:
        rows = rows.expand_dims(dict(kind.columns), axis=list(range(1, 1 + len(kind.columns))))
    return rows.copy(data=values)
