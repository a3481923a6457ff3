"""Components whose covariance a fit took to the edge of the positive definite ones, and along which direction.

A deconvolved spread may come out as zero: where noise explains the scatter along a direction, or more than that, the
log-likelihood rises all the way down to variance zero. With v the combination of features and lambda = v' C v its
variance, C + e a a' with v' a = 1 has the variance lambda + e, and

    s = d log L / d lambda = a' W a / 2 (W: `Moments`),    I = sum_n (d log p_n / d lambda)^2.

At a maximum inside s vanishes. At the edge it stays negative while lambda becomes small, and the scoring step, which
would take the variance to lambda + s / I, ends at or below zero: the maximum is on the other side. z = s / sqrt(I) is
the slope in its standard errors, were all else known. s^2 / I is at most what the log-likelihood has to gain in all
directions together, twice, so that at a maximum inside |z| is no larger than the distance at which a fit settles
(`Stopping.arrived`; a fit that was asked for less than the default may name an edge that is none).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from dgmmis.information import Information
from dgmmis.linalg import packed_indices, packed_size, unpack
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import ROUNDING, STARVED
from dgmmis.prior import Constraints
from dgmmis.types import Feature, Matrix

SLOPED = 0.05
"""Least -z of an edge, above what the stop rule leaves of z inside. Where the true variance is zero, so that z at the
edge is one half of a normal law, one edge in 25 is not reported for it: there the slope at zero all but vanishes."""

MARGIN = 1e-6
"""Relative, above the floor: still at it."""

VANISHING = 1e-8
"""Coefficients of a combination that are rounding, and those that a sentence leaves out, in units of the spread."""
SPOKEN = 1e-3

Outer = Float[np.ndarray, "t t"]


@dataclass(frozen=True, slots=True, eq=False)
class AtBoundary:
    """A direction along which a covariance is at the edge; `str` is a sentence.

    Args:
        component: its number; None: the covariance that all share ("tied").
        direction: v (d,), of length one, in the units of the features: the combination v . x that has no spread of its
            own. All features alike for a spherical covariance, which has the same variance along every direction.
        variance: v' C v.
        z: slope of the log-likelihood by this variance over the slope's standard error; below zero.
        sizes: |v| in units of the features' spread (d,): what the sentence leaves out is small there.
    """

    component: int | None
    direction: Feature
    variance: float
    z: float
    sizes: Feature

    def __str__(self) -> str:
        who = "the covariance of all components" if self.component is None else f"component {self.component}"
        spoken = np.flatnonzero(self.sizes >= SPOKEN * self.sizes.max())
        terms = [f"{'-' if self.direction[f] < 0 else '+'} {abs(self.direction[f]):.3g} feature {f}" for f in spoken]
        along = " ".join(terms).removeprefix("+ ") if len(spoken) > 1 else f"feature {spoken[0]}"
        return (
            f"{who} has no spread of its own along {along}: its variance there, {self.variance:.2g}, is at the edge of "
            f"what is possible, and the likelihood would have it smaller still (slope {self.z:.2g} standard errors)"
        )


def boundary(model: Model, moments: Moments, known: Information, constraints: Constraints) -> tuple[AtBoundary, ...]:
    """The directions along which free covariances of a fitted model are at the edge.

    A direction is an axis of the covariance in units of the floor, or of the model's own spread where there is none. It
    is at the edge where z < -0.05, and the variance is at the floor or the scoring step takes it to zero.

    Args:
        model: at the end of a fit.
        moments: of all objects under it, of the seen and the unseen together (`Pass.moments`).
        known: their information.
        constraints: of the fit.
    """
    if constraints.components_prior is not None:
        return ()
    k, d = model.mixture.means.shape
    slopes = unpack(moments.covariance_score) / 2
    first = k + k * d + packed_size(d) * np.arange(k + 1)
    outer = [known.outer[a:b, a:b] for a, b in pairwise(first)]
    unit = np.sqrt(_spread(model) if constraints.floor is None else constraints.floor)
    least = 0.0 if constraints.floor is None else 1.0 + MARGIN
    if constraints.covariance_type == "tied":
        every = slice(int(first[0]), int(first[-1]))
        t = packed_size(d)
        pooled = known.outer[every, every].reshape(k, t, k, t).sum(axis=(0, 2))
        return tuple(_edges(None, model.mixture.covariances[0], slopes.sum(axis=0), pooled, unit, least))
    found: list[AtBoundary] = []
    for c in range(k):
        if c in constraints.frozen.covariances or moments.weight[c] <= STARVED:
            continue
        if constraints.covariance_type == "spherical":
            found += _shrunk(c, model.mixture.covariances[c], slopes[c], outer[c], unit, least)
        else:
            found += _edges(c, model.mixture.covariances[c], slopes[c], outer[c], unit, least)
    return tuple(found)


def _edges(
    component: int | None, covariance: Matrix, slopes: Matrix, outer: Outer, unit: Feature, least: float
) -> Iterator[AtBoundary]:
    """The axes of a covariance (d, d) that are at the edge; slopes d log L / d C, outer (t, t) their products."""
    values, axes = np.linalg.eigh(covariance / (unit[:, None] * unit))
    floor = max(least, ROUNDING * float(values[-1]))
    i, j = packed_indices(len(unit))
    for value, axis in zip(values, axes.T, strict=True):
        sizes = np.where(np.abs(axis) > VANISHING, axis, 0.0)
        sizes *= np.sign(sizes[np.argmax(np.abs(sizes))])
        combination = sizes / unit
        length = float(np.linalg.norm(combination))
        along = axis * unit  # raises the variance by as much as it is raised itself
        slope = float(along @ slopes @ along)
        entries = along[i] * along[j]
        z = _edge(float(value), slope, float(entries @ outer @ entries), floor)
        if z is not None:
            yield AtBoundary(component, combination / length, float(value) / length**2, z, np.abs(sizes))


def _shrunk(
    component: int, covariance: Matrix, slopes: Matrix, outer: Outer, unit: Feature, least: float
) -> Iterator[AtBoundary]:
    """The same of a spherical covariance, whose one variance is at the edge or not."""
    d = len(unit)
    i, j = packed_indices(d)
    diagonal = np.flatnonzero(i == j)
    information = float(outer[np.ix_(diagonal, diagonal)].sum())
    variance = float(covariance[0, 0])
    z = _edge(variance, float(np.trace(slopes)), information, least * float(np.max(unit**2)))
    if z is not None:
        yield AtBoundary(component, np.full(d, d**-0.5), variance, z, np.ones(d))


def _edge(variance: float, slope: float, information: float, floor: float) -> float | None:
    """z where a variance is at the edge, else None."""
    if not information > 0:
        return None
    z = slope / float(np.sqrt(information))
    inward = variance <= floor or variance + slope / information <= 0
    return z if z < -SLOPED and inward else None


def _spread(model: Model) -> Feature:
    """Variance (d,) of each feature under the mixture."""
    mixture = model.mixture
    offset = mixture.means - mixture.weights @ mixture.means
    return np.asarray(mixture.weights @ (np.diagonal(mixture.covariances, axis1=1, axis2=2) + offset**2))
