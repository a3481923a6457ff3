"""How sure a fit is: errors from every object's scores, and the bootstrap, as one job on the cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dgmmis.callback import Callback, Callbacks, doing
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import CatalogueLike
from dgmmis.em import Outcome, Passing, Status, Stopping, em
from dgmmis.errors import DgmmisError, JobError
from dgmmis.execution.executor import Executor
from dgmmis.information import Information, StandardErrors, standard_errors
from dgmmis.latent_draw import Observing
from dgmmis.linalg import pack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.mstep import maximize
from dgmmis.normaliser import Normaliser
from dgmmis.passes import Passes, together
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round
from dgmmis.quasi_newton import ascent_for
from dgmmis.replicate import Replicate
from dgmmis.rounds import FEW_LATENT, evaluated
from dgmmis.scoring import chunk_information, score_products
from dgmmis.survey import Survey
from dgmmis.types import Vector

SIDE_BY_SIDE = 32
"""Replicates that share their readings of the data."""

REPLICATE_PASSES = 60
"""Of a replicate at most: it begins at the maximum."""


def information_of(
    data: CatalogueLike,
    model: Model,
    *,
    survey: Survey | None = None,
    seed: int = 0,
    executor: Executor | None = None,
) -> Information:
    """The information that all objects of a catalogue carry about the parameters, from two readings of it.

    Args:
        data: the catalogue, the path of a store, or an array (n, d) of exact values.
        model: at the maximum of a fit.
        survey: selection and noise law; None: everything was seen.
        seed: of the imputed points.
        executor: as for `fit`.
    """
    k = model.mixture.n_components
    with prepared(data, k, survey=survey, constraints=Constraints(), executor=executor) as ready:
        last = evaluated(ready.passes, model, sample=ready.sample, seed=seed).last
        normaliser = ready.passes.normaliser(model, last)
        found: Information = ready.passes.summed(_LeafInformation(model, ready.passes.observing, normaliser))
    return found


def errors_of(
    data: CatalogueLike,
    model: Model,
    *,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    form: str = "sandwich",
    seed: int = 0,
    executor: Executor | None = None,
) -> StandardErrors:
    """Standard errors of a fit's parameters from the scores of all objects (`information.standard_errors`)."""
    known = information_of(data, model, survey=survey, seed=seed, executor=executor)
    return standard_errors(known, model, constraints or Constraints(), form)


@dataclass(frozen=True, slots=True, eq=False)
class _LeafInformation:
    model: Model
    observing: Observing
    normaliser: Normaliser | None

    def __call__(self, leaf: int, rows: Chunk) -> Information:
        return chunk_information(self.model, rows, self.observing, self.normaliser)


@dataclass(frozen=True, slots=True, eq=False)
class Bootstrap:
    """Fits to replicates of a catalogue.

    Args:
        models: one for each replicate.
        completeness: Z of each (b,).
        n_arrived: how many of them settled; the others are where they were left.
        n_passes: readings of the data in all.
    """

    models: tuple[Model, ...]
    completeness: Vector
    n_arrived: int
    n_passes: int

    def errors_of(self, function: Callable[[Model], object]) -> np.ndarray:
        """The scatter of a function of the model over the replicates, of the shape of its values."""
        return np.asarray(np.std([np.asarray(function(model)) for model in self.models], axis=0, ddof=1))

    @property
    def standard_errors(self) -> StandardErrors:
        """Of the parameters."""
        values = np.stack([_parameters(model) for model in self.models])
        return StandardErrors(
            self.errors_of(lambda model: model.mixture.weights),
            self.errors_of(lambda model: model.mixture.means),
            self.errors_of(lambda model: model.mixture.covariances),
            float(self.errors_of(lambda model: model.background_fraction)),
            np.atleast_2d(np.cov(values.T)),
            form="bootstrap",
        )

    def interval(self, function: Callable[[Model], object], level: float = 0.68) -> tuple[np.ndarray, np.ndarray]:
        """The central interval of a function's values that holds a share `level` of the replicates."""
        values = np.asarray([np.asarray(function(model)) for model in self.models])
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return np.asarray(low), np.asarray(high)


