"""A background that is a Gaussian mixture whose parameters are not fitted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from dgmmis.background.uniform import check_features
from dgmmis.box_integral.points import scattered
from dgmmis.conditioned import conditioned
from dgmmis.errors import DataError
from dgmmis.linalg import covariance_root, logsumexp
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import Noise
from dgmmis.types import Points, Vector


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
        for part in conditioned(self.mixture, points, noise, projection):
            out[part.rows] = logsumexp(part.log_joint, axis=1)
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
        for part in conditioned(self.mixture, points, noise, projection, row_numbers=n_points * d * d):
            log_density = logsumexp(part.log_joint, axis=1)
            edges = np.cumsum(np.exp(part.log_joint - log_density[:, None]), axis=1)[:, :-1]
            which = np.sum(shares[None, :, :1] > edges[:, None, :], axis=2)  # the component of each point
            roots = covariance_root(part.covariances)
            each = np.arange(len(part.rows))[:, None]
            of_points = roots[each if len(roots) > 1 else 0, which]
            positions[part.rows] = part.means[each, which] + np.einsum("bjde,je->bjd", of_points, normals)
            log_weights[part.rows] = log_density[:, None]
        if projection is None:
            exact = ~np.isnan(points) & (noise.variances(d) == 0)
            positions = np.where(exact[:, None, :], points[:, None, :], positions)
        return positions, log_weights
