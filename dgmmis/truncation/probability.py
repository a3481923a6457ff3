"""Any number of variables: the probability of a rectangle under standard normals with a correlation matrix."""

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from dgmmis.linalg import logsumexp
from dgmmis.truncation.bivariate import DEPTH, log_bivariate
from dgmmis.truncation.interval import log_interval, log_normal

EXACT = 3
"""Variables up to which there is no randomness."""

BATCH = 128
"""Integrals over one of three variables that are done together: bounds the memory."""

NODES = np.polynomial.legendre.leggauss(16)
SEARCH = np.linspace(0.0, 1.0, 33)
PANELS = (2, 4, 8, 16, 32, 64)
AGREED = 1e-13
"""Relative change when the panels are halved, below which an integral is done."""


def log_probability(
    low: np.ndarray, high: np.ndarray, correlation: np.ndarray, points: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """log Prob(low < z < high) (k,) and its relative error (k,), for low, high (k, r) and correlations (k, r, r).

    Up to two variables in closed form; three by an integral over one of them, whose error is the change at the last
    refinement; more by the points (n, >= r - 1) in the unit cube, whose error the caller finds from independent sets.
    """
    k, r = low.shape
    if r == 0:
        return np.zeros(k), np.zeros(k)
    if r == 1:
        return log_interval(low[:, 0], high[:, 0]), np.zeros(k)
    if r == 2:
        return log_bivariate(low, high, correlation[:, 0, 1]), np.zeros(k)
    if r == EXACT:
        parts = [slice(start, start + BATCH) for start in range(0, k, BATCH)]
        done = [_trivariate(low[part], high[part], correlation[part]) for part in parts]
        return np.concatenate([p for p, _ in done]), np.concatenate([e for _, e in done])
    if points is None:
        raise ValueError("more than three variables need points")
    return np.array([_genz(*one, points) for one in zip(low, high, correlation, strict=True)]), np.zeros(k)


def condition(
    low: np.ndarray, high: np.ndarray, correlation: np.ndarray, i: int, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The rest, standardised again, given z_i = x (k, q): low, high (k, q, r - 1); correlation (k, r - 1, r - 1);
    and the conditional standard deviations (k, r - 1)."""
    rest = [j for j in range(low.shape[1]) if j != i]
    along = correlation[:, i, rest]
    sigma = np.sqrt((1 - along) * (1 + along))
    partial = correlation[:, rest][:, :, rest] - along[:, :, None] * along[:, None, :]
    partial = np.clip(partial / (sigma[:, :, None] * sigma[:, None, :]), -1, 1)
    shift = along[:, None, :] * x[:, :, None]
    low, high = ((edge[:, None, rest] - shift) / sigma[:, None, :] for edge in (low, high))
    return low, high, partial, sigma


def _trivariate(low: np.ndarray, high: np.ndarray, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log of int phi(x) Prob(the others | x) dx over the variable which the others depend on least."""
    k = len(low)
    off = np.abs(correlation) - np.eye(3)
    chosen = np.argmin(off.max(axis=2), axis=1)
    order = (chosen[:, None] + np.arange(3)) % 3
    low, high = (np.take_along_axis(edge, order, axis=1) for edge in (low, high))
    correlation = correlation[np.arange(k)[:, None, None], order[:, :, None], order[:, None, :]]

    def log_integrand(x: np.ndarray, which: np.ndarray) -> np.ndarray:
        q = x.shape[1]
        below, above, partial, _ = condition(low[which], high[which], correlation[which], 0, x)
        rho = np.repeat(partial[:, 0, 1], q)
        rest = log_bivariate(below.reshape(-1, 2), above.reshape(-1, 2), rho)
        return np.asarray(log_normal(x) + rest.reshape(-1, q))

    everyone = np.arange(k)
    start, stop = _reach(low, high, correlation)
    # the integrand is log-concave: what lies above e^-DEPTH of its top is one interval, closed in on three times
    for _ in range(3):
        x = start[:, None] + (stop - start)[:, None] * SEARCH
        values = log_integrand(x, everyone)
        high_enough = values > values.max(axis=1, keepdims=True) - DEPTH
        first = np.maximum(np.argmax(high_enough, axis=1) - 1, 0)
        last = np.minimum(len(SEARCH) - np.argmax(high_enough[:, ::-1], axis=1), len(SEARCH) - 1)
        start, stop = x[everyone, first], x[everyone, last]

    out, error = np.full(k, -np.inf), np.full(k, np.inf)
    active = everyone
    nodes, weights = NODES
    for panels in PANELS:
        half = 0.5 * (stop - start)[active] / panels
        middles = start[active][:, None] + half[:, None] * (2 * np.arange(panels) + 1)
        x = (middles[:, :, None] + half[:, None, None] * nodes).reshape(len(active), -1)
        log_weights = np.log(half)[:, None] + np.tile(np.log(weights), panels)
        found = logsumexp(log_weights + log_integrand(x, active), axis=1)
        error[active] = np.abs(np.expm1(found - out[active]))
        out[active] = found
        active = active[error[active] > AGREED]
        if not len(active):
            break
    return out, error


def _reach(low: np.ndarray, high: np.ndarray, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A finite range of the first variable beyond which there is nothing: x^2 is at most M^2, and M^2 at the best
    point of the rectangle at most M^2 at the point nearest to the origin."""
    nearest = np.clip(0.0, low, high)
    bound = np.einsum("ki,ki->k", nearest, np.linalg.solve(correlation, nearest[:, :, None])[:, :, 0])
    reach = np.sqrt(np.maximum(bound, 0) + 2 * DEPTH)
    return np.maximum(low[:, 0], -reach), np.minimum(high[:, 0], reach)


def _genz(low: np.ndarray, high: np.ndarray, correlation: np.ndarray, points: np.ndarray) -> float:
    """log of the mean over the points of prod_i Prob(z_i in its interval | those before it) (Genz 1992, eq. 3-5).

    The least probable intervals come first, in logarithms throughout.
    """
    order = np.argsort(log_interval(low, high), kind="stable")
    low, high, factor = low[order], high[order], np.linalg.cholesky(correlation[np.ix_(order, order)])
    n, r = len(points), len(low)
    z = np.zeros((n, r))
    total = np.zeros(n)
    for i in range(r):
        shift = z[:, :i] @ factor[i, :i]
        below, above = (low[i] - shift) / factor[i, i], (high[i] - shift) / factor[i, i]
        inside = log_interval(below, above)
        total += inside
        if i < r - 1:
            z[:, i] = _quantile(below, above, inside, points[:, i])
    return float(logsumexp(total[None, :], axis=1)[0] - np.log(n))


def _quantile(below: np.ndarray, above: np.ndarray, inside: np.ndarray, share: np.ndarray) -> np.ndarray:
    """z with Phi(z) = Phi(below) + share [Phi(above) - Phi(below)], mirrored so that no tail is lost."""
    mirror = below > -above
    lower, upper = np.where(mirror, -above, below), np.where(mirror, -below, above)
    share = np.where(mirror, 1 - share, share)
    z = ndtri_exp(np.minimum(np.logaddexp(log_ndtr(lower), np.log(share) + inside), 0.0))
    z = np.clip(z, lower, upper)
    return np.asarray(np.where(mirror, -z, z))


def unit_points(r: int, n: int, seed: int, rotation: int) -> np.ndarray:
    """Scrambled Sobol points (n, r - 1) inside the unit cube; each rotation is an independent scrambling."""
    from scipy.stats import qmc  # where it is used: most commands do without, and loading it takes half a second

    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(rotation,)))
    points = qmc.Sobol(r - 1, rng=rng).random(n)
    return np.asarray(np.clip(points, 1e-12, 1 - 1e-12))
