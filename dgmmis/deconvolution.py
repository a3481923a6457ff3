"""True values of measured objects, and of some features given others: regression with errors on both sides.

The posterior of Bovy, Hogg & Roweis 2011 (eqs. 13-15), see `true_posterior`. Rows of every kind are answered in their
own (`rows`): those of dask lazily, those of a store in the order of the catalogue. Random numbers are addressed by the
number of the first row of a leaf, or of a chunk of dask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.errors import RefusedError, ShapeError, require_whole
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.rows import Kind, Measured, Questions, answers, observing_of, under
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.true_posterior import posterior_draws, posterior_moments


@dataclass(frozen=True, slots=True, eq=False)
class TrueValues:
    """What is known of the true values of objects; arrays of numpy, of dask or of xarray, as the rows were.

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
    survey: Survey | None = None,
    seed: int = 0,
) -> TrueValues:
    """Mean and covariance of the true values of each object, given what was measured of it.

    Args:
        model: of the population before selection.
        points: measured values (n, m); NaN: missing. Of any kind that `GMMis.fit` takes, survey stores among them, and
            answered as `GMMis.predict` answers: lazily where they are.
        noise_covariance, projection: of them, as in `GMMis.fit`.
        survey: how objects came into the catalogue. It matters where the selection acted on true values, or on measured
            ones that went missing then; None: it did not. Values that are missing had the mean noise of those that are
            there: where the noise differs by object, and the selection saw them, all noise of lazy rows is read for it
            before any is answered (not by `GMMis.true_values`, which knows it).
        seed: of the points that average over what the selection acted on.

    Returns:
        The moments; NaN for an object that could not have been selected, whatever the values it lacks.

    Raises:
        JobError: a noise law that has no effect.
        ShapeError, DataError, RefusedError: as in `GMMis.fit`.
    """
    of, measured = as_model(model), Measured.of(points, noise_covariance, projection)
    observing = observing_of(survey, measured, of.mixture.n_features)
    return true_values_under(of, observing, measured, seed=seed)


def true_values_under(model: Model, observing: Any, measured: Measured, *, seed: int = 0) -> TrueValues:
    """The same of rows under what is known of their survey (`rows.known_survey`)."""
    return _moments(_Sought(model, np.arange(model.mixture.n_features), None, seed), observing, measured)


def true_value_samples(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
    survey: Survey | None = None,
    n_samples: int = 1,
    seed: int = 0,
) -> Any:
    """Independent draws (n, s, d) of the true values of each object; arguments as in `true_values`.

    Raises:
        JobError: n_samples below 1.
        ShapeError, DataError, RefusedError: as in `true_values`.
    """
    of, measured = as_model(model), Measured.of(points, noise_covariance, projection)
    observing = observing_of(survey, measured, of.mixture.n_features)
    return _draws(_Sought(of, np.arange(of.mixture.n_features), None, seed), observing, measured, n_samples)


def conditional(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    given: Sequence[int],
    projection: Any = None,
    survey: Survey | None = None,
    seed: int = 0,
) -> TrueValues:
    """Mean and covariance of the other features of each object, given the measured values of some: in the order of
    the features.

    Where there is noise on what is given, it is the regression of the true values on the true ones, seen through it:
    the posterior of the others, given what was measured.

    Args:
        model: of the population before selection.
        points: measured values (n, m), of which only those of the given features are looked at, as if the others were
            missing; NaN: missing. Of any kind, as for `true_values`.
        noise_covariance: of all m, as in `GMMis.fit`.
        given: numbers of features.
        projection: R (n, m, d) of y = R x + e; those values are looked at that show given features alone: R is zero for
            all others.
        survey: None: of the population. Otherwise of objects that came into the catalogue, the selection having seen
            what is not given, too: as in `true_values` for values that are missing.
        seed: of the points that average over a background, or over what the selection acted on.

    Raises:
        ShapeError: no such features, or none left.
        RefusedError: a selection on what is available, or injections: that depends on which values were there.
    """
    sought, measured = _given(model, given, survey, seed), Measured.of(points, noise_covariance, projection)
    return _moments(sought, observing_of(survey, measured, sought.model.mixture.n_features), measured)


