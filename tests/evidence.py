"""Variational Bayes of a noisy, incomplete mixture, literally: object by object, term by term. Slow, and plain.

q(alpha) q(nu) prod_k q(mu_k, Lambda_k) prod_n q(z_n) q(x_n | z_n), as in Bishop 2006, ch. 10.2, with the true values
x_n of each object latent, too. Nothing of dgmmis is used.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, multigammaln
from scipy.stats import beta, dirichlet, multivariate_normal, wishart


@dataclass
class Beliefs:
    """The prior, and what kind of posterior.

    Args:
        process: concentration of a Dirichlet process, or None; concentration: of a Dirichlet (k,), or None.
        m, b, S, v: of the normal-Wishart prior. structure: of the posterior. log_behind: log background density (n,).
    """

    m: np.ndarray
    b: float
    S: np.ndarray
    v: float
    structure: str = "full"
    process: float | None = None
    concentration: np.ndarray | None = None
    log_behind: np.ndarray | None = None


@dataclass
class State:
    """The parameters of q; sticks (2, k) or concentration (k,), and of the background's fraction (2,)."""

    shares: np.ndarray
    m: np.ndarray
    b: np.ndarray
    S: np.ndarray
    v: np.ndarray
    behind: np.ndarray


def expected_logs(beliefs: Beliefs, state: State) -> np.ndarray:
    """E log alpha_k."""
    if beliefs.process is None:
        return digamma(state.shares) - digamma(state.shares.sum())
    out, before = [], 0.0
    for a, c in state.shares.T:
        out.append(before + digamma(a) - digamma(a + c))
        before += digamma(c) - digamma(a + c)
    return np.array(out)


def log_determinant(S: np.ndarray, v: float) -> float:
    """E log|Lambda| of Wishart(S^-1, v)."""
    d = len(S)
    return float(sum(digamma((v - i) / 2) for i in range(d)) + d * np.log(2) - np.linalg.slogdet(S)[1])


def objects(y: np.ndarray, noise: np.ndarray, beliefs: Beliefs, state: State) -> tuple[np.ndarray, list[list[tuple]]]:
    """Responsibilities (n, k + 1), the last of the background, and (b, B) of each object under each component."""
    k, d = state.m.shape
    logs = expected_logs(beliefs, state)
    out, values = np.full((len(y), k + 1), -np.inf), []
    for n in range(len(y)):
        seen = np.flatnonzero(~np.isnan(y[n]))
        row = []
        for c in range(k):
            C = state.S[c] / state.v[c]
            T = C[np.ix_(seen, seen)] + noise[n][np.ix_(seen, seen)]
            gain = np.linalg.solve(T, C[seen]).T
            b = state.m[c] + gain @ (y[n, seen] - state.m[c][seen])
            row.append((b, C - gain @ C[seen]))
            log_p = logs[c] + 0.5 * (log_determinant(state.S[c], state.v[c]) + np.linalg.slogdet(C)[1] - d / state.b[c])
            if len(seen):
                log_p += multivariate_normal.logpdf(y[n, seen], state.m[c][seen], T)
            if beliefs.log_behind is not None:
                log_p += digamma(state.behind[1]) - digamma(state.behind.sum())
            out[n, c] = log_p
        if beliefs.log_behind is not None:
            out[n, k] = digamma(state.behind[0]) - digamma(state.behind.sum()) + beliefs.log_behind[n]
        values.append(row)
    out = np.exp(out - out.max(axis=1, keepdims=True))
    return out / out.sum(axis=1, keepdims=True), values


