"""Rounding: what is stored as float32, and what that costs.

A value is rounded by up to 2^-24 = 6e-8 of itself. For a feature that lies at 1000 that is 6e-5, to be compared with
its errors, or, where it has none, with the narrowest component that is to be found.
"""

import numpy as np

from dgmmis.dataset.schema import Schema
from dgmmis.errors import DataError, rows_named
from dgmmis.linalg import packed_indices
from dgmmis.noise import FullNoise, check_noise

SINGLE = np.finfo(np.float32)

LARGEST_SHARE = 0.1
"""Of a feature's median error: so much its values may lie apart as they are stored. The rounding then adds less than
1e-3 to its variance."""

ERROR_ROWS = 1 << 15
"""From the errors of so many rows, evenly spaced, the median is taken."""

SINGULAR = 100 * 2.0**-24
"""Times m: so far from singular a matrix of correlations must be that rounding its entries does not change the variance
in any direction by more than a hundredth. Where it is nearer, it might not even stay positive definite."""

DO = "store it as float64; or subtract a constant from a feature that lies far from zero, or take other units"


def rounded(schema: Schema, arrays: dict[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
    """Rows as float32, row numbers as they are.

    Args:
        schema: of the store.
        arrays: rows already checked, as the store holds them.
        first: number of the first row, for messages.

    Raises:
        DataError: values that float32 cannot hold, too large or too small, or covariances that are no longer positive
            definite; the rows are named.
    """
    out = {}
    for name, values in arrays.items():
        if values.dtype.kind == "f":
            with np.errstate(over="ignore", under="ignore"):
                out[name] = values.astype(np.float32)
            _require_range(schema, name, values, out[name], first)
        else:
            out[name] = values
    if schema.noise == "full":
        i, j = packed_indices(schema.n_measured)
        narrower = np.where(i == j, 1 - SINGULAR * schema.n_measured, 1.0)
        try:
            check_noise(FullNoise(out["noise"] * narrower), arrays["points"], first)
        except DataError as error:
            raise DataError(f"covariances too near singular for float32: {error}", do=DO) from error
    return out


def rounding_error(largest: float) -> float:
    """The largest error, of rounding to float32, of values up to a size."""
    return float(np.spacing(np.float32(largest))) / 2


class ErrorSample:
    """The errors of some rows, evenly spaced whatever batches they come in; their median, in bounded memory."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._step, self._n_rows = 1, 0
        self._errors = np.zeros((0, schema.n_measured))
        self._largest = np.zeros(schema.n_measured)

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Look at some more rows, as the store holds them."""
        n, schema = len(arrays["points"]), self._schema
        self._largest = np.fmax(self._largest, np.fmax.reduce(np.abs(arrays["points"].T, order="C"), axis=1, initial=0))
        rows = np.arange(-self._n_rows % self._step, n, self._step)
        self._n_rows += n
        if schema.noise not in ("diagonal", "full") or len(rows) == 0:
            return
        variances = arrays["noise"][rows].astype(float)
        if schema.noise == "full":
            i, j = packed_indices(schema.n_measured)
            variances = variances[:, i == j]
        errors = np.where(np.isnan(arrays["points"][rows]), np.nan, np.sqrt(variances))
        self._errors = np.concatenate([self._errors, errors])
        while len(self._errors) > ERROR_ROWS:
            self._errors, self._step = self._errors[::2], 2 * self._step

    def require_fine_steps(self) -> None:
        """Raise DataError that names a feature whose largest values lie too far apart as float32 for its errors."""
        for i, (name, largest) in enumerate(zip(self._schema.columns, self._largest.tolist(), strict=True)):
            step, median = 2 * rounding_error(largest), self._median(i)
            if step > LARGEST_SHARE * median > 0:
                raise DataError(
                    f"float32 is too coarse for '{name}'",
                    expected=f"steps of at most {LARGEST_SHARE:g} of its median error, {median:.3g}",
                    got=f"steps of {step:.3g} at {largest:.6g}",
                    do=DO,
                )

    def _median(self, i: int) -> float:
        """Of the errors of a measured value that are not zero; 0 where none are known."""
        if self._schema.shared_covariance is not None:
            return float(np.sqrt(self._schema.shared_covariance[i, i]))
        errors = self._errors[:, i]
        errors = errors[errors > 0]
        return float(np.median(errors)) if len(errors) else 0.0


def _require_range(schema: Schema, name: str, values: np.ndarray, stored: np.ndarray, first: int) -> None:
    """Every number has one of float32; where a zero has a meaning of its own none becomes one."""
    table, single = values.reshape(len(values), -1), np.abs(stored.reshape(len(values), -1))
    bad = np.isinf(single)
    size = "large"
    if not bad.any() and name in ("points", "noise", "weights"):
        bad = (table != 0) & (single < SINGLE.tiny)
        if name == "noise" and schema.noise == "full":
            i, j = packed_indices(schema.n_measured)
            bad &= i == j
        size = "small"
    rows = np.flatnonzero(bad.any(axis=1))
    if len(rows):
        raise DataError(
            f"{name} too {size} for float32 in {rows_named(rows + first)}",
            expected=f"sizes from {SINGLE.tiny:.3g} to {SINGLE.max:.3g}",
            got=f"{table[rows[0]][bad[rows[0]]][0]:.6g}",
            do=DO,
        )
