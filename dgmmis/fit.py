"""fit(): where data, statistics and execution meet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from dgmmis.acceleration import Anderson
from dgmmis.callback import Callback, Callbacks, History, Record
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Reference
from dgmmis.em import Outcome, Status, Stopping, em
from dgmmis.errors import JobError, RefusedError, ShapeError
from dgmmis.execution.cluster import ClusterSpec, Resources, connect
from dgmmis.execution.executor import Executor
from dgmmis.initialize import Start, first_model, spread
from dgmmis.model import Model
from dgmmis.mstep import maximize
from dgmmis.noise import NoNoise, SharedNoise
from dgmmis.passes import Passes
from dgmmis.plan import SMALL_SECONDS, Plan, make_plan, work_seconds
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round
from dgmmis.subsample import draw_sample
from dgmmis.survey import ConstantNoise, Survey

FLOOR = 1e-10
"""Smallest variance of a covariance, in variances of the data: a component narrower than 1e-5 of it has collapsed."""

FIRST_POINTS = 1 << 13
MOST_POINTS = 1 << 20
POINTS_GROWTH = 4
MONTE_CARLO_SHARE = 0.03
"""Largest Monte-Carlo error of the completeness, in units of its binomial error sqrt(Z (1 - Z) / N).

Parameters that only the unseen part of a component decides feel it several times enlarged: at 0.1 the number of objects
of the box-with-hole survey scattered by 0.6 % between seeds, at 0.03 by 0.2 %, a fifth of its statistical error."""


@runtime_checkable
class Catalogue(Protocol):
    """Data to fit: a Dataset on disk or an ArrayDataset in memory."""

    @property
    def n_features(self) -> int:
        """Features of the model."""

    @property
    def references(self) -> Sequence[Reference]:
        """The chunks."""

    @property
    def in_memory(self) -> bool:
        """Whether only this process can load them."""


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
    first = next(iter(data.references)).load()
    survey = _checked_survey(survey or Survey(), first, data.n_features)
    noisy = not first.noise.is_shared or first.projection is not None
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
    owned = executor is None
    if executor is None:
        n_rows = sum(reference.n_rows for reference in data.references)
        small = work_seconds(n_rows, data.n_features, start.n_components, noisy) < SMALL_SECONDS
        executor = connect(ClusterSpec("threads" if data.in_memory else "auto"), small=small)
    if data.in_memory and not executor.in_process:
        raise RefusedError(
            "data in this process's memory would travel to the workers in every pass",
            do="write them to a survey store (SurveyWriter, `dgmmis ingest`), or leave executor out",
        )
    try:
        plan = plan_fit(data, start.n_components, executor)
        plan.check()
        sample = draw_sample(data.references, executor)
        constraints = constraints or Constraints()
        if constraints.floor is None:
            constraints = replace(constraints, floor=FLOOR * spread(sample))
        model = first_model(start, sample, seed)
        passes = Passes(
            data.references, n_tasks=plan.n_tasks, survey=survey, constraints=constraints, executor=executor
        )
        history = History()
        callback = Callbacks([history, *callbacks])
        callback.on_start(model, stopping.max_iter, stopping.tol)
        try:
            outcome = _rounds(passes, model, constraints, stopping, seed, (callback, history))
        finally:
            passes.close()
        callback.on_end(outcome.status.value)
    finally:
        if owned:
            executor.close()
    return Fit(
        model=outcome.model,
        status=outcome.status,
        records=tuple(history.records),
        log_likelihood=outcome.last.log_likelihood,
        objective=outcome.last.objective,
        completeness=outcome.last.completeness,
        completeness_error=outcome.last.completeness_error,
        n_samples=outcome.last.n_samples,
        n_passes=passes.count,
        seconds=time.perf_counter() - started,
        plan=plan,
    )


def _rounds(
    passes: Passes,
    model: Model,
    constraints: Constraints,
    stopping: Stopping,
    seed: int,
    events: tuple[Callback, History],
) -> Outcome:
    """EM; under selection in rounds of imputed points, until their error is a small part of the statistical one.

    A round that converged far from its reference, or with too few points, is followed by another one from where it
    ended; the last round starts where it ends.
    """
    callback, history = events
    accelerator = Anderson(constraints)
    n_points, index = FIRST_POINTS, 0
    while True:
        if passes.needs_points:
            passes.begin_round(Round.of(model, n_points, seed, index))
        outcome = em(
            passes,
            model,
            maximize=lambda moments, at: maximize(moments, at, constraints),
            stopping=stopping,
            accelerator=accelerator,
            callback=callback,
            first=history.records[-1] if history.records else None,
        )
        model = outcome.model
        last = outcome.last
        if not passes.needs_points or outcome.status is Status.MAX_ITERATIONS:
            return outcome
        if outcome.status is Status.CONVERGED:
            binomial = np.sqrt(last.completeness * (1 - last.completeness) / last.n_samples)
            precise = last.completeness_error <= MONTE_CARLO_SHARE * binomial or n_points >= MOST_POINTS
            if precise and index > 0:
                return outcome
            n_points = min(n_points * POINTS_GROWTH, MOST_POINTS) if not precise else n_points
        index += 1


def plan_fit(data: Catalogue, n_components: int, executor: Executor | Resources) -> Plan:
    """What a fit of this catalogue would take on this executor, or on what one would have."""
    first = data.references[0].load()
    return make_plan(
        data.references,
        n_features=data.n_features,
        n_components=n_components,
        noisy=not first.noise.is_shared or first.projection is not None,
        n_workers=executor.n_workers,
        worker_bytes=executor.memory_per_worker,
        resident_bytes=executor.resident_bytes,
    )


def _checked_survey(survey: Survey, first: Chunk, d: int) -> Survey:
    """The survey with the noise law that the data imply, or an error that says what is missing."""
    if survey.selection is None:
        if survey.noise_law is not None:
            raise JobError("a noise law without a selection has no effect", do="give a selection, or leave the law out")
        return survey
    law = survey.noise_law
    if law is None:
        if isinstance(first.noise, NoNoise):
            law = ConstantNoise(np.zeros((d, d)))
        elif isinstance(first.noise, SharedNoise):
            law = ConstantNoise(first.noise.covariance)
        else:
            raise RefusedError(
                "noise that differs by object needs a law for the objects that were not seen",
                do="pass noise_law: a covariance (d, d), or a function of position (n, d) -> (n, d, d)",
            )
    if isinstance(law, ConstantNoise) and law.covariance.shape != (d, d):
        raise ShapeError("noise_law does not fit the data", expected=(d, d), got=law.covariance.shape)
    return Survey(survey.selection, law)
