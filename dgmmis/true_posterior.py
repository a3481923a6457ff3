"""The posterior of the true values of objects, p(x | y_n) = sum_k q_nk N(b_nk, B_nk) + beta_n b(x | y_n): its mean, its
covariance, and draws (Bovy, Hogg & Roweis 2011, eqs. 13-15; beta_n: the probability of the background).

Where an object was selected on what the catalogue does not hold, it is tilted by Omega. With latent points z_nj of
shares s_nj (`latent`) it is sum_j s_nj p(x | z_nj): z is x itself where Omega acts on true values; where it acts on
measured ones of which some went missing, z is all of them, and Omega a constant once they are given.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from dgmmis.address import Purpose, generator
from dgmmis.background import FixedMixture
from dgmmis.chunk import Block, Chunk
from dgmmis.conditioned import BLOCK_NUMBERS, Conditioned, conditioned, conditioned_on
from dgmmis.estep import Located, leaf_posterior, located, locates, responsibilities
from dgmmis.estep.kernel import log_background
from dgmmis.latent import Latent, latent_posterior
from dgmmis.latent_draw import Observing
from dgmmis.linalg import symmetrize, unpack
from dgmmis.mixed import Mixed, Pointed
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.observed import PIECE_POINTS
from dgmmis.posterior import remeasured, selected_on
from dgmmis.scoring import SCORE_POINTS, scored_parts
from dgmmis.types import Covariances, Points, Vector

NEGLIGIBLE = 1e-12
"""Probability of the background below which nobody asks where in it an object would be."""


@dataclass(frozen=True, slots=True, eq=False)
class PosteriorMoments:
    """Of the true values of some rows; NaN for one that could not have been selected, whatever its latent values.

    Args:
        mean: (n, d).
        covariance: (n, d, d).
        background: probability of the background (n,).
    """

    mean: Points
    covariance: Covariances
    background: Vector


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """A part of the posteriors of some rows.

    Args:
        rows: their numbers in the chunk (b,).
        weight: of the part in each posterior (b,).
        of: what it is.
        is_background: whether it is the background's.
    """

    rows: np.ndarray
    weight: Vector
    of: Mixed | Pointed | Located
    is_background: bool = False


def posterior_moments(model: Model, chunk: Chunk, observing: Observing, *, seed: int = 0) -> PosteriorMoments:
    """Mean and covariance of the true values of a chunk's rows.

    Args:
        model: what they were drawn from.
        chunk: go through large ones leaf by leaf (`Chunk.leaf_chunks`).
        observing: the survey. Where rows were selected on what is not there, and for the background unless it is a
            mixture, moments are averages over SCORE_POINTS points: good to about a percent of the standard deviation.
        seed: of these points.
    """
    n, d = chunk.n_samples, model.mixture.n_features
    weight, mean, covariance, behind = np.zeros(n), np.zeros((n, d)), np.zeros((n, d, d)), np.zeros(n)
    for part in _shares(model, chunk, observing, seed):
        rows = part.rows
        weight[rows] += part.weight
        share = _share(part.weight, weight[rows])[:, None]
        of_part, spread = part.of.moments()
        apart = of_part - mean[rows]
        mean[rows] += share * apart
        between = (share * (1 - share))[..., None] * apart[:, :, None] * apart[:, None, :]
        covariance[rows] = (1 - share)[..., None] * covariance[rows] + share[..., None] * spread + between
        if part.is_background:
            behind[rows] += part.weight
    exact = _exact(chunk)
    mean = np.where(exact, chunk.points, mean) if exact.any() else mean
    covariance[exact[:, :, None] | exact[:, None, :]] = 0.0
    never = weight == 0
    mean[never], covariance[never], behind[never] = np.nan, np.nan, np.nan
    return PosteriorMoments(mean, symmetrize(covariance), behind)


def posterior_draws(
    model: Model, chunk: Chunk, observing: Observing, *, n_samples: int, seed: int = 0
) -> Float[np.ndarray, "n s d"]:
    """Independent draws of the true values of a chunk's rows: at the address (seed, number of the first row)."""
    rng = generator(seed, Purpose.TRUE_VALUES, chunk.first_row)
    d = model.mixture.n_features
    weight, out = np.zeros(chunk.n_samples), np.full((chunk.n_samples, n_samples, d), np.nan)
    for part in _shares(model, chunk, observing, seed, n_samples):
        rows = part.rows
        assert not isinstance(part.of, Located)  # of which there are moments only
        weight[rows] += part.weight
        # each part takes the place of those before it as often as its share of the weight so far says
        taken = rng.random((len(rows), n_samples)) < _share(part.weight, weight[rows])[:, None]
        out[rows] = np.where(taken[..., None], part.of.draw(n_samples, rng), out[rows])
    out[weight == 0] = np.nan
    exact = _exact(chunk) & (weight > 0)[:, None]
    return np.where(exact[:, None, :], chunk.points[:, None, :], out) if exact.any() else out


