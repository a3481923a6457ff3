"""The names of X's columns, and how many they are, against those of the fit, as scikit-learn has it."""

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from dgmmis.errors import JobError, ShapeError
from dgmmis.rows import Measured, is_labelled


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
    got, name, wanted = measured.n_features, type(estimator).__name__, estimator.n_features_in_
    if got not in (None, wanted):
        raise ShapeError(f"X has {got} features, but {name} is expecting {wanted} features as input")


def _header(X: Any) -> Any:
    """Something whose columns are named as those of X, in which scikit-learn finds the names."""
    if is_labelled(X):
        index = X.indexes.get(X.dims[-1])
        return np.asarray([]) if index is None else index.to_series().to_frame().T
    return X._meta if hasattr(X, "to_dask_array") else X
