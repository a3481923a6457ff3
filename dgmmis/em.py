"""The one loop: expectation, objective, events, stop rule, maximisation, until a Status says why it ended."""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np

from dgmmis.callback import Callback, Record, Step, doing
from dgmmis.coordinates import movement
from dgmmis.errors import DgmmisError, JobError, NumericalError, require_whole
from dgmmis.imputation import Unseen
from dgmmis.invariants import require_invariants
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.monte_carlo import MonteCarlo
from dgmmis.mstep import Repair, Update
from dgmmis.reals import real


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
    MAX_ITERATIONS = (
        "stopped at max_iter before it converged: the model is the best so far; raise max_iter, or begin with it"
    )


FEWEST_PASSES = 3
"""Before these nothing counts as settled."""

REMEMBERED = 4
"""Distances from the maximum. One that is larger than the one before is not forgotten at once: on a plateau, or where
the information is all but singular, a step now and then promises an end that is not there. (Four components on one
Gaussian: two of four fits ended 2.6 and 2.9 standard errors short, and now within 0.1. It costs one or two passes in
a hundred.)"""


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to stop.

    Args:
        tol: smallest gain of the objective per object that is worth going on for: of the last pass, and of what a
            quasi-Newton step expects.
        max_iter: passes over the data at most.
        imputation_error: largest error of any parameter, and of the completeness, by the imputed points, in units of
            its statistical error.
        arrived: how many standard errors a function of the parameters may be away from where the maximum is expected.
    """

    tol: float = 1e-6
    max_iter: int = 1000
    imputation_error: float = 0.1
    arrived: float = 0.03

    def __post_init__(self) -> None:
        for name in ("tol", "imputation_error", "arrived"):
            if not real(getattr(self, name), name) > 0:
                raise JobError(f"{name} must be positive", got=repr(getattr(self, name)))
        if np.isinf(self.arrived):  # what is drawn, and kept as JSON
            raise JobError("arrived must be finite", got=self.arrived, do="`tol` bounds it in any case")
        require_whole(self.max_iter, "max_iter", 1)

    def settled(self, gain: float, distance: float, n_samples: float) -> bool:
        """Whether a gain of the objective and a `distance` from the maximum, in units of an object's information, are
        small enough: the objective has distance^2 / 2 to gain per object, and sqrt(n) distance bounds how many standard
        errors any function of the parameters is off."""
        return bool(gain <= self.tol and distance <= min(np.sqrt(2 * self.tol), self.arrived / np.sqrt(n_samples)))


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
        monte_carlo: how far the imputed points put the estimates off; None where nobody asked.
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
    monte_carlo: MonteCarlo | None = None
    worn: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Where the loop ended: the best model, its pass, and why."""

    model: Model
    last: Pass
    status: Status


@runtime_checkable
class Ascent(Protocol):
    """Proposes longer steps than EM's from what the passes found (`quasi_newton`)."""

    distance: float
    """From the maximum, in units of an object's information; infinite where it is not known."""

    def propose(self, model: Model, result: Pass, image: Model) -> Model | None:
        """A successor of `model`, whose image under the EM map is `image`; None: the image itself."""

    def refused(self, trial: Pass | None) -> Model | None:
        """Instead of the last proposal, which the objective did not accept: a shorter one; None: the image."""

    def doubted(self, result: Pass) -> Model | None:
        """Where to go on from the last model, whose pass was `result`, if it is no maximum after all."""


Passing = Generator[Model, Pass, Outcome]
"""Yields the models whose passes it wants, is sent them, and returns how it ended."""


