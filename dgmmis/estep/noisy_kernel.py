"""The compiled loop of the noisy E-step: E and M fused, samples innermost, precision space (see `Moments`).

For each pair (n, k): T = R C_k R' + S_n, its Cholesky factor, its inverse, log N(y_n | R mu_k, T),
g = R' T^-1 (y - R mu_k) and H = R' T^-1 R. A lane of V samples is worked on at once, so that every inner loop is over
contiguous samples and compiles to vector instructions; nothing of size N x K exists, only K lanes that stay in cache.

The M measured values and D features arrive as the tuples `sized(M)` and `sized(D)`: their lengths belong to their
types, so each pair of sizes is compiled with constants in the loops, and found again on disk by its signature. (Sizes
in closures would do the first but not the second: a closure over compiled functions has another name in each process.)
R is None where the measured values are the features.
"""

import math
import typing

import numpy as np
from numba import njit

from dgmmis.estep.cutting import cut
from dgmmis.estep.located_kernel import locate
from dgmmis.estep.pruning import box_of, near_noisy, noise_between
from dgmmis.estep.simd import FAST, PART, exp, log
from dgmmis.linalg import LOG_TWO_PI

SMALLEST_LANE, LARGEST_LANE = 16, 64
"""Samples worked on at once, at least and at most: whole vector registers, several of them."""


def sized(length: int) -> tuple[int, ...]:
    """A tuple whose type tells the compiler its length."""
    return (0,) * length


@njit(**PART)
@typing.no_type_check
def _invert(L, log_det, of_M, V):
    """T in L (TM, V) -> T^-1 in L, and -log|T|/2 added to log_det (V,)."""
    M = len(of_M)
    for i in range(M):
        for j in range(i):
            ij = i * (i + 1) // 2 + j
            jj = j * (j + 1) // 2 + j
            for m in range(j):
                im = i * (i + 1) // 2 + m
                jm = j * (j + 1) // 2 + m
                for v in range(V):
                    L[ij, v] -= L[im, v] * L[jm, v]
            for v in range(V):
                L[ij, v] *= L[jj, v]  # the diagonal holds 1 / L_jj
        ii = i * (i + 1) // 2 + i
        for m in range(i):
            im = i * (i + 1) // 2 + m
            for v in range(V):
                L[ii, v] -= L[im, v] * L[im, v]
        for v in range(V):
            L[ii, v] = 1.0 / math.sqrt(L[ii, v])
    for v in range(V):
        log_det[v] = 0.0
    for i in range(M):
        ii = i * (i + 1) // 2 + i
        for v in range(V):
            log_det[v] += log(L[ii, v])
    for j in range(M):  # L -> L^-1, column by column
        jj = j * (j + 1) // 2 + j
        for i in range(j + 1, M):
            ij = i * (i + 1) // 2 + j
            ii = i * (i + 1) // 2 + i
            for v in range(V):
                L[ij, v] *= L[jj, v]
            for m in range(j + 1, i):
                im = i * (i + 1) // 2 + m
                mj = m * (m + 1) // 2 + j
                for v in range(V):
                    L[ij, v] += L[im, v] * L[mj, v]
            for v in range(V):
                L[ij, v] *= -L[ii, v]
    for i in range(M):  # T^-1 = L^-T L^-1, overwriting row by row from the top: row i needs rows >= i only
        ii = i * (i + 1) // 2 + i
        for j in range(i + 1):
            ij = i * (i + 1) // 2 + j
            if j < i:
                for v in range(V):
                    L[ij, v] *= L[ii, v]
                for m in range(i + 1, M):
                    mi = m * (m + 1) // 2 + i
                    mj = m * (m + 1) // 2 + j
                    for v in range(V):
                        L[ij, v] += L[mi, v] * L[mj, v]
        for v in range(V):
            L[ii, v] *= L[ii, v]
        for m in range(i + 1, M):
            mi = m * (m + 1) // 2 + i
            for v in range(V):
                L[ii, v] += L[mi, v] * L[mi, v]


@njit(**PART)
@typing.no_type_check
def _total(L, C, S, R, RC, of_M, of_D, V):
    """T = R C R' + S for one component and one lane, packed into L (TM, V)."""
    M, D = len(of_M), len(of_D)
    if R is not None:
        for i in range(M):
            for e in range(D):
                for v in range(V):
                    RC[e, v] = 0.0
                for f in range(D):
                    c = C[e, f]
                    for v in range(V):
                        RC[e, v] += c * R[i, f, v]
            for j in range(i + 1):
                ij = i * (i + 1) // 2 + j
                for v in range(V):
                    L[ij, v] = S[ij, v]
                for e in range(D):
                    for v in range(V):
                        L[ij, v] += RC[e, v] * R[j, e, v]
    else:
        for i in range(M):
            for j in range(i + 1):
                ij = i * (i + 1) // 2 + j
                c = C[i, j]
                for v in range(V):
                    L[ij, v] = c + S[ij, v]


