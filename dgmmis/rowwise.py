"""A function of rows on arrays: at once for numpy's, leaf by leaf; for dask's and zarr's block by block, when it is
asked for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.errors import RefusedError, ShapeError
from dgmmis.execution.blas import one_blas_thread
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, Noise, SharedNoise
from dgmmis.noise_classes import mean_noise
from dgmmis.reals import reals
from dgmmis.survey import Survey

OfLeaf = Callable[[Chunk, Observing], tuple[np.ndarray, ...]]
"""What is said of the rows of a leaf: arrays with an entry for each."""


def rowwise(
    function: OfLeaf,
    tails: Sequence[tuple[int, ...]],
    data: tuple[Any, Any, Any],
    *,
    model: Model,
    survey: Survey | Observing | None,
) -> tuple[Any, ...]:
    """What a function says of the rows: arrays of numpy; of dask where the points are dask's or zarr's.

    Args:
        function: of a leaf.
        tails: shape of each array after the rows.
        data: points (n, m), noise_covariance and projection, as in `GMMis.fit`.
        model: whose features the data must have.
        survey: how the catalogue was made; None: all that is there was seen.

    Raises:
        ShapeError: data of other features, or blocks of unknown size.
        RefusedError: blocks, and a survey that has to look at all of the rows.
    """
    points, noise_covariance, projection = data
    if isinstance(points, np.ndarray) or not hasattr(points, "chunks"):
        return _of_arrays(function, model, survey, 0, points, noise_covariance, projection)
    import dask.array
    from dask.delayed import delayed

    if isinstance(survey, Survey):
        raise RefusedError(
            "a survey, and rows that are read when they are asked for: what it needs to know of noise is not known yet",
            do="give the `observing` of a fit, or arrays of numpy",
        )
    array = dask.array.asarray(points)
    if array.ndim != 2 or not all(size == size for size in array.chunks[0]):
        raise ShapeError("points must be (n, m), in blocks of known size", got=array.shape, do="compute_chunk_sizes()")
    array = array.rechunk({1: -1})
    sizes = array.chunks[0]
    first = [0, *accumulate(sizes)][:-1]
    of_block = delayed(_of_arrays, nout=len(tails))
    blocks = [
        of_block(function, model, survey, start, *parts)
        for start, *parts in zip(
            first,
            array.to_delayed().ravel(),
            _noises(noise_covariance, array.shape, sizes),
            _cut(projection, sizes),
            strict=True,
        )
    ]
    return tuple(
        dask.array.concatenate(
            [
                dask.array.from_delayed(block[i], (size, *tail), dtype=float) if size else np.zeros((0, *tail))
                for block, size in zip(blocks, sizes, strict=True)
            ]
        )
        for i, tail in enumerate(tails)
    )


def _of_arrays(
    function: OfLeaf,
    model: Model,
    survey: Survey | Observing | None,
    first_row: int,
    points: Any,
    noise_covariance: Any,
    projection: Any,
) -> tuple[np.ndarray, ...]:
    points, projection = reals(points, "points"), None if projection is None else reals(projection, "projection")
    data = ArrayDataset.of(points, noise_covariance, projection=projection)
    d = model.mixture.n_features
    if data.n_features != d:
        raise ShapeError("the data do not fit the model", expected=f"{d} features", got=data.n_features)
    whole = replace(data.whole, first_row=first_row)
    if not isinstance(survey, Observing):
        fill = mean_noise(whole)
        survey = Observing(Survey() if survey is None else survey.completed(whole, d), fill)
    with one_blas_thread():
        leaves = [function(leaf, survey) for leaf in whole.leaf_chunks()]
    return tuple(np.concatenate(parts) for parts in zip(*leaves, strict=True))


def _noises(noise: Any, shape: tuple[int, int], sizes: Sequence[int]) -> list[Any]:
    """The noise of each block."""
    n, m = shape
    if isinstance(noise, Noise) and noise.is_shared:
        return [noise] * len(sizes)
    if isinstance(noise, Noise):
        edges = [0, *accumulate(sizes)]
        return [noise.take(slice(a, b)) for a, b in pairwise(edges)]
    given = np.shape(noise)
    if given == (m, m):
        if n == m > 1:
            raise RefusedError(
                f"noise_covariance of shape {given} is either variances or one covariance",
                do="pass dgmmis.DiagonalNoise(variances) or dgmmis.SharedNoise(covariance)",
            )
        return [SharedNoise(np.asarray(noise))] * len(sizes)
    blocks = _cut(noise, sizes)
    if len(given) != 2:
        return blocks
    from dask.delayed import delayed

    return [delayed(DiagonalNoise)(block) for block in blocks]  # which a block of m rows does not show


def _cut(array: Any, sizes: Sequence[int]) -> list[Any]:
    """Rows of an array, block by block."""
    if array is None:
        return [None] * len(sizes)
    import dask.array

    if len(array) != sum(sizes):
        raise ShapeError("an array has other rows than the points", expected=sum(sizes), got=len(array))
    whole = dask.array.asarray(array)
    return list(whole.rechunk({0: tuple(sizes), **dict.fromkeys(range(1, whole.ndim), -1)}).to_delayed().ravel())
