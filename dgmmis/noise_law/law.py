"""What a noise law is, and those that need no catalogue: one covariance, a function of position, one's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.asking import answer
from dgmmis.errors import DataError, RefusedError, ShapeError
from dgmmis.linalg import require_positive_definite
from dgmmis.noise import SharedNoise, check_noise
from dgmmis.reals import reals
from dgmmis.types import Covariances, Matrix, Points


@runtime_checkable
class NoiseLaw(Protocol):
    """The noise of objects that were not seen: true positions (n, d) -> covariances (n, d, d)."""

    def __call__(self, points: Points) -> Covariances:
        """Noise covariance at each position."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class ConstantNoise:
    """Every unseen object has the covariance (d, d); a matrix of zeros means that there is no noise."""

    covariance: Matrix

    def __init__(self, covariance: ArrayLike) -> None:
        covariance = reals(covariance, "noise_law")
        object.__setattr__(self, "covariance", covariance)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ShapeError("noise_law must be a covariance (d, d) or a callable", got=covariance.shape)
        try:
            check_noise(SharedNoise(covariance), np.zeros((1, len(covariance))))
        except DataError as error:
            raise DataError(f"noise_law is no covariance: {error}") from error

    def __call__(self, points: Points) -> Covariances:
        return np.broadcast_to(self.covariance, (len(points), *self.covariance.shape))


@dataclass(frozen=True, slots=True, eq=False)
class NoiseFunction:
    """A function of the true position: points (n, d) -> (d, d) or (n, d, d), checked whenever it is called."""

    function: Callable[[Points], np.ndarray]

    def __call__(self, points: Points) -> Covariances:
        n, d = points.shape
        covariances = answer(
            self.function,
            points,
            read=lambda given: reals(given, "what noise_law returned"),
            kind="noise law",
            expected=f"covariances ({d}, {d}) or (n, {d}, {d})",
            checker="check_noise_law",
        )
        if covariances.shape not in ((d, d), (n, d, d)):
            raise ShapeError(
                "noise_law returned the wrong shape",
                expected=f"({d}, {d}) or ({n}, {d}, {d})",
                got=covariances.shape,
                do="return one covariance, or one a point",
            )
        if np.any(covariances):
            require_positive_definite(covariances.reshape(-1, d, d), "noise_law", "point")
        return np.broadcast_to(covariances, (n, d, d))


@dataclass(frozen=True, slots=True)
class OwnNoise:
    """Each unseen object had the noise of an object of the catalogue: the likelihood is conditional on S_n.

    What is maximised is the product of p(y_n | S_n, seen); the noise is assumed to be independent of the true position
    before the selection. Which noise is more often unseen then follows: object n stands for (1 - Z_n) / Z_n others.
    """

    def __call__(self, points: Points) -> Covariances:
        """Raise RefusedError: it is a property of objects, not of positions."""
        del points
        raise RefusedError(
            "noise_law='own' is no function of position",
            do="take a covariance, a function, 'nearest' or 'regression' where the noise at a position is asked for",
        )
