"""The laws of a background: a normalised density, its samples, and what noise, gaps and projections make of it.

Integrals are sums over random points; a law is broken where they are off by more than SIGMAS of their errors.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.errors import RefusedError
from dgmmis.linalg import pack
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise
from dgmmis.testing.laws import N_POINTS, check_numbers, check_pointwise, law
from dgmmis.types import Matrix, Points, Vector

SIGMAS = 6.0
"""A law is said to be broken beyond this many Monte-Carlo errors: less than one false alarm in a million checks."""

ALLOWED = 1e-3
"""What a density that is itself a sum may be off by, as a part of itself."""

MEMBERS = ("n_features", "log_density", "sample")
N_SAMPLES = 1 << 15
N_PLACES = 6
NOISE = 0.4
"""Of the noise that is tried, in standard deviations of the background."""


def check_background(background: Any, *, seed: int = 0) -> None:
    """Check that a background is a density b of n_features features, and that its parts agree on it.

    Integral b = 1; samples lie where b > 0; under noise it is integral b(y - e) N(e | 0, S) de; missing and projected
    features are integrated over, as the samples are. Correlated noise and projections may be refused (RefusedError).
    An `envelope` is positive at the samples, and the weights of a `posterior` have the density as their mean.

    Args:
        background: a Background; `envelope` and `posterior`, which some fits ask for, are checked where they are.
        seed: of the points.

    Raises:
        AssertionError: the first law that is broken.
    """
    for member in MEMBERS:
        law(hasattr(background, member), f"the background lacks `{member}`")
    d, rng = background.n_features, np.random.default_rng(seed)
    samples = _samples(background, seed)
    few = samples[:N_POINTS]
    for points in (few, few + 3 * np.std(samples, axis=0)):  # beyond its edge too, if it has one
        logs = np.asarray(background.log_density(points, NoNoise()))
        check_numbers(logs, (N_POINTS,), "the background's log density")
        law(np.all(logs < np.inf), "the background's log density is infinite")
        check_pointwise(background, _log_density, points, "the background's log density")
    law(np.all(background.log_density(samples, NoNoise()) > -np.inf), "a sample lies where the background is zero")
    _check_integral(background, samples, rng)
    spread = np.atleast_2d(np.cov(samples.T))
    correlated = NOISE**2 * spread
    for covariance in (np.diag(np.diag(correlated)), correlated):
        _check_noise(background, samples, covariance, rng)
    if hasattr(background, "envelope"):
        covered = np.asarray(background.envelope.log_density(samples, NoNoise())) > -np.inf
        law(np.all(covered), "a sample lies where the background's envelope is zero")
    if hasattr(background, "posterior"):
        _check_posterior(background, samples, np.diag(np.diag(correlated)))
    eye = np.eye(d)
    _check_measured(background, samples, np.arange(d), eye, "noise", rng)
    for feature in range(d if d > 1 else 0):
        _check_measured(background, samples, np.delete(np.arange(d), feature), eye, "a missing feature", rng)
    turned = 1.5 * np.linalg.qr(rng.normal(size=(d, d)))[0]
    _check_measured(background, samples, np.arange(d), turned, "a projection", rng)
    nothing = np.full((2, d), np.nan)
    law(
        np.allclose(background.log_density(nothing, NoNoise()), 0.0, atol=ALLOWED),
        "the background's log density must be 0 where nothing was measured",
    )


def _samples(background: Any, seed: int) -> Points:
    """Many samples, once they are shown to be finite, and the same for the same generator."""
    d = background.n_features
    samples, again = (np.asarray(background.sample(N_SAMPLES, np.random.default_rng(seed))) for _ in range(2))
    check_numbers(samples, (N_SAMPLES, d), "the background's sample")
    law(np.isfinite(samples).all(), "the background's sample is not finite")
    law(np.array_equal(samples, again), "the background's sample is not the same for the same generator")
    nobody = np.shape(background.sample(0, np.random.default_rng(seed)))
    law(nobody == (0, d), f"the background's sample of none must have shape {(0, d)}, got {nobody}")
    return samples


def _log_density(background: Any, points: Points) -> np.ndarray:
    return np.asarray(background.log_density(points, NoNoise()))


def _check_integral(background: Any, samples: Points, rng: np.random.Generator) -> None:
    """Integral b = mean b / q over points of q: half in the samples' box, a tenth wider, half in a wide Gaussian."""
    n, d = samples.shape
    low, high = samples.min(axis=0), samples.max(axis=0)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    wide = GaussianMixture([1.0], samples.mean(axis=0)[None], 2 * np.cov(samples.T).reshape(1, d, d))
    points = np.concatenate([rng.uniform(low, high, (n // 2, d)), wide.sample(n - n // 2, rng)])
    inside = np.all((points >= low) & (points <= high), axis=1)
    proposal = 0.5 * inside / np.prod(high - low) + 0.5 * np.exp(wide.log_density(points))
    ratio = np.exp(background.log_density(points, NoNoise())) / proposal
    _agree(ratio, 1.0, "the background does not integrate to one")


def _check_noise(background: Any, samples: Points, covariance: Matrix, rng: np.random.Generator) -> None:
    """b under noise at a place y is the mean of b(y - e)."""
    d = samples.shape[1]
    draws = rng.multivariate_normal(np.zeros(d), covariance, size=len(samples))
    places = samples[:N_PLACES] + draws[:N_PLACES]
    convolved = _tried(background, places, _noise(covariance, N_PLACES))
    if convolved is None:
        return
    for place, density in zip(places, np.exp(convolved), strict=True):
        shifted = np.exp(background.log_density(place - draws, NoNoise()))
        _agree(shifted, density, f"the background under noise is not its mean over the noise at {place}")


def _check_posterior(background: Any, samples: Points, covariance: Matrix) -> None:
    """The mean of the weights over the positions is the density under noise."""
    places, noise, d = samples[:N_PLACES], _noise(covariance, N_PLACES), samples.shape[1]
    positions, logs = (np.asarray(part) for part in background.posterior(places, noise, n_points=4096))
    check_numbers(logs, (N_PLACES, logs.shape[-1]), "the background's posterior log weights")
    check_numbers(positions, (*logs.shape, d), "the background's posterior positions")
    law(np.isfinite(positions).all(), "the background's posterior positions are not finite")
    for place, weights, density in zip(
        places, np.exp(logs), np.exp(background.log_density(places, noise)), strict=True
    ):
        _agree(weights, density, f"the background's posterior weights do not average to its density at {place}")


def _check_measured(
    background: Any, samples: Points, seen: np.ndarray, rotation: Matrix, what: str, rng: np.random.Generator
) -> None:
    """b of measured values y = R x + e, some of them missing, is the mean of N(y | R x, S) over its samples x."""
    d = samples.shape[1]
    through = samples @ rotation.T
    variances = NOISE**2 * np.var(through, axis=0)
    places = np.full((N_PLACES, d), np.nan)
    places[:, seen] = (through[:N_PLACES] + rng.normal(0, np.sqrt(variances), (N_PLACES, d)))[:, seen]
    projection = None if np.array_equal(rotation, np.eye(d)) else np.broadcast_to(rotation, (N_PLACES, d, d))
    projected = _tried(background, places, _noise(np.diag(variances), N_PLACES), projection)
    if projected is None:
        return
    for place, density in zip(places[:, seen], np.exp(projected), strict=True):
        offset = (place - through[:, seen]) / np.sqrt(variances[seen])
        kernel = np.exp(-0.5 * np.sum(offset**2, axis=1)) / np.prod(np.sqrt(2 * np.pi * variances[seen]))
        _agree(kernel, density, f"the background with {what} is not the mean over its samples at {place}")


def _noise(covariance: Matrix, n: int) -> Noise:
    if np.array_equal(covariance, np.diag(np.diag(covariance))):
        return DiagonalNoise(np.tile(np.diag(covariance), (n, 1)))
    return FullNoise(np.tile(pack(covariance), (n, 1)))


def _tried(
    background: Any, points: Points, noise: Noise, projection: Float[np.ndarray, "n m d"] | None = None
) -> Vector | None:
    """The log density, once it is shown to be numbers; None where correlated noise or the projection is refused."""
    try:
        logs = np.asarray(background.log_density(points, noise, *(() if projection is None else (projection,))))
    except RefusedError:
        law(noise.kind == "full" or projection is not None, "the background refuses variances a feature")
        return None
    check_numbers(logs, (len(points),), "the background's log density under noise")
    return logs


def _agree(values: Vector, density: float, sentence: str) -> None:
    """The mean of the values is the density, within its error."""
    mean, error = float(values.mean()), float(values.std() / np.sqrt(len(values)))
    law(
        abs(mean - density) <= SIGMAS * error + ALLOWED * density,
        f"{sentence}: {density:.6g} against {mean:.6g} +- {error:.2g}",
    )
