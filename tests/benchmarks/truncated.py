"""W4: the box with a hole, half of whose objects were never seen, from a start that is off: does a fit arrive?

The driver of dgmmis is this module, too: `python -m tests.benchmarks.truncated STORE KIND`.
"""

import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.dataset import Dataset
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.fit import evaluate, fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.plan import Work as Size
from dgmmis.simulate import simulate
from dgmmis.simulate.preset import PRESETS
from tests.benchmarks.comparison import KINDS, OUR_SECONDS, Pace
from tests.benchmarks.passes import Stamps
from tests.benchmarks.peaks import peaks_of
from tests.benchmarks.peers import PEERS, TRUNCATED, own_environment
from tests.benchmarks.process import Lost, Process
from tests.benchmarks.results import MEASURED, OURS, Described, Series, Turn

PRESET = PRESETS["box-with-hole"]
N_OBJECTS, N_QUICK = 100_000, 10_000
SEEDS = (1, 2, 4)
"""Of the starts."""

ITERATIONS, BUDGET = 100, 90.0
"""That the peer gets, and the seconds after which it begins no other."""

TARGET = 0.1


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a fit has come to.

    Args:
        who, how, seed: of it, and of its start.
        passes, seconds: that it took.
        status: why it ended.
        excess: relative error of the number of objects, seen and unseen.
        error: the standard error that it gives for that; NaN: none.
    """

    who: str
    how: str
    seed: int
    passes: int
    seconds: float
    status: str
    excess: float
    error: float


def poor_start(seed: int) -> GaussianMixture:
    """Means 0.7 off, all components alike and wide."""
    means = PRESET.model.mixture.means
    off = np.random.default_rng(seed).normal(0, 0.7, means.shape)
    k, d = means.shape
    return GaussianMixture(np.full(k, 1 / k), means + off, np.tile(4 * np.eye(d), (k, 1, 1)))


def arrivals(pace: Pace, *, quick: bool) -> tuple[Described, list[Series], list[Arrival]]:
    """By dgmmis from several starts on each kind of cluster, by pyGMMis from the first of them."""
    n = N_QUICK if quick else N_OBJECTS
    k, d = PRESET.model.mixture.means.shape
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "survey.zarr"
        data = simulate(store, PRESET, n=n)
        seen = data.n_rows
        found = [_ours(store, kind, n, pace) for kind in KINDS]
        found.append(_peer(data, Path(folder), n, pace))
    title = f"box with hole, {seen / 1000:.0f}k seen of {n // 1000}k, unseen imputed"
    described = Described(TRUNCATED, title, seen, d, k, None, None if quick else TARGET)
    return described, [series for series, _ in found], [one for _, ends in found for one in ends]


def _ours(store: Path, kind: str, n: int, pace: Pace) -> tuple[Series, list[Arrival]]:
    command = [sys.executable, "-m", "tests.benchmarks.truncated", str(store), kind]
    series, ends = Series(TRUNCATED, OURS, kind), []
    process = Process(command, seconds=OUR_SECONDS, memory=pace.memory_limit)
    series = replace(series, chosen=process.ready["chosen"])
    for seed in SEEDS:
        answer = process.ask(seed=seed)
        first, *rest = answer["seconds"]
        turns = (*series.turns, Turn(first, tuple(rest)))
        series = replace(series, turns=turns, peaks=answer["peaks"], planned=answer["planned"])
        ends.append(
            Arrival(
                OURS, kind, seed, answer["passes"], answer["whole"], answer["status"], answer["number"] / n - 1,
                answer["error"] / n,
            )
        )  # fmt: skip
    process.close()
    return series, ends


def _peer(data: Dataset, folder: Path, n: int, pace: Pace) -> tuple[Series, list[Arrival]]:
    (peer,) = (peer for peer in PEERS if TRUNCATED in peer.works)
    start, noise = poor_start(SEEDS[0]), PRESET.schema.shared_covariance
    arrays = folder / "survey.npz"
    np.savez(
        arrays,
        points=data.points.compute(),
        noise=noise,
        unseen_noise=noise,
        weights=start.weights,
        means=start.means,
        covariances=start.covariances,
        lower=np.zeros(2),
        upper=np.full(2, 10.0),
        hole=[6.5, 6.0, 2.0],
    )
    command = peer.command(arrays)
    series = Series(TRUNCATED, peer.name, peer.remark)
    if command is None:
        return replace(series, outcome=peer.absence()), []
    budget = min(BUDGET, pace.limit * 1.2)
    try:
        process = Process(command, seconds=budget + pace.limit, memory=pace.memory_limit, environment=own_environment())
        answer = process.ask(iterations=ITERATIONS, budget=budget)
    except Lost as reason:
        return replace(series, outcome=str(reason)), []
    process.close()
    turn = Turn(answer["first"], tuple(answer["seconds"]))
    peaks = {"all its processes": process.peak_bytes}
    series = replace(series, turns=(turn,), peaks=peaks, versions=process.ready["versions"], outcome=MEASURED)
    passes = 1 + len(turn.seconds)
    seconds = sum(turn.seconds) + (turn.first or 0.0)
    status = f"all {ITERATIONS} steps" if passes > ITERATIONS else f"stopped after {budget:.0f} s"
    end = Arrival(peer.name, "", SEEDS[0], passes, seconds, status, _excess(data, answer, n), np.nan)
    return series, [end]


def _excess(data: Dataset, model: Mapping[str, Sequence[Any]], n: int) -> float:
    """Of the number of objects that a model implies."""
    weights = np.asarray(model["weights"])
    mixture = GaussianMixture(weights / weights.sum(), model["means"], model["covariances"])
    judged = evaluate(data, Model(mixture), survey=PRESET.survey)
    return judged.n_samples / judged.completeness / n - 1


def lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of arrivals: a row a contestant, the median over its starts."""
    rows = ["| contestant | starts | passes | seconds in all | objects too many | its own error | status |"]
    rows.append("|---|---|---|---|---|---|---|")
    for who, how in dict.fromkeys((one["who"], one["how"]) for one in found):
        own = [one for one in found if (one["who"], one["how"]) == (who, how)]
        middle = {
            name: statistics.median(one[name] for one in own) for name in ("passes", "seconds", "excess", "error")
        }
        passes = ", ".join(str(one["passes"]) for one in own)
        error = "" if np.isnan(middle["error"]) else f"{100 * middle['error']:.2g} %"
        status = ", ".join(dict.fromkeys(one["status"].split(":")[0] for one in own))
        rows.append(
            f"| {who} {how} | {len(own)} | {passes} | {middle['seconds']:.3g} | {100 * middle['excess']:+.2g} % "
            f"| {error} | {status} |"
        )
    return rows


def main(store: Path, kind: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    data = Dataset.open(store)
    k = PRESET.n_components
    with contextlib.closing(connect(ClusterSpec(kind), small=False)) as executor:
        small = Size.of(data, k, PRESET.survey).is_small
        answer(chosen=kind == ("threads" if small else "local"))
        for line in sys.stdin:
            seed, stamps = json.loads(line)["seed"], Stamps()
            start = Start(k, poor_start(seed))
            found = fit(data, start, survey=PRESET.survey, seed=seed, executor=executor, callbacks=[stamps])
            number, error = found.n_objects(found.standard_errors())
            answer(
                seconds=stamps.seconds,
                passes=found.n_passes,
                whole=found.seconds,
                status=found.status.value,
                number=number,
                error=error,
                peaks=peaks_of(executor),
                planned=found.plan.task_bytes + found.plan.kept_bytes,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
