"""The papers, slowly: one function per equation, one sample and one component at a time; nothing from dgmmis.

Sources: Bovy, Hogg & Roweis 2011 (XD), Melchior & Goulding 2018 (GMMis). Everything is computed in numpy's long double
(64 bits of mantissa on x86): features at offsets of 1e6 and on scales of 1e-6 to 1e6 leave a double too few digits to
judge another double by. numpy.linalg knows no long doubles, so the Cholesky factor is written out.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

Long = np.longdouble


def measured(y, R, S):
    """A missing value is a row left out of y, of R_n, and of S_n with its column (XD, sec. 2)."""
    seen = ~np.isnan(y)
    return y[seen].astype(Long), R[seen].astype(Long), S[np.ix_(seen, seen)].astype(Long)


def transformed_covariance(C, R, S):
    """T_nk = R_n C_k R_n' + S_n (XD, below eq. 8)."""
    return R @ C.astype(Long) @ R.T + S


def cholesky(T):
    """T = L L', column by column."""
    L = np.zeros_like(T)
    for j in range(len(T)):
        column = T[j:, j] - L[j:, :j] @ L[j, :j]
        L[j:, j] = column / np.sqrt(column[0])
    return L


def inverse_and_log_determinant(T):
    """T^-1 = L^-T L^-1 and log|T| = 2 sum log L_ii."""
    L = cholesky(T)
    whiten = np.zeros_like(T)
    for i in range(len(T)):
        whiten[i, i] = 1
        whiten[i] = (whiten[i] - L[i, :i] @ whiten[:i]) / L[i, i]
    return whiten.T @ whiten, 2 * np.sum(np.log(np.diag(L)))


def log_normal(offset, precision, log_determinant):
    """log N(offset | 0, T)."""
    return -(len(offset) * np.log(2 * Long(np.pi)) + log_determinant + offset @ precision @ offset) / 2


def log_uniform(y, lower, upper, variances):
    """log of a uniform density on a box, convolved with the noise of each measured feature (GMMis, sec. 3.4)."""
    total = 0.0
    for value, low, high, variance in zip(y, lower, upper, variances, strict=True):
        if np.isnan(value):
            continue
        if variance == 0:
            inside = float(low <= value <= high)
        else:
            sigma = np.sqrt(variance)
            inside = stats.norm.cdf((high - value) / sigma) - stats.norm.cdf((low - value) / sigma)
        total += np.log(inside) - np.log(high - low) if inside > 0 else -np.inf
    return total


@dataclass
class Pair:
    """One sample under one component."""

    log_normal: Long
    square: Long  # chi^2_nk = (y - R mu)' T^-1 (y - R mu)
    score: np.ndarray  # g_nk = R' T^-1 (y - R mu)
    information: np.ndarray  # H_nk = R' T^-1 R


def pair(y, R, S, mu, C):
    """log N(y_n | R_n mu_k, T_nk), and the two quantities from which b_nk and B_nk follow."""
    y, R, S = measured(y, R, S)
    precision, log_determinant = inverse_and_log_determinant(transformed_covariance(C, R, S))
    offset = y - R @ mu.astype(Long)
    square = offset @ precision @ offset
    return Pair(log_normal(offset, precision, log_determinant), square, R.T @ precision @ offset, R.T @ precision @ R)


def expected_shift(of, C):
    """b_nk - mu_k = C_k R_n' T_nk^-1 (y_n - R_n mu_k) (XD, the E-step)."""
    return C.astype(Long) @ of.score


def expected_covariance(of, C):
    """B_nk = C_k - C_k R_n' T_nk^-1 R_n C_k (XD, the E-step)."""
    C = C.astype(Long)
    return C - C @ of.information @ C


@dataclass
class Sums:
    """What an E-step gives; `of_absolute` are the same sums over the absolute values of their terms."""

    log_density: np.ndarray  # (n,)
    responsibilities: np.ndarray  # (n, k)
    weight: np.ndarray  # A_k = sum q
    mean_score: np.ndarray  # u_k = sum q g
    covariance_score: np.ndarray  # W_k = sum q (g g' - H)
    mean_score_of_absolute: np.ndarray
    covariance_score_of_absolute: np.ndarray
    first: np.ndarray  # sum q (b - mu)
    second: np.ndarray  # sum q [(b - mu)(b - mu)' + B]
    background: Long
    log_likelihood: Long
    log_likelihood_of_absolute: Long
    n_samples: Long
    dropped: Long
    beyond: Long


def log_sum_exp(values):
    """log sum exp of a list, about its largest."""
    top = max(values)
    return top + np.log(sum(np.exp(value - top) for value in values))


