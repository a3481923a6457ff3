"""The points that stand for what the survey missed: drawn once a round, with importance weights that follow the model.

Points come from a reference density r (the model at the start of the round, widened), and Omega is evaluated once. They
are scrambled Sobol sequences, one for each noise class and component (stratified), in independent replicates whose
scatter is the Monte-Carlo error. Every sequence is addressed by (seed, round, class, replicate, stratum): any worker,
any time, draws the same ones.

Where the noise of the unseen is known for a class, they are measured values y, and the noise is marginalised exactly.
Where it is a function of the true position, they are positions x, each with a y that was drawn for it.
"""

import math
import uuid
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.background import Uniform
from dgmmis.chunk import Chunk, Leaf, blocks
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.nets import net
from dgmmis.noise import NoNoise
from dgmmis.noise_classes import NoiseClass, Partition
from dgmmis.selection import Injections
from dgmmis.strata import Strata
from dgmmis.survey import Survey

REPLICATES = 8
"""Independent scramblings: their scatter is the error."""

SMALLEST_STRATUM = 16
"""Points of a component in a replicate at least, over all noise classes together."""

FIRST_POINTS = 1 << 13
MOST_POINTS, WANTED = 1 << 20, 800
"""Or WANTED N^(2/3) for N objects, where that is more: the error of points falls as n^-0.75 (CONVERGENCE), that of the
parameters as N^-0.5; 10^6 objects behind hard edges want some 3 10^6 points."""

CONVERGENCE = 0.75
"""The error of scrambled nets falls about with this power of their number: between that of draws and that of grids."""

BLOCK_POINTS = 1 << 14
"""Of a net, and about those of a task's block, at most: a task holds no more at a time."""


def most_points(n_objects: float) -> int:
    """Points that are wanted of a round, at most, for so many objects."""
    return max(MOST_POINTS, 1 << math.ceil(math.log2(WANTED * n_objects ** (0.5 / CONVERGENCE) + 1)))


