"""The sums over the observed objects of a chunk, leaf by leaf; those that need latent points piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.background import Background
from dgmmis.chunk import LEAF_ROWS, Block, Chunk, Leaf, arranged, blocks
from dgmmis.dataset.arrays import Reference
from dgmmis.errors import DataError, RefusedError, rows_named
from dgmmis.estep import leaf_moments
from dgmmis.estep.pruning import FEWEST, PANEL
from dgmmis.latent import Latent, LatentError, latent_sums
from dgmmis.latent_draw import LatentDraw, Observing
from dgmmis.model import Model
from dgmmis.quadrature import Round
from dgmmis.replicate import Replicate
from dgmmis.selection import Injections
from dgmmis.survey import Survey

PIECE_POINTS = 1 << 17
"""Latent points that are made, and summed, at a time: some tens of megabytes."""

PIECE_NUMBERS = 1 << 20
"""Numbers in the posterior covariances of objects whose points are made at a time."""

Keep = Callable[[Any, Callable[[], Any]], Any]
"""(key, make) -> what is kept under the key, or made."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One of the models that share a reading.

    Args:
        model: whose sums are wanted.
        points_of: its imputed points; None where everything was seen.
        draws_unseen: whether the unseen need points: not where their sums have a closed form.
        replicate: how the objects' weights are drawn again; None: as they are.
        covariance_type: the structure that the M-step gives covariances.
    """

    model: Model
    points_of: Round | None
    draws_unseen: bool
    replicate: Replicate | None = None
    covariance_type: str = "full"


@dataclass(frozen=True, slots=True, eq=False)
class Tilted:
    """Rows of a leaf that were selected on what the catalogue does not hold.

    Args:
        chunk: the rows.
        rows: their places in the reference.
        places: of the rows in the leaf; `others`: of those that are not here.
    """

    chunk: Chunk
    rows: np.ndarray
    places: np.ndarray
    others: np.ndarray

    def replicated(self, factors: np.ndarray) -> "Tilted":
        """With the weights of the leaf's rows multiplied by factors."""
        own, chunk = factors[self.places], self.chunk
        return replace(self, chunk=replace(chunk, weights=own if chunk.weights is None else own * chunk.weights))


@dataclass(frozen=True, slots=True, eq=False)
class ObservedChunk:
    """The leaves of a chunk, laid out for the kernels: what a worker keeps. `tilted` has an entry for each leaf."""

    leaves: tuple[Leaf, ...]
    tilted: tuple[Tilted | None, ...]

    @property
    def nbytes(self) -> int:
        rest = sum(part.chunk.nbytes + 3 * part.rows.nbytes for part in self.tilted if part is not None)
        return sum(leaf.nbytes for leaf in self.leaves) + rest


@dataclass(frozen=True, slots=True, eq=False)
class LatentPiece:
    """Some tilted rows of a leaf in a round.

    Args:
        plain: those around which Omega is constant.
        log_selected: sum of its logarithm over them, by weight.
        latent: the others.
    """

    plain: Leaf
    log_selected: float
    latent: Latent | None

    @property
    def nbytes(self) -> int:
        return self.plain.nbytes + (0 if self.latent is None else self.latent.nbytes)


