"""fit(): where data, statistics and execution meet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dgmmis.callback import Callback, Callbacks, History, Record
from dgmmis.dataset.arrays import Catalogue
from dgmmis.em import Status, Stopping
from dgmmis.errors import DataError, JobError, RefusedError, ShapeError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.executor import Executor
from dgmmis.initialize import Start, first_model, spread
from dgmmis.model import Model
from dgmmis.mstep import constrained
from dgmmis.passes import Passes
from dgmmis.plan import Plan, Work, make_plan
from dgmmis.prior import Constraints
from dgmmis.rounds import rounds
from dgmmis.subsample import draw_sample
from dgmmis.survey import Survey

FLOOR = 1e-10
"""Smallest variance of a covariance, in variances of the data: a component narrower than 1e-5 of it has collapsed."""


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
    constraints = constraints or Constraints()
    first = data.references[0].load()
    survey = (survey or Survey()).completed(first.noise, data.n_features)
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
    work = Work.of(data, start.n_components)
    owned = executor is None
    if executor is None:
        executor = connect(ClusterSpec("threads" if data.in_memory else "auto"), small=work.is_small)
    if data.in_memory and not executor.in_process:
        raise RefusedError(
            "data in this process's memory would travel to the workers in every pass",
            do="write them to a survey store (SurveyWriter, `dgmmis ingest`), or leave executor out",
        )
    try:
        plan = make_plan(data.references, work, executor.resources)
        plan.check()
        sample = draw_sample(data.references, executor)
        never = np.flatnonzero(np.all(np.isnan(sample.points), axis=0))
        if len(never):
            raise DataError(
                f"measured value {', '.join(map(str, never))} is missing in all {len(sample.points):,} rows looked at",
                do="leave it out",
            )
        if constraints.floor is None:
            constraints = replace(constraints, floor=FLOOR * spread(sample))
        model = constrained(first_model(start, sample, seed), constraints)
        passes = Passes(data.references, plan=plan, survey=survey, constraints=constraints, executor=executor)
        history = History()
        callback = Callbacks([history, *callbacks])
        callback.on_start(model, stopping.max_iter, stopping.tol)
        try:
            outcome = rounds(passes, model, stopping=stopping, seed=seed, callback=callback, history=history)
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
