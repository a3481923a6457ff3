"""One pass over the data: what each task does, and what the pass gives for the model."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dgmmis.background import Uniform
from dgmmis.chunk import Chunk, Leaf
from dgmmis.dataset.arrays import Reference
from dgmmis.em import Pass
from dgmmis.errors import DataError, NumericalError, RefusedError, rows_named
from dgmmis.estep import leaf_moments
from dgmmis.execution.executor import Executor, grouped
from dgmmis.execution.resident import RESIDENT
from dgmmis.execution.tree import Partial
from dgmmis.imputation import Unseen, complete, unseen_sums
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.plan import Plan, shared_out
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round, UnseenBlock, draw
from dgmmis.survey import Survey

WORN = 0.5
"""A round is over when its points have lost this fraction of their effective number."""


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What every task of a pass needs: the only broadcast."""

    run: str
    number: int
    model: Model
    survey: Survey
    points_of: Round | None
    resident_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class LoadedLeaves:
    """The leaves of a chunk, laid out for the kernels: what a worker keeps."""

    leaves: tuple[Leaf, ...]

    @property
    def nbytes(self) -> int:
        return sum(leaf.nbytes for leaf in self.leaves)


def sums(shared: Shared, item: Reference | UnseenBlock) -> Partial:
    """The task: sums over a chunk's leaves, or over a block of unseen points."""
    if isinstance(item, UnseenBlock):
        points_of = shared.points_of
        assert points_of is not None
        key = ("unseen", points_of.index, item.leaf)
        points = _kept(shared, key, lambda: draw(item, points_of, shared.survey))
        return Partial.of([("unseen", item.leaf, unseen_sums(shared.model, points))])
    loaded = _kept(shared, item.key, lambda: load(item, shared.survey, shared.model.background))
    return Partial.of(("observed", leaf.index, leaf_moments(shared.model, leaf)) for leaf in loaded.leaves)


def load(reference: Reference, survey: Survey, background: Uniform | None) -> LoadedLeaves:
    """A chunk's leaves, with the background's density at each row.

    Raises:
        DataError: a selection of zero at an observed object, by row.
        RefusedError: selection with missing features or projections.
    """
    chunk = reference.load()
    if survey.selection is not None:
        _check_observed(chunk, survey)
    if background is not None:
        if chunk.projection is not None:
            raise RefusedError("a background with projections is not supported", do="fit without background")
        chunk = replace(chunk, log_background=background.log_density(chunk.points, chunk.noise))
    return LoadedLeaves(tuple(chunk.leaves(reference.first_leaf)))


def _check_observed(chunk: Chunk, survey: Survey) -> None:
    assert survey.selection is not None
    if chunk.projection is not None:
        raise RefusedError("a selection with projections is not supported", do="fit without selection")
    missing = np.flatnonzero(np.any(np.isnan(chunk.points), axis=1))
    if len(missing):
        raise RefusedError(
            f"a selection needs every feature, but some are missing in {rows_named(missing + chunk.first_row)}",
            do="drop those rows or features; whether they were selected cannot be said from what was measured",
        )
    omega = survey.selection(chunk.points)
    unseen = np.flatnonzero(~(omega > 0))
    if len(unseen):
        raise DataError(
            f"the selection gives zero probability to observed objects in {rows_named(unseen + chunk.first_row)}",
            expected="Omega > 0 wherever an object was seen",
            got=f"Omega = {omega[unseen[0]]} at {np.array2string(chunk.points[unseen[0]], precision=6)}",
            do="correct the selection, or drop objects outside it",
        )


def _kept(shared: Shared, key: Any, make: Any) -> Any:
    return RESIDENT.get(shared.run, shared.number, key, make, shared.resident_bytes)


class Passes:
    """Runs passes: a model goes in, a Pass comes out. Counts them; holds the round of imputed points in use."""

    def __init__(
        self,
        references: Sequence[Reference],
        *,
        plan: Plan,
        survey: Survey,
        constraints: Constraints,
        executor: Executor,
    ) -> None:
        self._groups = grouped(shared_out(references, plan.n_workers), plan.n_tasks)
        self._survey, self.constraints, self._executor = survey, constraints, executor
        self._run = uuid.uuid4().hex
        self._plan = plan
        self._points_of: Round | None = None
        self._fresh_points: float | None = None
        self.count = 0

    @property
    def needs_points(self) -> bool:
        """Whether a selection makes imputed points necessary."""
        return self._survey.selection is not None

    def begin_round(self, points_of: Round) -> None:
        """Use these imputed points from now on."""
        self._points_of, self._fresh_points = points_of, None

    def __call__(self, model: Model) -> Pass:
        groups: list[Sequence[Any]] = list(self._groups)
        if self._points_of is not None:
            blocks = self._points_of.blocks()
            groups += grouped(blocks, min(len(blocks), self._plan.n_workers))
        shared = Shared(self._run, self.count, model, self._survey, self._points_of, self._plan.budget_bytes)
        self.count += 1
        partial = self._executor.map_reduce(sums, shared, groups)
        observed: Moments = partial.total("observed")
        if self._points_of is None:
            return self._finished(model, observed, observed)
        unseen: Unseen = partial.total("unseen")
        total = complete(observed, unseen)
        effective = unseen.effective_points
        if self._fresh_points is None:
            self._fresh_points = effective
        worn = effective < WORN * self._fresh_points
        result = self._finished(model, observed, total, unseen.completeness)
        return replace(result, completeness_error=unseen.completeness_error, worn=worn)

    def _finished(self, model: Model, observed: Moments, total: Moments, completeness: float = 1.0) -> Pass:
        n = observed.n_samples
        if not n > 0:
            raise NumericalError("the weights of all objects sum to zero", do="give positive weights")
        log_likelihood = observed.log_likelihood / n - (np.log(completeness) if completeness != 1 else 0.0)
        prior = self.constraints.log_prior(model.mixture.covariances) / n
        return Pass(total, float(log_likelihood + prior), float(log_likelihood), n, completeness)

    def close(self) -> None:
        """Let go of what the workers keep."""
        self._executor.release(self._run)
