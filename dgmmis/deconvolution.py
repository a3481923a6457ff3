"""True values of measured objects, and of some features given others: regression with errors on both sides.

The posterior of Bovy, Hogg & Roweis 2011 (eqs. 13-15), see `true_posterior`. Points may be arrays of dask or zarr: what
comes back is of dask then, and made block by block when it is asked for. Random numbers are addressed by the number of
the first row of a leaf, or of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.errors import ShapeError, require_whole
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.rowwise import rowwise
from dgmmis.survey import Survey
from dgmmis.true_posterior import posterior_draws, posterior_moments


@dataclass(frozen=True, slots=True, eq=False)
class TrueValues:
    """What is known of the true values of objects; arrays of numpy or of dask.

    Args:
        mean: (n, d), in the units of the features.
        covariance: (n, d, d).
        background: probability (n,) that an object is the background's; it has its part in the other two.
    """

    mean: Any
    covariance: Any
    background: Any


def true_values(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
    survey: Survey | Observing | None = None,
    seed: int = 0,
) -> TrueValues:
    """Mean and covariance of the true values of each object, given what was measured of it.

    Args:
        model: of the population before selection.
        points: measured values (n, m); NaN: missing. Of numpy, dask or zarr.
        noise_covariance, projection: of them, as in `GMMis.fit`.
        survey: how objects came into the catalogue, or the `observing` of a fit. It matters where the selection acted
            on true values, or on measured ones that went missing then; None: it did not.
        seed: of the points that average over what the selection acted on.

    Returns:
        The moments; NaN for an object that could not have been selected, whatever the values it lacks.

    Raises:
        ShapeError, DataError, RefusedError: as in `GMMis.fit`.
    """
    of, d = as_model(model), as_model(model).mixture.n_features
    function = partial(_moments, of, np.arange(d), seed=seed)
    tails = [(d,), (d, d), ()]
    return TrueValues(*rowwise(function, tails, (points, noise_covariance, projection), model=of, survey=survey))


def true_value_samples(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
    survey: Survey | Observing | None = None,
    n_samples: int = 1,
    seed: int = 0,
) -> Any:
    """Independent draws (n, s, d) of the true values of each object; arguments as in `true_values`.

    Raises:
        JobError: n_samples below 1.
        ShapeError, DataError, RefusedError: as in `true_values`.
    """
    require_whole(n_samples, "n_samples", 1)
    of, d = as_model(model), as_model(model).mixture.n_features
    function = partial(_draws, of, np.arange(d), n_samples=n_samples, seed=seed)
    data = (points, noise_covariance, projection)
    return rowwise(function, [(n_samples, d)], data, model=of, survey=survey)[0]


def conditional(
    model: Model | GaussianMixture, points: Any, noise_covariance: Any = None, *, given: Sequence[int], seed: int = 0
) -> TrueValues:
    """Mean and covariance of the other features of each object, given the measured values of some: in the order of
    the features, of the population before selection.

    Where there is noise on what is given, it is the regression of the true values on the true ones, seen through it:
    the posterior of the others, given what was measured.

    Args:
        model: of the population.
        points: measured values (n, d), of which only those of the given features are looked at; NaN: missing.
        noise_covariance: of all d, as in `GMMis.fit`.
        given: numbers of features.
        seed: of the points that average over a background.

    Raises:
        ShapeError: no such features, or none left.
    """
    of = as_model(model)
    rest = _others(of, given)
    f = len(rest)
    function = partial(_moments, of, rest, given=tuple(given), seed=seed)
    data = (points, noise_covariance, None)
    return TrueValues(*rowwise(function, [(f,), (f, f), ()], data, model=of, survey=None))


def conditional_samples(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    given: Sequence[int],
    n_samples: int = 1,
    seed: int = 0,
) -> Any:
    """Independent draws (n, s, f) of the other features, given the measured values of some; see `conditional`."""
    require_whole(n_samples, "n_samples", 1)
    of = as_model(model)
    rest = _others(of, given)
    function = partial(_draws, of, rest, given=tuple(given), n_samples=n_samples, seed=seed)
    data = (points, noise_covariance, None)
    return rowwise(function, [(n_samples, len(rest))], data, model=of, survey=None)[0]


def _others(model: Model, given: Sequence[int]) -> np.ndarray:
    model.mixture.marginal(given)  # refuses what are no features
    rest = np.setdiff1d(np.arange(model.mixture.n_features), list(given))
    if len(rest) == 0:
        raise ShapeError("conditional: every feature was given", do="leave at least one feature free")
    return rest


def _moments(
    model: Model,
    features: np.ndarray,
    chunk: Chunk,
    observing: Observing,
    *,
    given: tuple[int, ...] | None = None,
    seed: int,
) -> tuple[np.ndarray, ...]:
    found = posterior_moments(model, _only(chunk, given), observing, seed=seed)
    return found.mean[:, features], found.covariance[:, features[:, None], features], found.background


def _draws(
    model: Model,
    features: np.ndarray,
    chunk: Chunk,
    observing: Observing,
    *,
    given: tuple[int, ...] | None = None,
    n_samples: int,
    seed: int,
) -> tuple[np.ndarray]:
    return (posterior_draws(model, _only(chunk, given), observing, n_samples=n_samples, seed=seed)[:, :, features],)


def _only(chunk: Chunk, given: tuple[int, ...] | None) -> Chunk:
    """The rows as if nothing but some features had been measured."""
    if given is None:
        return chunk
    there = np.isin(np.arange(chunk.points.shape[1]), given)
    return Chunk(np.where(there, chunk.points, np.nan), chunk.noise, first_row=chunk.first_row)
