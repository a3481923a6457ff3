"""The noise attached to samples: y_n = R_n x_n + e_n, e_n ~ N(0, S_n) (Bovy, Hogg & Roweis 2011, eq. 1).

Four kinds, one protocol: none, shared, variances per sample, full covariance per sample (packed lower triangles).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, RefusedError, ShapeError, rows_named
from dgmmis.linalg import pack, packed_size, require_positive_definite, unpack
from dgmmis.reals import reals
from dgmmis.types import Matrix, Points


@runtime_checkable
class Noise(Protocol):
    """The noise of n samples with m measured features."""

    @property
    def is_shared(self) -> bool:
        """Whether every sample has the same covariance, so that T_nk = C_k + S does not depend on n."""

    @property
    def kind(self) -> str:
        """Its name in a store: none, shared, diagonal, full."""

    def take(self, rows: slice | np.ndarray) -> "Noise":
        """The noise of some of the samples."""

    def packed(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        """Lower triangles over some measured features, features by samples: (t, n), or (t, 1) if shared."""

    def variances(self, m: int) -> np.ndarray:
        """Diagonals: (n, m), or (1, m) if shared."""


@dataclass(frozen=True, slots=True, eq=False)
class NoNoise:
    """Samples measured exactly."""

    is_shared = True
    kind = "none"

    def take(self, rows: slice | np.ndarray) -> "NoNoise":
        del rows
        return self

    def packed(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        return np.zeros((packed_size(len(features)), 1))

    def variances(self, m: int) -> np.ndarray:
        return np.zeros((1, m))


@dataclass(frozen=True, slots=True, eq=False, init=False)
class SharedNoise:
    """One covariance (m, m) for every sample, in the squared units of the features."""

    covariance: Matrix

    def __init__(self, covariance: ArrayLike) -> None:
        matrix = _numbers(covariance, "SharedNoise: one covariance (m, m)")
        if matrix.shape[0] != matrix.shape[1]:
            raise ShapeError("SharedNoise: one covariance (m, m)", got=matrix.shape)
        object.__setattr__(self, "covariance", matrix)

    is_shared = True
    kind = "shared"

    def take(self, rows: slice | np.ndarray) -> "SharedNoise":
        del rows
        return self

    def packed(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        features = np.asarray(features, dtype=int)
        return pack(self.covariance[features[:, None], features])[:, None]

    def variances(self, m: int) -> np.ndarray:
        del m
        return np.diagonal(self.covariance)[None, :].copy()


@dataclass(frozen=True, slots=True, eq=False, init=False)
class DiagonalNoise:
    """Variances (n, m) of each sample, uncorrelated between features, in the squared units of the features."""

    values: Points

    def __init__(self, values: ArrayLike) -> None:
        object.__setattr__(self, "values", _numbers(values, "DiagonalNoise: variances (n, m)"))

    is_shared = False
    kind = "diagonal"

    def take(self, rows: slice | np.ndarray) -> "DiagonalNoise":
        return DiagonalNoise(self.values[rows])

    def packed(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        m = len(features)
        out = np.zeros((packed_size(m), len(self.values)))
        for i, feature in enumerate(features):
            out[i * (i + 1) // 2 + i] = self.values[:, feature]
        return out

    def variances(self, m: int) -> np.ndarray:
        del m
        return np.asarray(self.values)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class FullNoise:
    """A covariance for each sample, as packed lower triangles (n, t), in the squared units of the features."""

    values: Float[np.ndarray, "n t"]

    def __init__(self, values: ArrayLike) -> None:
        object.__setattr__(self, "values", _numbers(values, "FullNoise: packed lower triangles (n, m (m + 1) / 2)"))

    is_shared = False
    kind = "full"

    def take(self, rows: slice | np.ndarray) -> "FullNoise":
        return FullNoise(self.values[rows])

    def packed(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        features = np.asarray(features, dtype=int)
        i, j = np.tril_indices(len(features))
        high, low = np.maximum(features[i], features[j]), np.minimum(features[i], features[j])
        return np.ascontiguousarray(self.values[:, high * (high + 1) // 2 + low].T)

    def variances(self, m: int) -> np.ndarray:
        return np.asarray(self.values[:, [i * (i + 1) // 2 + i for i in range(m)]])


def _numbers(values: ArrayLike, what: str) -> np.ndarray:
    """A matrix of floats; single precision is kept, as it is stored."""
    array = values if isinstance(values, np.ndarray) and values.dtype.kind == "f" else reals(values, what)
    if array.ndim != 2:
        raise ShapeError(what, got=array.shape)
    return array


def parse_noise(noise_covariance: object, points: Points, first: int = 0) -> Noise:
    """Read what a user gives as noise, and check it where it matters: on the features that were measured.

    Args:
        noise_covariance: None, a Noise, (m, m) shared covariance, (n, m) variances or (n, m, m) covariances.
        points: the samples (n, m) it belongs to; NaN marks a missing feature, whose noise is not looked at.
        first: the number of the first row, for messages.

    Raises:
        ShapeError: no such form of noise.
        RefusedError: (n, m) with n = m > 1, which could be either of two things.
        DataError: infinite or negative variances, or covariances that are not positive definite, by row.
    """
    n, m = points.shape
    if noise_covariance is None:
        return NoNoise()
    if isinstance(noise_covariance, (NoNoise, SharedNoise, DiagonalNoise, FullNoise)):
        noise: Noise = noise_covariance
    else:
        array = reals(noise_covariance, "noise_covariance")
        form = noise_form(array.shape, n, m)
        if form == "shared":
            noise = SharedNoise(array)
        elif form == "diagonal":
            noise = DiagonalNoise(array)
        else:
            _check_symmetric(array, points, first)
            noise = FullNoise(pack(array))
    check_noise(noise, points, first)
    return noise


def noise_values(noise_covariance: Any, n: float, m: int) -> tuple[str, Any]:
    """Kind of a noise that may be lazy, and its array, by its shape alone; the values are not looked at.

    Args:
        noise_covariance: as for `parse_noise`, or a dask or zarr array.
        n, m: samples and features; n may be NaN.

    Raises:
        ShapeError, RefusedError: as `noise_form`.
    """
    if noise_covariance is None or isinstance(noise_covariance, NoNoise):
        return "none", None
    if isinstance(noise_covariance, SharedNoise):
        return "shared", noise_covariance.covariance
    if isinstance(noise_covariance, (DiagonalNoise, FullNoise)):
        return noise_covariance.kind, noise_covariance.values
    array = noise_covariance if hasattr(noise_covariance, "shape") else reals(noise_covariance, "noise_covariance")
    return noise_form(tuple(array.shape), n, m), array


def noise_form(shape: tuple[Any, ...], n: float, m: int) -> str:
    """What an array of some shape is as the noise of n samples of m features: its kind.

    n, and with it the length of the array, may be NaN: not known yet.

    Raises:
        ShapeError: no such form of noise.
        RefusedError: (n, m) with n = m > 1, which could be either of two things.
    """
    if shape == (n, m) == (m, m) and m > 1:
        raise RefusedError(
            f"noise_covariance of shape {shape} is either variances or one covariance",
            do="pass dgmmis.DiagonalNoise(variances) or dgmmis.SharedNoise(covariance)",
        )
    if shape == (m, m):
        return "shared"
    for form, tail in (("diagonal", (m,)), ("full", (m, m))):
        if shape[1:] == tail and (shape[0] == n or np.isnan(n) or np.isnan(shape[0])):
            return form
    raise ShapeError(
        "noise_covariance has the wrong shape",
        expected=f"({m}, {m}), ({n}, {m}) or ({n}, {m}, {m}) for {n} samples of {m} features",
        got=shape,
        do="give one covariance, variances per sample, or a covariance per sample",
    )


def _check_symmetric(covariances: np.ndarray, points: Points, first: int | None) -> None:
    seen = ~np.isnan(points)
    both = seen[:, :, None] & seen[:, None, :]
    with np.errstate(invalid="ignore"):  # infinite and negative variances are named later
        sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        skew = np.abs(covariances - np.swapaxes(covariances, 1, 2)) > 1e-8 * sigma[:, :, None] * sigma[:, None, :]
    bad = np.flatnonzero(np.any(both & skew, axis=(1, 2)))
    if len(bad):
        where = "the shared noise" if first is None else rows_named(bad + first)
        raise DataError(f"noise_covariance is not symmetric in {where}", do="give S with S = S'")


def _check_size(noise: Noise, n: int, m: int) -> None:
    expected = {"shared": (m, m), "diagonal": (n, m), "full": (n, packed_size(m))}
    if isinstance(noise, SharedNoise):
        got = noise.covariance.shape
    elif isinstance(noise, (DiagonalNoise, FullNoise)):
        got = noise.values.shape
    else:
        return
    if got != expected[noise.kind]:
        raise ShapeError(f"{type(noise).__name__} does not fit the data", expected=expected[noise.kind], got=got)


def check_noise(noise: Noise, points: Points, first: int = 0) -> None:
    """Raise DataError that names the rows whose noise no measurement can have. A variance of zero is allowed."""
    n, m = points.shape
    seen = ~np.isnan(points)
    _check_size(noise, n, m)
    variances = noise.variances(m)
    if noise.is_shared:
        seen = seen.any(axis=0, keepdims=True)
    if isinstance(noise, SharedNoise):
        _check_symmetric(noise.covariance[None], np.where(seen, 0.0, np.nan), None)
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(np.any(seen & ~(np.isfinite(variances) & (variances >= 0)), axis=1))
    if len(bad):
        got = variances[bad[0]][seen[bad[0]]]
        where = "the shared noise" if noise.is_shared else rows_named(bad + first)
        raise DataError(
            f"noise variances are negative or not finite in {where}",
            expected="finite variances >= 0 for every measured feature",
            got=np.array2string(got, precision=4),
            do="correct the errors, or set the feature to NaN where it was not measured",
        )
    if noise.kind in ("shared", "full"):
        # features that were not measured, or measured exactly, do not take part: a unit variance stands in
        matrices = unpack(noise.packed(range(m)).T)
        out = ~seen | (variances == 0)
        coupled = np.where(out[:, :, None] | out[:, None, :], matrices, 0.0)
        exact = seen[:, :, None] & seen[:, None, :] & ~np.eye(m, dtype=bool)
        matrices = np.where(out[:, :, None] | out[:, None, :], np.eye(m), matrices)
        matrices = np.where((exact & (coupled != 0)), np.nan, matrices)  # zero variance, yet correlated
        if noise.is_shared:
            require_positive_definite(matrices, "the shared noise_covariance", "matrix")
        else:
            require_positive_definite(matrices, "noise_covariance", "row", first)
