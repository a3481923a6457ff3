"""Kernel: (model, block) -> Expectation. What every E-step computes, and the parameters it needs, prepared once."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.errors import RefusedError
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.types import Vector


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """What one block gives: its moments, and the log density of each of its samples, background included."""

    moments: Moments
    log_density: Vector


@runtime_checkable
class Kernel(Protocol):
    """An E-step: dense (T_nk does not depend on n) or noisy (it does)."""

    def expect(self, model: Model, block: Block) -> Expectation:
        """The E-step and the sums of the M-step, fused."""

    def log_density(self, model: Model, block: Block) -> Vector:
        """Log density of each sample, background included."""

    def responsibilities(self, model: Model, block: Block) -> Float[np.ndarray, "k n"]:
        """Probability of each component for each sample; with the background's they sum to one."""


def log_weights(model: Model) -> np.ndarray:
    """log (1 - nu) alpha_k (k,); -inf for a component without weight."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(model.mixture.weights) + np.log1p(-model.background_fraction))


def log_background(model: Model, block: Block) -> np.ndarray | None:
    """log nu U(y_n) (n,), or None where the background takes no part.

    Raises:
        RefusedError: the model has a background, but nobody said how dense it is at the samples.
    """
    if model.background_fraction == 0:
        return None
    if block.log_background is None:
        raise RefusedError(
            "the model has a background, the chunk has none",
            expected="log_background (n,) with the samples",
            got=f"None, and background_fraction {model.background_fraction}",
            do="give Chunk(log_background=model.background.log_density(points, noise))",
        )
    return np.asarray(block.log_background + np.log(model.background_fraction))
