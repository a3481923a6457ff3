"""Preparation: a catalogue, its plan, a sample of its rows, and what they imply, before the first pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from dgmmis.callback import Callback, Callbacks, doing
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import CatalogueLike, as_catalogue
from dgmmis.errors import DataError, RefusedError
from dgmmis.execution.blas import one_blas_thread
from dgmmis.execution.cluster import ClusterSpec, connect, what_starts
from dgmmis.execution.executor import Executor
from dgmmis.initialize import spread
from dgmmis.latent_draw import Observing
from dgmmis.noise_classes import mean_noise
from dgmmis.passes import Passes
from dgmmis.plan import Plan, Work, make_plan
from dgmmis.prior import Constraints
from dgmmis.readings import Readings
from dgmmis.steadiness import require_steady
from dgmmis.subsample import draw_sample
from dgmmis.survey import Survey
from dgmmis.telemetry import shown

FLOOR = 1e-10
"""Smallest variance of a covariance, in variances of the data: a component narrower than 1e-5 of it has collapsed."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A catalogue ready for passes: with its plan, a sample of its rows, and who hears of them."""

    passes: Passes
    sample: Chunk
    plan: Plan
    callback: Callback


@contextmanager
def prepared(
    data: CatalogueLike,
    n_components: int,
    *,
    survey: Survey | None,
    constraints: Constraints,
    executor: Executor | None,
    callbacks: Sequence[Callback] = (),
) -> Iterator[Prepared]:
    """Plan the passes, draw the sample, complete survey and constraints by what it shows; let go of all at the end."""
    tell = Callbacks(callbacks).on_notice
    data = as_catalogue(data)
    work = Work.of(data, n_components, survey)
    owned = executor is None
    if executor is None:
        spec = ClusterSpec("threads" if data.in_memory else "auto")
        tell(doing(what_starts(spec, small=work.is_small)))
        executor = connect(spec, small=work.is_small)
    if data.in_memory and not executor.in_process:
        raise RefusedError(
            "data in this process's memory would travel to the workers in every pass",
            do="write them to a survey store (SurveyWriter, `dgmmis ingest`), or leave executor out",
        )
    try:
        plan = make_plan(data.references, work, executor.resources)
        plan.check()
        tell(doing("drawing a sample of the rows", n_rows=plan.n_rows))
        sample = draw_sample(data.references, executor)
        never = np.flatnonzero(np.all(np.isnan(sample.points), axis=0))
        if len(never):
            raise DataError(
                f"measured value {', '.join(map(str, never))} is missing in all {len(sample.points):,} rows looked at",
                do="leave it out",
            )
        if constraints.floor is None:
            constraints = replace(constraints, floor=FLOOR * spread(_each_once(sample)))
        survey = (survey or Survey()).completed(sample, data.n_features)
        require_steady(survey, sample)
        observing = Observing(survey, mean_noise(sample))
        readings = Readings(data.references, plan=plan, observing=observing, executor=executor)
        try:
            # whoever gives an executor shows what it does
            with one_blas_thread(), shown(executor, data) if owned else nullcontext(()) as watching:
                # of what is done between passes the bits must not depend on the number of cores
                callback = Callbacks([*watching, *callbacks])
                yield Prepared(Passes(readings, observing, constraints), sample, plan, callback)
        finally:
            readings.close()
    finally:
        if owned:
            executor.close()


def _each_once(sample: Chunk) -> Chunk:
    """The rows that count, each once: a weight of two and a row given twice are to have the same floor."""
    n = sample.n_samples
    rows = np.arange(n) if sample.weights is None else np.flatnonzero(sample.weights > 0)
    points = sample.points[rows]
    # one feature without equal values is enough, and soon found
    if sample.projection is None and not any(len(np.unique(column)) == len(rows) for column in points.T):
        rows = rows[np.unique(points, axis=0, return_index=True)[1]]
    return sample if len(rows) in (0, n) else sample.take(rows)
