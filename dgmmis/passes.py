"""One pass over the data: what each task does, and what the pass gives for the model."""

import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dgmmis.dataset.arrays import Reference
from dgmmis.em import Pass
from dgmmis.errors import NumericalError
from dgmmis.execution.executor import Executor, grouped
from dgmmis.execution.resident import RESIDENT
from dgmmis.execution.tree import Partial
from dgmmis.imputation import Completed, Unseen, closed_form, complete, unseen_sums, unseen_within
from dgmmis.latent import LatentError
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise_classes import ClassSums, Key, NoiseClass, Partition, classes_of, joined
from dgmmis.observed import observed_sums
from dgmmis.plan import Plan, shared_out
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round, UnseenBlock, draw

WORN = 0.5
"""A round is over when its points have lost this fraction of their effective number."""

OUTGROWN, AWAY = 1.5, 0.5
"""Or when a component has so many times the variance, or is so far in squared sigmas, of that which latent points were
drawn around: beyond, what they say of rows near an edge is off by a tenth, in the same direction for all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What every task of a pass needs: the only broadcast."""

    run: str
    number: int
    model: Model
    observing: Observing
    points_of: Round | None
    resident_bytes: int

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What this process keeps under a key, made where it does not."""
        return RESIDENT.get(self.run, self.number, key, make, self.resident_bytes)


def sums(shared: Shared, item: Reference | UnseenBlock) -> Partial:
    """The task: sums over a chunk's leaves, or over a block of unseen points."""
    model, points_of = shared.model, shared.points_of
    if isinstance(item, UnseenBlock):
        assert points_of is not None
        key = ("unseen", points_of.index, item.noise_class, item.leaf)
        points = shared.kept(key, lambda: draw(item, points_of, shared.observing.survey, model))
        return Partial.of([(unseen_tree(item.noise_class), item.leaf, unseen_sums(model, points))])
    return Partial.of(observed_sums(model, item, shared.observing, points_of, shared.kept))


def unseen_tree(noise_class: int) -> str:
    """The name of a class's tree of unseen sums."""
    return f"unseen-{noise_class}"


@dataclass(frozen=True, slots=True, eq=False)
class _ClassSums:
    """The sums of the noise classes over a chunk."""

    partition: Partition

    def __call__(self, reference: Reference) -> dict[Key, ClassSums]:
        return self.partition.sums(reference.load())


class Passes:
    """Runs passes: a model goes in, a Pass comes out. Counts them; holds the round of imputed points in use."""

    def __init__(
        self,
        references: Sequence[Reference],
        *,
        plan: Plan,
        observing: Observing,
        constraints: Constraints,
        executor: Executor,
    ) -> None:
        self._references = references
        self._groups = grouped(shared_out(references, plan.n_workers), plan.n_tasks)
        self.observing, self.constraints, self._executor = observing, constraints, executor
        self._run = uuid.uuid4().hex
        self._plan = plan
        self._points_of: Round | None = None
        self._fresh_points: float | None = None
        self.count = 0

    @property
    def survey_is_partial(self) -> bool:
        """Whether a selection makes rounds of imputed points necessary."""
        return self.observing.survey.is_partial

    def classes(self, partition: Partition) -> tuple[NoiseClass, ...]:
        """The noise classes of a partition that has several: one more reading of the data."""
        sums = joined(self._executor.map(_ClassSums(partition), self._references))
        return classes_of(sums, self.observing.survey)

    @property
    def points_of(self) -> Round | None:
        """The round in use; None where everything was seen."""
        return self._points_of

    def begin_round(self, points_of: Round) -> None:
        """Use these imputed points from now on."""
        self._points_of, self._fresh_points = points_of, None

    def __call__(self, model: Model) -> Pass:
        groups: list[Sequence[Any]] = list(self._groups)
        points_of = self._points_of
        bounds = None if points_of is None else closed_form(model, self.observing.survey, points_of.classes)
        if points_of is not None and bounds is None:
            blocks = points_of.blocks()
            groups += grouped(blocks, min(len(blocks), self._plan.n_workers))
        shared = Shared(self._run, self.count, model, self.observing, points_of, self._plan.budget_bytes)
        self.count += 1
        partial = self._executor.map_reduce(sums, shared, groups)
        observed: Moments = partial.total("observed")
        latent: LatentError | None = partial.total("latent")
        if points_of is None:
            return self._finished(model, observed, Completed.of_all(observed))
        if bounds is not None:
            unseen = unseen_within(model, points_of.classes, bounds)
        else:
            unseen = [partial.total(unseen_tree(c)) for c in range(len(points_of.classes))]
            if points_of.n_injections:
                unseen = [part.complement(model) for part in unseen]
        result = self._finished(model, observed, complete(observed, unseen, points_of.classes))
        return replace(
            result,
            latent_bias=0.0 if latent is None else latent.bias / observed.n_samples,
            latent_error=0.0 if latent is None else math.sqrt(latent.square / observed.n_samples),
            worn=self._is_worn(unseen, points_of) or (latent is not None and _has_outgrown(model, points_of.model)),
        )

    def _is_worn(self, unseen: Sequence[Unseen], points_of: Round) -> bool:
        if points_of.n_injections:
            return False  # there are no others
        shares = [of.share for of in points_of.classes]
        effective = float(np.dot(shares, [part.effective_points for part in unseen]))
        if self._fresh_points is None:
            self._fresh_points = effective
        return effective < WORN * self._fresh_points

    def _finished(self, model: Model, observed: Moments, completed: Completed) -> Pass:
        n = observed.n_samples
        if not n > 0:
            raise NumericalError("the weights of all objects sum to zero", do="give positive weights")
        log_likelihood = float(observed.log_likelihood / n - completed.log_normaliser)
        prior = self.constraints.log_prior(model.mixture.covariances) / n
        return Pass(
            completed.moments,
            log_likelihood + float(prior),
            log_likelihood,
            n,
            completed.completeness,
            completed.completeness_error,
            completed.unseen,
        )

    def close(self) -> None:
        """Let go of what the workers keep."""
        self._executor.release(self._run)


def _has_outgrown(model: Model, reference: Model) -> bool:
    """Whether a component has left, or outgrown, the reference around which latent points were drawn.

    Points are where the reference put them, and rows around which Omega was constant there have none.
    """
    near, far = reference.mixture, model.mixture
    root = np.linalg.inv(np.linalg.cholesky(near.covariances))
    wide = np.linalg.eigvalsh(root @ far.covariances @ np.swapaxes(root, 1, 2))[:, -1]
    away = np.einsum("kij,kj->ki", root, far.means - near.means)
    return bool(np.any((wide > OUTGROWN) | (np.sum(away**2, axis=1) > AWAY)))
