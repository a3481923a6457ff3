"""How much two models differ, in nats: at points, and on average; and the entropy of one.

Exact between single Gaussians; else means of logarithms of densities over scrambled Sobol points, with their errors
(`expectation`). Backgrounds take part.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.errors import ShapeError
from dgmmis.estimate import N_POINTS, Estimate, expectation, require_density
from dgmmis.latent_draw import Observing
from dgmmis.linalg import LOG_TWO_PI, cholesky_inverse
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.noise import NoNoise
from dgmmis.rows import Measured, Question, answer
from dgmmis.scoring import log_densities
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector


def log_density_ratio(
    p: Model | GaussianMixture,
    q: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
) -> Any:
    """log p(y_n) - log q(y_n) (n,) of measured points, both before selection; NaN where both are zero.

    Args:
        p, q: models of the same features.
        points: measured values (n, m); NaN: missing. Of any kind that `GMMis.fit` takes, and answered as
            `GMMis.predict` answers.
        noise_covariance, projection: of them, as in `GMMis.fit`.

    Raises:
        ShapeError, DataError, RefusedError: as in `GMMis.fit`.
    """
    one, other = _both(p, q)
    measured = Measured.of(points, noise_covariance, projection)
    measured.require_features(one.mixture.n_features)
    return answer(Question(partial(_ratio, one, other)), measured)


def entropy(model: Model | GaussianMixture, *, n_points: int = N_POINTS, seed: int = 0) -> Estimate:
    """-integral p log p dx, in nats.

    Raises:
        RefusedError: a model with a cutoff, which is no density.
    """
    p = as_model(model)
    require_density(p)
    if _is_gaussian(p):
        (log_determinant,) = cholesky_inverse(p.mixture.covariances)[1]
        return Estimate(0.5 * float(p.mixture.n_features * (LOG_TWO_PI + 1) + log_determinant), 0.0)
    return expectation(p, lambda x: -_log_density(p, x), n_points=n_points, seed=seed)


def kl_divergence(
    p: Model | GaussianMixture, q: Model | GaussianMixture, *, n_points: int = N_POINTS, seed: int = 0
) -> Estimate:
    """integral p log (p / q) dx, in nats (Kullback & Leibler 1951); within its error it may come out below zero.

    Raises:
        ShapeError: models of different features.
        RefusedError: a model with a cutoff, which is no density.
    """
    one, other = _both(p, q)
    require_density(other)
    require_density(one)
    if _is_gaussian(one) and _is_gaussian(other):
        (whiten,), (log_q,) = cholesky_inverse(other.mixture.covariances)
        (log_p,) = cholesky_inverse(one.mixture.covariances)[1]
        spread = whiten @ one.mixture.covariances[0] @ whiten.T
        apart = whiten @ (one.mixture.means[0] - other.mixture.means[0])
        return Estimate(0.5 * float(np.trace(spread) - len(apart) + apart @ apart + log_q - log_p), 0.0)
    return expectation(one, lambda x: _log_density(one, x) - _log_density(other, x), n_points=n_points, seed=seed)


def jensen_shannon(
    p: Model | GaussianMixture, q: Model | GaussianMixture, *, n_points: int = N_POINTS, seed: int = 0
) -> Estimate:
    """[KL(p || m) + KL(q || m)] / 2 with m = (p + q) / 2, in nats: symmetric, from 0 to log 2 (Lin 1991).

    Raises:
        ShapeError: models of different features.
        RefusedError: a model with a cutoff, which is no density.
    """
    one, other = _both(p, q)
    sides = [
        expectation(a, partial(_over_middle, a, b), n_points=n_points, seed=seed)
        for a, b in ((one, other), (other, one))
    ]
    # both may have the same points, so that errors need not be independent
    value = 0.5 * sum(side.value for side in sides)
    return Estimate(float(np.clip(value, 0.0, np.log(2))), 0.5 * sum(side.error for side in sides))


def _over_middle(of: Model, other: Model, x: Points) -> Vector:
    log_p = _log_density(of, x)
    return np.asarray(log_p - np.logaddexp(log_p, _log_density(other, x)) + np.log(2))


def _both(p: Model | GaussianMixture, q: Model | GaussianMixture) -> tuple[Model, Model]:
    one, other = as_model(p), as_model(q)
    if one.mixture.n_features != other.mixture.n_features:
        raise ShapeError(
            "two models of different features", expected=one.mixture.n_features, got=other.mixture.n_features
        )
    return one, other


def _is_gaussian(model: Model) -> bool:
    return model.mixture.n_components == 1 and model.background_fraction == 0


def _log_density(model: Model, x: Points) -> Vector:
    return log_densities(model, Chunk(x, NoNoise()), Observing(Survey(), np.eye(x.shape[1])))


def _ratio(p: Model, q: Model, chunk: Chunk) -> Iterator[Vector]:
    everything = Observing(Survey(), np.zeros((chunk.points.shape[1],) * 2))
    for leaf in chunk.leaf_chunks():
        one, other = (log_densities(of, leaf, everything) for of in (p, q))
        with np.errstate(invalid="ignore"):  # of what neither of them gives
            yield np.asarray(one - other)
