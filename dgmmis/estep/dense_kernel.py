"""The compiled loop of the dense E-step: panels of samples, two matrix products each (see `dense`)."""

import math
import typing

import numpy as np
from numba import njit

from dgmmis.estep.cutting import cut
from dgmmis.estep.pruning import box_of, near
from dgmmis.estep.simd import FAST, PART, exp, log

CANCELLATION = 3e4
"""Largest sum of |Theta phi| for which the products are accurate to about 1e-11."""

NOTHING = -1e300
"""A log density that is as good as -inf, and finite: the matrix product would multiply -inf by zeros."""


@njit(**PART)
@typing.no_type_check
def _features(x, I, J, isotropic, centre, scale, phi, reach):
    """phi (F, n) of samples x (m, n): products z_i z_j, z, 1 with z = (x - centre) / scale; `reach`, their sizes.

    The one product of isotropic components is z'z, with the same scale for all features.
    """
    m, n = x.shape
    T = len(I)
    for i in range(m):
        s = 0.0
        low = x[i, 0]
        high = x[i, 0]
        for v in range(n):
            s += x[i, v]
            low = min(low, x[i, v])
            high = max(high, x[i, v])
        c = s / n
        s = 0.0
        for v in range(n):
            s += (x[i, v] - c) ** 2
        width = math.sqrt(s / n)
        centre[i], scale[i] = c, width if width > 0.0 else 1.0
        reach[T + i] = max(high - c, c - low)
    if isotropic is not None:
        widest = 0.0
        for i in range(m):
            widest = max(widest, scale[i])
        for i in range(m):
            scale[i] = widest
    for i in range(m):
        c = centre[i]
        inverse = 1.0 / scale[i]
        for v in range(n):
            phi[T + i, v] = (x[i, v] - c) * inverse
        reach[T + i] *= inverse
    if isotropic is not None:
        reach[0] = 0.0
        for v in range(n):
            phi[0, v] = 0.0
        for i in range(m):
            for v in range(n):
                phi[0, v] += phi[1 + i, v] * phi[1 + i, v]
            reach[0] += reach[1 + i] * reach[1 + i]
    else:
        for t in range(T):
            i = T + I[t]
            j = T + J[t]
            for v in range(n):
                phi[t, v] = phi[i, v] * phi[j, v]
            reach[t] = reach[i] * reach[j]
    for v in range(n):
        phi[T + m, v] = 1.0


@njit(**PART)
@typing.no_type_check
def _coefficients(k, log_constant, means, precision, I, J, centre, scale, reach, theta):
    """theta (F,) of a component about a panel's centre; whether it is too narrow for the common centre."""
    m = means.shape[1]
    T = len(I)
    constant = 0.0
    size = 0.0
    for i in range(m):
        linear = 0.0
        for j in range(m):
            linear += precision[k, i, j] * scale[i] * scale[j] * ((means[k, j] - centre[j]) / scale[j])
        theta[T + i] = linear
        constant -= 0.5 * linear * ((means[k, i] - centre[i]) / scale[i])
        size += abs(linear) * reach[T + i]
    for t in range(T):
        p = precision[k, I[t], J[t]] * scale[I[t]] * scale[J[t]]
        theta[t] = -0.5 * p if I[t] == J[t] else -p
        size += abs(theta[t]) * reach[t]
    theta[T + m] = constant + max(log_constant[k], NOTHING)
    return size + abs(constant) > CANCELLATION


@njit(**PART)
@typing.no_type_check
def _by_differences(k, x, log_constant, means, whiten, white, log_joint):
    """log joint density (n,) of a narrow component from x - mu itself."""
    m, n = x.shape
    for v in range(n):
        log_joint[v] = max(log_constant[k], NOTHING)
    for i in range(m):
        for v in range(n):
            white[v] = 0.0
        for j in range(i + 1):
            for v in range(n):
                white[v] += whiten[k, i, j] * (x[j, v] - means[k, j])
        for v in range(n):
            log_joint[v] -= 0.5 * white[v] * white[v]


@njit(**PART)
@typing.no_type_check
def _shares(log_joint, log_bg, top, z):
    """log_joint (a, n) -> densities over e^top, their sum with the background's in z (n,)."""
    a, n = log_joint.shape
    for v in range(n):
        top[v] = log_bg[v] if len(log_bg) else -math.inf
    for b in range(a):
        for v in range(n):
            top[v] = max(top[v], log_joint[b, v])
    for v in range(n):
        z[v] = exp(log_bg[v] - top[v]) if len(log_bg) else 0.0
    for b in range(a):
        for v in range(n):
            q = exp(log_joint[b, v] - top[v])
            log_joint[b, v] = q
            z[v] += q


