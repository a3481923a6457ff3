"""What the commands do: a job becomes a plan or a run; a run scores data and draws samples."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.callback import Callback
from dgmmis.catalogue import Drawn, draws, noise_kind
from dgmmis.dataset.checkpoint import Run, prepare_run, read_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.publish import require_room
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, RefusedError, StoreError
from dgmmis.execution.cluster import connect, local_resources
from dgmmis.execution.serial import Threads
from dgmmis.fit import Fit, check_start, evaluate, fit
from dgmmis.information import StandardErrors
from dgmmis.initialize import Start
from dgmmis.job import Job
from dgmmis.linalg import packed_size
from dgmmis.noise import DiagonalNoise, FullNoise, SharedNoise
from dgmmis.plan import Plan, Work, make_plan
from dgmmis.steadiness import require_steady
from dgmmis.survey import Survey
from dgmmis.uncertainty import Bootstrap, bootstrap

FIRST_ROWS = 4096
"""That are looked at before anything is planned."""

MOST_PARAMETERS = 500
"""With more of them standard errors take longer than a pass."""


def planned(job: Job) -> Plan:
    """The plan of a job's fit on the cluster it asks for; a local cluster is not started for it."""
    data, spec = _data(job), job.cluster_spec()
    _start(job, data)
    work = Work.of(data, job.model.n_components, job.survey())
    if spec.kind == "local" or (spec.kind == "auto" and not work.is_small):
        return make_plan(data.references, work, local_resources(spec))
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
) -> Run:
    """Fit a job and write its run to `out`.

    `announce` receives the plan, and where the dashboard is, before the fit begins.
    """
    data = _data(job)
    start = _start(job, data)
    prepare_run(out)
    work = Work.of(data, job.model.n_components, job.survey())
    executor = connect(job.cluster_spec(), small=work.is_small)
    try:
        plan = make_plan(data.references, work, executor.resources)
        if announce is not None:
            announce([*plan.lines(), *executor.about()])
        plan.check()
        result = fit(
            data,
            start,
            survey=job.survey(),
            constraints=job.constraints(),
            stopping=job.stopping(),
            search=job.search(),
            seed=job.fit.seed,
            executor=executor,
            callbacks=callbacks,
        )
        replicates = None
        if job.fit.bootstrap:
            replicates = bootstrap(
                data,
                result.model,
                job.fit.bootstrap,
                survey=job.survey(),
                constraints=job.constraints(),
                stopping=job.stopping(),
                seed=job.fit.seed,
                executor=executor,
            )
    finally:
        executor.close()
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
        "candidates": [_finite(asdict(candidate)) for candidate in result.candidates],
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "repairs": list(result.repairs),
        "dropped_by_cutoff": result.dropped,
        "data": str(data.path),
        "measured": None if data.schema.measured is None else list(data.schema.measured),
        "job": job.text,
        "history": [_finite(asdict(record)) for record in result.records],
    }
    run = Run(
        result.model,
        data.schema.features,
        data.schema.units,
        document,
        SurveyRecord.of(result.survey),
        result.noise_classes,
        result.by_class,
    )
    write_run(out, run)
    return run


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows neither NaN nor infinity."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


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


def _start(job: Job, data: Dataset) -> Start:
    """Where a job's fit starts from, once it is shown to go with the data: a plan refuses what a fit does."""
    start, survey = job.start(job.first_mixture()), job.survey()
    check_start(data, start, job.constraints(), survey)
    rows = data.references[0].load().take(slice(0, FIRST_ROWS))
    require_steady(survey.completed(rows, data.n_features), rows)
    return start


def _data(job: Job) -> Dataset:
    data = Dataset.open(job.resolve(job.data.path))
    if data.n_rows == 0:
        raise StoreError(f"the survey '{data.path}' has no rows")
    return data
