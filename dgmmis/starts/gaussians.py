"""Gaussians of clusters: their means, and their scatter less the noise of their rows."""

from dataclasses import dataclass

import numpy as np

from dgmmis.linalg import symmetrize
from dgmmis.mixture import GaussianMixture
from dgmmis.starts.positions import Positions
from dgmmis.types import Covariances, Matrix, Means, Vector, Weights

NARROWEST = 0.1
"""A start's deconvolved covariance keeps at least this fraction of the observed scatter along every direction."""
FLATTEST = 1e-6
"""Least observed variance, in those of the data: rows that coincide, and constant features."""
EMPTIEST = 1e-3
"""Least weight of a component, in even shares."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """Parts of a first mixture: weights (k,) in rows, means (k, d), covariances (k, d, d)."""

    weights: Weights
    means: Means
    covariances: Covariances

    def __len__(self) -> int:
        return len(self.weights)

    @classmethod
    def from_mixture(cls, mixture: GaussianMixture, total: float = 1.0) -> "Gaussians":
        return cls(total * mixture.weights, mixture.means, mixture.covariances)

    def mixture(self) -> GaussianMixture:
        """The same as a mixture, none of it empty."""
        least = EMPTIEST * float(self.weights.sum()) / len(self)
        weights = np.maximum(self.weights, least if least > 0 else 1.0)
        return GaussianMixture(weights / weights.sum(), self.means, self.covariances)


def gaussians(positions: Positions, labels: np.ndarray, weights: Vector, centres: Means) -> Gaussians:
    """The Gaussian of each label in the units of the data, from the rows (n,) that have it and a weight.

    Means and scatter count each value by its share of signal; a feature that no row of a label has stays at its centre.
    """
    k, d = centres.shape
    sums, means, covariances = np.zeros(k), np.array(centres), np.empty((k, d, d))
    typical = k ** (-2 / d)
    for c in range(k):
        rows = np.flatnonzero((labels == c) & (weights > 0))
        sums[c] = weights[rows].sum()
        factors = weights[rows][:, None] * positions.share[rows]
        counts = factors.sum(axis=0)
        mean = np.sum(factors * positions.values[rows], axis=0) / np.where(counts > 0, counts, 1.0)
        means[c] = np.where(counts > 0, mean, centres[c])
        scatter, noise = positions.scatter(rows, weights[rows], means[c])
        unknown = (counts == 0) | (len(rows) <= d)
        covariances[c] = deconvolved(scatter + np.diag(np.where(unknown, NARROWEST * typical, 0.0)), noise)
    unit = positions.scale[:, None] * positions.scale
    return Gaussians(sums, means * positions.scale + positions.centre, covariances * unit)


def deconvolved(scatter: Matrix, noise: Matrix) -> Matrix:
    """Scatter less noise, kept positive: at least a tenth of the scatter is left along every direction.

    In coordinates where the scatter is the identity the eigenvalues of what is left are raised to 0.1.
    """
    values, vectors = np.linalg.eigh(scatter)
    values = np.maximum(values, max(FLATTEST, FLATTEST * float(values[-1])))
    white = vectors / np.sqrt(values)
    left, turn = np.linalg.eigh(np.eye(len(scatter)) - symmetrize(white.T @ noise @ white))
    root = (vectors * np.sqrt(values)) @ turn
    return symmetrize((root * np.maximum(left, NARROWEST)) @ root.T)
