"""The laws of a noise law."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.noise_law import ConstantNoise
from dgmmis.testing.laws import ROUNDING, check_numbers, check_pointwise, evaluated, law, points_for
from dgmmis.types import Points


def check_noise_law(
    noise_law: Callable[[Points], ArrayLike] | ArrayLike,
    n_features: int | None = None,
    *,
    points: ArrayLike | None = None,
    seed: int = 0,
) -> None:
    """Check that the noise at each true position is a covariance, whatever the other positions are.

    Args:
        noise_law: true positions (n, d) -> covariances (n, m, m), or one (m, m) for all; or that one itself.
        n_features: d, where no points are given.
        points: where to look (n, d); None: standard normal points.
        seed: of the points.

    Raises:
        AssertionError: the first law that is broken.
    """
    value = noise_law if callable(noise_law) else ConstantNoise(noise_law)
    where = points_for(points, n_features, seed, "the noise law")
    covariances = evaluated(_covariances, value, where.copy(), "the noise law")
    m = covariances.shape[-1] if covariances.ndim else 0
    check_numbers(covariances, (len(where), m, m), "the noise law")
    covariances = covariances.astype(float)
    law(np.isfinite(covariances).all(), "the noise law gives infinite covariances")
    skew = np.abs(covariances - np.swapaxes(covariances, 1, 2))
    scale = np.abs(covariances).max(axis=(1, 2), keepdims=True)
    law(np.all(skew <= ROUNDING * scale), "the noise law gives covariances that are not symmetric")
    values = np.linalg.eigvalsh(covariances)
    law(
        np.all(values >= -ROUNDING * scale[:, :, 0]),
        f"the noise law gives a covariance that is not positive semidefinite: eigenvalue {values.min():.3g}",
    )
    check_pointwise(value, _covariances, where, "the noise law")


def _covariances(noise_law: Callable[[Points], ArrayLike], points: Points) -> np.ndarray:
    given = np.asarray(noise_law(points))
    return np.broadcast_to(given, (len(points), *given.shape)) if given.ndim == 2 else given
