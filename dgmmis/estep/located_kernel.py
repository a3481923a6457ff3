"""True values of a lane of samples: the moments of sum_k q_k N(b_k, B_k), from what the noisy E-step has of each pair.

With e all features, o the measured ones and u the others, P = C_uo C_oo^-1 and g, H as in `noisy_kernel`:
b = mu + C_eo g, B_eo = C_eo H S and B_uu = C_uu|o + (C_uo H S) P'. There is no difference in them that could cancel.
"""

import typing

import numpy as np
from numba import njit

from dgmmis.estep.simd import PART

NEGLIGIBLE = 1e-40
"""Probability of a component below which it is left out, where it is so for all samples of a lane."""


@njit(**PART)
@typing.no_type_check
def _locate_one(p, b, G, I, s, mean, gained, rest, ws, mu, gain, regress, left, of_M, of_E, V):
    """What one component adds, with probabilities p (V,): b (E, V) is its own mean."""
    M, E = len(of_M), len(of_E)
    for e in range(E):
        for v in range(V):
            x = mu[e]
            for i in range(M):
                x += gain[e, i] * G[i, v]
            b[e, v] = x
            mean[e, v] += p[v] * x
        for j in range(M):
            for v in range(V):
                x = 0.0
                for i in range(M):
                    t = i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i
                    x += gain[e, i] * I[t, v]
                gained[e, j, v] += p[v] * x
        if e >= M:
            for j in range(M):
                for v in range(V):
                    ws[j, v] = 0.0
                for i in range(M):
                    ij = i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i
                    for m in range(M):
                        im = i * (i + 1) // 2 + m if i >= m else m * (m + 1) // 2 + i
                        for v in range(V):
                            ws[j, v] += gain[e, m] * I[im, v] * s[ij, v]
            for f in range(M, e + 1):
                for v in range(V):
                    x = left[e - M, f - M]
                    for j in range(M):
                        x += ws[j, v] * regress[f - M, j]
                    rest[e - M, f - M, v] += p[v] * x


@njit(**PART)
@typing.no_type_check
def _spread_of(spread, gained, rest, s, of_M, of_E, V):
    """Sums of q B (E, E, V), lower triangles, from those of q C H (E, M, V)."""
    M, E = len(of_M), len(of_E)
    for e in range(E):
        for j in range(min(M, e + 1)):
            for v in range(V):
                x = 0.0
                for i in range(M):
                    x += gained[e, i, v] * s[i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i, v]
                if e < M:  # symmetric but for rounding
                    for i in range(M):
                        x += gained[j, i, v] * s[i * (i + 1) // 2 + e if i >= e else e * (e + 1) // 2 + i, v]
                    x *= 0.5
                spread[e, j, v] = x
        for f in range(M, e + 1):
            for v in range(V):
                spread[e, f, v] = rest[e - M, f - M, v]


@njit(**PART)
@typing.no_type_check
def locate(lp, z, G, I, s, active, n_active, own, start, n, of_M, V):
    """Means (E, N) and covariances (E, E, N) of n samples from `start` on, into the last two of `own` (`Located`)."""
    whole, gain, regress, left, of_E, lanes, out_mean, out_spread = own
    M, E = len(of_M), len(of_E)
    p, ws = np.empty(V), np.empty((M, V))
    mean, gained = np.zeros((E, V)), np.zeros((E, M, V))
    rest, spread = np.zeros((E - M, E - M, V)), np.empty((E, E, V))
    for a in range(n_active):
        k, most = active[a], 0.0
        for v in range(V):
            p[v] = lp[a, v] * z[v]
            most = max(most, p[v])
        if most > NEGLIGIBLE:
            _locate_one(
                p, lanes[a], G[a], I[a], s, mean, gained, rest, ws, whole[k], gain[k], regress[k], left[k],
                of_M, of_E, V,
            )  # fmt: skip
    _spread_of(spread, gained, rest, s, of_M, of_E, V)
    for a in range(n_active):
        most = 0.0
        for v in range(V):
            p[v] = lp[a, v] * z[v]
            most = max(most, p[v])
        if most > NEGLIGIBLE:
            for e in range(E):
                for f in range(e + 1):
                    for v in range(V):
                        spread[e, f, v] += p[v] * (lanes[a, e, v] - mean[e, v]) * (lanes[a, f, v] - mean[f, v])
    for e in range(E):
        for v in range(n):
            out_mean[e, start + v] = mean[e, v]
        for f in range(e + 1):
            for v in range(n):
                out_spread[e, f, start + v] = spread[e, f, v]
                out_spread[f, e, start + v] = spread[e, f, v]
