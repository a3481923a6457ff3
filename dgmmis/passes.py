"""A pass: what a reading of the data gives for a model, completed by what was not seen."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dgmmis.em import Outcome, Pass, Passing
from dgmmis.errors import DgmmisError, NumericalError, StoreError
from dgmmis.imputation import Completed, Unseen, closed_form, complete, unseen_within
from dgmmis.invariants import InvariantError
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise_classes import NoiseClass, Partition
from dgmmis.normaliser import Normaliser, mass_blocks, mass_slopes
from dgmmis.observed import Member
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round
from dgmmis.readings import Found, LeafFunction, Readings
from dgmmis.replicate import Replicate
from dgmmis.selection import LinearBounds

FIRST_PASS = "first pass, compiling what is not cached"
"""How people are told of it: compilers run where the passes do, and take some seconds for a kernel."""

WORN = 0.5
"""A round is over when its points have lost this fraction of their effective number."""

BLURRED = 4.0
"""Or when the error of log Z is so many times what it was: what the objective gains is soon that of the points."""

NEGLIGIBLE = 1e-7
"""Of log Z: an error that wears out nothing."""

SHRUNK = 0.3
"""Or, where points are positions without noise, when a component has only so much of the variance that it had: between
the points there is nothing that would tell it from one that sees no edge."""

OUTGROWN, AWAY = 1.5, 0.5
"""Or when a component has so many times the variance, or is so far in squared sigmas, of that which latent points were
drawn around: beyond, what they say of rows near an edge is off by a tenth, in the same direction for all of them."""


class Passes:
    """The passes of one fit: a model goes in, a Pass comes out; holds the round of imputed points in use.

    Several of them may share their readings of the data (`beside`, `together`).
    """

    def __init__(
        self,
        readings: Readings,
        observing: Observing,
        constraints: Constraints,
        replicate: Replicate | None = None,
    ) -> None:
        self.readings, self.observing, self.constraints = readings, observing, constraints
        self._replicate = replicate
        self._served = set[int]()
        """The numbers of the readings."""
        self._points_of: Round | None = None
        self._fresh: tuple[float, float] | None = None
        """The effective number of the round's points, and the error of log Z, when it began."""

    def beside(self, replicate: Replicate | None = None) -> "Passes":
        """Passes of another fit of the same data, with the round now in use; readings are counted for both."""
        other = Passes(self.readings, self.observing, self.constraints, replicate)
        other._points_of, other._fresh, other._served = self._points_of, self._fresh, self._served
        return other

    @property
    def count(self) -> int:
        """Readings of the data that served this fit, or those beside it."""
        return len(self._served)

    @property
    def survey_is_partial(self) -> bool:
        """Whether a selection makes rounds of imputed points necessary."""
        return self.observing.survey.is_partial

    def classes(self, partition: Partition) -> tuple[NoiseClass, ...]:
        """The noise classes of a partition that has several: one more reading of the data."""
        return self.readings.classes(partition, self._replicate)

    @property
    def points_of(self) -> Round | None:
        """The round in use; None where everything was seen."""
        return self._points_of

    def summed(self, function: LeafFunction) -> Any:
        """The sum of function(number, rows) over the leaves: one more reading of the data."""
        found = self.readings.summed(function)
        self._served.add(self.readings.count)
        return found

    def begin_round(self, points_of: Round) -> None:
        """Use these imputed points from now on."""
        self._points_of, self._fresh = points_of, None

    def mass_slopes(self, model: Model) -> list[np.ndarray]:
        """How the unseen mass of each class changes with the parameters, by replicate; empty if there are no points."""
        return self.readings.over_unseen(self.member(model, self._bounds(model)), mass_slopes)

    def normaliser(self, model: Model, last: Pass) -> Normaliser | None:
        """log Z of a model to second order, on the points that the workers keep; None where everything was seen."""
        if self._points_of is None:
            return None
        blocks_of = self.readings.over_unseen(self.member(model, self._bounds(model)), mass_blocks)
        return Normaliser.of(model, self.observing.survey, self._points_of, last.unseen, blocks_of or None)

    def __call__(self, model: Model) -> Pass:
        bounds = self._bounds(model)
        (found,) = self.readings([self.member(model, bounds)])
        self._served.add(self.readings.count)
        return self.completed(model, bounds, found)

    def member(self, model: Model, bounds: LinearBounds | None) -> Member:
        """What a reading needs to know of this fit."""
        draws_unseen = self._points_of is not None and bounds is None
        return Member(model, self._points_of, draws_unseen, self._replicate, self.constraints.covariance_type)

    def completed(self, model: Model, bounds: LinearBounds | None, found: Found) -> Pass:
        """The pass of a model from what a reading found.

        Raises:
            UnseenError: the completeness of a class cannot be told from zero.
            NumericalError: the weights of all objects sum to zero.
        """
        observed, latent, points_of = found.observed, found.latent, self._points_of
        if points_of is None:
            return self._finished(model, observed, Completed.of_all(observed))
        unseen: Sequence[Unseen] = found.unseen
        if bounds is not None:
            unseen = unseen_within(model, points_of.classes, bounds)
        elif points_of.n_injections:
            unseen = [part.complement(model) for part in unseen]
        result = self._finished(model, observed, complete(observed, unseen, points_of.classes))
        return replace(
            result,
            latent_bias=0.0 if latent is None else latent.bias / observed.n_samples,
            latent_error=0.0 if latent is None else math.sqrt(latent.square / observed.n_samples),
            worn=self._is_worn(unseen, points_of)
            or (latent is not None and _has_outgrown(model, points_of.model))
            or (self._by_position and _has_shrunk(model, points_of.model)),
        )

    def _bounds(self, model: Model) -> LinearBounds | None:
        points_of = self._points_of
        return None if points_of is None else closed_form(model, self.observing.survey, points_of.classes)

    @property
    def _by_position(self) -> bool:
        points_of = self._points_of
        drawn = points_of is not None and not points_of.n_injections
        return drawn and self.observing.survey.imputes_positions

    def _is_worn(self, unseen: Sequence[Unseen], points_of: Round) -> bool:
        if points_of.n_injections:
            return False  # there are no others
        shares = [of.share for of in points_of.classes]
        effective = float(np.dot(shares, [part.effective_points for part in unseen]))
        errors = [part.completeness_error / max(part.completeness, 1e-300) for part in unseen]
        error = float(np.dot(shares, errors))
        if self._fresh is None:
            self._fresh = effective, error
        fresh_points, fresh_error = self._fresh
        return effective < WORN * fresh_points or error > BLURRED * fresh_error + NEGLIGIBLE

    def _finished(self, model: Model, observed: Moments, completed: Completed) -> Pass:
        n = observed.n_samples
        if not n > 0:
            raise NumericalError("the weights of all objects sum to zero", do="give positive weights")
        log_likelihood = float(observed.log_likelihood / n - completed.log_normaliser)
        prior = self.constraints.log_prior(model.mixture) / n
        return Pass(
            completed.moments,
            log_likelihood + float(prior),
            log_likelihood,
            n,
            completed.completeness,
            completed.completeness_error,
            completed.unseen,
        )


