"""Survey: how the sky became a catalogue. The selection function, and the noise an unseen object would have had."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, JobError, RefusedError, ShapeError
from dgmmis.linalg import require_positive_definite, unpack
from dgmmis.noise import Noise, SharedNoise, check_noise
from dgmmis.selection import Selection, as_selection
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
        covariance = np.asarray(covariance, dtype=float)
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
        covariances = np.asarray(self.function(points), dtype=float)
        if covariances.shape not in ((d, d), (n, d, d)):
            raise ShapeError(
                "noise_law returned the wrong shape", expected=f"({d}, {d}) or ({n}, {d}, {d})", got=covariances.shape
            )
        if np.any(covariances):
            require_positive_definite(covariances.reshape(-1, d, d), "noise_law", "point")
        return np.broadcast_to(covariances, (n, d, d))


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Survey:
    """What of the population came into the catalogue, and with what noise.

    Args:
        selection: Omega on measured values; None: everything was seen.
        noise_law: the noise of the unseen, needed with a selection.
    """

    selection: Selection | None = None
    noise_law: NoiseLaw | None = None

    def __init__(self, selection: object = None, noise_law: object = None) -> None:
        """Plain callables and matrices become checked ones."""
        object.__setattr__(self, "selection", None if selection is None else as_selection(selection))
        object.__setattr__(self, "noise_law", None if noise_law is None else as_noise_law(noise_law))

    def completed(self, noise: Noise, d: int) -> "Survey":
        """The survey of data with this noise and d features, with the law that the noise implies if none was given.

        Raises:
            JobError: a noise law without a selection.
            RefusedError: noise that differs by object says nothing about objects that were not seen.
            ShapeError: a law for another number of features.
        """
        law = self.noise_law
        if self.selection is None:
            if law is not None:
                raise JobError("a noise law without a selection has no effect", do="give a selection, or leave it out")
            return self
        if law is None:
            if not noise.is_shared:
                raise RefusedError(
                    "noise that differs by object needs a law for the objects that were not seen",
                    do="pass noise_law: a covariance (d, d), or a function of position (n, d) -> (n, d, d)",
                )
            law = ConstantNoise(unpack(noise.packed(range(d)).T)[0])
        if isinstance(law, ConstantNoise) and law.covariance.shape != (d, d):
            raise ShapeError("noise_law does not fit the data", expected=(d, d), got=law.covariance.shape)
        return Survey(self.selection, law)


def as_noise_law(law: object) -> NoiseLaw:
    """A NoiseLaw from a covariance (d, d), a callable, or one of ours."""
    if isinstance(law, (ConstantNoise, NoiseFunction)):
        return law
    if callable(law):
        return NoiseFunction(law)
    if isinstance(law, (np.ndarray, list, tuple)):
        return ConstantNoise(np.asarray(law, dtype=float))
    raise DataError("noise_law must be a covariance (d, d) or a callable", got=repr(law))
