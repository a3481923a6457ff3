"""Cross-validation: how probable the rows of each fold are under the model of all the others."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import sqrt
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.dataset.arrays import Catalogue, Reference, as_catalogue
from dgmmis.dataset.folds import Fold, held_out, training
from dgmmis.em import Status, Stopping
from dgmmis.errors import JobError, NumericalError, RefusedError
from dgmmis.execution.executor import Executor
from dgmmis.execution.tree import Partial
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.model import Model
from dgmmis.model_selection.scores import Judge, in_groups, judged, leaf_chunks, tasks, weights_of, working
from dgmmis.prior import Constraints
from dgmmis.search import Search
from dgmmis.survey import Survey
from dgmmis.types import Vector

GROUPS = 256
"""Random groups of the rows of a fold: from their scatter an error is known to 2 to 4 per cent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of the held-out mean log-likelihoods of two ways to fit, and its standard error over the objects."""

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
        """The rows of a fold under a model that was fitted without them."""
        last, judge = judged(rows, model, survey=survey, seed=fold.seed, executor=executor)
        groups = _group_sums(rows, judge, fold, executor)
        return cls(fold, judge, status, last.log_likelihood, last.n_samples, groups)


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


@dataclass(frozen=True, slots=True, eq=False)
class Fitting:
    """A way to fit: what `fit` is given beside data and start."""

    survey: Survey | None
    constraints: Constraints | None
    stopping: Stopping | None
    search: Search | None
    seed: int
    executor: Executor

    def __call__(self, data: Catalogue, start: Start) -> Fit:
        return fit(data, start, **{of.name: getattr(self, of.name) for of in fields(self)})

    def validated(self, data: Catalogue, start: Start, n_folds: int) -> CrossValidation:
        """`cross_validate` with this way."""
        parts = []
        for fold in Fold.all(n_folds, self.seed):
            result, rest = self(training(data, fold), start), held_out(data, fold)
            way: dict[str, Any] = {"survey": result.survey, "status": result.status, "executor": self.executor}
            parts.append(HeldOut.of(rest, fold, result.model, **way))
        return CrossValidation(tuple(parts))


def cross_validate(
    data: Catalogue,
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
        data: the catalogue.
        start, survey, constraints, stopping, search, executor: as for `fit`.
        n_folds: L.
        seed: of the folds, and of everything else that is random.

    Raises:
        DgmmisError: as for `fit`; a fold without rows.
    """
    data = as_catalogue(data)
    if not isinstance(start, Start):
        raise JobError("start is not a Start", got=type(start).__name__, do="give Start(n_components)")
    n_rows = sum(reference.n_rows for reference in data.references)
    if n_folds > n_rows:
        raise JobError("more folds than rows", expected=f"up to {n_rows:,}", got=n_folds)
    with working(data, start.n_components, survey, executor) as executor:
        way = Fitting(survey, constraints, stopping, search, seed, executor)
        return way.validated(data, start, n_folds)


@dataclass(frozen=True, slots=True)
class _Grouping:
    """What the tasks need."""

    judge: Judge
    fold: Fold


def _group_sums(data: Catalogue, judge: Judge, fold: Fold, executor: Executor) -> Float[np.ndarray, "2 g"]:
    groups = in_groups(tasks(data, executor), executor)
    total: np.ndarray = executor.map_reduce(_grouped, _Grouping(judge, fold), groups).total("groups")
    if not np.all(np.isfinite(total)):
        raise NumericalError(
            "the log-likelihood of some held-out objects is not finite",
            do="the model gives them no density: use more objects, fewer components, or a background",
        )
    return total


def _grouped(shared: _Grouping, reference: Reference) -> Partial:
    """The task: sums of w and w log L_n over groups of rows, leaf by leaf."""
    fold, partial = shared.fold, Partial()
    for leaf, chunk in leaf_chunks(reference):
        log_density, w = shared.judge.scores(chunk, fold.seed).log_density, weights_of(chunk)
        # independent of one another, not balanced: the scatter of balanced groups would not show how leaves differ
        number = generator(fold.seed, Purpose.FOLD, fold.number, leaf).integers(GROUPS, size=len(w))
        sums = [np.bincount(number, weights, GROUPS) for weights in (w, w * np.where(w > 0, log_density, 0.0))]
        partial = Partial.join([partial, Partial.of([("groups", leaf, np.stack(sums))])])
    return partial


def _scatter(residuals: Iterable[Vector]) -> float:
    """Square root of the sum of squares: of sums over random groups about zero, it is that of single objects."""
    return sqrt(sum(float(np.sum(part**2)) for part in residuals))
