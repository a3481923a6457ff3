"""Measurement: what an instrument makes of true positions: y = x + e, e ~ N(0, S_n), and which values are lost then."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from dgmmis.linalg import pack
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise
from dgmmis.noise_law import NoiseLaw
from dgmmis.types import Feature, Matrix, Points


@runtime_checkable
class Measurement(Protocol):
    """True positions (n, d) -> measured values (n, d), before any is lost, and their noise."""

    @property
    def kind(self) -> str:
        """Of its noise: none, shared, diagonal, full."""

    @property
    def shared_covariance(self) -> Matrix | None:
        """S where the kind is shared."""

    def __call__(self, points: Points, rng: np.random.Generator) -> tuple[Points, Noise]:
        """Measure each position once."""

    def lost(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Which values (n, d) of n objects go missing, independently of everything else."""


class Complete:
    """What loses nothing."""

    __slots__ = ()

    def lost(self, n: int, rng: np.random.Generator) -> np.ndarray:
        del rng
        return np.zeros((n, 1), dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class Exact(Complete):
    """No noise, nothing missing."""

    kind = "none"
    shared_covariance = None

    def __call__(self, points: Points, rng: np.random.Generator) -> tuple[Points, Noise]:
        del rng
        return points, NoNoise()


@dataclass(frozen=True, slots=True, eq=False)
class Shared(Complete):
    """The same covariance (d, d) for every object."""

    covariance: Matrix

    kind = "shared"

    @property
    def shared_covariance(self) -> Matrix:
        return self.covariance

    def __call__(self, points: Points, rng: np.random.Generator) -> tuple[Points, Noise]:
        offsets = rng.standard_normal(points.shape) @ np.linalg.cholesky(self.covariance).T
        return points + offsets, SharedNoise(self.covariance)


@dataclass(frozen=True, slots=True, eq=False)
class Diagonal(Complete):
    """Independent errors, log-normally distributed between objects and features.

    Args:
        sigma: median standard deviations (d,).
        spread: standard deviation of their natural logarithms.
    """

    sigma: Feature
    spread: float

    kind = "diagonal"
    shared_covariance = None

    def __call__(self, points: Points, rng: np.random.Generator) -> tuple[Points, Noise]:
        sigmas = self.sigma * np.exp(self.spread * rng.standard_normal(points.shape))
        return points + sigmas * rng.standard_normal(points.shape), DiagonalNoise(sigmas**2)


@dataclass(frozen=True, slots=True, eq=False)
class Full:
    """A covariance of its own for every object, of any orientation, and features missing at random.

    Args:
        sigma: typical standard deviations (d,).
        spread: standard deviation of the natural logarithm of an object's overall scale.
        missing: probability that a feature was not measured; every object keeps at least one.
    """

    sigma: Feature
    spread: float
    missing: float = 0.0

    kind = "full"
    shared_covariance = None

    def __call__(self, points: Points, rng: np.random.Generator) -> tuple[Points, Noise]:
        n, d = points.shape
        factors = rng.standard_normal((n, d, d + 2))
        # Wishart matrices of mean one; the added unit matrix keeps the narrowest of them measurable
        shapes = 0.9 * (factors @ np.swapaxes(factors, 1, 2)) / (d + 2) + 0.1 * np.eye(d)
        scales = np.exp(self.spread * rng.standard_normal((n, 1))) * self.sigma
        covariances = shapes * scales[:, :, None] * scales[:, None, :]
        offsets = np.linalg.cholesky(covariances) @ rng.standard_normal((n, d, 1))
        return points + offsets[:, :, 0], FullNoise(pack(covariances))

    def lost(self, n: int, rng: np.random.Generator) -> np.ndarray:
        d = len(self.sigma)
        lost = rng.random((n, d)) < self.missing
        kept = rng.integers(d, size=n)
        lost[np.arange(n), kept] &= ~lost.all(axis=1)
        return lost


@dataclass(frozen=True, slots=True, eq=False)
class ByPosition(Complete):
    """The noise of a law of the true position: positions (n, d) -> covariances (n, d, d)."""

    law: NoiseLaw

    kind = "full"
    shared_covariance = None

    def __call__(self, points: Points, rng: np.random.Generator) -> tuple[Points, Noise]:
        covariances = self.law(points)
        offsets = np.linalg.cholesky(covariances) @ rng.standard_normal((*points.shape, 1))
        return points + offsets[:, :, 0], FullNoise(pack(covariances))
