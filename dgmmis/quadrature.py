"""The points that stand for what the survey missed: drawn once a round, with importance weights that follow the model.

Points y_j come from a reference mixture r (the model at the start of the round, widened), and Omega(y_j) is evaluated
once. They are scrambled Sobol sequences, one for each component (stratified), in independent replicates whose scatter
is the Monte-Carlo error. Every block of points is addressed by (seed, round, replicate, stratum): any worker, any time,
draws the same ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from dgmmis.address import Purpose, generator
from dgmmis.chunk import Block, Chunk, Leaf
from dgmmis.estep import leaf_log_density
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import NoNoise, SharedNoise
from dgmmis.selection import Selection
from dgmmis.survey import ConstantNoise, NoiseLaw, Survey
from dgmmis.types import Points

REPLICATES = 8
"""Independent scramblings: their scatter is the error."""

WIDENING = 1.4
"""Covariances of the reference are this much wider, so that the model may move without leaving its points behind."""

SMALLEST_STRATUM = 16
BLOCK_POINTS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """The address and the reference of the points of one round.

    Args:
        seed: of the fit.
        index: of the round.
        reference: the model at its start.
        counts: points of each stratum in each replicate (k,), or (k + 1,) with the background last; powers of two.
    """

    seed: int
    index: int
    reference: Model
    counts: np.ndarray

    @classmethod
    def of(cls, reference: Model, n_points: int, seed: int, index: int) -> "Round":
        """A round of about n_points in all, spread over the strata in proportion to their weights."""
        nu = reference.background_fraction
        shares = (1 - nu) * reference.mixture.weights
        if reference.background is not None:
            shares = np.append(shares, max(nu, 1e-3))
        wanted = np.maximum(shares * n_points / REPLICATES, SMALLEST_STRATUM)
        return cls(seed, index, reference, 2 ** np.ceil(np.log2(wanted)).astype(int))

    @property
    def n_points(self) -> int:
        return int(self.counts.sum()) * REPLICATES

    def blocks(self) -> "list[UnseenBlock]":
        """The points in blocks of about the same size."""
        blocks: list[UnseenBlock] = []
        for replicate in range(REPLICATES):
            start = size = 0
            for stratum, count in enumerate(self.counts):
                size += int(count)
                if size >= BLOCK_POINTS or stratum == len(self.counts) - 1:
                    blocks.append(UnseenBlock(len(blocks), replicate, start, stratum + 1))
                    start, size = stratum + 1, 0
        return blocks


@dataclass(frozen=True, slots=True)
class UnseenBlock:
    """Strata [start, stop) of one replicate: a leaf of the tree of unseen sums."""

    leaf: int
    replicate: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class UnseenPoints:
    """The points of a block with Omega < 1, weighted (1 - Omega) / (J R): what stays on a worker for a round."""

    leaf: Leaf
    replicate: int

    @property
    def nbytes(self) -> int:
        return self.leaf.nbytes


def draw(block: UnseenBlock, points_of: Round, survey: Survey) -> UnseenPoints:
    """Draw a block's points, evaluate Omega, and keep what may go unseen."""
    selection, law = survey.selection, survey.noise_law
    assert selection is not None
    assert law is not None
    constant = isinstance(law, ConstantNoise)
    wide = _widened(points_of.reference, law)
    noise = SharedNoise(law.covariance) if isinstance(law, ConstantNoise) and np.any(law.covariance) else NoNoise()
    positions, omega = [], []
    for stratum in range(block.start, block.stop):
        x, y = _stratum(stratum, block.replicate, points_of, wide, law)
        positions.append(y if constant else x)  # a constant law is marginalised exactly; another one by sampling
        omega.append(_seen(selection, y))
    points, missed = np.concatenate(positions), 1.0 - np.concatenate(omega)
    points, missed = points[missed > 0], missed[missed > 0]

    background = points_of.reference.background
    chunk = Chunk(
        points,
        noise,
        weights=missed / (points_of.counts.sum() * REPLICATES),
        log_background=None if background is None else background.log_density(points, noise),
    )
    shares = points_of.counts / points_of.counts.sum()
    k = points_of.reference.mixture.n_components
    reference = Model(
        replace(wide, weights=shares[:k] / shares[:k].sum()), background, float(shares[k]) if len(shares) > k else 0.0
    )
    log_reference = _log_reference(reference, chunk)
    return UnseenPoints(_one_leaf(replace(chunk, log_reference=log_reference), block.leaf), block.replicate)


def _widened(reference: Model, law: NoiseLaw) -> GaussianMixture:
    """The mixture that points are drawn from: with the noise of a constant law, and wider."""
    mixture = reference.mixture
    noise = law.covariance if isinstance(law, ConstantNoise) else 0.0
    return GaussianMixture(mixture.weights, mixture.means, WIDENING * (mixture.covariances + noise))


def _stratum(
    stratum: int, replicate: int, points_of: Round, wide: GaussianMixture, law: NoiseLaw
) -> tuple[Points, Points]:
    """True and measured positions (n, d) of one stratum's points."""
    d = wide.n_features
    constant = isinstance(law, ConstantNoise)
    background = stratum == wide.n_components
    dimensions = d if constant and not background else 2 * d
    uniform = _sobol(points_of, replicate, stratum, dimensions)
    if background:
        box = points_of.reference.background
        assert box is not None
        x = box.lower + uniform[:, :d] * (box.upper - box.lower)
    else:
        x = wide.means[stratum] + ndtri(uniform[:, :d]) @ np.linalg.cholesky(wide.covariances[stratum]).T
        if constant:  # its noise is in the width already
            return x, x
    covariances = law(x)
    if not np.any(covariances):
        return x, x
    values, vectors = np.linalg.eigh(covariances)  # a feature may be measured exactly, which has no Cholesky factor
    roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return x, x + np.einsum("nij,nj->ni", roots, ndtri(uniform[:, d:]))


def _sobol(points_of: Round, replicate: int, stratum: int, dimensions: int) -> Points:
    """Scrambled Sobol points in the open unit cube, at their address."""
    rng = generator(points_of.seed, Purpose.IMPUTATION, points_of.index, replicate, stratum)
    sequence = qmc.Sobol(dimensions, scramble=True, rng=rng)
    points = sequence.random_base2(int(np.log2(points_of.counts[stratum])))
    return np.asarray(np.clip(points, 1e-15, 1 - 1e-15))


def _seen(selection: Selection, points: Points) -> np.ndarray:
    return np.asarray(selection(points), dtype=float)


def _one_leaf(chunk: Chunk, index: int) -> Leaf:
    """All rows as one leaf, whatever their number: a block of points is the unit of its tree."""
    blocks: list[Block] = []
    for leaf in chunk.leaves():
        blocks += leaf.blocks
    return Leaf(index, tuple(blocks))


def _log_reference(reference: Model, chunk: Chunk) -> np.ndarray:
    exact = replace(chunk, noise=NoNoise())
    parts: Iterator[np.ndarray] = (leaf_log_density(reference, leaf) for leaf in exact.leaves())
    return np.concatenate([np.empty(0), *parts])
