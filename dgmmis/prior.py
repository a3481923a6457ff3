"""What the M-step must respect: the conjugate prior, frozen parameters, the covariance structure, the floor."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dgmmis.errors import DataError, JobError, RefusedError, ShapeError, nearest_name
from dgmmis.linalg import pack, require_positive_definite
from dgmmis.reals import reals
from dgmmis.types import Covariances, Matrix

COVARIANCE_TYPES = ("full", "diag", "tied", "spherical")


@dataclass(frozen=True, slots=True, eq=False)
class InverseWishart:
    """The prior that keeps covariances from collapsing: p(C) ~ |C|^(-1/2) exp(-tr(scale C^-1) / 2).

    The M-step becomes C = [sum + scale] / (q + 1) (Bovy, Hogg & Roweis 2011, eq. 38).

    Args:
        scale: w, a variance, or a covariance (d, d), in the squared units of the features; w I for a number.
    """

    scale: float | Matrix

    def __post_init__(self) -> None:
        scale = reals(self.scale, "InverseWishart: `scale`")
        if scale.ndim == 0:
            if not (np.isfinite(scale) and scale > 0):
                raise DataError("InverseWishart: `scale` must be positive", got=float(scale))
            object.__setattr__(self, "scale", float(scale))
        elif scale.ndim == 2 and scale.shape[0] == scale.shape[1]:
            require_positive_definite(scale[None], "InverseWishart scale", "entry")
            object.__setattr__(self, "scale", scale)
        else:
            raise ShapeError("InverseWishart: `scale` must be a number or (d, d)", got=scale.shape)

    def matrix(self, d: int) -> Matrix:
        """The scale as a matrix (d, d)."""
        scale = np.asarray(self.scale)
        if scale.ndim == 2 and scale.shape != (d, d):
            raise ShapeError("InverseWishart scale does not fit the data", expected=(d, d), got=scale.shape)
        return scale if scale.ndim == 2 else float(scale) * np.eye(d)

    def log_density(self, covariances: Covariances) -> float:
        """Sum over components of -[log|C_k| + tr(scale C_k^-1)] / 2, up to a constant."""
        inverse = np.linalg.inv(covariances)
        trace = np.einsum("ij,kji->k", self.matrix(covariances.shape[-1]), inverse)
        return float(-0.5 * np.sum(np.linalg.slogdet(covariances)[1] + trace))

    def slope(self, covariances: Covariances) -> Covariances:
        """d log p / d C (k, d, d) = -[C^-1 - C^-1 scale C^-1] / 2."""
        inverse = np.linalg.inv(covariances)
        return np.asarray(-0.5 * (inverse - inverse @ self.matrix(covariances.shape[-1]) @ inverse))


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """Components whose parameter stays as the first model has it, as three sets of component numbers."""

    weights: frozenset[int] = frozenset()
    means: frozenset[int] = frozenset()
    covariances: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, frozen: Mapping[str, Sequence[Any]] | None, k: int) -> "Frozen":
        """From {"weights": [k...], "means": [k...], "covariances": [k...]}."""
        sets: dict[str, frozenset[int]] = {}
        if frozen is not None and not isinstance(frozen, Mapping):
            raise JobError(
                "frozen must name what stays",
                expected='{"weights": [k...], "means": [k...], "covariances": [k...]}',
                got=frozen,
            )
        for name, components in (frozen or {}).items():
            if name not in ("weights", "means", "covariances"):
                near = nearest_name(str(name), ("weights", "means", "covariances"))
                raise JobError(f"frozen: unknown parameter '{name}'", do=near)
            listed = _listed(components)
            if listed is None or not all(_is_number_of_component(c) for c in listed):
                raise JobError(
                    f"frozen {name} must be numbers of components",
                    expected=f"a list such as [0, {max(0, k - 1)}]",
                    got=components,
                    do="count them from 0",
                )
            numbers = frozenset(int(c) for c in components)
            if any(not 0 <= c < k for c in numbers):
                raise JobError(f"frozen {name}: no such component", expected=f"0 to {k - 1}", got=sorted(numbers))
            sets[name] = numbers
        return cls(**sets)

    def __bool__(self) -> bool:
        return bool(self.weights or self.means or self.covariances)


def _listed(components: object) -> list[object] | None:
    return list(components) if isinstance(components, Iterable) and not isinstance(components, str) else None


def _is_number_of_component(value: object) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, np.integer)) or (isinstance(value, (float, np.floating)) and value.is_integer())


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """What the M-step must respect.

    Args:
        covariance_type: "full", "diag", "tied" (one covariance for all) or "spherical".
        prior: on the covariances, or None.
        frozen: parameters that stay.
        floor: smallest variance (d,) that a covariance may have along a feature; below it a component has collapsed.
        background_bounds: smallest and largest background fraction; equal: frozen.
    """

    covariance_type: str = "full"
    prior: InverseWishart | None = None
    frozen: Frozen = field(default_factory=Frozen)
    floor: np.ndarray | None = None
    background_bounds: tuple[float, float] = (0.0, 0.999)

    def __post_init__(self) -> None:
        if self.covariance_type not in COVARIANCE_TYPES:
            raise JobError(
                f"unknown covariance_type '{self.covariance_type}'",
                do=nearest_name(str(self.covariance_type), COVARIANCE_TYPES),
            )
        if self.prior is not None and not isinstance(self.prior, InverseWishart):
            raise JobError("prior is not an InverseWishart", got=self.prior, do="give InverseWishart(scale)")
        if self.covariance_type == "tied" and self.frozen.covariances:
            raise RefusedError(
                "a tied covariance cannot be frozen for some components", do="freeze none, or use 'full'"
            )
        low, high = self.background_bounds
        if not 0 <= low <= high < 1:
            raise JobError("background bounds must satisfy 0 <= low <= high < 1", got=self.background_bounds)

    def log_prior(self, covariances: Covariances) -> float:
        """Log density of the prior over the free covariances; zero without a prior."""
        if self.prior is None:
            return 0.0
        free = [k for k in range(len(covariances)) if k not in self.frozen.covariances]
        return self.prior.log_density(covariances[free]) if free else 0.0

    def prior_slope(self, covariances: Covariances) -> np.ndarray | None:
        """d log prior / d C (k, t) of the free covariances, packed; None without a prior."""
        if self.prior is None:
            return None
        free = ~np.isin(np.arange(len(covariances)), list(self.frozen.covariances))
        return pack(np.where(free[:, None, None], self.prior.slope(covariances), 0.0))