def observed_sums(
    member: Member, item: Reference, loaded: ObservedChunk, observing: Observing, keep: Keep
) -> Iterator[tuple[str, int, Any]]:
    """The terms of a chunk, laid out as `chunk_key` says: the moments of each leaf, and the error of its latent points,
    which are kept where no replicate reweights them.

    Raises:
        DataError: a selection of zero at an observed object, by row.
    """
    model, points_of, replicate = member.model, member.points_of, member.replicate
    sums_of = partial(leaf_moments, model, covariance_type=member.covariance_type)
    for leaf, tilted in zip(loaded.leaves, loaded.tilted, strict=True):
        factors = None if replicate is None else replicate.factors(leaf.index, LEAF_ROWS)
        if factors is not None:
            leaf = _reweighted(leaf, factors if tilted is None else factors[tilted.others])
            tilted = None if tilted is None else tilted.replicated(factors)
        moments = sums_of(leaf)
        if tilted is not None:
            assert points_of is not None
            error = LatentError()
            k, d = model.mixture.means.shape
            d = max(d, tilted.chunk.points.shape[1])
            rows = max(1, min(PIECE_POINTS // points_of.latent_points, PIECE_NUMBERS // (k * d**2)))
            for start in range(0, len(tilted.rows), rows):
                key = (item.key, "latent", points_of.name, leaf.index, start)
                some = slice(start, start + rows)
                place = (leaf.index, item)
                drawn = partial(_piece, tilted, some, place, observing, points_of, model.background)
                piece: LatentPiece = keep(key, drawn) if replicate is None else drawn()
                moments = moments + sums_of(piece.plain)
                moments = replace(moments, log_likelihood=moments.log_likelihood + piece.log_selected)
                if piece.latent is not None:
                    sums = latent_sums(model, piece.latent)
                    moments, error = moments + sums.moments, error + sums.error
            yield "latent", leaf.index, error
        yield "observed", leaf.index, moments


def chunk_key(member: Member, item: Reference) -> tuple[str, int | None]:
    """What a chunk is kept under: its name, and how its rows are put near one another for a member that looks for the
    components that matter, if the store has not done that."""
    prunes = member.model.mixture.n_components >= FEWEST and not item.is_ordered
    return item.key, PANEL if prunes else None


def load(
    reference: Reference,
    read: Callable[[], Chunk],
    observing: Observing,
    background: Background | None,
    near_rows: int | None = None,
) -> ObservedChunk:
    """The leaves of a reference's chunk, which `read` gives, with the background's density at each row that needs no
    latent points; `near_rows` as for `arranged`.

    Raises:
        DataError: a selection of zero at an observed object, by row.
        RefusedError: injections, and values that went missing.
    """
    chunk, survey = read(), observing.survey
    if isinstance(survey.selection, Injections) and survey.selection_on == "observed":
        _refuse_gaps(chunk, reference)
    tilts = survey.tilts(chunk)
    leaves, tilted = [], []
    for number, start in enumerate(range(0, chunk.n_samples, LEAF_ROWS)):
        rows = np.arange(start, min(start + LEAF_ROWS, chunk.n_samples))
        plain, rest = rows[~tilts[rows]], rows[tilts[rows]]
        part = chunk.take(slice(start, start + LEAF_ROWS)) if len(rest) == 0 else chunk.take(plain)
        if len(plain) and survey.selection is not None and not isinstance(survey.selection, Injections):
            _check_observed(part, plain, reference, survey)
        leaves.append(laid_out(part, reference.first_leaf + number, background, near_rows))
        tilted.append(Tilted(chunk.take(rest), rest, rest - start, plain - start) if len(rest) else None)
    return ObservedChunk(tuple(leaves), tuple(tilted))


def _reweighted(leaf: Leaf, factors: np.ndarray) -> Leaf:
    def block(of: Block) -> Block:
        own = factors[of.rows]
        return replace(of, weights=own if of.weights is None else own * of.weights)

    return replace(leaf, blocks=tuple(map(block, leaf.blocks)))


def laid_out(chunk: Chunk, index: int, background: Background | None, near_rows: int | None = None) -> Leaf:
    """Rows as a leaf for the kernels, with the background's density at each."""
    if background is not None:
        behind = background.log_density(chunk.points, chunk.noise, chunk.projection)
        chunk = replace(chunk, log_background=behind)
    return Leaf(index, tuple(part for block in blocks(chunk) for part in arranged(block, near_rows)))


def _piece(
    tilted: Tilted,
    rows: slice,
    place: tuple[int, Reference],
    observing: Observing,
    points_of: Round,
    background: Background | None,
) -> LatentPiece:
    """Draw the latent points of some rows of a leaf of a reference: at their address, so that any worker draws the
    same."""
    leaf, reference = place
    chunk = tilted.chunk.take(rows)
    model = replace(points_of.model, background=background)
    address = (points_of.seed, Purpose.LATENT, points_of.index)
    draw = LatentDraw.around(model, observing, points_of.latent_points, address=address)
    rng = generator(*address, leaf, rows.start)
    found = draw(chunk, rng)
    if found.never.any():
        never = reference.numbers(tilted.rows[rows][found.never])
        raise DataError(
            f"the selection gives next to no probability to {rows_named(never)}, whatever their latent values",
            expected="objects that could have been selected",
            do="correct the selection, drop those rows, or start from a wider model",
        )
    plain = chunk.take(np.flatnonzero(found.constant))
    return LatentPiece(laid_out(plain, leaf, background), float(plain.w_n @ found.log_omega), found.latent)


def _refuse_gaps(chunk: Chunk, reference: Reference) -> None:
    """Injections do not say Omega at a point, so that it cannot be averaged over what is missing."""
    gaps = np.flatnonzero(np.any(np.isnan(chunk.points), axis=1))
    if len(gaps):
        raise RefusedError(
            f"injections, and values that went missing after the selection, in {rows_named(reference.numbers(gaps))}",
            do="drop those rows; or say selection_on='available' if injections lost values as objects did, "
            "and were found by what was left",
        )


def _check_observed(chunk: Chunk, rows: np.ndarray, reference: Reference, survey: Survey) -> None:
    assert survey.selection is not None
    omega = survey.selection(chunk.points)
    unseen = np.flatnonzero(~(omega > 0))
    if len(unseen):
        named = rows_named(reference.numbers(rows[unseen]))
        raise DataError(
            f"the selection gives zero probability to observed objects in {named}",
            expected="Omega > 0 wherever an object was seen",
            got=f"Omega = {omega[unseen[0]]} at {np.array2string(chunk.points[unseen[0]], precision=6)}",
            do="correct the selection, or drop objects outside it",
        )