def conditional_samples(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    given: Sequence[int],
    projection: Any = None,
    survey: Survey | None = None,
    n_samples: int = 1,
    seed: int = 0,
) -> Any:
    """Independent draws (n, s, f) of the other features, given the measured values of some; see `conditional`."""
    sought, measured = _given(model, given, survey, seed), Measured.of(points, noise_covariance, projection)
    observing = observing_of(survey, measured, sought.model.mixture.n_features)
    return _draws(sought, observing, measured, n_samples)


@dataclass(frozen=True, slots=True, eq=False)
class _Sought:
    """The true values of some features, given those of others, or all.

    Args:
        model: of the population.
        features: their numbers.
        given: those that are looked at; None: all.
        seed: of points and draws.
    """

    model: Model
    features: np.ndarray
    given: tuple[int, ...] | None
    seed: int

    def moments(self, observing: Observing, chunk: Chunk) -> Iterator[tuple[np.ndarray, ...]]:
        """Mean, covariance and background of a chunk's rows, leaf by leaf."""
        f = self.features
        for leaf in chunk.leaf_chunks():
            found = posterior_moments(self.model, self._given_of(leaf), observing, seed=self.seed)
            yield found.mean[:, f], found.covariance[:, f[:, None], f], found.background

    def draws(self, n_samples: int, observing: Observing, chunk: Chunk) -> Iterator[tuple[np.ndarray]]:
        """Draws of a chunk's rows, leaf by leaf."""
        for leaf in chunk.leaf_chunks():
            some = self._given_of(leaf)
            drawn = posterior_draws(self.model, some, observing, n_samples=n_samples, seed=self.seed)
            yield (drawn[:, :, self.features],)

    def _given_of(self, chunk: Chunk) -> Chunk:
        """The rows as if nothing but what is given had been measured."""
        if self.given is None:
            return chunk
        there = np.isin(np.arange(self.model.mixture.n_features), self.given)
        if chunk.projection is not None:
            there = ~np.any(chunk.projection[:, :, ~there] != 0, axis=2)
        points = np.where(there, chunk.points, np.nan)
        return Chunk(points, chunk.noise, projection=chunk.projection, first_row=chunk.first_row)


def _given(model: Model | GaussianMixture, given: Sequence[int], survey: Survey | None, seed: int) -> _Sought:
    of = as_model(model)
    of.mixture.marginal(given)  # refuses what are no features
    rest = np.setdiff1d(np.arange(of.mixture.n_features), list(given))
    if len(rest) == 0:
        raise ShapeError("conditional: every feature was given", do="leave at least one feature free")
    if isinstance(survey, Survey) and (
        isinstance(survey.selection, Injections) or (survey.is_partial and survey.selection_on == "available")
    ):
        raise RefusedError(
            "a conditional under injections, or a selection on what is available, which looked at the values that are "
            "there: it depends on which of those that are not given these are",
            do="leave `survey` out, or use true_values, which looks at all that is there",
        )
    return _Sought(of, rest, tuple(given), seed)


def _moments(sought: _Sought, observing: Any, measured: Measured) -> TrueValues:
    f = len(sought.features)
    kinds = (Kind(columns={"feature": f}), Kind(columns={"feature": f, "other_feature": f}), Kind())
    return TrueValues(
        *answers(Questions(under(partial(partial, sought.moments), observing, measured), kinds), measured)
    )


def _draws(sought: _Sought, observing: Any, measured: Measured, n_samples: int) -> Any:
    require_whole(n_samples, "n_samples", 1)
    ask = under(partial(partial, partial(sought.draws, n_samples)), observing, measured)
    kind = Kind(columns={"draw": n_samples, "feature": len(sought.features)})
    (drawn,) = answers(Questions(ask, (kind,)), measured)
    return drawn
