"""Scores of single objects under a model and a survey: what `passes` sums, row by row."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from dgmmis.address import Purpose, generator
from dgmmis.chunk import LEAF_ROWS, Chunk, Leaf
from dgmmis.em import Pass
from dgmmis.errors import UnseenError
from dgmmis.estep import leaf_log_density, leaf_posterior, responsibilities
from dgmmis.estep.pruning import FEWEST, PANEL
from dgmmis.imputation import unseen_here
from dgmmis.information import (
    Information,
    ScoreProducts,
    Terms,
    block_scores,
    block_terms,
    latent_scores,
    latent_terms,
    n_directions,
    second_matrix,
)
from dgmmis.latent import Latent, LatentPosterior, latent_posterior
from dgmmis.latent_draw import LatentDraw, Observing
from dgmmis.model import Model
from dgmmis.noise_classes import Partition, classes_of, single_class
from dgmmis.normaliser import Normaliser
from dgmmis.observed import PIECE_POINTS, laid_out
from dgmmis.quadrature import Round
from dgmmis.selection import Injections
from dgmmis.types import Vector

SCORE_POINTS = 512
"""Latent points of an object: enough for a log density good to about a percent at hard edges."""

PATIENCE = 64
"""Trials for a point at which a row could have been selected: rows to be scored may lie anywhere."""

SCORE_DEPTH = 8
"""Cuts one below the other that make noise classes."""

UNSEEN_POINTS, MOST_UNSEEN_POINTS = 1 << 16, 1 << 20
Z_ERROR = 0.01
"""Largest relative error of the Z of a row, unless the most points are not enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of some rows.

    Args:
        log_density: log L_n (n,), without the normaliser Z.
        responsibilities: (n, k); what they lack to one is the background's.
    """

    log_density: Vector
    responsibilities: Float[np.ndarray, "n k"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPart:
    """Rows of a chunk that are scored together: with a closed form and a constant Omega, or with latent points.

    Args:
        rows: their numbers in the chunk (n,).
        leaf: they as they are measured; None: with latent points.
        log_omega: of those in the leaf, where Omega is the same wherever they may be.
        latent: their points.
    """

    rows: np.ndarray
    leaf: Leaf | None = None
    log_omega: float | Vector = 0.0
    latent: Latent | None = None


def score_rows(model: Model, chunk: Chunk, observing: Observing, *, seed: int = 0) -> Scores:
    """log L_n and responsibilities of a chunk's rows, selected as the survey says; Omega at them is not looked at.

    A row whose latent values could not have been selected, whatever they were, has -inf and no responsibilities. Memory
    holds several arrays of the rows by the components: go through large chunks leaf by leaf (`Chunk.leaf_chunks`).
    """
    log_l, q = np.full(chunk.n_samples, -np.inf), np.zeros((chunk.n_samples, model.mixture.n_components))
    for part in scored_parts(model, chunk, observing, seed):
        if part.leaf is not None:
            log_l[part.rows], q[part.rows] = leaf_posterior(model, part.leaf)
            log_l[part.rows] += part.log_omega
        elif part.latent is not None:
            signal = model.signal
            posterior = latent_posterior(model, part.latent, signal)
            log_l[part.rows] = posterior.log_density
            q[part.rows] = _of_objects(signal, part.latent, posterior)
    return Scores(log_l, q)


def log_densities(model: Model, chunk: Chunk, observing: Observing, *, seed: int = 0) -> Vector:
    """log L_n (n,) alone, as `score_rows` has it."""
    log_l = np.full(chunk.n_samples, -np.inf)
    for part in scored_parts(model, chunk, observing, seed):
        if part.leaf is not None:
            log_l[part.rows] = leaf_log_density(model, part.leaf) + part.log_omega
        elif part.latent is not None:
            log_l[part.rows] = latent_posterior(model, part.latent).log_density
    return log_l


def labels(responsibilities: Float[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
    """The most probable component of each row (n,); -1 where the background is more probable than any, and for a row
    whose latent values could not have been selected, which has no responsibilities at all."""
    found = responsibilities.argmax(axis=1)
    found[1 - responsibilities.sum(axis=1) > responsibilities.max(axis=1)] = -1
    return np.asarray(found)


def _of_objects(signal: Model, latent: Latent, posterior: LatentPosterior) -> Float[np.ndarray, "n k"]:
    """Responsibilities of objects: the means of those of their points, about as many at a time as a leaf has rows."""
    q = np.empty((len(latent.first), signal.mixture.n_components))
    ends = np.append(latent.first, latent.block.n_samples)
    step = LEAF_ROWS // SCORE_POINTS
    for start in range(0, len(q), step):
        stop = min(start + step, len(q))
        points = np.arange(ends[start], ends[stop])
        shared = posterior.shares[points, None] * responsibilities(signal, latent.block.take(points)).T
        q[start:stop] = np.add.reduceat(shared, latent.first[start:stop] - ends[start], axis=0)
    return q


def log_normalisers(model: Model, chunk: Chunk, observing: Observing, *, seed: int = 0) -> Vector:
    """log Z (n,) of a chunk's rows, each by its noise class."""
    survey = observing.survey
    if survey.selection is None:
        return np.zeros(chunk.n_samples)
    partition = Partition.of(chunk, survey, observing.fill, SCORE_DEPTH)
    trivial = partition.is_trivial
    classes = single_class(survey, chunk) if trivial else classes_of(partition.sums(chunk), survey)
    if not classes:  # nothing was measured of any row
        return np.zeros(chunk.n_samples)
    n_injections = len(survey.selection.points) if isinstance(survey.selection, Injections) else 0
    n_points = UNSEEN_POINTS
    while True:
        points_of = Round.of(model, n_points, seed, 0, classes=classes, partition=partition, n_injections=n_injections)
        unseen = unseen_here(model, points_of, survey)
        worst = max(part.completeness_error / max(part.completeness, 1e-300) for part in unseen)
        if worst <= Z_ERROR or n_points >= MOST_UNSEEN_POINTS or n_injections:
            break
        n_points *= 4
    if min(part.completeness for part in unseen) <= 0:
        raise UnseenError(
            "the completeness of some objects cannot be told from zero",
            do="score them under a model of which the survey sees a measurable part",
        )
    # the last entry, number -1, is for objects of which nothing was measured: Z = 1
    log_z = np.log([*(part.completeness for part in unseen), 1.0])
    return np.asarray(log_z[partition.numbers(chunk, classes)])


