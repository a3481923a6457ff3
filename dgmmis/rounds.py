"""Rounds of imputed points: EM on fixed points, then new and more of them from where it ended, until it is enough."""

import math
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from dgmmis.callback import Callback, Clocked, History, Record, doing
from dgmmis.chunk import Chunk
from dgmmis.em import Outcome, Pass, Passing, Status, Stopping, em, passed
from dgmmis.errors import UnseenError
from dgmmis.information import Information, ScoreProducts, n_directions, prior_curvature, resolved_covariance
from dgmmis.latent import MOST_LATENT
from dgmmis.model import Model
from dgmmis.monte_carlo import MonteCarlo, monte_carlo
from dgmmis.mstep import maximize
from dgmmis.noise_classes import MOST_DEPTH, NoiseClass, Partition, single_class
from dgmmis.passes import Passes
from dgmmis.quadrature import CONVERGENCE, FIRST_POINTS, MOST_POINTS, Round, most_points
from dgmmis.quasi_newton import LARGEST, ascent_for
from dgmmis.scoring import chunk_information, score_products
from dgmmis.selection import Injections

FIRST_LATENT = 16
"""Latent points of an object."""

FIRST_DEPTH = 4
"""Cuts one below the other that make noise classes."""

GROWTH, MOST_GROWTH = 4, 64
"""So many times as many points, latent points or noise classes where there are too few; and points at most."""

FALLEN = 5.0
"""So many Monte-Carlo errors lower than before, a round has shown that the one before led astray."""

ROUGHLY = 10
"""So many times as far from the maximum a round may end that is not the last."""

MONTE_CARLO_SHARE = 0.03
"""Largest Monte-Carlo error of the completeness of a given model, in units of its binomial error."""

CLASS_SHARE = 0.05
"""Largest change of the mean log-likelihood from finer noise classes, times sqrt(N).

An error b of the mean log-likelihood that changes over the width of the population moves parameters by about b sqrt(N)
of their statistical errors, those that only the unseen decide by several times that; what is left is a small part of
the last change."""

LATENT_BIAS = 0.02
"""Largest error of the mean log-likelihood for want of latent points, times sqrt(N): in a truncated Gaussian with noise
0.04 moved the mean by 0.11 of its statistical error, 0.006 by 0.02."""

LATENT_ERROR = 0.02
"""Largest random error of an object's log-likelihood for want of latent points, root mean square over all objects.

It makes the error of the gradient this part of its statistical one."""


FEW_ROWS, ROWS_PER_PARAMETER = 2000, 20
"""Rows from which the information is estimated that quasi-Newton steps begin with."""

FEW_LATENT = 32
"""Latent points of each of them."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How finely the unseen, and what is latent of the observed, are resolved in a round.

    Args:
        n_points: imputed points.
        latent_points: of an observed object.
        depth: of the tree of noise classes.
    """

    n_points: int = FIRST_POINTS
    latent_points: int = FIRST_LATENT
    depth: int = FIRST_DEPTH


class Verdict(Enum):
    """Whether a round resolved the unseen finely enough."""

    ENOUGH = "enough"
    MORE = "another round is due"
    EXHAUSTED = "not enough, and there are no more points to be had"

    def status(self, passes: Passes) -> Status:
        """Why a fit ends with it."""
        if self is Verdict.ENOUGH:
            return Status.CONVERGED
        injected = isinstance(passes.observing.survey.selection, Injections)
        return Status.FEW_INJECTIONS if injected else Status.IMPRECISE


