"""dgmmis: Gaussian mixtures of noisy, truncated, incomplete surveys, fitted chunk by chunk on a dask cluster.

The public names; the function that does it all is `dgmmis.fit.fit`. Each is imported when it is first asked for, so
that `import dgmmis` and `dgmmis --help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dgmmis.background import Uniform as Uniform
    from dgmmis.callback import Callback as Callback
    from dgmmis.callback import Record as Record
    from dgmmis.callback import Step as Step
    from dgmmis.dataset.arrays import ArrayDataset as ArrayDataset
    from dgmmis.dataset.checkpoint import read_run as read_run
    from dgmmis.dataset.dataset import Dataset as Dataset
    from dgmmis.em import Status as Status
    from dgmmis.em import Stopping as Stopping
    from dgmmis.errors import DgmmisError as DgmmisError
    from dgmmis.errors import NotConvergedWarning as NotConvergedWarning
    from dgmmis.errors import RepairWarning as RepairWarning
    from dgmmis.estimator import GMMis as GMMis
    from dgmmis.fit import Fit as Fit
    from dgmmis.initialize import Start as Start
    from dgmmis.mixture import GaussianMixture as GaussianMixture
    from dgmmis.model import Model as Model
    from dgmmis.noise import DiagonalNoise as DiagonalNoise
    from dgmmis.noise import FullNoise as FullNoise
    from dgmmis.noise import NoNoise as NoNoise
    from dgmmis.noise import SharedNoise as SharedNoise
    from dgmmis.prior import Constraints as Constraints
    from dgmmis.prior import Frozen as Frozen
    from dgmmis.prior import InverseWishart as InverseWishart
    from dgmmis.selection import Ball as Ball
    from dgmmis.selection import Box as Box
    from dgmmis.selection import FromFunction as FromFunction
    from dgmmis.selection import HalfSpace as HalfSpace
    from dgmmis.selection import Selection as Selection
    from dgmmis.survey import ConstantNoise as ConstantNoise
    from dgmmis.survey import NoiseFunction as NoiseFunction
    from dgmmis.survey import Survey as Survey

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
    "read_run": "dgmmis.dataset.checkpoint",
}
"""Public name -> the module where it lives."""

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dgmmis' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
