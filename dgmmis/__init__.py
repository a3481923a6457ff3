"""dgmmis: Gaussian mixtures of noisy, truncated, incomplete surveys, fitted chunk by chunk on a dask cluster.

The public names; the function that does it all is `dgmmis.fit.fit`. Each is imported when it is first asked for, so
that `import dgmmis` and `dgmmis --help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dgmmis import testing as testing
    from dgmmis.background import Background as Background
    from dgmmis.background import FixedDensity as FixedDensity
    from dgmmis.background import FixedMixture as FixedMixture
    from dgmmis.background import ImportedDensity as ImportedDensity
    from dgmmis.background import Uniform as Uniform
    from dgmmis.callback import Callback as Callback
    from dgmmis.callback import Record as Record
    from dgmmis.callback import Step as Step
    from dgmmis.costs import Costs as Costs
    from dgmmis.dataset.arrays import ArrayDataset as ArrayDataset
    from dgmmis.dataset.checkpoint import Run as Run
    from dgmmis.dataset.checkpoint import read_run as read_run
    from dgmmis.dataset.dataset import Dataset as Dataset
    from dgmmis.deconvolution import TrueValues as TrueValues
    from dgmmis.deconvolution import conditional as conditional
    from dgmmis.deconvolution import conditional_samples as conditional_samples
    from dgmmis.deconvolution import true_value_samples as true_value_samples
    from dgmmis.deconvolution import true_values as true_values
    from dgmmis.divergence import entropy as entropy
    from dgmmis.divergence import jensen_shannon as jensen_shannon
    from dgmmis.divergence import kl_divergence as kl_divergence
    from dgmmis.divergence import log_density_ratio as log_density_ratio
    from dgmmis.em import Status as Status
    from dgmmis.em import Stopping as Stopping
    from dgmmis.errors import DgmmisError as DgmmisError
    from dgmmis.errors import NotConvergedWarning as NotConvergedWarning
    from dgmmis.errors import RepairWarning as RepairWarning
    from dgmmis.errors import RunawayWarning as RunawayWarning
    from dgmmis.estimate import Estimate as Estimate
    from dgmmis.estimate import expectation as expectation
    from dgmmis.estimator import GMMis as GMMis
    from dgmmis.estimator import GMMisClassifier as GMMisClassifier
    from dgmmis.estimator import VariationalGMMis as VariationalGMMis
    from dgmmis.fit import Fit as Fit
    from dgmmis.fit import evaluate as evaluate
    from dgmmis.goodness import GoodnessOfFit as GoodnessOfFit
    from dgmmis.goodness import goodness_of_fit as goodness_of_fit
    from dgmmis.information import StandardErrors as StandardErrors
    from dgmmis.initialize import Start as Start
    from dgmmis.interchange import SavedModel as SavedModel
    from dgmmis.interchange import from_extreme_deconvolution as from_extreme_deconvolution
    from dgmmis.interchange import from_sklearn as from_sklearn
    from dgmmis.interchange import load_model as load_model
    from dgmmis.interchange import load_pygmmis as load_pygmmis
    from dgmmis.interchange import save_model as save_model
    from dgmmis.interchange import to_sklearn as to_sklearn
    from dgmmis.mixture import GaussianMixture as GaussianMixture
    from dgmmis.model import Model as Model
    from dgmmis.model_selection import Choice as Choice
    from dgmmis.model_selection import Criterion as Criterion
    from dgmmis.model_selection import CrossValidation as CrossValidation
    from dgmmis.model_selection import Fitting as Fitting
    from dgmmis.model_selection import Stack as Stack
    from dgmmis.model_selection import cross_validate as cross_validate
    from dgmmis.model_selection import select as select
    from dgmmis.model_selection import stack as stack
    from dgmmis.model_selection import stacked as stacked
    from dgmmis.noise import DiagonalNoise as DiagonalNoise
    from dgmmis.noise import FullNoise as FullNoise
    from dgmmis.noise import NoNoise as NoNoise
    from dgmmis.noise import SharedNoise as SharedNoise
    from dgmmis.noise_law import ConstantNoise as ConstantNoise
    from dgmmis.noise_law import ImportedNoise as ImportedNoise
    from dgmmis.noise_law import NearestNoise as NearestNoise
    from dgmmis.noise_law import NoiseFunction as NoiseFunction
    from dgmmis.noise_law import NoiseRegression as NoiseRegression
    from dgmmis.noise_law import OwnNoise as OwnNoise
    from dgmmis.online import OnlineEM as OnlineEM
    from dgmmis.online import StepSize as StepSize
    from dgmmis.outliers import tail_probability as tail_probability
    from dgmmis.prior import Constraints as Constraints
    from dgmmis.prior import Dirichlet as Dirichlet
    from dgmmis.prior import DirichletProcess as DirichletProcess
    from dgmmis.prior import Frozen as Frozen
    from dgmmis.prior import InverseWishart as InverseWishart
    from dgmmis.prior import NormalInverseWishart as NormalInverseWishart
    from dgmmis.prior import Prior as Prior
    from dgmmis.progress import Progress as Progress
    from dgmmis.reduction import Reduction as Reduction
    from dgmmis.reduction import pruned as pruned
    from dgmmis.reduction import reduced as reduced
    from dgmmis.reduction import reweighted as reweighted
    from dgmmis.region import probability_in as probability_in
    from dgmmis.search import Search as Search
    from dgmmis.selection import Ball as Ball
    from dgmmis.selection import Box as Box
    from dgmmis.selection import FromFunction as FromFunction
    from dgmmis.selection import Grid as Grid
    from dgmmis.selection import HalfSpace as HalfSpace
    from dgmmis.selection import Imported as Imported
    from dgmmis.selection import Injections as Injections
    from dgmmis.selection import Selection as Selection
    from dgmmis.spent import Spent as Spent
    from dgmmis.survey import Survey as Survey
    from dgmmis.uncertainty import Bootstrap as Bootstrap
    from dgmmis.uncertainty import bootstrap as bootstrap
    from dgmmis.uncertainty import errors_of as errors_of
    from dgmmis.variational import VariationalFit as VariationalFit
    from dgmmis.variational import variational_fit as variational_fit

_HOMES = {
    "ArrayDataset": "dgmmis.dataset.arrays",
    "Background": "dgmmis.background",
    "Ball": "dgmmis.selection",
    "Bootstrap": "dgmmis.uncertainty",
    "Box": "dgmmis.selection",
    "Callback": "dgmmis.callback",
    "Choice": "dgmmis.model_selection",
    "ConstantNoise": "dgmmis.noise_law",
    "Constraints": "dgmmis.prior",
    "Costs": "dgmmis.costs",
    "Criterion": "dgmmis.model_selection",
    "CrossValidation": "dgmmis.model_selection",
    "Dataset": "dgmmis.dataset.dataset",
    "DgmmisError": "dgmmis.errors",
    "DiagonalNoise": "dgmmis.noise",
    "Dirichlet": "dgmmis.prior",
    "DirichletProcess": "dgmmis.prior",
    "Estimate": "dgmmis.estimate",
    "Fit": "dgmmis.fit",
    "Fitting": "dgmmis.model_selection",
    "FixedDensity": "dgmmis.background",
    "FixedMixture": "dgmmis.background",
    "FromFunction": "dgmmis.selection",
    "Frozen": "dgmmis.prior",
    "FullNoise": "dgmmis.noise",
    "GMMis": "dgmmis.estimator",
    "GMMisClassifier": "dgmmis.estimator",
    "GaussianMixture": "dgmmis.mixture",
    "GoodnessOfFit": "dgmmis.goodness",
    "Grid": "dgmmis.selection",
    "HalfSpace": "dgmmis.selection",
    "Imported": "dgmmis.selection",
    "ImportedDensity": "dgmmis.background",
    "ImportedNoise": "dgmmis.noise_law",
    "Injections": "dgmmis.selection",
    "InverseWishart": "dgmmis.prior",
    "Model": "dgmmis.model",
    "NearestNoise": "dgmmis.noise_law",
    "NoNoise": "dgmmis.noise",
    "NoiseFunction": "dgmmis.noise_law",
    "NoiseRegression": "dgmmis.noise_law",
    "NormalInverseWishart": "dgmmis.prior",
    "NotConvergedWarning": "dgmmis.errors",
    "OnlineEM": "dgmmis.online",
    "OwnNoise": "dgmmis.noise_law",
    "Prior": "dgmmis.prior",
    "Progress": "dgmmis.progress",
    "Record": "dgmmis.callback",
    "Reduction": "dgmmis.reduction",
    "RepairWarning": "dgmmis.errors",
    "RunawayWarning": "dgmmis.errors",
    "SavedModel": "dgmmis.interchange",
    "Run": "dgmmis.dataset.checkpoint",
    "Search": "dgmmis.search",
    "Selection": "dgmmis.selection",
    "SharedNoise": "dgmmis.noise",
    "Spent": "dgmmis.spent",
    "Stack": "dgmmis.model_selection",
    "StandardErrors": "dgmmis.information",
    "Start": "dgmmis.initialize",
    "Status": "dgmmis.em",
    "Step": "dgmmis.callback",
    "StepSize": "dgmmis.online",
    "Stopping": "dgmmis.em",
    "Survey": "dgmmis.survey",
    "TrueValues": "dgmmis.deconvolution",
    "Uniform": "dgmmis.background",
    "VariationalFit": "dgmmis.variational",
    "VariationalGMMis": "dgmmis.estimator",
    "bootstrap": "dgmmis.uncertainty",
    "conditional": "dgmmis.deconvolution",
    "conditional_samples": "dgmmis.deconvolution",
    "cross_validate": "dgmmis.model_selection",
    "entropy": "dgmmis.divergence",
    "errors_of": "dgmmis.uncertainty",
    "evaluate": "dgmmis.fit",
    "expectation": "dgmmis.estimate",
    "from_extreme_deconvolution": "dgmmis.interchange",
    "from_sklearn": "dgmmis.interchange",
    "goodness_of_fit": "dgmmis.goodness",
    "jensen_shannon": "dgmmis.divergence",
    "kl_divergence": "dgmmis.divergence",
    "load_model": "dgmmis.interchange",
    "load_pygmmis": "dgmmis.interchange",
    "log_density_ratio": "dgmmis.divergence",
    "probability_in": "dgmmis.region",
    "pruned": "dgmmis.reduction",
    "read_run": "dgmmis.dataset.checkpoint",
    "reduced": "dgmmis.reduction",
    "reweighted": "dgmmis.reduction",
    "save_model": "dgmmis.interchange",
    "select": "dgmmis.model_selection",
    "stack": "dgmmis.model_selection",
    "stacked": "dgmmis.model_selection",
    "tail_probability": "dgmmis.outliers",
    "to_sklearn": "dgmmis.interchange",
    "true_value_samples": "dgmmis.deconvolution",
    "true_values": "dgmmis.deconvolution",
    "variational_fit": "dgmmis.variational",
}
"""Public name -> the module where it lives."""

_MODULES = ("testing",)
"""Public modules."""

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"dgmmis.{name}")
    raise AttributeError(f"module 'dgmmis' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
