"""fit(): where data, statistics and execution meet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dgmmis.boundary import AtBoundary, boundary
from dgmmis.callback import Callback, Callbacks, Record
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue, as_catalogue
from dgmmis.em import Outcome, Pass, Status, Stopping
from dgmmis.errors import DataError, JobError, NumericalError, RefusedError, ShapeError
from dgmmis.execution.executor import Executor
from dgmmis.information import StandardErrors, density_slopes, n_directions, standard_errors
from dgmmis.initialize import Start, first_models
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.mstep import constrained, with_frozen
from dgmmis.noise import NoNoise
from dgmmis.noise_classes import NoiseClass
from dgmmis.normaliser import completeness_slope
from dgmmis.passes import Passes
from dgmmis.plan import Plan
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints, Prior
from dgmmis.quadrature import Round
from dgmmis.quasi_newton import LARGEST
from dgmmis.rounds import Known, evaluated
from dgmmis.scoring import information
from dgmmis.search import Candidate, Runner, Search, Searching, follow
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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
        compile_seconds: of them, for kernels that this machine had not compiled before.
        plan: of a pass.
        candidates: what became of each start and of each move.
        at_boundary: covariances that noise has left without a spread of their own, and along what.
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
    compile_seconds: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    at_boundary: tuple[AtBoundary, ...] = ()

    def __repr__(self) -> str:
        k = self.model.mixture.n_components
        return (
            f"Fit({self.status.name}: {k} components, log-likelihood {self.log_likelihood:.7g} per object, "
            f"completeness {self.completeness:.5g}, {self.n_passes} passes)"
        )

    @property
    def log_likelihood_error(self) -> float:
        """Of the mean log-likelihood, by the imputed points."""
        return self.completeness_error / self.completeness

    @property
    def converged(self) -> bool:
        return self.status is Status.CONVERGED

    @property
    def repairs(self) -> tuple[str, ...]:
        """Sentences about components that collapsed or starved, or whose covariance went to its edge."""
        last = self.records[-1].repairs if self.records else ()
        named = {f"component {edge.component} collapsed" for edge in self.at_boundary}
        rest = [sentence for sentence in last if not any(sentence.startswith(name) for name in named)]
        return (*map(str, self.at_boundary), *rest)

    @property
    def dropped(self) -> float:
        """Mean over the objects of the share of their density that the cutoff leaves out."""
        return self.last.moments.dropped / self.n_samples

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

    def standard_errors(self, form: str = "information") -> StandardErrors:
        """Of the parameters, from the scores of a sample of the objects (`uncertainty` has those of all of them).

        Args:
            form: "information", "hessian" or "sandwich" (`information.standard_errors`).
        """
        known = information(self.model, self.sample, self.observing, self.points_of, self.last)
        return standard_errors(known, self.model, self.constraints, form)

    def n_objects(self, errors: StandardErrors) -> tuple[float, float]:
        """The expected number of objects before selection, sum_c N_c / Z_c, and its standard error.

        The error is that of Z (parameters and imputed points) and the binomial one of who was seen.
        """
        n = self.n_samples
        if self.points_of is None:
            return n, 0.0
        z, classes = self.completeness, self.points_of.classes
        slope = completeness_slope(self.model, self.last.unseen, classes)
        parameters = n / z**2 * float(errors.of(slope[None])[0])
        parts = zip(classes, self.last.unseen, strict=True)
        binomial = sum(n * of.share * (1 - part.completeness) / part.completeness**2 for of, part in parts)
        points = n * self.completeness_error / z**2
        return n / z, float(np.sqrt(parameters**2 + binomial + points**2))

    def density(self, points: Points, errors: StandardErrors) -> tuple[Vector, Vector]:
        """The population's density p(x) at points (n, d), before selection, without noise, and its standard error."""
        slopes = density_slopes(self.model, points)
        return np.exp(self.model.log_density(points)), errors.of(slopes)


