"""Goodness of fit: whether a catalogue is as a model has it, and where it is not."""

from dgmmis.goodness.cell import Cell
from dgmmis.goodness.fitness import GoodnessOfFit, goodness_of_fit
from dgmmis.goodness.verdict import Verdict

__all__ = ["Cell", "GoodnessOfFit", "Verdict", "goodness_of_fit"]
