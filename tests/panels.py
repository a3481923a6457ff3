"""Dense quadrature in one and two dimensions: Gauss-Legendre panels of 12 nodes, cut where the integrand jumps."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(12)
BLOCK = 2_000_000


def grid(
    omega: Callable, lower: np.ndarray, upper: np.ndarray, width: np.ndarray, cuts: list, breaks: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (g, m) where Omega > 0, and their weights times Omega."""
    if len(lower) == 1:
        nodes, weights = line(lambda y: omega(y[:, None]), lower[0], upper[0], width[0], cuts[0])
        nodes = nodes[:, None]
    else:
        span = upper[0] - lower[0]
        about = [at + sign * span / 2**j for at in breaks for sign in (-1, 1) for j in range(2, 18)]  # for kinks
        first, outer = panels(lower[0], upper[0], width[0], [*cuts[0], *breaks, *about])
        lines = [
            line(lambda y, x=x: omega(np.stack([np.full(len(y), x), y], axis=1)), lower[1], upper[1], width[1], cuts[1])
            for x in first
        ]
        nodes = np.concatenate(
            [np.stack([np.full(len(y), x), y], axis=1) for x, (y, _) in zip(first, lines, strict=True)]
        )
        weights = np.concatenate([w * inner for w, (_, inner) in zip(outer, lines, strict=True)])
    share = weights * omega(nodes)
    return nodes[share > 0], share[share > 0]


def line(omega: Callable, lower: float, upper: float, width: float, cuts: list) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of panels cut at the jumps of Omega, which are found by bisection."""
    at = np.linspace(lower, upper, 2001)
    values = omega(at)
    near = np.flatnonzero(np.abs(np.diff(values)) > 0.01)
    left, right, below, above = at[near], at[near + 1], values[near], values[near + 1]
    for _ in range(50):
        middle = (left + right) / 2
        value = omega(middle) if len(middle) else middle
        to_left = np.abs(value - below) > np.abs(above - value)
        right, above = np.where(to_left, middle, right), np.where(to_left, value, above)
        left, below = np.where(to_left, left, middle), np.where(to_left, below, value)
    return panels(lower, upper, width, [*cuts, *left[np.abs(above - below) > 1e-3]])


def panels(lower: float, upper: float, width: float, cuts: list) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre panels no wider than `width`, cut at `cuts`."""
    edges = np.unique([lower, *[cut for cut in cuts if lower < cut < upper], upper])
    parts = [np.linspace(a, b, 1 + int(np.ceil((b - a) / width)))[:-1] for a, b in pairwise(edges)]
    edges = np.append(np.concatenate(parts), upper)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + NODES)).ravel(), (half * NODE_WEIGHTS).ravel()


def panels_between(lower: np.ndarray, upper: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The same number of panels between many limits (g,): nodes and weights (g, 12 n)."""
    nodes, weights = panels(0.0, 1.0, 1 / n, [])
    return lower[:, None] + (upper - lower)[:, None] * nodes, (upper - lower)[:, None] * weights


def blocks(n: int, size: int) -> list[slice]:
    """Slices of n rows that hold about BLOCK numbers."""
    rows = max(1, BLOCK // max(size, 1))
    return [slice(start, start + rows) for start in range(0, n, rows)]
