"""Arriving: quasi-Newton steps on the moments, which are the gradient, once EM has come near.

EM contracts by what an object's values tell of what is hidden; on truncated, noisy or overlapping mixtures that is 0.99
a pass and it crawls. Here the objective's slopes along theta (`coordinates`) come from the same pass, and the step is
H g with H the limited-memory inverse Hessian (Liu & Nocedal 1989) around the inverse of the information that a sample
of the objects carries (Berndt, Hall, Hall & Hausman 1974): directions that the data hardly decide are known from the
first step on. N g' H g / 2 is what the log-likelihood still has to gain, and its root bounds how far any function of
the parameters is from the maximum, in units of its standard error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve

from dgmmis.coordinates import (
    Complete,
    Free,
    along,
    movement,
    parameters,
    with_parameters,
)
from dgmmis.em import Pass
from dgmmis.information import ScoreProducts, component_places, gradient, prior_slope
from dgmmis.model import Model
from dgmmis.mstep import are_starved, at_floor, raised_to_floor
from dgmmis.prior import Constraints

NEAR = 3e-2
"""EM goes on until a pass gains less than this per object: far from a maximum it is hard to beat."""

MEMORY, MOST_MEMORY, MEMORY_NUMBERS, LEAST_MEMORY = 20, 400, 1 << 22, 4
"""Steps that are remembered with few coordinates, and with many; fewer where they would be so many numbers; at least.

What was learnt far back is of another place, so that ten components in three features are better off with 20 (82 passes
for 110). But a hundred bend the objective in hundreds of directions that the scores say little of: on a tenth of
Tycho-2, K = 100, 100 passes with 100 steps did what 180 did with 20."""

STALE, MOST_STALE, FRESH = 8, 64, 2
"""Steps after which the information is taken anew, with few coordinates, and with many, where it costs as much as a
pass; and before which it need not be to call an end."""

PER_STEP, PER_AGE = 10, 30
"""Coordinates for each step that is remembered, and for each after which the information is taken anew."""

ENDING = 0.1
"""What all objects together may still gain in log-likelihood where an end may be near."""

REACH, FARTHEST = 1.0, 8.0
"""A step changes no component by more than about so many of the standard deviations, noise included, of its objects;
first and at most."""

SHORTENED = 2
"""So many times a refused step is shortened before EM steps in."""

LEAST_DOUBT = 1e-4
"""Share of the complete information that is added to that of the scores in any case: no direction is without."""

LARGEST = 3000
"""With more coordinates the information is that of known components and values, entry by entry."""

DOUBTS = 6
"""So many times a fit may find that it has not arrived."""

FLAT, ASTRAY, DOUBTED = 1e-5, 0.1, 3.0
"""Least curvature that is told from none, in units of the complete information; the least slope, over its own error,
that a step from a saddle goes by; and how many times the distance may be what it was thought to be."""

ERRORS = 3.0
"""A curvature that a sample gives is known within so many of its standard errors."""

CurvatureOf = Callable[[Model, Pass], tuple[np.ndarray, float]]
"""(model, its pass) -> minus the second derivatives (p, p) of the objective, per object, and how many objects a sample
gave them; infinite: all did."""

KnownOf = Callable[[Model, Pass], ScoreProducts]
"""(model, its pass) -> the products of some objects' scores."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where the objective and its slopes are known."""

    model: Model
    theta: np.ndarray
    free: Free
    value: float
    slopes: np.ndarray
    image: Model
    pinned: np.ndarray

    def with_pinned(self, model: Model) -> Model:
        """A model whose pinned covariances are those of the M-step."""
        if not self.pinned.any():
            return model
        mixture, own = model.mixture, self.image.mixture.covariances
        covariances = np.where(self.pinned[:, None, None], own, mixture.covariances)
        return replace(model, mixture=replace(mixture, covariances=covariances))

    def of_pinned(self) -> float:
        """How far the M-step moves the pinned covariances."""
        return movement(self.model, self.with_pinned(self.model))


