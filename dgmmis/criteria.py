"""Counting parameters, for BIC and AIC."""

from math import log

from dgmmis.linalg import packed_size
from dgmmis.model import Model
from dgmmis.prior import Constraints


def n_parameters(model: Model, constraints: Constraints) -> int:
    """Free parameters: weights, means, covariances by structure, background fraction, less the frozen ones."""
    k, d = model.mixture.means.shape
    frozen = constraints.frozen
    covariance = {"full": packed_size(d), "tied": packed_size(d), "diag": d, "spherical": 1}[
        constraints.covariance_type
    ]
    covariances = int(covariance) * (1 if constraints.covariance_type == "tied" else k - len(frozen.covariances))
    low, high = constraints.background_bounds
    background = int(model.background is not None and low < high)
    return max(int(k) - len(frozen.weights) - 1, 0) + int(k - len(frozen.means)) * int(d) + covariances + background


def bic(log_likelihood: float, n_parameters: int, n_samples: float) -> float:
    """-2 log L + p log N, smaller is better (Schwarz 1978); log_likelihood is the total."""
    return -2 * log_likelihood + n_parameters * log(n_samples)


def aic(log_likelihood: float, n_parameters: int) -> float:
    """-2 log L + 2 p, smaller is better (Akaike 1974); log_likelihood is the total."""
    return -2 * log_likelihood + 2 * n_parameters
