"""The noise of the nearest object of the catalogue."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import pack, unpack
from dgmmis.noise import FullNoise, Noise, check_noise
from dgmmis.reals import reals
from dgmmis.types import Covariances, Points


@dataclass(frozen=True, slots=True, eq=False, init=False)
class NearestNoise:
    """At each position the covariance of the nearest object of the catalogue, features in units of their spread.

    It assumes that the noise is a function of the position; that the measured positions may stand for the true ones,
    for which the noise must vary little over its own width; and that at each position what was selected is typical of
    what was not. It fails where the unseen lie far from everything that was seen.

    Args:
        points: measured positions (n, d).
        covariances: their noise (n, m, m).

    Raises:
        ShapeError: not one covariance a point.
        DataError: no points, positions that are not finite, or what is no covariance, by row.
    """

    points: Points
    packed: Float[np.ndarray, "n t"]
    tree: cKDTree

    def __init__(self, points: ArrayLike, covariances: ArrayLike) -> None:
        points, covariances = reals(points, "points"), reals(covariances, "covariances")
        if (
            points.ndim != 2
            or covariances.ndim != 3
            or covariances.shape[1] != covariances.shape[2]
            or len(points) != len(covariances)
        ):
            raise ShapeError(
                "NearestNoise needs points (n, d) and covariances (n, m, m)", got=(points.shape, covariances.shape)
            )
        if not len(points) or not np.all(np.isfinite(points)):
            raise DataError("NearestNoise needs points, all finite", got=f"{len(points)} points")
        packed = pack(covariances)
        check_noise(FullNoise(packed), np.zeros(covariances.shape[:2]))
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "packed", packed)
        object.__setattr__(self, "tree", cKDTree(points / _spread(points)))

    @classmethod
    def fitted(cls, points: Points, noise: Noise) -> "NearestNoise":
        """Of the objects with every feature measured.

        Raises:
            DataError: there is none.
        """
        return cls(*complete_rows(points, noise, 1))

    @property
    def covariances(self) -> Covariances:
        """The noise of the catalogue (n, m, m)."""
        return unpack(self.packed)

    def __call__(self, points: Points) -> Covariances:
        if points.shape[1] != self.points.shape[1]:
            raise ShapeError("noise_law does not fit the data", expected=self.points.shape[1], got=points.shape)
        nearest = self.tree.query(points / _spread(self.points))[1]
        return unpack(self.packed[nearest])

    def __reduce__(self) -> tuple[type["NearestNoise"], tuple[Points, Covariances]]:
        """By its catalogue: the tree grows again where it arrives."""
        return NearestNoise, (self.points, self.covariances)


def complete_rows(points: Points, noise: Noise, needed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, d) and noise (n, d, d) of the rows without missing features.

    Raises:
        DataError: fewer than are needed, or noise that is none.
    """
    rows = np.flatnonzero(np.all(np.isfinite(points), axis=1))
    if len(rows) < needed:
        raise DataError(
            "too few objects with every feature measured to learn the noise from",
            expected=f"at least {needed}",
            got=len(rows),
            do="give a covariance, a function of position, or noise_law='own'",
        )
    points, noise = points[rows], noise.take(rows)
    check_noise(noise, points)
    n, d = points.shape
    return points, np.broadcast_to(unpack(noise.packed(range(d)).T.astype(float)), (n, d, d))


def _spread(points: Points) -> np.ndarray:
    """Standard deviations (d,); 1 where a feature does not vary."""
    spread = points.std(axis=0)
    return np.where(spread > 0, spread, 1.0)
