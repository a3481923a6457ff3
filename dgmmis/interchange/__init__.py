"""Models in files and in other packages: saved and loaded, imported and exported."""

from dgmmis.interchange.extreme_deconvolution import from_extreme_deconvolution
from dgmmis.interchange.files import ENDINGS
from dgmmis.interchange.pygmmis import load_pygmmis
from dgmmis.interchange.saved_model import SavedModel, is_saved, load_model, save_model
from dgmmis.interchange.scikit_learn import from_sklearn, to_sklearn

__all__ = [
    "ENDINGS",
    "SavedModel",
    "from_extreme_deconvolution",
    "from_sklearn",
    "is_saved",
    "load_model",
    "load_pygmmis",
    "save_model",
    "to_sklearn",
]
