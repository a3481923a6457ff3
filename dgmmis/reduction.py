"""Fewer components: reweighted, pruned, and merged to a given number. The weighted union of models is `stacked`.

Merging is that of Runnalls (2007, IEEE Trans. Aerosp. Electron. Syst. 43): the pair i, j becomes one, with the moments
of both, that has the least

    B_ij = [(w_i + w_j) log |C_ij| - w_i log |C_i| - w_j log |C_j|] / 2,

by which the Kullback-Leibler divergence of the new mixture from the old one grows at most.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, JobError, ShapeError, require_whole
from dgmmis.merging import Parts, merged
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.reals import real, reals
from dgmmis.types import Indices, Vector


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """A model of fewer components.

    Args:
        model: with the background, and its fraction, as they were. To refine it, fit it: Start(k, model.mixture).
        owner: component of it that each of the former ones is part of (k,).
        bound: the Kullback-Leibler divergence of the new model from the old is at most this, in nats.
    """

    model: Model
    owner: Indices
    bound: float


def reduced(model: Model | GaussianMixture, n_components: int) -> Reduction:
    """Merge components, two by two, until so many are left; the mean and the covariance of the whole stay.

    Raises:
        JobError: n_components that is no whole number from 1 to those there are.
    """
    of = as_model(model)
    mixture, nu = of.mixture, of.background_fraction
    require_whole(n_components, "n_components", 1)
    if n_components > mixture.n_components:
        raise JobError(
            "a model is reduced to fewer components", expected=f"at most {mixture.n_components}", got=n_components
        )
    found = merged(Parts.of(mixture.weights, mixture.means, mixture.covariances), n_components, _loss)
    left = found.parts
    fewer = GaussianMixture(left.weights, left.means, left.covariances)
    return Reduction(replace(of, mixture=fewer), found.owner, (1 - nu) * max(0.0, found.cost))


def pruned(model: Model | GaussianMixture, below: float) -> Model:
    """The model without the components of which the weight alpha_k is below a number. What is left, background
    included, keeps its proportions.

    Raises:
        DataError: a number that is none, or above which there is no component.
    """
    of = as_model(model)
    mixture, nu = of.mixture, of.background_fraction
    kept = mixture.weights >= real(below, "below")
    if not kept.any():
        raise DataError("no component would be left", expected=f"a weight up to {mixture.weights.max():.3g}", got=below)
    share = float(mixture.weights[kept].sum())
    left = GaussianMixture(mixture.weights[kept] / share, mixture.means[kept], mixture.covariances[kept])
    return replace(of, mixture=left, background_fraction=nu / (nu + (1 - nu) * share))


def reweighted(model: Model | GaussianMixture, weights: ArrayLike) -> Model:
    """The model with other weights of its components (k,), which are divided by their sum; the background's fraction
    stays.

    Raises:
        ShapeError: not a weight for each component.
        DataError: weights that are negative, not finite or all zero.
    """
    of = as_model(model)
    shares = reals(weights, "weights")
    if shares.shape != of.mixture.weights.shape:
        raise ShapeError("a weight is needed for each component", expected=of.mixture.weights.shape, got=shares.shape)
    if not (np.all(np.isfinite(shares)) and np.all(shares >= 0) and shares.sum() > 0):
        raise DataError("weights must be non-negative and not all zero", got=shares)
    mixture = GaussianMixture(shares / shares.sum(), of.mixture.means, of.mixture.covariances)
    return replace(of, mixture=mixture)


def _loss(parts: Parts, one: int, others: np.ndarray) -> Vector:
    """B (n,)."""
    first, second = parts.weights[one], parts.weights[others]
    both = first + second
    share = np.where(both > 0, second / np.where(both > 0, both, 1.0), 0.5)[:, None, None]
    offset = parts.means[others] - parts.means[one]
    covariances = (1 - share) * parts.covariances[one] + share * parts.covariances[others]
    covariances = covariances + share * (1 - share) * offset[:, :, None] * offset[:, None, :]
    log_both = np.linalg.slogdet(covariances)[1]
    return np.asarray(0.5 * (both * log_both - first * parts.logs[one] - second * parts.logs[others]))
