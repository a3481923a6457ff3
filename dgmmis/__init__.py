"""dgmmis: Gaussian mixtures of noisy, truncated, incomplete surveys, fitted chunk by chunk on a dask cluster.

The public names; the function that does it all is `dgmmis.fit.fit`. Each is imported when it is first asked for, so that
`import dgmmis` and `dgmmis --help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dgmmis.background import Uniform as Uniform
    from dgmmis.callback import Callback as Callback, Record as Record, Step as Step
    from dgmmis.dataset.arrays import ArrayDataset as ArrayDataset
    from dgmmis.dataset.dataset import Dataset as Dataset
    from dgmmis.em import Status as Status, Stopping as Stopping
    from dgmmis.errors import DgmmisError as DgmmisError, NotConvergedWarning as NotConvergedWarning, RepairWarning as RepairWarning
    from dgmmis.estimator import GMMis as GMMis
    from dgmmis.fit import Fit as Fit
    from dgmmis.initialize import Start as Start
    from dgmmis.mixture import GaussianMixture as GaussianMixture
    from dgmmis.model import Model as Model
    from dgmmis.noise import DiagonalNoise as DiagonalNoise, FullNoise as FullNoise, NoNoise as NoNoise, SharedNoise as SharedNoise
    from dgmmis.prior import Constraints as Constraints, Frozen as Frozen, InverseWishart as InverseWishart
    from dgmmis.selection import Ball as Ball, Box as Box, FromFunction as FromFunction, HalfSpace as HalfSpace, Selection as Selection
    from dgmmis.survey import ConstantNoise as ConstantNoise, NoiseFunction as NoiseFunction, Survey as Survey

_HOMES = {
    "ArrayDataset": "dgmmis.dataset.arrays",
    "Ball": "dgmmis.selection",
    "Box": "dgmmis.selection",
    "Callback": "dgmmis.callback",
    "ConstantNoise": "dgmmis.survey",
    "Constraints": "dgmmis.prior",
    "Dataset": "dgmmis.dataset.dataset",
    "DgmmisError": "dgmmis.errors",
    "DiagonalNoise": "dgmmis.noise",
    "Fit": "dgmmis.fit",
    "FromFunction": "dgmmis.selection",
    "Frozen": "dgmmis.prior",
    "FullNoise": "dgmmis.noise",
    "GMMis": "dgmmis.estimator",
    "GaussianMixture": "dgmmis.mixture",
    "HalfSpace": "dgmmis.selection",
    "InverseWishart": "dgmmis.prior",
    "Model": "dgmmis.model",
    "NoNoise": "dgmmis.noise",
    "NoiseFunction": "dgmmis.survey",
    "NotConvergedWarning": "dgmmis.errors",
    "Record": "dgmmis.callback",
    "RepairWarning": "dgmmis.errors",
    "Selection": "dgmmis.selection",
    "SharedNoise": "dgmmis.noise",
    "Start": "dgmmis.initialize",
    "Status": "dgmmis.em",
    "Step": "dgmmis.callback",
    "Stopping": "dgmmis.em",
    "Survey": "dgmmis.survey",
    "Uniform": "dgmmis.background",
}
"""Public name -> the module where it lives."""

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dgmmis' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
