"""What a measurement says of a position in the box, one variable at a time: t = centre + factor z, |t| <= 1/2.

Positions are in units of the box: t = (x - middle) / (upper - lower). The first variables of a chain are free: nothing
was measured of them, and they are uniform in the box. The others are normal, each given those before it (Genz 1992).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr

from dgmmis.box_integral.interval import log_interval
from dgmmis.errors import RefusedError, rows_named
from dgmmis.linalg import LOG_TWO_PI, unpack
from dgmmis.noise import Noise
from dgmmis.types import Feature

BLOCK_ROWS = 4096
FLOOR = 1e-8
"""Noise of a value measured exactly beside noisy ones in a projection, in units of its range over the box."""

RANK = 1e-10
"""What remains of a column, relative to the largest, below which measured values say nothing new of a feature."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Rows with chains of one form.

    Args:
        rows: their numbers (b,).
        order: the feature of each variable (b, q).
        centre, factor: (b, q) and (b, q, q), lower triangular; the factor of a free variable is one.
        n_free: how many variables are free, the first ones.
        exact: whether the others follow without noise; their diagonal factors are zero then.
        log_constant: what else the measured values contribute to the log integral (b,).
    """

    rows: Int[np.ndarray, " b"]
    order: Int[np.ndarray, "b q"]
    centre: Float[np.ndarray, "b q"]
    factor: Float[np.ndarray, "b q q"]
    n_free: int
    exact: bool
    log_constant: Float[np.ndarray, " b"]

    def take(self, which: np.ndarray | slice, q: int | None = None) -> "Chain":
        """Some of the rows, and their first q variables: what is left out is not asked whether it is in the box."""
        parts = (self.rows, self.order[:, :q], self.centre[:, :q], self.factor[:, :q, :q])
        rows, order, centre, factor = (part[which] for part in parts)
        return Chain(rows, order, centre, factor, self.n_free, self.exact, self.log_constant[which])

    @property
    def slope(self) -> Float[np.ndarray, "b q q"]:
        """By how many of its sigmas each variable moves with z of those before; strictly lower triangular."""
        return np.tril(self.factor / np.diagonal(self.factor, axis1=1, axis2=2)[:, :, None], -1)

    def needed(self, tolerance: float) -> Int[np.ndarray, " b"]:
        """How many variables need be looked at, for chains without free ones: by Bonferroni's inequality those after
        them change the integral by less than the tolerance, relatively."""
        with np.errstate(all="ignore"):
            spread = np.sqrt(np.sum(self.factor**2, axis=2))
            beyond = ndtr((-0.5 - self.centre) / spread) + ndtr((self.centre - 0.5) / spread)
        beyond = np.where(np.isnan(beyond), 1.0, beyond)
        from_here = np.cumsum(beyond[:, ::-1], axis=1)[:, ::-1]
        return np.asarray(np.sum(from_here >= tolerance * (1 - beyond.sum(axis=1))[:, None], axis=1))


def chains(
    points: Float[np.ndarray, "n m"],
    noise: Noise,
    projection: Float[np.ndarray, "n m d"] | None,
    lower: Feature,
    upper: Feature,
) -> Iterator[Chain]:
    """The chains of all rows, by what was measured, and exactly or not, in blocks of bounded size.

    Raises:
        RefusedError: projections that measure more than the box has, without noise.
    """
    seen = ~np.isnan(points)
    exact = seen & (noise.variances(points.shape[1]) == 0)
    forms, which = np.unique(seen.astype(np.int8) + exact, axis=0, return_inverse=True)
    for number, form in enumerate(forms):
        members = np.flatnonzero(which.ravel() == number)
        for start in range(0, len(members), BLOCK_ROWS):
            rows = members[start : start + BLOCK_ROWS]
            if projection is None or not np.any(form):
                yield _features(rows, form, points[rows], noise.take(rows), lower, upper)
            else:
                yield from _projected(rows, form, points[rows], noise.take(rows), projection[rows], lower, upper)


def _features(
    rows: np.ndarray, form: np.ndarray, points: Float[np.ndarray, "n m"], noise: Noise, lower: Feature, upper: Feature
) -> Chain:
    """Features themselves: t ~ N(y, S) in units of the box, what lies farthest out first."""
    exact, noisy, width = np.flatnonzero(form == 2), np.flatnonzero(form == 1), upper - lower
    at = points[:, exact]
    inside = np.all((at >= lower[exact]) & (at <= upper[exact]), axis=1)
    constant = np.where(inside, 0.0, -np.inf) - np.sum(np.log(width[np.flatnonzero(form)]))
    covariance = unpack(noise.packed(noisy).T.astype(float)) / (width[noisy, None] * width[noisy])
    covariance = np.broadcast_to(covariance, (len(rows), len(noisy), len(noisy)))
    with np.errstate(over="ignore"):
        centre = (points[:, noisy] - 0.5 * (lower + upper)[noisy]) / width[noisy]
        sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        likely = log_interval((-0.5 - centre) / sigma, (0.5 - centre) / sigma, 0.5 / sigma)
    order = np.argsort(likely, axis=1, kind="stable")
    covariance = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
    factor = _root(covariance)
    return Chain(rows, noisy[order], np.take_along_axis(centre, order, 1), factor, 0, False, constant)


def _projected(
    rows: np.ndarray,
    form: np.ndarray,
    points: Float[np.ndarray, "n m"],
    noise: Noise,
    projection: np.ndarray,
    lower: Feature,
    upper: Feature,
) -> Iterator[Chain]:
    """Whitened values y = R x + e, solved for the features that they determine best (QR with pivots)."""
    measured, d = np.flatnonzero(form), len(lower)
    design = projection[:, measured] * (upper - lower)
    offset = points[:, measured] - projection[:, measured] @ (0.5 * (lower + upper))
    exact = bool(np.all(form[measured] == 2))
    reach = np.sum(np.abs(design), axis=2)
    reach = np.where(reach > 0, reach, 1.0)
    if exact:
        root = np.eye(len(measured)) * reach[:, :, None]
    else:
        covariance = unpack(noise.packed(measured).T.astype(float))
        floor = np.where(form[measured] == 2, (FLOOR * reach) ** 2, 0.0)
        root = _root(covariance + floor[:, :, None] * np.eye(len(measured)))
    white = np.linalg.solve(root, np.concatenate([design, offset[:, :, None]], axis=2))
    design, offset = white[:, :, :d], white[:, :, d]
    log_root = np.sum(np.log(np.diagonal(root, axis1=1, axis2=2)), axis=1)
    order, ranks = _pivots(design)
    for rank in np.unique(ranks):
        of = np.flatnonzero(ranks == rank)
        if exact and rank < len(measured):
            raise RefusedError(
                f"projections of {rows_named(rows[of])} measure the same thing twice, without noise",
                expected="independent rows of the projection, or noise",
                do="give noise_covariance, or drop the surplus values",
            )
        yield _solved(rows[of], order[of], design[of], offset[of], int(rank), exact, log_root[of])


def _solved(
    rows: np.ndarray,
    order: np.ndarray,
    design: np.ndarray,
    offset: np.ndarray,
    rank: int,
    exact: bool,
    log_root: np.ndarray,
) -> Chain:
    """Q T = design: t_solved = T_ss^-1 (Q' y - T_sf t_free - e), the least determined first."""
    m, d = design.shape[1:]
    orthogonal, triangle = np.linalg.qr(np.take_along_axis(design, order[:, None, :], 2), mode="complete")
    rotated = np.einsum("bij,bi->bj", orthogonal, offset)
    square = triangle[:, :rank, :rank]
    sides = np.concatenate([rotated[:, :rank, None], -triangle[:, :rank, rank:]], axis=2)
    solved = np.linalg.solve(square, sides)[:, ::-1]
    diagonal = np.diagonal(square, axis1=1, axis2=2)
    signed = np.linalg.solve(square, np.eye(rank) * np.sign(diagonal)[:, None, :])
    n_free = d - rank
    centre, factor = np.zeros((len(rows), d)), np.zeros((len(rows), d, d))
    centre[:, n_free:] = solved[:, :, 0]
    factor[:, range(n_free), range(n_free)] = 1.0
    factor[:, n_free:, :n_free] = solved[:, :, 1:]
    if not exact:
        factor[:, n_free:, n_free:] = np.tril(signed[:, ::-1, ::-1])
    surplus = rotated[:, rank:]
    constant = -log_root - np.sum(np.log(np.abs(diagonal)), axis=1)
    constant -= 0.5 * (np.sum(surplus**2, axis=1) + (m - rank) * LOG_TWO_PI)
    order = np.concatenate([order[:, rank:], order[:, :rank][:, ::-1]], axis=1)
    chain = Chain(rows, order, centre, factor, n_free, exact, constant)
    return chain if rank else replace(chain.take(slice(None), 0), n_free=0)


def _pivots(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns (b, d) in the order in which each adds most to those before, and how many add something (b,)."""
    b, m, d = design.shape
    left = design.copy()
    order = np.zeros((b, 0), dtype=int)
    rank = np.zeros(b, dtype=int)
    length = np.linalg.norm(left, axis=1)
    threshold = RANK * np.max(length, axis=1)
    each = np.arange(b)
    for _ in range(min(m, d)):
        best = np.argmax(length, axis=1)
        rank += length[each, best] > threshold
        axis = left[each, :, best] / np.where(length[each, best] > 0, length[each, best], 1.0)[:, None]
        for _ in range(2):  # once more for what rounding left
            left -= axis[:, :, None] * np.einsum("bi,bij->bj", axis, left)[:, None, :]
        length = np.linalg.norm(left, axis=1)
        order = np.concatenate([order, best[:, None]], axis=1)
        np.put_along_axis(length, order, -1.0, axis=1)
    taken = np.full((b, d), min(m, d))
    np.put_along_axis(taken, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return np.argsort(taken, axis=1, kind="stable"), rank


def _root(covariance: np.ndarray) -> np.ndarray:
    """Cholesky factors, scaled to a unit diagonal first so that units do not matter."""
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    return np.asarray(np.linalg.cholesky(covariance / (scale[..., :, None] * scale[..., None, :])) * scale[..., None])
