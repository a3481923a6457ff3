"""The works: generators of data with fixed seeds, that others can repeat."""

from dataclasses import dataclass

import numpy as np

from dgmmis.mixture import GaussianMixture


@dataclass(frozen=True)
class Work:
    """Something to time: rows, features, components, and whether each object has its own noise covariance."""

    name: str
    n: int
    d: int
    k: int
    noisy: bool

    def mixture(self) -> GaussianMixture:
        rng = np.random.default_rng(self.k)
        factors = rng.normal(size=(self.k, self.d, self.d)) / np.sqrt(self.d)
        covariances = factors @ np.swapaxes(factors, 1, 2) + 0.3 * np.eye(self.d)
        return GaussianMixture(rng.dirichlet(np.full(self.k, 5.0)), 4 * rng.normal(size=(self.k, self.d)), covariances)

    def points(self) -> np.ndarray:
        return self.mixture().sample(self.n, 1)

    def noise(self) -> np.ndarray | None:
        if not self.noisy:
            return None
        rng = np.random.default_rng(2)
        factors = 0.4 * rng.normal(size=(self.n, self.d, self.d))
        return np.asarray(factors @ np.swapaxes(factors, 1, 2) + 0.05 * np.eye(self.d))


WORKS = (
    Work("1M x 6, K=32, full", 1_000_000, 6, 32, False),
    Work("100k x 15, K=30, full", 100_000, 15, 30, False),
    Work("100k x 3, K=16, noise per object", 100_000, 3, 16, True),
    Work("100k x 6, K=32, noise per object", 100_000, 6, 32, True),
)
