"""Real numbers in what a user gives: arrays, lists, tables of other libraries; what is masked there is missing here."""

from typing import Any

import numpy as np

from dgmmis.errors import DataError


def reals(values: Any, what: str) -> np.ndarray:
    """The values as float64.

    Args:
        values: anything that numpy makes an array of. Entries that a masked array masks become NaN.
        what: its name in messages.

    Raises:
        DataError: words, dates, complex numbers, rows of unequal length, or numbers that float64 cannot hold.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "cMmV":  # numpy would take the real part, and count days
            raise TypeError(f"numbers of type {array.dtype}")
        if np.ma.isMaskedArray(values):
            return np.asarray(np.ma.filled(values.astype(float), np.nan))
        return np.asarray(array, dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{what} cannot be read as numbers",
            expected="real numbers, rows of equal length",
            got=error,
            do="convert them, for example with numpy.asarray(values, dtype=float), and put NaN where one is missing",
        ) from error


def real(value: object, what: str) -> float:
    """One real number, as a float.

    Raises:
        DataError: it is none, or several.
    """
    number = reals(value, what)
    if number.ndim:
        raise DataError(f"{what} must be one number", got=value)
    return float(number)