class QuasiNewton:
    """Proposes steps from what passes found; stateful on purpose, one for a fit."""

    def __init__(
        self,
        constraints: Constraints,
        known_of: KnownOf | None = None,
        curvature_of: CurvatureOf | None = None,
        *,
        is_near: bool = False,
    ) -> None:
        self._constraints, self._known_of, self._curvature_of = constraints, known_of, curvature_of
        self._n_doubts, self._is_doubting = 0, False
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._place: _Place | None = None
        self._follows: np.ndarray | None = None  # what the pairs and the metric are about: `Free.follows`
        self._step = np.zeros(0)
        self._scale = 1.0
        self._n_shortened = 0
        self._reach = REACH
        self._stretch = 1.0
        self._is_near = is_near
        self._metric: _Metric | None = None
        self._age = 0
        self.distance = np.inf
        """The root of what the objective has to gain, twice and per object; times sqrt(N), of any function of the
        parameters, about how many standard errors the maximum may be away. Infinite before it is known."""

    def begin_round(self) -> None:
        """The points of the unseen are new ones: the curvature stays, differences to the old slopes mean nothing."""
        self._place = None

    def propose(self, model: Model, result: Pass, image: Model) -> Model | None:
        """A successor of `model`, whose pass was `result` and whose image under the EM map is `image`.

        None: the image itself.
        """
        before, place = self._place, self._placed(model, result, image)
        self._place = place
        self.distance = np.inf
        if not self._is_near:
            if before is None or result.objective - before.value > NEAR:
                return None
            self._is_near = True
        if place.free.n == 0:
            self.distance = place.of_pinned()
            return None
        if self._is_doubting:  # and rightly: what was learnt on the way here is of another place
            self._pairs.clear()
            self._is_doubting = False
        self._learn(before, place)
        metric = self._metric
        if metric is None or self._age >= stale_after(place.free.n):
            metric = self._measured(place, result)
        step = self._direction(place, metric)
        gain = float(step @ place.slopes)
        if self._age > FRESH and gain * result.n_samples < ENDING:  # whether this is the end, fresh information says
            metric = self._measured(place, result)
            step = self._direction(place, metric)
            gain = float(step @ place.slopes)
        self._age += 1
        if not gain >= 0:  # rounding has made the curvature worthless
            self._pairs.clear()
            return None
        self.distance = max(float(np.sqrt(gain)), place.of_pinned())
        self._n_shortened, self._scale = 0, 1.0
        length = metric.length(step * self._stretch)
        self._step = step * self._stretch * min(1.0, self._reach / max(length, 1e-300))
        return self._proposal()

    def refused(self, trial: Pass | None) -> Model | None:
        """After the objective did not accept the last proposal: a shorter one, or None for the EM step."""
        self._stretch = 1.0
        assert self._place is not None
        assert self._metric is not None
        self._n_shortened += 1
        length = self._metric.length(self._step) * self._scale
        if self._n_shortened > SHORTENED:
            if self._is_doubting:  # all objects refute what some of them said
                self._n_doubts, self._is_doubting = DOUBTS, False
                return None
            self._reach = max(length / 2, 1e-3)
            self._pairs.clear()
            self._age = MOST_STALE
            return None
        self._scale *= 0.1 if trial is None else self._shortened(trial)
        if not self._is_doubting:
            self._reach = max(length * self._scale, 1e-3)
        return self._proposal()

    def doubted(self, result: Pass) -> Model | None:
        """Where to go on, if the curvature of the objective says that the last model is no maximum.

        The scores' products are positive whatever the place: near a saddle, as between components that are alike, they
        promise a maximum nearby. The curvature itself is dear, and looked at only where a fit would stop.
        """
        place, metric = self._place, self._metric
        if self._curvature_of is None or place is None or metric is None or place.free.n == 0:
            return None
        if self._n_doubts >= DOUBTS or len(place.free.follows) > LARGEST:
            return None
        curvature, n_known = self._curvature_of(place.model, result)
        values, directions = metric.compared(place, curvature)
        slopes, flat = directions.T @ place.slopes, np.maximum(FLAT, metric.unknown(place, directions, n_known))
        bent = values < -flat
        least = ASTRAY / np.sqrt(result.n_samples)
        slopes = np.where(bent & (np.abs(slopes) < least), np.copysign(least, slopes), slopes)
        ahead = slopes / np.maximum(np.abs(values), flat)
        distance = float(np.sqrt(ahead @ slopes))
        if not bent.any() and distance <= DOUBTED * self.distance:
            return None
        self._n_doubts += 1
        self.distance = distance
        step = directions @ ahead
        self._n_shortened, self._scale = 0, 1.0
        self._step = step * min(1.0, self._reach / max(metric.length(step), 1e-300))
        proposal = self._proposal()
        self._is_doubting = proposal is not None
        return proposal

    def _shortened(self, trial: Pass) -> float:
        """Where the parabola through both values has its top, between a tenth and a half of the way."""
        assert self._place is not None
        slope = float(self._place.slopes @ self._step) * self._scale
        lost = self._place.value - trial.objective
        return float(np.clip(slope / (2 * (slope + lost)), 0.1, 0.5))

    def _placed(self, model: Model, result: Pass, image: Model) -> _Place:
        pinned = at_floor(model.mixture.covariances, self._constraints.floor)
        of_parameters = objective_slopes(result, model, self._constraints)
        held = are_starved(result.moments.weight, self._constraints)
        free = Free.of(model, self._constraints, held, pinned, float(of_parameters[-1]))
        slopes = along(model, of_parameters, free.weights)
        return _Place(model, parameters(model), free, result.objective, free.gathered(slopes), image, pinned)

    def _learn(self, before: _Place | None, place: _Place) -> None:
        """Keep how the slopes changed along the last step."""
        last, self._follows = self._follows, place.free.follows
        known = [last, None if before is None else before.free.follows]
        if any(one is not None and not np.array_equal(one, self._follows) for one in known):
            self._pairs.clear()
            self._metric = None
            return
        if before is None:  # a new round
            return
        moved = place.free.picked(place.theta - before.theta)
        change = before.slopes - place.slopes
        curvature = float(moved @ change)
        if curvature > 1e-10 * np.linalg.norm(moved) * np.linalg.norm(change):
            self._pairs.append((moved, change))
            del self._pairs[: -memory_for(len(moved))]
            self._stretch = 1.0
        else:  # the objective bends upwards: nothing bounds the step but its success
            self._stretch *= 2
        if self._metric is not None and self._metric.length(moved) > 0.9 * self._reach:
            self._reach = min(2 * self._reach, FARTHEST)

    def _measured(self, place: _Place, result: Pass) -> "_Metric":
        known = None
        if self._known_of is not None and len(place.free.follows) <= LARGEST:
            known = self._known_of(place.model, result)
        self._metric, self._age = _Metric.of(place.model, place.free, known), 0
        return self._metric

    def _direction(self, place: _Place, metric: "_Metric") -> np.ndarray:
        """H g by the two loops of Liu & Nocedal (1989)."""
        q, shares = place.slopes.copy(), []
        for moved, change in reversed(self._pairs):
            share = (moved @ q) / (moved @ change)
            q -= share * change
            shares.append(share)
        step = metric.solved(q)
        for (moved, change), share in zip(self._pairs, reversed(shares), strict=True):
            step = step + moved * (share - (change @ step) / (moved @ change))
        return np.asarray(step)

    def _proposal(self) -> Model | None:
        place = self._place
        assert place is not None
        if not np.any(self._step):
            return None
        step = place.free.spread(self._step * self._scale)
        model = with_parameters(place.model, place.theta, step)
        return None if model is None else self._allowed(model, place)

    def _allowed(self, model: Model, place: _Place) -> Model:
        """With what is at the floor as the M-step has it, raised to the floor, and the background within its bounds."""
        constraints, model = self._constraints, place.with_pinned(model)
        free = ~np.isin(np.arange(model.mixture.n_components), list(constraints.frozen.covariances))
        covariances, collapsed = raised_to_floor(model.mixture.covariances, free, constraints.floor)
        if len(collapsed):
            model = replace(model, mixture=replace(model.mixture, covariances=covariances))
        if model.background is None:
            return model
        return replace(
            model, background_fraction=float(np.clip(model.background_fraction, *constraints.background_bounds))
        )


