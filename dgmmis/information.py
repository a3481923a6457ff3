"""Standard errors: the information that the observed objects carry about each parameter.

The score of an object is s_n = d/dtheta [log L_n - log Z_n]; the sum of s_n s_n' over the objects is the information
(Berndt, Hall, Hall & Hausman 1974), and the inverse of it, on the parameters that are free, the covariance of the
estimates. The scores follow from the same g_nk and H_nk as the M-step (`Moments`); those of log Z from the unseen.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep import responsibilities
from dgmmis.latent import Latent, latent_posterior
from dgmmis.linalg import packed_indices, packed_size, unpack
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.prior import Constraints
from dgmmis.types import Covariances, Means, Weights

BATCH_NUMBERS = 1 << 21
"""How many doubles the largest array of a batch of rows may hold (16 MB)."""


@dataclass(frozen=True, slots=True, eq=False)
class StandardErrors:
    """Standard errors of a fit's parameters, in their own units; zero for what was not free.

    Args:
        weights: (k,). means: (k, d). covariances: (k, d, d).
        background_amplitude: of the background's fraction.
        covariance: of all parameters (p, p), in the order of `gradient`.
    """

    weights: Weights
    means: Means
    covariances: Covariances
    background_amplitude: float
    covariance: Float[np.ndarray, "p p"]


def gradient(moments: Moments, model: Model) -> np.ndarray:
    """d/dtheta (p,) of a log-likelihood, or of a mass, from its moments: weights, means, covariances, fraction.

    Covariances by their lower triangles, an entry off the diagonal standing for both; weights as if they were free.
    """
    mixture, nu = model.mixture, model.background_fraction
    i, j = packed_indices(mixture.n_features)
    slope = moments.covariance_score * np.where(i == j, 0.5, 1.0)
    weights = moments.weight / np.maximum(mixture.weights, 1e-300)
    behind = moments.background / nu if nu > 0 else 0.0
    fraction = behind - float(moments.weight.sum()) / (1 - nu)
    return np.concatenate([weights, moments.mean_score.ravel(), slope.ravel(), [fraction]])


def block_scores(model: Model, block: Block) -> np.ndarray:
    """d/dtheta log p(y_n) (n, p) of each sample of a block, in the order of `gradient`."""
    k, d = model.mixture.means.shape
    n = block.n_samples
    out = np.empty((n, k + k * d + k * packed_size(d) + 1))
    size = max(1, BATCH_NUMBERS // (k * max(1, len(block.points)) * d))
    q = responsibilities(model, block).T
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        out[rows] = _scores(model, block, rows, q[rows])
    return out


def latent_scores(model: Model, latent: Latent) -> np.ndarray:
    """d/dtheta log L_n (n, p) of objects with latent points: the mean over their points, as probable as each is."""
    signal, nu = Model(model.mixture), model.background_fraction
    posterior = latent_posterior(model, latent)
    scores = np.add.reduceat(posterior.shares[:, None] * block_scores(signal, latent.block), latent.first, axis=0)
    behind = posterior.behind
    scores[:, -1] = (behind / nu if nu > 0 else 0.0) - (1 - behind) / (1 - nu)
    return np.asarray(scores)


def standard_errors(information: np.ndarray, model: Model, constraints: Constraints) -> StandardErrors:
    """Errors from the information (p, p) of all parameters as if they were free, under the constraints."""
    k, d = model.mixture.means.shape
    slopes = free_directions(model, constraints)
    reduced = slopes.T @ information @ slopes
    known = np.diagonal(reduced)
    scale = np.sqrt(np.where(known > 1e-200, known, 1.0))
    values, vectors = np.linalg.eigh(reduced / (scale[:, None] * scale))
    # a direction that the data say nothing about has no error that could be named: a huge one stands for it
    inverse = (vectors / np.maximum(values, 1e-14)) @ vectors.T / (scale[:, None] * scale)
    covariance = slopes @ inverse @ slopes.T
    errors = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    weights, means, packed, fraction = np.split(errors, [k, k + k * d, len(errors) - 1])
    return StandardErrors(
        weights, means.reshape(k, d), unpack(packed.reshape(k, -1)), float(fraction[0]), np.asarray(covariance)
    )


def free_directions(model: Model, constraints: Constraints) -> np.ndarray:
    """d theta / d phi (p, f): how the parameters follow those that are free."""
    k, d = model.mixture.means.shape
    t = packed_size(d)
    i, j = packed_indices(d)
    frozen = constraints.frozen
    columns: list[np.ndarray] = []
    p = k + k * d + k * t + 1

    def column(*entries: int, values: tuple[float, ...] | None = None) -> None:
        one = np.zeros(p)
        one[list(entries)] = 1.0 if values is None else values
        columns.append(one)

    free = [c for c in range(k) if c not in frozen.weights]
    for c in free[:-1]:  # what one gains the last one loses
        column(c, free[-1], values=(1.0, -1.0))
    for c in range(k):
        if c not in frozen.means:
            for e in range(d):
                column(k + c * d + e)
    first = k + k * d
    free = [c for c in range(k) if c not in frozen.covariances]
    diagonal = np.flatnonzero(i == j).tolist()
    match constraints.covariance_type:
        case "tied":
            for entry in range(t):
                column(*(first + c * t + entry for c in free))
        case "spherical":
            for c in free:
                column(*(first + c * t + entry for entry in diagonal))
        case _:
            for c in free:
                for entry in diagonal if constraints.covariance_type == "diag" else range(t):
                    column(first + c * t + entry)
    low, high = constraints.background_bounds
    if model.background is not None and low < high:
        column(p - 1)
    return np.stack(columns, axis=1) if columns else np.zeros((p, 0))


def _scores(model: Model, block: Block, rows: slice, q: np.ndarray) -> np.ndarray:
    mixture, nu, features = model.mixture, model.background_fraction, block.features
    k, d = mixture.means.shape
    m = len(block.points)
    y = block.points[:, rows].T  # (b, m)
    noise = block.noise if block.noise.shape[1] == 1 else block.noise[:, rows]
    noise = unpack(noise.T)[:, None] if m else np.zeros((1, 1, 0, 0))
    projection = block.projection
    look = np.eye(len(features))[None] if projection is None else projection[:, :, rows].transpose(2, 0, 1)
    means = np.einsum("bmd,kd->bkm", look, mixture.means[:, features])
    covariances = mixture.covariances[:, features[:, None], features]
    total = np.einsum("bmd,kde,ble->bkml", look, covariances, look, optimize=True) + noise
    inverse = np.linalg.inv(total)
    g = np.einsum("bmd,bkml,bkl->bkd", look, inverse, y[:, None] - means, optimize=True)
    h = np.einsum("bmd,bkml,ble->bkde", look, inverse, look, optimize=True)
    curvature = q[:, :, None, None] * (g[:, :, :, None] * g[:, :, None, :] - h)
    slope_means, slope_covariances = np.zeros((len(y), k, d)), np.zeros((len(y), k, d, d))
    slope_means[:, :, features] = q[:, :, None] * g
    slope_covariances[:, :, features[:, None], features] = curvature
    i, j = packed_indices(d)
    packed = slope_covariances[:, :, i, j] * np.where(i == j, 0.5, 1.0)
    signal = q.sum(axis=1)
    fraction = (1 - signal) / nu - signal / (1 - nu) if nu > 0 else -signal
    return np.concatenate(
        [
            q / np.maximum(mixture.weights, 1e-300),
            slope_means.reshape(len(y), -1),
            packed.reshape(len(y), -1),
            fraction[:, None],
        ],
        axis=1,
    )
