"""What a background must know, whatever its shape."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dgmmis.background.uniform import Uniform
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import Noise
from dgmmis.types import Points, Vector


@runtime_checkable
class Background(Protocol):
    """A fixed density b(x) of objects that belong to no component; of N(0, S) noise and projections R_n it is told."""

    @property
    def n_features(self) -> int:
        """d, the features of x."""

    @property
    def envelope(self) -> "Uniform | GaussianMixture":
        """A density that is positive wherever b is, from which points are drawn."""

    def log_density(
        self, points: Float[np.ndarray, "n m"], noise: Noise, projection: Float[np.ndarray, "n m d"] | None = None
    ) -> Vector:
        """log of integral b(x) N(y_n | R_n x, S_n) dx over the measured values of points (n, m); NaN: missing."""

    def sample(self, n: int, rng: np.random.Generator) -> Points:
        """Draw n noise-free points (n, d)."""

    def posterior(
        self,
        points: Float[np.ndarray, "n m"],
        noise: Noise,
        projection: Float[np.ndarray, "n m d"] | None = None,
        *,
        n_points: int,
    ) -> tuple[Float[np.ndarray, "n j d"], Float[np.ndarray, "n j"]]:
        """Positions x_nj (n, J, d) and log weights (n, J): mean_j exp(log_weights_nj) f(x_nj) is about
        integral f(x) b(x) N(y_n | R_n x, S_n) dx for any f. Positions are finite; weights are -inf where b is zero."""
