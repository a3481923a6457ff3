"""variational_fit: the posterior of a mixture, as `fit` finds a maximum."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmmis.callback import Callback, Callbacks, Clocked, History, Record, doing
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import CatalogueLike, as_catalogue
from dgmmis.em import Outcome, Pass, Status, Stopping
from dgmmis.errors import RefusedError, require_whole
from dgmmis.execution.executor import Executor
from dgmmis.fit import check_start
from dgmmis.initialize import Start, first_models, single_gaussian
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.mstep import constrained
from dgmmis.passes import FIRST_PASS, together
from dgmmis.plan import Plan
from dgmmis.preparation import prepared
from dgmmis.prior import AnyPrior, Constraints, DirichletProcess, InverseWishart, NormalInverseWishart, Prior
from dgmmis.scoring import information
from dgmmis.search import Named
from dgmmis.survey import Survey
from dgmmis.types import Means, Weights
from dgmmis.variational.posterior import Family, Posterior
from dgmmis.variational.response import MeanSpread
from dgmmis.variational.variation import Variation

PRESENT = 1.0
"""Objects from which on a component is one."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class VariationalFit:
    """The result of `variational_fit`.

    Args:
        posterior: of the parameters.
        expectation_model: whose E-step is the posterior's: responsibilities follow it, densities do not (`model`).
        status: why it stopped; `status.value` is a sentence.
        records: one for every pass but the first; their objective is the bound per object.
        bound: on the log evidence, of all objects together, constants included.
        last: the pass of the expectation model.
        sample: some of the rows.
        observing: how the objects were observed.
        n_samples: sum of their weights.
        n_passes: passes over the data, of all starts.
        seconds: in all.
        plan: of a pass.
    """

    posterior: Posterior
    expectation_model: Model
    status: Status
    records: tuple[Record, ...]
    bound: float
    last: Pass
    sample: Chunk
    observing: Observing
    n_samples: float
    n_passes: int
    seconds: float
    plan: Plan

    def __repr__(self) -> str:
        return (
            f"VariationalFit({self.status.name}: {self.n_effective} of {len(self.counts)} components, bound "
            f"{self.bound:.7g}, {self.n_passes} passes)"
        )

    @property
    def converged(self) -> bool:
        return self.status is Status.CONVERGED

    @property
    def counts(self) -> Weights:
        """Objects that each component has (k,)."""
        return self.last.moments.weight

    @property
    def n_effective(self) -> int:
        """Components that have an object or more."""
        return int(np.count_nonzero(self.counts >= PRESENT))

    def mean_interval(self, level: float = 0.68) -> tuple[Means, Means]:
        """The central interval (k, d) of each feature of each mean that holds it with probability `level` (`response`).

        From the scores of a sample of the objects, of all where there are few.
        """
        return self.mean_spread().interval(level)

    def mean_spread(self) -> MeanSpread:
        """How sure the means are."""
        known = information(self.expectation_model, self.sample, self.observing, None, self.last)
        return MeanSpread.of(self.posterior, known.curvature, self.counts >= PRESENT)

    @property
    def model(self) -> Model:
        """The density: of the parameters' means (`Posterior.mean_model`)."""
        return self.posterior.mean_model

    @property
    def mixture(self) -> GaussianMixture:
        """Of the parameters' means (`Posterior.mixture`)."""
        return self.posterior.mixture


