"""Rows on their way into a survey store: what fits the schema, and what no measurement can be."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dgmmis.chunk import LEAF_ROWS, check_points, check_projection, check_weights
from dgmmis.dataset.rounding import rounded
from dgmmis.dataset.schema import Schema
from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import packed_indices, packed_size
from dgmmis.noise import DiagonalNoise, FullNoise, check_noise, parse_noise


def checked_rows(schema: Schema, arrays: Mapping[str, Any], first: int) -> Iterator[dict[str, np.ndarray]]:
    """The arrays as a store holds them, at most a leaf of rows at a time.

    Args:
        schema: of the store.
        arrays: points, noise, weights, row_id, projection; None where absent.
        first: number of the first row, for messages.

    Raises:
        ShapeError, DataError: arrays that do not fit the schema or one another, or values that none can have.
    """
    points = arrays["points"]
    m, d = schema.n_measured, schema.n_features
    if np.ndim(points) != 2 or points.shape[1] != m:
        raise ShapeError("points have the wrong shape", expected=f"(n, {m})", got=np.shape(points))
    n = len(points)
    noise: dict[str, list[tuple[int, ...]]] = {"diagonal": [(n, m)], "full": [(n, m, m), (n, packed_size(m))]}
    _require("noise", arrays["noise"], noise.get(schema.noise, []), f"noise is '{schema.noise}'")
    _require("weights", arrays["weights"], [(n,)] if schema.weighted else [], f"weighted is {schema.weighted}")
    _require("row_ids", arrays["row_id"], [] if arrays["row_id"] is None else [(n,)], "rows are numbered")
    projected = [] if schema.measured is None else [(n, m, d)]
    _require("projection", arrays["projection"], projected, f"measured is {schema.measured}")
    for start in range(0, n, LEAF_ROWS):  # the checks of a leaf's matrices stay in the cache
        rows = slice(start, start + LEAF_ROWS)
        parts = {name: np.asarray(array[rows]) for name, array in arrays.items() if array is not None}
        yield _checked(schema, parts, first + start)


def _checked(schema: Schema, parts: dict[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
    points = np.asarray(parts["points"], dtype=float)
    check_points(points, first)
    out = {"points": points}
    if "noise" in parts:
        out["noise"] = _checked_noise(schema, np.asarray(parts["noise"], dtype=float), points, first)
    if "weights" in parts:
        out["weights"] = check_weights(parts["weights"], len(points), first)
    if "projection" in parts:
        out["projection"] = check_projection(parts["projection"], points, first)
    if "row_id" in parts:
        if parts["row_id"].dtype.kind not in "iu":
            raise DataError("row_ids", expected="whole numbers", got=parts["row_id"].dtype)
        out["row_id"] = parts["row_id"].astype(np.int64)
    return rounded(schema, out, first) if schema.storage == "float32" else out


def _checked_noise(schema: Schema, values: np.ndarray, points: np.ndarray, first: int) -> np.ndarray:
    """As stored: variance 1 and covariance 0 take the place of missing features' noise, which nobody looks at, so that
    the matrices are positive definite as they stand.
    """
    seen = ~np.isnan(points)
    if schema.noise == "diagonal":
        check_noise(DiagonalNoise(values), points, first)
        return np.where(seen, values, 1.0)
    noise = parse_noise(values if values.ndim == 3 else FullNoise(values), points, first)
    assert isinstance(noise, FullNoise)
    i, j = packed_indices(schema.n_measured)
    return np.where(seen[:, i] & seen[:, j], noise.values, (i == j).astype(float))


def _require(name: str, array: Any, shapes: Sequence[tuple[int, ...]], why: str) -> None:
    """An array is there where the schema wants it, and only there, in one of some shapes."""
    got = None if array is None else np.shape(array)
    if (not shapes and got is None) or got in shapes:
        return
    raise ShapeError(
        f"{name} do not fit the schema, where {why}",
        expected=" or ".join(str(shape) for shape in shapes) or "none",
        got=got,
    )
