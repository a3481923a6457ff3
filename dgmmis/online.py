"""Online EM: a model that follows a stream of batches, each of which is looked at once.

Stepwise EM of Cappe & Moulines 2009 (eq. 12): the complete-data statistics of the stream are an average in which batch
t has the weight gamma_t = (t + t_0)^-alpha, and each step is an M-step on them. Noise, missing features, a background
and constraints are what they are in `em`.

A batch is one step of EM shortened to gamma, so that the sum of the gammas is about how many passes of EM a stream is
worth: begin with a fit to some first rows, and the more components overlap, the longer it takes to forget it.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dgmmis.chunk import LEAF_ROWS
from dgmmis.dataset.arrays import Catalogue, Reference, as_catalogue
from dgmmis.errors import JobError, NumericalError, RefusedError, ShapeError
from dgmmis.estep import leaf_moments
from dgmmis.execution.executor import Executor, grouped
from dgmmis.execution.serial import Serial
from dgmmis.execution.tree import Partial
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Expected, Moments
from dgmmis.mstep import Repair, constrained, maximize_expected
from dgmmis.observed import laid_out
from dgmmis.prior import Constraints
from dgmmis.survey import Survey


@dataclass(frozen=True, slots=True)
class StepSize:
    """How much a batch counts against all that came before it.

    Args:
        alpha: gamma_t = (t + offset)^-alpha; in (1/2, 1]. With 1 all batches count alike, also the first ones, of bad
            models; less forgets these sooner, and `OnlineEM.average` makes up for the noise.
        offset: t_0: how many batches the first model is worth.
        memory: objects after which what came before counts 1 / e, for a population that drifts; None: for good.
    """

    alpha: float = 0.6
    offset: float = 2.0
    memory: float | None = None

    def __post_init__(self) -> None:
        if not 0.5 < self.alpha <= 1:
            raise JobError("the step size's alpha", expected="more than 1/2, at most 1", got=self.alpha)
        if not self.offset >= 0:
            raise JobError("the step size's offset", expected="0 or more batches", got=self.offset)
        if self.memory is not None and not self.memory > 0:
            raise JobError("the step size's memory", expected="a positive number of objects, or None", got=self.memory)

    def __call__(self, step: int, n_samples: float) -> float:
        """gamma of a step, counted from 1, with so many objects."""
        gamma: float = min(1.0, (step + self.offset) ** -self.alpha)
        return gamma if self.memory is None else max(gamma, -math.expm1(-n_samples / self.memory))


@dataclass(frozen=True, slots=True)
class OnlineStep:
    """One batch.

    Args:
        number: of the step, from 1.
        n_samples: sum of the weights of its objects.
        log_likelihood: mean per object, under the model before it: of rows that it had not seen.
        gamma: how much the batch counted.
        repairs: of components that collapsed or starved.
    """

    number: int
    n_samples: float
    log_likelihood: float
    gamma: float
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class OnlineState:
    """Where a stream is, so that it can be gone on with later (`OnlineEM.state`, `OnlineEM.restored`).

    Args:
        mixture: of the last model.
        background_fraction: of it.
        running, averaged: the statistics of an object.
        n_steps, n_samples: so far.
    """

    mixture: GaussianMixture
    background_fraction: float
    running: Expected
    averaged: Expected
    n_steps: int
    n_samples: float


class OnlineEM:
    """A model that follows a stream; stateful on purpose.

    >>> online = OnlineEM(fit(ArrayDataset.of(first_points, first_variances), Start(3)).model)
    >>> step = online.update(ArrayDataset.of(points, variances))
    >>> online.model, online.average

    Args:
        model: to start from, such as `fit(first).model`; or its mixture.
        constraints: prior, frozen parameters, covariance structure.
        step_size: how fast it forgets.
        survey: of the stream; everything must have been seen.
        executor: who does the work of a batch; None: this thread.

    Raises:
        RefusedError: a selection: the unseen have to be imputed until they settle, which `fit` does.
    """

    def __init__(
        self,
        model: Model | GaussianMixture,
        *,
        constraints: Constraints | None = None,
        step_size: StepSize | None = None,
        survey: Survey | None = None,
        executor: Executor | None = None,
    ) -> None:
        if survey is not None and survey.is_partial:
            raise RefusedError(
                "a selection, and a model that follows a stream: what was not seen has to settle, pass by pass",
                do="fit from the last model: `fit(data, Start(k, model.mixture), survey=survey)`",
            )
        if isinstance(model, GaussianMixture):
            model = Model(model)
        for value, kind in (
            (model, Model),
            (step_size or StepSize(), StepSize),
            (constraints or Constraints(), Constraints),
        ):
            if not isinstance(value, kind):
                raise JobError(f"expected a {kind.__name__}", got=type(value).__name__, do=f"give {kind.__name__}(...)")
        self._constraints, self._step_size = constraints or Constraints(), step_size or StepSize()
        self._executor = executor or Serial()
        self.model = constrained(model, self._constraints)
        self.n_steps, self.n_samples = 0, 0.0
        mixture, nu = self.model.mixture, self.model.background_fraction
        weight = (1 - nu) * mixture.weights
        # of an object, as if the first model were true
        self._running = Expected(weight, 0.0 * mixture.means, weight[:, None, None] * mixture.covariances, nu)
        self._averaged = self._running

    @property
    def state(self) -> OnlineState:
        """Where the stream is."""
        model = self.model
        of_model = (model.mixture, model.background_fraction)
        return OnlineState(*of_model, self._running, self._averaged, self.n_steps, self.n_samples)

    def restored(self, state: OnlineState) -> "OnlineEM":
        """This one, gone on with from where a stream of the same kind was.

        Raises:
            ShapeError: of another number of components or features.
        """
        if state.mixture.means.shape != self.model.mixture.means.shape:
            expected, got = self.model.mixture.means.shape, state.mixture.means.shape
            raise ShapeError("the state of a stream", expected=expected, got=got, do="begin anew")
        self.model = replace(self.model, mixture=state.mixture, background_fraction=state.background_fraction)
        self._running, self._averaged = state.running, state.averaged
        self.n_steps, self.n_samples = state.n_steps, state.n_samples
        return self

    def update(self, batch: Catalogue) -> OnlineStep:
        """Take one step with a batch: an ArrayDataset, or the Dataset of a survey store.

        Raises:
            ShapeError: it has other features than the model.
            NumericalError: its sums are not finite, or its weights sum to zero; the model stays as it was.
        """
        return self._step(self._checked(batch).references)

    def follow(self, batches: Iterable[Catalogue]) -> Iterator[OnlineStep]:
        """Take a step with each batch, as they come."""
        return map(self.update, batches)

    def sweep(self, data: Catalogue) -> Iterator[OnlineStep]:
        """Take a step with each chunk of a catalogue."""
        return (self._step([reference]) for reference in self._checked(data).references)

    @property
    def average(self) -> Model:
        """The model of the averaged statistics (Polyak & Juditsky 1992, weighted as in Lacoste-Julien, Schmidt & Bach
        2012): surer than the last one, where nothing drifts. Its variance is 4/3 of that of a fit to the whole stream
        once its beginning is forgotten."""
        return maximize_expected(self._averaged * self._scale(self.n_samples), self.model, self._constraints).model

    def _scale(self, n_samples: float) -> float:
        """How many objects the statistics stand for: against these the prior counts, and less is no component's."""
        memory = self._step_size.memory
        return max(1.0, n_samples if memory is None else min(memory, n_samples))

    def _checked(self, data: Catalogue) -> Catalogue:
        data, d = as_catalogue(data), self.model.mixture.n_features
        if data.n_features != d:
            raise ShapeError("the batch", expected=f"{d} features", got=data.n_features)
        return data

    def _step(self, references: Iterable[Reference]) -> OnlineStep:
        moments = self._sums(list(references))
        n = moments.n_samples
        if not (n > 0 and moments.is_finite):
            raise NumericalError("a batch whose sums are not finite, or whose weights sum to zero", got=f"{n} objects")
        number = self.n_steps + 1
        gamma = self._step_size(number, n)
        mixture = self.model.mixture
        running = self._running * (1 - gamma) + Expected.of(moments, mixture.covariances) * (gamma / n)
        update = maximize_expected(running * self._scale(self.n_samples + n), self.model, self._constraints)
        shift = update.model.mixture.means - mixture.means
        share = 2 / (number + 1)  # a step weighs in proportion to its number: the first ones are soon forgotten
        self._averaged = (self._averaged * (1 - share) + running * share).moved(shift)
        self._running, self.model = running.moved(shift), update.model
        self.n_steps, self.n_samples = number, self.n_samples + n
        return OnlineStep(number, n, float(moments.log_likelihood / n), gamma, update.repairs)

    def _sums(self, references: list[Reference]) -> Moments:
        groups = grouped(references, self._executor.resources.n_workers)
        moments: Moments | None = self._executor.map_reduce(_leaf_sums, self.model, groups).total("observed")
        if moments is None:
            raise NumericalError("a batch without rows", do="leave it out")
        return moments


def _leaf_sums(model: Model, reference: Reference) -> Partial:
    """The task: the moments of a reference's leaves."""
    chunk = reference.load()
    starts = range(0, chunk.n_samples, LEAF_ROWS)
    return Partial.of(
        (
            "observed",
            leaf,
            leaf_moments(model, laid_out(chunk.take(slice(start, start + LEAF_ROWS)), leaf, model.background)),
        )
        for leaf, start in enumerate(starts, reference.first_leaf)
    )
