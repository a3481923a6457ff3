"""One variable: the probability of an interval under the standard normal, right in relative terms however far out."""

import numpy as np
from scipy.special import erf, erfcx

from dgmmis.linalg import LOG_TWO_PI

SHORT = 1e-3
"""Half an interval, in units of the scale of the density, below which two terms of the series are exact to 1e-14."""

ROOT_HALF = float(np.sqrt(0.5))


def log_normal(x: np.ndarray) -> np.ndarray:
    """log of the standard normal density."""
    return np.asarray(-0.5 * (x * x + LOG_TWO_PI))


def log_interval(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """log [Phi(high) - Phi(low)], mirrored so that the interval lies to the left of zero or across it.

    Across zero, two error functions add up, and no digit is lost. To the left, phi(high) comes out of the difference,
    Phi(x) = exp(-x^2 / 2) erfcx(-x / sqrt 2) / 2, and nothing underflows. Where the interval is short, the difference
    has no digits left, and the Taylor series about the middle m serves: phi(m) 2h [1 + (m^2 - 1) h^2 / 6].
    """
    mirror = low > -high
    low, high = np.where(mirror, -high, low), np.where(mirror, -low, high)
    across = high > 0
    if np.all(across):
        return _across(low, high)
    if not np.any(across):
        return _left(low, high)
    out = np.empty(low.shape)
    out[across] = _across(low[across], high[across])
    left = ~across
    out[left] = _left(low[left], high[left])
    return out


def _across(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(0.5 * (erf(ROOT_HALF * high) - erf(ROOT_HALF * low))))


def _left(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        twice_middle, width = high + low, high - low
        fall = np.exp(0.5 * width * twice_middle)  # phi(low) / phi(high)
        out = np.log(0.5 * (erfcx(-ROOT_HALF * high) - fall * erfcx(-ROOT_HALF * low))) - 0.5 * high * high
        short = width * np.maximum(2, np.abs(twice_middle)) < 4 * SHORT
        if np.any(short):
            middle, half = 0.5 * twice_middle[short], 0.5 * width[short]
            out[short] = log_normal(middle) + np.log(2 * half) + np.log1p((middle * middle - 1) * half * half / 6)
    return np.asarray(out)
