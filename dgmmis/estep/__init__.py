"""E-step kernels: for each block the one that fits it. All give the same numbers (tests/test_estep.py)."""

from functools import reduce
from types import ModuleType

import numpy as np

from dgmmis.chunk import Block, Leaf
from dgmmis.estep import dense, empty, noisy
from dgmmis.estep.kernel import Expectation, Kernel
from dgmmis.estep.noisy import Located, located, locates
from dgmmis.model import Model
from dgmmis.moments import Moments

__all__ = [
    "Expectation",
    "Kernel",
    "Located",
    "expect",
    "leaf_log_density",
    "leaf_moments",
    "leaf_posterior",
    "leaf_responsibilities",
    "located",
    "locates",
    "log_density",
    "posterior",
    "responsibilities",
]


def _kernel_for(block: Block) -> ModuleType:  # a Kernel
    if len(block.points) == 0:
        return empty
    if block.projection is None and block.noise.shape[1] == 1:
        return dense
    return noisy


def expect(model: Model, block: Block, *, covariance_type: str = "full") -> Expectation:
    """Moments and log densities of one block, by the kernel that fits it (see Kernel)."""
    result: Expectation = _kernel_for(block).expect(model, block, covariance_type)
    return result


def log_density(model: Model, block: Block) -> np.ndarray:
    """Log density (n,) of a block's samples, background included."""
    result: np.ndarray = _kernel_for(block).log_density(model, block)
    return result


def posterior(model: Model, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Log density (n,) of a block's samples, background included, and their responsibilities (k, n); what these lack to
    one is the background's."""
    found: tuple[np.ndarray, np.ndarray] = _kernel_for(block).posterior(model, block)
    return found


def responsibilities(model: Model, block: Block) -> np.ndarray:
    """Responsibilities (k, n) of a block's samples."""
    return posterior(model, block)[1]


def leaf_moments(model: Model, leaf: Leaf, *, covariance_type: str = "full") -> Moments:
    """The moments of a leaf: its blocks' in their order.

    Args:
        model: of the expectation.
        leaf: the samples.
        covariance_type: the structure that the M-step gives covariances: it decides what of their scores must be right.
    """
    parts = [expect(model, block, covariance_type=covariance_type).moments for block in leaf.blocks]
    if not parts:
        return Moments.zero(model.mixture.n_components, model.mixture.n_features)
    return reduce(Moments.__add__, parts)


def leaf_log_density(model: Model, leaf: Leaf) -> np.ndarray:
    """Log density (n,) of a leaf's samples, background included, in the leaf's row order."""
    out = np.empty(sum(block.n_samples for block in leaf.blocks))
    for block in leaf.blocks:
        out[block.rows] = log_density(model, block)
    return out


def leaf_responsibilities(model: Model, leaf: Leaf) -> np.ndarray:
    """Responsibilities (n, k) of a leaf's samples; what they lack to one is the background's."""
    out = np.empty((sum(block.n_samples for block in leaf.blocks), model.mixture.n_components))
    for block in leaf.blocks:
        out[block.rows] = responsibilities(model, block).T
    return out


def leaf_posterior(model: Model, leaf: Leaf) -> tuple[np.ndarray, np.ndarray]:
    """Log density (n,) of a leaf's samples, background included, and their responsibilities (n, k)."""
    log_l, q = np.empty(leaf.n_samples), np.empty((leaf.n_samples, model.mixture.n_components))
    for block in leaf.blocks:
        log_l[block.rows], of_block = posterior(model, block)
        q[block.rows] = of_block.T
    return log_l, q
