"""Latent points: observed objects that were selected on what the catalogue does not hold.

Where Omega acts on true values, or on measured ones of which some are missing, an object is in the catalogue with

    L_n = integral Omega(z) p(z, y_n) dz,

z being what Omega acts on. With J points z_nj of the posterior of a reference model r (the model at the start of the
round, widened) it is r(y_n) mean_j Omega(z_nj) p(z_nj) / r(z_nj): the noise of y_n cancels, and what is left is smooth
in the model, on fixed points. EM with the points as objects that share the weight of theirs is EM for this likelihood.
Objects around which Omega is constant need none of it.

The logarithm of a mean over few points is biased by minus half its relative variance, which the two halves of an
object's points show; `rounds` takes more points until that does not matter.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.errors import RefusedError
from dgmmis.estep import expect, log_density
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.types import Vector

MOST_LATENT = 2048
"""Points of an object, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """Objects with their latent points.

    Args:
        block: the points z_nj with Omega > 0, those of an object together.
        first: number of the first point of each object (n,).
        half: which half of its object's points each belongs to (p,).
        log_weights: log [r(y_n) Omega(z_nj) / (J_n r(z_nj))] (p,).
        log_background: log integral Omega b of each object (n,), or None.
        weights: of the objects (n,).
    """

    block: Block
    first: np.ndarray
    half: np.ndarray
    log_weights: Float[np.ndarray, " p"]
    log_background: Vector | None
    weights: Vector

    @property
    def nbytes(self) -> int:
        arrays = (self.first, self.half, self.log_weights, self.weights, self.log_background)
        return self.block.nbytes + sum(array.nbytes for array in arrays if array is not None)


@dataclass(frozen=True, slots=True)
class LatentError:
    """How well latent points resolve their objects: a monoid.

    Args:
        bias: sum over objects of how much their log-likelihood is too low.
        square: sum of the squares of its random error.
    """

    bias: float = 0.0
    square: float = 0.0

    def __add__(self, other: "LatentError") -> "LatentError":
        return LatentError(self.bias + other.bias, self.square + other.square)


@dataclass(frozen=True, slots=True, eq=False)
class LatentSums:
    """What latent objects give: a monoid.

    Args:
        moments: the same as of other objects.
        error: of their log-likelihood for want of points.
    """

    moments: Moments
    error: "LatentError"

    def __add__(self, other: "LatentSums") -> "LatentSums":
        return LatentSums(self.moments + other.moments, self.error + other.error)


@dataclass(frozen=True, slots=True, eq=False)
class LatentPosterior:
    """What a model makes of objects with latent points.

    Args:
        terms: log of each point's share of L_n (p,).
        log_signal: log of their sum over an object's points (n,).
        log_density: log L_n, background included (n,).
        shares: probability of each point within its object (p,); what they lack to one is the background's.
        behind: probability of the background (n,).
        owner: the object of each point (p,).
    """

    terms: Float[np.ndarray, " p"]
    log_signal: Vector
    log_density: Vector
    shares: Float[np.ndarray, " p"]
    behind: Vector
    owner: np.ndarray


def latent_posterior(model: Model, latent: Latent, signal: Model | None = None) -> LatentPosterior:
    """The E-step of objects with latent points. A cutoff acts on the points.

    Args:
        model: with its background.
        latent: the objects.
        signal: `model.signal`, from those who go on with it: kernels keep what they prepared of a model.

    Raises:
        RefusedError: a cutoff and a background: at a point it would have to decide between them, but the background's
            part is an integral over the object.
    """
    nu = model.background_fraction
    if model.cutoff is not None and nu > 0:
        raise RefusedError(
            "a cutoff beside a background, where objects were selected on what was not measured",
            do="leave the cutoff out",
        )
    signal = model.signal if signal is None else signal
    terms = latent.log_weights + log_density(signal, latent.block) + np.log1p(-nu)
    owner = np.repeat(np.arange(len(latent.first)), np.diff(np.append(latent.first, len(terms))))
    log_signal = _log_sums(terms, latent.first, owner)
    log_objects, behind = log_signal, np.zeros(len(log_signal))
    if nu > 0:
        assert latent.log_background is not None
        log_behind = np.log(nu) + latent.log_background
        log_objects = np.logaddexp(log_signal, log_behind)
        behind = np.exp(log_behind - log_objects)
    return LatentPosterior(terms, log_signal, log_objects, np.exp(terms - log_objects[owner]), behind, owner)


def latent_sums(model: Model, latent: Latent) -> LatentSums:
    """The sums of objects with latent points, and how well these resolve them."""
    signal, weights = model.signal, latent.weights
    found = latent_posterior(model, latent, signal)
    moments = expect(signal, replace(latent.block, weights=weights[found.owner] * found.shares)).moments
    moments = replace(
        moments,
        background=float(weights @ found.behind),
        log_likelihood=float(weights @ found.log_density),
        n_samples=float(weights.sum()),
    )
    # a half without points says that the object has far too few of them: its logarithm is kept finite
    halves = [
        np.maximum(
            _log_sums(np.where(latent.half == h, found.terms, -np.inf), latent.first, found.owner),
            found.log_signal - 3.0,
        )
        for h in (0, 1)
    ]
    share = np.where(np.isfinite(found.log_signal), 1 - found.behind, 0.0)
    with np.errstate(invalid="ignore"):  # an object of the background only has no signal to resolve
        bias = np.where(share > 0, share * (found.log_signal - np.log(2) - 0.5 * (halves[0] + halves[1])), 0.0)
        square = np.where(share > 0, (share * 0.5 * (halves[0] - halves[1])) ** 2, 0.0)
    return LatentSums(moments, LatentError(float(weights @ bias), float(weights @ square)))


def _log_sums(terms: np.ndarray, first: np.ndarray, owner: np.ndarray) -> np.ndarray:
    top = np.maximum.reduceat(terms, first)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.add.reduceat(np.exp(terms - top[owner]), first)) + top)
