"""The posterior of what an object was selected on, given what the catalogue holds of it, under a Gaussian mixture.

z is what the selection acts on: the true position x, or all m measured values of which some went missing. With prior
N(m_k, P_k) for each component and measured values y = A z + e, e ~ N(0, S), it is Gaussian again for each component
(Bovy, Hogg & Roweis 2011): T = A P A' + S, gain G = P A' T^-1, mean m + G (y - A m), covariance P - G A P.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from dgmmis.address import Purpose, generator
from dgmmis.chunk import Chunk
from dgmmis.linalg import LOG_TWO_PI, covariance_root, logsumexp, symmetrize, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.nets import nets
from dgmmis.noise import NoNoise
from dgmmis.noise_classes import filled_noise
from dgmmis.patterns import rows_by_pattern
from dgmmis.posterior_kernel import placed
from dgmmis.survey import Survey
from dgmmis.types import Matrix, Points, Vector

MOST_NETS, NET_POINTS = 4096, 1 << 18
"""Nets that rows share: enough that what they have in common averages out over rows at other places."""


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Of some rows of a chunk that miss the same values.

    Args:
        rows: their numbers in the chunk (n,).
        log_evidence: log density (n,) of what was measured of them.
        cumulative: probabilities of the components, summed up (n, k).
        means: (n, k, d).
        roots: B with B B' = covariance (n, k, d, d).
        known: numbers of the entries of z that were measured exactly, and their values (n, .).
    """

    rows: np.ndarray
    log_evidence: Vector
    cumulative: np.ndarray
    means: np.ndarray
    roots: np.ndarray
    known: np.ndarray
    values: Points

    def draw(self, some: np.ndarray, which: np.ndarray, nets: "Nets") -> np.ndarray:
        """Positions z (s, j, d) of some of the rows, each from one of the nets."""
        z = placed(some, self.cumulative, self.means, self.roots, which=which, uniform=nets.uniform, normal=nets.normal)
        if len(self.known):
            z[:, :, self.known] = self.values[some, None]
        return z


@dataclass(frozen=True, slots=True, eq=False)
class Nets:
    """Quasi-random numbers for points: in (0, 1) for their component (t, j), and standard normal ones (t, j, d)."""

    uniform: np.ndarray
    normal: np.ndarray

    @classmethod
    def at(cls, address: tuple[int, ...], n_points: int, d: int) -> "Nets":
        """Independent nets of n_points (a power of two) at an address (seed, purpose, place): many, not one a row."""
        return _nets_at(address, n_points.bit_length() - 1, d)


@lru_cache(maxsize=4)
def _nets_at(address: tuple[int, ...], log_points: int, d: int) -> Nets:
    seed, purpose, *place = address
    points = nets(
        1 + d, log_points, min(MOST_NETS, NET_POINTS >> log_points), generator(seed, Purpose(purpose), *place)
    )
    return Nets(np.ascontiguousarray(points[:, :, 0]), ndtri(points[:, :, 1:]))


def selected_on(chunk: Chunk, survey: Survey, fill: Matrix) -> Chunk:
    """The rows as far as the selection looked: with the noise, and the projection, of z as seen from true positions."""
    if survey.selection_on == "true":
        return Chunk(chunk.points, NoNoise(), weights=chunk.weights, first_row=chunk.first_row)
    return Chunk(chunk.points, filled_noise(chunk, fill), chunk.weights, chunk.projection, first_row=chunk.first_row)


def posteriors(mixture: GaussianMixture, chunk: Chunk, survey: Survey, fill: Matrix) -> Iterator[Posterior]:
    """The posteriors of a chunk's rows, one for each pattern of missing values."""
    for rows, there in rows_by_pattern(~np.isnan(chunk.points)):
        yield _posterior(mixture, chunk, survey, fill, rows, there)


