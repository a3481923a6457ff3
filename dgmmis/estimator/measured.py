"""Measured: what a user gives as X, with what belongs to its rows, in any of the libraries in which it may come.

None of these is imported: they are known by what they can do.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

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
        """
        from dgmmis.dataset.dataset import Dataset

        if isinstance(X, (str, Path)):
            X = Dataset.open(X)
        beside = (noise_covariance, projection, sample_weight)
        if isinstance(X, Dataset) and any(value is not None for value in beside):
            raise RefusedError("a survey store brings its own noise, projections and weights", do="leave them out")
        points, noise, matrices, weights = map(_plain, (X, *beside))
        return cls(points, noise, matrices, weights, given=X)

    @property
    def is_store(self) -> bool:
        return isinstance(self.points, Catalogue)

    @property
    def is_lazy(self) -> bool:
        """Whether X is a dask array, so that nothing of it is to be read before it has to be."""
        return hasattr(self.points, "__dask_graph__")

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


def check_names(estimator: Any, measured: Measured, *, reset: bool) -> None:
    """Keep the names of X's columns as `feature_names_in_`, or compare them, as scikit-learn does.

    Those of a store, which every store has, are compared with others only: arrays without names may follow.

    Args:
        estimator: whose they are.
        measured: the rows.
        reset: keep them; False: compare them.

    Raises:
        ValueError: other names than at the fit, or in another order.
        JobError: a store of other features.
    """
    features = measured.points.schema.features if measured.is_store else None
    if reset or features is None:
        header = np.empty((0, 0)) if measured.is_store else _header(measured.given)
        validate_data(estimator, header, reset=reset, skip_check_array=True, ensure_2d=False)
    if reset:
        estimator._survey_features = features
    elif features is not None:
        expected = getattr(estimator, "feature_names_in_", estimator._survey_features)
        if expected is not None and tuple(expected) != features:
            raise JobError("the survey has other features than the fit", expected=tuple(expected), got=features)


def require_features(estimator: Any, measured: Measured) -> None:
    """Raise ShapeError unless rows have as many features as the fit, or are projections of as many."""
    if measured.is_store:
        got: Any = measured.points.n_features
    else:
        array = measured.points if measured.projection is None else measured.projection
        shape = np.shape(array if hasattr(array, "shape") else np.asarray(array, dtype=object))
        if len(shape) < 2:
            return  # which has its own message
        got = shape[-1]
    if got != estimator.n_features_in_:
        name, wanted = type(estimator).__name__, estimator.n_features_in_
        raise ShapeError(f"X has {got} features, but {name} is expecting {wanted} features as input")


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


def _header(X: Any) -> Any:
    """Something whose columns are named as those of X, in which scikit-learn finds the names."""
    if is_labelled(X):
        index = X.indexes.get(X.dims[-1])
        return np.asarray([]) if index is None else index.to_series().to_frame().T
    return X._meta if hasattr(X, "to_dask_array") else X


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
