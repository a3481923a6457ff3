"""(1/V) integral over a box of f(x) N(y | R x, S) dx: its value for f = 1, and weighted positions for any f."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from dgmmis.box_integral.chain import Chain, chains
from dgmmis.box_integral.points import nodes, scattered
from dgmmis.box_integral.sequence import drawn, guided
from dgmmis.linalg import logsumexp
from dgmmis.noise import Noise
from dgmmis.types import Feature, Vector

BATCH_NUMBERS = 131_072
"""Numbers in the largest temporary array (1 MB): it stays in the cache."""

TOLERANCE = 1e-6
"""What sides of the box that are out of reach may change, relatively; they are not looked at then."""

STEEP = 2.0
"""Slope of one variable in another, in sigma, above which more points are needed."""


def log_box_integral(
    points: Float[np.ndarray, "n m"],
    noise: Noise,
    projection: Float[np.ndarray, "n m d"] | None = None,
    *,
    lower: Feature,
    upper: Feature,
) -> Vector:
    """log (1/V) integral over lower < x < upper of N(y_n | R_n x, S_n) dx (n,), NaN values marginalised.

    One variable after the other, each an interval of a normal given those before (Genz 1992, J. Comp. Graph. Stat. 1),
    drawn with the tilts of Botev (2017, J. R. Stat. Soc. B 79); the last one needs no drawing.
    """
    out = np.empty(len(points))
    for chain in chains(points, noise, projection, lower, upper):
        out[chain.rows] = chain.log_constant
        for part, grades in _parts(chain.take(chain.log_constant > -np.inf)):
            guide = guided(part)
            shares, log_shares = nodes(grades)
            for rows in _batches(len(part.rows), len(shares)):
                log_weights = drawn(part.take(rows), guide.take(rows), shares)[1]
                out[part.rows[rows]] = logsumexp(log_weights + log_shares, axis=1)
    return out


def box_posterior(
    points: Float[np.ndarray, "n m"],
    noise: Noise,
    projection: Float[np.ndarray, "n m d"] | None = None,
    *,
    lower: Feature,
    upper: Feature,
    n_points: int,
) -> tuple[Float[np.ndarray, "n j d"], Float[np.ndarray, "n j"]]:
    """Positions x_nj (n, J, d) and log weights (n, J): mean_j exp(log_weights_nj) f(x_nj) is about the integral."""
    d = len(lower)
    positions = np.empty((len(points), n_points, d))
    log_weights = np.empty((len(points), n_points))
    shares = scattered(n_points, d)
    for chain in chains(points, noise, projection, lower, upper):
        guide = guided(chain)
        for rows in _batches(len(chain.rows), n_points):
            part = chain.take(rows)
            q = part.centre.shape[1]
            t, log_weights[part.rows] = drawn(part, guide.take(rows), shares[:, :q])
            rest = _others(part.order, d)  # the features that no variable stands for are uniform
            place = np.argsort(np.concatenate([rest, part.order], axis=1), axis=1)
            x = np.repeat(shares[None, :, np.r_[q:d, 0:q]], len(part.rows), axis=0)
            x = lower + np.take_along_axis(x, place[:, None], 2) * (upper - lower)
            np.put_along_axis(x, part.order[:, None, :], _in_units(t, part.order, lower, upper), axis=2)
            positions[part.rows] = x
    if projection is None:
        exact = ~np.isnan(points) & (noise.variances(d) == 0)
        positions = np.where(exact[:, None, :], points[:, None, :], positions)
    return positions, log_weights


def _parts(chain: Chain) -> Iterator[tuple[Chain, tuple[int, ...]]]:
    """The chain by how many of its variables are needed, and the grades of points that these need."""
    (rows, q), free = chain.centre.shape, chain.n_free
    if chain.exact:
        yield chain, (2 if free > 1 else 0,) * free
        return
    steep = np.abs(chain.slope) > STEEP
    among, across = np.any(steep[:, free:, free:], axis=(1, 2)), np.any(steep[:, free:, :free], axis=(1, 2))
    needed = np.full(rows, q) if free else chain.needed(TOLERANCE)
    forms, which = np.unique(np.stack([needed, among, across], axis=1), axis=0, return_inverse=True)
    for number, (count, solved, edges) in enumerate(forms.tolist()):
        drawn_free = min(free, count)
        grades = (2 * edges,) * drawn_free + (solved,) * max(count - 1 - drawn_free, 0)
        yield chain.take(which.ravel() == number, count), grades


def _batches(n: int, points: int) -> Iterator[slice]:
    size = max(1, BATCH_NUMBERS // points)
    return (slice(start, start + size) for start in range(0, n, size))


def _in_units(t: np.ndarray, order: np.ndarray, lower: Feature, upper: Feature) -> np.ndarray:
    low, high = lower[order][:, None], upper[order][:, None]
    return np.asarray(np.clip(0.5 * (low + high) + t * (high - low), low, high))


def _others(order: np.ndarray, d: int) -> np.ndarray:
    """The features (b, d - q) that are not in the order (b, q), ascending."""
    free = np.ones((len(order), d), dtype=bool)
    np.put_along_axis(free, order, False, axis=1)
    return np.broadcast_to(np.arange(d), free.shape)[free].reshape(len(order), d - order.shape[1])
