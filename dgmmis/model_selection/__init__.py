"""Model selection: held-out likelihood, information criteria, and the stacking of several mixtures."""

from dgmmis.model_selection.choice import Choice
from dgmmis.model_selection.criterion import CRITERIA, Criterion
from dgmmis.model_selection.cross_validation import CrossValidation, Difference, cross_validate
from dgmmis.model_selection.entry import Entry
from dgmmis.model_selection.fitting import Fitting
from dgmmis.model_selection.selecting import select
from dgmmis.model_selection.stacking import Stack, stack, stacked

__all__ = [
    "CRITERIA",
    "Choice",
    "Criterion",
    "CrossValidation",
    "Difference",
    "Entry",
    "Fitting",
    "Stack",
    "cross_validate",
    "select",
    "stack",
    "stacked",
]
