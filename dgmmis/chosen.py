"""A job becomes a choice of models, and the best of them a run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dgmmis.account import Account
from dgmmis.callback import Callback, Callbacks, Notice
from dgmmis.costs import Costs
from dgmmis.dataset.checkpoint import Run, is_unfinished, require_place_for_run, write_beside, write_run
from dgmmis.errors import JobError, RefusedError, counted
from dgmmis.execution.cluster import connect, foreseen
from dgmmis.initialize import START_METHODS
from dgmmis.job import Job
from dgmmis.model_selection import Choice, Criterion, Fitting, select
from dgmmis.model_selection.choice import check_alternatives
from dgmmis.model_selection.fitting import abreast
from dgmmis.plan import Work, make_plan
from dgmmis.runs import Making, given_by, run_of
from dgmmis.software import software
from dgmmis.telemetry import Telemetry
from dgmmis.uncertainty import bootstrap

TABLE = "choice.json"
"""Beside the run of the best."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The models of a choice.

    Args:
        components: numbers of components.
        covariance_types: structures; empty: that of the job.
        criterion: by which one is chosen.
        n_starts: of each of them; None: as many as the job says.
    """

    components: Sequence[int]
    covariance_types: Sequence[str] = ()
    criterion: Criterion = field(default_factory=Criterion)
    n_starts: int | None = None


def select_job(
    job: Job,
    tried: Tried,
    *,
    out: Path | None = None,
    callbacks: Sequence[Callback] = (),
    announce: Callable[[list[tuple[str, str]]], None] | None = None,
    run_id: str = "",
) -> tuple[Choice, Run | None]:
    """Fit several models to the data of a job, on its cluster, and choose one.

    Args:
        job: its data, survey, background, tolerance and cluster; not its number of components.
        tried: the models.
        out: where the best is written as a run, and the table beside it; None: nowhere.
        callbacks: that follow the fits.
        announce: receives the plan, and where the dashboard is, before they begin.
        run_id: of the run.

    Raises:
        RefusedError: a job with frozen components, or a mixture to start from.
        JobError: something unfinished is at `out`; as for `select`.
        DgmmisError: as for `select` and `run_job`.
    """
    structures = tuple(tried.covariance_types) or (job.model.covariance_type,)
    if job.model.frozen:
        raise RefusedError("[model] frozen, and a choice of how many components there are", do="freeze none")
    if job.first_mixture() is not None:
        ways = ", ".join(START_METHODS)
        raise RefusedError("[model] init is a run, which has one number of components", do=f"start with one of {ways}")
    if out is not None:
        require_place_for_run(out)
        if is_unfinished(out):
            raise JobError(f"in '{out}' a fit is not finished", do=f"`dgmmis resume {out}` finishes it")
    smallest = job.with_model(min(tried.components, default=0), structures[0])
    given = given_by(smallest)
    search = job.search() if tried.n_starts is None else replace(job.search(), n_starts=tried.n_starts)
    fitting = Fitting(given.start, smallest.constraints(), job.stopping(), search)
    alternatives = check_alternatives(given.rows, tried.components, structures, fitting=fitting, survey=given.survey)
    account = Account(job.path.stem, run_id)
    follower = Callbacks([account, *callbacks])
    work = Work.of(given.rows, sum(of.start.n_components for of in alternatives), given.survey)
    spec = job.cluster_spec()
    in_groups = partial(abreast, given.rows, alternatives, search.n_starts, work=work)
    resources = foreseen(spec, small=work.is_small)
    if resources is not None:
        in_groups(resources=resources)  # what does not fit is refused before a cluster is started
    executor = connect(spec, small=work.is_small)
    try:
        groups = in_groups(resources=executor.resources)
        largest = max(search.n_starts * sum(of.start.n_components for of in group) for group in groups)
        plan = make_plan(given.rows.references, replace(work, n_components=largest), executor.resources)
        if announce is not None:
            shared = f", in {len(groups)} groups that share their readings" if len(groups) > 1 else ""
            announce([("models", f"{len(alternatives)}{shared}"), *plan.lines(), *executor.about()])
        told = {"run": run_id, "goes_on": False, "job_file": str(job.path), "models": list(map(str, alternatives))}
        follower.on_notice(Notice("start", {**told, "plan": asdict(plan), "software": software()}))
        options: dict[str, Any] = {"survey": given.survey, "seed": job.fit.seed, "executor": executor}
        choice = select(
            given.rows,
            tried.components,
            covariance_types=structures,
            criterion=tried.criterion,
            fitting=fitting,
            callbacks=[Telemetry(executor, follower, account, lambda: False), *callbacks],
            **options,
        )
        if out is None:
            return choice, None
        best, n = choice.best, job.fit.bootstrap
        options |= {"constraints": best.constraints, "stopping": job.stopping()}
        replicates = bootstrap(given.rows, best.model, n, **options) if n else None
        costs = Costs.of_work(
            executor,
            executor.spent,
            records=best.records,
            seconds=choice.seconds,
            compile_seconds=best.compile_seconds,
        )
    finally:
        executor.close()
    chosen = job.with_model(choice.n_components, choice.covariance_type)
    run = run_of(chosen, given.data, best, replicates=replicates, made=Making(run_id, costs))
    write_run(out, run)
    write_beside(out, TABLE, choice.document())
    follower.on_notice(Notice("written", {"run": str(out), "models": counted(len(choice.table), "model")}))
    return choice, run
