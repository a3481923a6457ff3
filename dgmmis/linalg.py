"""Batched linear algebra: packed symmetric matrices, Cholesky factors that name what failed, log-sum-exp."""

from functools import cache

import numpy as np

from dgmmis.errors import DataError, rows_named

LOG_TWO_PI = float(np.log(2 * np.pi))


def packed_size(d: int) -> int:
    """Entries of the lower triangle of a d x d matrix."""
    return d * (d + 1) // 2


@cache
def packed_indices(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the packed lower triangle: entry t = i(i+1)/2 + j, j <= i."""
    i, j = np.tril_indices(d)
    i.flags.writeable = j.flags.writeable = False
    return i, j


def pack(matrices: np.ndarray) -> np.ndarray:
    """Lower triangles (..., d, d) -> (..., t)."""
    i, j = packed_indices(matrices.shape[-1])
    return np.ascontiguousarray(matrices[..., i, j])


def unpack(packed: np.ndarray) -> np.ndarray:
    """Lower triangles (..., t) -> symmetric matrices (..., d, d)."""
    d = (int(np.sqrt(8 * packed.shape[-1] + 1)) - 1) // 2
    i, j = packed_indices(d)
    out = np.empty((*packed.shape[:-1], d, d), dtype=packed.dtype)
    out[..., i, j] = packed
    out[..., j, i] = packed
    return out


def symmetrize(matrices: np.ndarray) -> np.ndarray:
    """Half the sum with the transpose: antisymmetric rounding must not feed back into the next iteration."""
    return np.asarray(0.5 * (matrices + np.swapaxes(matrices, -1, -2)))


def is_positive_definite(matrices: np.ndarray) -> np.ndarray:
    """Which of the matrices (n, d, d) have a Cholesky factor. Unit-free: each is scaled to a unit diagonal first."""
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    good = np.asarray(np.all(np.isfinite(matrices), axis=(-2, -1)) & np.all(diagonal > 0, axis=-1))
    scale = 1 / np.sqrt(diagonal[good])
    correlation = matrices[good] * scale[:, :, None] * scale[:, None, :]
    symmetric = np.all(np.abs(correlation - np.swapaxes(correlation, -1, -2)) <= 1e-8, axis=(-2, -1))
    correlation = symmetrize(correlation[symmetric])
    good[good] = symmetric
    try:
        np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:  # someone in the batch fails: the smallest eigenvalues say who
        good[good] = np.linalg.eigvalsh(correlation)[:, 0] > correlation.shape[-1] * np.finfo(float).eps
    return good


def require_positive_definite(matrices: np.ndarray, what: str, entry: str = "row", first: int = 0) -> None:
    """Raise DataError that names the matrices (n, d, d) which are not symmetric positive definite."""
    good = is_positive_definite(matrices)
    if not np.all(good):
        bad = np.flatnonzero(~good)
        worst = np.array2string(matrices[bad[0]], precision=4).replace("\n", "")
        names = rows_named(bad + first).replace("row", entry)
        raise DataError(
            f"{what} is not symmetric positive definite in {names}",
            expected="x' S x > 0 for every x",
            got=worst,
            do="correct or drop them",
        )


def cholesky_inverse(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse Cholesky factors L^-1 (k, d, d) and log-determinants (k,) of covariances (k, d, d).

    Rows and columns are scaled to a unit diagonal first, so that units of the features do not matter.
    """
    scale = 1 / np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    factor = np.linalg.cholesky(matrices * scale[..., :, None] * scale[..., None, :])
    inverse = np.linalg.solve(factor, np.broadcast_to(np.eye(matrices.shape[-1]), matrices.shape))
    log_determinant = 2 * np.sum(np.log(np.diagonal(factor, axis1=-2, axis2=-1)) - np.log(scale), axis=-1)
    return np.tril(inverse) * scale[..., None, :], log_determinant


def covariance_root(covariances: np.ndarray) -> np.ndarray:
    """B (..., d, d) with B B' = covariance; what was measured exactly has no spread, and no Cholesky factor."""
    values, vectors = np.linalg.eigh(covariances)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])


def logsumexp(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """log sum exp along an axis, without overflow; -inf where every term is -inf."""
    top = np.max(values, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.sum(np.exp(values - top), axis=axis)) + np.squeeze(top, axis=axis))
