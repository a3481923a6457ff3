"""Cross-validation: how probable the rows of each fold are under the model of all the others."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.alternatives import Alternative, fit_side_by_side
from dgmmis.dataset.arrays import Catalogue, CatalogueLike, Reference, as_catalogue
from dgmmis.dataset.folds import Fold, held_out, training
from dgmmis.em import Status, Stopping
from dgmmis.errors import JobError, NumericalError, RefusedError
from dgmmis.execution.executor import Executor
from dgmmis.execution.tree import Partial
from dgmmis.fit import Fit, check_start
from dgmmis.initialize import Start
from dgmmis.model import Model
from dgmmis.model_selection.scores import (
    Judge,
    in_groups,
    judged_side_by_side,
    leaf_chunks,
    tasks,
    working,
)
from dgmmis.prior import Constraints
from dgmmis.search import Search
from dgmmis.side_by_side import SideBySide
from dgmmis.survey import Survey
from dgmmis.types import Vector

GROUPS = 256
"""Random groups of the rows of a fold: from their scatter an error is known to 2 to 4 per cent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of a number for two ways to fit, such as their held-out mean log-likelihoods or their BIC, and its standard error
    over the objects."""

    value: float
    standard_error: float


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A fold under the model that was fitted without it.

    Args:
        fold: the fold.
        judge: scores its rows; has the model, and the survey with the noise law of its training part.
        status: why the fit ended.
        log_likelihood: mean over the fold's objects, normalised under selection.
        n_samples: sum of their weights.
        groups: sums of w and of w log L_n over random groups of the rows (2, g).
    """

    fold: Fold
    judge: Judge
    status: Status
    log_likelihood: float
    n_samples: float
    groups: Float[np.ndarray, "2 g"]

    @classmethod
    def of(
        cls, rows: Catalogue, fold: Fold, model: Model, *, survey: Survey | None, status: Status, executor: Executor
    ) -> "HeldOut":
        """The rows of a fold under a model that was fitted without them.

        Raises:
            NumericalError: an object to which the model gives no density.
        """
        return cls.of_each(rows, fold, [(model, status)], survey=survey, executor=executor).only

    @classmethod
    def of_each(
        cls,
        rows: Catalogue,
        fold: Fold,
        fitted: Sequence[tuple[Model, Status]],
        *,
        survey: Survey | None,
        executor: Executor,
    ) -> "SideBySide[HeldOut]":
        """The same for several models, which share the readings; an error where one gives an object no density."""
        models = [model for model, _ in fitted]
        found = judged_side_by_side(rows, models, survey=survey, seed=fold.seed, executor=executor)
        judges = tuple(one[1] for one in found.ends if not isinstance(one, NumericalError))
        sums = iter(_group_sums(rows, judges, fold, executor))
        results: list[HeldOut | NumericalError] = []
        for (_, status), one in zip(fitted, found.ends, strict=True):
            if isinstance(one, NumericalError):
                results.append(one)
                continue
            (last, judge), groups = one, next(sums)
            if np.all(np.isfinite(groups)):
                results.append(cls(fold, judge, status, last.log_likelihood, last.n_samples, groups))
            else:
                results.append(
                    NumericalError(
                        "the log-likelihood of some held-out objects is not finite",
                        do="the model gives them no density: use more objects, fewer components, or a background",
                    )
                )
        return SideBySide(results, found.n_passes + (1 if judges else 0))


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """The held-out log-likelihood of a way to fit. `a - b` is the difference of two on the same folds.

    Args:
        parts: one for every fold.
    """

    parts: tuple[HeldOut, ...]

    @property
    def models(self) -> tuple[Model, ...]:
        """Each fitted without its fold."""
        return tuple(part.judge.model for part in self.parts)

    @property
    def n_samples(self) -> float:
        """Sum of the weights of all objects."""
        return sum(part.n_samples for part in self.parts)

    @property
    def log_likelihood(self) -> float:
        """Mean over all objects, each under the model that has not seen it."""
        return sum(part.n_samples * part.log_likelihood for part in self.parts) / self.n_samples

    @property
    def standard_error(self) -> float:
        """Of the mean over the objects, for the models as they are.

        Not from the folds: L numbers that share their training rows do not tell their own scatter (Bengio & Grandvalet
        2004). The objects are independent given the models; what other models other training rows would have given is
        left out.
        """
        return _scatter(part.groups[1] - self.log_likelihood * part.groups[0] for part in self.parts) / self.n_samples

    def __sub__(self, other: "CrossValidation") -> Difference:
        """How much better this one is, object by object: smaller an error than of two that were apart.

        Raises:
            RefusedError: other data or other folds.
        """
        mine, its = ([(part.fold, part.groups[0].tolist()) for part in of.parts] for of in (self, other))
        if mine != its:
            raise RefusedError(
                "cross-validations of other rows or folds", do="use the same data, n_folds and seed for both"
            )
        value = self.log_likelihood - other.log_likelihood
        pairs = zip(self.parts, other.parts, strict=True)
        error = _scatter(a.groups[1] - b.groups[1] - value * a.groups[0] for a, b in pairs) / self.n_samples
        return Difference(value, error)


