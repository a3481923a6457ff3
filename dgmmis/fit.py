"""fit(): where data, statistics and execution meet."""

from collections.abc import Sequence
from typing import Any

from dgmmis.alternatives import Alternative, fit_side_by_side
from dgmmis.callback import Callback, Callbacks, doing
from dgmmis.dataset.arrays import Catalogue, CatalogueLike, as_catalogue
from dgmmis.em import Pass, Stopping
from dgmmis.errors import DataError, JobError, RefusedError, ShapeError
from dgmmis.execution.executor import Executor
from dgmmis.fit_result import Fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints, Prior
from dgmmis.rounds import evaluated
from dgmmis.search import Search
from dgmmis.selection import Injections
from dgmmis.survey import Survey

__all__ = ["Fit", "check_start", "evaluate", "fit"]


def fit(
    data: CatalogueLike,
    start: Start,
    *,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping | None = None,
    search: Search | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
) -> Fit:
    """Fit a mixture to a catalogue.

    Args:
        data: the catalogue, the path of a store, or an array (n, d) of exact values.
        start: the first model, or how to find it.
        survey: selection and noise law; None: everything was seen.
        constraints: prior, frozen parameters, covariance structure.
        stopping: tolerance and largest number of passes.
        search: how many starts, and moves from the maximum to a better one; None: one start and no moves.
        seed: of everything random; the same data, seed and chunks give the same bits on any executor.
        executor: who does the work; None: threads here for small work, else a local cluster started for this fit.
        callbacks: receive the events.

    Raises:
        DgmmisError: its subclasses say what is wrong with data, options or cluster, before work starts where possible.
    """
    constraints = constraints or Constraints()
    data = as_catalogue(data)
    check_start(data, start, constraints, survey)
    alternatives = [Alternative(start, constraints.covariance_type)]
    return fit_side_by_side(
        data,
        alternatives,
        survey=survey,
        constraints=constraints,
        stopping=stopping,
        search=search,
        seed=seed,
        executor=executor,
        callbacks=callbacks,
    ).only


def evaluate(
    data: CatalogueLike,
    model: Model | GaussianMixture,
    *,
    survey: Survey | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
) -> Pass:
    """One pass over a catalogue under a model as it is: log-likelihood, completeness, moments.

    Args:
        data: the catalogue, the path of a store, or an array (n, d) of exact values.
        model: what to evaluate.
        survey: selection and noise law; None: everything was seen.
        seed: of the imputed points.
        executor: as for `fit`.
        callbacks: hear what is being done.

    Raises:
        DgmmisError: as for `fit`.
    """
    data, model, callback = as_catalogue(data), as_model(model), Callbacks(callbacks)
    check_start(data, Start(model.mixture.n_components, model.mixture, model.background), Constraints(), survey)
    options: dict[str, Any] = {"survey": survey, "executor": executor, "callbacks": callbacks}
    with prepared(data, model.mixture.n_components, constraints=Constraints(), **options) as ready:
        callback.on_notice(doing("a pass over the rows"))
        return evaluated(ready.passes, model, sample=ready.sample, seed=seed, callback=callback).last


def check_start(data: Catalogue, start: Start, constraints: Constraints, survey: Survey | None) -> None:
    """Refuse what does not go together, before any work.

    Raises:
        DgmmisError: its subclasses say what.
    """
    for value, kind in ((start, Start), (survey or Survey(), Survey), (constraints, Constraints)):
        if not isinstance(value, kind):
            what = kind.__name__
            raise JobError(f"{what.lower()} is not a {what}", got=type(value).__name__, do=f"give {what}(...)")
    Prior.parse(constraints.prior).check(start.n_components, data.n_features)
    n_rows = data.n_rows
    if isinstance(start.method, str) and n_rows < start.n_components:
        raise DataError(
            "fewer objects than components",
            expected=f"at least {start.n_components}",
            got=n_rows,
            do="lower n_components",
        )
    if start.background is not None and start.background.n_features != data.n_features:
        raise ShapeError(
            "background does not fit the data", expected=f"{data.n_features} features", got=start.background.n_features
        )
    if not isinstance(start.method, str) and start.method.n_features != data.n_features:
        raise ShapeError(
            "the first mixture does not fit the data",
            expected=f"{data.n_features} features",
            got=start.method.n_features,
        )
    if start.cutoff is not None and survey is not None:
        if isinstance(survey.selection, Injections):
            raise RefusedError("a cutoff, and injections, which say nothing of single points", do="leave one out")
        if start.background is not None and survey.selection_on != "observed":
            raise RefusedError("a cutoff, a background, and a selection on what was not measured", do="leave one out")
    if start.background is not None and start.background_fraction == 0 < constraints.background_bounds[1]:
        raise JobError("a background that starts with fraction 0 can never grow", do="start with a positive fraction")
