"""A standard normal on an interval: the logarithm of its mass, and its quantiles, exact in both tails."""

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from dgmmis.truncation.interval import log_normal

SHORT = 1e-3
"""Half an interval, in sigma, below which two terms of the series are exact to 1e-13."""

FAR = 1e6
"""Distance from the box, in sigma, beyond which its far side and its curvature are below 1e-12."""


def log_interval(low: np.ndarray, high: np.ndarray, half: np.ndarray) -> np.ndarray:
    """log [Phi(high) - Phi(low)], half = (high - low) / 2, exact in both tails: mirrored to the left.

    Where the interval is short, the difference has no digits left, and the integral of the density's Taylor series
    about the middle m serves: phi(m) 2h [1 + (m^2 - 1) h^2 / 6]. Far outside, at a distance a, the density falls
    exponentially: phi(a) [1 - exp(-2ha)] / a.
    """
    mirror = low > 0
    low, high = np.where(mirror, -high, low), np.where(mirror, -low, high)
    with np.errstate(all="ignore"):
        top = log_ndtr(high)
        out = np.asarray(top + np.log1p(-np.exp(log_ndtr(low) - top)))
        short, far = _short_and_far(low, high, half)
        if np.any(far):
            a, h = -high[far], np.broadcast_to(half, far.shape)[far]
            out[far] = log_normal(a) + np.log(-np.expm1(-2 * h * a)) - np.log(a)
        if np.any(short):
            m, h = 0.5 * (low[short] + high[short]), np.broadcast_to(half, short.shape)[short]
            out[short] = log_normal(m) + np.log(2 * h) + np.log1p((m * m - 1) * h * h / 6)
    return out


def quantile(share: np.ndarray, low: np.ndarray, high: np.ndarray, half: np.ndarray) -> np.ndarray:
    """z in [low, high] with Phi(z) - Phi(low) = share [Phi(high) - Phi(low)], 0 < share < 1.

    Where `log_interval` takes a series, the density falls exponentially, at the rate of the middle or of the near end.
    """
    mirror = low > 0
    low, high = np.where(mirror, -high, low), np.where(mirror, -low, high)
    share = np.where(mirror, 1 - share, share)
    with np.errstate(all="ignore"):
        top = log_ndtr(high)
        bottom = np.exp(log_ndtr(low) - top)
        z = np.asarray(ndtri_exp(top + np.log(bottom + share * (1 - bottom))))
        short, far = _short_and_far(low, high, half)
        if np.any(short | far):
            low, high, half, short, far = np.broadcast_arrays(low, high, half, short, far, z)[:5]
            series = short | far
            h, deep = half[series], 1 - np.broadcast_to(share, z.shape)[series]
            rate = np.where(short[series], -0.5 * (low[series] + high[series]), -high[series])
            fallen = -np.log1p(deep * np.expm1(-2 * h * rate)) / rate
            z[series] = high[series] - np.where(np.abs(rate) * h < 1e-8, 2 * h * deep, fallen)
        z = np.clip(z, low, high)
    return np.asarray(np.where(mirror, -z, z))


def _short_and_far(low: np.ndarray, high: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    short = half * np.maximum(1, np.abs(0.5 * (low + high))) < SHORT
    return short, (high < -FAR) & ~short