def variational_fit(
    data: CatalogueLike,
    start: Start,
    *,
    prior: AnyPrior = None,
    covariance_type: str = "full",
    survey: Survey | None = None,
    stopping: Stopping | None = None,
    n_starts: int = 1,
    seed: int = 0,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
) -> VariationalFit:
    """The posterior of a mixture's parameters, within a family that is conjugate to the prior.

    Components that the data do not need lose their objects, and return to the prior.

    Args:
        data: the catalogue, with noise and missing features as for `fit`.
        start: the first model, or how to find it; as many components as there may be.
        prior: of weights and components. Left out: DirichletProcess(1 / k); and a NormalInverseWishart about the mean
            of some of the rows, worth one object, with their covariance for its scale and d degrees of freedom, noise
            and missing features taken into account.
        covariance_type: of the posterior (`variational.components`).
        survey: everything must have been seen.
        stopping: when to stop; `imputation_error` plays no part.
        n_starts: first models; the best bound wins.
        seed, executor, callbacks: as for `fit`.

    Raises:
        RefusedError: a selection, a cutoff, or a prior that is no probability.
        DgmmisError: as for `fit`.
    """
    started = time.perf_counter()
    data, beliefs, stopping = as_catalogue(data), Prior.parse(prior), stopping or Stopping()
    require_whole(n_starts, "n_starts", 1)
    constraints = Constraints(covariance_type)
    check_start(data, start, constraints, survey)
    _refuse(start, beliefs, survey)
    k, d = start.n_components, data.n_features
    beliefs.check(k, d)
    options: dict[str, Any] = {"survey": survey, "executor": executor, "callbacks": callbacks}
    with prepared(data, k, constraints=constraints, **options) as ready:
        passes, callback = ready.passes, ready.callback
        callback.on_sample(ready.sample)
        callback.on_notice(doing("looking for first models"))
        family = _family(beliefs, start, covariance_type, ready.sample)
        firsts = first_models(start, ready.sample, None, seed, n_starts)
        models = [constrained(model, passes.constraints) for model in firsts]
        callback.on_start(models[0], stopping.max_iter, stopping.tol)
        histories = [History() for _ in models]
        ascents = [
            Variation(
                model, family, stopping, Clocked(Callbacks([history, Named(name, callback)]), passes.readings.spent)
            )
            for model, history, name in zip(models, histories, _names(n_starts), strict=True)
        ]
        callback.on_notice(doing(FIRST_PASS))
        ends = together([(passes.beside(), ascent.passing()) for ascent in ascents])
        best, outcome = _best(ends)
        callback.on_end(outcome.status.value)
    return VariationalFit(
        posterior=ascents[best].posterior_of(outcome.model),
        expectation_model=outcome.model,
        status=outcome.status,
        records=tuple(histories[best].records),
        bound=outcome.last.objective * outcome.last.n_samples,
        last=outcome.last,
        sample=ready.sample,
        observing=passes.observing,
        n_samples=outcome.last.n_samples,
        n_passes=passes.count,
        seconds=time.perf_counter() - started,
        plan=ready.plan,
    )


def _refuse(start: Start, prior: Prior, survey: Survey | None) -> None:
    """What has no bound, or no posterior."""
    if survey is not None and survey.is_partial:
        raise RefusedError(
            "a selection, and a variational posterior: -N log Z depends on all parameters at once, its mean under the "
            "posterior has no closed form, and without it there is no bound",
            do="use `fit`, with a Prior and standard errors or the bootstrap",
        )
    if start.cutoff is not None:
        raise RefusedError(
            "a cutoff, and a variational posterior: what is cut off takes the bound away", do="leave it out"
        )
    if isinstance(prior.components, InverseWishart):
        raise RefusedError(
            "InverseWishart(scale) is no probability, and has no posterior of a component without objects",
            do="give a NormalInverseWishart",
        )


def _family(prior: Prior, start: Start, covariance_type: str, sample: Chunk) -> Family:
    components = prior.components
    if not isinstance(components, NormalInverseWishart):
        whole = single_gaussian(sample)
        components = NormalInverseWishart(
            mean=whole.means[0], mean_precision=1.0, scale=whole.covariances[0], degrees_of_freedom=whole.n_features
        )
    weights = prior.weights or DirichletProcess(1 / start.n_components)
    return Family(weights, components, covariance_type, start.background)


def _names(n: int) -> list[str]:
    return [f"start {m}" for m in range(n)] if n > 1 else [""]


def _best(ends: Sequence[object]) -> tuple[int, Outcome]:
    """The start with the best bound; the first error where none came to an end."""
    objectives = [end.last.objective if isinstance(end, Outcome) else -np.inf for end in ends]
    best = int(np.argmax(objectives))
    outcome = ends[best]
    if isinstance(outcome, BaseException):
        raise outcome
    assert isinstance(outcome, Outcome)
    return best, outcome
