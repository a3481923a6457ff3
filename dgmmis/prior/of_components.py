"""Conjugate priors of a component's mean and covariance.

Both are p(mu, C) ~ |C|^(-r / 2) exp(-tr(Psi(mu) C^-1) / 2) with Psi(mu) = scale + kappa (mu - m) (mu - m)', so that an
M-step adds Psi to the scatter and r, `count`, to the number of objects. Under another structure than "full" they are
the same density, of covariances that have the structure; a tied covariance has it once for each component.
"""

from dataclasses import dataclass

import numpy as np

from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import require_positive_definite
from dgmmis.reals import real, reals
from dgmmis.types import Covariances, Feature, Matrix, Means


@dataclass(frozen=True, slots=True, eq=False)
class InverseWishart:
    """The prior that keeps covariances from collapsing: p(C) ~ |C|^(-1/2) exp(-tr(scale C^-1) / 2).

    The M-step becomes C = [sum + scale] / (q + 1) (Bovy, Hogg & Roweis 2011, eq. 38).

    Args:
        scale: w, a variance, or a covariance (d, d), in the squared units of the features; w I for a number.
    """

    scale: float | Matrix

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _scale(self.scale, "InverseWishart"))

    @property
    def mean_precision(self) -> float:
        """Objects that the prior's mean counts for: none."""
        return 0.0

    def matrix(self, d: int) -> Matrix:
        """The scale as a matrix (d, d)."""
        return _matrix(self.scale, d, "InverseWishart")

    def count(self, d: int) -> float:
        """r, the objects that it counts for in a covariance of d features."""
        del d
        return 1.0

    def pull(self, means: Means) -> Means:
        """From means (k, d) to the prior's: nowhere."""
        return np.zeros_like(means)

    def scatter(self, means: Means) -> Covariances:
        """Psi (k, d, d) of components with these means."""
        return np.repeat(self.matrix(means.shape[1])[None], len(means), axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class NormalInverseWishart:
    """The conjugate prior of a mean and a covariance: mu ~ N(mean, C / mean_precision), C^-1 ~ Wishart(scale^-1, nu).

    p(mu, C) ~ |C|^(-(nu + d + 2) / 2) exp(-tr(scale C^-1) / 2 - kappa (mu - m)' C^-1 (mu - m) / 2); the M-step becomes
    mu = (q b + kappa m) / (q + kappa), C = [sum + scale + kappa (mu - m) (mu - m)'] / (q + nu + d + 2).

    Args:
        mean: m (d,), where means are expected.
        mean_precision: kappa, the number of objects that this counts for.
        scale: nu times the covariance that is expected, about: a variance, or a covariance (d, d), in the squared units
            of the features.
        degrees_of_freedom: nu, above d - 1: how sure that is.

    Raises:
        DataError: a number that cannot be.
        ShapeError: a mean that is no vector, or a scale that does not fit it.
    """

    mean: Feature
    mean_precision: float
    scale: float | Matrix
    degrees_of_freedom: float

    def __post_init__(self) -> None:
        mean = reals(self.mean, "NormalInverseWishart: `mean`")
        if mean.ndim != 1 or not len(mean):
            raise ShapeError("NormalInverseWishart: `mean` must be a vector (d,)", got=mean.shape)
        if not np.all(np.isfinite(mean)):
            raise DataError("NormalInverseWishart: `mean` must be finite", got=mean)
        precision = real(self.mean_precision, "NormalInverseWishart: `mean_precision`")
        if not 0 < precision < np.inf:
            raise DataError(
                "NormalInverseWishart: `mean_precision` must be positive",
                got=precision,
                do="for a prior on covariances only, give InverseWishart(scale)",
            )
        freedom = real(self.degrees_of_freedom, "NormalInverseWishart: `degrees_of_freedom`")
        if not len(mean) - 1 < freedom < np.inf:
            raise DataError(
                "NormalInverseWishart: `degrees_of_freedom` are too few",
                expected=f"more than {len(mean) - 1} for {len(mean)} features",
                got=freedom,
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "mean_precision", precision)
        object.__setattr__(self, "scale", _scale(self.scale, "NormalInverseWishart"))
        object.__setattr__(self, "degrees_of_freedom", freedom)
        self.matrix(len(mean))

    def matrix(self, d: int) -> Matrix:
        """The scale as a matrix (d, d).

        Raises:
            ShapeError: of another number of features.
        """
        if d != len(self.mean):
            raise ShapeError(
                "NormalInverseWishart mean does not fit the data", expected=f"{d} features", got=len(self.mean)
            )
        return _matrix(self.scale, d, "NormalInverseWishart")

    def count(self, d: int) -> float:
        """r, the objects that it counts for in a covariance of d features: one of them for the mean's."""
        return self.degrees_of_freedom + d + 2

    def pull(self, means: Means) -> Means:
        """From means (k, d) to the prior's."""
        return np.asarray(self.mean - means)

    def scatter(self, means: Means) -> Covariances:
        """Psi (k, d, d) of components with these means."""
        pull = self.pull(means)
        return np.asarray(self.matrix(means.shape[1]) + self.mean_precision * pull[:, :, None] * pull[:, None, :])


def _scale(scale: object, who: str) -> float | Matrix:
    checked = reals(scale, f"{who}: `scale`")
    if checked.ndim == 0:
        if not (np.isfinite(checked) and checked > 0):
            raise DataError(f"{who}: `scale` must be positive", got=float(checked))
        return float(checked)
    if checked.ndim == 2 and checked.shape[0] == checked.shape[1]:
        require_positive_definite(checked[None], f"{who} scale", "entry")
        return checked
    raise ShapeError(f"{who}: `scale` must be a number or (d, d)", got=checked.shape)


def _matrix(scale: float | Matrix, d: int, who: str) -> Matrix:
    matrix = np.asarray(scale)
    if matrix.ndim == 2 and matrix.shape != (d, d):
        raise ShapeError(f"{who} scale does not fit the data", expected=(d, d), got=matrix.shape)
    return matrix if matrix.ndim == 2 else float(scale) * np.eye(d)
