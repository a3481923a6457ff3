"""Extent: the window of a picture."""

from dataclasses import dataclass

import numpy as np

from dgmmis.background import Uniform
from dgmmis.model import Model
from dgmmis.types import Points


@dataclass(frozen=True, slots=True)
class Extent:
    """The window of a picture, in the units of the two features."""

    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def of(cls, model: Model, *, features: tuple[int, int] = (0, 1), sigmas: float = 2.7) -> "Extent":
        """The window that holds every component to some standard deviations, and the background."""
        index = list(features)
        means = model.mixture.means[:, index]
        reach = sigmas * np.sqrt(np.diagonal(model.mixture.covariances, axis1=1, axis2=2)[:, index])
        low, high = (means - reach).min(axis=0), (means + reach).max(axis=0)
        cover = None if model.background is None else model.background.envelope
        if isinstance(cover, Uniform):
            low, high = np.minimum(low, cover.lower[index]), np.maximum(high, cover.upper[index])
        elif cover is not None:
            behind = cls.of(Model(cover), features=features, sigmas=sigmas)
            low, high = np.minimum(low, [behind.left, behind.bottom]), np.maximum(high, [behind.right, behind.top])
        return cls(float(low[0]), float(high[0]), float(low[1]), float(high[1]))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, right, bottom, top, as matplotlib has it."""
        return self.left, self.right, self.bottom, self.top

    def squared(self) -> "Extent":
        """The square window around it."""
        half = max(self.right - self.left, self.top - self.bottom) / 2
        x, y = (self.left + self.right) / 2, (self.bottom + self.top) / 2
        return Extent(x - half, x + half, y - half, y + half)

    def edges(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Edges (n + 1,) of n cells along either axis."""
        return np.linspace(self.left, self.right, n + 1), np.linspace(self.bottom, self.top, n + 1)

    def grid(self, n: int) -> tuple[np.ndarray, np.ndarray, Points]:
        """Centres of n by n cells along either axis, and as points (n n, 2), rows from bottom to top."""
        x, y = ((edges[1:] + edges[:-1]) / 2 for edges in self.edges(n))
        return x, y, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