def cross_validate(
    data: CatalogueLike,
    start: Start,
    *,
    n_folds: int = 5,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping | None = None,
    search: Search | None = None,
    seed: int = 0,
    executor: Executor | None = None,
) -> CrossValidation:
    """Fit all but one of L parts of a catalogue, judge the model by the part left out, for each of them in turn.

    A noise law that a catalogue implies, or that is learned from it, is that of the training part for both.

    Args:
        data: the catalogue, the path of a store, or an array (n, d) of exact values.
        start, survey, constraints, stopping, search, executor: as for `fit`.
        n_folds: L.
        seed: of the folds, and of everything else that is random.

    Raises:
        DgmmisError: as for `fit`; a fold without rows.
    """
    data = as_catalogue(data)
    if not isinstance(start, Start):
        raise JobError("start is not a Start", got=type(start).__name__, do="give Start(n_components)")
    n_rows = data.n_rows
    if n_folds > n_rows:
        raise JobError("more folds than rows", expected=f"up to {n_rows:,}", got=n_folds)
    constraints = constraints or Constraints()
    check_start(data, start, constraints, survey)
    alternatives = [Alternative(start, constraints.covariance_type)]
    with working(data, start.n_components, survey, executor) as executor:
        way: dict[str, Any] = {"survey": survey, "constraints": constraints, "stopping": stopping, "search": search}
        fit_all = partial(fit_side_by_side, seed=seed, executor=executor, **way)
        judge = partial(fitted_and_judged, data, fit_all=fit_all, executor=executor)
        return validated(alternatives, Fold.all(n_folds, seed), judge).only


FitAll = Callable[[Catalogue, Sequence[Alternative]], SideBySide[Fit]]
"""(data, alternatives) -> their fits: `fit_side_by_side` but for what is the same for all folds."""


JudgeFold = Callable[[Fold, Sequence[Alternative]], SideBySide[HeldOut]]
"""(fold, alternatives) -> the fold under each of them: `fitted_and_judged` but for what is the same for all folds."""


def validated(
    alternatives: Sequence[Alternative], folds: Sequence[Fold], judge: JudgeFold
) -> SideBySide[CrossValidation]:
    """Cross-validations of several models: those that are fitted to the same rows, or judged by them, share readings.
    The first error of one ends it."""
    parts: list[list[HeldOut]] = [[] for _ in alternatives]
    errors: dict[int, NumericalError] = {}
    n_passes = 0
    for fold in folds:
        alive = [m for m in range(len(alternatives)) if m not in errors]
        if not alive:
            break
        judged = judge(fold, [alternatives[m] for m in alive])
        n_passes += judged.n_passes
        for m, part in zip(alive, judged.ends, strict=True):
            if isinstance(part, NumericalError):
                errors[m] = part
            else:
                parts[m].append(part)
    ends = [errors[m] if m in errors else CrossValidation(tuple(of)) for m, of in enumerate(parts)]
    return SideBySide(ends, n_passes)


def fitted_and_judged(
    data: Catalogue, fold: Fold, alternatives: Sequence[Alternative], *, fit_all: FitAll, executor: Executor
) -> SideBySide[HeldOut]:
    """A fold of a catalogue under models that are fitted to all other rows; an error where one cannot be."""
    fitted = fit_all(training(data, fold), alternatives)
    fits = [found for found in fitted.ends if not isinstance(found, NumericalError)]
    if not fits:
        return SideBySide([end for end in fitted.ends if isinstance(end, NumericalError)], fitted.n_passes)
    survey = fits[0].survey  # with the noise law of the training part: the same for all
    models = [(result.model, result.status) for result in fits]
    judged = HeldOut.of_each(held_out(data, fold), fold, models, survey=survey, executor=executor)
    of_fits = iter(judged.ends)
    ends = [end if isinstance(end, NumericalError) else next(of_fits) for end in fitted.ends]
    return SideBySide(ends, fitted.n_passes + judged.n_passes)


@dataclass(frozen=True, slots=True)
class _Grouping:
    """What the tasks need."""

    judges: tuple[Judge, ...]
    fold: Fold


def _group_sums(data: Catalogue, judges: tuple[Judge, ...], fold: Fold, executor: Executor) -> list[np.ndarray]:
    """Sums of w and of w log L_n (2, g) over random groups, for each judge."""
    if not judges:
        return []
    groups = in_groups(tasks(data, executor), executor)
    total: np.ndarray = executor.map_reduce(_grouped, _Grouping(judges, fold), groups).total("groups")
    return [np.stack([total[0], of]) for of in total[1:]]


def _grouped(shared: _Grouping, reference: Reference) -> Partial:
    """The task: sums of w and w log L_n over groups of rows, leaf by leaf."""
    fold, total = shared.fold, Partial()
    for leaf, chunk in leaf_chunks(reference):
        w = chunk.w_n
        of_each = (judge.scores(chunk, fold.seed).log_density for judge in shared.judges)
        # independent of one another, not balanced: the scatter of balanced groups would not show how leaves differ
        number = generator(fold.seed, Purpose.FOLD, fold.number, leaf).integers(GROUPS, size=len(w))
        values = [w, *(w * np.where(w > 0, log_density, 0.0) for log_density in of_each)]
        sums = np.stack([np.bincount(number, of, GROUPS) for of in values])
        total = Partial.join([total, Partial.of([("groups", leaf, sums)])])
    return total


def _scatter(residuals: Iterable[Vector]) -> float:
    """Square root of the sum of squares: of sums over random groups about zero, it is that of single objects."""
    return sqrt(sum(float(np.sum(part**2)) for part in residuals))