def memory_for(n: int) -> int:
    """How many steps of n coordinates are remembered."""
    wanted = max(MEMORY, min(n // PER_STEP, MOST_MEMORY))
    return max(LEAST_MEMORY, min(wanted, MEMORY_NUMBERS // max(n, 1)))


def stale_after(n: int) -> int:
    """After how many steps the information on n coordinates is taken anew."""
    return max(STALE, min(n // PER_AGE, MOST_STALE))


def ascent_for(
    model: Model,
    constraints: Constraints,
    known_of: KnownOf,
    curvature_of: CurvatureOf | None = None,
    *,
    is_near: bool = False,
) -> QuasiNewton | None:
    """What a fit that begins at a model goes by; None, plain EM, with a cutoff: the sums are no gradient then."""
    return QuasiNewton(constraints, known_of, curvature_of, is_near=is_near) if model.cutoff is None else None


def objective_slopes(result: Pass, model: Model, constraints: Constraints) -> np.ndarray:
    """Slopes (p,) of the objective per object along the parameters, prior included, in the order of `gradient`."""
    return np.asarray((gradient(result.moments, model) + prior_slope(model, constraints)) / result.n_samples)


@dataclass(frozen=True, slots=True, eq=False)
class _Metric:
    """The information about phi per object, ready to be divided by.

    Args:
        factor: Cholesky factor of it in units of its diagonal; None: the diagonal is all there is.
        diagonal: of all of it (f,).
        blocks: what an object of each component's own would tell of it (k, b, b), the unit of steps; or as if its
            noise-free values were known.
        entries: of theta that these are about (k, b).
        free: what phi is.
    """

    factor: np.ndarray | None
    diagonal: np.ndarray
    blocks: np.ndarray | Complete
    entries: np.ndarray
    free: Free

    @classmethod
    def of(cls, model: Model, free: Free, known: ScoreProducts | None) -> "_Metric":
        entries, complete = component_places(model), Complete.of(model)
        if known is not None:
            weight = np.maximum((1 - model.background_fraction) * model.mixture.weights, 1e-12)[:, None, None]
            theta = _along_both(model, free, known.outer / known.n_samples)
            labelled = np.zeros_like(theta)
            labelled[entries[:, :, None], entries[:, None, :]] = known.labelled / known.n_samples
            labelled = _along_both(model, free, labelled)
            # few objects of a component in the sample say little of it: then more of what EM would go by is mixed in
            doubt = np.clip(entries.shape[1] / (known.n_samples * weight), LEAST_DOUBT, 1.0)
            theta[entries[:, :, None], entries[:, None, :]] += doubt * complete.blocks()
            theta[-1, -1] += LEAST_DOUBT * complete.behind
            phi = free.gathered_information(theta)
            scale = np.sqrt(np.maximum(np.diagonal(phi), 1e-300))
            factor = _factor(phi, scale)
            if factor is not None:
                blocks = labelled[entries[:, :, None], entries[:, None, :]]
                return cls(factor, scale**2, blocks / weight, entries, free)
        diagonal = np.maximum(free.gathered(complete.diagonal()), 1e-300)
        return cls(None, diagonal, complete, entries, free)

    def solved(self, slopes: np.ndarray) -> np.ndarray:
        """The inverse information times slopes (f,)."""
        if self.factor is None:
            return np.asarray(slopes / self.diagonal)
        scale = np.sqrt(self.diagonal)
        return np.asarray(cho_solve((self.factor, True), slopes / scale) / scale)

    def compared(self, place: _Place, curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Curvatures (f,) in units of the complete information, and their directions (f, f)."""
        free, model = place.free, place.model
        complete = Complete.of(model)
        theta = np.zeros((len(free.follows),) * 2)
        theta[self.entries[:, :, None], self.entries[:, None, :]] = complete.blocks()
        theta[-1, -1] = complete.behind
        unit = free.gathered_information(theta)
        scale = np.sqrt(np.maximum(np.diagonal(unit), 1e-300))
        root = np.linalg.inv(np.linalg.cholesky(unit / (scale[:, None] * scale))) / scale  # root C root' = 1
        values, vectors = np.linalg.eigh(root @ free.gathered_information(_along_both(model, free, curvature)) @ root.T)
        return values, root.T @ vectors

    def unknown(self, place: _Place, directions: np.ndarray, n_known: float) -> np.ndarray:
        """How well n_known objects tell curvatures (f,) along directions (f, f), in units of the complete information.

        Of a component only its own objects tell; and of b directions that are its own, the least curved in the sample
        is so by chance also (the largest eigenvalue of b x b noise is about 2 sqrt(b) times that of an entry).
        """
        free, complete = place.free, Complete.of(place.model)
        theta = np.where(free.follows[:, None] >= 0, directions[free.follows], 0.0)[self.entries]
        shares = np.sum(theta * (complete.blocks() @ theta), axis=1)
        worst = (ERRORS + 2 * np.sqrt(self.entries.shape[1])) ** 2 / (n_known * complete.signal)
        return np.asarray(np.sqrt(worst @ shares))

    def length(self, step: np.ndarray) -> float:
        """The largest change of a component, in its own standard deviations."""
        theta = self.free.spread(step)
        largest = float(np.abs(theta).max(initial=0.0)) or 1.0
        theta = theta / largest  # the square of a step that worthless information makes may be no number
        if isinstance(self.blocks, Complete):
            squares = self.blocks.squares(theta)
        else:
            own = theta[self.entries][:, None]
            squares = (own @ self.blocks @ own.swapaxes(1, 2)).ravel()
        return largest * float(np.sqrt(max(squares.max(initial=0.0), theta[-1] ** 2 / 4)))


def _factor(information: np.ndarray, scale: np.ndarray) -> np.ndarray | None:
    """Cholesky factor of information in units of its diagonal's roots; None where it is beyond floating point.

    An object far from everything, where the background has all but vanished, has scores whose squares are no numbers.
    """
    if not np.isfinite(information).all():
        return None
    try:
        return np.linalg.cholesky(information / (scale[:, None] * scale) + 1e-10 * np.eye(len(information)))
    except np.linalg.LinAlgError:
        return None


def _along_both(model: Model, free: Free, information: np.ndarray) -> np.ndarray:
    """Information (p, p) about the parameters, as that about theta."""
    return along(model, along(model, information, free.weights).T, free.weights)
