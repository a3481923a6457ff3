"""Constraints: what the M-step must respect."""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import xlogy

from dgmmis.errors import JobError, RefusedError, nearest_name
from dgmmis.mixture import GaussianMixture
from dgmmis.prior.frozen import Frozen
from dgmmis.prior.of_components import InverseWishart, NormalInverseWishart
from dgmmis.prior.of_weights import Dirichlet, DirichletProcess
from dgmmis.prior.prior import AnyPrior, Prior

COVARIANCE_TYPES = ("full", "diag", "tied", "spherical")


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """What the M-step must respect.

    Args:
        covariance_type: "full", "diag", "tied" (one covariance for all) or "spherical".
        prior: an InverseWishart on the covariances, a NormalInverseWishart on means and covariances, a Dirichlet on the
            weights, or a Prior of two of them. The fit is then of the mode of the posterior.
        frozen: parameters that stay.
        floor: smallest variance (d,) that a covariance may have along a feature; below it a component has collapsed.
        background_bounds: smallest and largest background fraction; equal: frozen.

    Raises:
        JobError: one of them cannot be.
        RefusedError: a prior of the weights that has no mode, or a tied covariance that is frozen for some.
    """

    covariance_type: str = "full"
    prior: AnyPrior = None
    frozen: Frozen = field(default_factory=Frozen)
    floor: np.ndarray | None = None
    background_bounds: tuple[float, float] = (0.0, 0.999)

    def __post_init__(self) -> None:
        if self.covariance_type not in COVARIANCE_TYPES:
            raise JobError(
                f"unknown covariance_type '{self.covariance_type}'",
                do=nearest_name(str(self.covariance_type), COVARIANCE_TYPES),
            )
        _require_mode(Prior.parse(self.prior))
        if self.covariance_type == "tied" and self.frozen.covariances:
            raise RefusedError(
                "a tied covariance cannot be frozen for some components", do="freeze none, or use 'full'"
            )
        low, high = self.background_bounds
        if not 0 <= low <= high < 1:
            raise JobError("background bounds must satisfy 0 <= low <= high < 1", got=self.background_bounds)

    @property
    def weights_prior(self) -> Dirichlet | None:
        """Of the weights; None: flat."""
        weights = Prior.parse(self.prior).weights
        assert not isinstance(weights, DirichletProcess)  # refused when this was made
        return weights

    @property
    def components_prior(self) -> InverseWishart | NormalInverseWishart | None:
        """Of means and covariances; None: flat."""
        return Prior.parse(self.prior).components

    def log_prior(self, mixture: GaussianMixture) -> float:
        """Log density of the prior over what is free, up to a constant; zero without a prior."""
        value, (k, d), frozen = 0.0, mixture.means.shape, self.frozen
        numbers = np.arange(k)
        if self.weights_prior is not None:
            free = ~np.isin(numbers, list(frozen.weights))
            # 0 log 0 counts as 0: a flat prior says nothing of a component without weight
            value += float(np.sum(xlogy(self.weights_prior.vector(k) - 1, mixture.weights)[free]))
        prior = self.components_prior
        if prior is not None:
            shapes = ~np.isin(numbers, list(frozen.covariances))
            places = ~np.isin(numbers, list(frozen.means)) & ~shapes
            inverse, scatter = np.linalg.inv(mixture.covariances), prior.scatter(mixture.means)
            log_det = np.linalg.slogdet(mixture.covariances)[1]
            traces = np.einsum("kij,kji->k", scatter, inverse)
            value -= 0.5 * float(np.sum((prior.count(d) * log_det + traces)[shapes]))
            value -= 0.5 * float(np.sum((traces - np.einsum("ij,kji->k", prior.matrix(d), inverse))[places]))
        return value


def _require_mode(prior: Prior) -> None:
    """Refuse what has a posterior but no maximum of its density."""
    remedy = "use variational_fit, which averages over the weights"
    if isinstance(prior.weights, DirichletProcess):
        raise RefusedError(
            "a Dirichlet process, and a fit of a maximum: its mode changes with the order of the components",
            do=f"give Dirichlet(concentration) of one or more, or {remedy}",
        )
    if prior.weights is not None and np.any(np.asarray(prior.weights.concentration) < 1):
        raise RefusedError(
            "a Dirichlet concentration below one, and a fit of a maximum: the prior is infinite where a weight is zero",
            expected="one or more",
            got=prior.weights.concentration,
            do=remedy,
        )
