"""select(): fits of several numbers of components and structures as one job, and which of them a criterion prefers."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from math import nan
from typing import Any

import numpy as np

from dgmmis.alternatives import Alternative, fit_side_by_side
from dgmmis.callback import Callback, Callbacks, doing
from dgmmis.criteria import aic, bic, n_parameters
from dgmmis.dataset.arrays import Catalogue, CatalogueLike, as_catalogue
from dgmmis.dataset.folds import Fold, training
from dgmmis.errors import JobError, NumericalError, RefusedError
from dgmmis.execution.executor import Executor
from dgmmis.fit import Fit, check_start
from dgmmis.model_selection.choice import Choice
from dgmmis.model_selection.comparison import Comparison
from dgmmis.model_selection.criterion import Criterion
from dgmmis.model_selection.cross_validation import (
    CrossValidation,
    Difference,
    HeldOut,
    fitted_and_judged,
    validated,
)
from dgmmis.model_selection.entry import Entry
from dgmmis.model_selection.fitting import Fitting, Steps, abreast
from dgmmis.model_selection.kept import Common, Kept
from dgmmis.model_selection.scores import Judge, working
from dgmmis.noise_law import FromCatalogue
from dgmmis.plan import Work
from dgmmis.side_by_side import SideBySide
from dgmmis.survey import Survey
from dgmmis.telemetry import shown

MOST = 400
"""Models that are compared, at most: what is summed over the objects grows with the square of their number."""

COMPARING = "comparing the models"

PartOf = Callable[[str, Callable[[], Any]], Any]
"""(name, do) -> what a part of the work came to: what do() gives, or gave in an earlier sitting."""


def done(name: str, do: Callable[[], Any]) -> Any:
    """A part of the work that is not kept."""
    del name
    return do()


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
        job = Selecting(data, fitting, survey=survey, criterion=criterion, seed=seed, callback=callback)
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


class Selecting:
    """A selection under way: the fits of its models, group by group, each of which is a part of the work, and so is
    each fold of it; stateful on purpose.

    Args:
        data: the catalogue.
        fitting: how each model is fitted.
        survey, criterion, seed: as for `select`.
        callback: hears of the fits.
        part: does the parts of the work, or knows what they came to.
    """

    def __init__(
        self,
        data: Catalogue,
        fitting: Fitting,
        *,
        survey: Survey | None,
        criterion: Criterion,
        seed: int,
        callback: Callback,
        part: PartOf = done,
    ) -> None:
        self._data, self._fitting, self._survey, self._criterion = data, fitting, survey, criterion
        self._folds = Fold.all(criterion.n_folds, seed) if criterion.is_held_out else ()
        self._steps, self._part = Steps(callback), part
        self._way: dict[str, Any] = {
            "survey": survey,
            "constraints": fitting.constraints,
            "stopping": fitting.stopping,
            "search": fitting.search,
            "seed": seed,
        }
        self._common: Common | None = None
        self._fits: list[tuple[Alternative, Fit | NumericalError]] = []
        self._validations: list[CrossValidation | NumericalError | None] = []
        self._n_passes = 0

    def n_parts(self, n_groups: int) -> int:
        """Of the work, for so many groups of models."""
        return n_groups * (1 + len(self._folds)) + 1

    def fit(self, group: Sequence[Alternative], executor: Executor) -> None:
        """Fit some models side by side, to all rows and to those of all folds but one."""
        named = str(group[0]) if len(group) == 1 else f"{group[0]} to {group[-1]}"

        def fit_all(prefix: str, part: Catalogue, some: Sequence[Alternative]) -> SideBySide[Fit]:
            self._steps.prefix = prefix
            return fit_side_by_side(part, some, executor=executor, callbacks=[self._steps], **self._way)

        found = self._known(named, partial(fit_all, "", self._data, group), self._data, executor)
        self._fits += zip(group, found.ends, strict=True)
        self._n_passes += found.n_passes
        if not self._folds:
            self._validations += [None] * len(group)
            return

        def judge(fold: Fold, some: Sequence[Alternative]) -> SideBySide[HeldOut]:
            fits = partial(fit_all, f"fold {fold.number}: ")
            do = partial(fitted_and_judged, self._data, fold, some, fit_all=fits, executor=executor)
            return self._known(f"{named}, fold {fold.number}", do, training(self._data, fold), executor)

        judged = validated(group, self._folds, judge)
        self._validations += judged.ends
        self._n_passes += judged.n_passes

    def _known(
        self, name: str, do: Callable[[], SideBySide[Any]], rows: Catalogue, executor: Executor
    ) -> SideBySide[Any]:
        """What became of the models of a part, which are fitted to some rows."""
        found: list[SideBySide[Any]] = []

        def kept() -> Kept:
            found[:] = [do()]
            return Kept.of(found[0])

        before: Kept = self._part(name, kept)
        if found:
            return found[0]
        return before.restored(self._common_of(rows, executor))

    def _common_of(self, rows: Catalogue, executor: Executor) -> Common:
        """What fits of some rows share; all but a noise law that is learned from them is that of all rows."""
        is_learned = self._survey is not None and isinstance(self._survey.noise_law, FromCatalogue)
        if rows is not self._data and is_learned:
            return Common.of(rows, self._fitting, self._survey, executor)
        if self._common is None:
            self._common = Common.of(self._data, self._fitting, self._survey, executor)
        return self._common

    def chosen(self, executor: Executor, started: float) -> Choice:
        """The best of them, and by how much it is."""
        fits = [one for _, one in self._fits if isinstance(one, Fit)]
        if not fits:
            raise NumericalError("no fit succeeded", got="; ".join(str(error) for _, error in self._fits))
        self._steps.on_notice(doing(COMPARING))
        judges = [Judge.of(one.model, one.last, one.observing, one.points_of) for one in fits]
        comparison = self._part(COMPARING, partial(Comparison.of, self._data, judges, executor))
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