@njit(**PART)
@typing.no_type_check
def _gather(k, sums, I, J, isotropic, centre, scale, means, first, second):
    """Add a panel's sums (F,) of q phi, as sums of q (x - mu) and of q (x - mu)(x - mu)', packed; of isotropic
    components the trace of these, in the first place."""
    m = means.shape[1]
    T = len(I)
    weight = sums[T + m]
    for i in range(m):
        first[k, i] += sums[T + i] * scale[i] + weight * (centre[i] - means[k, i])
    if isotropic is not None:
        value = sums[0]
        for i in range(m):
            a = (centre[i] - means[k, i]) / scale[i]
            value += 2.0 * a * sums[1 + i] + weight * a * a
        second[k, 0] += value * scale[0] * scale[0]
        return
    for t in range(T):
        i, j = I[t], J[t]
        a = (centre[i] - means[k, i]) / scale[i]
        b = (centre[j] - means[k, j]) / scale[j]
        value = sums[t] + sums[T + i] * b + a * sums[T + j] + weight * a * b
        second[k, i * (i + 1) // 2 + j] += value * scale[i] * scale[j]


@njit(**PART)
@typing.no_type_check
def _gather_differences(k, x, q, I, J, isotropic, means, first, second):
    """The same of a narrow component, from its responsibilities q (n,) and x - mu itself."""
    m, n = x.shape
    for i in range(m):
        s = 0.0
        for v in range(n):
            s += q[v] * (x[i, v] - means[k, i])
        first[k, i] += s
    if isotropic is not None:
        for i in range(m):
            s = 0.0
            for v in range(n):
                s += q[v] * (x[i, v] - means[k, i]) ** 2
            second[k, 0] += s
        return
    for t in range(len(I)):
        i, j = I[t], J[t]
        s = 0.0
        for v in range(n):
            s += q[v] * (x[i, v] - means[k, i]) * (x[j, v] - means[k, j])
        second[k, i * (i + 1) // 2 + j] += s


@njit(**PART)
@typing.no_type_check
def _scores(k, A, first, second, precision, whiten, u, W, inner, half):
    """u = T^-1 first and W = T^-1 second T^-1 - A T^-1, the latter as L^-T (L^-1 second L^-T - A) L^-1."""
    m = first.shape[1]
    L = whiten[k]
    for i in range(m):
        s = 0.0
        for j in range(m):
            s += precision[k, i, j] * first[k, j]
        u[k, i] = s
        for j in range(i + 1):
            inner[i, j] = inner[j, i] = second[k, i * (i + 1) // 2 + j]
    for i in range(m):  # half = L^-1 second
        for j in range(m):
            half[i, j] = 0.0
        for e in range(i + 1):
            for j in range(m):
                half[i, j] += L[i, e] * inner[e, j]
    for i in range(m):  # inner = half L^-T - A
        for j in range(i + 1):
            s = -A[k] if i == j else 0.0
            for e in range(j + 1):
                s += half[i, e] * L[j, e]
            inner[i, j] = inner[j, i] = s
    for i in range(m):  # half = inner L^-1
        for j in range(m):
            half[i, j] = 0.0
        for e in range(m):
            for j in range(e + 1):
                half[i, j] += inner[i, e] * L[e, j]
    for e in range(m):
        for i in range(e + 1):
            for j in range(i + 1):
                W[k, i * (i + 1) // 2 + j] += L[e, i] * half[e, j]


@njit(**PART)
@typing.no_type_check
def _variance_scores(k, A, first, second, precision, u, W):
    """The same where T is diagonal, and only the diagonal of W is wanted."""
    for i in range(first.shape[1]):
        t = i * (i + 1) // 2 + i
        p = precision[k, i, i]
        u[k, i] = p * first[k, i]
        W[k, t] = p * (p * second[k, t] - A[k])


@njit(**PART)
@typing.no_type_check
def _trace_scores(k, A, first, second, precision, u, W):
    """The same where T is isotropic: only the trace of W is found, and shared out evenly on the diagonal."""
    m = first.shape[1]
    p = precision[k, 0, 0]
    each = p * (p * second[k, 0] - m * A[k]) / m
    for i in range(m):
        u[k, i] = p * first[k, i]
        W[k, i * (i + 1) // 2 + i] = each


@njit(**FAST)
@typing.no_type_check
def dense_kernel(
    Y, w, log_bg, log_ref, log_constant, means, precision, whiten, I, J, isotropic, panel, margin, cutoff, A, u, W,
    log_p, Q
):  # fmt: skip
    """Sums over samples Y (M, N) into A (K,), u (K, M), W (K, TM), log_p (N,).

    w (N,) weights; log_bg (N,) or (0,): log of background density times its fraction; log_ref (N,) or (0,):
    importance sampling; log_constant (K,) log weight and normalisation; I, J (T,): the products of features that are
    wanted, i >= j; isotropic: None, or True: every T_k is a multiple of the identity, and of W only the trace is
    wanted; panel: samples in a panel; margin: see `near`, None: all components matter; cutoff: in sigmas, or None;
    Q (K, N) or (0, 0) receives the responsibilities; where isotropic, (1, N), which is zero, their weighted sum.

    Returns: the sums of background and log-likelihood, of samples, of what was cut, and of samples beyond the cutoff of
    everything.
    """
    M, N = Y.shape
    K = len(log_constant)
    T = len(I)
    F = T + M + 1
    panel = max(1, min(panel, N))
    centre, scale = np.empty(M), np.empty(M)
    lo, hi = np.empty(M), np.empty(M)
    reach = np.empty(F)
    phis = np.empty(F * panel)
    white = np.empty(panel)
    top, z, factor, log_cut, far = np.empty(panel), np.empty(panel), np.empty(panel), np.empty(panel), np.empty(panel)
    first, second = np.zeros((K, M)), np.zeros((K, M * (M + 1) // 2))
    active, nearby = np.arange(K), np.arange(K)
    n_active = K
    if margin is not None and N:  # of all samples first: what does not matter there matters nowhere
        box_of(Y, np.int64(0), N, lo, hi)
        n_active = near(nearby, log_constant, means, whiten, lo, hi, margin, cutoff, log_bg, active)
        nearby = active[:n_active].copy()
    thetas = np.empty(n_active * F)
    joints = np.empty(n_active * panel)
    chis = None if cutoff is None else np.empty(n_active * panel)
    narrow, live = np.empty(n_active, dtype=np.bool_), np.empty(n_active, dtype=np.bool_)
    behind = log_likelihood = n_samples = dropped = beyond = 0.0
    for start in range(0, N, panel):
        n = min(panel, N - start)
        x = Y[:, start : start + n]
        bg = log_bg[start : start + n]
        phi = phis[: F * n].reshape((F, n))
        _features(x, I, J, isotropic, centre, scale, phi, reach)
        if margin is not None:
            box_of(Y, start, start + n, lo, hi)
            n_active = near(nearby, log_constant, means, whiten, lo, hi, margin, cutoff, bg, active)
        elif cutoff is not None:  # the panel before this one may have lost some
            n_active = K
            for k in range(K):
                active[k] = k
        theta = thetas[: n_active * F].reshape((n_active, F))
        for a in range(n_active):
            narrow[a] = _coefficients(active[a], log_constant, means, precision, I, J, centre, scale, reach, theta[a])
        joint = joints[: n_active * n].reshape((n_active, n))
        if n_active:
            np.dot(theta, phi, joint)
        for a in range(n_active):
            if narrow[a]:
                _by_differences(active[a], x, log_constant, means, whiten, white, joint[a])
        if cutoff is not None:
            chi = chis[: n_active * n].reshape((n_active, n))
            for a in range(n_active):
                constant = log_constant[active[a]]
                for v in range(n):
                    chi[a, v] = 2.0 * (constant - joint[a, v]) if constant > -math.inf else math.inf
            cut(joint, chi, n_active, n, cutoff, bg, log_cut, far, live)
            n_live = 0  # nothing more is to be done for those of which nothing is left
            for a in range(n_active):
                if live[a]:
                    active[n_live], narrow[n_live] = active[a], narrow[a]
                    for v in range(n):
                        joint[n_live, v] = joint[a, v]
                    n_live += 1
            n_active = n_live
            joint = joints[: n_active * n].reshape((n_active, n))
        _shares(joint, bg, top, z)
        for v in range(n):
            o = start + v
            log_z = top[v] + log(z[v])
            log_p[o] = log_z
            weight = w[o]
            if len(log_ref):
                weight *= math.exp(log_z - log_ref[o])
            log_likelihood += weight * log_z
            n_samples += weight
            if len(log_bg):
                behind += weight * math.exp(bg[v] - log_z)
            if cutoff is not None:
                dropped += weight / (1.0 + math.exp(log_z - log_cut[v]))
                beyond += weight * far[v]
            factor[v] = weight / z[v]
        if isotropic is None and Q.shape[0]:
            for a in range(n_active):
                for v in range(n):
                    Q[active[a], start + v] = joint[a, v] / z[v]
        for a in range(n_active):
            for v in range(n):
                joint[a, v] *= factor[v]
        if isotropic is not None and Q.shape[0]:
            for a in range(n_active):
                for v in range(n):
                    Q[0, start + v] += joint[a, v]
        sums = thetas[: n_active * F].reshape((n_active, F))  # whose coefficients are not needed any more
        if n_active:
            np.dot(joint, phi.T, sums)
        for a in range(n_active):
            k = active[a]
            A[k] += sums[a, F - 1]
            if narrow[a]:
                _gather_differences(k, x, joint[a], I, J, isotropic, means, first, second)
            else:
                _gather(k, sums[a], I, J, isotropic, centre, scale, means, first, second)
    inner, half = np.empty((M, M)), np.empty((M, M))
    for a in range(len(nearby)):
        if isotropic is not None:
            _trace_scores(nearby[a], A, first, second, precision, u, W)
        elif T == M < M * (M + 1) // 2:
            _variance_scores(nearby[a], A, first, second, precision, u, W)
        else:
            _scores(nearby[a], A, first, second, precision, whiten, u, W, inner, half)
    return behind, log_likelihood, n_samples, dropped, beyond
