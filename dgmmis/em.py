"""The one loop: expectation, objective, events, stop rule, maximisation, until a Status says why it ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from dgmmis.acceleration import Anderson, movement
from dgmmis.callback import Callback, Record, Step
from dgmmis.errors import JobError, NumericalError
from dgmmis.imputation import Unseen
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import Repair, Update


class Status(Enum):
    """Why the loop ended; the value is the sentence for people."""

    CONVERGED = "converged: the objective and the parameters have settled"
    POINTS_WORN = "the model has left its imputed points behind: a new round is due"
    IMPRECISE = (
        "settled, but the unseen, or what objects were selected on, could not be resolved as finely as asked with the "
        "most points and noise classes: the answer is right within errors larger than they should be"
    )
    FEW_INJECTIONS = (
        "settled, but the effective number of found injections is less than four times that of the objects: give "
        "more of them, or draw them where the objects are"
    )
    MAX_ITERATIONS = "stopped at max_iter before it converged: the model is the best so far; raise max_iter or tol"


FEWEST_PASSES = 3
"""Before these nothing counts as settled."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to stop.

    Args:
        tol: smallest gain of the objective per object and pass that is worth going on for; parameters must also
            move by less than sqrt(tol), in standard deviations of their component weighted by the root of its weight,
            and by less than a tenth of their statistical error.
        max_iter: passes over the data at most.
    """

    tol: float = 1e-6
    max_iter: int = 1000

    def __post_init__(self) -> None:
        if not self.tol > 0:
            raise JobError("tol must be positive", got=self.tol)
        if self.max_iter < 1:
            raise JobError("max_iter must be at least 1", got=self.max_iter)

    def settled(self, gain: float, moved: float, n_samples: float) -> bool:
        """Whether a gain of the objective and a `movement` of the parameters are small enough."""
        return bool(gain <= self.tol and moved <= min(np.sqrt(self.tol), 0.1 / np.sqrt(n_samples)))


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What one pass over the data gives for a model.

    Args:
        moments: observed and imputed together.
        objective: mean per object, normalised under selection, with the prior.
        log_likelihood: the same without the prior.
        n_samples: of the observed objects.
        completeness, completeness_error: Z and its Monte-Carlo error; 1 and 0 without selection.
        unseen: the sums of each noise class.
        class_change: of the mean log-likelihood when the noise classes were last made finer: more than their error.
        latent_bias, latent_error: by how much the mean log-likelihood is too low for want of latent points, about, and
            the random error of an object's, root mean square.
        worn: whether the imputed points no longer represent the model.
    """

    moments: Moments
    objective: float
    log_likelihood: float
    n_samples: float
    completeness: float = 1.0
    completeness_error: float = 0.0
    unseen: tuple[Unseen, ...] = ()
    class_change: float = 0.0
    latent_bias: float = 0.0
    latent_error: float = 0.0
    worn: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Where the loop ended: the best model, its pass, and why."""

    model: Model
    last: Pass
    status: Status


def em(
    accumulate: Callable[[Model], Pass],
    model: Model,
    *,
    maximize: Callable[[Moments, Model], Update],
    stopping: Stopping,
    accelerator: Anderson | None = None,
    callback: Callback,
    first: Record | None = None,
) -> Outcome:
    """Iterate `model = maximize(accumulate(model).moments, model)` until it has settled.

    With an accelerator, the M-step's result is replaced by a longer step whenever the objective accepts it; a refused
    step costs a pass and falls back on the plain M-step, so the objective never goes down.

    Args:
        accumulate: one pass over the data.
        model: to start from.
        maximize: the M-step.
        stopping: when to stop; passes are counted on from `first`.
        accelerator: remembers steps between calls; None: plain EM.
        callback: receives a Step for every accepted model.
        first: the last record of an earlier round, from which passes and rounds count on.

    Raises:
        NumericalError: the sums of a pass are not finite.
    """
    iteration = 0 if first is None else first.iteration + 1
    number = 0 if first is None else first.round + 1
    best: tuple[Model, Pass] | None = None
    plain: Update | None = None  # the M-step's own result, where the model in hand is a longer step
    moved = float("nan")
    repairs: tuple[Repair, ...] = ()
    while True:
        started = time.perf_counter()
        result = _accepted_pass(accumulate, model, None if plain is None or best is None else best[1].objective)
        iteration += 1
        if result is None:
            assert plain is not None
            assert best is not None
            assert accelerator is not None
            accelerator.refused()
            if iteration >= stopping.max_iter:
                return Outcome(*best, Status.MAX_ITERATIONS)
            model, plain = plain.model, None
            continue
        gain = np.nan if best is None else result.objective - best[1].objective
        best = (model, result)
        record = Record(
            iteration=iteration - 1,
            round=number,
            objective=result.objective,
            gain=gain,
            movement=moved,
            log_likelihood=result.log_likelihood,
            completeness=result.completeness,
            completeness_error=result.completeness_error,
            background_fraction=model.background_fraction,
            n_samples=result.n_samples,
            seconds=time.perf_counter() - started,
            repairs=tuple(map(str, repairs)),
        )
        callback.on_step(Step(record, model))
        update = maximize(result.moments, model)
        longer = None if accelerator is None else accelerator.propose(model, update.model)
        target, plain = (update.model, None) if longer is None else (longer, update)
        moved = max(movement(model, target), movement(model, update.model))
        arrived = accelerator is None or not accelerator.is_limited
        if arrived and record.iteration >= FEWEST_PASSES - 1 and stopping.settled(gain, moved, result.n_samples):
            return Outcome(*best, Status.CONVERGED)
        if result.worn:
            return Outcome(*best, Status.POINTS_WORN)
        if iteration >= stopping.max_iter:
            return Outcome(*best, Status.MAX_ITERATIONS)
        model, repairs = target, update.repairs


def _accepted_pass(accumulate: Callable[[Model], Pass], model: Model, least: float | None) -> Pass | None:
    """A pass; None if it tries a longer step (`least` is the objective to hold) that the objective does not accept."""
    try:
        result = accumulate(model)
        if not (result.moments.is_finite and np.isfinite(result.objective)):
            raise NumericalError("a pass over the data gave sums that are not finite", got=result.objective)
    except NumericalError:
        if least is None:
            raise
        return None
    rounding = 4 * np.finfo(float).eps * abs(result.objective)
    return None if least is not None and result.objective < least - rounding else result
