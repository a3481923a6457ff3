"""Kernel: (model, block) -> Expectation. What every E-step computes, and the parameters it needs, prepared once."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.errors import RefusedError
from dgmmis.linalg import packed_size
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

    def expect(self, model: Model, block: Block, covariance_type: str = "full") -> Expectation:
        """The E-step and the sums of the M-step, fused. Of covariance scores only what an M-step asks for that gives
        covariances this structure need be right: diagonals, traces, or the sum over components."""

    def log_density(self, model: Model, block: Block) -> Vector:
        """Log density of each sample, background included."""

    def posterior(self, model: Model, block: Block) -> tuple[Vector, Float[np.ndarray, "k n"]]:
        """The same, and the probability of each component for each sample; with the background's they sum to one."""


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


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written: to numba a type of its own, which blocks that came over the wire have anyway."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


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


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """Where a compiled loop puts its sums over a block of n samples: A (k,), u (k, m), W (k, t), log densities (n,),
    and responsibilities (k, n), or (0, 0) where nobody wants them."""

    weight: np.ndarray
    mean_score: np.ndarray
    covariance_score: np.ndarray
    log_density: np.ndarray
    responsibilities: np.ndarray

    @classmethod
    def of(cls, k: int, m: int, n: int, *, with_responsibilities: bool) -> "Room":
        shape = (k, n) if with_responsibilities else (0, 0)
        return cls(np.zeros(k), np.zeros((k, m)), np.zeros((k, packed_size(m))), np.empty(n), np.zeros(shape))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """In the order in which the loops take them."""
        return self.weight, self.mean_score, self.covariance_score, self.log_density, self.responsibilities

    def expectation(self, features: np.ndarray, d: int, totals: tuple[float, ...]) -> Expectation:
        """What the loop has found about some of d features; totals: background, log-likelihood, samples, dropped,
        beyond."""
        scores = embed(self.mean_score, self.covariance_score, features, d)
        return Expectation(Moments(self.weight, *scores, *totals), self.log_density)
