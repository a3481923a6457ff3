"""Parameters as other packages have them: amplitudes that need not sum to one, covariances symmetric up to rounding."""

import numpy as np

from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import symmetrize
from dgmmis.mixture import GaussianMixture

ROUNDING = 1e-6
"""Largest asymmetry of a covariance, in standard deviations of its features."""


def mixture_of(
    amplitudes: np.ndarray, means: np.ndarray, covariances: np.ndarray, *, of: str, names: tuple[str, str, str]
) -> GaussianMixture:
    """A mixture of amplitudes (k,), divided by their sum, means (k, d) and covariances (k, d, d).

    Args:
        amplitudes, means, covariances: the numbers.
        of, names: where they are from, and what they are called there, for messages.

    Raises:
        ShapeError: they do not fit together.
        DataError: amplitudes that are negative or all zero, covariances that are not symmetric positive definite.
    """
    k, d = means.shape if means.ndim == 2 else (len(np.atleast_1d(amplitudes)), "d")
    got = (amplitudes.shape, means.shape, covariances.shape)
    if means.ndim != 2 or 0 in means.shape or got != ((k,), (k, d), (k, d, d)):
        named = f"{names[0]}, {names[1]} and {names[2]}"
        raise ShapeError(
            f"{of}: {named} do not fit together", expected=f"({k},), ({k}, {d}) and ({k}, {d}, {d})", got=got
        )
    if not (np.all(np.isfinite(amplitudes)) and np.all(amplitudes >= 0) and amplitudes.sum() > 0):
        raise DataError(f"{of}: amplitudes must be non-negative and not all zero", got=amplitudes)
    with np.errstate(invalid="ignore"):  # the mixture refuses what is not finite
        scale = np.sqrt(np.abs(np.diagonal(covariances, axis1=1, axis2=2)))
        askew = np.abs(covariances - np.swapaxes(covariances, 1, 2)) > ROUNDING * scale[:, :, None] * scale[:, None, :]
    if np.any(askew):
        raise DataError(f"{of}: covariances must be symmetric", got=f"component {np.argwhere(askew)[0][0]} is not")
    return GaussianMixture(amplitudes / amplitudes.sum(), means, symmetrize(covariances))
