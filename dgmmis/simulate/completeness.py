"""Completeness: the fraction of a population that a survey sees, by the quadrature that fits use."""

from dataclasses import replace

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.errors import JobError
from dgmmis.imputation import Completed, complete, unseen_here
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise import NoNoise, SharedNoise
from dgmmis.noise_classes import NoiseClass, Partition, classes_of, mean_noise, single_class
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.quadrature import Round
from dgmmis.selection import Injections
from dgmmis.survey import Survey

QUADRATURE_POINTS = 1 << 18

DEPTH = 8
"""Cuts one below the other that make noise classes."""


def completeness(
    model: Model,
    survey: Survey,
    *,
    like: Chunk | None = None,
    n_points: int = QUADRATURE_POINTS,
    seed: int = 0,
) -> tuple[float, float]:
    """Z = integral Omega(y) p(y) dy and its Monte-Carlo error; 1 and 0 where there is no selection.

    Where it differs by object it is N / sum_n (1 / Z_n): of all objects, those that were seen.

    Args:
        model: p(x).
        survey: selection, and a noise law that takes x to y.
        like: objects of its catalogue, whose noise, projections and gaps are typical; needed where these matter.
        n_points: of the quadrature, in all.
        seed: of the quadrature.

    Raises:
        JobError: a survey whose completeness depends on the noise of its objects, and none of these.
        UnseenError: it cannot be told from zero.
    """
    if survey.selection is None:
        return 1.0, 0.0
    d = model.mixture.n_features
    if like is None:
        law = survey.noise_law
        if isinstance(law, OwnNoise) or survey.selection_on == "available":
            raise JobError("the completeness depends on the noise and the gaps of the objects", do="give some of them")
        noise = SharedNoise(law.covariance) if isinstance(law, ConstantNoise) and np.any(law.covariance) else NoNoise()
        like = Chunk(np.zeros((1, d)), noise)
    completed, _ = completed_by_class(model, survey, like, n_points=n_points, seed=seed)
    return float(np.clip(completed.completeness, 0.0, 1.0)), completed.completeness_error


def completed_by_class(
    model: Model, survey: Survey, like: Chunk, *, n_points: int = QUADRATURE_POINTS, seed: int = 0
) -> tuple[Completed, tuple[NoiseClass, ...]]:
    """One object and the unseen that come with it, by noise class, and these classes, found among some objects.

    Args:
        model: p(x).
        survey: with a selection, and a noise law.
        like: objects of its catalogue.
        n_points, seed: of the quadrature.

    Raises:
        UnseenError: the completeness of a class cannot be told from zero.
    """
    partition = Partition.of(like, survey, mean_noise(like), DEPTH)
    classes = single_class(survey, like) if partition.is_trivial else classes_of(partition.sums(like), survey)
    n_injections = len(survey.selection) if isinstance(survey.selection, Injections) else 0
    points = Round.of(model, n_points, seed, 0, classes=classes, partition=partition, n_injections=n_injections)
    everything = replace(Moments.zero(*model.mixture.means.shape), n_samples=1.0)
    return complete(everything, unseen_here(model, points, survey), classes), classes
