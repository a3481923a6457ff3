"""The M-step: the joint update of weights, means, covariances and background fraction from moments.

mu_k -> mu_k + shift, C_k -> second_k / A_k - shift shift' (the mean enters at its new value), symmetrised every time,
with a prior: weights of A_k + a_k - 1, a mean drawn to the prior's as if by kappa objects, C_k = [A_k (...) + Psi_k] /
(A_k + r) (`prior.of_components`; XD eq. 38 has Psi = scale, r = 1).
"""

from dataclasses import dataclass, replace

import numpy as np

from dgmmis.linalg import symmetrize
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Expected, Moments
from dgmmis.prior import Constraints
from dgmmis.types import Covariances, Weights

STARVED = 1e-6
"""A component with less than this many objects says nothing about its mean and covariance; they stay."""

ROUNDING = 1e-12
"""Of its largest eigenvalue: below this the smallest one of a covariance is not known."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A component that could not be updated as EM would have it, and what was done; `str` is a sentence."""

    component: int
    kind: str
    objects: float

    def __str__(self) -> str:
        if self.kind == "starved":
            return f"component {self.component} starved ({self.objects:.2g} objects): its mean and covariance were kept"
        return (
            f"component {self.component} collapsed onto {self.objects:.4g} objects: its covariance was held at the "
            "floor; fewer components or a prior would avoid it"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """The next model, and the repairs that were needed."""

    model: Model
    repairs: tuple[Repair, ...] = ()


def maximize(moments: Moments, model: Model, constraints: Constraints) -> Update:
    """The model that maximises the expected complete-data log-likelihood (plus log prior) given the moments."""
    return maximize_expected(Expected.of(moments, model.mixture.covariances), model, constraints)


def maximize_expected(expected: Expected, model: Model, constraints: Constraints) -> Update:
    """The same, given what moments say of true values, about the model's means."""
    mixture, frozen = model.mixture, constraints.frozen
    k = mixture.n_components
    starved = are_starved(expected.weight, constraints)
    few = expected.weight <= STARVED
    weight = np.where(few, 1.0, expected.weight)  # never divides by zero; starved components are put back below

    fixed_means = starved | _mask(frozen.means, k)
    fixed_covariances = starved | _mask(frozen.covariances, k)

    first = expected.first / weight[:, None]
    second = expected.second / weight[:, None, None]
    prior = constraints.components_prior
    best = first
    if prior is not None and prior.mean_precision:
        kappa = prior.mean_precision
        best = (expected.first + kappa * prior.pull(mixture.means)) / (expected.weight + kappa)[:, None]
    shift = np.where(fixed_means[:, None], 0.0, best)
    # about the new mean, wherever it is: second - shift first' - first shift' + shift shift'; for a free mean without
    # prior (shift = first) this is second - shift shift'
    cross = shift[:, :, None] * first[:, None, :]
    share = (expected.weight / weight)[:, None, None]
    scatter = second - cross - np.swapaxes(cross, 1, 2) + share * (shift[:, :, None] * shift[:, None, :])
    scatter = symmetrize(scatter)
    if prior is not None:
        scatter = weight[:, None, None] * scatter + prior.scatter(mixture.means + shift)
        weight = expected.weight + prior.count(mixture.n_features)
        scatter = scatter / weight[:, None, None]
    covariances = _structured(scatter, weight, ~fixed_covariances, constraints)
    covariances[fixed_covariances] = mixture.covariances[fixed_covariances]

    repairs = [Repair(int(c), "starved", float(expected.weight[c])) for c in np.flatnonzero(starved)]
    covariances, collapsed = raised_to_floor(covariances, ~fixed_covariances, constraints.floor)
    repairs += [Repair(int(c), "collapsed", float(expected.weight[c])) for c in collapsed]

    counts = expected.weight
    if constraints.weights_prior is not None:
        counts = counts + (constraints.weights_prior.vector(k) - 1)
    mixture = GaussianMixture(
        _new_weights(counts, mixture.weights, _mask(frozen.weights, k)), mixture.means + shift, covariances
    )
    fraction = model.background_fraction
    if model.background is not None:
        total = float(expected.weight.sum()) + expected.background
        fraction = float(np.clip(expected.background / total, *constraints.background_bounds))
    return Update(replace(model, mixture=mixture, background_fraction=fraction), tuple(repairs))


def constrained(model: Model, constraints: Constraints) -> Model:
    """The model as the constraints want it, to start from: an M-step must not have to leave where it begins.

    Covariances take their structure and the floor, the background fraction its bounds; what is frozen stays.
    """
    mixture = model.mixture
    free = ~_mask(constraints.frozen.covariances, mixture.n_components)
    covariances = _structured(mixture.covariances, np.maximum(mixture.weights, STARVED), free, constraints)
    covariances, _ = raised_to_floor(covariances, free, constraints.floor)
    covariances = np.where(free[:, None, None], covariances, mixture.covariances)
    fraction = model.background_fraction
    if model.background is not None:
        fraction = float(np.clip(fraction, *constraints.background_bounds))
    return replace(model, mixture=replace(mixture, covariances=covariances), background_fraction=fraction)


def with_frozen(model: Model, first: Model, constraints: Constraints) -> Model:
    """A model with what is frozen as the first one has it: starts differ in what is free only."""
    frozen, mixture, given = constraints.frozen, model.mixture, first.mixture
    k = mixture.n_components
    weights = np.where(_mask(frozen.weights, k), given.weights, mixture.weights)
    means = np.where(_mask(frozen.means, k)[:, None], given.means, mixture.means)
    covariances = np.where(_mask(frozen.covariances, k)[:, None, None], given.covariances, mixture.covariances)
    if frozen.weights:
        weights = _new_weights(weights, given.weights, _mask(frozen.weights, k))
    return replace(model, mixture=GaussianMixture(weights, means, covariances)) if frozen else model


def are_starved(weight: Weights, constraints: Constraints) -> np.ndarray:
    """Which components (k,) have too few objects to say where they are, and no prior that would."""
    prior = constraints.components_prior
    return np.asarray(weight <= (STARVED if prior is None or not prior.mean_precision else -np.inf))


def _mask(components: frozenset[int], k: int) -> np.ndarray:
    return np.isin(np.arange(k), list(components))


def _new_weights(weight: np.ndarray, old: Weights, frozen: np.ndarray) -> Weights:
    """Frozen weights stay; the others share what is left in proportion to their objects."""
    weights = np.array(old)
    share = 1.0 - float(old[frozen].sum())
    total = float(weight[~frozen].sum())
    if np.any(~frozen) and total > 0:
        weights[~frozen] = share * weight[~frozen] / total
    return weights


def _structured(scatter: Covariances, weight: np.ndarray, free: np.ndarray, constraints: Constraints) -> Covariances:
    """The covariance of each component from its scatter per object, under the structure.

    Each structure maximises -sum_k weight_k [log|C_k| + tr(C_k^-1 scatter_k)] / 2; the prior counts in both.
    """
    k, d, _ = scatter.shape
    if constraints.covariance_type == "diag":
        return np.asarray(scatter * np.eye(d))
    if constraints.covariance_type == "spherical":
        return np.asarray(np.trace(scatter, axis1=1, axis2=2)[:, None, None] / d * np.eye(d))
    if constraints.covariance_type == "tied" and np.any(free):
        pooled = np.einsum("k,kij->ij", weight[free], scatter[free]) / weight[free].sum()
        return np.repeat(pooled[None], k, axis=0)
    return scatter


def raised_to_floor(
    covariances: Covariances, free: np.ndarray, floor: np.ndarray | None
) -> tuple[Covariances, np.ndarray]:
    """Covariances whose eigenvalues, in units of the floor, are at least one, and which components needed it.

    Clipping the eigenvalues is the constrained maximum; covariances above the floor come back bit for bit.
    """
    if floor is None:
        return covariances, np.empty(0, dtype=int)
    unit = _unit(covariances, floor)
    if _clears(covariances / unit):
        return covariances, np.empty(0, dtype=int)
    values, vectors = np.linalg.eigh(covariances / unit)
    least = np.maximum(1.0, ROUNDING * values[:, -1])
    collapsed = np.flatnonzero(free & (values[:, 0] < least))
    if len(collapsed):
        covariances = covariances.copy()
        clipped = np.maximum(values[collapsed], least[collapsed, None])
        raised = (vectors[collapsed] * clipped[:, None, :]) @ np.swapaxes(vectors[collapsed], 1, 2)
        covariances[collapsed] = symmetrize(raised) * unit[collapsed]
    return covariances, collapsed


def at_floor(covariances: Covariances, floor: np.ndarray | None) -> np.ndarray:
    """Which covariances (k,) have an eigenvalue at the floor, or below."""
    if floor is None:
        return np.zeros(len(covariances), dtype=bool)
    unit = _unit(covariances, floor)
    if _clears(covariances / unit):
        return np.zeros(len(covariances), dtype=bool)
    values = np.linalg.eigvalsh(covariances / unit)
    return np.asarray(values[:, 0] < np.maximum(1.0, ROUNDING * values[:, -1]) * (1.0 + 1e-6))


def _unit(covariances: Covariances, floor: np.ndarray) -> Covariances:
    """The floor (d, d) for each covariance (k, d, d); no less along a feature than rounding of its variance.

    A prior may give a feature that is constant a variance which has nothing to do with its floor.
    """
    scale = np.sqrt(np.maximum(floor, ROUNDING * np.diagonal(covariances, axis1=1, axis2=2)))
    return np.asarray(scale[:, :, None] * scale[:, None, :])


def _clears(covariances: Covariances) -> bool:
    """Whether all are well above the floor, in whose units they are: what is left without it has a Cholesky factor.

    Eigenvalues, ten times as dear, are only looked at where not.
    """
    least = 2 * np.maximum(1.0, ROUNDING * np.trace(covariances, axis1=1, axis2=2))
    try:
        np.linalg.cholesky(covariances - least[:, None, None] * np.eye(covariances.shape[-1]))
    except np.linalg.LinAlgError:
        return False
    return True
