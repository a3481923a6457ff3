"""A sample of a catalogue's rows, small enough for one process: what starts are found on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Reference
from dgmmis.execution.executor import Executor
from dgmmis.noise import DiagonalNoise, FullNoise

SAMPLE_ROWS = 20_000
SAMPLE_CHUNKS = 32


def draw_sample(references: Sequence[Reference], executor: Executor) -> Chunk:
    """Some thousands of rows, spread evenly over evenly spaced chunks: the same ones every time.

    Where rows are ordered in space each chunk is a part of it: then over all of them, in a reading of the data.
    """
    if any(reference.is_ordered for reference in references):
        return _joined(executor.map(_taken, _spaced(references)))
    chosen = [references[i] for i in np.unique(np.linspace(0, len(references) - 1, SAMPLE_CHUNKS).astype(int))]
    per_chunk = -(-SAMPLE_ROWS // len(chosen))
    return _joined(executor.map(_taken, [_thinned(reference, per_chunk) for reference in chosen]))


@dataclass(frozen=True, slots=True, eq=False)
class _Some:
    """Some rows of a chunk."""

    of: Reference
    rows: np.ndarray


def _thinned(reference: Reference, n: int) -> _Some:
    """Every so many-th row of a chunk."""
    rows = np.unique(np.linspace(0, reference.n_rows - 1, min(n, reference.n_rows)).astype(int))
    return _Some(reference, rows)


def _spaced(references: Sequence[Reference]) -> list[_Some]:
    """The rows in the middles of equal parts of all rows, which end where they may; some chunks may have none."""
    edges = np.cumsum([0, *(reference.n_rows for reference in references)])
    n = min(SAMPLE_ROWS, edges[-1])
    rows = ((np.arange(n) + 0.5) / n * edges[-1]).astype(int)
    parts = np.split(rows, np.searchsorted(rows, edges[1:-1]))
    return [
        _Some(reference, part - start)
        for reference, part, start in zip(references, parts, edges[:-1], strict=True)
        if len(part)
    ]


def _taken(some: _Some) -> Chunk:
    chunk, rows = some.of.load(), some.rows
    return Chunk(
        np.array(chunk.points[rows]),
        chunk.noise.take(rows),
        None if chunk.weights is None else np.asarray(chunk.weights[rows], dtype=float),
        projection=None if chunk.projection is None else chunk.projection[rows],
    )


def _joined(parts: Sequence[Chunk]) -> Chunk:
    noises = [part.noise for part in parts]
    noise = noises[0]
    if isinstance(noise, DiagonalNoise):
        noise = DiagonalNoise(np.concatenate([n.values for n in noises if isinstance(n, DiagonalNoise)]))
    elif isinstance(noise, FullNoise):
        noise = FullNoise(np.concatenate([n.values for n in noises if isinstance(n, FullNoise)]))
    weights = [part.weights for part in parts if part.weights is not None]
    projections = [part.projection for part in parts if part.projection is not None]
    return Chunk(
        np.concatenate([part.points for part in parts]),
        noise,
        np.concatenate(weights) if weights else None,
        projection=np.concatenate(projections) if projections else None,
    )