@njit(**PART)
@typing.no_type_check
def _solve(lp, G, L, Y, R, mu, d, of_M, of_D, V):
    """g = T^-1 (y - R mu) in G (M, V), and -chi^2 / 2 added to lp (V,)."""
    M, D = len(of_M), len(of_D)
    for i in range(M):
        for v in range(V):
            d[i, v] = Y[i, v]
            G[i, v] = 0.0
        if R is not None:
            for e in range(D):
                for v in range(V):
                    d[i, v] -= R[i, e, v] * mu[e]
        else:
            for v in range(V):
                d[i, v] -= mu[i]
    for j in range(M):
        for i in range(M):
            t = i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i
            for v in range(V):
                G[i, v] += L[t, v] * d[j, v]
    for i in range(M):
        for v in range(V):
            lp[v] -= 0.5 * G[i, v] * d[i, v]


@njit(**PART)
@typing.no_type_check
def _add(q, G, L, R, u, W, Gd, RH, of_M, of_D, V):
    """u += sum_v q g, W += sum_v q (g g' - H) for one component and one lane."""
    M, D = len(of_M), len(of_D)
    if R is not None:
        for e in range(D):
            for v in range(V):
                Gd[e, v] = 0.0
            for i in range(M):
                for v in range(V):
                    Gd[e, v] += R[i, e, v] * G[i, v]
        for e in range(D):
            s = 0.0
            for v in range(V):
                s += q[v] * Gd[e, v]
            u[e] += s
            for i in range(M):  # row e of R' T^-1
                for v in range(V):
                    RH[i, v] = 0.0
                for j in range(M):
                    t = i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i
                    for v in range(V):
                        RH[i, v] += R[j, e, v] * L[t, v]
            for f in range(e + 1):
                s = 0.0
                for v in range(V):
                    s += q[v] * Gd[e, v] * Gd[f, v]
                for i in range(M):
                    for v in range(V):
                        s -= q[v] * RH[i, v] * R[i, f, v]
                W[e * (e + 1) // 2 + f] += s
    else:
        for i in range(M):
            s = 0.0
            for v in range(V):
                s += q[v] * G[i, v]
            u[i] += s
            for j in range(i + 1):
                t = i * (i + 1) // 2 + j
                s = 0.0
                for v in range(V):
                    s += q[v] * (G[i, v] * G[j, v] - L[t, v])
                W[t] += s


@njit(**PART)
@typing.no_type_check
def _lane_width(likely, numbers, of_M):
    """Samples worked on at once: as many as keep what belongs to them in cache, a power of two."""
    M = len(of_M)
    V = LARGEST_LANE
    while V > SMALLEST_LANE and V * likely * (M * (M + 1) // 2 + M + 1) > numbers:
        V //= 2
    return V


@njit(**FAST)
@typing.no_type_check
def noisy_kernel(
    Y, S, R, w, log_bg, log_ref, log_alpha, mu, C, of_M, of_D, numbers, panel, margin, cutoff, A, u, W, log_p, Q, own
):  # fmt: skip
    """Sums over samples Y (M, N) into A (K,), u (K, D), W (K, TD), log_p (N,).

    w (N,) weights; log_bg (N,) or (0,): log of background density times its fraction; log_ref (N,) or (0,):
    importance sampling; numbers: that fit into a core's cache; panel: samples for which the components that matter are
    looked for together; margin: see `near_noisy`, None: all components matter; cutoff: in sigmas, or None; Q (K, N) or
    (0, 0) receives the responsibilities; own: what `locate` needs for the true values of the samples, which come in the
    place of A, u and W, or None.

    Returns: the sums of background and log-likelihood, of samples, of what was cut, and of samples beyond the cutoff of
    everything.
    """
    M, D = len(of_M), len(of_D)
    TM = M * (M + 1) // 2
    K = len(log_alpha)
    N = Y.shape[1]
    lo, hi, least, most = np.empty(M), np.empty(M), np.empty(M), np.empty(M)
    active = np.arange(K)
    nearby = active
    n_active = K
    likely = K
    if margin is not None and N:  # of all samples first: what does not matter there matters nowhere
        begin = np.int64(0)
        box_of(Y, begin, N, lo, hi)
        noise_between(S, begin, N, least, most)
        n_active = near_noisy(nearby, log_alpha, mu, C, lo, hi, least, most, margin, cutoff, log_bg, active)
        nearby = active[:n_active].copy()
        likely = max(min(n_active, 64), n_active // 4)  # are left to a panel
    V = _lane_width(likely, numbers, of_M)
    lp = np.empty((n_active, V))
    G = np.empty((n_active, M, V))
    I = np.empty((n_active, TM, V))
    d = np.empty((M, V))
    y = np.empty((M, V))
    s = np.empty((TM, V))
    r = None if R is None else np.empty((M, D, V))
    scratch = np.empty((max(M, D), V))
    scratch_again = np.empty((max(M, D), V))
    top = np.empty(V)
    z = np.empty(V)
    wv = np.empty(V)
    chi = None if cutoff is None else np.empty((n_active, V))
    log_cut = None if cutoff is None else np.empty(V)
    far = None if cutoff is None else np.empty(V)
    live = None if cutoff is None else np.empty(n_active, dtype=np.bool_)
    behind = log_likelihood = n_samples = dropped = beyond = 0.0
    shared = S.shape[1] == 1 and N > 1
    for begin in range(0, N, panel):
        end = min(begin + panel, N)
        if margin is not None:
            box_of(Y, begin, end, lo, hi)
            noise_between(S, begin, end, least, most)
            bg = log_bg[begin:end]
            n_active = near_noisy(nearby, log_alpha, mu, C, lo, hi, least, most, margin, cutoff, bg, active)
        for start in range(begin, end, V):
            n = min(V, end - start)
            for v in range(V):  # a short last lane repeats its last sample with weight zero
                o = start + min(v, n - 1)
                wv[v] = w[o] if v < n else 0.0
                so = 0 if shared else o
                for i in range(M):
                    y[i, v] = Y[i, o]
                    if R is not None:
                        for e in range(D):
                            r[i, e, v] = R[i, e, o]
                for t in range(TM):
                    s[t, v] = S[t, so]
            for a in range(n_active):
                k = active[a]
                _total(I[a], C[k], s, r, scratch, of_M, of_D, V)
                _invert(I[a], lp[a], of_M, V)
                constant = log_alpha[k] - 0.5 * M * LOG_TWO_PI
                for v in range(V):
                    lp[a, v] += constant
                _solve(lp[a], G[a], I[a], y, r, mu[k], d, of_M, of_D, V)
                if cutoff is not None:
                    for v in range(V):
                        chi[a, v] = 0.0 if log_alpha[k] > -math.inf else math.inf
                        for i in range(M):
                            chi[a, v] += G[a, i, v] * d[i, v]
            if cutoff is not None:
                cut(lp, chi, n_active, n, cutoff, log_bg[start : start + n], log_cut, far, live)
            for v in range(V):
                top[v] = log_bg[start + min(v, n - 1)] if len(log_bg) else -math.inf
            for a in range(n_active):
                for v in range(V):
                    top[v] = max(top[v], lp[a, v])
            for v in range(V):
                z[v] = math.exp(log_bg[start + min(v, n - 1)] - top[v]) if len(log_bg) else 0.0
            for a in range(n_active):
                for v in range(V):
                    q = exp(lp[a, v] - top[v])
                    lp[a, v] = q
                    z[v] += q
            for v in range(n):
                o = start + v
                log_z = top[v] + log(z[v])
                log_p[o] = log_z
                if len(log_ref):
                    wv[v] *= math.exp(log_z - log_ref[o])
                log_likelihood += wv[v] * log_z
                n_samples += wv[v]
                if len(log_bg):
                    behind += wv[v] * math.exp(log_bg[o] - log_z)
                if cutoff is not None:
                    dropped += wv[v] / (1.0 + math.exp(log_z - log_cut[v]))
                    beyond += wv[v] * far[v]
            for v in range(V):
                z[v] = 1.0 / z[v]
            for a in range(n_active):
                k = active[a]
                if Q.shape[0]:
                    for v in range(n):
                        Q[k, start + v] = lp[a, v] * z[v]
                if own is None:
                    total = 0.0
                    for v in range(V):
                        q = lp[a, v] * z[v] * wv[v]
                        lp[a, v] = q
                        total += q
                    if total != 0.0:
                        A[k] += total
                        _add(lp[a], G[a], I[a], r, u[k], W[k], scratch, scratch_again, of_M, of_D, V)
            if own is not None:
                locate(lp, z, G, I, s, active, n_active, own, start, n, of_M, V)
    return behind, log_likelihood, n_samples, dropped, beyond