class Resolution:
    """Begins rounds with the effort in hand, and raises it where a settled round shows that it was not enough."""

    def __init__(self, passes: Passes, sample: Chunk, seed: int, callback: Callback | None = None) -> None:
        self._callback = callback or Callback()
        self._passes, self._sample, self._seed = passes, sample, seed
        self._effort, self._index = Effort(), -1
        self._partition: Partition | None = None
        self._classes: tuple[NoiseClass, ...] = ()
        self._coarser: float | None = None
        """The objective where the last round with fewer noise classes than this one ended."""
        self._partition_is_new = True
        self._deepest = MOST_DEPTH
        self.class_change = 0.0
        self.is_rough = True
        """Whether the round in use cannot be the last, and need not settle to the end."""

    @property
    def index(self) -> int:
        """Number of the round in use."""
        return self._index

    def begin_round(self, model: Model) -> None:
        """New points around a model."""
        observing, effort = self._passes.observing, self._effort
        self._index += 1
        if self._partition is None or not (self._partition.is_exact or self._partition.depth == effort.depth):
            self._callback.on_notice(doing("sorting objects into noise classes"))
            self._partition = Partition.of(self._sample, observing.survey, observing.fill, effort.depth)
            self._partition_is_new = True
            self.class_change = 0.0 if self._partition.is_exact else math.inf
            if self._partition.is_trivial:
                self._classes = single_class(observing.survey, self._sample)
            else:
                self._classes = self._passes.classes(self._partition)
        selection = observing.survey.selection
        about = "injections" if isinstance(selection, Injections) else f"{effort.n_points:,} imputed points"
        self._callback.on_notice(doing(f"round {self._index}: {about}"))
        self._passes.begin_round(
            Round.of(
                model,
                effort.n_points,
                self._seed,
                self._index,
                classes=self._classes,
                partition=self._partition,
                latent_points=effort.latent_points,
                n_injections=len(selection.points) if isinstance(selection, Injections) else 0,
            )
        )

    def relieve(self) -> bool:
        """More points from the next round on where the unseen drown in noise, or else fewer noise classes again; False
        if there is nothing left to do."""
        effort = self._effort
        if isinstance(self._passes.observing.survey.selection, Injections):
            return False
        if effort.n_points < MOST_POINTS:
            self._effort = replace(effort, n_points=effort.n_points * GROWTH)
            return True
        if effort.depth > FIRST_DEPTH and self._partition is not None and not self._partition.is_exact:
            self._deepest = effort.depth - 2
            self._effort, self._coarser = replace(effort, depth=self._deepest), None
            return True
        return False

    def judge(self, first: float, last: Pass, imprecision: float | None = None) -> Verdict:
        """What to do after a round whose objective was `first` at its beginning and that settled with `last`.

        Args:
            first: objective.
            last: pass.
            imprecision: the Monte-Carlo error in units of what it may be; None: that of the completeness says it.
        """
        assert self._partition is not None
        effort, n = self._effort, last.n_samples
        most = most_points(n)
        fixed = isinstance(self._passes.observing.survey.selection, Injections)
        wanted, lacking = effort, False
        if fixed or imprecision is None:
            imprecision = _imprecision(last, fixed=fixed)
        self.is_rough = False
        if imprecision > 1:
            lacking = True
            if not fixed:
                growth = GROWTH ** math.ceil(math.log(imprecision) / CONVERGENCE / math.log(GROWTH))
                growth = min(growth, MOST_GROWTH)
                self.is_rough = imprecision > growth**CONVERGENCE and effort.n_points * growth < most
                wanted = replace(wanted, n_points=min(effort.n_points * growth, most))
        if abs(last.latent_bias) * math.sqrt(n) > LATENT_BIAS or last.latent_error > LATENT_ERROR:
            lacking = True
            wanted = replace(wanted, latent_points=min(effort.latent_points * GROWTH, MOST_LATENT))
        if not self._partition.is_exact:
            if self._partition_is_new and self._coarser is not None:
                self.class_change = abs(first - self._coarser)
            if self._partition_is_new:
                self._coarser, self._partition_is_new = None, False
            if self.class_change * math.sqrt(n) > CLASS_SHARE:
                lacking = True
                wanted = replace(wanted, depth=min(effort.depth + 2, self._deepest))
                self._coarser = last.objective
        if lacking and wanted == effort:
            return Verdict.EXHAUSTED
        self._effort = wanted
        is_random = last.completeness_error > 0 or last.latent_error > 0
        if wanted == effort and (fixed or self._index > 0 or not is_random):
            return Verdict.ENOUGH
        return Verdict.MORE


def rounds(
    passes: Passes,
    model: Model,
    *,
    sample: Chunk,
    stopping: Stopping,
    seed: int,
    callback: Callback,
    history: History,
) -> Passing:
    """EM from a model to the end; under selection in rounds, the last of which starts where it ends.

    Raises:
        UnseenError: even with the most points the completeness cannot be told from zero.
    """
    constraints, callback = passes.constraints, Clocked(callback, passes.readings.spent)
    known = Known(passes, sample)
    ascent = ascent_for(model, constraints, known, known.curvature)
    if ascent is None:  # no finer than it deserves
        stopping = replace(stopping, arrived=ROUGHLY * stopping.arrived)
    resolution = Resolution(passes, sample, seed, callback)
    goes_on = False
    anchor: tuple[Model, Record] | None = None  # where the last round began, as its own points had it
    while True:
        start = model
        if passes.survey_is_partial and not goes_on:
            resolution.begin_round(model)
            if ascent is not None:
                ascent.begin_round()
        n_records = len(history.records)
        is_rough = passes.survey_is_partial and resolution.is_rough and not goes_on
        try:
            outcome = yield from em(
                model,
                maximize=lambda moments, at: maximize(moments, at, constraints),
                stopping=replace(stopping, arrived=ROUGHLY * stopping.arrived) if is_rough else stopping,
                ascent=ascent,
                callback=callback,
                first=history.records[-1] if history.records else None,
                number=max(resolution.index, 0),
            )
        except UnseenError:
            if not resolution.relieve():
                raise
            goes_on = False
            continue
        model = outcome.model
        if not passes.survey_is_partial:
            return outcome
        begun = history.records[n_records]
        if anchor is not None and not goes_on and _fell(anchor[1], begun) and resolution.relieve():
            model, goes_on = anchor[0], False  # what the round before gained was its points' own
            continue
        anchor = (start, begun)
        settled = outcome.status is Status.CONVERGED
        if settled or outcome.status is Status.MAX_ITERATIONS:
            callback.on_notice(doing("judging the imputed points"))
            error = known.monte_carlo(model, outcome.last)
            last = replace(outcome.last, class_change=resolution.class_change, monte_carlo=error)
            if not settled:
                return replace(outcome, last=last)
            imprecision = error.share / stopping.imputation_error if n_directions(model) <= LARGEST else None
            verdict = resolution.judge(history.records[n_records].objective, outcome.last, imprecision)
            goes_on = is_rough and verdict is not Verdict.MORE
            if verdict is not Verdict.MORE and not goes_on:
                return Outcome(model, replace(last, class_change=resolution.class_change), verdict.status(passes))
        else:
            goes_on = False


