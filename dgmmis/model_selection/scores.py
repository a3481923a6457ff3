"""Scores of the rows of a catalogue under a model as it is, and their sums over its chunks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.dataset.arrays import Catalogue, Reference
from dgmmis.em import Outcome, Pass
from dgmmis.errors import NumericalError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.executor import Executor, grouped
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.noise_classes import NoiseClass, Partition
from dgmmis.passes import together
from dgmmis.plan import Work, shared_out
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round
from dgmmis.rounds import evaluating
from dgmmis.scoring import Scores, score_rows
from dgmmis.side_by_side import SideBySide
from dgmmis.survey import Survey

TASKS = 4
"""Tasks of a worker in a reading."""


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Scores rows under a model, each normalised by the Z of its noise class.

    Args:
        model: as it is.
        observing: the survey, completed with a noise law.
        partition: puts rows into noise classes; None: everything was seen.
        classes: of the catalogue that the model was evaluated on.
        log_z: log Z of each class (c,), and 0 last, for rows of which nothing was measured.
    """

    model: Model
    observing: Observing
    partition: Partition | None
    classes: tuple[NoiseClass, ...]
    log_z: Float[np.ndarray, " c"]

    @classmethod
    def of(cls, model: Model, last: Pass, observing: Observing, points_of: Round | None) -> "Judge":
        """After a pass of the model over the same rows, with the round of imputed points that it had."""
        if points_of is None:
            return cls(model, observing, None, (), np.zeros(1))
        log_z = np.log([*(part.completeness for part in last.unseen), 1.0])
        return cls(model, observing, points_of.partition, points_of.classes, log_z)

    def scores(self, chunk: Chunk, seed: int = 0) -> Scores:
        """log L_n - log Z_n and responsibilities of a chunk's rows."""
        found = score_rows(self.model, chunk, self.observing, seed=seed)
        if self.partition is None:
            return found
        normaliser = self.log_z[self.partition.numbers(chunk, self.classes)]
        return replace(found, log_density=found.log_density - normaliser)


def judged(
    data: Catalogue, model: Model, *, survey: Survey | None, seed: int, executor: Executor | None
) -> tuple[Pass, Judge]:
    """What `fit.evaluate` gives, and what scores the same rows one by one."""
    return judged_side_by_side(data, [model], survey=survey, seed=seed, executor=executor).only


def judged_side_by_side(
    data: Catalogue, models: Sequence[Model], *, survey: Survey | None, seed: int, executor: Executor | None
) -> SideBySide[tuple[Pass, Judge]]:
    """`judged` for several models, which share the readings; an error where one gives no numbers."""
    abreast, found = sum(model.mixture.n_components for model in models), list[tuple[Pass, Judge] | NumericalError]()
    with prepared(data, abreast, survey=survey, constraints=Constraints(), executor=executor) as ready:
        beside = [ready.passes.beside() for _ in models]
        loops = [
            evaluating(of, model, sample=ready.sample, seed=seed) for of, model in zip(beside, models, strict=True)
        ]
        for passes, end in zip(beside, together(list(zip(beside, loops, strict=True))), strict=True):
            if isinstance(end, Outcome):
                found.append((end.last, Judge.of(end.model, end.last, passes.observing, passes.points_of)))
            elif isinstance(end, NumericalError):
                found.append(end)
            else:
                raise end
        return SideBySide(found, ready.passes.count)


@contextmanager
def working(data: Catalogue, n_components: int, survey: Survey | None, executor: Executor | None) -> Iterator[Executor]:
    """The executor for several fits of a catalogue, or of parts of it: the one given, or one started for all."""
    if executor is not None:
        yield executor
        return
    work = Work.of(data, n_components, survey)
    executor = connect(ClusterSpec("threads" if data.in_memory else "auto"), small=work.is_small)
    try:
        yield executor
    finally:
        executor.close()


def tasks(data: Catalogue, executor: Executor) -> list[Reference]:
    """The references of a catalogue, cut where there are few."""
    return shared_out(data.references, executor.resources.n_workers)


def in_groups(items: Sequence[Any], executor: Executor) -> list[Sequence[Any]]:
    """Items as an executor's groups."""
    return grouped(items, TASKS * executor.resources.n_workers)


def leaf_chunks(reference: Reference) -> Iterator[tuple[int, Chunk]]:
    """The leaves of a reference with their numbers; rows count from the leaf's place, however the reference was cut."""
    chunk = reference.load()
    for number, start in enumerate(range(0, chunk.n_samples, LEAF_ROWS), start=reference.first_leaf):
        yield number, replace(chunk.take(slice(start, start + LEAF_ROWS)), first_row=number * LEAF_ROWS)
