"""Alternatives: several models of a catalogue, fitted side by side."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dgmmis.boundary import AtBoundary, boundary
from dgmmis.callback import Callback, doing
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue
from dgmmis.em import Outcome, Status, Stopping
from dgmmis.errors import NumericalError
from dgmmis.execution.executor import Executor
from dgmmis.fit_result import Fit
from dgmmis.information import Information, n_directions, standard_errors
from dgmmis.initialize import Start, first_models
from dgmmis.model import Model
from dgmmis.mstep import constrained, with_frozen
from dgmmis.noise import NoNoise
from dgmmis.passes import FIRST_PASS, Passes
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints
from dgmmis.quasi_newton import LARGEST
from dgmmis.rounds import FEW_LATENT, Known
from dgmmis.runaway import Runaway, hidden, runaways
from dgmmis.scoring import score_products
from dgmmis.search import Runner, Search, Searching, follow
from dgmmis.side_by_side import SideBySide
from dgmmis.survey import Survey


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """One of several models of a catalogue.

    Args:
        start: the first model, or how to find it.
        covariance_type: the structure of its covariances.
    """

    start: Start
    covariance_type: str

    def __str__(self) -> str:
        return f"{self.start.n_components} {self.covariance_type}"


def fit_side_by_side(
    data: Catalogue,
    alternatives: Sequence[Alternative],
    *,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping | None = None,
    search: Search | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
) -> SideBySide[Fit]:
    """Fits of several models to a catalogue, to the bits that `fit` finds for each: every reading of the data serves
    all that are still under way. What cannot be fitted has its error instead.

    Args:
        data: the catalogue.
        alternatives: the models, which `check_start` has seen.
        survey, constraints, stopping, search, seed, executor, callbacks: as for `fit`, all of them the same.
    """
    started = time.perf_counter()
    constraints, stopping, search = constraints or Constraints(), stopping or Stopping(), search or Search()
    several = len(alternatives) > 1
    abreast = sum(of.start.n_components for of in alternatives) * (search.n_starts if several else 1)
    ends: list[Fit | NumericalError] = []
    way: dict[str, Any] = {"survey": survey, "executor": executor, "callbacks": callbacks}
    with prepared(data, abreast, constraints=constraints, **way) as ready:
        readings, sample, observing = ready.passes.readings, ready.sample, ready.passes.observing
        callback = ready.callback
        callback.on_sample(sample)
        drawn: dict[Start, list[Model]] = {}  # which do not depend on the structure
        searches: list[Searching] = []
        runners: list[list[Runner]] = []
        for of in alternatives:
            own = replace(ready.passes.constraints, covariance_type=of.covariance_type)
            if of.start not in drawn:
                callback.on_notice(doing("looking for first models"))
                drawn[of.start] = first_models(of.start, sample, observing.survey, seed, search.n_starts)
            first = drawn[of.start]
            models = [with_frozen(constrained(model, own), first[0], own) for model in first]
            passes = Passes(readings, observing, own)
            searching = Searching(passes, sample, search, stopping, callback, str(of) if several else "")
            if not searches:
                callback.on_start(models[0], stopping.max_iter, stopping.tol)
            searches.append(searching)
            runners.append(searching.runners(models, seed))
        callback.on_notice(doing(FIRST_PASS))
        follow([runner for starts in runners for runner in starts])
        shared = time.perf_counter() - started
        for searching, starts in zip(searches, runners, strict=True):
            began = time.perf_counter()
            try:
                outcome, passes, history = searching.best(starts)
            except NumericalError as error:
                ends.append(error)
                continue
            callback.on_end(outcome.status.value)
            callback.on_notice(doing("looking at what was found"))
            edges, lost = _edges(passes, sample, outcome), _runaways(passes, sample, outcome)
            compile_seconds = readings.compile_seconds
            ends.append(
                Fit(
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
                    seconds=shared + time.perf_counter() - began,
                    plan=ready.plan,
                    compile_seconds=compile_seconds,
                    candidates=tuple(searching.candidates),
                    at_boundary=edges,
                    runaways=lost,
                )
            )
        return SideBySide(ends, readings.count)


def _edges(passes: Passes, sample: Chunk, outcome: Outcome) -> tuple[AtBoundary, ...]:
    """Of a fit that has settled. Without noise a covariance does not end at the edge but collapses, as repairs say."""
    settled = outcome.status is not Status.MAX_ITERATIONS
    if isinstance(sample.noise, NoNoise) or not settled or n_directions(outcome.model) > LARGEST:
        return ()
    known = Known(passes, sample).information(outcome.model, outcome.last)
    return boundary(outcome.model, outcome.last.moments, known, passes.constraints)


def _runaways(passes: Passes, sample: Chunk, outcome: Outcome) -> tuple[Runaway, ...]:
    """Looked for only where a component is mostly out of sight. On a ridge a fit may go on until max_iter."""
    model, last, points_of = outcome.model, outcome.last, passes.points_of
    if points_of is None or not hidden(model, last.unseen, points_of.classes) or n_directions(model) > LARGEST:
        return ()
    found = score_products(model, sample, passes.observing, points_of, last, latent_points=FEW_LATENT)
    known = Information.of_scores(found, last.n_samples)
    return runaways(
        model,
        last.unseen,
        points_of.classes,
        errors=standard_errors(known, model, passes.constraints),
        n_samples=last.n_samples,
        n_looked_at=found.n_samples,
    )
