"""Uniformity: numbers that are uniform from 0 to 1 if a model holds, and in which direction they are not.

Neyman's smooth test (1937): the means of the Legendre polynomials phi_j, of variance one under a uniform density, are
independent and normal if there are many numbers; the sum of the squares of the first four is chi^2 with four degrees of
freedom. Each order says something: the first of the mean, the second of the spread, the third of the skewness, the
fourth of the tails.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import chdtrc, eval_legendre, ndtr

from dgmmis.types import Vector

ORDERS = 4

BINS = 32
"""Of the histogram: as many of the values that ranks have in each."""

ENOUGH = 50.0
"""Numbers, each counted as its weight lets it, from which on their means are normal enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Uniformity:
    """Sums over numbers, by weight; those of disjoint rows add up.

    Args:
        orders: sum w phi_j(u), j = 1 to 4.
        histogram: sum w in bins of equal width.
        weight, squares: sum w, sum w^2.
    """

    orders: Float[np.ndarray, "4"]
    histogram: Float[np.ndarray, " bins"]
    weight: float
    squares: float

    @classmethod
    def of(cls, numbers: Vector, weights: Vector) -> "Uniformity":
        """Of some numbers; NaN are left out."""
        known = ~np.isnan(numbers)
        u, w = np.clip(numbers[known], 0.0, 1.0), weights[known]
        orders = np.array([np.sqrt(2 * j + 1) * (w @ eval_legendre(j, 2 * u - 1)) for j in range(1, ORDERS + 1)])
        return cls(orders, np.histogram(u, BINS, (0.0, 1.0), weights=w)[0], float(w.sum()), float(w @ w))

    @classmethod
    def zero(cls) -> "Uniformity":
        return cls(np.zeros(ORDERS), np.zeros(BINS), 0.0, 0.0)

    def __add__(self, other: "Uniformity") -> "Uniformity":
        return Uniformity(
            self.orders + other.orders,
            self.histogram + other.histogram,
            self.weight + other.weight,
            self.squares + other.squares,
        )

    @property
    def n_effective(self) -> float:
        """So many numbers of weight one would say as much."""
        return self.weight**2 / self.squares if self.squares > 0 else 0.0

    @property
    def is_judged(self) -> bool:
        """Whether there are enough."""
        return self.n_effective >= ENOUGH

    @property
    def deviations(self) -> Float[np.ndarray, "4"]:
        """Each order, in its standard errors."""
        return np.asarray(self.orders / np.sqrt(max(self.squares, 1e-300)))

    @property
    def statistic(self) -> float:
        """The sum of the squares of the deviations."""
        return float(np.sum(self.deviations**2))

    @property
    def p_value(self) -> float:
        """How often numbers that are uniform deviate as much; 1 where there are too few."""
        return float(chdtrc(ORDERS, self.statistic)) if self.is_judged else 1.0

    @property
    def leading(self) -> tuple[int, float]:
        """The order that deviates most, and how often it does as much by chance."""
        j = int(np.argmax(np.abs(self.deviations)))
        return j + 1, float(2 * ndtr(-abs(self.deviations[j])))
