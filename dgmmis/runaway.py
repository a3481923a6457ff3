"""Components that ran away: out of sight, where nothing bounds how many objects there are.

What lies behind the edge of a survey is free but for the shape of the components. Where the density of the seen rises
towards the edge at least as fast as an exponential, a Gaussian explains it the better the farther behind the edge it is
and the wider: the likelihood rises for ever, by less and less, while Z_k, the completeness of the component alone,
falls to 0. On such a ridge the tail that is seen goes as exp(a t - t^2 / (2 s^2)), and log Z_k as -a^2 s^2 / 2, so that

    error of log Z_k / |log Z_k| = error of 1 / s^2 over 1 / s^2:

where it is a half or more, 1 / s^2 = 0, the exponential with its infinitely many unseen objects, is within two standard
errors. That is a runaway, if besides it matters: sum_k n_k / Z_k objects in all, of which the component has the share
alpha_k, are off by a factor exp(alpha_k times the error of log Z_k), from this component alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgmmis.imputation import Unseen
from dgmmis.information import StandardErrors, component_places, gradient
from dgmmis.model import Model
from dgmmis.noise_classes import NoiseClass
from dgmmis.types import Vector

HIDDEN = 0.05
"""A component of which the survey sees more has not run away, however little the objects say of its size."""

UNBOUNDED = 2.0
"""Standard errors within which 1 / s^2 = 0 is as good."""

DOUBLED = float(np.log(2))
"""Least error of the log of all objects by one component that matters: a factor of two."""

ROUNDING = 1e-9
"""Of a component of which less is seen nothing can be said: Z_k is a small difference, and a Gaussian six sigma out is
one that nobody knows."""

NAMED = 100.0
"""A larger error of a log is only a sign of a direction of which the objects say nothing."""


@dataclass(frozen=True, slots=True)
class Runaway:
    """A component of which next to nothing was seen, and that has no bound; `str` is a sentence.

    Args:
        component: its number.
        completeness: Z_k, of this component alone.
        log_completeness_error: standard error of log Z_k, by the scores of the observed objects.
        n_observed: how many of the observed objects are its own, responsibilities summed.
        share: of the population that it would be.
    """

    component: int
    completeness: float
    log_completeness_error: float
    n_observed: float
    share: float

    def __str__(self) -> str:
        error = self.log_completeness_error
        known = f"+- {error:.2g}" if error < NAMED else "with an error beyond all bounds"
        return (
            f"component {self.component} ran away: it would be {self.share:.2g} of the population, but the survey sees "
            f"{self.completeness:.2g} of it, {self.n_observed:,.4g} observed objects speak of it, and the log of its "
            f"completeness is {np.log(self.completeness):.3g} {known}. Nothing bounds how many objects are out of "
            "sight, and more passes will not: fit another number of components, fewer as a rule, give a prior that has "
            "a mean (NormalInverseWishart; in a job file `prior` with `mean`), or leave out what is next to the edge"
        )


def hidden(model: Model, unseen: Sequence[Unseen], classes: Sequence[NoiseClass]) -> bool:
    """Whether there are components that may have run away: that are mostly out of sight."""
    return model.cutoff is None and bool(len(unseen)) and bool(np.any(_completeness(model, unseen, classes) < HIDDEN))


def runaways(
    model: Model,
    unseen: Sequence[Unseen],
    classes: Sequence[NoiseClass],
    *,
    errors: StandardErrors,
    n_samples: float,
    n_looked_at: float,
) -> tuple[Runaway, ...]:
    """The components of a fitted model that ran away.

    Args:
        model: at the end of a fit.
        unseen: the sums of each noise class under it.
        classes: of noise.
        errors: of the parameters, prior included.
        n_samples: of the observed objects.
        n_looked_at: of them, those that the errors come from. A component of which these hold fewer than it has
            parameters is not judged.
    """
    if not unseen:
        return ()
    places, signal = component_places(model), _signal(model)
    completeness = _completeness(model, unseen, classes)
    shares = _shares(unseen, classes)
    slopes = -gradient(unseen[0].moments * shares[0], model)
    for part, share in zip(unseen[1:], shares[1:], strict=True):
        slopes = slopes - gradient(part.moments * share, model)
    n_before = n_samples * sum(of.share / part.completeness for of, part in zip(classes, unseen, strict=True))
    n_observed = n_before * signal * completeness
    found = []
    for c in np.flatnonzero((completeness < HIDDEN) & (signal > 0)):
        own = places[c, 1:]
        if n_looked_at < 0.999 * n_samples and n_observed[c] * n_looked_at / n_samples < places.shape[1]:
            continue
        z = max(float(completeness[c]), np.finfo(float).tiny)
        slope = np.zeros((1, len(slopes)))
        slope[0, own] = slopes[own] / (signal[c] * z)
        error = float(errors.of(slope)[0])
        if z < ROUNDING:
            error = max(error, float(-np.log(z)))
        if UNBOUNDED * error >= -np.log(z) and signal[c] * error >= DOUBLED:
            found.append(Runaway(int(c), z, error, float(n_observed[c]), float(signal[c])))
    return tuple(found)


def _signal(model: Model) -> Vector:
    """Share of the population (k,) that each component is."""
    return np.asarray((1 - model.background_fraction) * model.mixture.weights)


def _shares(unseen: Sequence[Unseen], classes: Sequence[NoiseClass]) -> Vector:
    """Of all objects, seen or not, those of each noise class (c,)."""
    shares = np.array([of.share / part.completeness for of, part in zip(classes, unseen, strict=True)])
    return np.asarray(shares / shares.sum())


def _completeness(model: Model, unseen: Sequence[Unseen], classes: Sequence[NoiseClass]) -> Vector:
    """Z_k (k,) of each component alone, over the noise of all."""
    lost = sum(share * part.moments.weight for share, part in zip(_shares(unseen, classes), unseen, strict=True))
    signal = _signal(model)
    return np.asarray(1 - np.divide(lost, signal, out=np.zeros_like(signal), where=signal > 0))
