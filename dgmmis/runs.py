"""A job becomes a plan or a run."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.account import Account
from dgmmis.callback import Callback, Callbacks, Notice, doing
from dgmmis.costs import Costs
from dgmmis.dataset.arrays import Catalogue
from dgmmis.dataset.checkpoint import Run, read_run, require_place_for_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.encoding import encoded
from dgmmis.dataset.folds import Fold, training
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.under_way import SITTING, Sitting, UnderWay, places, unfinished
from dgmmis.dataset.undertaking import Undertaking
from dgmmis.errors import DivergedError, StoreError
from dgmmis.execution.cluster import connect, foreseen, what_starts
from dgmmis.execution.executor import Executor
from dgmmis.fit import Fit, check_start, fit
from dgmmis.information import StandardErrors
from dgmmis.initialize import Start
from dgmmis.job import Job, parse_job
from dgmmis.linalg import packed_size
from dgmmis.noise_law import FromCatalogue
from dgmmis.plain import as_plain
from dgmmis.plan import Plan, Work, make_plan
from dgmmis.remembered import SUMMANDS, Remembered
from dgmmis.software import software
from dgmmis.spent import Spent
from dgmmis.steadiness import require_steady
from dgmmis.survey import Survey
from dgmmis.tables import background_to_table
from dgmmis.telemetry import Telemetry
from dgmmis.uncertainty import Bootstrap, bootstrap

FIRST_ROWS = 4096
"""That are looked at before anything is planned."""

MOST_PARAMETERS = 500
"""With more of them standard errors take longer than a pass."""


def planned(job: Job) -> Plan:
    """The plan of a job's fit on the cluster it asks for; none is started for it whose resources can be foreseen."""
    given, spec = given_by(job), job.cluster_spec()
    data, work = given.data, given.work
    resources = foreseen(spec, small=work.is_small)
    if resources is not None:
        return make_plan(data.references, work, resources)
    executor = connect(spec, small=True)
    try:
        return make_plan(data.references, work, executor.resources)
    finally:
        executor.close()


def run_job(
    job: Job,
    out: Path,
    *,
    given: "Given | None" = None,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
    announce: Callable[[list[tuple[str, str]]], None] | None = None,
    sitting: Sitting = SITTING,
) -> Run:
    """Fit a job and write its run to `out`; go on with a fit of the same job that was interrupted there.

    Args:
        job: what is fitted.
        out: the run's folder; or its URL in a bucket, or the folder beside the job file where that was begun.
        given: what the job's files hold, or something in its place.
        executor: that does the work; None: the job's own.
        callbacks: that follow the fit.
        announce: receives the plan, and where the dashboard is, before the fit begins.
        sitting: how this process goes about it.

    Raises:
        DgmmisError: as in `fit` and `UnderWay`, with a note that says how to go on.
    """
    given = given or given_by(job)
    data, work = given.data, given.work
    account = Account(job.path.stem, sitting.run_id)
    follower = Callbacks([account, *callbacks])
    destination, folder = places(out, job.path, overwrite=sitting.overwrite)
    require_place_for_run(destination)
    task = given.undertaking(job)
    with UnderWay(
        folder,
        task if destination == folder else replace(task, destination=str(destination)),
        classes=SUMMANDS,
        interval=float(job.output.checkpoint_seconds),
        schema=data.schema,
        sitting=sitting,
        allow_code=job.allow_code,
        follower=follower,
    ) as under_way:
        spec = job.cluster_spec()
        if executor is None:
            follower.on_notice(doing(what_starts(spec, small=work.is_small)))
        working = executor or connect(spec, small=work.is_small)
        try:
            plan = make_plan(given.rows.references, work, working.resources)
            if announce is not None:
                goes_on = [("goes on with", f"the fit that was begun in {folder}")] if under_way.replays else []
                if destination != folder:
                    goes_on.append(("run", f"{destination}, made in {folder}"))
                announce([*goes_on, *plan.lines(), *working.about()])
            follower.on_notice(_start(job, under_way, plan, working))
            plan.check()
            with Telemetry(
                working,
                follower,
                account,
                schema=data.schema,
                replays=lambda: under_way.replays,
                stopping=job.stopping(),
            ) as telemetry:
                following = [telemetry, *callbacks]
                try:
                    result, replicates, spent = _fitted(job, given, working, under_way, following)
                except DivergedError:
                    under_way.begin_again()
                    why = "from the last model: another version, processor, or function takes other steps"
                    for one in (follower, telemetry):
                        one.on_notice(Notice("begins again", {"message": why}, "warning"))
                    if announce is not None:
                        announce([("begins again", why)])
                    result, replicates, spent = _fitted(job, given, working, under_way, following)
            follower.on_notice(doing("standard errors"))
            task = under_way.task
            costs = Costs.of_work(
                working,
                spent,
                records=result.records,
                seconds=under_way.seconds,
                compile_seconds=result.compile_seconds,
            )
            made = Making(task.run_id, costs, task.n_sittings)
            run = run_of(job, data, result, replicates=replicates, made=made)
            follower.on_notice(doing("writing"))
            write_run(destination, run)
            under_way.finish()
            written = ("status", "converged", "objective", "completeness", "n_samples", "n_passes", "seconds", "costs")
            follower.on_notice(Notice("written", {name: run.document[name] for name in written}))
        finally:
            if executor is None:
                working.close()
    return run


