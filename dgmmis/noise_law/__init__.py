"""Noise laws: the noise that the objects a survey did not see would have had."""

from dgmmis.noise_law.choice import FromCatalogue, as_noise_law
from dgmmis.noise_law.imported import ImportedNoise
from dgmmis.noise_law.law import ConstantNoise, NoiseFunction, NoiseLaw, OwnNoise
from dgmmis.noise_law.nearest import NearestNoise
from dgmmis.noise_law.regression import NoiseRegression

__all__ = [
    "ConstantNoise",
    "FromCatalogue",
    "ImportedNoise",
    "NearestNoise",
    "NoiseFunction",
    "NoiseLaw",
    "NoiseRegression",
    "OwnNoise",
    "as_noise_law",
]