def information(model: Model, sample: Chunk, observing: Observing, points_of: Round | None, last: Pass) -> Information:
    """Information that all objects carry, from a sample of them."""
    normaliser = None if points_of is None else Normaliser.of(model, observing.survey, points_of, last.unseen)
    found = chunk_information(model, sample, observing, normaliser)
    return found * (last.n_samples / found.n_samples)


def score_products(
    model: Model, sample: Chunk, observing: Observing, points_of: Round | None, last: Pass, *, latent_points: int
) -> ScoreProducts:
    """The scores' products over a sample: what is quick to have of `information`."""
    normaliser = None if points_of is None else Normaliser.to_first_order(model, points_of, last.unseen)
    total: ScoreProducts | None = None
    for chunk in sample.leaf_chunks():
        weights = chunk.w_n
        slopes = None if normaliser is None else normaliser.slopes[normaliser.numbers(chunk)]
        for part in scored_parts(model, chunk, observing, 0, latent_points):
            for rows, scores in _scores(model, part):
                some = ScoreProducts.of(model, scores, 0.0 if slopes is None else slopes[rows], weights[rows])
                total = some if total is None else total + some
    assert total is not None
    return total


def _scores(model: Model, part: ScoredPart) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if part.leaf is not None:
        for block in part.leaf.blocks:
            yield part.rows[block.rows], block_scores(model, block)
    elif part.latent is not None:
        yield part.rows, latent_scores(model, part.latent)


