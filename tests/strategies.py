"""Surveys to test on: each is drawn from numbers that hypothesis chooses, and known to the reference as well."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from reference import Catalogue, Parameters, log_uniform

from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.linalg import pack, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise


@dataclass(frozen=True)
class Recipe:
    """What a survey looks like; `make` draws it."""

    d: int = 3
    k: int = 4
    n: int = 60
    noise: str = "none"
    seed: int = 0
    missing: float = 0.0
    weighted: bool = False
    measured: int | None = None  # M of a projection; None: no projection
    background: bool = False
    reference: bool = False
    offset: float = 0.0
    log_scale: float = 0.0  # features have scales of 10^-log_scale .. 10^log_scale
    narrow: float = 1.0  # every other component is narrower by this
    cutoff: float | None = None


@dataclass(frozen=True)
class Survey:
    """A model and a chunk, and the same numbers as the reference wants them."""

    model: Model
    chunk: Chunk

    @property
    def catalogue(self) -> Catalogue:
        chunk, (n, m) = self.chunk, self.chunk.points.shape
        projections = np.broadcast_to(np.eye(m), (n, m, m)) if chunk.projection is None else chunk.projection
        background = None
        if self.model.background is not None:
            lower, upper = self.model.background.lower, self.model.background.upper
            variances = np.broadcast_to(chunk.noise.variances(m), (n, m))
            background = np.array(
                [log_uniform(y, lower, upper, s) for y, s in zip(chunk.points, variances, strict=True)]
            )
        return Catalogue(
            chunk.points, covariances_of(chunk.noise, n, m), projections, chunk.weights, background, chunk.log_reference
        )

    @property
    def parameters(self) -> Parameters:
        mixture = self.model.mixture
        cutoff = np.inf if self.model.cutoff is None else self.model.cutoff
        return Parameters(mixture.weights, mixture.means, mixture.covariances, self.model.background_fraction, cutoff)


def covariances_of(noise: Noise, n: int, m: int) -> np.ndarray:
    """S (n, m, m) of any kind of noise."""
    return np.broadcast_to(unpack(noise.packed(range(m)).T), (n, m, m))


def random_covariances(rng: np.random.Generator, count: int, d: int, low: float = 0.2, high: float = 5.0) -> np.ndarray:
    """Covariances (count, d, d) with eigenvalues between low and high."""
    vectors = np.linalg.qr(rng.standard_normal((count, d, d)))[0]
    values = np.exp(rng.uniform(np.log(low), np.log(high), (count, d)))
    covariances = (vectors * values[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    return 0.5 * (covariances + np.swapaxes(covariances, 1, 2))


def random_noise(rng: np.random.Generator, kind: str, n: int, scale: np.ndarray, correlated: bool = True) -> Noise:
    """Noise of a kind for n samples, in units of the features' scales."""
    m = len(scale)
    square = scale[:, None] * scale if correlated else np.diag(scale**2)
    if kind == "shared":
        return SharedNoise(random_covariances(rng, 1, m)[0] * square)
    if kind == "diagonal":
        return DiagonalNoise(rng.uniform(0.0, 3.0, (n, m)) * scale**2)
    if kind == "full":
        return FullNoise(pack(random_covariances(rng, n, m, 0.01, 3.0) * square))
    return NoNoise()


def random_mixture(rng: np.random.Generator, k: int, scale: np.ndarray, recipe: Recipe = Recipe()) -> GaussianMixture:
    """A mixture whose components overlap, at the recipe's offset; one of three components has no weight if k > 2."""
    d = len(scale)
    weights = rng.dirichlet(np.ones(k))
    if k > 2:
        weights[1] = 0.0
    covariances = random_covariances(rng, k, d)
    covariances[::2] *= recipe.narrow**2
    means = recipe.offset + rng.normal(0, 2, (k, d)) * scale
    return GaussianMixture(weights / weights.sum(), means, covariances * scale[:, None] * scale)


def make(recipe: Recipe) -> Survey:
    """Draw the survey of a recipe."""
    rng = np.random.default_rng(recipe.seed)
    d, n = recipe.d, recipe.n
    scale = 10 ** rng.uniform(-recipe.log_scale, recipe.log_scale, d)
    mixture = random_mixture(rng, recipe.k, scale, recipe)
    truth = mixture.sample(n, rng)
    projection = None
    points, unit = truth, scale
    if recipe.measured is not None:
        # measured values mix the features in units of their scales: else the largest alone would be measured
        projection = rng.standard_normal((n, recipe.measured, d)) / scale
        points, unit = np.einsum("nmd,nd->nm", projection, truth), np.ones(recipe.measured)
    noise = random_noise(rng, recipe.noise, n, unit, correlated=not recipe.background)
    sigma = np.linalg.cholesky(covariances_of(noise, n, len(unit)) + 1e-30 * np.diag(unit**2))
    points = points + np.einsum("nij,nj->ni", sigma, rng.standard_normal(points.shape))
    points[rng.random(points.shape) < recipe.missing] = np.nan
    if recipe.missing > 0:
        points[0] = np.nan
    background, behind = None, None
    if recipe.background:
        background = Uniform(mixture.means.min(axis=0) - 6 * scale, mixture.means.max(axis=0) + 6 * scale)
        behind = background.log_density(points, noise)
    model = Model(mixture, background, 0.2 if recipe.background else 0.0, recipe.cutoff)
    chunk = Chunk(
        points,
        noise,
        weights=rng.choice([0.0, 0.5, 1.0, 3.0], n) if recipe.weighted else None,
        projection=projection,
        log_background=behind,
        log_reference=rng.normal(-2.0 * d, 1.0, n) - np.log(scale).sum() if recipe.reference else None,
    )
    return Survey(model, chunk)


def recipes(kinds: tuple[str, ...], dimensions: tuple[int, ...]) -> st.SearchStrategy[Recipe]:
    """Recipes without projections: every option with every other."""
    return st.builds(
        Recipe,
        d=st.sampled_from(dimensions),
        k=st.sampled_from([1, 2, 3, 7, 20]),
        n=st.sampled_from([1, 2, 17, 65]),
        noise=st.sampled_from(kinds),
        seed=st.integers(0, 2**32 - 1),
        missing=st.sampled_from([0.0, 0.3]),
        weighted=st.booleans(),
        background=st.booleans(),
        reference=st.booleans(),
        offset=st.sampled_from([0.0, -1e3, 1e6]),
        log_scale=st.sampled_from([0.0, 6.0]),
        narrow=st.sampled_from([1.0, 1e-2, 1e-4]),
        cutoff=st.sampled_from([None, None, 1.0, 3.0]),
    )
