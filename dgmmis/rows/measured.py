"""Measured: what a user gives as X, with what belongs to its rows, in any of the libraries in which it may come.

None of these is imported: they are known by what they can do.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.arrays import ArrayDataset, Catalogue
from dgmmis.errors import JobError, RefusedError, ShapeError
from dgmmis.noise import DiagonalNoise, FullNoise, noise_values


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Measured values, and the noise, projections and weights of their rows.

    Args:
        points: numpy, dask or zarr array (n, m), what numpy can make one of, or a survey store.
        noise, projection, weights: of its rows; numpy, dask or zarr arrays, or None. A store has its own.
        given: X as it came, with the names of its columns and the labels of its rows.
    """

    points: Any
    noise: Any = None
    projection: Any = None
    weights: Any = None
    given: Any = None

    @classmethod
    def of(cls, X: Any, noise_covariance: Any = None, projection: Any = None, sample_weight: Any = None) -> "Measured":
        """From what a user gives.

        Raises:
            StoreError: a path at which there is no store.
            RefusedError: a store, and what it has itself.
            JobError: a table of noise with the columns of X in another order.
        """
        from dgmmis.dataset.dataset import Dataset

        if isinstance(X, (str, Path)):
            X = Dataset.open(X)
        beside = (noise_covariance, projection, sample_weight)
        if isinstance(X, Dataset) and any(value is not None for value in beside):
            raise RefusedError("a survey store brings its own noise, projections and weights", do="leave them out")
        _require_the_same_order(X, noise_covariance)
        points, noise, matrices, weights = map(_plain, (X, *beside))
        return cls(points, noise, matrices, weights, given=X)

    @property
    def is_store(self) -> bool:
        return isinstance(self.points, Catalogue)

    @property
    def is_lazy(self) -> bool:
        """Whether X is a dask array, so that nothing of it is to be read before it has to be."""
        return hasattr(self.points, "__dask_graph__")

    @property
    def n_measured(self) -> int | None:
        """m, the values that were measured of a row; None for what is no table, which is said where it is read."""
        return int(self.points.schema.n_measured) if self.is_store else _width(self.points)

    @property
    def n_features(self) -> int | None:
        """d, the features that they show: as many as they are, or those that are projected; None as `n_measured`."""
        if self.is_store:
            return int(self.points.n_features)
        return _width(self.points if self.projection is None else self.projection)

    def require_features(self, d: int) -> None:
        """Raise ShapeError unless they show d features."""
        if self.n_features not in (None, d):
            raise ShapeError("the data do not fit the model", expected=f"{d} features", got=self.n_features)

    def catalogue(self, folder: Path) -> Catalogue:
        """The data as a catalogue: a store as it is; dask and zarr arrays chunk by chunk into a store in `folder`.

        Where chunks are of unknown size their rows are counted first, which reads them once more.
        """
        if not hasattr(self.points, "chunks"):
            return self.in_memory()
        from dgmmis.dataset.spool import spool

        known = self.counted()
        place = folder / "survey.zarr"
        return spool(place, known.points, known.noise, projection=known.projection, sample_weight=known.weights)

    def in_memory(self) -> Catalogue:
        """A store as it is, and anything else as arrays here."""
        if self.is_store:
            store: Catalogue = self.points
            return store
        return ArrayDataset.of(self.points, self.noise, projection=self.projection, sample_weight=self.weights)

    def settled(self) -> "Measured":
        """Rows that can be taken by number: those in memory checked, chunks of known size."""
        if hasattr(self.points, "chunks"):
            return self.counted()
        data = ArrayDataset.of(self.points, self.noise, projection=self.projection, sample_weight=self.weights)
        whole = data.whole
        return Measured(whole.points, whole.noise, whole.projection, whole.weights, given=self.given)

    def counted(self) -> "Measured":
        """With chunks of known size, here and beside X."""
        points, noise, projection, weights = map(_counted, (self.points, self.noise, self.projection, self.weights))
        return Measured(points, noise, projection, weights, given=self.given)

    def take(self, rows: np.ndarray) -> "Measured":
        """Some of the rows, by number; lazily where they are."""
        n, m = np.shape(self.points)
        kind, values = noise_values(self.noise, n, m)
        noise = self.noise
        if isinstance(noise, (DiagonalNoise, FullNoise)):
            noise = noise.take(rows)
        elif kind in ("diagonal", "full"):
            noise = _taken(values, rows)
        return Measured(_taken(self.points, rows), noise, _taken(self.projection, rows), _taken(self.weights, rows))


def is_labelled(X: Any) -> bool:
    """Whether it is an xarray DataArray."""
    return all(hasattr(X, name) for name in ("dims", "coords", "indexes", "isel"))


def _plain(value: Any) -> Any:
    """The array in a DataArray, or of a table: lazy where they are."""
    if is_labelled(value):
        return value.data
    if hasattr(value, "to_dask_array"):
        return value.astype(float).to_dask_array()
    if hasattr(value, "iloc"):
        try:
            return value.to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError):
            return value  # what is not a number in it is said where it is read
    return value


def _width(array: Any) -> int | None:
    shape = np.shape(array if hasattr(array, "shape") else np.asarray(array, dtype=object))
    return None if len(shape) < 2 else int(shape[-1])


def _counted(array: Any) -> Any:
    if not hasattr(array, "compute_chunk_sizes"):
        return array
    known = array.copy()
    if np.isnan(array.shape).any():
        known.compute_chunk_sizes()  # changes the array in place, which is the user's
    return known


def _taken(array: Any, rows: np.ndarray) -> Any:
    if array is None:
        return None
    if hasattr(array, "chunks") and not hasattr(array, "__dask_graph__"):
        import dask.array

        array = dask.array.from_array(array, chunks=array.chunks)
    return array[rows] if hasattr(array, "shape") else np.asarray(array)[rows]


def _require_the_same_order(X: Any, noise: Any) -> None:
    """Raise JobError for a table of noise whose columns are those of X in another order: they go by their places."""
    names, beside = ([*getattr(table, "columns", ())] for table in (X, noise))
    if names and names != beside and sorted(map(str, names)) == sorted(map(str, beside)):
        raise JobError("noise_covariance has the columns of X in another order", expected=names, got=beside)
