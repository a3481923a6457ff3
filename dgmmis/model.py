"""Model: what EM updates. p(x) = (1 - nu) sum_k alpha_k N(x | mu_k, C_k) + nu b(x)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.background import Background
from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import logsumexp
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import parse_noise
from dgmmis.types import Indices, Points, Vector


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A mixture, the background it sits on, and the fraction nu of objects that belong to the background."""

    mixture: GaussianMixture
    background: Background | None = None
    background_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.background_fraction < 1:
            raise DataError("background_fraction must be in [0, 1)", got=self.background_fraction)
        if self.background is None and self.background_fraction:
            raise DataError("background_fraction without a background", got=self.background_fraction, do="give one")
        if self.background is not None and self.background.n_features != self.mixture.n_features:
            raise ShapeError(
                "background and mixture differ",
                expected=f"{self.mixture.n_features} features",
                got=self.background.n_features,
            )

    def log_density(self, points: ArrayLike, noise_covariance: object = None) -> Vector:
        """Log density (n,) of measured points (n, d) before selection, background included."""
        signal = self.mixture.log_density(points, noise_covariance)
        if self.background is None or self.background_fraction == 0:
            return signal
        points = np.asarray(points, dtype=float)
        behind = self.background.log_density(points, parse_noise(noise_covariance, points))
        terms = [np.log1p(-self.background_fraction) + signal, np.log(self.background_fraction) + behind]
        return np.asarray(logsumexp(np.stack(terms), axis=0))

    def sample(self, n: int, seed: int | np.random.Generator | np.random.SeedSequence | None = None) -> Points:
        """Draw n noise-free points (n, d) of the whole population, background included, in random order."""
        return self.labelled_sample(n, seed)[0]

    def labelled_sample(
        self, n: int, seed: int | np.random.Generator | np.random.SeedSequence | None = None
    ) -> tuple[Points, Indices]:
        """Draw n noise-free points (n, d) and the component that made each (n,); -1: the background."""
        rng = np.random.default_rng(seed)
        behind = rng.random(n) < self.background_fraction
        points, labels = self.mixture.labelled_sample(n, rng)
        if self.background is not None:
            points[behind] = self.background.sample(int(behind.sum()), rng)
            labels[behind] = -1
        return points, labels
