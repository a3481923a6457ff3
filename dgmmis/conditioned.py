"""What measured values say of true ones, component by component: N(b_nk, B_nk) (Bovy, Hogg & Roweis 2011, eqs. 13-14).

With T = R C R' + S and the gain G = C R' T^-1 they are b = mu + G (y - R mu), B = (1 - G R) C (1 - G R)' + G S G': this
is C - G R C, but right to the last digits where a feature was measured much better than its spread.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.errors import RefusedError, rows_named
from dgmmis.linalg import LOG_TWO_PI, cholesky_inverse, symmetrize, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import Noise
from dgmmis.patterns import rows_by_pattern
from dgmmis.types import Covariances

BLOCK_NUMBERS = 1_000_000
"""Numbers in the largest array of a block."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditioned:
    """Some objects that miss the same values. Where T does not depend on the object, r is 1, else b.

    Args:
        rows: their numbers (b,).
        log_joint: log alpha_k N(y_n | R_n mu_k, T_nk) (b, k).
        means: b_nk (b, k, d).
        prior: C_k (k, d, d).
        gain: G_nk (r, k, d, o), o the measured values that are there.
        look: R_n (r, 1, o, d).
        noise: S_n (r, 1, o, o).
    """

    rows: np.ndarray
    log_joint: Float[np.ndarray, "b k"]
    means: Float[np.ndarray, "b k d"]
    prior: Covariances
    gain: Float[np.ndarray, "r k d o"]
    look: np.ndarray
    noise: np.ndarray

    @property
    def covariances(self) -> Float[np.ndarray, "r k d d"]:
        """B_nk (r, k, d, d)."""
        left = np.eye(self.prior.shape[-1]) - self.gain @ self.look
        of_prior = left @ self.prior @ np.swapaxes(left, -1, -2)
        return symmetrize(of_prior + self.gain @ self.noise @ np.swapaxes(self.gain, -1, -2))


def conditioned(
    mixture: GaussianMixture,
    points: Float[np.ndarray, "n m"],
    noise: Noise,
    projection: Float[np.ndarray, "n m d"] | None = None,
    *,
    row_numbers: int = 1,
) -> Iterator[Conditioned]:
    """Objects by pattern of missing values, in blocks of bounded size.

    Args:
        mixture: the prior.
        points: measured values; NaN: missing.
        noise, projection: of them.
        row_numbers: numbers that the caller has for each row.

    Raises:
        RefusedError: values of a projection that measure the same thing twice, without noise.
    """
    d = mixture.n_features
    size = max(1, BLOCK_NUMBERS // max(mixture.n_components * max(d, points.shape[1]) ** 2, row_numbers))
    for members, seen in rows_by_pattern(~np.isnan(points)):
        for start in range(0, len(members), size):
            rows = members[start : start + size]
            R = np.eye(d)[None, seen] if projection is None else projection[rows][:, seen].astype(float)
            S = unpack(noise.take(rows).packed(seen).T.astype(float))
            try:
                yield conditioned_on(mixture, points[np.ix_(rows, seen)], R, S, rows=rows)
            except np.linalg.LinAlgError as error:
                raise RefusedError(
                    f"some of {rows_named(rows)} measure the same thing twice, without noise",
                    expected="R C R' + S with an inverse",
                    do="give noise_covariance, or drop the surplus values",
                ) from error


def conditioned_on(
    mixture: GaussianMixture,
    values: Float[np.ndarray, "b o"],
    look: Float[np.ndarray, "r o d"],
    noise: Float[np.ndarray, "q o o"],
    *,
    rows: np.ndarray,
) -> Conditioned:
    """The same of some objects with these numbers that have all of the values; r and q are b, or 1 for all alike.

    Raises:
        LinAlgError: R C R' + S without an inverse.
    """
    both = max(len(look), len(noise))
    R, S = (np.broadcast_to(one, (both, *one.shape[1:]))[:, None] for one in (look, noise))
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    RC = R @ mixture.covariances
    whiten, log_determinant = cholesky_inverse(RC @ np.swapaxes(R, -1, -2) + S)
    offset = values[:, None] - np.einsum("...od,kd->...ko", R[:, 0], mixture.means)
    white = (whiten @ offset[..., None])[..., 0]
    log_joint = log_weights - 0.5 * (values.shape[1] * LOG_TWO_PI + log_determinant + np.sum(white**2, axis=-1))
    half = whiten @ RC  # L^-1 R C
    means = mixture.means + (np.swapaxes(half, -1, -2) @ white[..., None])[..., 0]
    gain = np.swapaxes(half, -1, -2) @ whiten
    return Conditioned(rows, log_joint, means, mixture.covariances, gain, R, S)
