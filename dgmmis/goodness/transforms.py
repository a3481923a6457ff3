"""Probability-integral transforms: u_nd = P(Y_d <= y_nd) of an object measured, and selected, as n was.

If the model holds, u_nd is uniform from 0 to 1 for each d, whatever noise, gaps and selection are (Rosenblatt 1952).
Where all was seen it is a sum of normal distribution functions; else it is a rank among objects drawn in the place of
n, which takes each of its values as often. The tail probability of the density of an object (`outliers`) is ranked
among the same.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from dgmmis.background import FixedMixture, Uniform
from dgmmis.chunk import Chunk
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.observed import PIECE_POINTS
from dgmmis.redrawn import redrawn
from dgmmis.scoring import log_densities
from dgmmis.survey import Survey
from dgmmis.types import Vector

DRAWS = 63
"""In the place of an object: u has 64 values."""

BLOCK_NUMBERS = 1 << 20
"""Of rows by components, at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Rows among objects drawn in their places.

    Args:
        transforms: u_nd (n, m); NaN where a value is missing, or the survey sees next to nothing of what would be
            measured so.
        density: the same of the density of the whole object (n,): small for one that is improbable.
        lost: of how many rows the survey sees next to nothing.
    """

    transforms: Float[np.ndarray, "n m"]
    density: Vector
    lost: int


def has_closed_form(model: Model, survey: Survey, chunk: Chunk) -> bool:
    """Whether the transforms of rows like these need no draws."""
    if survey.selection is not None:
        return False
    if model.background is None or model.background_fraction == 0 or isinstance(model.background, FixedMixture):
        return True
    return isinstance(model.background, Uniform) and chunk.projection is None


def transforms(model: Model, chunk: Chunk) -> Float[np.ndarray, "n m"]:
    """u_nd (n, m) where all was seen; NaN where a value is missing."""
    n, m = chunk.points.shape
    variances = np.broadcast_to(np.asarray(chunk.noise.variances(m), dtype=float), (n, m))
    nu, background = model.background_fraction, model.background
    out = np.empty((n, m))
    for feature in range(m):
        y, noise = np.asarray(chunk.points[:, feature], dtype=float), variances[:, feature]
        look = None if chunk.projection is None else np.asarray(chunk.projection[:, feature], dtype=float)
        u = _of_mixture(model.mixture, y, noise, feature if look is None else look)
        if background is not None and nu > 0:
            if isinstance(background, FixedMixture):
                behind = _of_mixture(background.mixture, y, noise, feature if look is None else look)
            else:
                assert isinstance(background, Uniform)
                behind = _of_uniform(y, np.sqrt(noise), background.lower[feature], background.upper[feature])
            u = (1 - nu) * u + nu * behind
        out[:, feature] = u
    return out


def _of_mixture(mixture: GaussianMixture, y: Vector, noise: Vector, look: int | np.ndarray) -> Vector:
    """sum_k alpha_k Phi((y - r mu_k) / (r C_k r' + s^2)^1/2), r a feature's number, or a row of R for each (n, d)."""
    size = max(1, BLOCK_NUMBERS // mixture.n_components)
    out = np.empty(len(y))
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        if isinstance(look, int):
            centre, spread = mixture.means[None, :, look], mixture.covariances[None, :, look, look]
        else:
            r = look[rows]
            centre, spread = r @ mixture.means.T, np.einsum("nd,kde,ne->nk", r, mixture.covariances, r)
        sigma = np.sqrt(spread + noise[rows, None])
        out[rows] = ndtr((y[rows, None] - centre) / sigma) @ mixture.weights
    return out


def _of_uniform(y: Vector, sigma: Vector, low: float, high: float) -> Vector:
    """sigma / (b - a) [psi((y - a) / sigma) - psi((y - b) / sigma)], psi(z) = z Phi(z) + phi(z), of which Phi is the
    slope."""
    exact = np.clip((y - low) / (high - low), 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a, b = (y - low) / sigma, (y - high) / sigma
        softened = sigma / (high - low) * (_psi(a) - _psi(b))
    softened = np.where(b > 8, 1.0, softened)  # where the difference of two large numbers is lost
    return np.where(np.isnan(y), np.nan, np.where(sigma * 1e12 > high - low, softened, exact))


def _psi(z: Vector) -> Vector:
    return np.asarray(z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))


def ranked(model: Model, observing: Observing, chunk: Chunk, rng: np.random.Generator) -> Ranked:
    """Rows among DRAWS objects drawn in the place of each."""
    n, m = chunk.points.shape
    below, density, found = np.zeros((n, m)), np.zeros(n), np.zeros(n, dtype=int)
    untilted = Observing(Survey(), observing.fill)
    size = max(1, PIECE_POINTS // DRAWS)
    for start in range(0, n, size):
        rows = np.arange(start, min(start + size, n))
        some, counted = chunk.take(rows), np.zeros(len(rows), dtype=int)
        own = log_densities(model, some, untilted)
        for part in redrawn(model, observing, some, DRAWS, found=counted, rngs=rng):
            of = part.rows[part.owner]
            log_density = log_densities(model, part.measured, untilted)
            density[rows] += np.bincount(of, weights=log_density < own[of], minlength=len(rows))
            for feature in range(m):
                lower = part.points[:, feature] < some.points[of, feature]
                below[rows, feature] += np.bincount(of, weights=lower, minlength=len(rows))
        found[rows] = counted
    complete = found == DRAWS
    u = np.where(complete[:, None] & ~np.isnan(chunk.points), (below + 0.5) / (DRAWS + 1), np.nan)
    nothing = np.isnan(chunk.points).all(axis=1)
    return Ranked(u, np.where(complete & ~nothing, (density + 0.5) / (DRAWS + 1), np.nan), int(np.sum(~complete)))
