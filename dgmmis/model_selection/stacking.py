"""Stacking: one mixture out of several, weighted so that their average is most probable where it was not fitted.

Stacking of densities (Smyth & Wolpert 1999): with p_mn the density of object n under model m, fitted without the fold
of n, the weights maximise sum_n w_n log sum_m beta_m p_mn over beta_m >= 0, sum_m beta_m = 1 (`average`).
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dgmmis.background import Background, FixedMixture, Uniform
from dgmmis.chunk import LEAF_ROWS
from dgmmis.dataset.arrays import Catalogue, Reference
from dgmmis.dataset.folds import held_out
from dgmmis.errors import ClusterError, DataError, RefusedError, ShapeError
from dgmmis.execution.executor import Executor
from dgmmis.execution.resident import RESIDENT, drop_resident
from dgmmis.execution.tree import Partial
from dgmmis.fit import Fit
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.model_selection.average import Sums, maximised
from dgmmis.model_selection.cross_validation import CrossValidation
from dgmmis.model_selection.scores import Judge, in_groups, judged, leaf_chunks, tasks, working
from dgmmis.plan import Work, make_plan
from dgmmis.survey import Survey
from dgmmis.types import Vector, Weights


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
        n_passes: over the data, for the weights.
    """

    model: Model
    weights: Weights
    population_weights: Weights
    log_likelihood: float
    of_each: Vector
    lacking: float
    n_passes: int


def stacked(models: Sequence[Model | GaussianMixture], weights: Sequence[float] | Weights) -> Model:
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
    of, shares = [as_model(model) for model in models], np.asarray(weights, dtype=float)
    if len(of) == 0 or shares.shape != (len(of),):
        raise ShapeError("a weight is needed for each model", expected=f"({len(of)},)", got=shares.shape)
    if not (np.all(np.isfinite(shares)) and np.all(shares >= 0) and shares.sum() > 0):
        raise DataError("weights must be non-negative and not all zero", got=shares)
    _check_features(of, of[0].mixture.n_features)
    parts = [(model, share) for model, share in zip(of, shares / shares.sum(), strict=True) if share > 0]
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
    cutoffs = {model.cutoff for model, _ in parts}
    if len(cutoffs) > 1:
        raise RefusedError("models with different cutoffs cannot be stacked", got=sorted(cutoffs, key=str))
    return Model(mixture, behind[0] if behind else None, fraction, cutoffs.pop())


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

    Under a selection each model's density is divided by its own Z, so that beta_m are shares of the catalogue; the
    model that is returned has those of the population, beta_m / Z_m to a sum of one. Both are the same likelihood where
    Z is the same for all objects, and nearly so where noise classes differ in it.

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


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """What every task of a pass needs: for each set of rows the models that judge it, and the weights in hand."""

    run: str
    number: int
    sets: tuple[tuple[Judge, ...], ...]
    beta: Weights
    seed: int
    resident_bytes: int


def _summed(shared: _Shared, item: tuple[int, Reference]) -> Partial:
    """The task: sums over the leaves of a reference; the models' log densities at its rows are kept."""
    number, reference = item

    def log_densities() -> np.ndarray:
        """One row for each object, its weight last."""
        leaves = []
        for _, chunk in leaf_chunks(reference):
            scores = [judge.scores(chunk, shared.seed).log_density for judge in shared.sets[number]]
            leaves.append(np.stack([*scores, chunk.w_n], axis=1))
        return np.concatenate(leaves)

    key = ("stack", number, reference.key)
    kept: np.ndarray = RESIDENT.get(shared.run, shared.number, key, log_densities, shared.resident_bytes)
    return Partial.of(
        (f"set {number}", reference.first_leaf + leaf, Sums.of(rows[:, :-1], rows[:, -1], shared.beta))
        for leaf, start in enumerate(range(0, len(kept), LEAF_ROWS))
        for rows in [kept[start : start + LEAF_ROWS]]
    )


class _Reading:
    """Sums at some weights over all sets of rows, and how often they were asked for."""

    def __init__(
        self,
        sets: Sequence[tuple[Judge, ...]],
        parts: Sequence[Catalogue],
        *,
        budget: int,
        seed: int,
        executor: Executor,
    ) -> None:
        items = [(number, reference) for number, part in enumerate(parts) for reference in tasks(part, executor)]
        self._groups: list[Sequence[Any]] = in_groups(items, executor)
        self._sets, self._budget, self._seed, self._executor = tuple(sets), budget, seed, executor
        self._run = uuid.uuid4().hex
        self.count = 0

    def __call__(self, beta: Weights) -> Sums:
        shared = _Shared(self._run, self.count, self._sets, beta, self._seed, self._budget)
        self.count += 1
        partial = self._executor.map_reduce(_summed, shared, self._groups)
        first, *others = (partial.total(f"set {number}") for number in range(len(self._sets)))
        total: Sums = first
        for other in others:
            total = total + other
        return total

    def close(self) -> None:
        """Let go of what the workers keep, if there are any left."""
        with suppress(ClusterError):
            self._executor.everywhere(partial(drop_resident, self._run))


def _check(
    models: Sequence[Fit | Model],
    given: Sequence[Model],
    data: Catalogue,
    validated: Sequence[CrossValidation] | None,
) -> None:
    if not given:
        raise ShapeError("nothing to stack", do="give at least one model")
    _check_features(given, data.n_features)
    if validated is None:
        if any(isinstance(one, Fit) for one in models):
            raise RefusedError(
                "fits without cross-validations: the data they were fitted to would prefer the largest",
                do="give validated=[cross_validate(data, start), ...]; or the models alone if the data are new to them",
            )
        return
    if len(validated) != len(models):
        raise ShapeError("a cross-validation is needed for each model", expected=len(models), got=len(validated))
    for other in validated[1:]:
        other - validated[0]  # refuses other rows or folds


def _check_features(models: Sequence[Model], d: int) -> None:
    for m, model in enumerate(models):
        if model.mixture.n_features != d:
            raise ShapeError(f"model {m} does not fit", expected=f"{d} features", got=model.mixture.n_features)


def _is_same(one: Background, other: Background) -> bool:
    """Whether two backgrounds are the same density, as far as can be told."""
    if isinstance(one, Uniform) and isinstance(other, Uniform):
        return bool(np.array_equal(one.lower, other.lower) and np.array_equal(one.upper, other.upper))
    if isinstance(one, FixedMixture) and isinstance(other, FixedMixture):
        pairs = ((getattr(of.mixture, name) for of in (one, other)) for name in ("weights", "means", "covariances"))
        return all(np.array_equal(a, b) for a, b in pairs)
    return one is other
