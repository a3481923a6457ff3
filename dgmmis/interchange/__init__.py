"""Models in files and in other packages: saved and loaded, imported and exported."""

from dgmmis.interchange.extreme_deconvolution import from_extreme_deconvolution
from dgmmis.interchange.first_mixture import mixture_at
from dgmmis.interchange.pygmmis import load_pygmmis
from dgmmis.interchange.saved_model import SavedModel, load_model, save_model
from dgmmis.interchange.scikit_learn import from_sklearn, to_sklearn

__all__ = [
    "SavedModel",
    "from_extreme_deconvolution",
    "from_sklearn",
    "load_model",
    "load_pygmmis",
    "mixture_at",
    "save_model",
    "to_sklearn",
]
