"""The E-step of samples without a single measured feature: they say nothing, and their density is one."""

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep.kernel import Expectation
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.types import Vector


def expect(model: Model, block: Block, covariance_type: str = "full") -> Expectation:
    """Each component has its weight of them (see Kernel)."""
    del covariance_type
    weights = block.w_n
    if block.log_reference is not None:
        weights = weights * np.exp(-block.log_reference)
    n = float(weights.sum())
    zero = Moments.zero(model.mixture.n_components, model.mixture.n_features)
    nu = model.background_fraction
    moments = Moments(n * (1 - nu) * model.mixture.weights, zero.mean_score, zero.covariance_score, n * nu, 0.0, n)
    return Expectation(moments, np.zeros(block.n_samples))


def log_density(model: Model, block: Block) -> Vector:
    """Zeros (see Kernel)."""
    del model
    return np.zeros(block.n_samples)


def posterior(model: Model, block: Block) -> tuple[Vector, Float[np.ndarray, "k n"]]:
    """Zeros, and the weights, for each sample (see Kernel)."""
    weights = (1 - model.background_fraction) * model.mixture.weights
    return np.zeros(block.n_samples), np.repeat(weights[:, None], block.n_samples, axis=1)
