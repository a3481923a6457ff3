"""Split and merge: moves from one local maximum towards another, ranked by what the objects say of the components.

Components that share their objects are two for one (Ueda, Nakano, Ghahramani & Hinton 2000, eq. 15). A component is one
for two where its objects are not distributed as a Gaussian: with z the score along a direction v in units of its error,
z = v'g / sqrt(v'H v), unit normal if it is right, sum q He_3(z) and sum q He_4(z) vanish, and their squares over 6 A
and 24 A are twice what the log-likelihood gains, to lowest order, by parts that differ in mean or in width. A move
merges two components and splits a third; whether it is taken, the objective decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk, blocks
from dgmmis.information import pairs_of
from dgmmis.linalg import symmetrize, unpack
from dgmmis.merging import joined
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.types import Covariances, Matrix

APART = 0.7
"""Two parts are so many sigmas to either side of the mean of both."""

WIDER = 0.5
"""Of the variance: how much wider and narrower than both together parts of the same mean are."""

MOVES, SPLITS = 6, 2
"""How many are tried at a time, sharing their readings of the data; and how many splits with the same two merged."""


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Sums over objects that say which components overlap, and which are no Gaussians: a monoid.

    Args:
        overlap: sum w q_ni q_nj (k, k).
        skewness: sum w q_nk He_3(z) along each principal axis of C_k (k, d).
        excess: sum w q_nk He_4(z).
        weight: sum w q_nk (k,).
    """

    overlap: Float[np.ndarray, "k k"]
    skewness: Float[np.ndarray, "k d"]
    excess: Float[np.ndarray, "k d"]
    weight: Float[np.ndarray, " k"]

    def __add__(self, other: "Shapes") -> "Shapes":
        return Shapes(
            self.overlap + other.overlap,
            self.skewness + other.skewness,
            self.excess + other.excess,
            self.weight + other.weight,
        )

    @property
    def misfit(self) -> Float[np.ndarray, "k d"]:
        """Twice the log-likelihood that parts along each axis would gain, to lowest order."""
        a = np.maximum(self.weight, 1.0)[:, None]
        return np.asarray(self.skewness**2 / (6 * a) + self.excess**2 / (24 * a))

    @property
    def likeness(self) -> Float[np.ndarray, "k k"]:
        """The cosine of two components' responsibilities."""
        length = np.sqrt(np.maximum(np.diagonal(self.overlap), 1e-300))
        return np.asarray(self.overlap / (length[:, None] * length))


@dataclass(frozen=True, slots=True)
class Move:
    """Merge two components, and split a third into both places; `str` says so."""

    merged: tuple[int, int]
    split: int
    axis: int

    def __str__(self) -> str:
        return f"components {self.merged[0]} and {self.merged[1]} merged, component {self.split} split"


@dataclass(frozen=True, slots=True, eq=False)
class ShapesOf:
    """The shapes of the components as some rows show them, whatever they were selected on."""

    model: Model

    def __call__(self, leaf: int, chunk: Chunk) -> Shapes:
        del leaf
        model = self.model
        if model.background is not None:
            behind = model.background.log_density(chunk.points, chunk.noise, chunk.projection)
            chunk = replace(chunk, log_background=behind)
        k, d = model.mixture.means.shape
        axes = principal_axes(model.mixture.covariances)
        overlap, skewness, excess, weight = np.zeros((k, k)), np.zeros((k, d)), np.zeros((k, d)), np.zeros(k)
        for block in blocks(chunk):
            w = block.w_n
            for pairs in pairs_of(model, block):
                weighted = pairs.q * w[pairs.rows, None]
                overlap += weighted.T @ pairs.q
                weight += weighted.sum(axis=0)
                known = np.einsum("kda,nkde,kea->nka", axes, unpack(pairs.h), axes, optimize=True)
                along = np.einsum("nkd,kda->nka", pairs.g, axes)
                z = along / np.sqrt(np.maximum(known, 1e-300))
                # what is far out in units of its error is an outlier's, not the shape's
                z = np.where(known > 0, np.clip(z, -6, 6), 0.0)
                skewness += np.einsum("nk,nka->ka", weighted, z**3 - 3 * z)
                excess += np.einsum("nk,nka->ka", weighted, np.where(known > 0, z**4 - 6 * z**2 + 3, 0.0))
        return Shapes(overlap, skewness, excess, weight)


def principal_axes(covariances: Covariances) -> np.ndarray:
    """Unit vectors (k, d, a) along the axes of each covariance, in the columns."""
    return np.asarray(np.linalg.eigh(covariances)[1])


def moves(shapes: Shapes, starved: Sequence[int], frozen: frozenset[int], most: int = MOVES) -> list[Move]:
    """The most promising moves: starved components first, then those that share most of their objects.

    Args:
        shapes: of the components.
        starved: those left without objects; they are merged with whatever is most like them.
        frozen: those that stay as they are.
        most: how many.
    """
    free = [c for c in range(len(shapes.weight)) if c not in frozen]
    if len(free) < 3:
        return []
    likeness, misfit = shapes.likeness, shapes.misfit
    pairs = sorted(
        combinations(free, 2), key=lambda pair: (-sum(c in starved for c in pair), -float(likeness[pair]), pair)
    )
    splits = sorted(free, key=lambda c: (c in starved, -float(misfit[c].max()), c))
    found = [
        Move(pair, c, int(np.argmax(misfit[c])))
        for pair in pairs[:most]
        for c in [c for c in splits if c not in pair and c not in starved][:SPLITS]
    ]
    return found[:most]


def moved(model: Model, move: Move, shapes: Shapes) -> Model:
    """The model after a move: the first two moments of what is merged, and of what is split, stay."""
    mixture = model.mixture
    weights, means, covariances = (np.array(a) for a in (mixture.weights, mixture.means, mixture.covariances))
    i, j = move.merged
    s = move.split
    pair = [i, j]
    total, mean, merged = joined(weights[pair], means[pair], covariances[pair])
    direction = principal_axes(covariances[s][None])[0, :, move.axis]
    first, second = _parts(means[s], covariances[s], direction, bool(shapes.excess[s, move.axis] > 0))
    half = weights[s] / 2
    weights[[i, j, s]] = total, half, half
    means[[i, j, s]] = mean, first[0], second[0]
    covariances[[i, j, s]] = merged, first[1], second[1]
    return replace(model, mixture=GaussianMixture(weights, means, covariances))


def _parts(
    mean: np.ndarray, covariance: Matrix, direction: np.ndarray, long_tails: bool
) -> tuple[tuple[np.ndarray, Matrix], tuple[np.ndarray, Matrix]]:
    """Two halves of a Gaussian: apart along a direction, or, where its tails are long, a wide and a narrow one."""
    variance = float(direction @ covariance @ direction)
    outer = variance * np.outer(direction, direction)
    if long_tails:
        step = 0.1 * np.sqrt(variance) * direction  # not quite the same place: they must be able to part
        wide, narrow = covariance * (1 + WIDER), covariance * (1 - WIDER)
        return (mean + step, symmetrize(wide)), (mean - step, symmetrize(narrow))
    step = APART * np.sqrt(variance) * direction
    narrow = symmetrize(covariance - APART**2 * outer)
    return (mean + step, narrow), (mean - step, narrow)
