"""Small drawings (SVG) of two features, for portraits: no library, a few kilobytes."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

import numpy as np
from jaxtyping import Float

from dgmmis.types import Feature

SIDE = 180
"""Pixels of the square that is drawn in."""

SHADES = 16


def drawing(inside: str, lower: Feature, upper: Feature, names: Sequence[str], alt: str) -> str:
    """A framed square with its edges written beside it.

    Args:
        inside: SVG elements in pixels from the upper left corner.
        lower, upper: what the edges are, of both features.
        names: of the features.
        alt: what is seen, for those who do not see it.
    """
    x, y = (escape(name) for name in names)
    small = 'font-size="10" fill="currentColor"'
    return (
        f'<svg width="{SIDE + 60}" height="{SIDE + 30}" viewBox="-50 -5 {SIDE + 60} {SIDE + 30}" role="img" '
        f'aria-label="{escape(alt)}" font-family="sans-serif">{inside}'
        f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>'
        f'<text x="0" y="{SIDE + 12}" {small}>{lower[0]:.4g}</text>'
        f'<text x="{SIDE}" y="{SIDE + 12}" text-anchor="end" {small}>{upper[0]:.4g}</text>'
        f'<text x="{SIDE / 2:g}" y="{SIDE + 22}" text-anchor="middle" {small}>{x}</text>'
        f'<text x="-4" y="{SIDE}" text-anchor="end" {small}>{lower[1]:.4g}</text>'
        f'<text x="-4" y="10" text-anchor="end" {small}>{upper[1]:.4g}</text>'
        f'<text transform="translate(-38 {SIDE / 2:g}) rotate(-90)" text-anchor="middle" {small}>{y}</text></svg>'
    )


def map_drawing(
    values: Float[np.ndarray, "x y"], lower: Feature, upper: Feature, *, names: Sequence[str], alt: str
) -> str:
    """Values between 0 and 1 in cells of two features, dark where they are 1; runs of a shade are one rectangle."""
    step = np.array([SIDE / n for n in values.shape])
    shades = np.rint(values * SHADES).astype(int)
    parts = []
    for j in range(values.shape[1]):
        i = 0
        for shade, run in groupby(shades[:, j]):
            n = len(list(run))
            if shade:
                x, y = i * step[0], SIDE - (j + 1) * step[1]
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{n * step[0]:.1f}" height="{step[1]:.1f}" fill="#1f6f8b" '
                    f'fill-opacity="{0.75 * shade / SHADES:.2f}" shape-rendering="crispEdges"/>'
                )
            i += n
    return drawing("".join(parts), lower, upper, names, alt)
