"""First and second derivatives of log densities, row by row, in batches that bound the memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dgmmis.chunk import Block, Chunk, blocks
from dgmmis.errors import ShapeError
from dgmmis.estep import log_density, responsibilities
from dgmmis.information.curvature import second_blocks
from dgmmis.information.parameters import component_places, n_directions
from dgmmis.latent import Latent, LatentPosterior, latent_posterior
from dgmmis.linalg import pack, packed_indices, packed_size, unpack
from dgmmis.model import Model
from dgmmis.noise import parse_noise
from dgmmis.types import Vector

FAINT = 1e-10
"""A responsibility below this adds to no product of scores what anybody would notice."""

SCATTERED = 300
"""To add to an entry of a matrix at a place of its own costs as much as so many of a matrix product's additions."""

BATCH_NUMBERS = 1 << 21
"""How many doubles the largest array of a batch of rows may hold (16 MB)."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What some rows give.

    Args:
        rows: their positions in the leaf, or the numbers of the latent objects (b,).
        scores: d log L_n / dtheta (b, p), in the order of `gradient`.
        second: sum w L''/L over them, the blocks of the components (k, b, b) (`second_blocks`).
    """

    rows: np.ndarray
    scores: Float[np.ndarray, "n p"]
    second: Float[np.ndarray, "k b b"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreProducts:
    """Sums of products of scores: a monoid.

    Args:
        outer: sum w s s' (p, p), s = d/dtheta [log L_n - log Z_n].
        labelled: sum w q_nk h h' (k, b, b), h = d/dtheta_k log (alpha_k N_k), noise included: what the objects would
            tell of each component if it were known which are its own.
        n_samples: sum w.
    """

    outer: Float[np.ndarray, "p p"]
    labelled: Float[np.ndarray, "k b b"]
    n_samples: float

    @classmethod
    def of(cls, model: Model, scores: np.ndarray, slopes: np.ndarray | float, weights: Vector) -> "ScoreProducts":
        """Of some rows: their scores (n, p) before selection, d log Z / dtheta of each, and their weights (n,)."""
        places = component_places(model)
        q = scores[:, : len(places)] * model.mixture.weights
        labelled = np.zeros((len(places), *places.shape[1:] * 2))
        for c, own in enumerate(places):
            rows = np.flatnonzero(q[:, c] > FAINT)
            some = scores[rows[:, None], own] * np.sqrt(weights[rows] / q[rows, c])[:, None]
            labelled[c] = some.T @ some
        if np.any(slopes):
            root = (scores - slopes) * np.sqrt(weights)[:, None]
            return cls(root.T @ root, labelled, float(weights.sum()))
        # objects of one component know next to nothing of components far away
        p, nearest, rest = scores.shape[1], np.argmax(q, axis=1), np.zeros(len(scores), dtype=bool)
        outer, root = np.zeros((p, p)), scores * np.sqrt(weights)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # whoever needs numbers looks whether these are some
            for c in np.unique(nearest):
                rows = np.flatnonzero(nearest == c)
                entries = np.append(places[np.any(q[rows] > FAINT, axis=0)].ravel(), p - 1)
                if len(entries) ** 2 * (len(rows) + SCATTERED) > len(rows) * p**2:
                    rest[rows] = True
                else:
                    some = root[rows[:, None], entries]
                    outer[entries[:, None], entries] += some.T @ some
            if rest.any():
                root = root[rest]
                outer += root.T @ root
        return cls(outer, labelled, float(weights.sum()))

    def __add__(self, other: "ScoreProducts") -> "ScoreProducts":
        return ScoreProducts(self.outer + other.outer, self.labelled + other.labelled, self.n_samples + other.n_samples)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Some rows of a block under each component.

    Args:
        rows: which of the block.
        q: responsibilities (n, k).
        g: R' T^-1 (y - R mu) (n, k, d), zero for features that were not measured.
        h: R' T^-1 R, packed (n, k, t), or (1, k, t) where it is the same for all.
    """

    rows: slice
    q: np.ndarray
    g: np.ndarray
    h: np.ndarray

    def scores(self, model: Model) -> np.ndarray:
        """d log p / dtheta (n, p): q/alpha, q g, q (g g' - H) / 2 with what is off the diagonal twice."""
        nu, (n, k, d) = model.background_fraction, self.g.shape
        i, j = packed_indices(d)
        out = np.empty((n, n_directions(model)))
        np.divide(self.q, np.maximum(model.mixture.weights, 1e-300), out=out[:, :k])
        np.multiply(self.q[:, :, None], self.g, out=out[:, k : k + k * d].reshape(n, k, d))
        spread = out[:, k + k * d : -1].reshape(n, k, len(i))
        g = np.ascontiguousarray(self.g.transpose(2, 0, 1))
        for t, (a, b) in enumerate(
            zip(i, j, strict=True)
        ):  # entry by entry: n k numbers in a row, as processors like it
            spread[:, :, t] = (g[a] * g[b] - self.h[:, :, t]) * (0.5 * self.q if a == b else self.q)
        signal = self.q.sum(axis=1)
        out[:, -1] = (1 - signal) / nu - signal / (1 - nu) if nu > 0 else -signal
        return out


def block_scores(model: Model, block: Block) -> np.ndarray:
    """d/dtheta log p(y_n) (n, p) of each sample of a block, in the order of `gradient`."""
    out = np.empty((block.n_samples, n_directions(model)))
    for pairs in pairs_of(model, block):
        out[pairs.rows] = pairs.scores(model)
    return out


def block_terms(model: Model, block: Block, weights: Vector) -> Iterator[Terms]:
    """The derivatives of a block's log densities, batch by batch; weights (n,) of its samples count in `second`."""
    for pairs in pairs_of(model, block):
        second = second_blocks(model, weights[pairs.rows, None] * pairs.q, pairs.g, pairs.h)
        yield Terms(block.rows[pairs.rows], pairs.scores(model), second)


def latent_scores(model: Model, latent: Latent) -> np.ndarray:
    """d/dtheta log L_n (n, p) of objects with latent points: the mean over their points, as probable as each is."""
    signal, scores = model.signal, np.zeros((len(latent.first), n_directions(model)))
    posterior = latent_posterior(model, latent, signal)
    for pairs in pairs_of(signal, latent.block):
        _add_shares(scores, pairs, signal, posterior)
    return _with_fraction(scores, model, posterior)


def latent_terms(model: Model, latent: Latent) -> Terms:
    """The derivatives of log L_n, with the objects' own weights: L''/L is the mean of p''/p over their points."""
    signal, scores = model.signal, np.zeros((len(latent.first), n_directions(model)))
    posterior = latent_posterior(model, latent, signal)
    k, d = model.mixture.means.shape
    second = np.zeros((k, 1 + d + packed_size(d), 1 + d + packed_size(d)))
    weights = latent.weights[posterior.owner] * posterior.shares
    for pairs in pairs_of(signal, latent.block):
        _add_shares(scores, pairs, signal, posterior)
        second += second_blocks(signal, weights[pairs.rows, None] * pairs.q, pairs.g, pairs.h)
    return Terms(np.arange(len(scores)), _with_fraction(scores, model, posterior), second)


def point_weights(model: Model, block: Block) -> np.ndarray:
    """w p / r (n,) of points that were drawn from r: what each counts under the model."""
    assert block.weights is not None
    assert block.log_reference is not None
    return np.asarray(block.weights * np.exp(log_density(model, block) - block.log_reference))


def density_slopes(model: Model, points: ArrayLike, noise_covariance: object = None) -> np.ndarray:
    """d p(y_n) / dtheta (n, p) of the population's density at measured points (n, d), before selection.

    Args:
        model: with its background.
        points: NaN is missing; p is then of the other values.
        noise_covariance: None, (d, d), (n, d) or (n, d, d), as for `Model.log_density`.

    Raises:
        ShapeError: points with another number of features.
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != model.mixture.n_features:
        raise ShapeError("points do not fit the model", expected=f"(n, {model.mixture.n_features})", got=points.shape)
    noise = parse_noise(noise_covariance, points)
    behind = None if model.background is None else model.background.log_density(points, noise)
    out = np.empty((len(points), n_directions(model)))
    for block in blocks(Chunk(points, noise, log_background=behind)):
        out[block.rows] = np.exp(log_density(model, block))[:, None] * block_scores(model, block)
    return out


def _add_shares(scores: np.ndarray, pairs: Pairs, signal: Model, posterior: LatentPosterior) -> None:
    """Add points' scores to their objects', which may have others in other batches."""
    owner = posterior.owner[pairs.rows]
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    shared = posterior.shares[pairs.rows, None] * pairs.scores(signal)
    scores[owner[first]] += np.add.reduceat(shared, first, axis=0)


def _with_fraction(scores: np.ndarray, model: Model, posterior: LatentPosterior) -> np.ndarray:
    nu, behind = model.background_fraction, posterior.behind
    scores[:, -1] = (behind / nu if nu > 0 else 0.0) - (1 - behind) / (1 - nu)
    return scores


def pairs_of(model: Model, block: Block) -> Iterator[Pairs]:
    """A block batch by batch."""
    mixture, features, projection = model.mixture, block.features, block.projection
    (k, d), (m, n) = mixture.means.shape, block.points.shape
    i, j = packed_indices(len(features))
    # features ascend, so that the lower triangle of some is in the lower triangle of all
    places = features[i] * (features[i] + 1) // 2 + features[j]
    means, covariances = mixture.means[:, features], mixture.covariances[:, features[:, None], features]
    q = responsibilities(model, block).T
    size = max(1, BATCH_NUMBERS // (k * max(m * len(features), 1 + d + 2 * packed_size(d))))
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        y = block.points[:, rows].T  # (b, m)
        noise = block.noise if block.noise.shape[1] == 1 else block.noise[:, rows]
        noise = unpack(noise.T)[:, None] if m else np.zeros((1, 1, 0, 0))
        if projection is None:
            inverse = np.linalg.inv(covariances + noise)
            offset = y[:, None] - means
            of_means = (inverse @ offset[..., None])[..., 0] if len(inverse) > 1 else _turned(inverse[0], offset)
            of_covariances = inverse
        else:
            look = projection[:, :, rows].transpose(2, 0, 1)
            inverse = np.linalg.inv(np.einsum("bmd,kde,ble->bkml", look, covariances, look, optimize=True) + noise)
            offset = y[:, None] - np.einsum("bmd,kd->bkm", look, means)
            of_means = np.einsum("bmd,bkml,bkl->bkd", look, inverse, offset, optimize=True)
            of_covariances = np.einsum("bmd,bkml,ble->bkde", look, inverse, look, optimize=True)
        if len(features) == d:
            g, h = of_means, pack(of_covariances)
        else:
            g, h = np.zeros((len(y), k, d)), np.zeros((len(inverse), k, packed_size(d)))
            g[:, :, features] = of_means
            h[:, :, places] = pack(of_covariances)
        yield Pairs(rows, q[rows], g, h)


def _turned(matrices: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """M_k v_nk (n, k, d): one matrix product for each component."""
    return np.asarray((offset.swapaxes(0, 1) @ matrices.swapaxes(1, 2)).swapaxes(0, 1))
