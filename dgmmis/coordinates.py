"""theta: a model as a vector that may take any value, slopes along it, and which of its entries are free to move.

theta: logs of weights, means, log-Cholesky factors of covariances (the diagonal by its logarithm), logit of the
background fraction. Every theta is a model; a common factor of the free weights drops out.
"""

from dataclasses import dataclass, replace

import numpy as np

from dgmmis.linalg import packed_indices, packed_size, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.prior import Constraints

TINY = 1e-300
WIDEST = 300.0
"""Largest logarithm of a standard deviation."""


def parameters(model: Model) -> np.ndarray:
    """theta (p,) of a model."""
    mixture = model.mixture
    log_weights = np.log(np.maximum(mixture.weights, TINY))
    factors = np.linalg.cholesky(mixture.covariances)
    i, j = packed_indices(mixture.n_features)
    packed = factors[:, i, j]
    packed[:, i == j] = np.log(packed[:, i == j])
    nu = min(max(model.background_fraction, TINY), 1 - 1e-16)
    return np.concatenate([log_weights, mixture.means.ravel(), packed.ravel(), [np.log(nu) - np.log1p(-nu)]])


def with_parameters(model: Model, theta: np.ndarray, step: np.ndarray) -> Model | None:
    """The model at theta + step, theta being its own parameters; None where that is beyond floating point.

    What does not move at all is frozen, and stays bit for bit.
    """
    mixture = model.mixture
    k, d = mixture.means.shape
    i, j = packed_indices(d)
    cuts = [k, k + k * d, len(theta) - 1]
    log_weights, means, packed, logit = np.split(theta + step, cuts)
    moved_weights, _, moved_packed, moved_logit = np.split(np.not_equal(step, 0), cuts)
    weights = np.array(mixture.weights)
    if np.any(moved_weights):
        share = np.exp(log_weights[moved_weights] - log_weights[moved_weights].max())
        weights[moved_weights] = share / share.sum() * (1 - weights[~moved_weights].sum())
    factors = np.zeros((k, d, d))
    entries = packed.reshape(k, -1).copy()
    if np.any(np.abs(entries[:, i == j]) > WIDEST):
        return None
    entries[:, i == j] = np.exp(entries[:, i == j])
    factors[:, i, j] = entries
    moved = np.asarray(moved_packed.reshape(k, -1).any(axis=1))[:, None, None]
    covariances = np.where(moved, factors @ np.swapaxes(factors, 1, 2), mixture.covariances)
    fraction = model.background_fraction
    if model.background is not None and moved_logit[0]:
        fraction = float(1 / (1 + np.exp(-np.clip(logit[0], -700, 36))))
    try:
        mixture = GaussianMixture(weights, means.reshape(k, d), covariances)
    except ValueError:  # a covariance too narrow to factorise
        return None
    return replace(model, mixture=mixture, background_fraction=fraction)


