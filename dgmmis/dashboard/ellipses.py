"""Ellipses: the outlines of components in two features."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

N_CORNERS = 48
"""Of an outline."""


def outlines(model: Mapping[str, Any], x: int, y: int, sigma: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The contours of the components at some sigmas (of two features: 39 % of a component within one, 86 % in two).

    Args:
        model: weights, means and packed covariances.
        x, y: numbers of the features; where they are one, it is that of both axes.
        sigma: how many.

    Returns:
        x and y of the corners of each.
    """
    angles = np.linspace(0, 2 * np.pi, N_CORNERS)
    circle = sigma * np.stack([np.cos(angles), np.sin(angles)])
    xs, ys = [], []
    for mean, covariance in zip(model["means"], model["covariances"], strict=True):
        a, b, c = covariance[packed(x, x)], covariance[packed(x, y)], covariance[packed(y, y)]
        first = np.sqrt(max(a, 0.0))
        slope = b / first if first > 0 else 0.0
        rest = np.sqrt(max(c - slope**2, 0.0))
        xs.append(mean[x] + first * circle[0])
        ys.append(mean[y] + slope * circle[0] + rest * circle[1])
    return xs, ys


def packed(d: int, e: int) -> int:
    """Where an entry of a covariance is in its lower triangle, row by row."""
    d, e = max(d, e), min(d, e)
    return d * (d + 1) // 2 + e


def window(
    model: Mapping[str, Any] | None, bounds: Sequence[tuple[float, float]] | None, feature: int
) -> tuple[float, float]:
    """What to show of a feature: the data, and two sigmas of components that weigh something, but not thrice as much
    as the data span."""
    lower, upper = (np.inf, -np.inf) if bounds is None else bounds[feature]
    if model is not None:
        means = np.array([mean[feature] for mean in model["means"]])
        widths = np.sqrt([max(of[packed(feature, feature)], 0.0) for of in model["covariances"]])
        matter = np.array(model["weights"]) > 0.01 * max(model["weights"])
        low, high = np.min((means - 2 * widths)[matter]), np.max((means + 2 * widths)[matter])
        if bounds is not None:
            low, high = max(low, 2 * lower - upper), min(high, 2 * upper - lower)
        lower, upper = min(lower, low), max(upper, high)
    margin = 0.03 * (upper - lower) or 1.0
    return float(lower - margin), float(upper + margin)