def resumed(out: Path, *, allow_code: bool = False) -> Job | None:
    """The job of a fit that was interrupted; None if the run in the folder is finished.

    Raises:
        StoreError: there is neither.
    """
    task = unfinished(out)
    if task is None:
        read_run(out, allow_code=allow_code)  # which says what is there instead
        return None
    job = parse_job(task.text, Path(task.path), allow_code=allow_code)
    return replace(job, segments=task.segments)


def _start(job: Job, under_way: UnderWay, plan: Plan, executor: Executor) -> Notice:
    """What is about to begin, for machines."""
    values = {
        "run": under_way.task.run_id,
        "sitting": under_way.task.n_sittings,
        "goes_on": under_way.replays,
        "job_file": str(job.path),
        "out": str(under_way.out),
        "plan": asdict(plan),
        "software": software(),
        **{what.replace(" ", "_"): where for what, where in executor.about() if what != "in its menu"},
    }
    return Notice("start", values)


def _fitted(
    job: Job,
    given: "Given",
    executor: Executor,
    under_way: UnderWay,
    callbacks: Sequence[Callback],
) -> tuple[Fit, Bootstrap | None, Spent]:
    """The fit, and its bootstrap if one is wanted, with every answer of the workers noted; and what those spent."""
    data, start, search = given.rows, given.start, job.search()
    earlier = under_way.start()
    if earlier is not None:
        fraction = earlier.model.background_fraction
        start = replace(start, method=earlier.model.mixture, background_fraction=fraction or start.background_fraction)
        search = replace(search, n_starts=1)
    remembered = Remembered(executor, under_way.journal)
    options: dict[str, Any] = {
        "survey": given.survey,
        "constraints": job.constraints(),
        "stopping": job.stopping(),
        "seed": job.fit.seed,
        "executor": remembered,
    }
    result = fit(data, start, search=search, callbacks=[under_way, *callbacks], **options)
    n = job.fit.bootstrap
    replicates = bootstrap(data, result.model, n, callbacks=callbacks, **options) if n else None
    return result, replicates, remembered.spent


@dataclass(frozen=True, slots=True)
class Making:
    """How a run was made.

    Args:
        run_id: a short random word that it keeps for life.
        costs: what it took.
        sittings: how often it was begun.
    """

    run_id: str
    costs: Costs
    sittings: int = 1


def run_of(job: Job, data: Dataset, result: Fit, *, replicates: Bootstrap | None, made: Making) -> Run:
    """What is kept of the fit of a job, and of its bootstrap."""
    errors = _errors(result)
    if replicates is not None:
        errors["bootstrap"] = _bootstrapped(result, replicates)
    document = {
        "status": result.status.value,
        "converged": result.converged,
        "log_likelihood": result.log_likelihood,
        "objective": result.objective,
        "n_samples": result.n_samples,
        "completeness": result.completeness,
        "completeness_error": result.completeness_error,
        "background_fraction": result.model.background_fraction,
        **errors,
        "n_passes": result.n_passes,
        "distance": as_plain(result.records[-1].distance),
        "arrived": job.stopping().arrived,
        **_imputation(result),
        "candidates": [as_plain(asdict(candidate)) for candidate in result.candidates],
        "seconds": made.costs.seconds,
        "compile_seconds": made.costs.compile_seconds,
        "costs": made.costs.document(),
        "sittings": made.sittings,
        "repairs": list(result.repairs),
        "runaways": [str(one) for one in result.runaways],
        "dropped_by_cutoff": result.dropped,
        "run_id": made.run_id,
        "data": str(data.path),
        "measured": None if data.schema.measured is None else list(data.schema.measured),
        "job": job.text,
        "history": [as_plain(asdict(record)) for record in result.records],
    }
    return Run(
        result.model,
        data.schema.features,
        data.schema.units,
        document,
        SurveyRecord.of(result.survey),
        result.noise_classes,
        result.by_class,
        result.last.moments,
    )


