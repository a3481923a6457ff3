"""Known survey: what a survey has to know of rows before it can say anything of one, and questions asked under it.

It is the noise of values that were not measured, where it selected on these: the mean of those that were. It is found
on a sample of rows here, or of a store's; of all lazy ones, when they are computed.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.errors import JobError
from dgmmis.execution.serial import Threads
from dgmmis.latent_draw import Observing
from dgmmis.noise import NoNoise, noise_values
from dgmmis.noise_classes import NoiseSums, mean_noise
from dgmmis.noise_law import FromCatalogue
from dgmmis.rows.blocks import by_block
from dgmmis.rows.measured import Measured
from dgmmis.selection import Injections
from dgmmis.subsample import draw_sample
from dgmmis.survey import Survey
from dgmmis.types import Matrix


def observing_of(survey: Survey | None, measured: Measured, d: int) -> Any:
    """A survey, and what it has to know of the rows: an Observing, delayed if lazy rows have to be looked at.

    A noise law is of the unseen, and plays no part: none is added to the survey.

    Args:
        survey: how rows came into the catalogue; None: all that is there was seen.
        measured: the rows.
        d: features of the model.

    Raises:
        ShapeError: rows of other features, or a survey that does not fit them.
        JobError: a noise law that has no effect; what is no Survey.
    """
    measured.require_features(d)
    survey = Survey() if survey is None else survey
    require_survey(survey)
    m = measured.n_measured or d
    if not (survey.is_partial and isinstance(survey.noise_law, FromCatalogue)):
        survey.completed(Chunk(np.empty((0, m)), NoNoise()), d)  # which refuses what does not fit
    nothing = Observing(survey, np.zeros((m, m)))
    if not survey.is_partial or survey.selection_on != "observed" or isinstance(survey.selection, Injections):
        return nothing
    if not measured.is_lazy:
        with closing(Threads()) as executor:
            sample = draw_sample(measured.in_memory().references, executor)
        return Observing(survey, mean_noise(sample))
    kind, _ = noise_values(measured.noise, *measured.points.shape)
    if kind in ("none", "shared"):  # of what is missing, too
        return nothing
    from dask.delayed import delayed
    from dask.graph_manipulation import clone

    # rows are read for it, let go, and read again: those of one reading would all be kept until it is known
    sums = clone(by_block(NoiseSums.of, measured)).to_delayed().ravel().tolist()
    return delayed(Observing)(survey, delayed(_mean)(sums))


def require_survey(survey: object) -> None:
    """Raise JobError for what is none."""
    if not isinstance(survey, Survey):
        raise JobError(
            "survey is no Survey",
            expected="Survey(selection, noise_law, selection_on)",
            got=type(survey).__name__,
            do="of a fit take `.survey`, of a run `.survey()`",
        )


def under(ask: Callable[[Observing], Any], observing: Any, measured: Measured) -> Any:
    """What is asked of rows under their survey, to be put into `Questions`.

    Args:
        ask: an Observing -> what is asked of a chunk. Of lazy rows it is called when they are computed, once.
        observing: that of a fit, or from `observing_of`.
        measured: the rows.
    """
    if not measured.is_lazy:
        return ask(observing)
    from dask.delayed import delayed

    return delayed(ask, pure=True)(observing)


def _mean(sums: Sequence[NoiseSums]) -> Matrix:
    return reduce(add, sums).mean