def fit(
    data: Catalogue,
    start: Start,
    *,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping | None = None,
    search: Search | None = None,
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
        search: how many starts, and moves from the maximum to a better one; None: one start and no moves.
        seed: of everything random; the same data, seed and chunks give the same bits on any executor.
        executor: who does the work; None: threads here for small work, else a local cluster started for this fit.
        callbacks: receive the events.

    Raises:
        DgmmisError: its subclasses say what is wrong with data, options or cluster, before work starts where possible.
    """
    constraints = constraints or Constraints()
    data = as_catalogue(data)
    check_start(data, start, constraints, survey)
    (found,) = fit_side_by_side(
        data,
        [Alternative(start, constraints.covariance_type)],
        survey=survey,
        constraints=constraints,
        stopping=stopping,
        search=search,
        seed=seed,
        executor=executor,
        callbacks=callbacks,
    )
    if isinstance(found, NumericalError):
        raise found
    return found


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
) -> list[Fit | NumericalError]:
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
    results: list[Fit | NumericalError] = []
    with prepared(data, abreast, survey=survey, constraints=constraints, executor=executor) as ready:
        readings, sample, observing = ready.passes.readings, ready.sample, ready.passes.observing
        callback = Callbacks(callbacks)
        drawn: dict[Start, list[Model]] = {}  # which do not depend on the structure
        searches: list[Searching] = []
        runners: list[list[Runner]] = []
        for of in alternatives:
            own = replace(ready.passes.constraints, covariance_type=of.covariance_type)
            if of.start not in drawn:
                drawn[of.start] = first_models(of.start, sample, observing.survey, seed, search.n_starts)
            first = drawn[of.start]
            models = [with_frozen(constrained(model, own), first[0], own) for model in first]
            passes = Passes(readings, observing, own)
            searching = Searching(passes, sample, search, stopping, callback, str(of) if several else "")
            if not searches:
                callback.on_start(models[0], stopping.max_iter, stopping.tol)
            searches.append(searching)
            runners.append(searching.runners(models, seed))
        follow([runner for starts in runners for runner in starts])
        for searching, starts in zip(searches, runners, strict=True):
            try:
                outcome, passes, history = searching.best(starts)
            except NumericalError as error:
                results.append(error)
                continue
            callback.on_end(outcome.status.value)
            edges = _edges(passes, sample, outcome)
            compile_seconds = readings.compile_seconds
            results.append(
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
                    seconds=time.perf_counter() - started,
                    plan=ready.plan,
                    compile_seconds=compile_seconds,
                    candidates=tuple(searching.candidates),
                    at_boundary=edges,
                )
            )
    return results


def evaluate(
    data: Catalogue,
    model: Model | GaussianMixture,
    *,
    survey: Survey | None = None,
    seed: int = 0,
    executor: Executor | None = None,
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
    data, model = as_catalogue(data), as_model(model)
    check_start(data, Start(model.mixture.n_components, model.mixture, model.background), Constraints(), survey)
    with prepared(
        data, model.mixture.n_components, survey=survey, constraints=Constraints(), executor=executor
    ) as ready:
        return evaluated(ready.passes, model, sample=ready.sample, seed=seed).last


def _edges(passes: Passes, sample: Chunk, outcome: Outcome) -> tuple[AtBoundary, ...]:
    """Of a fit that has settled. Without noise a covariance does not end at the edge but collapses, as repairs say."""
    settled = outcome.status is not Status.MAX_ITERATIONS
    if isinstance(sample.noise, NoNoise) or not settled or n_directions(outcome.model) > LARGEST:
        return ()
    known = Known(passes, sample).information(outcome.model, outcome.last)
    return boundary(outcome.model, outcome.last.moments, known, passes.constraints)


def check_start(data: Catalogue, start: Start, constraints: Constraints, survey: Survey | None) -> None:
    """Refuse what does not go together, before any work.

    Raises:
        DgmmisError: its subclasses say what.
    """
    for value, kind in ((start, Start), (survey or Survey(), Survey), (constraints, Constraints)):
        if not isinstance(value, kind):
            what = kind.__name__
            raise JobError(f"{what.lower()} is not a {what}", got=type(value).__name__, do=f"give {what}(...)")
    Prior.parse(constraints.prior).check(start.n_components, data.n_features)
    n_rows = sum(reference.n_rows for reference in data.references)
    if isinstance(start.method, str) and n_rows < start.n_components:
        raise DataError(
            "fewer objects than components",
            expected=f"at least {start.n_components}",
            got=n_rows,
            do="lower n_components",
        )
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
    if start.cutoff is not None and survey is not None:
        if isinstance(survey.selection, Injections):
            raise RefusedError("a cutoff, and injections, which say nothing of single points", do="leave one out")
        if start.background is not None and survey.selection_on != "observed":
            raise RefusedError("a cutoff, a background, and a selection on what was not measured", do="leave one out")
    if start.background is not None and start.background_fraction == 0 < constraints.background_bounds[1]:
        raise JobError("a background that starts with fraction 0 can never grow", do="start with a positive fraction")
