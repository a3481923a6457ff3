"""From what a user says to a noise law."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dgmmis.errors import DataError, nearest_name
from dgmmis.noise import Noise
from dgmmis.noise_law.imported import ImportedNoise
from dgmmis.noise_law.law import ConstantNoise, NoiseFunction, NoiseLaw, OwnNoise
from dgmmis.noise_law.nearest import NearestNoise
from dgmmis.noise_law.regression import NoiseRegression
from dgmmis.types import Points

LEARNED: Mapping[str, Callable[[Points, Noise], NoiseLaw]] = {
    "nearest": NearestNoise.fitted,
    "regression": NoiseRegression.fitted,
}
"""Laws that are learned from the catalogue."""

NAMES = ("own", *LEARNED)


@dataclass(frozen=True, slots=True)
class FromCatalogue:
    """A law that is still to be learned: "nearest" (NearestNoise) or "regression" (NoiseRegression).

    Raises:
        DataError: another kind.
    """

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in LEARNED:
            raise DataError(f"no noise law '{self.kind}' is learned", do=nearest_name(self.kind, LEARNED))

    def fitted(self, points: Points, noise: Noise) -> NoiseLaw:
        """The law of a catalogue: measured positions (n, d), NaN where missing, and their noise."""
        return LEARNED[self.kind](points, noise)


def as_noise_law(law: object) -> NoiseLaw | OwnNoise | FromCatalogue:
    """A noise law from a covariance (d, d), a callable, one of ours, or a name: "own", "nearest", "regression".

    Raises:
        DataError: another name, what is no covariance, or neither.
        ShapeError: an array that is not (d, d).
    """
    if isinstance(law, str):
        if law not in NAMES:
            raise DataError(f"unknown noise_law '{law}'", do=nearest_name(law, NAMES))
        return OwnNoise() if law == "own" else FromCatalogue(law)
    known = (ConstantNoise, NoiseFunction, ImportedNoise, NearestNoise, NoiseRegression, OwnNoise, FromCatalogue)
    if isinstance(law, known):
        return law
    if callable(law):
        return NoiseFunction(law)
    if isinstance(law, (np.ndarray, list, tuple)):
        return ConstantNoise(law)
    raise DataError(
        "noise_law must be a covariance (d, d), a callable or a name",
        expected=f"names: {', '.join(NAMES)}",
        got=repr(law),
    )
