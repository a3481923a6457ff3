"""Estimate, a number and its error; and expectations under a model.

By scrambled Sobol points: a net for each component, in proportion to its weight, and for the background; independent
replicates whose scatter is the error.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from dgmmis.address import Purpose, generator
from dgmmis.background import Background, FixedMixture, Uniform
from dgmmis.errors import RefusedError, require_whole
from dgmmis.linalg import covariance_root, symmetrize
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.nets import net
from dgmmis.noise import NoNoise
from dgmmis.types import Matrix, Points, Vector

REPLICATES = 32
"""So many: the error of a net is skewed, for functions that grow in the tails, and fewer do not show how far."""

SMALLEST_STRATUM = 8
"""Points of a component in a replicate at least."""

LOG_LARGEST = 14
"""Of the points of a net: a stratum of more has several, and memory holds one at a time."""

N_POINTS = 1 << 16


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and its standard error; 0 where it is exact. `float` of it is the number."""

    value: float
    error: float

    def __float__(self) -> float:
        return self.value

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return f"{self.value:{spec}}" if self.error == 0 else f"{self.value:{spec}} +- {self.error:{spec}}"

    def __str__(self) -> str:
        return f"{self.value:.6g}" if self.error == 0 else f"{self.value:.6g} +- {self.error:.1g}"


OfCube = Callable[[Points], tuple[Points, Vector | float]]
"""Numbers in the unit cube -> points, and the weights that they count with, of mean one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stratum:
    """A component, or the background, with its share of the density and how many numbers a point needs."""

    share: float
    dimensions: int
    points: OfCube


def expectation(
    model: Model | GaussianMixture,
    function: Callable[[Points], Vector],
    *,
    noise_covariance: Matrix | None = None,
    n_points: int = N_POINTS,
    seed: int = 0,
) -> Estimate:
    """The mean of a function of points (n, d) -> (n,) under a model.

    Args:
        model: p(x), without a cutoff.
        function: of x; of y = x + e where there is noise.
        noise_covariance: (d, d) of e; None: there is none.
        n_points: in all, about.
        seed: of them.

    Raises:
        RefusedError: a cutoff.
        JobError: n_points below 1.
    """
    model, noise = as_model(model), noise_covariance
    require_density(model)
    nu = model.background_fraction
    strata = [*_of_mixture(model.mixture, 1 - nu, noise)]
    if model.background is not None and nu > 0:
        strata += _of_background(model.background, nu, noise)
    return _mean(strata, function, n_points, seed)


def background_expectation(
    background: Background,
    function: Callable[[Points], Vector],
    *,
    noise: Matrix | None = None,
    n_points: int = N_POINTS,
    seed: int = 0,
) -> Estimate:
    """The same under a background alone."""
    return _mean([*_of_background(background, 1.0, noise)], function, n_points, seed)


def require_density(model: Model) -> None:
    """Raise RefusedError for a model that is none."""
    if model.cutoff is not None:
        raise RefusedError(
            "an expectation under a model with a cutoff, which is no density: it has lost what lies beyond",
            do="leave the cutoff out: Model(model.mixture, model.background, model.background_fraction)",
        )


def _mean(strata: Sequence[_Stratum], function: Callable[[Points], Vector], n_points: int, seed: int) -> Estimate:
    require_whole(n_points, "n_points", 1)
    means = np.zeros(REPLICATES)
    for replicate in range(REPLICATES):
        for x, weights in _batches(strata, replicate, n_points, seed):
            means[replicate] += float(weights @ function(x))
    return Estimate(float(means.mean()), float(np.std(means, ddof=1) / np.sqrt(REPLICATES)))


def _batches(strata: Sequence[_Stratum], replicate: int, n_points: int, seed: int) -> Iterator[tuple[Points, Vector]]:
    """The points of a replicate, of some strata at a time, and what each counts for."""
    points: list[Points] = []
    shares: list[Vector] = []
    for number, stratum in enumerate(strata):
        wanted = max(stratum.share * n_points / REPLICATES, SMALLEST_STRATUM)
        log_count = int(np.ceil(np.log2(wanted)))
        pieces = 1 << max(0, log_count - LOG_LARGEST)
        for piece in range(pieces):
            rng = generator(seed, Purpose.EXPECTATION, replicate, number, piece)
            x, weights = stratum.points(net(stratum.dimensions, min(log_count, LOG_LARGEST), rng))
            points.append(x)
            shares.append(np.full(len(x), stratum.share / (len(x) * pieces)) * weights)
            if sum(map(len, points)) >= 1 << LOG_LARGEST:
                yield np.concatenate(points), np.concatenate(shares)
                points, shares = [], []
    if points:
        yield np.concatenate(points), np.concatenate(shares)


def _of_mixture(mixture: GaussianMixture, share: float, noise: Matrix | None) -> Iterator[_Stratum]:
    covariances = mixture.covariances if noise is None else symmetrize(mixture.covariances + noise)
    for alpha, mean, factor in zip(mixture.weights, mixture.means, np.linalg.cholesky(covariances), strict=True):
        if alpha > 0:
            yield _Stratum(share * float(alpha), len(mean), partial(_gaussian, mean, factor))


def _of_background(background: Background, share: float, noise: Matrix | None) -> Iterator[_Stratum]:
    """The strata of its envelope; points count as much as it is denser than that."""
    cover, d = background.envelope, background.n_features
    width = d if noise is None else 2 * d
    if isinstance(cover, Uniform):
        yield _Stratum(share, width, partial(_behind, background, partial(_box, cover), noise))
        return
    for beta, mean, factor in zip(cover.weights, cover.means, np.linalg.cholesky(cover.covariances), strict=True):
        if beta > 0:
            of_cover = partial(_gaussian, mean, factor)
            yield _Stratum(share * float(beta), width, partial(_behind, background, of_cover, noise))


def _gaussian(mean: np.ndarray, factor: Matrix, u: Points) -> tuple[Points, float]:
    return mean + ndtri(u) @ factor.T, 1.0


def _box(box: Uniform, u: Points) -> tuple[Points, float]:
    return box.lower + u * (box.upper - box.lower), 1.0


def _behind(
    background: Background, of_cover: OfCube, noise: Matrix | None, u: Float[np.ndarray, "n u"]
) -> tuple[Points, Vector | float]:
    d, cover = background.n_features, background.envelope
    x, weights = of_cover(u[:, :d])
    if cover is not background and not (isinstance(background, FixedMixture) and cover is background.mixture):
        exact = NoNoise()
        log_cover = cover.log_density(x, exact)
        weights = np.exp(background.log_density(x, exact) - log_cover)
    return (x if noise is None else x + ndtri(u[:, d:]) @ covariance_root(noise).T), weights