def em(
    model: Model,
    *,
    maximize: Callable[[Moments, Model], Update],
    stopping: Stopping,
    ascent: Ascent | None = None,
    callback: Callback,
    first: Record | None = None,
    number: int = 0,
) -> Passing:
    """Iterate `model = maximize(pass of model, model)` until it has settled.

    With an ascent, the M-step's result is replaced by another step whenever the objective accepts it; a refused step
    costs a pass and falls back on a shorter one, at last on the plain M-step, so that the objective never goes down.

    Args:
        model: to start from.
        maximize: the M-step.
        stopping: when to stop; passes are counted on from `first`.
        ascent: remembers steps between calls; None: plain EM.
        callback: receives a Step for every accepted model.
        first: the last record of an earlier round, from which passes count on.
        number: of the round.

    Raises:
        NumericalError: the sums of a pass are not finite.
        InvariantError: they, or the model, are what they cannot be.
    """
    iteration = 0 if first is None else first.iteration + 1
    best: tuple[Model, Pass] | None = None
    plain: Update | None = None  # the M-step's own result, where the model in hand is another one
    repairs: tuple[Repair, ...] = ()
    before = np.inf  # the step of EM before this one
    distances = deque[float](maxlen=REMEMBERED)
    while True:
        started = time.perf_counter()
        trial: Pass | None = None
        try:
            trial = yield model
            if not (trial.moments.is_finite and np.isfinite(trial.objective)):
                raise NumericalError("a pass over the data gave sums that are not finite", got=trial.objective)
        except NumericalError:
            if plain is None:
                raise
            trial = None
        iteration += 1
        if plain is not None and best is not None and not (trial is not None and _holds(trial, best[1])):
            assert ascent is not None
            if iteration >= stopping.max_iter:
                return Outcome(*best, Status.MAX_ITERATIONS)
            shorter = ascent.refused(trial)
            model, plain = (plain.model, None) if shorter is None else (shorter, plain)
            continue
        assert trial is not None
        result = trial
        # a repair, and a cutoff, may lower the objective
        require_invariants(model, result, before=best, ascends=not repairs and model.cutoff is None)
        gain = np.nan if best is None else result.objective - best[1].objective
        best = (model, result)
        update = maximize(result.moments, model)
        step = None if ascent is None else ascent.propose(model, result, update.model)
        if ascent is None:
            moved = movement(model, update.model)
            distance, before = _ahead(moved, before), moved
        else:
            distance = ascent.distance
        distances.append(distance)
        record = Record(
            iteration=iteration - 1,
            round=number,
            objective=result.objective,
            gain=gain,
            distance=distance * float(np.sqrt(result.n_samples)),
            log_likelihood=result.log_likelihood,
            completeness=result.completeness,
            completeness_error=result.completeness_error,
            background_fraction=model.background_fraction,
            n_samples=result.n_samples,
            seconds=time.perf_counter() - started,
            repairs=tuple(map(str, repairs)),
        )
        callback.on_step(Step(record, model))
        if record.iteration >= FEWEST_PASSES - 1 and stopping.settled(gain, _believed(distances), result.n_samples):
            if ascent is not None:
                callback.on_notice(doing("looking whether it is a maximum"))
            step = None if ascent is None else ascent.doubted(result)
            if step is None:
                return Outcome(*best, Status.CONVERGED)
        if result.worn:
            return Outcome(*best, Status.POINTS_WORN)
        if iteration >= stopping.max_iter:
            return Outcome(*best, Status.MAX_ITERATIONS)
        model, plain = (update.model, None) if step is None else (step, update)
        repairs = update.repairs


def _believed(distances: Sequence[float]) -> float:
    """The largest of the last and of those that were larger than the one before."""
    return max([distances[-1], *(later for earlier, later in pairwise(distances) if later > earlier)])


def _ahead(step: float, before: float) -> float:
    """How far EM's maximum is, if its steps go on to shrink as this one did (Aitken)."""
    rate = min(step / before, 0.999) if before > 0 else 0.0
    return step / (1 - rate)


def passed(passing: Passing, accumulate: Callable[[Model], Pass]) -> Outcome:
    """Give a loop the passes it asks for, until it ends."""
    model = next(passing)
    while True:
        try:
            try:
                result = accumulate(model)
            except DgmmisError as error:
                model = passing.throw(error)
            else:
                model = passing.send(result)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def _holds(trial: Pass, best: Pass) -> bool:
    """Whether the objective is no lower, but by rounding, and does not rise by what the points are worse at."""
    worse = _doubt(trial) - 1.5 * _doubt(best)
    if worse > 0 and trial.objective - best.objective < 4 * worse:
        return False
    return bool(trial.objective >= best.objective - 4 * np.finfo(float).eps * abs(best.objective))


def _doubt(of: Pass) -> float:
    """The Monte-Carlo error of the objective."""
    return of.completeness_error / of.completeness
