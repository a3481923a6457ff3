"""Blocks: a function of the rows of each chunk of a dask array."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk, check_points, check_projection, check_weights, chunk_from_arrays
from dgmmis.errors import ShapeError
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise, noise_values, parse_noise
from dgmmis.reals import reals
from dgmmis.rows.measured import Measured


def by_block(function: Callable[..., Any], measured: Measured, **options: Any) -> Any:
    """What a function makes of each chunk of lazy rows: a dask array, chunk for chunk, whose chunks are what it is.

    Args:
        function: of a Chunk, checked, and of options.
        measured: the rows.
        options: for the function; they may be delayed.

    Raises:
        ShapeError, RefusedError: shapes that do not go together.
        DgmmisError: rows that are wrong, when they are computed.
    """
    import dask.array

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
        "i",
        *arrays,
        function=function,
        shared=shared,
        **options,
        concatenate=True,
        align_arrays=False,
        dtype=object,
        meta=np.empty(0, object),
    )


def _of_block(
    points: np.ndarray,
    start: np.ndarray,
    noise: Any,
    projection: Any,
    weights: Any,
    *,
    function: Callable[..., Any],
    shared: SharedNoise | None,
    **options: Any,
) -> Any:
    points, first = reals(points, "X"), int(start[0])
    if len(points) == 0:
        return function(Chunk(points, NoNoise()), **options)
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
    return function(chunk, **options)


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
