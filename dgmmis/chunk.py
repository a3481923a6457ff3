"""Chunk: the rows one task sees; Leaf: a fixed number of them, summed in one go; Block: a leaf's rows with one pattern
of missing features, laid out features by samples as the kernels want it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.errors import DataError, RefusedError, ShapeError, rows_named
from dgmmis.linalg import packed_size
from dgmmis.noise import Noise, NoNoise
from dgmmis.ordering import kd_order
from dgmmis.patterns import rows_by_pattern
from dgmmis.reals import reals
from dgmmis.types import Points, Vector

LARGEST_VALUE = 1e140
"""Of a measured value: sums of the squares of such are still numbers."""

LEAF_ROWS = 4096
"""Rows of a leaf: sums join on the aligned binary tree over leaves, so no result depends on how these are grouped."""

CHUNK_ROWS = 16 * LEAF_ROWS
"""Rows of a chunk, in memory as in a store, so that both give the same bits: whole leaves, a power of two of them, so
that chunks are aligned subtrees of the sum."""


ALIKE_ROWS = 256
"""Rows of a leaf with the same noise from which on they are a block of their own: its components are prepared once,
which costs as much as some hundred rows do, and then each pair of a row and a component a tenth."""

LOOKED_AT = 128
"""Rows that are compared before all are."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive rows of a catalogue.

    Args:
        points: measured values y_n (n, m); NaN: missing.
        noise: of those rows.
        weights: how often each row counts (n,); None: once.
        projection: R_n (n, m, d) with y_n = R_n x_n + e_n; None: the features themselves.
        log_background: log density (n,) of each row under the background; None: no background.
        log_reference: log density (n,) from which the rows were drawn, for importance sampling: the weight of a row is
            then multiplied by p(y_n) / exp(log_reference_n) under the model in hand.
        first_row: place of the first row where it came from.
    """

    points: Float[np.ndarray, "n m"]
    noise: Noise
    weights: Vector | None = None
    projection: Float[np.ndarray, "n m d"] | None = None
    log_background: Vector | None = None
    log_reference: Vector | None = None
    first_row: int = 0

    @property
    def n_samples(self) -> int:
        return len(self.points)

    @property
    def w_n(self) -> Vector:
        """The weights (n,): ones where there are none."""
        return np.ones(self.n_samples) if self.weights is None else np.asarray(self.weights, dtype=float)

    @property
    def nbytes(self) -> int:
        """About so many bytes: noise is counted as full covariances."""
        noise = 0 if self.noise.is_shared else 8 * packed_size(self.points.shape[1]) * self.n_samples
        arrays = (self.points, self.weights, self.projection, self.log_background, self.log_reference)
        return noise + sum(array.nbytes for array in arrays if array is not None)

    def take(self, rows: slice | np.ndarray) -> "Chunk":
        """Some of the rows; `first_row` goes on counting where they are consecutive."""

        def part(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[rows]

        return Chunk(
            points=self.points[rows],
            noise=self.noise.take(rows),
            weights=part(self.weights),
            projection=part(self.projection),
            log_background=part(self.log_background),
            log_reference=part(self.log_reference),
            first_row=self.first_row + ((rows.start or 0) if isinstance(rows, slice) else 0),
        )

    def leaves(self, first_leaf: int = 0) -> "Iterator[Leaf]":
        """The rows in leaves, numbered from first_leaf."""
        for number, part in enumerate(self.leaf_chunks()):
            yield Leaf(first_leaf + number, tuple(blocks(part)))

    def __str__(self) -> str:
        return f"rows {self.first_row:,} to {self.first_row + self.n_samples - 1:,}"

    def leaf_chunks(self) -> "Iterator[Chunk]":
        """The rows of each leaf; `first_row` goes on counting."""
        for start in range(0, self.n_samples, LEAF_ROWS):
            yield self.take(slice(start, start + LEAF_ROWS))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows with the same measured features, and where many have it the same noise, features by samples: what a kernel
    sees.

    Args:
        rows: their positions in the leaf (n,).
        features: the model's features that the m measured values are; all d of them where there is a projection.
        points: y (m, n), no NaN.
        noise: packed S (t, n), or (t, 1) if shared.
        projection: R (m, d, n), or None.
        weights, log_background, log_reference: as in Chunk, (n,).
    """

    rows: np.ndarray
    features: np.ndarray
    points: np.ndarray
    noise: np.ndarray
    projection: np.ndarray | None
    weights: np.ndarray | None
    log_background: np.ndarray | None
    log_reference: np.ndarray | None

    @property
    def n_samples(self) -> int:
        return int(self.points.shape[1])

    @property
    def w_n(self) -> Vector:
        """The weights (n,): ones where there are none."""
        return np.ones(self.n_samples) if self.weights is None else np.asarray(self.weights, dtype=float)

    def take(self, samples: np.ndarray) -> "Block":
        """Some of the samples, by number."""

        def part(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else np.ascontiguousarray(array[..., samples])

        noise = self.noise if self.noise.shape[1] == 1 else np.ascontiguousarray(self.noise[:, samples])
        return replace(
            self,
            rows=self.rows[samples],
            points=np.ascontiguousarray(self.points[:, samples]),
            noise=noise,
            projection=part(self.projection),
            weights=part(self.weights),
            log_background=part(self.log_background),
            log_reference=part(self.log_reference),
        )

    @property
    def nbytes(self) -> int:
        arrays = (getattr(self, field.name) for field in fields(self))
        return sum(array.nbytes for array in arrays if array is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """One leaf of the summation tree."""

    index: int
    blocks: tuple[Block, ...]

    @property
    def n_samples(self) -> int:
        return sum(block.n_samples for block in self.blocks)

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self.blocks)


def blocks(chunk: Chunk) -> Iterator[Block]:
    """The rows, grouped by their pattern of missing values."""

    def own(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else np.array(array, dtype=float, order="C")

    n, m = chunk.points.shape
    groups = rows_by_pattern(~np.isnan(chunk.points)) if n > 0 else [(np.arange(0), np.arange(m))]
    for rows, measured in groups:
        some = chunk if len(rows) == n else chunk.take(rows)  # most leaves have one pattern: each copy counts
        values = some.points if len(measured) == m else some.points[:, measured]
        projection = None
        features = measured
        if chunk.projection is not None:
            features = np.arange(chunk.projection.shape[2])
            assert some.projection is not None
            projection = np.array(some.projection[:, measured].transpose(1, 2, 0), dtype=float, order="C")
        yield Block(
            rows=rows,
            features=features,
            points=np.array(values.T, dtype=float, order="C"),
            noise=np.ascontiguousarray(some.noise.packed(measured), dtype=float),  # which is a copy
            projection=projection,
            weights=own(some.weights),
            log_background=own(some.log_background),
            log_reference=own(some.log_reference),
        )


def arranged(block: Block, near_rows: int | None = None) -> Iterator[Block]:
    """The samples of a block as its kernel is quickest with them: those with the same noise, where they are many, in
    blocks of their own, and near one another.

    Args:
        block: the samples.
        near_rows: order them along a k-d tree whose leaves have so many; None: as they come.
    """
    if block.projection is not None or len(block.points) == 0:
        yield block
        return
    alike = _alike(block.noise)
    parts = [replace(part, noise=np.ascontiguousarray(part.noise[:, :1])) for part in map(block.take, alike)]
    others = np.ones(block.n_samples, dtype=bool)
    for group in alike:
        others[group] = False
    if others.any():
        parts.append(block.take(np.flatnonzero(others)) if alike else block)
    for part in parts:
        if near_rows is not None and part.n_samples > near_rows:
            yield part.take(kd_order(part.points.T, near_rows))
        else:
            yield part


def _alike(noise: np.ndarray) -> list[np.ndarray]:
    """Groups of samples, by number, whose packed noise (t, n) is the same to the last bit: those worth a block."""
    n = noise.shape[1]
    if n < ALIKE_ROWS:
        return []
    some = noise[:, :: max(1, n // LOOKED_AT)]  # a group worth having shows up twice among them
    if np.unique(some, axis=1).shape[1] == some.shape[1]:
        return []
    _, which, counts = np.unique(noise, axis=1, return_inverse=True, return_counts=True)
    return [np.flatnonzero(which.ravel() == g) for g in np.flatnonzero(counts >= ALIKE_ROWS)]


def leaf_pieces(n_rows: int, n: int) -> list[tuple[int, int]]:
    """Rows [a, b) of up to n pieces of nearly equal length, cut between leaves."""
    leaves = -(-n_rows // LEAF_ROWS)
    edges = sorted({leaves * piece // n * LEAF_ROWS for piece in range(n)} | {min(leaves * LEAF_ROWS, n_rows)})
    return list(pairwise(edges))


def check_points(points: Points, first: int = 0) -> None:
    """Raise DataError that names the rows with infinite values, or whose squares are; NaN means missing and passes."""
    large = np.abs(points) > LARGEST_VALUE
    if large.any():
        bad = np.flatnonzero(large.any(axis=1))
        kind = "infinite" if np.any(np.isinf(points[bad])) else "far too large"
        raise DataError(
            f"{kind} values in {rows_named(bad + first)}",
            expected=f"numbers up to {LARGEST_VALUE:g}, or NaN where a feature is missing",
            got=np.array2string(points[bad[0]], precision=6),
            do="correct them, or set them to NaN",
        )


def check_weights(weights: Any, n: int, first: int = 0) -> np.ndarray:
    """Sample weights (n,) as floats: finite and non-negative, or an error that names the rows."""
    values = reals(weights, "sample_weight")
    if values.shape != (n,):
        raise ShapeError("sample_weight has the wrong shape", expected=(n,), got=values.shape)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise DataError(f"sample_weight is negative or not finite in {rows_named(bad + first)}", got=values[bad[0]])
    return values


def check_projection(projection: Any, points: Points, first: int = 0) -> np.ndarray:
    """Projections (n, m, d) as floats, finite, or an error that names the rows."""
    matrices = reals(projection, "projection")
    if matrices.ndim != 3 or matrices.shape[:2] != points.shape:
        raise ShapeError(
            "projection has the wrong shape",
            expected=f"({points.shape[0]}, {points.shape[1]}, d) for points {points.shape}",
            got=matrices.shape,
        )
    bad = np.flatnonzero(~np.all(np.isfinite(matrices), axis=(1, 2)))
    if len(bad):
        raise DataError(f"projection is not finite in {rows_named(bad + first)}")
    return matrices


def chunk_from_arrays(
    points: Points,
    noise: Noise | None = None,
    *,
    weights: Vector | None = None,
    projection: np.ndarray | None = None,
    log_background: Vector | None = None,
    first_row: int = 0,
) -> Chunk:
    """A Chunk of rows already checked; refuses exact projections to more values than features: R C R' is singular."""
    noise = NoNoise() if noise is None else noise
    if projection is not None and projection.shape[1] > projection.shape[2] and noise.kind == "none":
        raise RefusedError(
            "more measured values than features, without noise",
            do="give noise_covariance: R C R' alone is singular",
        )
    return Chunk(points, noise, weights, projection, log_background, None, first_row)