def along(model: Model, slopes: np.ndarray, free_weights: np.ndarray) -> np.ndarray:
    """Slopes (..., p) along theta from those along the parameters themselves (the order of `information.gradient`).

    Args:
        model: where.
        slopes: by weights as if they were free, means, lower triangles of covariances, background fraction.
        free_weights: which weights (k,) share with one another what the others leave.
    """
    mixture, nu = model.mixture, model.background_fraction
    k, d = mixture.means.shape
    weights, means, packed, fraction = np.split(slopes, [k, k + k * d, slopes.shape[-1] - 1], axis=-1)
    share = float(mixture.weights[free_weights].sum()) or 1.0
    of_log = np.where(free_weights, weights * mixture.weights, 0.0)
    of_log = of_log - of_log.sum(axis=-1, keepdims=True) * np.where(free_weights, mixture.weights / share, 0.0)
    factors, by_component = (
        np.linalg.cholesky(mixture.covariances),
        packed.reshape(*packed.shape[:-1], k, packed_size(d)),
    )
    if slopes.ndim == 1:
        of_factors = _along_factors(factors, by_component)
    else:  # so many that their rates are worth having: one matrix product a component
        rates = _along_factors(
            factors, np.broadcast_to(np.eye(packed_size(d))[:, None], (packed_size(d), k, packed_size(d)))
        )
        of_factors = np.moveaxis(np.moveaxis(by_component, -2, 0) @ rates.swapaxes(0, 1), 0, -2)
    of_factors = of_factors.reshape(packed.shape)
    return np.concatenate([of_log, means, of_factors, fraction * (nu * (1 - nu))], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Complete:
    """What an object would tell about theta were its component and its noise-free values known.

    Its inverse times the gradient is, to first order, the step of EM (Xu & Jordan 1996). With Z = L^-1 dL, a lower
    triangle, an object of its own tells tr((C^-1 dC)^2) / 2 = tr(Z Z') + tr(Z Z) of a factor: columns of L know nothing
    of one another.

    Args:
        signal: how many of an object each component has, (1 - nu) alpha_k (k,).
        precision: C^-1 (k, d, d).
        rates: how the entries of L follow those of theta (k, t).
        behind: entry of the background's logit, nu (1 - nu).
    """

    signal: np.ndarray
    precision: np.ndarray
    rates: np.ndarray
    behind: float

    @classmethod
    def of(cls, model: Model) -> "Complete":
        """Under a model."""
        mixture, nu = model.mixture, model.background_fraction
        factors = np.linalg.cholesky(mixture.covariances)
        inverse = np.linalg.inv(factors)
        i, j = packed_indices(mixture.n_features)
        rates = np.where(i == j, factors[:, i, j], 1.0)
        signal = (1 - nu) * np.maximum(mixture.weights, TINY)
        return cls(signal, np.swapaxes(inverse, 1, 2) @ inverse, rates, nu * (1 - nu))

    def blocks(self) -> np.ndarray:
        """Of each component's log weight, mean and factor (k, b, b)."""
        k, d, _ = self.precision.shape
        i, j = packed_indices(d)
        blocks = np.zeros((k, 1 + d + len(i), 1 + d + len(i)))
        blocks[:, 0, 0] = 1.0
        blocks[:, 1 : 1 + d, 1 : 1 + d] = self.precision
        a, b = np.nonzero(j[:, None] == j)
        blocks[:, 1 + d + a, 1 + d + b] = self.rates[:, a] * self.rates[:, b] * self.precision[:, i[a], i[b]]
        diagonal = 1 + d + np.flatnonzero(i == j)
        blocks[:, diagonal, diagonal] += 1.0
        return np.asarray(blocks * self.signal[:, None, None])

    def diagonal(self) -> np.ndarray:
        """Its diagonal (p,)."""
        i, j = packed_indices(self.precision.shape[-1])
        spread = self.rates**2 * self.precision[:, i, i] + (i == j)
        means = np.diagonal(self.precision, axis1=1, axis2=2)
        signal = self.signal[:, None]
        return np.concatenate([self.signal, (signal * means).ravel(), (signal * spread).ravel(), [self.behind]])

    def squares(self, step: np.ndarray) -> np.ndarray:
        """step' I step (k,) of a step (p,) of theta, where I is what an object of each component's own tells."""
        k, d, _ = self.precision.shape
        weights, means, packed, _ = np.split(step, [k, k + k * d, len(step) - 1])
        i, j = packed_indices(d)
        packed = packed.reshape(k, -1)
        change = np.zeros((k, d, 1 + d))
        change[:, i, j] = packed * self.rates
        change[:, :, d] = means.reshape(k, d)
        known = np.sum(change * (self.precision @ change), axis=(1, 2))
        return np.asarray(weights**2 + known + np.sum(packed[:, i == j] ** 2, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Free:
    """The free coordinates phi (f,) and how theta follows them.

    Args:
        follows: (p,) the number of the free coordinate that each entry of theta equals, up to a constant; -1: it stays.
        weights: (k,) which weights are free.
    """

    follows: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(
        cls, model: Model, constraints: Constraints, held: np.ndarray, pinned: np.ndarray, inwards: float = 0.0
    ) -> "Free":
        """What the constraints leave free: not means and covariances of `held` components (k,), nor covariances of
        `pinned` ones; a background fraction at its bound only where the objective's slope, `inwards`, leads back."""
        k, d = model.mixture.means.shape
        t = packed_size(d)
        i, j = packed_indices(d)
        frozen = constraints.frozen
        component = np.arange(k)
        weights = ~np.isin(component, list(frozen.weights))
        means = ~np.isin(component, list(frozen.means)) & ~held
        covariances = ~np.isin(component, list(frozen.covariances)) & ~held & ~pinned
        factor = np.arange(k * t).reshape(k, t)
        match constraints.covariance_type:
            case "tied":
                factor = np.repeat(factor[:1], k, axis=0)
            case "spherical":
                factor = np.where(i == j, factor[:, :1], -1)
            case "diag":
                factor = np.where(i == j, factor, -1)
        factor = np.where(covariances[:, None], factor, -1)
        low, high = constraints.background_bounds
        nu = model.background_fraction
        inside = low < nu < high or (nu <= low < high and inwards > 0) or (low < high <= nu and inwards < 0)
        moves = model.background is not None and 0 < nu < 1 and inside
        first = k + k * d
        theta = np.concatenate(
            [
                np.where(weights & (weights.sum() > 1), component, -1),
                np.where(means[:, None], k + np.arange(k * d).reshape(k, d), -1).ravel(),
                np.where(factor >= 0, first + factor, -1).ravel(),
                [first + k * t if moves else -1],
            ]
        )
        _, number = np.unique(theta[theta >= 0], return_inverse=True)
        follows = np.full(len(theta), -1)
        follows[theta >= 0] = number
        return cls(follows, weights)

    @property
    def n(self) -> int:
        """How many."""
        return int(self.follows.max(initial=-1)) + 1

    def gathered(self, slopes: np.ndarray) -> np.ndarray:
        """Slopes (p,) along theta, as slopes (f,) along phi."""
        moves = self.follows >= 0
        return np.bincount(self.follows[moves], slopes[moves], self.n)

    def gathered_information(self, information: np.ndarray) -> np.ndarray:
        """The same for a matrix (p, p)."""
        rows = np.zeros((self.n, information.shape[1]))
        moves = self.follows >= 0
        np.add.at(rows, self.follows[moves], information[moves])
        both = np.zeros((self.n, self.n))
        np.add.at(both, self.follows[moves], rows.T[moves])
        return both

    def picked(self, values: np.ndarray) -> np.ndarray:
        """The values (p,) of theta's entries as those (f,) of phi that they follow."""
        out = np.zeros(self.n)
        moves = self.follows >= 0
        out[self.follows[moves]] = values[moves]
        return out

    def spread(self, step: np.ndarray) -> np.ndarray:
        """A step (f,) of phi as one (p,) of theta."""
        return np.where(self.follows >= 0, np.append(step, 0.0)[self.follows], 0.0)


def movement(old: Model, new: Model) -> float:
    """Largest change of a parameter, as the root of the change of the objective per object that it stands for.

    In standard deviations of the component (means), relative to sigma sigma' (covariances) or to the weight, times the
    square root of the component's share of the objects. Times sqrt(N) it is in statistical errors.
    """
    before, after = old.mixture, new.mixture
    sigma = np.sqrt(np.diagonal(before.covariances, axis1=1, axis2=2))
    means = np.abs(after.means - before.means) / sigma
    covariances = np.abs(after.covariances - before.covariances) / (sigma[:, :, None] * sigma[:, None, :])
    shapes = np.maximum(means.max(axis=1), covariances.max(axis=(1, 2))) * np.sqrt(before.weights)
    weights = np.abs(after.weights - before.weights) / np.sqrt(np.maximum(before.weights, TINY))
    nu = max(old.background_fraction, TINY)
    behind = abs(new.background_fraction - old.background_fraction) / np.sqrt(nu)
    return float(max(shapes.max(), weights.max(), behind))


def _along_factors(factors: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Slopes (..., k, t) along log-Cholesky factors from those along the lower triangles of C = L L'.

    With G the symmetric matrix whose entries off the diagonal are half the slopes, df = tr(G dC) = 2 tr((G L)' dL).
    """
    i, j = packed_indices(factors.shape[-1])
    matrices = unpack(slopes * np.where(i == j, 2.0, 1.0))
    of_factors = (matrices @ factors)[..., i, j]
    return np.asarray(of_factors * np.where(i == j, factors[:, i, j], 1.0))
