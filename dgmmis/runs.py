"""What the commands do: a job becomes a plan or a run; a run scores data and draws samples."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.callback import Callback
from dgmmis.dataset.checkpoint import Run, prepare_run, read_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, StoreError, nearest_name
from dgmmis.execution.cluster import connect, local_resources
from dgmmis.execution.serial import Threads
from dgmmis.fit import fit
from dgmmis.initialize import START_METHODS
from dgmmis.job import Job, selection_from_table
from dgmmis.passes import Passes
from dgmmis.plan import Plan, Work, make_plan
from dgmmis.prior import Constraints
from dgmmis.survey import Survey

SAMPLE_BATCH = 1 << 16


def planned(job: Job) -> Plan:
    """The plan of a job's fit on the cluster it asks for; a local cluster is not started for it."""
    data, spec = _data(job), job.cluster_spec()
    work = Work.of(data, job.model.n_components)
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
    mixture = None
    if job.model.init not in START_METHODS:
        earlier = job.resolve(job.model.init)
        if not earlier.exists():
            raise JobError(
                f"init '{job.model.init}' is neither a way to start nor the path of a run",
                do=nearest_name(job.model.init, START_METHODS),
            )
        mixture = read_run(earlier).model.mixture
    prepare_run(out)
    start = job.start(mixture)
    work = Work.of(data, job.model.n_components)
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
            seed=job.fit.seed,
            executor=executor,
            callbacks=callbacks,
        )
    finally:
        executor.close()
    document = {
        "status": result.status.value,
        "converged": result.converged,
        "log_likelihood": result.log_likelihood,
        "objective": result.objective,
        "n_samples": result.n_samples,
        "completeness": result.completeness,
        "completeness_error": result.completeness_error,
        "background_fraction": result.model.background_fraction,
        "n_passes": result.n_passes,
        "seconds": result.seconds,
        "repairs": list(result.repairs),
        "selection": job.selection,
        "data": str(data.path),
        "job": job.text,
        "history": [{k: v if v == v else None for k, v in asdict(record).items()} for record in result.records],
    }
    run = Run(result.model, data.schema.features, data.schema.units, document)
    write_run(out, run)
    return run


def score_run(run_path: Path, data_path: Path) -> dict[str, Any]:
    """Mean log-likelihood per object of a survey under a run's model, and its parts."""
    run, data = read_run(run_path), Dataset.open(data_path)
    if data.schema.features != run.features:
        raise JobError("the survey has other features than the run", expected=run.features, got=data.schema.features)
    executor = Threads()
    plan = make_plan(data.references, Work.of(data, run.model.mixture.n_components), executor.resources)
    # objects where the survey could not see any are refused, as in a fit
    table = run.document.get("selection")
    survey = Survey(None if table is None else selection_from_table(table))
    passes = Passes(data.references, plan=plan, survey=survey, constraints=Constraints(), executor=executor)
    try:
        result = passes(run.model)
    finally:
        passes.close()
        executor.close()
    return {
        "log_likelihood": result.log_likelihood - float(np.log(run.completeness)),
        "n_samples": result.n_samples,
        "completeness": run.completeness,
    }


def sample_run(
    run_path: Path,
    n: int,
    out: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    on_batch: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """Draw n noise-free objects of a run's population into a store; batches are addressed by (seed, batch)."""
    run = read_run(run_path)
    schema = Schema(features=run.features, units=run.units)
    with SurveyWriter(
        out, schema, overwrite=overwrite, provenance={"drawn_from": str(run_path), "seed": seed}
    ) as writer:
        for batch, start in enumerate(range(0, n, SAMPLE_BATCH)):
            rng = generator(seed, Purpose.SAMPLE, batch)
            writer.write(run.model.sample(min(SAMPLE_BATCH, n - start), rng))
            if on_batch is not None:
                on_batch(writer.n_rows, n)
    return Dataset.open(out)


def _data(job: Job) -> Dataset:
    data = Dataset.open(job.resolve(job.data.path))
    if data.n_rows == 0:
        raise StoreError(f"the survey '{data.path}' has no rows")
    return data
