"""fit(): where data, statistics and execution meet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgmmis.callback import Callback, Callbacks, History, Record
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue
from dgmmis.em import Pass, Status, Stopping, passed
from dgmmis.errors import JobError, ShapeError
from dgmmis.execution.executor import Executor
from dgmmis.information import StandardErrors, gradient, standard_errors
from dgmmis.initialize import Start, first_model
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.mstep import constrained
from dgmmis.noise_classes import NoiseClass
from dgmmis.plan import Plan
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round
from dgmmis.rounds import evaluated, rounds
from dgmmis.scoring import information
from dgmmis.survey import Survey
from dgmmis.types import Vector


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The result of a fit.

    Args:
        model: the best model.
        status: why it stopped; `status.value` is a sentence.
        records: one for every accepted pass.
        log_likelihood: mean per object, normalised under selection.
        objective: the same plus the log prior per object.
        completeness, completeness_error: Z and its Monte-Carlo error; 1 and 0 without selection.
        observing: the survey, completed with a noise law.
        points_of: the last round of imputed points; None where everything was seen.
        last: the pass of the model.
        sample: some of the rows, from which standard errors are estimated.
        constraints: as they were.
        n_samples: sum of the weights of the observed objects.
        n_passes: passes over the data.
        seconds: in all.
        plan: of a pass.
    """

    model: Model
    status: Status
    records: tuple[Record, ...]
    log_likelihood: float
    objective: float
    completeness: float
    completeness_error: float
    observing: Observing
    points_of: Round | None
    last: Pass
    sample: Chunk
    constraints: Constraints
    n_samples: float
    n_passes: int
    seconds: float
    plan: Plan

    @property
    def converged(self) -> bool:
        return self.status is Status.CONVERGED

    @property
    def repairs(self) -> tuple[str, ...]:
        """Sentences about components that the last record still reports as collapsed or starved."""
        return self.records[-1].repairs if self.records else ()

    @property
    def survey(self) -> Survey:
        """The survey, completed with a noise law."""
        return self.observing.survey

    @property
    def noise_classes(self) -> tuple[NoiseClass, ...]:
        """Of the observed objects, where something was not seen."""
        return () if self.points_of is None else self.points_of.classes

    @property
    def by_class(self) -> Vector:
        """Z of each noise class (g,)."""
        return np.array([part.completeness for part in self.last.unseen])

    def standard_errors(self) -> StandardErrors:
        """Of the parameters, from the scores of a sample of the objects; a prior is not counted."""
        known = information(self.model, self.sample, self.observing, self.points_of, self.last)
        return standard_errors(known, self.model, self.constraints)

    def n_objects(self, errors: StandardErrors) -> tuple[float, float]:
        """The expected number of objects before selection, sum_c N_c / Z_c, and its standard error.

        The error is that of Z (parameters and imputed points) and the binomial one of who was seen.
        """
        n = self.n_samples
        if self.points_of is None:
            return n, 0.0
        slope, binomial = np.zeros(len(errors.covariance)), 0.0
        for of, part in zip(self.points_of.classes, self.last.unseen, strict=True):
            z = part.completeness
            slope += n * of.share / z**2 * gradient(part.moments, self.model)
            binomial += n * of.share * (1 - z) / z**2
        points = n * self.completeness_error / self.completeness**2
        variance = float(slope @ errors.covariance @ slope) + binomial + points**2
        return n / self.completeness, float(np.sqrt(variance))


def fit(
    data: Catalogue,
    start: Start,
    *,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
) -> Fit:
    """Fit a mixture to a catalogue.

    Args:
        data: the catalogue.
        start: the first model, or how to find it.
        survey: selection and noise law; None: everything was seen.
        constraints: prior, frozen parameters, covariance structure.
        stopping: tolerance and largest number of passes.
        seed: of everything random; the same data, seed and chunks give the same bits on any executor.
        executor: who does the work; None: threads here for small work, else a local cluster started for this fit.
        callbacks: receive the events.

    Raises:
        DgmmisError: its subclasses say what is wrong with data, options or cluster, before work starts where possible.
    """
    started = time.perf_counter()
    stopping = stopping or Stopping()
    constraints = constraints or Constraints()
    _check_start(data, start, constraints)
    with prepared(data, start.n_components, survey=survey, constraints=constraints, executor=executor) as ready:
        passes, sample = ready.passes, ready.sample
        model = constrained(first_model(start, sample, seed), passes.constraints)
        history = History()
        callback = Callbacks([history, *callbacks])
        callback.on_start(model, stopping.max_iter, stopping.tol)
        loop = rounds(passes, model, sample=sample, stopping=stopping, seed=seed, callback=callback, history=history)
        outcome = passed(loop, passes)
        callback.on_end(outcome.status.value)
    return Fit(
        model=outcome.model,
        status=outcome.status,
        records=tuple(history.records),
        log_likelihood=outcome.last.log_likelihood,
        objective=outcome.last.objective,
        completeness=outcome.last.completeness,
        completeness_error=outcome.last.completeness_error,
        observing=passes.observing,
        points_of=passes.points_of,
        last=outcome.last,
        sample=sample,
        constraints=passes.constraints,
        n_samples=outcome.last.n_samples,
        n_passes=passes.count,
        seconds=time.perf_counter() - started,
        plan=ready.plan,
    )


def evaluate(
    data: Catalogue, model: Model, *, survey: Survey | None = None, seed: int = 0, executor: Executor | None = None
) -> Pass:
    """One pass over a catalogue under a model as it is: log-likelihood, completeness, moments.

    Args:
        data: the catalogue.
        model: what to evaluate.
        survey: selection and noise law; None: everything was seen.
        seed: of the imputed points.
        executor: as for `fit`.

    Raises:
        DgmmisError: as for `fit`.
    """
    _check_start(data, Start(model.mixture.n_components, model.mixture, model.background), Constraints())
    with prepared(
        data, model.mixture.n_components, survey=survey, constraints=Constraints(), executor=executor
    ) as ready:
        return evaluated(ready.passes, model, sample=ready.sample, seed=seed).last


def _check_start(data: Catalogue, start: Start, constraints: Constraints) -> None:
    if start.background is not None and start.background.n_features != data.n_features:
        raise ShapeError(
            "background does not fit the data", expected=f"{data.n_features} features", got=start.background.n_features
        )
    if not isinstance(start.method, str) and start.method.n_features != data.n_features:
        raise ShapeError(
            "the first mixture does not fit the data",
            expected=f"{data.n_features} features",
            got=start.method.n_features,
        )
    if start.background is not None and start.background_fraction == 0 < constraints.background_bounds[1]:
        raise JobError("a background that starts with fraction 0 can never grow", do="start with a positive fraction")
