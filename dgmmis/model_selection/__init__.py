"""Model selection: held-out likelihood, information criteria, and the stacking of several mixtures."""

from dgmmis.model_selection.choice import CRITERIA, Choice, Entry, choose_components
from dgmmis.model_selection.cross_validation import CrossValidation, Difference, cross_validate
from dgmmis.model_selection.stacking import Stack, stack, stacked

__all__ = [
    "CRITERIA",
    "Choice",
    "CrossValidation",
    "Difference",
    "Entry",
    "Stack",
    "choose_components",
    "cross_validate",
    "stack",
    "stacked",
]