def bootstrap(
    data: CatalogueLike,
    model: Model | GaussianMixture,
    n_replicates: int = 100,
    *,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
) -> Bootstrap:
    """Fit a model again to replicates of a catalogue, many of them in each reading of the data.

    Args:
        data: the catalogue, the path of a store, or an array (n, d) of exact values.
        model: at the maximum of a fit to it; each replicate begins there, on the same imputed points.
        n_replicates: of them; an error is known to 1 / sqrt(2 n).
        survey, constraints: of the fit.
        stopping: when a replicate has arrived; None: as a fit does. A larger `arrived` does not count: replicates begin
            only some standard errors from where they go.
        seed: of weights and imputed points.
        executor: as for `fit`.
        callbacks: hear how many replicates have arrived.

    Raises:
        JobError: fewer than two replicates.
        DgmmisError: a replicate that cannot be fitted.
    """
    if n_replicates < 2:
        raise JobError("a bootstrap needs at least 2 replicates", got=n_replicates)
    model, constraints = as_model(model), constraints or Constraints()
    usual = Stopping()
    stopping = stopping or usual
    stopping = replace(stopping, max_iter=REPLICATE_PASSES, arrived=min(stopping.arrived, usual.arrived))
    k, ends = model.mixture.n_components, list[Outcome]()
    arrivals = _Arrivals(Callbacks(callbacks), n_replicates)
    options: dict[str, Any] = {"survey": survey, "executor": executor, "callbacks": callbacks}
    with prepared(data, k, constraints=constraints, **options) as ready:
        passes, constraints = ready.passes, ready.passes.constraints
        last = evaluated(passes, model, sample=ready.sample, seed=seed, callback=Callbacks(callbacks)).last
        arrivals.tell()
        sample, observing, points_of = ready.sample, passes.observing, passes.points_of
        known = score_products(model, sample, observing, points_of, last, latent_points=FEW_LATENT)
        replicates = [Replicate(seed, number) for number in range(n_replicates)]
        rounds_of = _rounds_of(passes, replicates)
        for start in range(0, n_replicates, SIDE_BY_SIDE):
            running = []
            for number in range(start, min(start + SIDE_BY_SIDE, n_replicates)):
                beside = passes.beside(replicates[number])
                if (own := rounds_of[number]) is not None:
                    beside.begin_round(own)
                loop = em(
                    model,
                    maximize=partial(maximize, constraints=constraints),
                    stopping=stopping,
                    ascent=ascent_for(model, constraints, lambda *_: known, is_near=True),
                    callback=Callback(),
                )
                running.append((beside, arrivals.of(loop)))
            for end in together(running):
                if isinstance(end, DgmmisError):
                    raise end
                ends.append(end)
        count = passes.count
    completeness = np.array([end.last.completeness for end in ends])
    n_arrived = sum(end.status is Status.CONVERGED for end in ends)
    return Bootstrap(tuple(end.model for end in ends), completeness, n_arrived, count)


class _Arrivals:
    """Counts the replicates that have come to an end, and tells of it."""

    def __init__(self, callback: Callback, n: int) -> None:
        self._callback, self._n, self._n_done = callback, n, 0

    def of(self, loop: Passing) -> Passing:
        """The loop of a replicate, which counts at its end."""
        outcome = yield from loop
        self._n_done += 1
        self.tell()
        return outcome

    def tell(self) -> None:
        self._callback.on_notice(doing(f"bootstrap: {self._n_done} of {self._n} replicates"))


def _rounds_of(passes: Passes, replicates: Sequence[Replicate]) -> list[Round | None]:
    """The round in use as each replicate has it: the same points, other shares of the noise classes."""
    points_of = passes.points_of
    if points_of is None or points_of.partition.is_trivial:
        return [points_of] * len(replicates)
    sums = passes.summed(_Shares(points_of, tuple(replicates)))
    shares = sums[:, :-1] / sums.sum(axis=1, keepdims=True)  # the last are objects of which nothing was measured
    return [
        replace(
            points_of, classes=tuple(replace(of, share=float(s)) for of, s in zip(points_of.classes, own, strict=True))
        )
        for own in shares
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Shares:
    """The weights (b, c + 1) of each noise class in each replicate."""

    points_of: Round
    replicates: tuple[Replicate, ...]

    def __call__(self, leaf: int, rows: Chunk) -> np.ndarray:
        classes = self.points_of.classes
        number = self.points_of.partition.numbers(rows, classes) % (len(classes) + 1)
        weights = rows.w_n
        return np.stack(
            [
                np.bincount(number, weights * replicate.factors(leaf, rows.n_samples), len(classes) + 1)
                for replicate in self.replicates
            ]
        )


def _parameters(model: Model) -> np.ndarray:
    """The parameters (p,) in the order of `information.gradient`."""
    mixture = model.mixture
    parts = (mixture.weights, mixture.means.ravel(), pack(mixture.covariances).ravel(), [model.background_fraction])
    return np.concatenate(parts)
