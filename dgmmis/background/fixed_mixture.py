"""A background that is a Gaussian mixture whose parameters are not fitted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from dgmmis.background.uniform import check_features
from dgmmis.box_integral.points import scattered
from dgmmis.errors import DataError, RefusedError, rows_named
from dgmmis.linalg import LOG_TWO_PI, cholesky_inverse, covariance_root, logsumexp, symmetrize, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import Noise
from dgmmis.types import Points, Vector

BLOCK_NUMBERS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class FixedMixture:
    """b(x) = sum_k alpha_k N(x | mu_k, C_k), known beforehand; N(y | R mu_k, R C_k R' + S) under noise."""

    mixture: GaussianMixture

    def __post_init__(self) -> None:
        if not isinstance(self.mixture, GaussianMixture):
            raise DataError("FixedMixture needs a GaussianMixture", got=type(self.mixture).__name__)

    @property
    def n_features(self) -> int:
        return self.mixture.n_features

    @property
    def envelope(self) -> GaussianMixture:
        return self.mixture

    def log_density(
        self, points: Float[np.ndarray, "n m"], noise: Noise, projection: Float[np.ndarray, "n m d"] | None = None
    ) -> Vector:
        """Log density (n,) of measured points (n, m); NaN values are marginalised.

        Raises:
            RefusedError: values of a projection that measure the same thing twice, without noise.
        """
        check_features(self.n_features, points, projection)
        out = np.empty(len(points))
        for rows, log_joint, _, _ in self._conditioned(points, noise, projection, 1):
            out[rows] = logsumexp(log_joint, axis=1)
        return out

    def sample(self, n: int, rng: np.random.Generator) -> Points:
        """Draw n points (n, d)."""
        return self.mixture.sample(n, rng)

    def posterior(
        self,
        points: Float[np.ndarray, "n m"],
        noise: Noise,
        projection: Float[np.ndarray, "n m d"] | None = None,
        *,
        n_points: int,
    ) -> tuple[Float[np.ndarray, "n j d"], Float[np.ndarray, "n j"]]:
        """Positions (n, J, d) and log weights (n, J), as in `Background`: each component has a share of the points in
        proportion to its responsibility, drawn from N(b_nk, B_nk) (Bovy et al. 2011, eq. 14)."""
        check_features(self.n_features, points, projection)
        d = self.n_features
        positions = np.empty((len(points), n_points, d))
        log_weights = np.empty((len(points), n_points))
        shares = scattered(n_points, d + 1)
        normals = ndtri(shares[:, 1:])
        for rows, log_joint, means, covariances in self._conditioned(points, noise, projection, n_points):
            log_density = logsumexp(log_joint, axis=1)
            edges = np.cumsum(np.exp(log_joint - log_density[:, None]), axis=1)[:, :-1]
            which = np.sum(shares[None, :, :1] > edges[:, None, :], axis=2)  # the component of each point
            roots = covariance_root(covariances)
            each = np.arange(len(rows))[:, None]
            positions[rows] = means[each, which] + np.einsum("bjde,je->bjd", roots[each, which], normals)
            log_weights[rows] = log_density[:, None]
        if projection is None:
            exact = ~np.isnan(points) & (noise.variances(d) == 0)
            positions = np.where(exact[:, None, :], points[:, None, :], positions)
        return positions, log_weights

    def _conditioned(
        self, points: Float[np.ndarray, "n m"], noise: Noise, projection: np.ndarray | None, n_points: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, log alpha_k N_nk (b, k), b_nk (b, k, d), B_nk (b, k, d, d), by blocks."""
        mixture, d = self.mixture, self.n_features
        with np.errstate(divide="ignore"):
            log_weights = np.log(mixture.weights)
        size = max(1, BLOCK_NUMBERS // max(mixture.n_components * max(d, points.shape[1]) ** 2, n_points * d * d))
        patterns, which = np.unique(~np.isnan(points), axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            seen, members = np.flatnonzero(pattern), np.flatnonzero(which.ravel() == number)
            for start in range(0, len(members), size):
                rows = members[start : start + size]
                R = np.eye(d)[None, seen] if projection is None else projection[rows][:, seen]
                R = np.broadcast_to(R, (len(rows), len(seen), d))[:, None]
                RC = R @ mixture.covariances
                T = RC @ np.swapaxes(R, 2, 3) + unpack(noise.take(rows).packed(seen).T.astype(float))[:, None]
                try:
                    whiten, log_determinant = cholesky_inverse(T)
                except np.linalg.LinAlgError as error:
                    raise RefusedError(
                        f"some of {rows_named(rows)} measure the same thing twice, without noise",
                        expected="R C R' + S with an inverse",
                        do="give noise_covariance, or drop the surplus values",
                    ) from error
                offset = points[rows][:, None, seen] - np.einsum("bmd,kd->bkm", R[:, 0], mixture.means)
                white = np.einsum("bkij,bkj->bki", whiten, offset)
                gain = whiten @ RC  # L^-1 R C
                log_joint = log_weights - 0.5 * (len(seen) * LOG_TWO_PI + log_determinant + np.sum(white**2, axis=2))
                means = mixture.means + np.einsum("bkmd,bkm->bkd", gain, white)
                covariances = symmetrize(mixture.covariances - np.swapaxes(gain, 2, 3) @ gain)
                yield rows, log_joint, means, covariances
