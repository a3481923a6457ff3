"""Lazy arrays into a store, a chunk at a time, so that nothing of the catalogue's size is ever in memory."""

from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import ShapeError
from dgmmis.noise import noise_values

ROWS = 1 << 16


def spool(
    path: Path,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
    sample_weight: Any = None,
    order: bool = False,
) -> Dataset:
    """Write dask or zarr arrays (n, m), with what belongs to their rows, to a survey store at `path`.

    noise_covariance: (m, m) shared, (n, m) variances or (n, m, m); each of the arrays may be lazy or not. order: as in
    SurveyWriter.
    """
    if len(points.shape) != 2 or any(size != size for size in points.shape):
        raise ShapeError(
            "X must be a table of known length", expected="(n, d)", got=points.shape, do="compute_chunk_sizes()"
        )
    n, m = points.shape
    for name, rows in (("projection", projection), ("sample_weight", sample_weight)):
        if rows is not None and np.shape(rows)[:1] != (n,):
            raise ShapeError(f"{name} has the wrong length", expected=n, got=np.shape(rows))
    kind, noise = noise_values(noise_covariance, n, m)
    shared = _rows(noise, slice(None)) if kind == "shared" else None
    d = m if projection is None else np.shape(projection)[2]
    schema = Schema(
        features=tuple(f"x{i}" for i in range(d)),
        units=("",) * d,
        noise=kind,
        shared_covariance=shared,
        weighted=sample_weight is not None,
        measured=None if projection is None else tuple(f"y{i}" for i in range(m)),
    )
    with SurveyWriter(path, schema, order=order) as writer:
        for start in range(0, n, ROWS):
            rows = slice(start, min(start + ROWS, n))
            writer.write(
                _rows(points, rows),
                noise=_rows(noise, rows) if kind in ("diagonal", "full") else None,
                weights=None if sample_weight is None else _rows(sample_weight, rows),
                projection=None if projection is None else _rows(projection, rows),
            )
    return Dataset.open(path)


def _rows(array: Any, rows: slice) -> np.ndarray:
    """Some rows of an array, computed if it is lazy."""
    part = array[rows]
    return np.asarray(part.compute() if hasattr(part, "compute") else part, dtype=float)