def together(running: Sequence[tuple[Passes, Passing]]) -> list[Outcome | DgmmisError]:
    """Run loops side by side: each reading of the data serves all that are still under way.

    Returns:
        How each of them ended: with its outcome, or with an error of its own.
    """
    ends: list[Outcome | DgmmisError | None] = [None] * len(running)
    wanted: dict[int, Model] = {}

    def advanced(m: int, result: Pass | DgmmisError | None) -> None:
        loop = running[m][1]
        wanted.pop(m, None)
        try:
            if result is None:
                wanted[m] = next(loop)
            elif isinstance(result, Pass):
                wanted[m] = loop.send(result)
            else:
                wanted[m] = loop.throw(result)
        except StopIteration as end:
            ends[m] = end.value
        except (InvariantError, StoreError):  # of no loop in particular
            raise
        except DgmmisError as error:
            ends[m] = error

    for m in range(len(running)):
        advanced(m, None)
    while wanted:
        numbers = sorted(wanted)
        models = [wanted[m] for m in numbers]
        bounds = [running[m][0]._bounds(model) for m, model in zip(numbers, models, strict=True)]
        members = [running[m][0].member(model, of) for m, model, of in zip(numbers, models, bounds, strict=True)]
        readings = running[numbers[0]][0].readings
        found = readings(members)
        for m, model, within, sums in zip(numbers, models, bounds, found, strict=True):
            running[m][0]._served.add(readings.count)
            result: Pass | DgmmisError
            try:
                result = running[m][0].completed(model, within, sums)
            except DgmmisError as error:
                result = error
            advanced(m, result)
    return [end for end in ends if end is not None]


def _has_outgrown(model: Model, reference: Model) -> bool:
    """Whether a component has left, or outgrown, the reference around which latent points were drawn.

    Points are where the reference put them, and rows around which Omega was constant there have none.
    """
    near, far = reference.mixture, model.mixture
    root = np.linalg.inv(np.linalg.cholesky(near.covariances))
    wide = _widths(model, reference)[:, -1]
    away = np.einsum("kij,kj->ki", root, far.means - near.means)
    return bool(np.any((wide > OUTGROWN) | (np.sum(away**2, axis=1) > AWAY)))


def _has_shrunk(model: Model, reference: Model) -> bool:
    """Whether a component has little left of the width of that around which positions were drawn."""
    return bool(np.any(_widths(model, reference)[:, 0] < SHRUNK))


def _widths(model: Model, reference: Model) -> np.ndarray:
    """Variances (k, d) of each component along its axes, in units of the reference's, in ascending order."""
    root = np.linalg.inv(np.linalg.cholesky(reference.mixture.covariances))
    return np.linalg.eigvalsh(root @ model.mixture.covariances @ np.swapaxes(root, 1, 2))
