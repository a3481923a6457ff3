"""Moments: the sufficient statistics of EM, in precision space. A monoid: zero, +, * scalar."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.linalg import packed_size, symmetrize, unpack
from dgmmis.types import Covariances, Means, Weights


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums over samples of what the M-step and the gradient need, so that moments of disjoint samples add.

    With g_nk = R_n' T_nk^-1 (y_n - R_n mu_k), H_nk = R_n' T_nk^-1 R_n and responsibilities q_nk:

    Args:
        weight: A_k = sum_n q_nk (k,).
        mean_score: u_k = sum_n q_nk g_nk (k, d); it is d log L / d mu_k.
        covariance_score: W_k = sum_n q_nk (g_nk g_nk' - H_nk), packed lower triangles (k, t); W_k / 2 is
            d log L / d C_k.
        background: sum_n of the background's responsibilities.
        log_likelihood: sum_n log p(y_n).
        n_samples: sum_n w_n, the weights of the samples.
        dropped: sum_n of the responsibilities that the model's cutoff took away, 1 - p_cut(y_n) / p(y_n); 0 without.
        beyond: sum_n over the samples that lie beyond the cutoff of every component.

    The expectations of Bovy, Hogg & Roweis 2011 (eqs. 14-16) follow: sum_n q_nk (b_nk - mu_k) = C_k u_k and
    sum_n q_nk [(b_nk - mu_k)(b_nk - mu_k)' + B_nk] = A_k C_k + C_k W_k C_k. The products with C_k stay out of the loop
    over samples, and the sums are centred on the means by construction.
    """

    weight: Weights
    mean_score: Means
    covariance_score: Float[np.ndarray, "k t"]
    background: float
    log_likelihood: float
    n_samples: float
    dropped: float = 0.0
    beyond: float = 0.0

    @classmethod
    def zero(cls, k: int, d: int) -> "Moments":
        """The moments of no samples."""
        return cls(np.zeros(k), np.zeros((k, d)), np.zeros((k, packed_size(d))), 0.0, 0.0, 0.0)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.weight + other.weight,
            self.mean_score + other.mean_score,
            self.covariance_score + other.covariance_score,
            self.background + other.background,
            self.log_likelihood + other.log_likelihood,
            self.n_samples + other.n_samples,
            self.dropped + other.dropped,
            self.beyond + other.beyond,
        )

    def __mul__(self, factor: float) -> "Moments":
        return Moments(
            self.weight * factor,
            self.mean_score * factor,
            self.covariance_score * factor,
            self.background * factor,
            self.log_likelihood * factor,
            self.n_samples * factor,
            self.dropped * factor,
            self.beyond * factor,
        )

    @property
    def is_finite(self) -> bool:
        """Whether every sum is a number."""
        arrays = (self.weight, self.mean_score, self.covariance_score)
        scalars = (self.background, self.log_likelihood, self.n_samples, self.dropped, self.beyond)
        return all(bool(np.all(np.isfinite(a))) for a in arrays) and bool(np.all(np.isfinite(scalars)))

    def first(self, covariances: Covariances) -> Means:
        """sum_n q_nk (b_nk - mu_k) (k, d)."""
        return np.asarray(np.einsum("kij,kj->ki", covariances, self.mean_score))

    def second(self, covariances: Covariances) -> Covariances:
        """sum_n q_nk [(b_nk - mu_k)(b_nk - mu_k)' + B_nk] (k, d, d): A C + C W C as L (A + L' W L) L' with C = L L'.

        In a covariance that is flat along some direction W is so large there that the plain product turns the others by
        more than the flat one's width; here the rounding errors of every direction are in units of its own width.
        """
        sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        factors = np.linalg.cholesky(covariances / (sigma[:, :, None] * sigma[:, None, :])) * sigma[:, :, None]
        across = np.swapaxes(factors, 1, 2)
        inner = symmetrize(across @ unpack(self.covariance_score) @ factors)
        return np.asarray(factors @ (self.weight[:, None, None] * np.eye(sigma.shape[1]) + inner) @ across)


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """The same sums in the space of true values, about the model's means: the complete-data statistics of EM.

    Args:
        weight: sum_n q_nk (k,).
        first: sum_n q_nk (b_nk - mu_k) (k, d).
        second: sum_n q_nk [(b_nk - mu_k)(b_nk - mu_k)' + B_nk] (k, d, d).
        background: sum_n of the background's responsibilities.
    """

    weight: Weights
    first: Means
    second: Covariances
    background: float

    @classmethod
    def of(cls, moments: Moments, covariances: Covariances) -> "Expected":
        """What moments say, with the covariances that they were computed with."""
        first, second = moments.first(covariances), moments.second(covariances)
        return cls(moments.weight, first, second, moments.background)

    def moved(self, shift: Means) -> "Expected":
        """About means that lie by `shift` (k, d) further."""
        cross = shift[:, :, None] * self.first[:, None, :]
        w = self.weight[:, None]
        second = self.second - cross - np.swapaxes(cross, 1, 2) + (w * shift)[:, :, None] * shift[:, None, :]
        return Expected(self.weight, self.first - w * shift, symmetrize(second), self.background)

    def __add__(self, other: "Expected") -> "Expected":
        return Expected(
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            self.background + other.background,
        )

    def __mul__(self, factor: float) -> "Expected":
        return Expected(self.weight * factor, self.first * factor, self.second * factor, self.background * factor)
