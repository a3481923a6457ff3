"""Pruning: which components matter to the points of a box.

Bounds on each component's density over the box, from above and from below; what lies further than e^-MARGIN under the
best of them is below double precision, so that leaving it out changes nothing but the last digits: there is no
threshold to choose.
"""

import math
import typing

import numpy as np
from numba import njit

from dgmmis.estep.simd import PART
from dgmmis.linalg import LOG_TWO_PI

MARGIN = 40.0
"""A component whose density is e^-40 of the best one's adds less than rounding does."""

FEWEST = 48
"""Components from which on it is worth looking for those that do not matter."""

PANEL = 1 << 8
"""Samples for which the components that matter are looked for together: few enough to lie near one another."""

FAINT = 20.0
"""With a cutoff: what it drops is measured as far as it is e^-20 of the best component's density."""


@njit(**PART)
@typing.no_type_check
def box_of(Y, start, stop, lo, hi):
    """The box lo, hi (M,) of samples start to stop of Y (M, N)."""
    for i in range(len(lo)):
        low = Y[i, start]
        high = Y[i, start]
        for v in range(start, stop):
            low = min(low, Y[i, v])
            high = max(high, Y[i, v])
        lo[i], hi[i] = low, high


@njit(**PART)
@typing.no_type_check
def noise_between(S, start, stop, least, most):
    """Diagonal matrices below and above the packed noise of some samples: least (M,) <= S_n <= most (M,).

    Gershgorin's theorem for the correlations c_ij: S_ii (1 - sum_(j != i) |c_ij|) and S_ii sum_j |c_ij|. Where the
    former says nothing, zero is below any covariance.
    """
    M = len(least)
    for i in range(M):
        least[i], most[i] = math.inf, 0.0
    for v in range(start, stop):
        for i in range(M):
            own = S[i * (i + 1) // 2 + i, v]
            others = 0.0
            for j in range(M):
                if j != i:
                    t = i * (i + 1) // 2 + j if i > j else j * (j + 1) // 2 + i
                    off = abs(S[t, v])
                    if off > 0.0:  # then neither variance is zero
                        others += off * math.sqrt(own / S[j * (j + 1) // 2 + j, v])
            most[i] = max(most[i], own + others)
            least[i] = min(least[i], own - others)
    for i in range(M):  # below zero in one place, it says nothing of the others either
        if least[i] < 0.0:
            for j in range(M):
                least[j] = 0.0


@njit(**PART)
@typing.no_type_check
def _squares(whiten, mu, lo, hi):
    """The smallest and the largest |L^-1 (x - mu)|^2 in a box, or less and more, for L^-1 (M, M).

    With c the box's centre and h its half widths, L^-1 (x - mu) differs from L^-1 (c - mu) by |L^-1| h at most along
    each axis.
    """
    smallest = 0.0
    largest = 0.0
    for i in range(len(mu)):
        d = 0.0
        r = 0.0
        for j in range(i + 1):
            d += whiten[i, j] * (0.5 * (lo[j] + hi[j]) - mu[j])
            r += abs(whiten[i, j]) * (0.5 * (hi[j] - lo[j]))
        d = abs(d)
        smallest += max(d - r, 0.0) ** 2
        largest += (d + r) ** 2
    return smallest, largest


@njit(**PART)
@typing.no_type_check
def _whiten(C, diagonal, L):
    """L^-1 in L (M, M) with L L' = C + a diagonal; returns log|C + diagonal|."""
    M = len(diagonal)
    log_determinant = 0.0
    for i in range(M):
        for j in range(i + 1):
            s = C[i, j] + (diagonal[i] if i == j else 0.0)
            for e in range(j):
                s -= L[i, e] * L[j, e]
            if i == j:
                log_determinant += math.log(s)
                L[i, i] = 1.0 / math.sqrt(s)  # the diagonal holds 1 / L_ii
            else:
                L[i, j] = s * L[j, j]
    for j in range(M):
        for i in range(j + 1, M):
            s = 0.0
            for e in range(j, i):
                s += L[i, e] * L[e, j]
            L[i, j] = -L[i, i] * s
    return log_determinant


@njit(**PART)
@typing.no_type_check
def _select(candidates, weighted, upper, lower, nearest, furthest, margin, cutoff, log_bg, active):
    """Those that matter: numbers in `active`, ascending; returns how many.

    A background that is everywhere denser than a component is as good a bound as a better component. With a cutoff all
    those matter that may be within it, however faint: nothing else may be; and those that it drops as far as they count
    in what was dropped.
    """
    best = -math.inf
    if len(log_bg):
        best = log_bg[0]
        for v in range(len(log_bg)):
            best = min(best, log_bg[v])
    closest = math.inf  # of the component that is nearest to all of the box
    for a in range(len(candidates)):
        best = max(best, lower[a])
        if weighted[a]:
            closest = min(closest, furthest[a])
    n = 0
    for a in range(len(candidates)):
        if cutoff is None:  # a bound that is no number says nothing: then it matters
            left_out = upper[a] < best - margin
        else:
            left_out = upper[a] < best - FAINT and nearest[a] > max(cutoff * cutoff, closest)
        if not left_out:
            active[n] = candidates[a]
            n += 1
    return n


@njit(**PART)
@typing.no_type_check
def near(candidates, log_constant, means, whiten, lo, hi, margin, cutoff, log_bg, active):
    """Candidates that matter to points without noise of their own in the box from lo to hi (M,).

    Args: log_constant (K,) of log N at the mean, with the weight; whiten (K, M, M) L^-1 with T = L L'; margin, cutoff
    in sigmas or None; log_bg (n,) or (0,) log of the background's density at the points.

    Returns: how many numbers stand in `active`.
    """
    n = len(candidates)
    upper, lower, nearest, furthest = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    weighted = np.empty(n, dtype=np.bool_)
    for a in range(n):
        k = candidates[a]
        nearest[a], furthest[a] = _squares(whiten[k], means[k], lo, hi)
        upper[a] = log_constant[k] - 0.5 * nearest[a]
        lower[a] = log_constant[k] - 0.5 * furthest[a]
        weighted[a] = log_constant[k] > -math.inf
    return _select(candidates, weighted, upper, lower, nearest, furthest, margin, cutoff, log_bg, active)


@njit(**PART)
@typing.no_type_check
def near_noisy(candidates, log_alpha, means, C, lo, hi, least, most, margin, cutoff, log_bg, active):
    """The same for points with noise of their own between two diagonal matrices (`noise_between`).

    least <= S_n <= most bounds T_n = C + S_n, its inverse the other way round, and its determinant.
    """
    n = len(candidates)
    upper, lower, nearest, furthest = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    weighted = np.empty(n, dtype=np.bool_)
    whiten = np.empty((len(lo), len(lo)))
    for a in range(n):
        k = candidates[a]
        log_most = _whiten(C[k], most, whiten)
        nearest[a] = _squares(whiten, means[k], lo, hi)[0]
        log_least = _whiten(C[k], least, whiten)
        furthest[a] = _squares(whiten, means[k], lo, hi)[1]
        constant = log_alpha[k] - 0.5 * len(lo) * LOG_TWO_PI
        upper[a] = constant - 0.5 * (log_least + nearest[a])
        lower[a] = constant - 0.5 * (log_most + furthest[a])
        weighted[a] = log_alpha[k] > -math.inf
    return _select(candidates, weighted, upper, lower, nearest, furthest, margin, cutoff, log_bg, active)
