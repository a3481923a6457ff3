"""Two variables: the probability of a rectangle under the standard normal with correlation rho."""

import numpy as np
from scipy.special import ndtr, owens_t

from dgmmis.linalg import logsumexp
from dgmmis.truncation.interval import log_interval, log_normal

CANCELLED = 1e-4
"""Share of the corners' sum below which four of its digits are lost, and the integral serves instead."""

DEPTH = 38.0
"""log of what the integral may leave out: e^-38 is 3e-17."""

SHARP = 0.85
"""Correlation above which the conditional probability rises within a short stretch, which gets panels of its own."""

BLOCK = 256
"""Integrals done together, so that their integrands stay in cache."""

TINY = 1e-300

SMOOTH_NODES = np.polynomial.legendre.leggauss(24)
SHARP_NODES = np.polynomial.legendre.leggauss(16)


def log_bivariate(low: np.ndarray, high: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """log Prob(low < z < high) (k,) for low, high (k, 2) and correlations rho (k,).

    Inclusion and exclusion of the four corners, each by Owen's T (Owen 1956, eq. 2.1), is good to 1e-15 absolute;
    where most of it cancels, one variable is integrated over, so that the relative error stays below 1e-11.
    """
    # mirror each axis so that the rectangle lies to the left: the corners are then small where the rectangle is
    mirror = low > -high
    rho = np.where(mirror[:, 0] ^ mirror[:, 1], -rho, rho)
    low, high = np.where(mirror, -high, low), np.where(mirror, -low, high)
    terms = np.array(
        [
            _orthant(high[:, 0], high[:, 1], rho),
            -_orthant(low[:, 0], high[:, 1], rho),
            -_orthant(high[:, 0], low[:, 1], rho),
            _orthant(low[:, 0], low[:, 1], rho),
        ]
    )
    total = terms.sum(axis=0)
    # Owen's T cancels within a corner, too: against half of Phi(h) + Phi(k)
    scale = ndtr(high[:, 0]) + ndtr(high[:, 1])
    lost = total <= CANCELLED * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.log(total)
    sharp = np.abs(rho) > SHARP
    for which in (lost & sharp, lost & ~sharp):
        rows = np.flatnonzero(which)
        for block in (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)):
            out[block] = _integral(low[block], high[block], rho[block], bool(sharp[block[0]]))
    return np.asarray(out)


def _orthant(h: np.ndarray, k: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Prob(z_1 < h, z_2 < k)."""
    out = np.where(np.isneginf(h) | np.isneginf(k), 0.0, np.where(np.isposinf(h), ndtr(k), ndtr(h)))
    finite = np.isfinite(h) & np.isfinite(k)
    h, k, rho = (value[finite] for value in (h, k, rho))
    h, k = (np.where(np.abs(value) < TINY, TINY, value) for value in (h, k))
    s = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(over="ignore"):
        angles = owens_t(h, (k - rho * h) / (h * s)) + owens_t(k, (h - rho * k) / (k * s))
    out[finite] = 0.5 * (ndtr(h) + ndtr(k)) - angles - np.where((h > 0) == (k > 0), 0.0, 0.5)
    return np.asarray(out)


def _integral(low: np.ndarray, high: np.ndarray, rho: np.ndarray, sharp: bool) -> np.ndarray:
    """log of int phi(x) [Phi((high_2 - rho x) / s) - Phi((low_2 - rho x) / s)] dx over the range that matters."""
    flip = rho < 0  # mirror the first variable, so that rho > 0
    first = np.where(flip, -high[:, 0], low[:, 0]), np.where(flip, -low[:, 0], high[:, 0])
    rho = np.maximum(np.abs(rho), TINY)
    s = np.sqrt((1 - rho) * (1 + rho))
    a, b = low[:, 1], high[:, 1]
    start, stop = _range(first, (a, b), rho, s)
    if sharp:
        width = 7 * s / rho
        rises = [edge / rho + step * width for edge in (a, b) for step in (-1.0, 0.0, 1.0)]
        nodes, weights = SHARP_NODES
    else:
        rises = []
        nodes, weights = SMOOTH_NODES
    cuts = np.stack([start, 0.5 * (start + stop), stop, *rises], axis=1)
    cuts = np.sort(np.clip(cuts, start[:, None], stop[:, None]), axis=1)
    half = 0.5 * np.diff(cuts, axis=1)[:, :, None]
    x = (0.5 * (cuts[:, 1:] + cuts[:, :-1])[:, :, None] + half * nodes).reshape(len(rho), -1)
    with np.errstate(divide="ignore"):
        log_weights = np.log(half * weights).reshape(x.shape)
    a, b, rho, s = (value[:, None] for value in (a, b, rho, s))
    return logsumexp(log_weights + log_normal(x) + log_interval((a - rho * x) / s, (b - rho * x) / s), axis=1)


def _range(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], rho: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the first variable the integrand is above e^-DEPTH of its greatest value.

    It is below exp(-M^2 / 2), M^2(x) = x^2 + dist(rho x, second)^2 / s^2, convex and quadratic in three pieces; the
    least M in the rectangle is at the origin or on an edge.
    """
    edges = []
    for here, there in ((first, second), (second, first)):
        for edge in here:
            with np.errstate(invalid="ignore"):
                other = np.clip(rho * edge, *there)
                edges.append(np.where(np.isfinite(edge), edge * edge + ((other - rho * edge) / s) ** 2, np.inf))
    inside = (first[0] < 0) & (first[1] > 0) & (second[0] < 0) & (second[1] > 0)
    bound = np.where(inside, 0.0, np.min(edges, axis=0)) * (1 + 1e-13) + 2 * DEPTH
    a, b = second
    zero = np.zeros_like(a)
    pieces = []
    for center, depth, spread, left, right in (
        (a, bound - a * a, s, np.full_like(a, -np.inf), a / rho),
        (zero, bound, np.ones_like(s), a / rho, b / rho),
        (b, bound - b * b, s, b / rho, np.full_like(b, np.inf)),
    ):
        with np.errstate(invalid="ignore"):
            reach = spread * np.sqrt(depth)
            start = np.maximum(np.maximum(rho * center - reach, left), first[0])
            stop = np.minimum(np.minimum(rho * center + reach, right), first[1])
            pieces.append((np.where(start <= stop, start, np.nan), np.where(start <= stop, stop, np.nan)))
    return np.nanmin([p[0] for p in pieces], axis=0), np.nanmax([p[1] for p in pieces], axis=0)