def _share(weight: Vector, so_far: Vector) -> Vector:
    return np.asarray(weight / np.where(so_far > 0, so_far, 1.0))


def _exact(chunk: Chunk) -> Bool[np.ndarray, "n d"]:
    """Which true values the catalogue holds."""
    if chunk.projection is not None:
        return np.zeros((chunk.n_samples, chunk.projection.shape[2]), dtype=bool)
    return np.asarray(~np.isnan(chunk.points) & (chunk.noise.variances(chunk.points.shape[1]) == 0))


def _shares(model: Model, chunk: Chunk, observing: Observing, seed: int, n_samples: int = 0) -> Iterator[_Share]:
    """The parts of all posteriors, so many rows at a time that draws of each fit; their weights add up to one for each
    row, or to zero."""
    for number, part in enumerate(scored_parts(model, chunk, observing, seed)):
        rng_of = partial(generator, seed, Purpose.TRUE_VALUES, chunk.first_row, number)
        some = chunk.take(part.rows)
        if part.leaf is not None:
            behind, rest = np.zeros(len(part.rows)), np.ones(len(part.rows), dtype=bool)
            if n_samples == 0:
                for block in filter(partial(locates, model), part.leaf.blocks):
                    of_block = located(model.signal, block)
                    rest[block.rows], behind[block.rows] = False, _of_background(model, block, of_block)
                    yield _Share(part.rows[block.rows], 1 - behind[block.rows], of_block)
            if rest.any():
                left = np.flatnonzero(rest)
                q = leaf_posterior(model, part.leaf)[1][left]
                behind[left] = np.maximum(1 - q.sum(axis=1), 0.0) * (model.background_fraction > 0)
                for of in _conditioned(model.mixture, some.take(left), n_samples):
                    mixed = Mixed(_normalised(q[of.rows]), of.means, of.covariances)
                    yield _Share(part.rows[left[of.rows]], 1 - behind[left[of.rows]], mixed)
        else:
            assert part.latent is not None
            posterior = latent_posterior(model, part.latent)
            behind = posterior.behind
            yield _Share(part.rows, 1 - behind, _pointed(model, some, observing, part.latent, posterior.shares))
        for rows, of_background in _behind(model, some, observing, behind, n_samples, rng_of if part.latent else None):
            yield _Share(part.rows[rows], behind[rows], of_background, is_background=True)


def _of_background(model: Model, block: Block, found: Located) -> Vector:
    """Probability of the background for samples whose density under the components alone is known."""
    log_behind = log_background(model, block)
    if log_behind is None:
        return np.zeros(block.n_samples)
    log_signal = found.log_density + np.log1p(-model.background_fraction)
    return np.asarray(np.exp(log_behind - np.logaddexp(log_behind, log_signal)))


