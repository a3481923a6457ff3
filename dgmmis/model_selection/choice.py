"""How many components: fits with each number, and a criterion that says which is best."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, nan

import numpy as np

from dgmmis.criteria import aic, bic, n_parameters
from dgmmis.dataset.arrays import Catalogue, Reference
from dgmmis.dataset.folds import Fold
from dgmmis.em import Stopping
from dgmmis.errors import JobError, NumericalError, RefusedError, nearest_name
from dgmmis.execution.executor import Executor
from dgmmis.execution.tree import Partial
from dgmmis.fit import Fit
from dgmmis.initialize import Start
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.model_selection.cross_validation import CrossValidation, Fitting
from dgmmis.model_selection.scores import in_groups, leaf_chunks, tasks, weights_of, working
from dgmmis.prior import Constraints
from dgmmis.scoring import score_rows
from dgmmis.search import Search
from dgmmis.survey import Survey

CRITERIA = ("bic", "aic", "icl", "held_out")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A number of components.

    Args:
        n_components: K.
        n_parameters: free ones.
        log_likelihood: mean per object, normalised under selection; NaN where the fit failed.
        bic, aic, icl: smaller is better; NaN where the fit failed. ICL is the BIC of the objects together with their
            most probable components: larger by -2 sum_n w_n max_k log q_nk (Biernacki, Celeux & Govaert 2000).
        validation: held-out log-likelihood; None unless it is the criterion. Two of them can be subtracted.
        status: why the fit ended, in a sentence.
        converged: whether it settled.
        repairs: sentences about components that collapsed or starved.
    """

    n_components: int
    n_parameters: int
    log_likelihood: float
    bic: float
    aic: float
    icl: float
    validation: CrossValidation | None
    status: str
    converged: bool
    repairs: tuple[str, ...] = ()

    def rank(self, criterion: str) -> tuple[bool, float]:
        """The best entry has the least. Those with a collapsed or starved component come after all others: nothing
        bounds the likelihood of a component that is narrower than the data can tell."""
        value = float(getattr(self, criterion)) if criterion != "held_out" else nan
        if criterion == "held_out" and self.validation is not None:
            value = -self.validation.log_likelihood
        return bool(self.repairs), inf if np.isnan(value) else value


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which number of components is best.

    Args:
        criterion: "bic", "aic", "icl" or "held_out".
        table: one entry for every number tried, in their order.
        best: the fit of the best.
    """

    criterion: str
    table: tuple[Entry, ...]
    best: Fit

    @property
    def n_components(self) -> int:
        """The best number."""
        return self.best.model.mixture.n_components


def choose_components(
    data: Catalogue,
    components: Iterable[int] = range(1, 11),
    criterion: str = "bic",
    *,
    start: Start | None = None,
    n_folds: int = 5,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping | None = None,
    search: Search | None = None,
    seed: int = 0,
    executor: Executor | None = None,
) -> Choice:
    """Fit mixtures of several numbers of components, and choose by a criterion.

    Args:
        data: the catalogue.
        components: the numbers to try.
        criterion: "bic" (Schwarz 1978), "aic" (Akaike 1974), "icl" (Biernacki, Celeux & Govaert 2000: clusters rather
            than density), or "held_out": cross-validated log-likelihood, with n_folds more fits for each number.
        start: how to find each first model, and the background; None: k-means, and none.
        n_folds: of the cross-validation.
        survey, constraints, stopping, search, seed, executor: as for `fit`.

    Raises:
        JobError: an unknown criterion, no numbers.
        RefusedError: frozen components: their numbers mean nothing in another mixture.
        NumericalError: all fits failed; where some do, their status says why.
        DgmmisError: as for `fit`.
    """
    if criterion not in CRITERIA:
        raise JobError(f"unknown criterion '{criterion}'", do=nearest_name(criterion, CRITERIA))
    if criterion == "held_out":
        Fold.all(n_folds, seed)  # refuses fewer than two
    numbers = sorted(set(components))
    if not numbers:
        raise JobError("no numbers of components to try")
    if constraints is not None and constraints.frozen:
        raise RefusedError("frozen components, and a choice of how many there are", do="freeze none")
    start = start or Start(1)
    starts = [replace(start, n_components=k) for k in numbers]  # refuses zero, and a mixture of another number
    table: list[Entry] = []
    best: tuple[tuple[bool, float], Fit] | None = None
    with working(data, numbers[-1], survey, executor) as executor:
        way = Fitting(survey, constraints, stopping, search, seed, executor)
        for first in starts:
            try:
                result = way(data, first)
                validation = way.validated(data, first, n_folds) if criterion == "held_out" else None
            except NumericalError as error:
                table.append(Entry(first.n_components, 0, nan, nan, nan, nan, None, str(error), False))
                continue
            table.append(_entry(data, result, validation, executor))
            rank = table[-1].rank(criterion)
            if best is None or rank < best[0]:
                best = (rank, result)
    if best is None:
        raise NumericalError("no fit succeeded", got="; ".join(entry.status for entry in table))
    return Choice(criterion, tuple(table), best[1])


def _entry(data: Catalogue, result: Fit, validation: CrossValidation | None, executor: Executor) -> Entry:
    p, n = n_parameters(result.model, result.constraints), result.n_samples
    total = n * result.log_likelihood
    found = bic(total, p, n)
    groups = in_groups(tasks(data, executor), executor)
    certainty: float = executor.map_reduce(_log_certainty, _Fitted(result.model, result.observing), groups).total(
        "certainty"
    )
    return Entry(
        n_components=result.model.mixture.n_components,
        n_parameters=p,
        log_likelihood=result.log_likelihood,
        bic=found,
        aic=aic(total, p),
        icl=found - 2 * certainty,
        validation=validation,
        status=result.status.value,
        converged=result.converged,
        repairs=result.repairs,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """What the tasks need of a fit."""

    model: Model
    observing: Observing


def _log_certainty(result: _Fitted, reference: Reference) -> Partial:
    """The task: sum of w_n max_k log q_nk over each leaf; the background is a component like the others."""
    terms = []
    for leaf, chunk in leaf_chunks(reference):
        q = score_rows(result.model, chunk, result.observing).responsibilities
        behind = 1 - q.sum(axis=1) if result.model.background is not None else np.zeros(len(q))
        highest = np.maximum(q.max(axis=1), behind)
        log_q = np.log(highest, out=np.zeros(len(q)), where=highest > 0)  # a row that no latent point explains
        terms.append(("certainty", leaf, float(weights_of(chunk) @ log_q)))
    return Partial.of(terms)
