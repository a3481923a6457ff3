"""Drawing along a chain: each variable from an interval of its normal, given those before; the mass is the weight."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.box_integral.chain import Chain
from dgmmis.box_integral.interval import log_interval, quantile
from dgmmis.box_integral.tilting import saddle_point
from dgmmis.linalg import LOG_TWO_PI

LEVEL = 36.0
"""How far the squared distance, in sigma, may exceed that of a good position: what lies beyond holds exp(-18)."""

EDGE = 1e-9
"""Rounding of an exact position, in units of the box."""


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """Where to draw the variables of a chain.

    Args:
        tilts: mu (b, q): variable k is drawn from N(mu_k, 1) on its interval.
        reach: sigmas out of the box at which a solved variable still counts (b,), while free ones are drawn.
    """

    tilts: Float[np.ndarray, "b q"]
    reach: Float[np.ndarray, " b"]

    def take(self, which: slice) -> "Guide":
        """Some of the rows."""
        return Guide(self.tilts[which], self.reach[which])


def guided(chain: Chain) -> Guide:
    """The tilts at the saddle point, and the reach from a position near it."""
    b, q = chain.centre.shape
    if chain.exact or q == 0:
        return Guide(np.zeros((b, q)), np.zeros(b))
    spread = np.diagonal(chain.factor, axis1=1, axis2=2)
    slope = chain.slope
    with np.errstate(all="ignore"):
        low, high = (-0.5 - chain.centre) / spread, (0.5 - chain.centre) / spread
        z, tilts = saddle_point(low, high, slope)
        if chain.n_free == 0:
            return Guide(tilts, np.zeros(b))
        for i in range(q):  # a position in the box, whose distance bounds the least one
            shift = np.einsum("be,be->b", slope[:, i, :i], z[:, :i])
            z[:, i] = np.clip(z[:, i], low[:, i] - shift, high[:, i] - shift)
        near, plain = (np.sum(at[:, chain.n_free :] ** 2, axis=1) for at in (z, _position(chain)))
        # no tilt where there is room in the box; nor where Newton's steps went astray, as they may for little noise
        lost = (plain < 1) | ~(near <= plain + 0.25 * LEVEL)
        return Guide(np.where(lost[:, None], 0.0, tilts), np.sqrt(np.where(lost, plain, near) + LEVEL))


def _position(chain: Chain) -> Float[np.ndarray, "b q"]:
    """A position z in the box: free variables amid what leaves the solved ones a way in, these as near as they can."""
    b, q = chain.centre.shape
    z = np.zeros((q, b, 1))
    for i in range(q):
        if i < chain.n_free:
            low, high, _ = _feasible(chain, i, z, np.zeros(b))
            z[i] = 0.5 * (low + high)
        else:
            mean = chain.centre[:, i, None] + sum(chain.factor[:, i, e, None] * z[e] for e in range(i))
            z[i] = np.clip(0.0, *((edge - mean) / chain.factor[:, i, i, None] for edge in (-0.5, 0.5)))
    return np.asarray(z[:, :, 0].T)


def drawn(
    chain: Chain, guide: Guide, shares: np.ndarray
) -> tuple[Float[np.ndarray, "b j q"], Float[np.ndarray, "b j"]]:
    """Positions t in units of the box, and log weights; variables without a share are not drawn, only weighed."""
    (b, q), (j, s) = chain.centre.shape, shares.shape
    log_weights = np.repeat(chain.log_constant[:, None], j, axis=1)
    z, t = np.zeros((2, q, b, j))
    with np.errstate(all="ignore"):
        for i in range(q):
            mean = chain.centre[:, i, None] + sum(chain.factor[:, i, e, None] * z[e] for e in range(i))
            if chain.exact and i >= chain.n_free:
                t[i] = mean
                log_weights[np.abs(np.broadcast_to(mean, (b, j))) > 0.5 + EDGE] = -np.inf
                continue
            spread, mu = chain.factor[:, i, i, None], guide.tilts[:, i, None]
            low, high, half = (-0.5 - mean) / spread, (0.5 - mean) / spread, 0.5 / spread
            if i < chain.n_free:
                low, high, half = _feasible(chain, i, z, guide.reach)
            log_weights += np.where(half < 0, -np.inf, log_interval(low - mu, high - mu, half))
            if i < s:
                z[i] = mu + quantile(shares[:, i], low - mu, high - mu, half)
                log_weights += 0.5 * mu * mu - mu * z[i]
                t[i] = mean + spread * z[i]
            if i < chain.n_free:  # uniform, not normal
                log_weights += 0.5 * (z[i] ** 2 + LOG_TWO_PI)
    log_weights[np.isnan(log_weights)] = -np.inf
    t = np.clip(np.nan_to_num(t, nan=0.0), -0.5, 0.5)
    return np.moveaxis(t, 0, 2), log_weights


def _feasible(chain: Chain, i: int, z: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the free variable i leaves every solved one a way into the box: low, high, half; half < 0: nowhere."""
    low, high = np.full(z.shape[1:], -0.5), np.full(z.shape[1:], 0.5)
    for p in range(chain.n_free, chain.centre.shape[1]):
        row = chain.factor[:, p]
        spread = np.linalg.norm(row[:, chain.n_free :], axis=1)
        still = 0.5 * np.sum(np.abs(row[:, i + 1 : chain.n_free]), axis=1)
        room = (0.5 + still + reach * spread)[:, None]
        mean = chain.centre[:, p, None] + sum(row[:, e, None] * z[e] for e in range(i))
        slope = row[:, i, None]
        ends = (-room - mean) / slope, (room - mean) / slope
        low = np.where(slope != 0, np.maximum(low, np.minimum(*ends)), low)
        high = np.where(slope != 0, np.minimum(high, np.maximum(*ends)), high)
    half = 0.5 * (high - low)
    low = np.where(half < 0, np.clip(low, -0.5, 0.5), low)
    return low, np.where(half < 0, low, high), half
