"""Backgrounds: densities of objects that belong to no component, under the noise of each measurement."""

from dgmmis.background.fixed_density import FixedDensity
from dgmmis.background.fixed_mixture import FixedMixture
from dgmmis.background.imported import ImportedDensity
from dgmmis.background.protocol import Background
from dgmmis.background.uniform import Uniform

__all__ = ["Background", "FixedDensity", "FixedMixture", "ImportedDensity", "Uniform"]