def _fell(before: Record, after: Record) -> bool:
    """Whether the objective is lower than where the round before began, by more than both of their errors."""
    errors = [record.completeness_error / record.completeness for record in (before, after)]
    return after.objective < before.objective - FALLEN * math.hypot(*errors) - 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What some of the rows say of the parameters: where quasi-Newton steps begin."""

    passes: Passes
    sample: Chunk

    def __call__(self, model: Model, last: Pass) -> ScoreProducts:
        n = min(self.sample.n_samples, FEW_ROWS + ROWS_PER_PARAMETER * n_directions(model))
        rows = self.sample.take(np.unique(np.linspace(0, self.sample.n_samples - 1, n).astype(int)))
        observing, points_of = self.passes.observing, self.passes.points_of
        return score_products(model, rows, observing, points_of, last, latent_points=FEW_LATENT)

    def information(self, model: Model, last: Pass) -> Information:
        """Of all objects, by the scores' products alone."""
        return Information.of_scores(self(model, last), last.n_samples)

    def curvature(self, model: Model, last: Pass) -> tuple[np.ndarray, float]:
        """Minus the second derivatives of the objective, per object, and of how many; infinite: of all of them."""
        found = chunk_information(model, self.sample, self.passes.observing, self.passes.normaliser(model, last))
        found = found * (last.n_samples / found.n_samples)
        n = self.sample.n_samples if self.sample.weights is None else float(self.sample.weights.sum())
        n_known = math.inf if n > 0.999 * last.n_samples else n
        return (found.curvature + prior_curvature(model, self.passes.constraints)) / last.n_samples, n_known

    def monte_carlo(self, model: Model, last: Pass) -> MonteCarlo:
        """How far the imputed points of the round put the estimates off."""
        points_of = self.passes.points_of
        slopes = self.passes.mass_slopes(model)
        if points_of is None or not slopes or n_directions(model) > LARGEST:
            return MonteCarlo.none(n_directions(model))
        covariance = resolved_covariance(self.information(model, last), model, self.passes.constraints)
        return monte_carlo(model, points_of.classes, last.unseen, slopes, covariance, last.n_samples)


def evaluated(passes: Passes, model: Model, *, sample: Chunk, seed: int, callback: Callback | None = None) -> Outcome:
    """The pass of a model as it is, its unseen resolved as finely as a fit would.

    Raises:
        UnseenError: even with the most points the completeness cannot be told from zero.
    """
    return passed(evaluating(passes, model, sample=sample, seed=seed, callback=callback), passes)


def evaluating(passes: Passes, model: Model, *, sample: Chunk, seed: int, callback: Callback | None = None) -> Passing:
    """The loop of `evaluated`, which may share its readings with others."""
    if not passes.survey_is_partial:
        result = yield model
        return Outcome(model, result, Status.CONVERGED)
    resolution = Resolution(passes, sample, seed, callback)
    while True:
        resolution.begin_round(model)
        try:
            result = yield model
        except UnseenError:
            if not resolution.relieve():
                raise
            continue
        verdict = resolution.judge(result.objective, result)
        if verdict is not Verdict.MORE:
            last = replace(result, class_change=resolution.class_change)
            return Outcome(model, last, verdict.status(passes))


def _imprecision(last: Pass, *, fixed: bool) -> float:
    """The error of Z in units of what it may be: a small part of the binomial error Z sqrt((1 - Z) / N).

    For injections, which are fixed, the effective number of the found ones should be four times that of the objects
    (Farr 2019).
    """
    z, error = last.completeness, last.completeness_error
    unit = 0.5 if fixed else MONTE_CARLO_SHARE * math.sqrt(max(1 - z, 0.0))
    most = unit * z / math.sqrt(last.n_samples)
    return error / most if most > 0 else (math.inf if error > 0 else 0.0)
