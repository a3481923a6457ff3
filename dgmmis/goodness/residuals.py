"""Residuals: observed minus expected objects in the cells of two features.

What is expected is counted among objects that were drawn, so that two counts are compared: with n objects and M drawn,
expected = (n / M) drawn, and if the model holds o - expected has the variance mu (1 + n / M), mu the mean of o. The
best estimate of mu under that hypothesis is n (o + drawn) / (n + M), and given o + drawn the count o is binomial. A
weight counts as often as its mean square says.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import betainc, chdtrc

from dgmmis.goodness.counts import Counts
from dgmmis.types import Vector

ENOUGH = 5.0
"""Objects expected in a cell, from which on it is judged by chi^2: their number is sqrt(5) of its errors."""


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Observed and expected objects in cells.

    Args:
        observed: by weight (b, b); of joined cells (c,).
        drawn: from the model as the survey sees it, by weight, likewise.
        share: of what was drawn that is expected.
        unit, drawn_unit: mean square of the weights over their mean, of either: the variance of a count of one.
    """

    observed: np.ndarray
    drawn: np.ndarray
    share: float
    unit: float = 1.0
    drawn_unit: float = 1.0

    @classmethod
    def between(cls, counts: Counts, drawn: Counts, pair: tuple[int, int]) -> "Residuals":
        """Of two of the features that were counted, the later one first; as many objects have both as among the data:
        which values are missing is no part of a model. A feature with itself: of its cells alone."""
        i, j = pair
        cells, cells_drawn = (of.along[i] if i == j else of.over[i, j] for of in (counts, drawn))
        share = float(counts.measured[pair] / max(drawn.measured[pair], 1.0))
        return cls(cells, cells_drawn, share, counts.unit, drawn.unit)

    @property
    def expected(self) -> np.ndarray:
        """By the model as the survey sees it."""
        return np.asarray(self.share * self.drawn)

    @property
    def errors(self) -> np.ndarray:
        """Standard errors of the difference: that of a count of `expected` objects, of one at least, and of the objects
        that were drawn to find it."""
        counted = self.unit * np.maximum(self.expected, self.unit)
        return np.asarray(np.sqrt(counted + self.share**2 * self.drawn_unit * self.drawn))

    @property
    def values(self) -> np.ndarray:
        """(observed - expected) / error; NaN where there is nothing, and nothing is expected."""
        empty = (self.observed == 0) & (self.expected == 0)
        return np.where(empty, np.nan, (self.observed - self.expected) / self.errors)

    @property
    def judged(self) -> np.ndarray:
        """The cells with enough objects for a difference to be normal."""
        return np.asarray(self.expected >= np.sqrt(ENOUGH) * self.errors)

    @property
    def chi_square(self) -> float:
        """The sum of the squares of those that are judged."""
        return float(np.sum(self.values[self.judged] ** 2))

    @property
    def pooled(self) -> np.ndarray:
        """What both counts together say is to be expected, if both are of the same objects."""
        a, b = self.variances
        return np.asarray((b * self.observed + a * self.expected) / (a + b))

    @property
    def variances(self) -> tuple[float, float]:
        """Of an observed and of an expected count, for one that is expected."""
        return self.unit, max(self.share * self.drawn_unit, 1e-300)

    @property
    def is_sparse(self) -> np.ndarray:
        """Which cells hold too few objects to be judged alone."""
        return np.asarray(self.pooled < ENOUGH * self.unit)

    def joined(self) -> "Residuals":
        """The cells that are not sparse, and a last one of all others, in which there are enough; all in one axis."""
        sparse = self.is_sparse.ravel()
        if sparse.any() and not sparse.all() and self.pooled.ravel()[sparse].sum() < ENOUGH * self.unit:
            sparse[np.argmin(np.where(sparse, np.inf, self.pooled.ravel()))] = True
        rest = sparse[None] if sparse.any() else sparse[None][:0]
        observed, drawn = (
            np.concatenate([cells.ravel()[~sparse], rest @ cells.ravel()]) for cells in (self.observed, self.drawn)
        )
        return Residuals(observed, drawn, self.share, self.unit, self.drawn_unit)

    @property
    def homogeneity(self) -> tuple[float, int, float]:
        """chi^2 of all cells, sparse ones joined, its degrees of freedom, and how often chance gives more.

        Of fewer than two cells 0, 0 and 1.
        """
        cells = self.joined()
        if cells.observed.size < 2 or not np.all(cells.pooled > 0):
            return 0.0, 0, 1.0
        statistic = float(np.sum((cells.observed - cells.expected) ** 2 / (cells.pooled * sum(cells.variances))))
        degrees = cells.observed.size - 1
        return statistic, degrees, float(chdtrc(degrees, statistic))

    @property
    def p_values(self) -> np.ndarray:
        """How often chance alone makes a cell differ so, either way, sparse or not: exact where all weights are one."""
        a, b = self.variances
        o, d, share = self.observed / a, self.expected / b, b / (a + b)
        more = np.where(o > 0, betainc(np.maximum(o, 1e-300), d + 1, share), 1.0)
        fewer = np.where(d > 0, betainc(np.maximum(d, 1e-300), o + 1, 1 - share), 1.0)
        return np.asarray(np.minimum(1.0, 2 * np.minimum(more, fewer)))


def quantile_edges(values: Float[np.ndarray, "n m"], b: int) -> Float[np.ndarray, "m edges"]:
    """Edges (m, b + 1) of b cells that hold about as many of some values each, NaN left out; the outer ones are open,
    the others round numbers. A column with too few values to be cut has its cells between 0 and 1."""
    edges = np.linspace(0, 1, b + 1)[None].repeat(values.shape[1], axis=0)
    for own, column in zip(edges, values.T, strict=True):
        known = column[~np.isnan(column)]
        cuts: Vector = np.quantile(known, np.linspace(0, 1, b + 1)[1:-1]) if len(known) else own[1:-1]
        spacing = np.diff(cuts).min() if len(cuts) > 1 else float(np.std(known)) if len(known) else 0.0
        if spacing > 0:
            step = 10.0 ** np.floor(np.log10(spacing))
            own[1:-1] = np.floor(cuts / step + 0.5) * step
            own[[0, -1]] = -np.inf, np.inf
    return edges
