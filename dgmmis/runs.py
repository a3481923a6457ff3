"""What the commands do: a job becomes a plan or a run; a run scores data and draws samples."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.callback import Callback
from dgmmis.catalogue import Drawn, draws, noise_kind
from dgmmis.dataset.checkpoint import Run, read_run, require_place_for_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.encoding import encoded
from dgmmis.dataset.publish import require_room
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.under_way import Undertaking, UnderWay, finite, unfinished
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DivergedError, JobError, RefusedError, StoreError
from dgmmis.execution.cluster import connect, foreseen
from dgmmis.execution.executor import Executor
from dgmmis.execution.serial import Threads
from dgmmis.fit import Fit, check_start, evaluate, fit
from dgmmis.information import StandardErrors
from dgmmis.initialize import Start
from dgmmis.job import Job, parse_job
from dgmmis.linalg import packed_size
from dgmmis.noise import DiagonalNoise, FullNoise, SharedNoise
from dgmmis.noise_law import FromCatalogue
from dgmmis.plan import Plan, Work, make_plan
from dgmmis.remembered import SUMMANDS, Remembered
from dgmmis.steadiness import require_steady
from dgmmis.survey import Survey
from dgmmis.tables import background_to_table
from dgmmis.uncertainty import Bootstrap, bootstrap

FIRST_ROWS = 4096
"""That are looked at before anything is planned."""

MOST_PARAMETERS = 500
"""With more of them standard errors take longer than a pass."""


def planned(job: Job) -> Plan:
    """The plan of a job's fit on the cluster it asks for; none is started for it whose resources can be foreseen."""
    given, spec = _given(job), job.cluster_spec()
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
    callbacks: Sequence[Callback] = (),
    announce: Callable[[list[tuple[str, str]]], None] | None = None,
    overwrite: bool = False,
) -> Run:
    """Fit a job and write its run to `out`; go on with a fit of the same job that was interrupted there.

    `announce` receives the plan, and where the dashboard is, before the fit begins.

    Raises:
        DgmmisError: as in `fit` and `UnderWay`, with a note that says how to go on.
    """
    given = _given(job)
    data, work = given.data, given.work
    require_place_for_run(out)
    segments = tuple((segment.name, segment.identity) for segment in data.segments)
    task = Undertaking(job.text, str(job.path), job.essence, given.digest(), str(data.path), segments)
    with UnderWay(
        out,
        task,
        classes=SUMMANDS,
        interval=float(job.output.checkpoint_seconds),
        schema=data.schema,
        overwrite=overwrite,
        allow_code=job.allow_code,
    ) as under_way:
        executor = connect(job.cluster_spec(), small=work.is_small)
        try:
            plan = make_plan(data.references, work, executor.resources)
            if announce is not None:
                goes_on = [("goes on with", f"the fit that was begun in {out}")] if under_way.replays else []
                announce([*goes_on, *plan.lines(), *executor.about()])
            plan.check()
            try:
                result, replicates = _fitted(job, given, executor, under_way, callbacks)
            except DivergedError:
                under_way.begin_again()
                if announce is not None:
                    why = "another version, processor, or function takes other steps"
                    announce([("begins again", f"from the last model: {why}")])
                result, replicates = _fitted(job, given, executor, under_way, callbacks)
            run = _run(job, data, result, replicates, under_way)
            write_run(out, run)
            under_way.finish()
        finally:
            executor.close()
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


def _fitted(
    job: Job,
    given: "_Given",
    executor: Executor,
    under_way: UnderWay,
    callbacks: Sequence[Callback],
) -> tuple[Fit, Bootstrap | None]:
    """The fit, and its bootstrap if one is wanted, with every answer of the workers noted."""
    data, start, search = given.data, given.start, job.search()
    earlier = under_way.start()
    if earlier is not None:
        fraction = earlier.model.background_fraction
        start = replace(start, method=earlier.model.mixture, background_fraction=fraction or start.background_fraction)
        search = replace(search, n_starts=1)
    options: dict[str, Any] = {
        "survey": given.survey,
        "constraints": job.constraints(),
        "stopping": job.stopping(),
        "seed": job.fit.seed,
        "executor": Remembered(executor, under_way.journal),
    }
    result = fit(data, start, search=search, callbacks=[under_way, *callbacks], **options)
    n = job.fit.bootstrap
    return result, bootstrap(data, result.model, n, **options) if n else None