def _pointed(model: Model, chunk: Chunk, observing: Observing, latent: Latent, shares: np.ndarray) -> Pointed:
    """The posteriors of rows with latent points: those given each point, by its share."""
    z, signal = latent.block.points.T, model.signal
    owner = np.repeat(np.arange(chunk.n_samples), np.diff(np.append(latent.first, len(z))))
    if observing.survey.selection_on == "true":
        there = partial(_points, z)
        return Pointed(latent.first, shares, there, BLOCK_NUMBERS // z.shape[1] ** 2)
    on, d = selected_on(chunk, observing.survey, observing.fill), model.mixture.n_features
    noise = unpack(on.noise.packed(range(z.shape[1])).T.astype(float))  # of z: nothing of it is missing
    look = np.eye(d)[None] if on.projection is None else on.projection.astype(float)

    def given(points: np.ndarray) -> Mixed:
        R, S = (one if len(one) == 1 else one[owner[points]] for one in (look, noise))
        of = conditioned_on(model.mixture, z[points], R, S, rows=points)
        q = responsibilities(signal, latent.block.take(points)).T
        return Mixed(_normalised(q), of.means, of.covariances)

    step = max(1, BLOCK_NUMBERS // (model.mixture.n_components * max(z.shape[1], d) ** 2))
    return Pointed(latent.first, shares, given, step)


def _conditioned(mixture: GaussianMixture, chunk: Chunk, n_samples: int) -> Iterator[Conditioned]:
    """A mixture given what was measured of rows, so many at a time that as many draws of each fit."""
    numbers = max(1, n_samples * max(mixture.n_components, mixture.n_features**2))
    return conditioned(mixture, chunk.points, chunk.noise, chunk.projection, row_numbers=numbers)


def _normalised(shares: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b k"]:
    """To a sum of one; where all are zero the same for all, which counts for nothing."""
    sums = shares.sum(axis=1, keepdims=True)
    return np.asarray(np.where(sums > 0, shares / np.where(sums > 0, sums, 1.0), 1 / shares.shape[1]))


def _behind(
    model: Model,
    chunk: Chunk,
    observing: Observing,
    behind: Vector,
    n_samples: int,
    rng_of: Callable[[int], np.random.Generator] | None,
) -> Iterator[tuple[np.ndarray, Mixed]]:
    """Rows that may be the background's, and where in it they would be; tilted, with the numbers of each piece, or not
    at all."""
    background = model.background
    likely = np.flatnonzero(behind > NEGLIGIBLE)
    if background is None or len(likely) == 0:
        return
    if isinstance(background, FixedMixture) and rng_of is None:
        for of in _conditioned(background.mixture, chunk.take(likely), n_samples):
            yield likely[of.rows], Mixed(_shares_of(of.log_joint), of.means, of.covariances)
        return
    survey = observing.survey
    for piece, start in enumerate(range(0, len(likely), PIECE_POINTS // SCORE_POINTS)):
        rows = likely[start : start + PIECE_POINTS // SCORE_POINTS]
        some = chunk.take(rows)
        x, log_shares = background.posterior(some.points, some.noise, some.projection, n_points=SCORE_POINTS)
        if rng_of is not None:
            assert survey.selection is not None
            z = x if survey.selection_on == "true" else remeasured(some, x, observing.fill, rng_of(piece))
            omega = np.asarray(survey.selection(z.reshape(-1, z.shape[2])), dtype=float).reshape(log_shares.shape)
            with np.errstate(divide="ignore"):
                log_shares = log_shares + np.log(omega)
        yield rows, Mixed(_shares_of(log_shares), x, None)


def _shares_of(logs: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b k"]:
    """Shares in proportion to what has these logarithms."""
    return _normalised(np.exp(logs - np.maximum(logs.max(axis=1, keepdims=True), -1e300)))


def _points(z: Points, numbers: np.ndarray) -> Mixed:
    """Points that are true values themselves."""
    return Mixed(np.ones((len(numbers), 1)), z[numbers, None], None)
