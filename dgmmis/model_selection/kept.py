"""Kept: fits that have ended, and what became of them, as values that can be written down; they come back in every bit.

What all fits of a catalogue share is not among them: the rows of the sample, the survey, the background (`Common`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from dgmmis.allotment import Allotment
from dgmmis.background import Background
from dgmmis.boundary import AtBoundary
from dgmmis.callback import Record
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue
from dgmmis.dataset.folds import Fold
from dgmmis.em import Pass, Status
from dgmmis.errors import NumericalError
from dgmmis.execution.executor import Executor
from dgmmis.fit_result import Fit
from dgmmis.imputation import Unseen
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.model_selection.comparison import Comparison
from dgmmis.model_selection.cross_validation import HeldOut
from dgmmis.model_selection.fitting import Fitting
from dgmmis.model_selection.scores import Judge
from dgmmis.moments import Moments
from dgmmis.monte_carlo import MonteCarlo
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise
from dgmmis.noise_classes import NoiseClass, Partition
from dgmmis.plan import Plan
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round, envelope
from dgmmis.runaway import Runaway
from dgmmis.search import Candidate
from dgmmis.side_by_side import SideBySide
from dgmmis.spent import Spent
from dgmmis.survey import Survey


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """What fits of the same rows share.

    Args:
        observing: the survey, completed with a noise law.
        sample: some of the rows.
        constraints: whatever the structure of covariances that they name.
        background: or None.
    """

    observing: Observing
    sample: Chunk
    constraints: Constraints
    background: Background | None

    @classmethod
    def of(cls, data: Catalogue, fitting: Fitting, survey: Survey | None, executor: Executor) -> "Common":
        """That of fits that were made before: the sample is drawn again, to the same rows."""
        with prepared(data, 1, survey=survey, constraints=fitting.constraints, executor=executor) as ready:
            passes = ready.passes
            return cls(passes.observing, ready.sample, passes.constraints, fitting.start.background)


@dataclass(frozen=True, slots=True, eq=False)
class KeptModel:
    """A model but for the shape of its background."""

    mixture: GaussianMixture
    background_fraction: float
    cutoff: float | None

    @classmethod
    def of(cls, model: Model) -> "KeptModel":
        return cls(model.mixture, model.background_fraction, model.cutoff)

    def model(self, background: Background | None) -> Model:
        return Model(self.mixture, background, self.background_fraction, self.cutoff)


@dataclass(frozen=True, slots=True, eq=False)
class KeptRound:
    """The address of a round of imputed points; what it draws from follows from its model."""

    seed: int
    index: int
    model: KeptModel
    classes: tuple[NoiseClass, ...]
    partition: Partition
    counts: np.ndarray
    latent_points: int
    n_injections: int

    @classmethod
    def of(cls, points_of: Round) -> "KeptRound":
        return cls(
            points_of.seed,
            points_of.index,
            KeptModel.of(points_of.model),
            points_of.classes,
            points_of.partition,
            points_of.counts,
            points_of.latent_points,
            points_of.n_injections,
        )

    def points_of(self, background: Background | None) -> Round:
        model = self.model.model(background)
        numbers = (self.counts, self.latent_points, self.n_injections)
        return Round(self.seed, self.index, model, envelope(model), self.classes, self.partition, *numbers)


SAME = (
    "records",
    "log_likelihood",
    "objective",
    "completeness",
    "completeness_error",
    "last",
    "n_samples",
    "n_passes",
    "seconds",
    "plan",
    "compile_seconds",
    "candidates",
    "at_boundary",
    "runaways",
)
"""Of a fit, what is kept as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptFit:
    """A fit but for what is common: `values` are those in SAME."""

    model: KeptModel
    status: str
    covariance_type: str
    points_of: KeptRound | None
    values: Mapping[str, Any]

    @classmethod
    def of(cls, fit: Fit) -> "KeptFit":
        points_of = None if fit.points_of is None else KeptRound.of(fit.points_of)
        values = {name: getattr(fit, name) for name in SAME}
        return cls(KeptModel.of(fit.model), fit.status.name, fit.constraints.covariance_type, points_of, values)

    def restored(self, common: Common) -> Fit:
        return Fit(
            model=self.model.model(common.background),
            status=Status[self.status],
            observing=common.observing,
            points_of=None if self.points_of is None else self.points_of.points_of(common.background),
            sample=common.sample,
            constraints=replace(common.constraints, covariance_type=self.covariance_type),
            **self.values,
        )


@dataclass(frozen=True, slots=True, eq=False)
class KeptHeldOut:
    """A fold under the model that was fitted without it; the survey is that of the rows it was fitted to."""

    fold: Fold
    model: KeptModel
    fill: np.ndarray
    partition: Partition | None
    classes: tuple[NoiseClass, ...]
    log_z: np.ndarray
    status: str
    log_likelihood: float
    n_samples: float
    groups: np.ndarray

    @classmethod
    def of(cls, part: HeldOut) -> "KeptHeldOut":
        judge, numbers = part.judge, (part.log_likelihood, part.n_samples, part.groups)
        classes = (judge.partition, judge.classes, judge.log_z)
        return cls(part.fold, KeptModel.of(judge.model), judge.observing.fill, *classes, part.status.name, *numbers)

    def restored(self, common: Common) -> HeldOut:
        model, observing = self.model.model(common.background), Observing(common.observing.survey, self.fill)
        judge = Judge(model, observing, self.partition, self.classes, self.log_z)
        return HeldOut(self.fold, judge, Status[self.status], self.log_likelihood, self.n_samples, self.groups)


@dataclass(frozen=True, slots=True, eq=False)
class KeptError:
    """What could not be fitted, and why."""

    sentence: str

    @classmethod
    def of(cls, error: NumericalError) -> "KeptError":
        return cls(str(error))

    def restored(self, common: Common) -> NumericalError:
        del common
        error = NumericalError("")
        error.args = (self.sentence,)  # as it was said, however long
        return error


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What became of models side by side."""

    ends: tuple[KeptFit | KeptHeldOut | KeptError, ...]
    n_passes: int

    @classmethod
    def of(cls, found: SideBySide[Any]) -> "Kept":
        return cls(tuple(_kept(end) for end in found.ends), found.n_passes)

    def restored(self, common: Common) -> SideBySide[Any]:
        return SideBySide([end.restored(common) for end in self.ends], self.n_passes)


def _kept(end: Fit | HeldOut | NumericalError) -> KeptFit | KeptHeldOut | KeptError:
    match end:
        case Fit():
            return KeptFit.of(end)
        case HeldOut():
            return KeptHeldOut.of(end)
    return KeptError.of(end)


KEPT: Mapping[str, type] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            Allotment,
            AtBoundary,
            Candidate,
            Comparison,
            DiagonalNoise,
            Fold,
            FullNoise,
            GaussianMixture,
            Kept,
            KeptError,
            KeptFit,
            KeptHeldOut,
            KeptModel,
            KeptRound,
            Moments,
            MonteCarlo,
            NoNoise,
            NoiseClass,
            Partition,
            Pass,
            Plan,
            Record,
            Runaway,
            SharedNoise,
            Spent,
            Unseen,
        )
    }
)
"""What it all consists of, besides arrays and numbers."""
