"""Selection Omega(y): the probability that an object measured at y is in the catalogue.

A Selection is any callable (n, d) -> (n,) of probabilities. Those here are values: picklable, vectorised, composable.
"""

from dgmmis.selection.algebra import Both, Complement, Composable, Either, FromFunction, Selection, as_selection
from dgmmis.selection.bounds import LinearBounds, linear_bounds
from dgmmis.selection.grid import Grid
from dgmmis.selection.imported import Imported
from dgmmis.selection.injections import Injections
from dgmmis.selection.shapes import Ball, Box, HalfSpace

__all__ = [
    "Ball",
    "Both",
    "Box",
    "Complement",
    "Composable",
    "Either",
    "FromFunction",
    "Grid",
    "HalfSpace",
    "Imported",
    "Injections",
    "LinearBounds",
    "Selection",
    "as_selection",
    "linear_bounds",
]