@dataclass
class Catalogue:
    """Samples y (n, m) with noise S (n, m, m), projections R (n, m, d), and what else is known of each."""

    points: np.ndarray
    noise: np.ndarray
    projections: np.ndarray
    weights: np.ndarray | None = None
    log_background: np.ndarray | None = None
    log_reference: np.ndarray | None = None


@dataclass
class Parameters:
    """alpha_k, mu_k, C_k, the background's fraction nu, and how many sigmas a component reaches."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    nu: float = 0.0
    cutoff: float = np.inf


def e_step(catalogue, parameters):
    """Responsibilities and sums. With log_reference, sample n counts p(y_n) / exp(log_reference_n) times its weight."""
    nu, means, covariances = Long(parameters.nu), parameters.means, parameters.covariances
    n, (k, d) = len(catalogue.points), means.shape
    with np.errstate(divide="ignore"):
        log_alpha = np.log(parameters.weights.astype(Long)) + np.log1p(-nu)
        log_behind = np.full(n, -np.inf, dtype=Long)
        if nu > 0:
            log_behind = np.log(nu) + catalogue.log_background.astype(Long)
    out = Sums(
        log_density=np.zeros(n, Long),
        responsibilities=np.zeros((n, k), Long),
        weight=np.zeros(k, Long),
        mean_score=np.zeros((k, d), Long),
        covariance_score=np.zeros((k, d, d), Long),
        mean_score_of_absolute=np.zeros((k, d), Long),
        covariance_score_of_absolute=np.zeros((k, d, d), Long),
        first=np.zeros((k, d), Long),
        second=np.zeros((k, d, d), Long),
        background=Long(0),
        log_likelihood=Long(0),
        log_likelihood_of_absolute=Long(0),
        n_samples=Long(0),
        dropped=Long(0),
        beyond=Long(0),
    )
    for i in range(n):
        y, R, S = catalogue.points[i], catalogue.projections[i], catalogue.noise[i]
        pairs = [pair(y, R, S, means[j], covariances[j]) for j in range(k)]
        joint = [log_alpha[j] + pairs[j].log_normal for j in range(k)]
        whole = log_sum_exp([*joint, log_behind[i]])
        possible = [j for j in range(k) if parameters.weights[j] > 0]
        near = [j for j in possible if pairs[j].square <= Long(parameters.cutoff) ** 2]
        kept = near
        if not near and log_behind[i] == -np.inf:  # nothing would be left: the nearest stays
            kept = [min(possible, key=lambda j: pairs[j].square)]
        joint = [joint[j] if j in kept else -Long(np.inf) for j in range(k)]
        log_p = log_sum_exp([*joint, log_behind[i]])  # p(y_n) = (1-nu) sum_k alpha_k N_nk + nu U(y_n)
        w = Long(1) if catalogue.weights is None else Long(catalogue.weights[i])
        if catalogue.log_reference is not None:
            w *= np.exp(log_p - Long(catalogue.log_reference[i]))
        out.log_density[i] = log_p
        out.background += w * np.exp(log_behind[i] - log_p)
        out.log_likelihood += w * log_p
        out.log_likelihood_of_absolute += w * abs(log_p)
        out.n_samples += w
        out.dropped += w * (1 - np.exp(log_p - whole))
        out.beyond += w * (not near)
        for j in range(k):
            q = np.exp(joint[j] - log_p)  # q_nk = alpha_k N_nk / p(y_n)
            g, H = pairs[j].score, pairs[j].information
            shift = expected_shift(pairs[j], covariances[j])
            out.responsibilities[i, j] = q
            out.weight[j] += w * q
            out.mean_score[j] += w * q * g
            out.covariance_score[j] += w * q * (np.outer(g, g) - H)
            out.mean_score_of_absolute[j] += w * q * abs(g)
            out.covariance_score_of_absolute[j] += w * q * (abs(np.outer(g, g)) + abs(H))
            out.first[j] += w * q * shift
            out.second[j] += w * q * (np.outer(shift, shift) + expected_covariance(pairs[j], covariances[j]))
    return out


def log_likelihood(catalogue, parameters):
    """sum_n w_n log p(y_n)."""
    return e_step(catalogue, parameters).log_likelihood


def conditioned(mean, covariance, given, values):
    """The normal of the remaining features, given the others: mu_a + G (v - mu_b), C_aa - G C_ba, G = C_ab C_bb^-1."""
    rest = [e for e in range(len(mean)) if e not in given]
    gain = covariance[np.ix_(rest, given)] @ np.linalg.inv(covariance[np.ix_(given, given)])
    return (
        mean[rest] + gain @ (np.asarray(values) - mean[given]),
        covariance[np.ix_(rest, rest)] - gain @ covariance[np.ix_(given, rest)],
    )
