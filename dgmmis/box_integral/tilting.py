"""The exponential tilts of sequential conditioning: where the box is far out in the tail, or its sides conflict.

Without them the first variables are drawn without regard to what the later ones will need. Any tilt leaves the
integral unbiased; the best (Botev 2017, sec. 2.2) is the saddle point of
psi(z, mu) = sum_k mu_k^2 / 2 - mu_k z_k + log [Phi(high_k - mu_k - c_k) - Phi(low_k - mu_k - c_k)], c = D z.
"""

import numpy as np

from dgmmis.box_integral.interval import log_interval
from dgmmis.truncation.interval import log_normal

STEPS = 30
TOLERANCE = 1e-3
"""Relative change of a Newton step at which the tilts are good enough: they need not be exact."""


def saddle_point(low: np.ndarray, high: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions z (b, q) and tilts mu (b, q), the last zero, by damped Newton steps; zero where none is finite.

    Args:
        low, high: bounds (b, q) of each variable while those before it are zero.
        slope: D (b, q, q), strictly lower triangular: by how much those before it shift the bounds down.
    """
    b, q = low.shape
    k = q - 1
    found = np.zeros((b, 2 * k))
    todo = np.arange(b)
    for _ in range(STEPS if k else 0):
        if len(todo) == 0:
            break
        data = low[todo], high[todo], slope[todo]
        gradient, bend = _gradient(found[todo], *data)
        step = _solved(_hessian(bend, slope[todo]), gradient)
        taken = _damped(found[todo], step, gradient, data) * step
        found[todo] -= taken
        moving = np.max(np.abs(step), axis=1) > TOLERANCE * (1 + np.max(np.abs(found[todo]), axis=1))
        todo = todo[moving & np.all(np.isfinite(found[todo]), axis=1)]
    found[~np.all(np.isfinite(found), axis=1)] = 0.0
    last = np.zeros((b, 1))
    return np.concatenate([found[:, :k], last], axis=1), np.concatenate([found[:, k:], last], axis=1)


def _gradient(at: np.ndarray, low: np.ndarray, high: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient (b, 2k) of psi by z and mu, and the variance of each truncated normal less one (b, q)."""
    k = low.shape[1] - 1
    z, mu = (np.concatenate([part, np.zeros((len(at), 1))], axis=1) for part in (at[:, :k], at[:, k:]))
    with np.errstate(all="ignore"):
        shift = mu + np.einsum("bij,bj->bi", slope, z)
        a, b = low - shift, high - shift
        mass = log_interval(a, b, 0.5 * (high - low))
        left, right = np.exp(log_normal(a) - mass), np.exp(log_normal(b) - mass)
        mean = left - right
        bend = np.where(left > 0, a, 0.0) * left - np.where(right > 0, b, 0.0) * right - mean**2
    by_z = -mu + np.einsum("bij,bi->bj", slope, mean)
    return np.concatenate([by_z[:, :k], (mu - z + mean)[:, :k]], axis=1), np.clip(bend, -1 + 1e-12, 0)


def _hessian(bend: np.ndarray, slope: np.ndarray) -> np.ndarray:
    b, q = bend.shape
    k = q - 1
    bent = bend[:, :, None] * slope
    out = np.zeros((b, 2 * k, 2 * k))
    mixed = bent[:, :k, :k] - np.eye(k)
    out[:, :k, :k] = np.einsum("bij,bil->bjl", slope, bent)[:, :k, :k]
    out[:, :k, k:], out[:, k:, :k] = np.swapaxes(mixed, 1, 2), mixed
    out[:, np.arange(k, 2 * k), np.arange(k, 2 * k)] = 1 + bend[:, :k]
    return out


def _solved(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Newton's steps (b, 2k); the matrices are regular, but those of lost rows may hold anything."""
    good = np.all(np.isfinite(matrices), axis=(1, 2)) & np.all(np.isfinite(vectors), axis=1)
    safe = np.where(good[:, None, None], matrices, np.eye(matrices.shape[1]))
    try:
        steps = np.linalg.solve(safe, vectors[..., None])[..., 0]
    except np.linalg.LinAlgError:
        steps = np.einsum("bij,bj->bi", np.linalg.pinv(safe), np.where(good[:, None], vectors, 0.0))
    return np.where(good[:, None], steps, np.nan)


def _damped(
    at: np.ndarray, step: np.ndarray, gradient: np.ndarray, data: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """The part (b, 1) of each step that makes the gradient shorter."""
    part = np.ones((len(at), 1))
    todo = np.arange(len(at))
    length = np.linalg.norm(gradient, axis=1)
    for _ in range(8):
        rows = tuple(values[todo] for values in data)
        new = _gradient(at[todo] - part[todo] * step[todo], *rows)[0]
        todo = todo[np.linalg.norm(new, axis=1) > (1 - 0.1 * part[todo, 0]) * length[todo] + 1e-10]
        if len(todo) == 0:
            break
        part[todo] /= 3
    return part
