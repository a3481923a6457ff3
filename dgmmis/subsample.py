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
        step = max(1.0, sum(reference.n_rows for reference in references) / SAMPLE_ROWS)
        return _joined(executor.map(_Spaced(step), references))
    chosen = [references[i] for i in np.unique(np.linspace(0, len(references) - 1, SAMPLE_CHUNKS).astype(int))]
    per_chunk = -(-SAMPLE_ROWS // len(chosen))
    parts = executor.map(_Thinned(per_chunk), chosen)
    return _joined(parts)


@dataclass(frozen=True, slots=True)
class _Thinned:
    """Every so many-th row of a chunk."""

    n_rows: int

    def __call__(self, reference: Reference) -> Chunk:
        chunk = reference.load()
        rows = np.unique(np.linspace(0, chunk.n_samples - 1, min(self.n_rows, chunk.n_samples)).astype(int))
        return _copied(chunk, rows)


@dataclass(frozen=True, slots=True)
class _Spaced:
    """The middles of equal parts of a chunk, as many as there are steps in it, but at least one."""

    step: float

    def __call__(self, reference: Reference) -> Chunk:
        chunk = reference.load()
        n = max(1, round(chunk.n_samples / self.step))
        return _copied(chunk, ((np.arange(n) + 0.5) / n * chunk.n_samples).astype(int))


def _copied(chunk: Chunk, rows: np.ndarray) -> Chunk:
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
