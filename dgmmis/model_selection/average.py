"""The weights of an average of densities that make given objects most probable: a concave problem on the simplex.

Maximise sum_n w_n log sum_m beta_m p_mn over beta_m >= 0, sum_m beta_m = 1. A pass over the objects gives M + M^2 sums:
with r_m = p_m / sum_l beta_l p_l, those of r and of r r'. At the maximum the mean of r_m is at most 1, and no weights
are better per object by more than its largest value less 1 (Lindsay 1983), which says when to stop. EM multiplies
beta_m by the mean of r_m; a Newton step (mixsqp: Kim, Carbonetto, Stephens & Anitescu 2020) takes its place where the
objective accepts it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from dgmmis.errors import NumericalError
from dgmmis.types import Vector, Weights

ENOUGH = 1e-3
"""What the total log-likelihood may lack of its maximum."""

MAX_PASSES = 500

RIDGE = 1e-12
"""Of the curvature, in units of its largest entry: models that agree everywhere leave it singular."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over objects at some weights beta_m, with r_m = p_m / sum_l beta_l p_l.

    Args:
        weight: of w.
        log_likelihood: of w log sum_m beta_m p_m.
        of_each: of w log p_m (m,).
        ratios: of w r_m (m,).
        products: of w r_l r_m (m, m).
    """

    weight: float
    log_likelihood: float
    of_each: Vector
    ratios: Vector
    products: Float[np.ndarray, "m m"]

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.weight + other.weight,
            self.log_likelihood + other.log_likelihood,
            self.of_each + other.of_each,
            self.ratios + other.ratios,
            self.products + other.products,
        )

    @classmethod
    def of(cls, log_density: Float[np.ndarray, "n m"], w: Vector, beta: Weights) -> "Sums":
        """Over some rows with log densities log p_mn."""
        log_density, w = log_density[w > 0], w[w > 0]
        with np.errstate(divide="ignore", invalid="ignore"):  # a row that the weights in hand give no density
            highest = log_density.max(axis=1)
            p = np.exp(log_density - highest[:, None])
            average = p @ beta
            ratios = p / average[:, None]
            total = float(w @ (highest + np.log(average)))
            of_each = w @ log_density
        return cls(float(w.sum()), total, of_each, w @ ratios, (ratios * w[:, None]).T @ ratios)


def maximised(sums: Callable[[Weights], Sums], n_models: int) -> tuple[Weights, Sums, float]:
    """Weights (m,) of the greatest log-likelihood, the sums there, and what it may lack of the maximum per object.

    Raises:
        NumericalError: an object without density under all models.
    """
    beta = np.full(n_models, 1 / n_models)
    here, passes = sums(beta), 1
    if not isfinite(here.log_likelihood):
        raise NumericalError("an object has no density under any of the models", do="add a model that could give it")
    while True:
        lacking = max(0.0, float(here.ratios.max() / here.weight) - 1)
        if lacking * here.weight <= ENOUGH or passes >= MAX_PASSES:
            return beta, here, lacking
        trial = _newton(here)
        found, passes = sums(trial), passes + 1
        if not found.log_likelihood > here.log_likelihood:
            trial = beta * here.ratios / float(beta @ here.ratios)  # EM: (beta_m / N) sum_n w_n r_mn
            found, passes = sums(trial), passes + 1
            if not found.log_likelihood > here.log_likelihood:  # by no more than rounding
                return beta, here, lacking
        beta, here = trial, found


def _newton(here: Sums) -> Weights:
    """The maximum of the objective to second order, over non-negative weights.

    With u_n = sum_m r_mn b_m, log u = 2 u - u^2 / 2 - 3/2 to second order about u = 1; sum_m b_m, which is 1 at the
    maximum, is subtracted in place of the constraint (mixsqp, sec. 3.2). That is a problem of least squares.
    """
    slope = 2 * here.ratios / here.weight - 1
    curvature = here.products / here.weight
    factor = np.linalg.cholesky(curvature + RIDGE * curvature.max() * np.eye(len(slope)))
    beta = nnls(factor.T, np.linalg.solve(factor, slope))[0]
    return np.asarray(beta / beta.sum()) if beta.sum() > 0 else here.ratios / here.ratios.sum()
