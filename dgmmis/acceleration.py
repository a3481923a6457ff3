"""Anderson acceleration of EM: from the last few steps of the map, the step that a quasi-Newton method would take.

EM is a fixed-point map theta -> M(theta); on truncated or overlapping mixtures it contracts by 0.99 a pass and crawls.
With residuals f_i = M(theta_i) - theta_i the next point is M(theta) minus the combination of past differences that
best explains f (Walker & Ni 2011; for EM, Henderson & Varadhan 2019). The driver accepts it by the objective.

theta: logs of weights, means, log-Cholesky factors of covariances, logit of the background fraction. Frozen,
tied, diagonal and spherical parameters stay what they are, because their differences vanish or agree.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from dgmmis.linalg import packed_indices
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.mstep import raised_to_floor
from dgmmis.prior import Constraints

MEMORY = 10
TINY = 1e-300


@dataclass(slots=True, eq=False)
class Anderson:
    """Remembers steps of the map and proposes longer ones; stateful on purpose, one for a fit.

    A secant step aims at the nearest stationary point, be it a saddle: where it would go against EM, or was refused,
    the EM step itself is stretched instead, twice as far each time that the objective accepts it
    (Salakhutdinov & Roweis 2003), which leaves plateaus in a logarithmic number of passes.
    """

    constraints: Constraints = field(default_factory=Constraints)
    _points: list[np.ndarray] = field(default_factory=list)
    _residuals: list[np.ndarray] = field(default_factory=list)
    _stretch: float = 1.0
    _radius: float = np.inf
    _length: float = 0.0
    is_limited: bool = True
    """Whether the last proposal was none, stretched or shortened: its length does not say how far the maximum is."""

    def propose(self, model: Model, image: Model) -> Model | None:
        """A successor of `model`, whose image under the EM map is `image`; None: the image itself."""
        self.is_limited = True
        metric = _metric(model)
        theta = parameters(model)
        residual = parameters(image) - theta
        if not np.any(residual):
            self.is_limited = False  # already there
            return None
        self._points.append(theta)
        self._residuals.append(residual)
        del self._points[: -MEMORY - 1], self._residuals[: -MEMORY - 1]
        if self._stretch > 1:
            self._stretch *= 2
            return self._bounded(model, theta, self._stretch * residual, metric)
        if self._length > 0.9 * self._radius:
            self._radius *= 4
        step = self._secant_step(residual, metric)
        if step is None:
            return None
        if (step * metric) @ (residual * metric) <= 0:
            self._stretch = 2.0
            return self._bounded(model, theta, self._stretch * residual, metric)
        return self._bounded(model, theta, step, metric)

    def refused(self) -> None:
        """The objective did not accept the last proposal; the EM step was taken instead."""
        if self._stretch == 1:
            self._radius = self._length / 4
        self._stretch = 2.0 if self._stretch == 1 else 1.0

    def begin_round(self) -> None:
        """The points of the unseen are new ones, and so is the map: differences to the old one mean nothing."""
        self._points.clear()
        self._residuals.clear()

    def _secant_step(self, residual: np.ndarray, metric: np.ndarray) -> np.ndarray | None:
        if len(self._points) < 3:
            return None
        steps = np.diff(np.stack(self._points), axis=0)
        changes = np.diff(np.stack(self._residuals), axis=0)
        # columns of unit length, so that the cut on small singular values drops directions and not old steps
        length = np.linalg.norm(changes * metric, axis=1)
        keep = length > 0
        if not np.any(keep):
            return None
        basis = (changes[keep] * metric / length[keep, None]).T
        share = np.linalg.lstsq(basis, residual * metric, rcond=1e-7)[0] / length[keep]
        return np.asarray(residual - share @ (steps + changes)[keep])

    def _bounded(self, model: Model, theta: np.ndarray, step: np.ndarray, metric: np.ndarray) -> Model | None:
        """The model at theta + step, the step no longer than what the objective has lately accepted."""
        if not np.all(np.isfinite(step)):
            return None
        self._length = float(np.linalg.norm(step * metric))
        if self._stretch == 1:
            self.is_limited = self._length > self._radius
            if self.is_limited:
                step = step * (self._radius / self._length)
                self._length = self._radius
        proposal = with_parameters(model, theta, step)
        return None if proposal is None else self._allowed(proposal)

    def _allowed(self, model: Model) -> Model:
        """The proposal, raised to the floor where it is below, with its background fraction within the bounds."""
        free = ~np.isin(np.arange(model.mixture.n_components), list(self.constraints.frozen.covariances))
        covariances, collapsed = raised_to_floor(model.mixture.covariances, free, self.constraints.floor)
        if len(collapsed):
            model = replace(model, mixture=replace(model.mixture, covariances=covariances))
        if model.background is None:
            return model
        low, high = self.constraints.background_bounds
        return replace(model, background_fraction=float(np.clip(model.background_fraction, low, high)))


def parameters(model: Model) -> np.ndarray:
    """theta: the model as a vector without constraints."""
    mixture = model.mixture
    d = mixture.n_features
    log_weights = np.log(np.maximum(mixture.weights, TINY))
    factors = np.linalg.cholesky(mixture.covariances)
    i, j = packed_indices(d)
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
    moved_weights, _, moved_packed, _ = np.split(np.not_equal(step, 0), cuts)
    weights = np.array(mixture.weights)
    if np.any(moved_weights):
        share = np.exp(log_weights[moved_weights] - log_weights[moved_weights].max())
        weights[moved_weights] = share / share.sum() * (1 - weights[~moved_weights].sum())
    factors = np.zeros((k, d, d))
    entries = packed.reshape(k, -1).copy()
    if np.any(np.abs(entries[:, i == j]) > 300):
        return None
    entries[:, i == j] = np.exp(entries[:, i == j])
    factors[:, i, j] = entries
    moved = np.asarray(moved_packed.reshape(k, -1).any(axis=1))[:, None, None]
    covariances = np.where(moved, factors @ np.swapaxes(factors, 1, 2), mixture.covariances)
    fraction = 0.0 if model.background is None else float(1 / (1 + np.exp(-np.clip(logit[0], -700, 36))))
    try:
        mixture = GaussianMixture(weights, means.reshape(k, d), covariances)
    except ValueError:  # a covariance too narrow to factorise
        return None
    return Model(mixture, model.background, fraction)


def _metric(model: Model) -> np.ndarray:
    """What one unit of each parameter weighs: about the square root of its information per object."""
    mixture = model.mixture
    d = mixture.n_features
    sigma = np.sqrt(np.diagonal(mixture.covariances, axis1=1, axis2=2))
    root = np.sqrt(np.maximum(mixture.weights, 1e-12))
    i, j = packed_indices(d)
    packed = np.where(i == j, 1.0, 1 / sigma[:, i])
    nu = model.background_fraction
    return np.concatenate([root, (root[:, None] / sigma).ravel(), (root[:, None] * packed).ravel(), [np.sqrt(nu)]])


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