def chunk_information(
    model: Model, chunk: Chunk, observing: Observing, normaliser: Normaliser | None = None
) -> Information:
    """Information that the rows of a chunk carry, leaf by leaf: that of all chunks is the sum.

    Args:
        model: at the maximum of the fit.
        chunk: some rows of the catalogue.
        observing: the survey.
        normaliser: log Z of the fit's noise classes; None: everything was seen.
    """
    total = Information.zero(n_directions(model))
    for leaf in chunk.leaf_chunks():
        total = total + _leaf_information(model, leaf, observing, normaliser)
    return total


def _leaf_information(model: Model, chunk: Chunk, observing: Observing, normaliser: Normaliser | None) -> Information:
    p = n_directions(model)
    w = chunk.w_n
    slopes, numbers = np.zeros((1, p)), np.zeros(chunk.n_samples, dtype=int)
    if normaliser is not None:
        slopes, numbers = normaliser.slopes, normaliser.numbers(chunk)
    outer, score, by_class = np.zeros((p, p)), np.zeros(p), np.zeros_like(slopes)
    second: np.ndarray | float = 0.0
    for part in scored_parts(model, chunk, observing, seed=0):
        for terms in _terms(model, part, w):
            rows = part.rows[terms.rows]
            centred = terms.scores - slopes[numbers[rows]]
            root = centred * np.sqrt(w[rows, None])
            outer += root.T @ root
            score += w[rows] @ terms.scores
            second = second + terms.second
            order = np.argsort(numbers[rows], kind="stable")
            first = np.flatnonzero(np.diff(numbers[rows][order], prepend=-2))
            by_class[numbers[rows][order[first]]] += np.add.reduceat((centred * w[rows, None])[order], first)
    # sum w s s' with s = d log L is the outer products of s - d log Z, and these
    cross = by_class.T @ slopes
    curvature = outer + cross + cross.T - second_matrix(np.asarray(second), score, model)
    if normaliser is not None:
        curvature += w.sum() * normaliser.second
    return Information(outer, curvature, float(w.sum()))


def _terms(model: Model, part: ScoredPart, weights: Vector) -> Iterator[Terms]:
    if part.leaf is not None:
        for block in part.leaf.blocks:
            yield from block_terms(model, block, weights[part.rows[block.rows]])
    elif part.latent is not None:
        yield latent_terms(model, part.latent)


def scored_parts(
    model: Model, chunk: Chunk, observing: Observing, seed: int, latent_points: int = SCORE_POINTS
) -> Iterator[ScoredPart]:
    """The rows of a chunk that could have been selected, in parts; Omega at measured values is not looked at."""
    near_rows = PANEL if model.mixture.n_components >= FEWEST else None
    tilts = observing.survey.tilts(chunk)
    plain = np.flatnonzero(~tilts)
    if len(plain):
        yield ScoredPart(plain, laid_out(chunk.take(plain), 0, model.background, near_rows))
    tilted = np.flatnonzero(tilts)
    address = (seed, Purpose.SCORE)
    draw = LatentDraw.around(model, observing, latent_points, address=address, patience=PATIENCE)
    size = max(1, PIECE_POINTS // latent_points)
    for piece, start in enumerate(range(0, len(tilted), size)):
        rows = tilted[start : start + size]
        some = replace(chunk.take(rows), first_row=0)
        rng = generator(*address, chunk.first_row, piece)
        found = draw(some, rng)
        if found.constant.any():
            leaf = laid_out(some.take(np.flatnonzero(found.constant)), 0, model.background, near_rows)
            yield ScoredPart(rows[found.constant], leaf, found.log_omega)
        if found.latent is not None:
            yield ScoredPart(rows[~found.constant & ~found.never], latent=found.latent)
