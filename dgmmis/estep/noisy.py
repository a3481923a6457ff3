"""The noisy E-step: a covariance T_nk = R_n C_k R_n' + S_n for each pair of sample and component."""

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep.kernel import Expectation, embed, log_background, log_weights, read_only
from dgmmis.estep.noisy_kernel import noisy_kernel, sized
from dgmmis.estep.pruning import FEWEST, MARGIN, PANEL
from dgmmis.linalg import packed_size
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.types import Vector

LANES_BYTES = 1 << 19
"""The K lanes of a block should stay in the cache of one core."""

MANY = 64
"""Components that may be left of many, to a panel."""


def expect(model: Model, block: Block, variances_only: bool = False) -> Expectation:
    """Moments and log densities of a block (see Kernel)."""
    del variances_only
    return _run(model, block, np.empty((0, 0)))


def log_density(model: Model, block: Block) -> Vector:
    """Log densities of a block (see Kernel)."""
    return expect(model, block).log_density


def responsibilities(model: Model, block: Block) -> Float[np.ndarray, "k n"]:
    """Responsibilities of a block (see Kernel)."""
    q = np.zeros((model.mixture.n_components, block.n_samples))
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
    # what projections make of a box, and of noise, nobody has bounded
    prunes = k >= FEWEST and block.projection is None and block.noise.shape[1] == n
    background, log_likelihood, dropped, beyond, _ = noisy_kernel(
        read_only(block.points),
        read_only(block.noise),
        None if block.projection is None else read_only(block.projection),
        read_only(weights),
        read_only(np.empty(0) if behind is None else behind),
        read_only(np.empty(0) if block.log_reference is None else block.log_reference),
        log_weights(model),
        np.ascontiguousarray(mixture.means[:, features]),
        np.ascontiguousarray(mixture.covariances[:, features[:, None], features]),
        sized(m),
        sized(d),
        lane_width(min(k, MANY) if prunes else k, m),
        PANEL,
        MARGIN if prunes else None,
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


def lane_width(k: int, m: int) -> int:
    """Samples worked on at once: as many as keep the K lanes in cache, a multiple of the vector length."""
    per_sample = 8 * k * (packed_size(m) + m + 1)
    return int(np.clip(LANES_BYTES // per_sample // 8 * 8, 16, 64))
