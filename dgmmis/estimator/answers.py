"""Answers: what a fit says of each row of X, in the kind of array that X is.

numpy arrays, tables of pandas, zarr arrays and stores are answered in numpy, in the order of the catalogue. dask arrays
and dask tables are answered in lazy dask arrays, chunk for chunk, and nothing is read before these are computed. An
xarray DataArray is answered in a DataArray with the coordinates of its rows, lazy where it was.

What needs points drawn for it, Z where the noise differs by object and rows selected on what the catalogue lacks, has
them drawn chunk by chunk: such answers depend, within the error that `scoring` allows, on how rows are cut.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk, check_points, check_projection, check_weights, chunk_from_arrays
from dgmmis.errors import ShapeError
from dgmmis.estimator.measured import Measured, is_labelled
from dgmmis.execution.blas import one_blas_thread
from dgmmis.noise import DiagonalNoise, FullNoise, SharedNoise, noise_values, parse_noise
from dgmmis.reals import reals


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked of rows.

    Args:
        ask: a chunk -> arrays, of some of its rows after the other.
        dtype: of them.
        columns: {name: how many, or their labels} of their second axis; empty: (n,).
    """

    ask: Callable[[Chunk], Iterable[np.ndarray]]
    dtype: Any = float
    columns: Mapping[str, Any] | None = None

    @property
    def tail(self) -> tuple[int, ...]:
        sizes = (self.columns or {}).values()
        return tuple(size if isinstance(size, int) else len(size) for size in sizes)


def answer(question: Question, measured: Measured) -> Any:
    """What it says of each row: (n,) or (n, columns).

    Raises:
        DgmmisError: rows that are wrong; of lazy ones when they are computed.
    """
    values = _lazily(question, measured) if measured.is_lazy else _here(question, measured)
    if not is_labelled(measured.given):
        return values
    rows = measured.given.isel({measured.given.dims[1]: 0}, drop=True).rename(None)
    rows.attrs = {}
    if question.columns:
        rows = rows.expand_dims(dict(question.columns), axis=1)
    return rows.copy(data=values)


def _here(question: Question, measured: Measured) -> np.ndarray:
    references = measured.in_memory().references
    out = np.empty((sum(reference.n_rows for reference in references), *question.tail), question.dtype)
    with one_blas_thread():  # the bits do not depend on how many cores there are
        for reference in references:
            numbers, done = reference.numbers(np.arange(reference.n_rows)), 0
            for values in question.ask(reference.load()):
                out[numbers[done : done + len(values)]] = values
                done += len(values)
    return out


def _lazily(question: Question, measured: Measured) -> Any:
    import dask.array
    from dask.delayed import delayed

    x = measured.points
    if x.ndim != 2:
        raise ShapeError("X must be a table", expected="(n, d)", got=x.shape, do="reshape your data")
    x = x.rechunk({1: -1}) if x.numblocks[1] > 1 else x
    kind, values = noise_values(measured.noise, *x.shape)
    shared = None
    if kind == "shared":
        shared, values = SharedNoise(values), None
    starts = np.nan_to_num(np.cumsum([0, *x.chunks[0][:-1]])).astype(int)  # of unknown ones: counted within each
    arrays: list[Any] = [x, "ij", dask.array.from_array(starts, chunks=1), "i"]
    for array, name in (
        (values, "noise_covariance"),
        (measured.projection, "projection"),
        (measured.weights, "sample_weight"),
    ):
        beside = None if array is None else _beside(array, x, name)
        arrays += [beside, None if beside is None else "iklm"[: beside.ndim]]
    return dask.array.blockwise(
        _of_block,
        "in"[: 1 + len(question.tail)],
        *arrays,
        # in the graph once, and not in each of its tasks
        question=delayed(question, pure=True),
        shared=shared,
        new_axes=dict(zip("n", question.tail, strict=False)),
        concatenate=True,
        align_arrays=False,
        dtype=question.dtype,
        meta=np.empty((0, *question.tail), question.dtype),
    )


def _of_block(
    points: np.ndarray,
    start: np.ndarray,
    noise: Any,
    projection: Any,
    weights: Any,
    *,
    question: Question,
    shared: SharedNoise | None,
) -> np.ndarray:
    """What a question says of the rows of a block."""
    points, first = reals(points, "X"), int(start[0])
    if len(points) == 0:
        return np.empty((0, *question.tail), question.dtype)
    check_points(points, first)
    if noise is not None and noise.ndim == 2:  # a block has as many rows as features, perhaps
        noise = DiagonalNoise(noise) if noise.shape[1] == points.shape[1] else FullNoise(noise)
    chunk = chunk_from_arrays(
        points,
        parse_noise(shared if noise is None else noise, points, first),
        weights=None if weights is None else check_weights(weights, len(points), first),
        projection=None if projection is None else check_projection(projection, points, first),
        first_row=first,
    )
    with one_blas_thread():
        return np.concatenate([np.asarray(values, question.dtype) for values in question.ask(chunk)])


def _beside(array: Any, x: Any, name: str) -> Any:
    """What belongs to the rows of x, in a dask array cut as it is."""
    import dask.array

    wanted: Sequence[float] = x.chunks[0]
    is_lazy, known = hasattr(array, "__dask_graph__"), not np.isnan(wanted).any()
    array = array if hasattr(array, "shape") else np.asarray(array)
    if array.shape[0] == array.shape[0] and known and array.shape[0] != x.shape[0]:
        raise ShapeError(f"{name} has the wrong length", expected=x.shape[0], got=array.shape[0])
    whole = dict.fromkeys(range(1, array.ndim), -1)
    if not is_lazy:
        if not known:
            raise ShapeError(
                f"{name} of each row, in memory, beside X in chunks of unknown size",
                do="X.compute_chunk_sizes(), or give it as a dask array in the same chunks",
            )
        return dask.array.from_array(array, chunks=(wanted, *whole.values()))
    array = array.rechunk(whole) if any(n > 1 for n in array.numblocks[1:]) else array
    if known and not np.isnan(array.shape[0]):
        return array if array.chunks[0] == wanted else array.rechunk({0: wanted})
    if array.numblocks[0] != x.numblocks[0]:
        raise ShapeError(
            f"{name} in other chunks than X, of unknown size",
            expected=f"{x.numblocks[0]} chunks of rows",
            got=array.numblocks[0],
            do="compute_chunk_sizes() of both, or cut them alike",
        )
    return array
