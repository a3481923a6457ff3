"""Selections in words: as the expression that makes them, and as a notebook shows them."""

import numpy as np

from dgmmis.portrait import Portrait, map_drawing, numbers_text
from dgmmis.selection.algebra import Both, Complement, Either, FromFunction, Selection
from dgmmis.selection.grid import Grid
from dgmmis.selection.imported import Imported
from dgmmis.selection.injections import Injections
from dgmmis.selection.shapes import Ball, Box, HalfSpace
from dgmmis.types import Feature

CELLS = 48
"""Of a map of Omega, along each feature."""

MARGIN = 0.1
"""Of a map around the edges, in units of what they enclose."""


def expression(selection: Selection) -> str:
    """The expression that makes a selection, with six digits: Box([0, 0], [10, 10]) & ~Ball([6.5, 6], 2)."""
    match selection:
        case Box(lower=lower, upper=upper):
            return f"Box({numbers_text(lower)}, {numbers_text(upper)})"
        case Ball(center=center, radius=radius):
            return f"Ball({numbers_text(center)}, {radius:.6g})"
        case HalfSpace(normal=normal, offset=offset, softness=softness):
            soft = f", softness={softness:.6g}" if softness else ""
            return f"HalfSpace({numbers_text(normal)}, {offset:.6g}{soft})"
        case Grid(values=values, interpolation=how, outside=outside):
            return f"Grid({' x '.join(map(str, values.shape))} values, {how}, outside: {outside})"
        case Injections(points=points, found=found):
            return f"Injections({len(points)} in {points.shape[1]} features, {int(np.sum(found))} of them found)"
        case Imported(path=path, parameters=parameters):
            given = "".join(f", {name}={value!r}" for name, value in parameters.items())
            return f"Imported('{path}'{given})"
        case FromFunction(function=function):
            return f"FromFunction({getattr(function, '__qualname__', None) or type(function).__name__})"
        case Complement(inner=inner):
            return f"~{_within(inner, (Both, Either))}"
        case Both(left=left, right=right):
            return f"{_within(left, (Either,))} & {_within(right, (Both, Either))}"
        case Either(left=left, right=right):
            return f"{expression(left)} | {_within(right, (Either,))}"
    return repr(selection)


def _within(part: Selection, weaker: tuple[type, ...]) -> str:
    """In brackets where the operator around it binds more strongly."""
    said = expression(part)
    return f"({said})" if isinstance(part, weaker) else said


def portrait(selection: Selection) -> Portrait:
    """The expression, what it says, and a map where it is of two features and has edges."""
    extent = _extent(selection)
    note = "Omega: the probability of being in the catalogue"
    if extent is None or len(extent[0]) != 2 or not np.isfinite(extent).all():
        return Portrait(expression(selection), note=note)
    lower, upper = extent
    lower, upper = lower - MARGIN * (upper - lower), upper + MARGIN * (upper - lower)
    x, y = (low + (np.arange(CELLS) + 0.5) / CELLS * (high - low) for low, high in zip(lower, upper, strict=True))
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    try:
        omega = np.asarray(selection(points)).reshape(CELLS, CELLS)
    except Exception:  # a function or a grid that says nothing there: the words are enough
        return Portrait(expression(selection), note=note)
    return Portrait(
        expression(selection), drawing=map_drawing(omega, lower, upper, "a map of Omega"), note=f"{note}; dark: 1"
    )


def _extent(selection: Selection) -> tuple[Feature, Feature] | None:
    """Where its edges are, infinite where there is none; None where that is not known."""
    match selection:
        case Box(lower=lower, upper=upper):
            return lower, upper
        case Ball(center=center, radius=radius):
            return center - radius, center + radius
        case Grid(edges=edges, features=None):
            return np.array([edge[0] for edge in edges]), np.array([edge[-1] for edge in edges])
        case Complement(inner=inner):
            return _extent(inner)
        case Both(left=left, right=right) | Either(left=left, right=right):
            known = [extent for extent in map(_extent, (left, right)) if extent is not None]
            if len({len(lower) for lower, _ in known}) != 1:
                return None
            lowers, uppers = (np.array(edges) for edges in zip(*known, strict=True))
            low = np.where(np.isfinite(lowers), lowers, np.inf).min(axis=0)
            high = np.where(np.isfinite(uppers), uppers, -np.inf).max(axis=0)
            return low, high
    return None