def most_drawn(n_points: int, *, n_strata: int, n_classes: int) -> int:
    """Points that are drawn, at most, where so many are wanted: each stratum has a power of two, and a few at least."""
    return 2 * (n_points + REPLICATES * n_strata * max(SMALLEST_STRATUM, n_classes))


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """The address and the reference of the points of one round.

    Args:
        seed: of the fit.
        index: of the round.
        model: at its start.
        reference: a mixture, and a uniform density, that cover the model (`envelope`).
        classes: of noise.
        partition: that made them.
        counts: points of each stratum in each replicate of each class (g, s), powers of two; strata are the components
            of the reference's mixture, and its uniform density last.
        latent_points: for each observed object that was selected on what was not measured (`latent`).
        n_injections: that take the place of drawn points.
    """

    seed: int
    index: int
    model: Model
    reference: Model
    classes: tuple[NoiseClass, ...]
    partition: Partition
    counts: np.ndarray
    latent_points: int
    n_injections: int = 0
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What workers keep the points under."""

    @classmethod
    def of(
        cls,
        model: Model,
        n_points: int,
        seed: int,
        index: int,
        *,
        classes: tuple[NoiseClass, ...],
        partition: Partition,
        latent_points: int = 0,
        n_injections: int = 0,
    ) -> "Round":
        """A round of about n_points in all, spread over classes and strata in proportion to their weights."""
        reference = envelope(model)
        nu = reference.background_fraction
        shares = (1 - nu) * reference.mixture.weights
        if reference.background is not None:
            shares = np.append(shares, nu)
        of_class = np.array([c.share for c in classes])
        smallest = max(1, SMALLEST_STRATUM // len(classes))
        wanted = np.maximum(of_class[:, None] * shares * n_points / REPLICATES, smallest)
        counts = 2 ** np.ceil(np.log2(wanted)).astype(int)
        return cls(seed, index, model, reference, classes, partition, counts, latent_points, n_injections)

    @property
    def n_points(self) -> int:
        return self.n_injections or int(self.counts.sum()) * REPLICATES

    def blocks(self) -> "list[UnseenBlock]":
        """The points in blocks of about the same size, none of which holds more than one class."""
        if self.n_injections:
            edges = [*range(0, self.n_injections, BLOCK_POINTS), self.n_injections]
            return [UnseenBlock(0, leaf, a, b) for leaf, (a, b) in enumerate(pairwise(edges))]
        blocks: list[UnseenBlock] = []
        for number in range(len(self.counts)):
            sizes = [size for *_, size in self.cells(number)]
            start = size = leaf = 0
            for cell, points in enumerate(sizes):
                size += points
                if size >= BLOCK_POINTS or cell == len(sizes) - 1:
                    blocks.append(UnseenBlock(number, leaf, start, cell + 1))
                    start, size, leaf = cell + 1, 0, leaf + 1
        return blocks

    def cells(self, noise_class: int) -> list[tuple[int, int, int, int]]:
        """The nets of a class: replicate, stratum, number, and how many points; no net is larger than a block."""
        return [
            (replicate, stratum, piece, min(int(count), BLOCK_POINTS))
            for replicate in range(REPLICATES)
            for stratum, count in enumerate(self.counts[noise_class])
            for piece in range(max(1, int(count) // BLOCK_POINTS))
        ]


@dataclass(frozen=True, slots=True)
class UnseenBlock:
    """Sequences [start, stop) of a noise class, replicate after replicate, or injections: a leaf of its tree."""

    noise_class: int
    leaf: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class UnseenPoints:
    """The points of a block that count, their weights over the number of points: what stays on a worker for a round.

    Args:
        leaf: points with Omega < 1, weighted 1 - Omega; or found injections, weighted 1.
        replicate: number (n,) of each point's.
    """

    leaf: Leaf
    replicate: np.ndarray

    def of_replicate(self, number: int) -> "UnseenPoints":
        """Those of one replicate."""
        parts = (block.take(np.flatnonzero(self.replicate[block.rows] == number)) for block in self.leaf.blocks)
        return replace(self, leaf=replace(self.leaf, blocks=tuple(part for part in parts if part.n_samples)))

    @property
    def nbytes(self) -> int:
        return self.leaf.nbytes + self.replicate.nbytes


def envelope(model: Model) -> Model:
    """A mixture on a uniform density that covers the model, with some points for a background however faint."""
    background = model.background
    if background is None:
        return Model(model.mixture)
    share = max(model.background_fraction, 1e-3)
    cover = background.envelope
    if isinstance(cover, Uniform):
        return Model(model.mixture, cover, share)
    both = (model.mixture, cover)
    weights = np.concatenate([(1 - share) * model.mixture.weights, share * cover.weights])
    means, covariances = (np.concatenate([getattr(part, name) for part in both]) for name in ("means", "covariances"))
    return Model(GaussianMixture(weights / weights.sum(), means, covariances))


def draw(block: UnseenBlock, points_of: Round, survey: Survey, model: Model) -> UnseenPoints:
    """Draw a block's points, evaluate Omega, and keep what may go unseen.

    Args:
        block: which ones.
        points_of: their round.
        survey: Omega, and the noise law where it is a function of position.
        model: whose background the points shall know.
    """
    selection = survey.selection
    assert selection is not None
    if isinstance(selection, Injections):
        return _injected(block, selection, model)
    strata = Strata.of(
        points_of.reference, points_of.classes[block.noise_class], points_of.counts[block.noise_class], survey
    )
    stored, judged, replicates = [], [], []
    for replicate, stratum, piece, size in points_of.cells(block.noise_class)[block.start : block.stop]:
        place = (points_of.index, block.noise_class, replicate, stratum, piece)
        rng = generator(points_of.seed, Purpose.IMPUTATION, *place)
        uniform = net(strata.dimensions(stratum), size.bit_length() - 1, rng)
        keep, judge = strata.points(stratum, uniform)
        stored.append(keep)
        judged.append(judge)
        replicates.append(np.full(len(keep), replicate))
    missed = 1.0 - np.asarray(selection(np.concatenate(judged)), dtype=float)
    rows = missed > 0
    chunk = strata.chunk(np.concatenate(stored)[rows])
    chunk = replace(chunk, weights=missed[rows] / (strata.counts.sum() * REPLICATES))
    chunk = replace(_with_background(chunk, model), log_reference=strata.log_density(chunk))
    return UnseenPoints(_one_leaf(chunk, block.leaf), np.concatenate(replicates)[rows])


def _injected(block: UnseenBlock, injections: Injections, model: Model) -> UnseenPoints:
    """Found injections: they were drawn already, at true positions, and every so many-th one is a replicate."""
    rows = np.arange(block.start, block.stop)
    rows = rows[injections.found[rows]]
    chunk = Chunk(
        injections.points[rows],
        NoNoise(),
        weights=np.full(len(rows), 1 / len(injections.points)),
        log_reference=injections.log_density[rows],
    )
    return UnseenPoints(_one_leaf(_with_background(chunk, model), block.leaf), rows % REPLICATES)


def _with_background(chunk: Chunk, model: Model) -> Chunk:
    if model.background is None:
        return chunk
    behind = model.background.log_density(chunk.points, chunk.noise, chunk.projection)
    return replace(chunk, log_background=behind)


def _one_leaf(chunk: Chunk, index: int) -> Leaf:
    """All rows as one leaf, whatever their number: a block of points is the unit of its tree."""
    return Leaf(index, tuple(blocks(chunk)))
