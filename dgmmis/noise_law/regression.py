"""A smooth noise law, learned from the catalogue: polynomials of the position."""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, RefusedError, ShapeError, require_whole, rows_named
from dgmmis.linalg import packed_size, require_positive_definite
from dgmmis.noise import Noise
from dgmmis.noise_law.nearest import complete_rows
from dgmmis.reals import reals
from dgmmis.types import Covariances, Feature, Matrix, Points

ROWS_PER_TERM = 3
"""Objects that each term of the polynomial must have to learn from."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class NoiseRegression:
    """S(x) = A L(x) D(x) L(x)' A', where log D (diagonal) and L (unit lower triangle) are polynomials of the position.

    Any numbers give a positive definite S (modified Cholesky: Pourahmadi 1999, sec. 2), in any units. Assumes of the
    catalogue what NearestNoise assumes. It does not extrapolate: positions are moved to the nearest face of the box
    `reach`, and each entry of log D and L stays within its `limits`.

    Args:
        degree: of the polynomials.
        coefficients: of each entry (t) for each monomial (p, t), t = m(m+1)/2: rows of the lower triangle, log D on
            the diagonal; monomials in the order of their degree.
        reach: least and greatest position (2, d); the polynomial's variables run from -1 to 1 over it.
        limits: least and greatest value of each entry (2, t).
        calibration: A (m, m), lower triangular.

    Raises:
        ShapeError: arrays that do not fit one another.
        DataError: numbers that are not finite, or a calibration that is singular.
    """

    degree: int
    coefficients: Float[np.ndarray, "p t"]
    reach: Float[np.ndarray, "2 d"]
    limits: Float[np.ndarray, "2 t"]
    calibration: Matrix

    def __init__(
        self, degree: int, *, coefficients: ArrayLike, reach: ArrayLike, limits: ArrayLike, calibration: ArrayLike
    ) -> None:
        given = {"coefficients": coefficients, "reach": reach, "limits": limits, "calibration": calibration}
        arrays = {name: reals(value, f"NoiseRegression: {name}") for name, value in given.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if any(array.ndim != 2 for array in arrays.values()):
            raise ShapeError("NoiseRegression needs matrices", got=shapes)
        require_whole(degree, "NoiseRegression: the degree", 0)
        d, m = arrays["reach"].shape[1], len(arrays["calibration"])
        t = packed_size(m)
        expected = {
            "coefficients": (comb(d + degree, degree) if degree >= 0 else 0, t),
            "reach": (2, d),
            "limits": (2, t),
            "calibration": (m, m),
        }
        if shapes != expected:
            raise ShapeError(f"NoiseRegression of degree {degree} does not fit", expected=expected, got=shapes)
        for name, array in arrays.items():
            if not np.all(np.isfinite(array)):
                raise DataError(f"NoiseRegression: {name} must be finite")
        if np.any(np.triu(arrays["calibration"], 1)) or not np.all(np.diagonal(arrays["calibration"]) > 0):
            raise DataError("NoiseRegression: calibration must be lower triangular with a positive diagonal")
        for name in ("reach", "limits"):
            if np.any(arrays[name][0] > arrays[name][1]):
                raise DataError(f"NoiseRegression: {name} must go from the least to the greatest", got=arrays[name])
        object.__setattr__(self, "degree", degree)
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    @classmethod
    def fitted(cls, points: Points, noise: Noise, *, degree: int = 2) -> "NoiseRegression":
        """Least squares over the objects with every feature measured.

        A regression of logarithms gives a typical S, below the mean one where S scatters at a position. A is chosen so
        that the mean of S(x) over those objects is the mean of their S_n (Duan 1983 does so in one variable).

        Raises:
            DataError: too few objects.
            RefusedError: variances of zero, which have no logarithm.
        """
        if degree < 0:
            raise DataError("the degree of a polynomial must be >= 0", got=degree)
        n_terms = comb(points.shape[1] + degree, degree)
        points, covariances = complete_rows(points, noise, ROWS_PER_TERM * n_terms)
        exact = np.flatnonzero(np.any(np.diagonal(covariances, axis1=1, axis2=2) == 0, axis=1))
        if len(exact):
            raise RefusedError(
                f"noise variances are zero in {rows_named(exact)} of the objects with every feature measured",
                expected="variances > 0, whose logarithm is a polynomial of the position",
                do="use noise_law='nearest', or a function",
            )
        require_positive_definite(covariances, "noise_covariance")
        entries = _entries(covariances)
        reach = np.array([points.min(axis=0), points.max(axis=0)])
        coefficients = np.linalg.lstsq(_monomials(points, reach, degree), entries, rcond=None)[0]
        limits = np.array([entries.min(axis=0), entries.max(axis=0)])
        m = covariances.shape[1]
        typical = cls(degree, coefficients=coefficients, reach=reach, limits=limits, calibration=np.eye(m))
        return cls(
            degree,
            coefficients=coefficients,
            reach=reach,
            limits=limits,
            calibration=_calibration(typical(points).mean(axis=0), covariances.mean(axis=0)),
        )

    def __call__(self, points: Points) -> Covariances:
        if points.shape[1] != self.reach.shape[1]:
            raise ShapeError("noise_law does not fit the data", expected=self.reach.shape[1], got=points.shape)
        entries = np.clip(_monomials(points, self.reach, self.degree) @ self.coefficients, *self.limits)
        m = len(self.calibration)
        i, j = np.tril_indices(m)
        factor = np.zeros((len(points), m, m))
        factor[:, i, j] = np.where(i == j, 1.0, entries)
        factor = self.calibration @ factor * np.exp(0.5 * entries[:, i == j])[:, None, :]
        return np.asarray(factor @ np.swapaxes(factor, 1, 2))


def _entries(covariances: Covariances) -> np.ndarray:
    """Lower triangles (n, t) of L with log D on the diagonal, S = L D L'."""
    sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    factor = sigma[:, :, None] * np.linalg.cholesky(covariances / sigma[:, :, None] / sigma[:, None, :])
    root = np.diagonal(factor, axis1=1, axis2=2)
    i, j = np.tril_indices(covariances.shape[1])
    return np.asarray(np.where(i == j, 2 * np.log(root)[:, i], (factor / root[:, None, :])[:, i, j]))


def _monomials(points: Points, reach: np.ndarray, degree: int) -> np.ndarray:
    """All products of up to `degree` features (n, p), features from -1 to 1 over the reach and no further."""
    middle, half = reach.mean(axis=0), 0.5 * (reach[1] - reach[0])
    inside = (np.clip(points, *reach) - middle) / np.where(half > 0, half, 1.0)
    features = range(points.shape[1])
    terms = [term for power in range(degree + 1) for term in combinations_with_replacement(features, power)]
    return np.stack([np.prod(inside[:, term], axis=1) for term in terms], axis=1)


def _calibration(typical: Matrix, mean: Matrix) -> Matrix:
    """The lower triangular A with A typical A' = mean."""
    units: Feature = np.sqrt(np.diagonal(mean))
    square = units[:, None] * units
    target, start = (np.linalg.cholesky(matrix / square) for matrix in (mean, typical))
    return np.tril(units[:, None] * (target @ np.linalg.inv(start)) / units)
