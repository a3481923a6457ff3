"""Densities on the pixels of a picture, which lie in rows and columns."""

import numpy as np
from jaxtyping import Float

from dgmmis.mixture import GaussianMixture
from dgmmis.types import Vector

REACH = 9.0
"""Standard deviations; beyond them a component has less than 1e-17 of its peak, which no picture shows."""


def mixture_pixels(mixture: GaussianMixture, x: Vector, y: Vector) -> Float[np.ndarray, "y x"]:
    """The density of a mixture of two features where rows and columns of pixels meet.

    A component is summed over the pixels within its reach only: a hundred of them take hundredths of a second, where
    all pixels of all components take seconds.

    Args:
        mixture: of two features.
        x, y: middles of the columns and of the rows, rising.
    """
    out = np.zeros((len(y), len(x)))
    sigmas = np.sqrt(np.diagonal(mixture.covariances, axis1=1, axis2=2))
    precisions = np.linalg.inv(mixture.covariances)
    peaks = mixture.weights / (2 * np.pi * np.sqrt(np.linalg.det(mixture.covariances)))
    for mean, sigma, precision, peak in zip(mixture.means, sigmas, precisions, peaks, strict=True):
        columns, rows = (
            slice(*np.searchsorted(at, [middle - REACH * width, middle + REACH * width]).tolist())
            for at, middle, width in zip((x, y), mean, sigma, strict=True)
        )
        dx, dy = x[columns] - mean[0], y[rows, None] - mean[1]
        squares = precision[0, 0] * dx**2 + (2 * precision[0, 1] * dy) * dx + precision[1, 1] * dy**2
        out[rows, columns] += peak * np.exp(-0.5 * squares)
    return out
