"""The driver of dgmmis itself: whole passes of plain EM, data from a survey store. A process of its own, so that its
peak of memory is that of the work: `python -m tests.benchmarks.passes ARRAYS.npz WORK STORE KIND`."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from dgmmis.callback import Callback, Step
from dgmmis.dataset.dataset import Dataset
from dgmmis.em import Stopping
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.plan import Work as Size
from tests.benchmarks.peaks import peaks_of
from tests.benchmarks.works import Work, find_work


class Stamps(Callback):
    """When passes ended: whole ones, with the M-step and all that is done between two."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_start(self, model: Model, max_iter: int, tol: float) -> None:
        self.moments.append(time.perf_counter())

    def on_step(self, step: Step) -> None:
        self.moments.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return np.diff(self.moments).tolist()


@contextlib.contextmanager
def plain_em() -> Iterator[None]:
    """No quasi-Newton steps: every pass is an iteration of EM, as those of the peers are."""
    with patch("dgmmis.quasi_newton.QuasiNewton.propose", lambda *_: None):
        yield


def timed_passes(work: Work, data: Any, start: Start, executor: Any, n: int) -> tuple[list[float], Fit]:
    """Seconds of the first pass and of n more, and the fit."""
    stamps = Stamps()
    with plain_em():
        found = fit(
            data,
            start,
            constraints=work.constraints,
            stopping=Stopping(1e-300, n + 1),
            executor=executor,
            callbacks=[stamps],
        )
    return stamps.seconds, found


def is_chosen(work: Work, store: Path, kind: str) -> bool:
    """Whether dgmmis would do it so by itself, with no cluster in use."""
    small = Size.of(Dataset.open(store), work.k).is_small
    return kind == ("threads" if small else "local")


def main(arrays: Path, name: str, store: Path, kind: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    work = find_work(name)
    with np.load(arrays) as given:
        mixture = GaussianMixture(given["weights"], given["means"], given["covariances"])
    data, start = Dataset.open(store), Start(work.k, mixture, cutoff=work.cutoff)
    with contextlib.closing(connect(ClusterSpec(kind), small=False)) as executor:
        answer(chosen=is_chosen(work, store, kind))
        for line in sys.stdin:
            (first, *rest), found = timed_passes(work, data, start, executor, json.loads(line)["iterations"])
            plan = found.plan
            planned = plan.task_bytes + plan.kept_bytes
            peaks = peaks_of(executor)
            answer(first=first, seconds=rest, peaks=peaks, planned=planned, log_likelihood=found.log_likelihood)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
