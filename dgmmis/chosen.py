"""A job becomes a choice of models, and the best of them a run."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from dgmmis.account import Account
from dgmmis.alternatives import Alternative
from dgmmis.callback import Callback, Callbacks, Notice, doing
from dgmmis.costs import Costs
from dgmmis.dataset.checkpoint import Run, require_place_for_run, write_beside, write_run
from dgmmis.dataset.manifest import read_document
from dgmmis.dataset.place import place_of
from dgmmis.dataset.selection_under_way import SelectionUnderWay
from dgmmis.dataset.under_way import SITTING, Sitting, places, unfinished
from dgmmis.dataset.undertaking import Undertaking
from dgmmis.errors import RefusedError, StoreError, counted
from dgmmis.execution.cluster import connect, foreseen, what_starts
from dgmmis.execution.executor import Executor, Resources
from dgmmis.initialize import START_METHODS
from dgmmis.job import Job
from dgmmis.model_selection import Choice, Criterion, Fitting
from dgmmis.model_selection.comparison import Comparison
from dgmmis.model_selection.fitting import abreast
from dgmmis.model_selection.kept import KEPT
from dgmmis.model_selection.selecting import Selecting, check_alternatives, done
from dgmmis.plan import Plan, Work, make_plan
from dgmmis.remembered import SUMMANDS, Remembered
from dgmmis.runs import Given, Making, given_by, run_of
from dgmmis.software import software
from dgmmis.spent import Spent
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

    def of(self, job: Job) -> "Tried":
        """The same with what the job says where nothing was said."""
        structures = tuple(dict.fromkeys(self.covariance_types)) or (job.model.covariance_type,)
        n_starts = job.fit.n_starts if self.n_starts is None else self.n_starts
        return Tried(tuple(sorted(set(self.components))), structures, self.criterion, n_starts)

    @property
    def text(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of_text(cls, text: str) -> "Tried":
        """From JSON text.

        Raises:
            DgmmisError, TypeError, ValueError, KeyError: it is something else.
        """
        found = json.loads(text)
        components, n_starts = tuple(int(k) for k in found["components"]), found["n_starts"]
        structures = tuple(str(name) for name in found["covariance_types"])
        return cls(components, structures, Criterion(**found["criterion"]), None if n_starts is None else int(n_starts))


def select_job(
    job: Job,
    tried: Tried,
    *,
    out: Path | None = None,
    callbacks: Sequence[Callback] = (),
    announce: Callable[[list[tuple[str, str]]], None] | None = None,
    sitting: Sitting = SITTING,
) -> tuple[Choice, Run | None]:
    """Fit several models to the data of a job, on its cluster, and choose one; go on with the same selection that was
    interrupted at `out`.

    Args:
        job: its data, survey, background, tolerance and cluster; not its number of components.
        tried: the models.
        out: where the best is written as a run, and the table beside it; None: nowhere, and nothing is kept meanwhile.
        callbacks: that follow the fits.
        announce: receives the plan, and where the dashboard is, before they begin.
        sitting: how this process goes about it.

    Raises:
        RefusedError: a job with frozen components, or a mixture to start from.
        DgmmisError: as for `select` and `run_job`, with a note that says how to go on.
    """
    tried = tried.of(job)
    selection = _Selection.of(job, tried)
    account = Account(job.path.stem, sitting.run_id)
    follower = Callbacks([account, *callbacks])
    spec, small, data = job.cluster_spec(), selection.work.is_small, selection.given.data
    resources = foreseen(spec, small=small)
    if resources is not None:
        selection.groups(resources)  # what does not fit is refused before a cluster is started
    with selection.under_way(job, out, sitting, follower) as under_way:
        follower.on_notice(doing(what_starts(spec, small=small)))
        executor = connect(spec, small=small)
        try:
            # bits do not depend on who shares a reading, but what the journal says does
            sizes = under_way.settled("groups", partial(selection.sizes, executor.resources))
            groups = [selection.alternatives[a:b] for a, b in pairwise(accumulate(sizes, initial=0))]
            plan = selection.plan(groups, executor.resources)
            if announce is not None:
                shared = f", in {len(groups)} groups that share their readings" if len(groups) > 1 else ""
                models = ("models", f"{len(selection.alternatives)}{shared}")
                announce([*under_way.about(), models, *plan.lines(), *executor.about()])
            follower.on_notice(selection.start(under_way, groups, plan))
            plan.check()
            work = _Work(executor, under_way)
            with Telemetry(
                executor,
                follower,
                account,
                schema=data.schema,
                replays=lambda: under_way.replays,
                stopping=job.stopping(),
            ) as telemetry:
                choice = selection.choice(groups, work, [under_way, telemetry, *callbacks])
            if isinstance(under_way, Unkept):
                return choice, None
            run = selection.run(choice, work, under_way, callbacks)
            follower.on_notice(doing("writing"))
            destination = under_way.task.destination or under_way.out
            write_run(destination, run)
            write_beside(destination, TABLE, choice.document())
            under_way.finish()
        finally:
            executor.close()
    follower.on_notice(Notice("written", {"run": str(out), "models": counted(len(choice.table), "model")}))
    return choice, run


def tried_in(out: Path) -> Tried | None:
    """The models of the selection that is not finished in a folder; None where there is none.

    Raises:
        StoreError: it cannot be read.
    """
    task = unfinished(out)
    if task is None or not task.tried:
        return None
    try:
        return Tried.of_text(task.tried)
    except Exception as error:
        do = "begin anew with `dgmmis select --overwrite`"
        raise StoreError(f"the selection in '{out}' cannot be read", got=error, do=do) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Selection:
    """What is selected, once it is shown that it can be.

    Args:
        job: with the smallest of the models.
        tried: the models.
        given: what the job's files hold.
        fitting: how each model is fitted.
        alternatives: the models.
    """

    job: Job
    tried: Tried
    given: Given
    fitting: Fitting
    alternatives: Sequence[Alternative]

    @classmethod
    def of(cls, job: Job, tried: Tried) -> "_Selection":
        if job.model.frozen:
            raise RefusedError("[model] frozen, and a choice of how many components there are", do="freeze none")
        if job.first_mixture() is not None:
            ways, what = ", ".join(START_METHODS), "[model] init is a run, which has one number of components"
            raise RefusedError(what, do=f"start with one of {ways}")
        smallest = job.with_model(min(tried.components, default=0), tried.covariance_types[0])
        given = given_by(smallest)
        search = job.search() if tried.n_starts is None else replace(job.search(), n_starts=tried.n_starts)
        fitting = Fitting(given.start, smallest.constraints(), job.stopping(), search)
        alternatives = check_alternatives(
            given.rows, tried.components, tried.covariance_types, fitting=fitting, survey=given.survey
        )
        return cls(smallest, tried, given, fitting, alternatives)

    @property
    def work(self) -> Work:
        """All models side by side."""
        n_components = sum(of.start.n_components for of in self.alternatives)
        return Work.of(self.given.rows, n_components, self.given.survey)

    def groups(self, resources: Resources) -> list[Sequence[Alternative]]:
        """The models that share their readings."""
        n_starts = self.fitting.search.n_starts
        return abreast(self.given.rows, self.alternatives, n_starts, work=self.work, resources=resources)

    def sizes(self, resources: Resources) -> list[int]:
        """How many they are, group by group."""
        return [len(group) for group in self.groups(resources)]

    def plan(self, groups: Sequence[Sequence[Alternative]], resources: Resources) -> Plan:
        """Of a reading for the largest group."""
        n_starts = self.fitting.search.n_starts
        largest = max(n_starts * sum(of.start.n_components for of in group) for group in groups)
        return make_plan(self.given.rows.references, replace(self.work, n_components=largest), resources)

    def under_way(
        self, job: Job, out: Path | None, sitting: Sitting, follower: Callback
    ) -> "SelectionUnderWay | Unkept":
        """The folder where it is kept; `job` has the text that is kept of it."""
        task = replace(self.given.undertaking(self.job), text=job.text, tried=self.tried.text)
        if out is None:
            return Unkept(replace(task, run_id=sitting.run_id))
        destination, folder = places(out, job.path, overwrite=sitting.overwrite)
        require_place_for_run(destination)
        return SelectionUnderWay(
            folder,
            task if destination == folder else replace(task, destination=str(destination)),
            kept=KEPT,
            classes={**SUMMANDS, Comparison.__name__: Comparison},
            interval=float(job.output.checkpoint_seconds),
            schema=self.given.data.schema,
            sitting=sitting,
            allow_code=job.allow_code,
            follower=follower,
        )

    def start(
        self, under_way: "SelectionUnderWay | Unkept", groups: Sequence[Sequence[Alternative]], plan: Plan
    ) -> Notice:
        """What is about to begin, for machines; of the fits those that are left."""
        criterion, task = self.tried.criterion, under_way.task
        n_folds = criterion.n_folds if criterion.is_held_out else 0
        parts = [len(group) for group in groups for _ in range(1 + n_folds)]
        values = {
            "run": task.run_id,
            "sitting": task.n_sittings,
            "goes_on": under_way.replays,
            "job_file": str(self.job.path),
            "models": list(map(str, self.alternatives)),
            "n_fits": self.fitting.search.n_starts * sum(parts[under_way.ended_before :]),
            "plan": asdict(plan),
            "software": software(),
        }
        return Notice("start", values)

    def choice(self, groups: Sequence[Sequence[Alternative]], work: "_Work", callbacks: Sequence[Callback]) -> Choice:
        """Fit them all, and choose."""
        started = time.perf_counter() - work.under_way.seconds_before
        callback = Callbacks(callbacks)
        selecting = Selecting(
            self.given.rows,
            self.fitting,
            survey=self.given.survey,
            criterion=self.tried.criterion,
            seed=self.job.fit.seed,
            callback=callback,
            part=work.part,
        )
        work.under_way.n_parts = selecting.n_parts(len(groups))
        for group in groups:
            selecting.fit(group, work.executor)
        choice = selecting.chosen(work.executor, started)
        callback.on_end(choice.best.status.value)
        return choice

    def run(self, choice: Choice, work: "_Work", under_way: SelectionUnderWay, callbacks: Sequence[Callback]) -> Run:
        """The best as a run, with its bootstrap if the job wants one."""
        best, n, job, task = choice.best, self.job.fit.bootstrap, self.job, under_way.task
        options: dict[str, Any] = {"constraints": best.constraints, "stopping": job.stopping(), "seed": job.fit.seed}
        options |= {"survey": self.given.survey, "executor": work.executor, "callbacks": callbacks}
        again = partial(bootstrap, self.given.rows, best.model, n, **options)
        replicates = under_way.carried_on("bootstrap", again) if n else None
        costs = Costs.of_work(
            work.executor,
            work.spent,
            records=best.records,
            seconds=under_way.seconds,
            compile_seconds=best.compile_seconds,
        )
        chosen = job.with_model(choice.n_components, choice.covariance_type)
        made = Making(task.run_id, costs, task.n_sittings)
        return run_of(chosen, self.given.data, best, replicates=replicates, made=made)


class Unkept(Callback):
    """A selection of which nothing is kept: what `SelectionUnderWay` is to one that has a folder."""

    replays, seconds_before, n_parts, ended_before = False, 0.0, 0, 0

    def __init__(self, task: Undertaking) -> None:
        self.task = task

    def __enter__(self) -> "Unkept":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def settled(self, name: str, make: Callable[[], Any]) -> Any:
        """What is decided, or what a part came to."""
        return done(name, make)

    part = settled

    def about(self) -> list[tuple[str, str]]:
        """What it goes on with: nothing."""
        return []


class _Work:
    """The parts of a selection on an executor, what they spent, and what those spent that had ended before."""

    def __init__(self, executor: Executor, under_way: SelectionUnderWay | Unkept) -> None:
        self.under_way, self._earlier, self.executor = under_way, Spent(), executor
        if isinstance(under_way, SelectionUnderWay):
            self.executor = Remembered(executor, under_way.journal)

    @property
    def spent(self) -> Spent:
        return self.executor.spent + self._earlier

    def part(self, name: str, do: Callable[[], Any]) -> Any:
        """What a part came to (`selecting.PartOf`)."""
        is_new, before = False, self.executor.spent

        def spending() -> dict[str, Any]:
            nonlocal is_new
            is_new, found = True, do()
            return {"found": found, "spent": self.executor.spent - before}

        kept = self.under_way.part(name, spending)
        if not is_new:
            self._earlier += replace(kept["spent"], replayed=kept["spent"].seconds)
        return kept["found"]


def read_choice(run_path: Path) -> dict[str, Any]:
    """The table of the models that a run is the best of, as `Choice.document` has it.

    Raises:
        StoreError: there is none beside the run, or it cannot be read.
    """
    file = place_of(run_path) / TABLE
    try:
        document = read_document(file)
    except FileNotFoundError:
        document = {}
    except OSError as error:
        raise StoreError(f"'{file}' cannot be read", got=error, do="check its permissions") from error
    if not document:
        do = f"`dgmmis select JOB.toml --components 1:20 --out {run_path}` makes one"
        raise StoreError(f"no table of a choice beside the run '{run_path}'", do=do)
    return document
