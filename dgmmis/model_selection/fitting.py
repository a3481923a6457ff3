"""How each of several models is fitted, and which of them share their readings of the data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from dgmmis.alternatives import Alternative
from dgmmis.callback import Callback, Notice, Step
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue
from dgmmis.em import Stopping
from dgmmis.execution.executor import Resources
from dgmmis.initialize import Start
from dgmmis.model import Model
from dgmmis.plan import USABLE, Plan, Work, make_plan
from dgmmis.prior import Constraints
from dgmmis.search import Search

SIDE_BY_SIDE = 32
"""Fits that share their readings of the data at most: more save little, and the first would be long in coming."""

DRIVER_BYTES = 1 << 30
"""That fits side by side may keep in the driver between passes, unless one alone does."""

KEPT = 0.2
"""The part of what a fit needs there at a time that it keeps: two matrices of its curvature of ten."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitting:
    """How each of several models is fitted.

    Args:
        start: how to find the first models, and the background; whatever the number of components that it has.
        constraints: what all of them must respect; whatever the structure of covariances that they name.
        stopping, search: as for `fit`.
    """

    start: Start = field(default_factory=lambda: Start(1))
    constraints: Constraints = field(default_factory=Constraints)
    stopping: Stopping = field(default_factory=Stopping)
    search: Search = field(default_factory=Search)


def abreast(
    data: Catalogue, alternatives: Sequence[Alternative], n_starts: int, *, work: Work, resources: Resources
) -> list[Sequence[Alternative]]:
    """The alternatives in groups, in their order: the sums of a group's fits fit into a task's memory together.

    Args:
        data: the catalogue.
        alternatives: that are fitted.
        n_starts: of each of them.
        work: on the catalogue.
        resources: of the executor.

    Raises:
        PlanError: one does not fit, as `fit` would say.
    """

    def plan_of(n_components: int) -> Plan:
        return make_plan(data.references, replace(work, n_components=n_components), resources)

    numbers = [of.start.n_components for of in alternatives]
    plans = {k: plan_of(k) for k in {1, *numbers}}
    plans[max(numbers)].check()
    most = max(1, SIDE_BY_SIDE // n_starts)
    edges, total, driver = [0], 0, 0.0
    for m, k in enumerate(numbers):
        own = KEPT * n_starts * (plans[k].driver_bytes - plans[1].driver_bytes)
        total, driver = total + n_starts * k, driver + own
        is_first = m == edges[-1]
        fits = is_first or (driver <= DRIVER_BYTES and m - edges[-1] < most and _fits(plan_of(total)))
        if not fits:
            edges.append(m)
            total, driver = n_starts * k, own
    return [alternatives[a:b] for a, b in pairwise([*edges, len(numbers)])]


def _fits(plan: Plan) -> bool:
    return plan.task_bytes <= USABLE * plan.process_bytes


class Steps(Callback):
    """Passes on the steps of many fits as those of one job: it begins once, and whoever made it says how it ended.

    Args:
        callback: who hears of it.
    """

    def __init__(self, callback: Callback) -> None:
        self._callback, self._has_begun = callback, False
        self.prefix = ""
        """Before the name of each candidate."""

    def on_sample(self, sample: Chunk) -> None:
        if not self._has_begun:
            self._callback.on_sample(sample)

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._callback.on_start(model, max_iter, tol)

    def on_notice(self, notice: Notice) -> None:
        named = {key: self.prefix + notice.values[key] for key in ("candidate", "of") if key in notice.values}
        self._callback.on_notice(replace(notice, values={**notice.values, **named}))

    def on_step(self, step: Step) -> None:
        record = replace(step.record, candidate=self.prefix + step.record.candidate)
        self._callback.on_step(replace(step, record=record))