def _imputation(result: Fit) -> dict[str, Any]:
    """The points that stood for the unseen, and the largest error that they made, in statistical errors."""
    points_of, error = result.points_of, result.last.monte_carlo
    if points_of is None or error is None:
        return {}
    return {"imputed_points": points_of.n_points, "rounds": points_of.index + 1, "imputation_error": error.share}


def _errors(result: Fit) -> dict[str, Any]:
    """Standard errors and the expected number of objects as JSON values, where there are not too many parameters."""
    k, d = result.model.mixture.means.shape
    if k * (1 + d + packed_size(d)) > MOST_PARAMETERS:
        return {"n_objects": result.n_samples / result.completeness}
    errors = result.standard_errors()
    n_objects, n_objects_error = result.n_objects(errors)
    return {"n_objects": n_objects, "n_objects_error": n_objects_error, "standard_errors": _by_name(errors)}


def _bootstrapped(result: Fit, replicates: Bootstrap) -> dict[str, Any]:
    """The scatter of the replicates; the objects before selection with the binomial scatter of who was seen."""
    z, n = replicates.completeness, result.n_samples
    scatter = float(np.std(n / z, ddof=1))
    binomial = n * (1 - result.completeness) / result.completeness**2
    return {
        "n_replicates": len(replicates.models),
        "n_arrived": replicates.n_arrived,
        "n_passes": replicates.n_passes,
        "n_objects_error": float(np.sqrt(scatter**2 + binomial)),
        "completeness_error": float(np.std(z, ddof=1)),
        **_by_name(replicates.standard_errors),
    }


def _by_name(errors: StandardErrors) -> dict[str, Any]:
    return {
        "weights": errors.weights.tolist(),
        "means": errors.means.tolist(),
        "covariances": errors.covariances.tolist(),
        "background_fraction": errors.background_amplitude,
    }


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a job's files hold, each read once: the rows, how they came to be seen, and where the fit starts from.

    Args:
        data: the survey.
        survey: selection and noise law.
        start: the first model.
        without: a fold of the rows that the fit does not see.
    """

    data: Dataset
    survey: Survey
    start: Start
    without: Fold | None = None

    @property
    def rows(self) -> Catalogue:
        """What is fitted."""
        return self.data if self.without is None else training(self.data, self.without)

    @property
    def work(self) -> Work:
        """How much there is to do."""
        return Work.of(self.rows, self.start.n_components, self.survey, start=self.start)

    def undertaking(self, job: Job) -> Undertaking:
        """What a fit of it is about."""
        return Undertaking(
            job.text, str(job.path), job.essence, self._digest(), str(self.data.path), self.data.identities
        )

    def _digest(self) -> str:
        """Of the survey and the start; of a function its name."""
        record, background, mixture = SurveyRecord.of(self.survey), self.start.background, self.start.method
        values: list[Any] = [
            json.dumps([record.tables, None if background is None else background_to_table(background)], default=str),
            dict(record.arrays),
            mixture if isinstance(mixture, str) else [mixture.weights, mixture.means, mixture.covariances],
        ]
        if self.without is not None:
            values.append([self.start.background_fraction, repr(self.without)])
        return hashlib.blake2b(encoded(values), digest_size=16).hexdigest()


def given_by(job: Job) -> Given:
    """What a job's files hold, once it is shown that they go together: a plan refuses what a fit does."""
    data = _data(job)
    start, survey = job.start(job.first_mixture()), job.survey()
    check_start(data, start, job.constraints(), survey)
    rows = data.references[0].load().take(slice(0, FIRST_ROWS))
    steady = survey
    if survey.selection is None or not isinstance(survey.noise_law, FromCatalogue):  # which needs more than these rows
        steady = survey.completed(rows, data.n_features)
    require_steady(steady, rows)
    return Given(data, survey, start)


def _data(job: Job) -> Dataset:
    data = Dataset.open(job.resolve(job.data.path))
    if job.segments is not None:
        data = data.as_of(job.segments)
    if data.n_rows == 0:
        raise StoreError(f"the survey '{data.path}' has no rows")
    return data
