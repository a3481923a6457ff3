"""select(): fits of several numbers of components and structures as one job, and which of them a criterion prefers."""

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from math import nan
from typing import Any

import numpy as np

from dgmmis.alternatives import Alternative, fit_side_by_side
from dgmmis.callback import Callback, Callbacks, doing
from dgmmis.criteria import aic, bic, n_parameters
from dgmmis.dataset.arrays import Catalogue, CatalogueLike, as_catalogue
from dgmmis.dataset.folds import Fold
from dgmmis.errors import JobError, NumericalError, RefusedError
from dgmmis.execution.executor import Executor
from dgmmis.fit import Fit, check_start
from dgmmis.model_selection.comparison import Comparison
from dgmmis.model_selection.criterion import Criterion
from dgmmis.model_selection.cross_validation import CrossValidation, Difference, validated
from dgmmis.model_selection.entry import Entry
from dgmmis.model_selection.fitting import Fitting, Steps, abreast
from dgmmis.model_selection.recommendation import recommendation
from dgmmis.model_selection.scores import Judge, working
from dgmmis.plan import Work
from dgmmis.portrait import Portrait, Portrayed, table_text
from dgmmis.side_by_side import SideBySide
from dgmmis.survey import Survey
from dgmmis.telemetry import shown

MOST = 400
"""Models that are compared, at most: what is summed over the objects grows with the square of their number."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Choice(Portrayed):
    """Which of several models is best.

    Args:
        criterion: by what.
        table: one entry for every model, structure by structure, each in the order of the numbers of components.
        best: the fit of the best; its `n_passes` are those that served it.
        n_passes: readings of the data, or of the parts that a fold is fitted to or judged on, in all.
        seconds: in all.
    """

    criterion: Criterion
    table: tuple[Entry, ...]
    best: Fit
    n_passes: int
    seconds: float

    def __repr__(self) -> str:
        return f"Choice({self.recommendation})"

    @property
    def n_components(self) -> int:
        """The best number."""
        return self.best.model.mixture.n_components

    @property
    def covariance_type(self) -> str:
        """The best structure."""
        return self.best.constraints.covariance_type

    @property
    def entry(self) -> Entry:
        """Of the best."""
        return min(self.table, key=lambda entry: entry.rank(self.criterion))

    @property
    def recommendation(self) -> str:
        """Which is best and why, in a sentence or two."""
        return recommendation(self.criterion, self.entry, self.table)

    def __str__(self) -> str:
        return f"{table_text(self.rows())}\n\n{self.recommendation}"

    def rows(self) -> list[tuple[str, ...]]:
        """The table in words, heads first: which is best (*), parameters, log-likelihood per object, criteria, by how
        much each is worse than the best, and what is to be said of it."""
        heads = ["components", "covariances", "parameters", "log L", "BIC", "AIC", "ICL", "held-out", "worse by"]
        held_out = self.criterion.is_held_out
        if not held_out:
            heads.remove("held-out")
        rows: list[tuple[str, ...]] = [("", *heads, "")]
        for entry in self.table:
            values = [f"{entry.log_likelihood:.6f}", *(f"{value:.2f}" for value in (entry.bic, entry.aic, entry.icl))]
            if held_out:
                values.append(f"{entry.held_out:.6f}")
            worse = "" if entry.worse is None else f"{entry.worse.value:.3g} +- {entry.worse.standard_error:.2g}"
            mark = "*" if entry is self.entry else ""
            named = [str(entry.n_components), entry.covariance_type, str(entry.n_parameters)]
            said = ("! " if entry.mark else "") + (entry.mark or "".join(entry.notes[:1])).partition(":")[0]
            values = [mark, *named, *values, "" if mark else worse, said]
            rows.append(tuple("-" if value == "nan" else value for value in values))
        return rows

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        return Portrait("Choice", (("recommendation", self.recommendation),), tuple(self.rows()))

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "criterion": asdict(self.criterion),
            "n_components": self.n_components,
            "covariance_type": self.covariance_type,
            "recommendation": self.recommendation,
            "n_samples": self.best.n_samples,
            "n_passes": self.n_passes,
            "seconds": self.seconds,
            "table": [entry.document() for entry in self.table],
        }


def select(
    data: CatalogueLike,
    components: Iterable[int] = range(1, 11),
    *,
    covariance_types: Sequence[str] = ("full",),
    criterion: str | Criterion = "bic",
    fitting: Fitting | None = None,
    survey: Survey | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
) -> Choice:
    """Fit mixtures of several numbers of components and structures, and choose by a criterion.

    All of them are one job: each reading of the data serves every fit that is under way, as far as their sums fit into
    the workers' memory together. Each ends with the bits that `fit` finds.

    Args:
        data: the catalogue, the path of a store, or an array (n, d) of exact values.
        components: the numbers to try.
        covariance_types: the structures to try: "full", "diag", "tied", "spherical".
        criterion: "bic", "aic", "icl", "held-out", or a Criterion.
        fitting: start and background, prior, tolerance, how many starts of each; None: as `fit` does.
        survey: selection and noise law; None: everything was seen.
        seed: of everything random, the folds among it.
        executor, callbacks: as for `fit`.

    Raises:
        JobError: an unknown criterion or structure, no numbers, or too many.
        RefusedError: frozen components, or a given mixture to start from: they mean nothing in another number.
        NumericalError: all fits failed; where some do, their status says why.
        DgmmisError: as for `fit`.
    """
    started = time.perf_counter()
    data, fitting = as_catalogue(data), fitting or Fitting()
    criterion = criterion if isinstance(criterion, Criterion) else Criterion(criterion)
    alternatives = check_alternatives(data, components, covariance_types, fitting=fitting, survey=survey)
    n_components = sum(of.start.n_components for of in alternatives)
    owned = executor is None
    with (
        working(data, n_components, survey, executor) as executor,
        shown(executor, data) if owned else nullcontext(()) as watching,  # whoever gives an executor shows what it does
    ):
        callback = Callbacks([*watching, *callbacks])
        job = _Job(data, fitting, survey, criterion, seed, callback)
        work = Work.of(data, 1, survey)
        n_starts = fitting.search.n_starts
        for group in abreast(data, alternatives, n_starts, work=work, resources=executor.resources):
            job.fit(group, executor)
        choice = job.chosen(executor, started)
        callback.on_end(choice.best.status.value)
    return choice


def check_alternatives(
    data: Catalogue,
    components: Iterable[int],
    covariance_types: Sequence[str],
    *,
    fitting: Fitting,
    survey: Survey | None,
) -> list[Alternative]:
    """The models to fit, once it is shown that each can be.

    Raises:
        DgmmisError: as `select` and `fit` do before any work.
    """
    if isinstance(covariance_types, str):
        covariance_types = [covariance_types]
    numbers, structures = sorted(set(components)), list(dict.fromkeys(covariance_types))
    if not numbers or not structures:
        raise JobError("no numbers of components to try" if structures else "no covariance types to try")
    if len(numbers) * len(structures) > MOST:
        raise JobError("too many models to compare", expected=f"up to {MOST}", got=len(numbers) * len(structures))
    if fitting.constraints.frozen:
        raise RefusedError("frozen components, and a choice of how many there are", do="freeze none")
    if not isinstance(fitting.start.method, str):
        raise RefusedError(
            "a mixture to start from, and a choice of how many components there are", do="start with 'kmeans'"
        )
    starts = [replace(fitting.start, n_components=k) for k in numbers]  # refuses zero
    found = [Alternative(start, structure) for structure in structures for start in starts]
    for of in found:
        check_start(data, of.start, replace(fitting.constraints, covariance_type=of.covariance_type), survey)
    return found


class _Job:
    """The fits of a choice, group by group."""

    def __init__(
        self,
        data: Catalogue,
        fitting: Fitting,
        survey: Survey | None,
        criterion: Criterion,
        seed: int,
        callback: Callback,
    ) -> None:
        self._data, self._criterion = data, criterion
        self._folds = Fold.all(criterion.n_folds, seed) if criterion.is_held_out else ()
        self._steps = Steps(callback)
        self._way: dict[str, Any] = {
            "survey": survey,
            "constraints": fitting.constraints,
            "stopping": fitting.stopping,
            "search": fitting.search,
            "seed": seed,
        }
        self._fits: list[tuple[Alternative, Fit | NumericalError]] = []
        self._validations: list[CrossValidation | NumericalError | None] = []
        self._n_passes = 0

    def fit(self, group: Sequence[Alternative], executor: Executor) -> None:
        """Fit some models side by side, to all rows and to those of all folds but one."""
        found = self._fitted(executor, "", self._data, group)
        self._fits += zip(group, found.ends, strict=True)
        self._n_passes += found.n_passes
        if not self._folds:
            self._validations += [None] * len(group)
            return
        folds = iter(self._folds)

        def fit_all(part: Catalogue, some: Sequence[Alternative]) -> SideBySide[Fit]:
            return self._fitted(executor, f"fold {next(folds).number}: ", part, some)

        judged = validated(self._data, group, fit_all, folds=self._folds, executor=executor)
        self._validations += judged.ends
        self._n_passes += judged.n_passes

    def _fitted(self, executor: Executor, prefix: str, data: Catalogue, some: Sequence[Alternative]) -> SideBySide[Fit]:
        self._steps.prefix = prefix
        return fit_side_by_side(data, some, executor=executor, callbacks=[self._steps], **self._way)

    def chosen(self, executor: Executor, started: float) -> Choice:
        """The best of them, and by how much it is."""
        fits = [one for _, one in self._fits if isinstance(one, Fit)]
        if not fits:
            raise NumericalError("no fit succeeded", got="; ".join(str(error) for _, error in self._fits))
        self._steps.on_notice(doing("comparing the models"))
        judges = [Judge.of(one.model, one.last, one.observing, one.points_of) for one in fits]
        comparison = Comparison.of(self._data, judges, executor)
        places = {id(one): m for m, one in enumerate(fits)}
        place = [places.get(id(one)) for _, one in self._fits]  # of each entry in the comparison
        table = []
        for (of, one), validation, m in zip(self._fits, self._validations, place, strict=True):
            certainty = nan if m is None else float(comparison.certainty[m])
            table.append(_entry(of, one, validation, certainty))
        first = min(range(len(table)), key=lambda m: table[m].rank(self._criterion))
        best = self._fits[first][1]
        if not isinstance(best, Fit):
            raise NumericalError("no fit has a value", got="; ".join(entry.status for entry in table))
        for m, entry in enumerate(table):
            error = nan
            a, b = place[m], place[first]
            if a is not None and b is not None:
                error = 2 * comparison.standard_error(a, b, with_certainty=self._criterion.name == "icl")
            table[m] = replace(entry, worse=_worse(entry, table[first], error, self._criterion))
        seconds = time.perf_counter() - started
        return Choice(self._criterion, tuple(table), best, self._n_passes + 1, seconds)


def _entry(
    of: Alternative, found: Fit | NumericalError, validation: CrossValidation | NumericalError | None, certainty: float
) -> Entry:
    k, structure = of.start.n_components, of.covariance_type
    if isinstance(found, NumericalError):
        return Entry(k, structure, 0, nan, nan, nan, nan, None, None, str(found), converged=False)
    p, n = n_parameters(found.model, found.constraints), found.n_samples
    total = n * found.log_likelihood
    value = bic(total, p, n)
    failed = str(validation) if isinstance(validation, NumericalError) else None
    return Entry(
        k,
        structure,
        n_parameters=p,
        log_likelihood=found.log_likelihood,
        bic=value,
        aic=aic(total, p),
        icl=value - 2 * certainty,
        validation=None if isinstance(validation, NumericalError) else validation,
        worse=None,
        status=failed or found.status.value,
        converged=found.converged and failed is None,
        repairs=found.repairs[len(found.at_boundary) :],
        notes=(*map(str, found.runaways), *found.repairs[: len(found.at_boundary)]),
    )


def _worse(entry: Entry, best: Entry, error: float, criterion: Criterion) -> Difference | None:
    """By how much an entry is worse than the best."""
    if criterion.is_held_out:
        if entry.validation is None or best.validation is None:
            return None
        return best.validation - entry.validation
    value = entry.value(criterion) - best.value(criterion)
    return Difference(value, error) if np.isfinite(value) else None