def _run(job: Job, data: Dataset, result: Fit, replicates: Bootstrap | None, under_way: UnderWay) -> Run:
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
        **_imputation(result),
        "candidates": [finite(asdict(candidate)) for candidate in result.candidates],
        "seconds": under_way.seconds,
        "compile_seconds": result.compile_seconds,
        "sittings": under_way.task.n_sittings,
        "repairs": list(result.repairs),
        "dropped_by_cutoff": result.dropped,
        "data": str(data.path),
        "measured": None if data.schema.measured is None else list(data.schema.measured),
        "job": job.text,
        "history": [finite(asdict(record)) for record in result.records],
    }
    return Run(
        result.model,
        data.schema.features,
        data.schema.units,
        document,
        SurveyRecord.of(result.survey),
        result.noise_classes,
        result.by_class,
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


def score_run(run_path: Path, data_path: Path, *, allow_code: bool = False) -> dict[str, Any]:
    """Mean log-likelihood per object of a survey under a run's model and survey, and its parts."""
    run, data = read_run(run_path, allow_code=allow_code), Dataset.open(data_path)
    if data.schema.features != run.features:
        raise JobError("the survey has other features than the run", expected=run.features, got=data.schema.features)
    # objects where the survey could not see any are refused, as in a fit
    survey = run.survey(allow_code=allow_code)
    executor = Threads()
    try:
        result = evaluate(data, run.model, survey=survey, executor=executor)
    finally:
        executor.close()
    return {
        "log_likelihood": result.log_likelihood,
        "n_samples": result.n_samples,
        "completeness": result.completeness,
        "completeness_error": result.completeness_error,
    }


def sample_run(
    run_path: Path,
    n: int,
    out: Path,
    *,
    which: str = "population",
    noise: bool | None = None,
    seed: int = 0,
    overwrite: bool = False,
    allow_code: bool = False,
    on_batch: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """Draw n objects of a run's model into a store: its population, what its survey sees of it, or what it misses.

    With noise they are measured as the survey would, where its fit says with what noise; without they are true
    positions. None: the population without, the others with whatever noise is known.

    Raises:
        RefusedError: noise that the run does not know; others as in `catalogue.drawn`.
    """
    run = read_run(run_path, allow_code=allow_code)
    measured = noise if noise is not None else which != "population"
    # true positions of the population have nothing to do with the survey, be it a function that is not allowed
    survey = run.survey(allow_code=allow_code) if measured or which != "population" else Survey()
    classes = run.noise_classes if survey.is_partial else ()
    if noise and survey.noise_law is None:
        raise RefusedError(
            "this run does not know the noise of its objects: nothing was selected on measured values",
            do="leave the noise out",
        )
    batches = draws(run.model, survey, noise_classes=classes, by_class=run.by_class, n=n, seed=seed, which=which)
    first = next(batches)
    schema = _schema(run, first, noise_kind(survey, classes)) if measured else Schema(run.features, run.units)
    require_room(out, n * schema.row_nbytes)
    provenance = {"drawn_from": str(run_path), "which": which, "seed": seed}
    with SurveyWriter(out, schema, overwrite=overwrite, provenance=provenance) as writer:
        for part in chain([first], batches):
            if measured:
                own = part.noise if isinstance(part.noise, (DiagonalNoise, FullNoise)) else None
                writer.write(part.points, own, projection=part.projection)
            else:
                writer.write(part.positions)
            if on_batch is not None:
                on_batch(writer.n_rows, n)
    return Dataset.open(out)


def _schema(run: Run, drawn: Drawn, kind: str) -> Schema:
    """Of drawn objects as they were measured."""
    names = run.document.get("measured") or [f"value_{i}" for i in range(drawn.points.shape[1])]
    shared = drawn.noise.covariance if isinstance(drawn.noise, SharedNoise) else None
    return Schema(run.features, run.units, kind, shared, measured=None if drawn.projection is None else tuple(names))


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What a job's files hold, each read once: the rows, how they came to be seen, and where the fit starts from."""

    data: Dataset
    survey: Survey
    start: Start

    @property
    def work(self) -> Work:
        """How much there is to do."""
        return Work.of(self.data, self.start.n_components, self.survey)

    def digest(self) -> str:
        """Of the survey and the start; of a function its name."""
        record, background, mixture = SurveyRecord.of(self.survey), self.start.background, self.start.method
        values: list[Any] = [
            json.dumps([record.tables, None if background is None else background_to_table(background)], default=str),
            dict(record.arrays),
            mixture if isinstance(mixture, str) else [mixture.weights, mixture.means, mixture.covariances],
        ]
        return hashlib.blake2b(encoded(values), digest_size=16).hexdigest()


def _given(job: Job) -> _Given:
    """What a job's files hold, once it is shown that they go together: a plan refuses what a fit does."""
    data = _data(job)
    start, survey = job.start(job.first_mixture()), job.survey()
    check_start(data, start, job.constraints(), survey)
    rows = data.references[0].load().take(slice(0, FIRST_ROWS))
    steady = survey
    if survey.selection is None or not isinstance(survey.noise_law, FromCatalogue):  # which needs more than these rows
        steady = survey.completed(rows, data.n_features)
    require_steady(steady, rows)
    return _Given(data, survey, start)


def _data(job: Job) -> Dataset:
    data = Dataset.open(job.resolve(job.data.path))
    if job.segments is not None:
        data = data.as_of(job.segments)
    if data.n_rows == 0:
        raise StoreError(f"the survey '{data.path}' has no rows")
    return data
