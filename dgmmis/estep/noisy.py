"""The noisy E-step: a covariance T_nk = R_n C_k R_n' + S_n for each pair of sample and component."""

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep.kernel import Expectation, log_background, log_weights
from dgmmis.estep.noisy_kernel import noisy_kernel, sized
from dgmmis.linalg import packed_size
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.types import Vector

LANES_BYTES = 1 << 20
"""The K lanes of a block should stay in the cache of one core."""


def expect(model: Model, block: Block) -> Expectation:
    """Moments and log densities of a block (see Kernel)."""
    return _run(model, block, np.empty((0, 0)))


def log_density(model: Model, block: Block) -> Vector:
    """Log densities of a block (see Kernel)."""
    return expect(model, block).log_density


def responsibilities(model: Model, block: Block) -> Float[np.ndarray, "k n"]:
    """Responsibilities of a block (see Kernel)."""
    q = np.empty((model.mixture.n_components, block.n_samples))
    _run(model, block, q)
    return q


def _run(model: Model, block: Block, q: np.ndarray) -> Expectation:
    mixture = model.mixture
    m, n = block.points.shape
    k = mixture.n_components
    features = block.features
    d = len(features)
    weights = np.ones(n) if block.weights is None else block.weights
    behind = log_background(model, block)
    weight, mean_score, covariance_score = np.zeros(k), np.zeros((k, d)), np.zeros((k, packed_size(d)))
    log_density = np.empty(n)
    background, log_likelihood, dropped, beyond = noisy_kernel(
        _read_only(block.points),
        _read_only(block.noise),
        None if block.projection is None else _read_only(block.projection),
        _read_only(weights),
        _read_only(np.empty(0) if behind is None else behind),
        _read_only(np.empty(0) if block.log_reference is None else block.log_reference),
        log_weights(model),
        np.ascontiguousarray(mixture.means[:, features]),
        np.ascontiguousarray(mixture.covariances[:, features[:, None], features]),
        sized(m),
        sized(d),
        lane_width(k, m),
        None if model.cutoff is None else float(model.cutoff),
        weight,
        mean_score,
        covariance_score,
        log_density,
        q,
    )
    n_samples = float(weights.sum()) if block.log_reference is None else float(weight.sum() + background)
    moments = Moments(
        weight,
        *embed(mean_score, covariance_score, features, mixture.n_features),
        background,
        log_likelihood,
        n_samples,
        dropped,
        beyond,
    )
    return Expectation(moments, log_density)


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written: to numba a type of its own, which blocks that came over the wire have anyway."""
    view = array.view()
    view.flags.writeable = False
    return view


def lane_width(k: int, m: int) -> int:
    """Samples worked on at once: as many as keep the K lanes in cache, a multiple of the vector length."""
    per_sample = 8 * k * (packed_size(m) + m + 1)
    return int(np.clip(LANES_BYTES // per_sample // 8 * 8, 16, 64))


def embed(
    mean_score: np.ndarray, covariance_score: np.ndarray, features: np.ndarray, d: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores over some features (k, m), (k, t) as scores over all d: H_nk = R' T^-1 R has zeros elsewhere."""
    if len(features) == d:
        return mean_score, covariance_score
    k = len(mean_score)
    means, covariances = np.zeros((k, d)), np.zeros((k, packed_size(d)))
    means[:, features] = mean_score
    i, j = np.tril_indices(len(features))
    high, low = features[i], features[j]  # features ascend, so the lower triangle stays the lower triangle
    covariances[:, high * (high + 1) // 2 + low] = covariance_score
    return means, covariances
