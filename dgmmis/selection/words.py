"""Selections in words: as the expression that makes them, and as a notebook shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from dgmmis.errors import DgmmisError
from dgmmis.portrait import Portrait, map_drawing, numbers_text
from dgmmis.selection.algebra import Both, Complement, Either, FromFunction, Selection
from dgmmis.selection.grid import Grid
from dgmmis.selection.imported import Imported
from dgmmis.selection.injections import Injections
from dgmmis.selection.shapes import Ball, Box, HalfSpace

CELLS = 48
"""Of a map of Omega, along each feature."""

MARGIN = 0.1
"""Of a map around the edges, in units of what they enclose."""

SOFT = 6.0
"""Softnesses from a graded edge to where Omega is 0 or 1."""


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
    """The expression, what it says, and a map where it is known to look at one or two features, and has edges there."""
    said = Portrait(expression(selection), note="Omega: the probability of being in the catalogue")
    edges = _edges(selection)
    if edges is None or len(edges) not in (1, 2):
        return said
    for margin in (MARGIN, 0.0):
        try:
            drawn = _map(selection, edges, margin)
        except DgmmisError:  # a grid says nothing beyond its edges, and other parts may reach there
            continue
        return replace(said, drawing=drawn, note=f"{said.note}; dark: {'1' if len(edges) == 2 else 'below it'}")
    return said


def _map(selection: Selection, edges: Mapping[int, tuple[float, float]], margin: float) -> str:
    """Omega over two features, or the area below it against one."""
    features = sorted(edges)
    lower, upper = np.array([edges[f] for f in features]).T
    size = upper - lower
    widest = size.max() or max(1.0, float(np.abs(lower).max()))
    # around a single edge there is as much to be seen as along the other feature
    room = np.where(size > 0, margin * size, widest / 2)
    lower, upper = lower - room, upper + room
    middles = lower + (np.arange(CELLS)[:, None] + 0.5) / CELLS * (upper - lower)
    grid = np.meshgrid(*middles.T, indexing="ij")
    points = np.full((grid[0].size, max(map(_width, _parts(selection)))), np.nan)
    points[:, features] = np.stack(grid, axis=-1).reshape(-1, len(features))
    omega = np.asarray(selection(points)).reshape(grid[0].shape)
    names = [f"feature {f}" for f in features]
    if len(features) == 2:
        return map_drawing(omega, lower, upper, names=names, alt="a map of Omega")
    below = (np.arange(CELLS) + 0.5) / CELLS < omega[:, None]
    ends = np.append(lower, 0.0), np.append(upper, 1.0)
    return map_drawing(below.astype(float), *ends, names=[*names, "Omega"], alt=f"Omega against {names[0]}")


def _edges(selection: Selection) -> dict[int, tuple[float, float]] | None:
    """Of each feature that it looks at, from and to where its edges are; None where that is not known."""
    parts = [*_parts(selection)]
    of_shapes, of_lines = (
        [_edges_of(part) for part in parts if isinstance(part, HalfSpace) == is_line] for is_line in (False, True)
    )
    found: dict[int, tuple[float, float]] = {}
    # a line goes on for ever: what is enclosed by others says how far it is to be seen
    for many in (of_lines, of_shapes):
        ends: dict[int, list[float]] = {}
        for one in many:
            if one is None:
                return None
            for feature, edges in one.items():
                ends.setdefault(feature, []).extend(edges)
        found |= {feature: (min(edges), max(edges)) for feature, edges in ends.items()}
    return found


def _parts(selection: Selection) -> Iterator[Selection]:
    """Of which it is composed."""
    match selection:
        case Complement(inner=inner):
            yield from _parts(inner)
        case Both(left=left, right=right) | Either(left=left, right=right):
            yield from _parts(left)
            yield from _parts(right)
        case _:
            yield selection


def _edges_of(part: Selection) -> dict[int, tuple[float, ...]] | None:
    """The same of a part, where it has any; of a line in two features where the axes are, and where it meets them."""
    match part:
        case Box(lower=lower, upper=upper):
            edges = {f: np.array([lower[f], upper[f]]) for f in range(len(lower))}
            return {f: tuple(own[np.isfinite(own)].tolist()) for f, own in edges.items() if np.isfinite(own).any()}
        case Ball(center=center, radius=radius):
            return {f: (float(c - radius), float(c + radius)) for f, c in enumerate(center)}
        case HalfSpace(normal=normal, offset=offset, softness=softness) if np.isfinite(offset):
            features, out = np.flatnonzero(normal).tolist(), {}
            for f in features:
                cut, soft = offset / float(normal[f]), SOFT * softness / abs(float(normal[f]))
                out[f] = (cut - soft, cut + soft, *([-soft, soft] if len(features) > 1 else []))
            return out
        case Grid(edges=edges):
            known = [edge[np.isfinite(edge)] for edge in edges]
            if all(len(edge) for edge in known):
                return {f: (float(e[0]), float(e[-1])) for f, e in zip(_axes(part), known, strict=True)}
    return None


def _axes(grid: Grid) -> tuple[int, ...]:
    return tuple(range(len(grid.edges))) if grid.features is None else grid.features


def _width(part: Selection) -> int:
    """Features that points must have for one of the parts."""
    match part:
        case Box(lower=vector) | Ball(center=vector) | HalfSpace(normal=vector):
            return len(vector)
        case Grid():
            return max(_axes(part)) + 1
    return 0