def updated(q: np.ndarray, values: list[list[tuple]], beliefs: Beliefs, like: np.ndarray) -> State:
    """The best q(parameters) for responsibilities (n, k + 1) and true values."""
    k, d = like.shape
    N = q[:, :k].sum(axis=0)
    m, b, S, v = np.zeros((k, d)), beliefs.b + N, np.zeros((k, d, d)), beliefs.v + N
    for c in range(k):
        total = sum(q[n, c] * values[n][c][0] for n in range(len(q)))
        m[c] = (beliefs.b * beliefs.m + total) / b[c]
        S[c] = beliefs.S + beliefs.b * np.outer(m[c] - beliefs.m, m[c] - beliefs.m)
        for n in range(len(q)):
            offset = values[n][c][0] - m[c]
            S[c] += q[n, c] * (np.outer(offset, offset) + values[n][c][1])
    if beliefs.structure == "diag":
        S = S * np.eye(d)
    if beliefs.structure == "spherical":
        S = np.array([np.trace(one) / d * np.eye(d) for one in S])
    if beliefs.structure == "tied":
        S, v = np.array([S.mean(axis=0)] * k), np.full(k, v.mean())
    if beliefs.process is None:
        assert beliefs.concentration is not None
        shares = beliefs.concentration + N
    else:
        shares = np.array([1 + N, [beliefs.process + N[c + 1 :].sum() for c in range(k)]])
    return State(shares, m, b, S, v, np.array([1 + q[:, k].sum(), 1 + N.sum()]))


def bound(y: np.ndarray, noise: np.ndarray, beliefs: Beliefs, state: State) -> float:
    """E_q log p(y, x, z, parameters) - E_q log q, each term by itself, at the best q(z, x)."""
    q, values = objects(y, noise, beliefs, state)
    k, d = state.m.shape
    logs, total = expected_logs(beliefs, state), 0.0
    for n in range(len(y)):
        seen = np.flatnonzero(~np.isnan(y[n]))
        for c in range(k):
            r = q[n, c]
            if r < 1e-290:
                continue
            b, B = values[n][c]
            total += r * (logs[c] - np.log(r))
            if beliefs.log_behind is not None:
                total += r * (digamma(state.behind[1]) - digamma(state.behind.sum()))
            offset = b - state.m[c]
            E = state.v[c] * np.linalg.inv(state.S[c])  # E Lambda
            squares = offset @ E @ offset + np.trace(E @ B) + d / state.b[c]
            total += r * 0.5 * (log_determinant(state.S[c], state.v[c]) - d * np.log(2 * np.pi) - squares)
            S = noise[n][np.ix_(seen, seen)]
            if np.any(S):
                miss, inverse = y[n, seen] - b[seen], np.linalg.inv(S)
                log_det = np.linalg.slogdet(2 * np.pi * S)[1]
                total -= r * 0.5 * (miss @ inverse @ miss + np.trace(inverse @ B[np.ix_(seen, seen)]) + log_det)
                latent = np.arange(d)
            else:  # what was measured is known, and has no entropy
                latent = np.setdiff1d(np.arange(d), seen)
            if len(latent):
                total += r * 0.5 * np.linalg.slogdet(2 * np.pi * np.e * B[np.ix_(latent, latent)])[1]
        r = q[n, k]
        if r > 1e-290:
            assert beliefs.log_behind is not None
            nu = digamma(state.behind[0]) - digamma(state.behind.sum())
            total += r * (nu + beliefs.log_behind[n] - np.log(r))
    for c in range(k):
        E = state.v[c] * np.linalg.inv(state.S[c])
        log_det = log_determinant(state.S[c], state.v[c])
        offset = state.m[c] - beliefs.m
        total += 0.5 * (d * np.log(beliefs.b / (2 * np.pi)) + log_det)
        total -= 0.5 * beliefs.b * (offset @ E @ offset + d / state.b[c])
        total += 0.5 * (
            (beliefs.v - d - 1) * log_det - np.trace(beliefs.S @ E) + beliefs.v * np.linalg.slogdet(beliefs.S)[1]
        )
        total -= 0.5 * beliefs.v * d * np.log(2) + multigammaln(beliefs.v / 2, d)
        total -= 0.5 * (d * np.log(state.b[c] / (2 * np.pi)) + log_det - d)
        total += wishart.entropy(state.v[c], np.linalg.inv(state.S[c]))
    if beliefs.process is None:
        assert beliefs.concentration is not None
        a = beliefs.concentration
        total += multigammaln(a.sum(), 1) - sum(multigammaln(one, 1) for one in a) + (a - 1) @ logs
        total += dirichlet.entropy(state.shares) if k > 1 else 0.0
    else:
        for a, c in state.shares.T:
            total += (
                np.log(beliefs.process) + (beliefs.process - 1) * (digamma(c) - digamma(a + c)) + beta.entropy(a, c)
            )
    if beliefs.log_behind is not None:
        total += beta.entropy(*state.behind)  # its prior is one everywhere
    return float(total)
