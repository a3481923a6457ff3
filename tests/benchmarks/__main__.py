"""`python -m tests.benchmarks`: seconds per pass, ours and peers', in one run.
`python -m tests.benchmarks tycho PATH`: Tycho-2, ingest to model, with the peak memory of every process."""

import resource
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import dgmmis
from dgmmis.callback import History
from dgmmis.dataset.ingest import Columns, ingest
from dgmmis.em import Stopping
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.fit import fit
from dgmmis.initialize import Start
from tests.benchmarks.works import WORKS, Work

PASSES = 8


def ours(work: Work) -> list[float]:
    """Seconds of each pass in threads, after the first, which loads and compiles."""
    history = History()
    fit(
        dgmmis.ArrayDataset.of(work.points(), work.noise()),
        Start(work.k, work.mixture()),
        stopping=Stopping(1e-300, PASSES),
        callbacks=[history],
    )
    return [record.seconds for record in history.records[1:]]


def scikit_learn(work: Work) -> list[float]:
    """Seconds of each EM iteration; it knows no noise."""
    from sklearn.mixture import GaussianMixture

    points, mixture = work.points(), work.mixture()
    seconds = []
    for iterations in (1, 4):
        peer = GaussianMixture(work.k, max_iter=iterations, tol=0, means_init=mixture.means, init_params="random")
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer.fit(points)
        seconds.append(time.perf_counter() - started)
    return [(seconds[1] - seconds[0]) / 3]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def compare() -> None:
    say("| work | dgmmis s/pass (median, min-max) | scikit-learn s/iteration | ratio |")
    say("|---|---|---|---|")
    for work in WORKS:
        mine = ours(work)
        middle = statistics.median(mine)
        theirs = None if work.noisy else statistics.median(scikit_learn(work))
        peer = "has no noise" if theirs is None else f"{theirs:.3f}"
        ratio = "" if theirs is None else f"{theirs / middle:.1f}"
        say(f"| {work.name} | {middle:.3f} ({min(mine):.3f}-{max(mine):.3f}) | {peer} | {ratio} |")


def tycho(source: Path) -> None:
    """Ingest Tycho-2 and fit K=20 in (pmRA, pmDE, BT, VT) with errors and missing blocks on the local cluster."""
    names = ("pmRA_x10", "pmDE_x10", "BT_x1000", "VT_x1000")
    scale = {"pmRA_x10": 0.1, "pmDE_x10": 0.1, "BT_x1000": 1e-3, "VT_x1000": 1e-3}
    columns = Columns(features=names, errors=tuple(f"e_{name}" for name in names), scale=scale)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        dataset = ingest(source, Path(folder) / "tycho.zarr", columns)
        ingested = time.perf_counter() - started
        after_ingest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        executor = connect(ClusterSpec("local"), small=False)
        assert isinstance(executor, Distributed)
        history = History()
        result = fit(dataset, Start(20), stopping=Stopping(max_iter=300), executor=executor, callbacks=[history])
        peaks = executor.client.run(_peak_kilobytes)
        executor.close()
    seconds = [record.seconds for record in history.records[1:]]
    say("| what | measured |")
    say("|---|---|")
    say(f"| rows x features, components | {dataset.n_rows:,} x 4, 20 |")
    say(f"| ingest from parquet | {ingested:.1f} s, peak {after_ingest / 1e3:.0f} MB |")
    middle = statistics.median(seconds)
    say(f"| seconds per pass (median, min-max) | {middle:.2f} ({min(seconds):.2f}-{max(seconds):.2f}) |")
    say(f"| passes, status | {result.n_passes}, {result.status.name.lower()} |")
    say(f"| whole fit | {result.seconds:.0f} s |")
    say(f"| peak memory of a worker process | {', '.join(f'{peak / 1e3:.0f} MB' for peak in peaks.values())} |")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say(f"| peak memory of driver and scheduler | {own / 1e3:.0f} MB |")
    plan = result.plan
    say(f"| planned for a task, and kept | {plan.task_bytes / 1e6:.0f} MB, {plan.kept_bytes / 1e6:.0f} MB |")


def _peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    if sys.argv[1:2] == ["tycho"]:
        tycho(Path(sys.argv[2]))
    else:
        compare()
