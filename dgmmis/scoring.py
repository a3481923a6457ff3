"""Scores of single objects under a model and a survey: what `passes` sums, row by row."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.chunk import LEAF_ROWS, Chunk, Leaf
from dgmmis.em import Pass
from dgmmis.errors import UnseenError
from dgmmis.estep import leaf_log_density, leaf_responsibilities, responsibilities
from dgmmis.imputation import unseen_here
from dgmmis.information import block_scores, gradient, latent_scores
from dgmmis.latent import Latent, latent_posterior
from dgmmis.latent_draw import LatentDraw, Observing
from dgmmis.model import Model
from dgmmis.noise_classes import Partition, classes_of, single_class
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
class _Part:
    """Rows of a chunk that are scored together: with a closed form and a constant Omega, or with latent points."""

    rows: np.ndarray
    leaf: Leaf | None = None
    log_omega: float | Vector = 0.0
    latent: Latent | None = None


def score_rows(model: Model, chunk: Chunk, observing: Observing, *, seed: int = 0) -> Scores:
    """log L_n and responsibilities of a chunk's rows, selected as the survey says; Omega at them is not looked at.

    A row that could not have been selected, whatever it was, has -inf and no responsibilities.
    """
    log_l, q = np.full(chunk.n_samples, -np.inf), np.zeros((chunk.n_samples, model.mixture.n_components))
    for part in _parts(model, chunk, observing, seed):
        if part.leaf is not None:
            log_l[part.rows] = leaf_log_density(model, part.leaf) + part.log_omega
            q[part.rows] = leaf_responsibilities(model, part.leaf)
        elif part.latent is not None:
            latent = part.latent
            posterior = latent_posterior(model, latent)
            log_l[part.rows] = posterior.log_density
            of_points = responsibilities(Model(model.mixture), latent.block).T
            q[part.rows] = np.add.reduceat(posterior.shares[:, None] * of_points, latent.first, axis=0)
    return Scores(log_l, q)


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


def information(model: Model, sample: Chunk, observing: Observing, points_of: Round | None, last: Pass) -> np.ndarray:
    """Information (p, p) that all objects carry, from the scores of a sample of them (`information`)."""
    slopes = [-gradient(part.moments, model) / part.completeness for part in last.unseen]
    slopes.append(np.zeros_like(gradient(last.moments, model)))  # number -1: of objects of which nothing was measured
    total, weight = np.zeros(()), 0.0
    for start in range(0, sample.n_samples, LEAF_ROWS):
        chunk = sample.take(slice(start, start + LEAF_ROWS))
        w = np.ones(chunk.n_samples) if chunk.weights is None else chunk.weights
        weight += float(w.sum())
        if points_of is not None:
            numbers = points_of.partition.numbers(chunk, points_of.classes)
        for part in _parts(model, chunk, observing, seed=0):
            if part.leaf is not None:
                scores = np.concatenate([block_scores(model, block) for block in part.leaf.blocks])
                order = np.concatenate([block.rows for block in part.leaf.blocks])
                rows = part.rows[order]
            else:
                assert part.latent is not None
                scores, rows = latent_scores(model, part.latent), part.rows
            if points_of is not None:
                scores = scores - np.stack(slopes)[numbers[rows]]
            total = total + (scores * w[rows, None]).T @ scores
    return np.asarray(total * (last.n_samples / weight))


def _parts(model: Model, chunk: Chunk, observing: Observing, seed: int) -> Iterator[_Part]:
    tilts = observing.survey.tilts(chunk)
    plain = np.flatnonzero(~tilts)
    if len(plain):
        yield _Part(plain, laid_out(chunk.take(plain), 0, model.background))
    tilted = np.flatnonzero(tilts)
    address = (seed, Purpose.SCORE)
    draw = LatentDraw.around(model, observing, SCORE_POINTS, address=address, patience=PATIENCE)
    size = max(1, PIECE_POINTS // SCORE_POINTS)
    for piece, start in enumerate(range(0, len(tilted), size)):
        rows = tilted[start : start + size]
        some = replace(chunk.take(rows), first_row=0)
        rng = generator(*address, chunk.first_row, piece)
        found = draw(some, rng)
        if found.constant.any():
            leaf = laid_out(some.take(np.flatnonzero(found.constant)), 0, model.background)
            yield _Part(rows[found.constant], leaf, found.log_omega)
        if found.latent is not None:
            yield _Part(rows[~found.constant & ~found.never], latent=found.latent)
