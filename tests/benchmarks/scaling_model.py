"""A model of one pass on a cluster, in seconds: what it costs to hand out work, to do it, and to join the sums.

    t = start + per_task * (tasks + joins) + work * rounds * task_seconds
        + per_sum_byte * join_rounds * FAN_IN * sum_bytes + per_model_byte * workers * model_bytes
        + crowding * workers^2

rounds = ceil(tasks / workers): of tasks, on a worker. join_rounds = sum over the levels of the tree of
ceil(joins of the level / hands): of joins, each of which fetches and adds up to FAN_IN sums. `hands` is what can be
done at the same time: all workers where each has a core of its own, else the cores. A task lasts as long as its
arithmetic or as its reading, whichever is longer, since the next chunk is read meanwhile. `crowding` is of workers that
share an interpreter, each with a loop of its own: those in processes of their own know nothing of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from dgmmis.execution.executor import FAN_IN

TERMS = ("start", "scheduling", "work", "joining", "broadcast", "crowding")
"""Of a pass, in the order of the coefficients."""


@dataclass(frozen=True)
class Pass:
    """What a pass is made of.

    Args:
        workers: threads of workers, in all.
        hands: of them that can work at the same time.
        tasks: of the pass.
        task_seconds: that each lasts.
        sum_bytes: of the sums that a task gives.
        model_bytes: that every worker is sent.
    """

    workers: int
    hands: int
    tasks: int
    task_seconds: float
    sum_bytes: float
    model_bytes: float

    @property
    def levels(self) -> list[int]:
        """Joins on each level of the tree, from its leaves to its root."""
        levels, left = [], self.tasks
        while left > 1:
            left = math.ceil(left / FAN_IN)
            levels.append(left)
        return levels

    def amounts(self) -> np.ndarray:
        """What each coefficient is multiplied by."""
        joins = self.levels
        rounds = math.ceil(self.tasks / self.workers)
        join_rounds = sum(math.ceil(level / self.hands) for level in joins)
        return np.array(
            [
                1.0,
                self.tasks + sum(joins),
                rounds * self.task_seconds,
                join_rounds * FAN_IN * self.sum_bytes,
                self.workers * self.model_bytes,
                float(self.workers**2),
            ]
        )


@dataclass(frozen=True)
class PassModel:
    """The coefficients, none negative.

    Args:
        start: seconds of a pass whatever is in it.
        per_task: seconds that the scheduler spends on a task or a join; one after the other.
        work: how much longer tasks last here than they say.
        per_sum_byte: seconds to fetch a byte of sums and to add it.
        per_model_byte: seconds to send a byte of the model to one worker.
        crowding: seconds for each pair of workers in one process.
    """

    start: float
    per_task: float
    work: float
    per_sum_byte: float
    per_model_byte: float
    crowding: float = 0.0

    @classmethod
    def fitted(cls, passes: Sequence[Pass], seconds: Sequence[float]) -> "PassModel":
        """By non-negative least squares of the relative errors."""
        measured = np.asarray(seconds, dtype=float)
        amounts = np.stack([one.amounts() for one in passes]) / measured[:, None]
        scale = np.maximum(np.abs(amounts).max(axis=0), 1e-300)
        found, _ = nnls(amounts / scale, np.ones(len(measured)))
        return cls(*(found / scale).tolist())

    def terms(self, of: Pass) -> dict[str, float]:
        """Seconds of each term."""
        rates = (self.start, self.per_task, self.work, self.per_sum_byte, self.per_model_byte, self.crowding)
        return dict(zip(TERMS, (np.array(rates) * of.amounts()).tolist(), strict=True))

    def seconds(self, of: Pass) -> float:
        """Of the whole pass."""
        return sum(self.terms(of).values())


def task_seconds(compute_seconds: float, read_bytes: float, bandwidth: float, *, kept: bool) -> float:
    """What a task lasts: its arithmetic, or the reading of its chunks where these are not kept between passes.

    Args:
        compute_seconds: of its arithmetic.
        read_bytes: of its chunks.
        bandwidth: bytes per second that one worker reads and unpacks.
        kept: whether the chunks stay in memory.
    """
    return compute_seconds if kept else max(compute_seconds, read_bytes / bandwidth)
