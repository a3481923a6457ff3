"""Real numbers in what a user gives: arrays, lists, tables of other libraries; what is masked there is missing here."""

from typing import Any

import numpy as np

from dgmmis.errors import DataError, NotNumbersError


def reals(values: Any, what: str) -> np.ndarray:
    """The values as float64.

    Args:
        values: anything that numpy makes an array of. Entries that a masked array masks become NaN.
        what: its name in messages.

    Raises:
        DataError: words, dates, complex numbers, sparse matrices, rows of unequal length, or numbers that float64
            cannot hold.
        NotNumbersError: objects that are no numbers.
    """
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise DataError(f"{what} is sparse, and sparse data are not supported", do="give values.toarray()")
    kind: type[DataError] = DataError
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":  # numpy would take the real part
            raise TypeError(f"Complex data not supported: {array.dtype}")
        if array.dtype.kind in "MmV":  # and count days
            raise TypeError(f"numbers of type {array.dtype}")
        kind = NotNumbersError if array.dtype.kind == "O" else DataError
        if np.ma.isMaskedArray(values):
            return np.asarray(np.ma.filled(values.astype(float), np.nan))
        return np.asarray(array, dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise (kind if isinstance(error, TypeError) else DataError)(
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
    if isinstance(value, (str, bytes)):
        raise NotNumbersError(f"{what} must be one number", got=value)
    number = reals(value, what)
    if number.ndim:
        raise DataError(f"{what} must be one number", got=value)
    return float(number)
