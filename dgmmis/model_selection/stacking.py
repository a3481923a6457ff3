"""Stacking: one mixture out of several, weighted so that their average is most probable where it was not fitted.

Stacking of densities (Smyth & Wolpert 1999): with p_mn the density of object n under model m, fitted without the fold
of n, maximise sum_n w_n log sum_m beta_m p_mn over beta_m >= 0, sum_m beta_m = 1. The problem is concave, and a pass
needs M + M^2 sums: the mean of r_m = p_m / sum_l beta_l p_l, and of r r'. At the maximum mean r_m <= 1, and no weights
are better per object by more than max_m mean r_m - 1 (Lindsay 1983), which says when to stop. beta_m <- beta_m mean r_m
is EM; a Newton step, as of mixsqp (Kim, Carbonetto, Stephens & Anitescu 2020), takes its place where it gains more.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.background import Background, FixedMixture, Uniform
from dgmmis.dataset.arrays import Catalogue, Reference
from dgmmis.dataset.folds import held_out
from dgmmis.errors import DataError, NumericalError, RefusedError, ShapeError
from dgmmis.execution.executor import Executor
from dgmmis.execution.resident import RESIDENT
from dgmmis.execution.tree import Partial
from dgmmis.fit import Fit
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.model_selection.cross_validation import CrossValidation
from dgmmis.model_selection.scores import Judge, in_groups, judged, leaf_chunks, tasks, weights_of, working
from dgmmis.plan import Work, make_plan
from dgmmis.survey import Survey
from dgmmis.types import Vector, Weights

ENOUGH = 1e-3
"""What the total log-likelihood may lack of its maximum."""

MAX_PASSES = 500

RIDGE = 1e-12
"""Of the curvature, in units of its largest entry: models that agree everywhere leave it singular."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Several models, weighted.

    Args:
        model: the average, of all components; models without weight are left out.
        weights: beta_m (m,), the share of the catalogue's objects that each model stands for.
        population_weights: the same before selection, beta_m / Z_m to a sum of one: those of `model`.
        log_likelihood: mean held-out log-likelihood of the average per object.
        of_each: of each model alone (m,).
        lacking: no other weights give a mean greater by more than this.
        n_passes: over the data.
    """

    model: Model
    weights: Weights
    population_weights: Weights
    log_likelihood: float
    of_each: Vector
    lacking: float
    n_passes: int


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over objects at some weights: of w, of w log sum_m beta_m p_m, of w log p_m (m,), w r (m,), w r r' (m, m)."""

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


def stacked(models: Sequence[Model], weights: Sequence[float] | Weights) -> Model:
    """The average of models: all their components and the background, with given weights of the population.

    Args:
        models: of the same features, with the same background or none.
        weights: of each before selection (m,), non-negative; they are divided by their sum. Models of weight 0 are left
            out.

    Raises:
        ShapeError: other features, or not a weight for each.
        DataError: weights that are negative, not finite or all zero.
        RefusedError: different backgrounds.
    """
    shares = np.asarray(weights, dtype=float)
    if len(models) == 0 or shares.shape != (len(models),):
        raise ShapeError("a weight is needed for each model", expected=f"({len(models)},)", got=shares.shape)
    if not (np.all(np.isfinite(shares)) and np.all(shares >= 0) and shares.sum() > 0):
        raise DataError("weights must be non-negative and not all zero", got=shares)
    _check_features(models, models[0].mixture.n_features)
    parts = [(model, share) for model, share in zip(models, shares / shares.sum(), strict=True) if share > 0]
    behind = [model.background for model, _ in parts if model.background is not None]
    if any(not _is_same(background, behind[0]) for background in behind[1:]):
        raise RefusedError("models on different backgrounds", do="fit all of them with the same one")
    fraction = float(sum(share * model.background_fraction for model, share in parts))
    mixtures = [model.mixture for model, _ in parts]
    alpha = np.concatenate([share * (1 - model.background_fraction) * model.mixture.weights for model, share in parts])
    mixture = GaussianMixture(
        alpha / alpha.sum(),
        np.concatenate([mixture.means for mixture in mixtures]),
        np.concatenate([mixture.covariances for mixture in mixtures]),
    )
    return Model(mixture, behind[0] if behind else None, fraction)


def stack(
    models: Sequence[Fit | Model],
    data: Catalogue,
    *,
    validated: Sequence[CrossValidation] | None = None,
    survey: Survey | None = None,
    seed: int = 0,
    executor: Executor | None = None,
) -> Stack:
    """Average models, weighted so that the held-out log-likelihood of the average is greatest.

    Under a selection each model's density is divided by its own Z, so that beta_m are shares of the catalogue; the model
    that is returned has the population's, beta_m / Z_m to a sum of one. Both are the same likelihood where Z is the same
    for all objects, and nearly so where noise classes differ in it.

    Args:
        models: fits of the data; or models found without them.
        data: the catalogue.
        validated: cross-validations of the same fits in the same order, on the same folds; None: the data are new to
            the models.
        survey: selection and noise law for models that are no fits; None: everything was seen.
        seed: of imputed points.
        executor: as for `fit`.

    Raises:
        RefusedError: fits without their cross-validations: weights for the data they were fitted to would go to the
            largest; cross-validations on different folds; different backgrounds.
        ShapeError: models that do not fit the data; not a cross-validation for each.
        NumericalError: an object without density under all models.
    """
    given = [one.model if isinstance(one, Fit) else one for one in models]
    _check(models, given, data, validated)
    stacked(given, np.ones(len(given)))  # refuses what cannot be averaged before work starts
    with working(data, max(model.mixture.n_components for model in given), survey, executor) as executor:
        completeness = np.ones(len(given))
        judges = []
        for m, one in enumerate(models):
            if isinstance(one, Fit):
                completeness[m] = one.completeness
            elif validated is None or (survey is not None and survey.is_partial):
                last, judge = judged(data, one, survey=survey, seed=seed, executor=executor)
                completeness[m] = last.completeness
                judges.append(judge)
        if validated is None:
            sets, parts = [tuple(judges)], [data]
        else:
            parts = [held_out(data, part.fold) for part in validated[0].parts]
            sets = [tuple(of.parts[f].judge for of in validated) for f in range(len(parts))]
        work = Work.of(data, sum(model.mixture.n_components for model in given), survey)
        budget = make_plan(data.references, work, executor.resources).budget_bytes
        reading = _Reading(sets, parts, budget=budget, seed=seed, executor=executor)
        try:
            beta, last_sums, lacking = maximised(reading, len(given))
        finally:
            reading.close()
    share = beta / completeness
    share = share / share.sum()
    return Stack(
        stacked(given, share),
        beta,
        share,
        last_sums.log_likelihood / last_sums.weight,
        last_sums.of_each / last_sums.weight,
        lacking,
        reading.count,
    )


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
            trial = beta * here.ratios / here.ratios @ beta if False else beta * here.ratios / (beta @ here.ratios)
            found, passes = sums(trial), passes + 1
            if not found.log_likelihood > here.log_likelihood:  # rounding
                return beta, here, lacking
        beta, here = trial, found