def _posterior(
    mixture: GaussianMixture, chunk: Chunk, survey: Survey, fill: Matrix, rows: np.ndarray, there: np.ndarray
) -> Posterior:
    y = chunk.points[np.ix_(rows, there)]
    n, k = len(rows), mixture.n_components
    projection = None if chunk.projection is None else chunk.projection[rows].astype(float)
    means, covariances = mixture.means[None], mixture.covariances[None]  # (1 or n, k, ...)
    if survey.selection_on == "true":
        d = mixture.n_features
        look = np.eye(d)[None, there] if projection is None else projection[:, there]  # A (1 or n, o, d)
        noise = unpack(chunk.noise.take(rows).packed(there).T)  # (1 or n, o, o)
        known = there[:0]
        if projection is None:
            exact = np.all(np.diagonal(noise, axis1=1, axis2=2) == 0, axis=0)
            known = there[exact]
    else:
        noise = unpack(filled_noise(chunk, fill).take(rows).packed(range(chunk.points.shape[1])).T)
        if projection is not None:
            means = np.einsum("nmd,kd->nkm", projection, mixture.means)
            covariances = np.einsum("nmd,kde,nle->nkml", projection, mixture.covariances, projection)
        covariances = covariances + noise[:, None]
        d = means.shape[2]
        look, noise, known = np.eye(d)[None, there], np.zeros((1, len(there), len(there))), there
    look = look[:, None]
    seen_covariance = covariances @ np.swapaxes(look, -1, -2)  # P A'
    total = look @ seen_covariance + noise[:, None]
    scale = 1 / np.sqrt(np.diagonal(total, axis1=-2, axis2=-1))
    factor = np.linalg.cholesky(total * scale[..., :, None] * scale[..., None, :])
    half = np.linalg.solve(factor, scale[..., :, None] * np.swapaxes(seen_covariance, -1, -2))  # L^-1 A P
    offset = (y[:, None] - np.einsum("...od,...d->...o", look, means)) * scale
    white = np.linalg.solve(np.broadcast_to(factor, (n, *factor.shape[1:])), offset[..., None])[..., 0]
    log_determinant = 2 * np.sum(np.log(np.diagonal(factor, axis1=-2, axis2=-1)) - np.log(scale), axis=-1)
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    log_joint = log_weights - 0.5 * (len(there) * LOG_TWO_PI + log_determinant + np.sum(white * white, axis=-1))
    log_evidence = logsumexp(log_joint, axis=1)
    located = means + np.einsum("...od,...o->...d", half, white)
    spread = symmetrize(covariances - np.swapaxes(half, -1, -2) @ half)
    roots = covariance_root(spread)
    exact_values = y[:, np.isin(there, known)]
    return Posterior(
        rows,
        log_evidence,
        np.cumsum(np.exp(log_joint - log_evidence[:, None]), axis=1),
        np.ascontiguousarray(np.broadcast_to(located, (n, k, d))),
        np.ascontiguousarray(np.broadcast_to(roots, (n, k, d, d))),
        known,
        exact_values,
    )


def remeasured(chunk: Chunk, x: np.ndarray, fill: Matrix, rng: np.random.Generator) -> np.ndarray:
    """All m measured values (n, j, m) of objects at x (n, j, d): as the catalogue has them, or drawn given those."""
    from scipy.stats import qmc  # where it is used: most commands do without, and loading it takes half a second

    z = np.array(x if chunk.projection is None else np.einsum("nmd,njd->njm", chunk.projection, x))
    covariances = unpack(filled_noise(chunk, fill).packed(range(z.shape[2])).T)
    covariances = np.broadcast_to(covariances, (len(z), *covariances.shape[1:]))
    # the dimensions of a sequence after those of the positions: both together fill their space evenly
    used, m = x.shape[2] + 1, z.shape[2]
    shares = qmc.Sobol(used + m, scramble=False).random_base2((x.shape[1] - 1).bit_length())[: x.shape[1], used:]
    normal = ndtri(np.clip((shares + rng.random((len(z), 1, m))) % 1.0, 1e-15, 1 - 1e-15))
    for rows, there in rows_by_pattern(~np.isnan(chunk.points)):
        gone = np.setdiff1d(np.arange(m), there)
        noise = covariances[rows]
        cross = noise[:, gone][:, :, there]
        gain = cross @ np.linalg.pinv(noise[:, there][:, :, there], hermitian=True)
        errors = chunk.points[np.ix_(rows, there)][:, None] - z[np.ix_(rows, np.arange(z.shape[1]), there)]
        left = symmetrize(noise[:, gone][:, :, gone] - gain @ np.swapaxes(cross, 1, 2))
        roots = covariance_root(left)
        drawn = np.einsum("ngo,njo->njg", gain, errors) + np.einsum("ngh,njh->njg", roots, normal[rows][:, :, gone])
        z[rows[:, None, None], np.arange(z.shape[1])[:, None], gone] += drawn
        z[rows[:, None, None], np.arange(z.shape[1])[:, None], there] = chunk.points[np.ix_(rows, there)][:, None]
    return z
