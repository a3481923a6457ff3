"""Execution: the same bits on every executor, for any grouping; clusters that are found, refused, lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from dgmmis import readings
from dgmmis.callback import Callback, Step
from dgmmis.chunk import CHUNK_ROWS, Chunk
from dgmmis.dataset.arrays import ArrayDataset, ArrayReference, Reference
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.reference import ChunkReference
from dgmmis.em import Stopping
from dgmmis.errors import ClusterError, JobError, RefusedError, StoreError
from dgmmis.estep.pruning import FEWEST
from dgmmis.execution.ahead import run_group
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.executor import Resources, grouped
from dgmmis.execution.resident import Resident
from dgmmis.execution.serial import Serial, Threads
from dgmmis.execution.tree import Partial, n_nodes
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise_law import NoiseFunction
from dgmmis.observed import Member
from dgmmis.plan import Work, in_tasks, make_plan, shared_out
from dgmmis.readings import Readings
from dgmmis.selection import FromFunction
from dgmmis.survey import Survey
from tests.disturbed import KINDS, SURVEYS, bits, fitted, undisturbed_bits, written


@given(
    values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=70),
    cuts=st.lists(st.integers(1, 69), max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_sums_are_the_same_bits_for_any_grouping_and_order(values: list[float], cuts: list[int], order: object) -> None:
    whole = Partial.of(("a", leaf, value) for leaf, value in enumerate(values)).total("a")
    edges = [0, *sorted({cut for cut in cuts if cut < len(values)}), len(values)]
    parts = [Partial.of(("a", leaf, values[leaf]) for leaf in range(a, b)) for a, b in pairwise(edges)]
    order.shuffle(parts)  # type: ignore[attr-defined]
    middle = len(parts) // 2
    joined = Partial.join([Partial.join(parts[:middle]), Partial.join(parts[middle:])])
    assert joined.total("a") == whole


def test_a_sum_in_order_of_arrival_would_not_be() -> None:
    """The test above can fail: plain sums of the same values do differ by grouping."""
    values = np.random.default_rng(1).normal(size=64).tolist()
    assert len({sum(values[:cut]) + sum(values[cut:]) for cut in range(1, 64)}) > 1


def test_a_leaf_counts_once() -> None:
    with pytest.raises(ValueError, match="counted twice"):
        Partial.of([("a", 3, 1.0), ("a", 3, 1.0)])


def test_groups_are_consecutive_and_none_is_empty() -> None:
    for n in range(1, 20):
        for g in range(1, 25):
            groups = grouped(list(range(n)), g)
            assert [i for group in groups for i in group] == list(range(n))
            assert all(groups)
            assert len(groups) <= g
    for n, g in ((4096, 3), (1000, 2), (15_259, 1000)):
        lengths = [len(group) for group in grouped(range(n), g)]
        assert len(lengths) == g
        assert sum(lengths) == n
        assert max(lengths) - min(lengths) <= max(1, n / g / 16)


def test_groups_of_unequal_items_are_of_nearly_equal_size() -> None:
    sizes = [4, 4, 4, 4, 3, 3, 3]
    assert [len(group) for group in grouped(range(7), 2, sizes)] == [3, 4]
    rng = np.random.default_rng(0)
    for n, g in ((50, 3), (300, 7)):
        sizes = rng.integers(1, 9, n).tolist()
        groups = grouped(range(n), g, sizes)
        assert [i for group in groups for i in group] == list(range(n))
        of_groups = [sum(sizes[i] for i in group) for group in groups]
        assert max(abs(size - sum(sizes) / g) for size in of_groups) <= 8


def test_few_chunks_are_cut_into_equal_shares() -> None:
    data = ArrayDataset.of(np.zeros((100_000, 2)))
    for workers in (1, 2, 3, 7):
        rows = [sum(one.n_rows for one in task) for task in in_tasks(shared_out(data.references, workers), workers)]
        assert len(rows) == workers
        assert sum(rows) == 100_000
        assert max(rows) <= 1.15 * 100_000 / workers + 4096


def test_long_groups_have_few_nodes() -> None:
    """Each is as large as all the sums."""
    groups = grouped(range(4 * 4096 + 5), 7)
    assert max(len(Partial.of(("a", leaf, 1.0) for leaf in group).nodes) for group in groups[:-1]) <= 12


class _Sized:
    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


def test_resident_keeps_what_fits_and_streams_the_rest() -> None:
    store, loads = Resident(), []

    def load(key: int) -> _Sized:
        loads.append(key)
        return _Sized(10)

    for number in range(3):
        for key in range(5):
            store.get("run", number, (key, key % 2), lambda key=key: load(key), budget=30)
    assert store.nbytes == 30
    assert loads == [0, 1, 2, 3, 4, 3, 4, 3, 4]  # 0, 1, 2 stay: a cyclic scan must not push out what comes next
    store.forget("other", 0)  # of another run: nothing
    assert store.nbytes == 30
    store.forget("run", 0)  # 0 and 2
    assert store.nbytes == 10
    store.get("run", 3, (2, 0), lambda: load(2), budget=30)
    assert loads[-1] == 2
    store.get("other", 0, (9,), lambda: load(9), budget=20)  # another run makes room for itself
    assert store.nbytes == 20
    store.drop()
    assert store.nbytes == 0


class _Ones:
    """A task of the given items that can be read ahead; it notes what happens, and waits for the next reading."""

    def __init__(self, n: int) -> None:
        self.begun = [threading.Event() for _ in range(n)]
        self.events: list[tuple[str, int]] = []
        self.alive = self.most = 0

    def __call__(self, shared: set[int], item: int, read: Callable[[], object] | None = None) -> Partial:
        number = item
        _ = self._read(number) if read is None else read()
        if number + 1 < len(self.begun) and number + 1 not in shared:
            assert self.begun[number + 1].wait(10)  # its reading begins before this one's work ends
        time.sleep(0.01)
        assert not any(event.is_set() for event in self.begun[number + 2 :])  # but no more than one is read ahead
        self.events.append(("done", number))
        return Partial.of([("a", number, 1.0)])

    def _read(self, number: int) -> None:
        self.begun[number].set()
        if number == 6:
            raise StoreError("item 6 is damaged")

    def reads(self, shared: set[int], item: int) -> Callable[[], object] | None:
        return None if item in shared else lambda: self._read(item)


def test_the_next_item_is_read_while_one_is_worked_on() -> None:
    task = _Ones(5)
    assert run_group(task, {3}, range(5)).total("a") == 5
    assert task.events == [("done", number) for number in range(5)]


def test_what_is_kept_is_not_read_ahead() -> None:
    class Kept(_Ones):
        def __call__(self, shared: set[int], item: int, read: Callable[[], object] | None = None) -> Partial:
            assert read is None
            return Partial.of([("a", item, 1.0)])

    task = Kept(5)
    assert run_group(task, set(range(5)), range(5)).total("a") == 5
    assert not any(event.is_set() for event in task.begun)


def test_an_error_of_reading_ahead_comes_up_where_the_item_is_needed() -> None:
    task = _Ones(8)
    with pytest.raises(StoreError, match="item 6 is damaged"):
        run_group(task, set(), range(8))
    assert task.events == [("done", number) for number in range(6)]


@pytest.fixture(scope="module", params=KINDS)
def survey_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("execution"), request.param)


@pytest.fixture(scope="module")
def expected_bits(survey_path: Path) -> str:
    return undisturbed_bits(survey_path)


@pytest.mark.parametrize("n_workers", [1, 2, 3, 7])
def test_same_bits_in_threads(survey_path: Path, expected_bits: str, n_workers: int) -> None:
    executor = Threads(n_workers)
    assert bits(fitted(survey_path, executor)) == expected_bits
    executor.close()


@pytest.mark.parametrize("n_workers", [1, 2, 3, 7])
def test_same_bits_on_a_cluster_of_processes(survey_path: Path, expected_bits: str, n_workers: int) -> None:
    executor = connect(ClusterSpec("local", workers=n_workers), small=False)
    try:
        assert executor.resources.n_workers == executor.resources.n_processes == n_workers
        assert bits(fitted(survey_path, executor)) == expected_bits
    finally:
        executor.close()


class _Streams(Serial):
    """A process with room for its tasks, and for no chunk besides."""

    @property
    def resources(self) -> Resources:
        return Resources(1, 1, int(self.needed / 0.7) + 1000)

    def __init__(self, needed: int) -> None:
        self.needed = needed


def test_same_bits_when_nothing_fits_in_memory(survey_path: Path, expected_bits: str) -> None:
    data = Dataset.open(survey_path)
    plan = make_plan(data.references, Work.of(data, 2, SURVEYS[survey_path.stem]), Resources(1, 1, 1 << 33))
    result = fitted(survey_path, _Streams(plan.task_bytes))
    assert not result.plan.resident
    assert result.plan.kept_bytes < 1000
    assert bits(result) == expected_bits


class _SlowReference(ChunkReference):
    """Of a slow disk; notes when reading begins."""

    begun: ClassVar[dict[int, threading.Event]] = {}

    def load(self) -> Chunk:
        _SlowReference.begun[self.first_row].set()
        time.sleep(0.02)
        return super().load()


def test_reads_overlap_computation(survey_path: Path, expected_bits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a store that is slow to read and not kept: no chunk's sums end before the reading of the next has begun."""
    data = Dataset.open(survey_path)
    slow = [_SlowReference(**{f.name: getattr(one, f.name) for f in fields(one)}) for one in data.references]
    plan = make_plan(slow, Work.of(data, 2, SURVEYS[survey_path.stem]), Resources(1, 1, 1 << 33))
    order = [one.first_row for one in shared_out(slow, 1)]
    monkeypatch.setattr(Dataset, "references", slow)
    waited = []

    def observed_sums(model: Model, item: Reference, *rest: Any, **options: Any) -> Iterator[tuple[str, int, Any]]:
        terms = list(inner(model, item, *rest, **options))
        assert isinstance(item, _SlowReference)
        place = order.index(item.first_row)
        if place + 1 < len(order):
            assert _SlowReference.begun[order[place + 1]].wait(10)
            waited.append(place)
        _SlowReference.begun[order[place]].clear()
        return iter(terms)

    inner = readings.observed_sums
    _SlowReference.begun.update({row: threading.Event() for row in order})
    executor = _Streams(plan.task_bytes)
    monkeypatch.setattr(readings, "observed_sums", observed_sums)
    assert bits(fitted(survey_path, executor)) == expected_bits
    assert waited


def test_one_reading_serves_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no chunk is kept, and for members that want the rows in different orders."""
    data = ArrayDataset.of(np.random.default_rng(0).normal(size=(3 * CHUNK_ROWS, 1)))
    loads: list[str] = []

    def counted(reference: ArrayReference) -> Chunk:
        loads.append(reference.key)
        return inner(reference)

    inner = ArrayReference.load
    plan = make_plan(data.references, Work.of(data, 2), Resources(1, 1, 1 << 33))
    models = [_model(k) for k in (2, 3, FEWEST)]
    members = [Member(model, None, draws_unseen=False) for model in models]
    observing = Observing(Survey(), np.eye(1))
    reading = Readings(data.references, plan=replace(plan, budget_bytes=0), observing=observing, executor=Serial())
    monkeypatch.setattr(ArrayReference, "load", counted)
    for _ in range(2):
        found = reading(members)
        assert sorted(loads) == sorted(reference.key for reference in shared_out(data.references, 1))
        loads.clear()
    for member, one in zip(members, found, strict=True):
        assert reading([member])[0].observed.log_likelihood == one.observed.log_likelihood


def _model(k: int) -> Model:
    return Model(GaussianMixture(np.full(k, 1 / k), np.linspace(-1, 1, k)[:, None], np.ones((k, 1, 1))))


class _Lost(Serial, Callback):
    """A cluster that is there as long as the fit goes on."""

    lost = False

    def on_end(self, sentence: str) -> None:
        self.lost = True

    def everywhere(self, function: Callable[[], Any]) -> list[Any]:
        if self.lost:
            raise ClusterError("the cluster was lost")
        return super().everywhere(function)


def test_a_finished_fit_outlives_its_cluster() -> None:
    executor = _Lost()
    data = ArrayDataset.of(np.random.default_rng(0).normal(size=(500, 2)))
    result = fit(data, Start(1), executor=executor, callbacks=(executor,))
    assert executor.lost
    assert result.converged
    assert result.compile_seconds == 0


class _KillsAWorker(Callback):
    """Ends a worker process after the second pass, as an operating system short of memory would."""

    def __init__(self, client: Client) -> None:
        self.client, self.killed = client, 0

    def on_step(self, step: Step) -> None:
        if step.record.iteration == 1:
            self.killed = min(self.client.run(os.getpid).values())
            os.kill(self.killed, signal.SIGKILL)


def test_same_bits_after_a_worker_died(survey_path: Path, expected_bits: str, survived: Callable[[str], None]) -> None:
    executor = connect(ClusterSpec("local", workers=2), small=False)
    assert isinstance(executor, Distributed)
    killer = _KillsAWorker(executor.client)
    try:
        assert bits(fitted(survey_path, executor, (killer,))) == expected_bits
        assert killer.killed
    finally:
        executor.close()
    survived("worker killed between passes")


def test_running_clusters_are_found(tmp_path: Path, survey_path: Path, expected_bits: str) -> None:
    """By address, by scheduler file, and as the active client; none of them is shut down by the fit."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        with Client(cluster) as client:
            active = connect(ClusterSpec("auto"), small=True)
            assert isinstance(active, Distributed)
            assert active.client is client
            active.close()
            client.write_scheduler_file(tmp_path / "scheduler.json")
        specs = (
            ClusterSpec("address", address=address),
            ClusterSpec("scheduler-file", address=str(tmp_path / "scheduler.json")),
        )
        for spec in specs:
            executor = connect(spec, small=False)
            assert bits(fitted(survey_path, executor)) == expected_bits
            executor.close()
        assert cluster.status.name == "running"


def test_any_callable_travels_to_the_cluster(survey_path: Path) -> None:
    """A selection and a noise law that are closures: cloudpickled with the graph, called in other processes."""
    if survey_path.name != "truncated.zarr":
        pytest.skip("one of the surveys is enough")
    edge = 3.5
    survey = Survey(
        FromFunction(lambda points: 0.2 + 0.8 * (points[:, 0] < edge)),
        NoiseFunction(lambda points: np.full((len(points), 1, 1), 0.04) * np.eye(2)),
    )
    data, stopping = Dataset.open(survey_path), Stopping(max_iter=2)
    executor = connect(ClusterSpec("local", workers=2), small=False)
    try:
        far = fit(data, Start(2), survey=survey, stopping=stopping, executor=executor)
    finally:
        executor.close()
    near = fit(data, Start(2), survey=survey, stopping=stopping, executor=Serial())
    assert bits(far) == bits(near)


def test_small_work_does_not_start_a_cluster() -> None:
    started = time.perf_counter()
    executor = connect(ClusterSpec(), small=True)
    assert isinstance(executor, Threads)
    assert time.perf_counter() - started < 1
    executor.close()


SMALL_FITS = """
import sys, time
from pathlib import Path
import numpy as np
from dgmmis import GMMis
points = np.concatenate([np.random.default_rng(0).normal(c, 1, (200, 2)) for c in (0, 5)])
from dgmmis.cli import program
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
with SurveyWriter("small.zarr", Schema(features=("a", "b"), noise="none")) as writer:
    writer.write(points=points)
Path("job.toml").write_text('[data]\\npath = "small.zarr"\\n[model]\\nn_components = 2\\n[cluster]\\nkind = "auto"\\n')
def job():
    program(["fit", "job.toml", "--out", f"{time.monotonic_ns()}.run"], standalone_mode=False)
for fit in (lambda: GMMis(2, random_state=0).fit(points), job):
    seconds = []
    for _ in range(4):
        started = time.process_time()
        fit()
        seconds.append(time.process_time() - started)
    sys.stdout.write(f"\\nSECONDS {min(seconds)}\\n")
sys.stdout.write(f"\\nENGINES {sorted({'dask', 'distributed'} & {name.split('.')[0] for name in sys.modules})}\\n")
"""


def test_a_small_fit_is_quick_and_knows_no_cluster(tmp_path: Path) -> None:
    """Of 400 objects, in memory and from a store by a job that leaves the choice of the cluster to us."""
    run = subprocess.run(
        [sys.executable, "-c", SMALL_FITS], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    seconds = [float(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("SECONDS")]
    assert len(seconds) == 2
    assert max(seconds) < 0.5
    assert "ENGINES []" in run.stdout  # the engines are not even imported
    assert "this process" in run.stderr


def test_the_driver_receives_one_total_of_each_tree() -> None:
    """Sums of many components are joined by the workers, however many leaves there are."""
    executor = connect(ClusterSpec("local", workers=2), small=False)
    try:
        partial = executor.map_reduce(_leaves, 3, grouped(range(0, 999, 3), 37))
    finally:
        executor.close()
    assert len(partial.nodes) == 2
    expected = Partial.of(("a", leaf, 1 / (1 + leaf)) for leaf in range(999)).total("a")
    assert partial.total("a") == expected
    assert partial.total("b") == 333


def _leaves(shared: int, item: int) -> Partial:
    terms = [("a", leaf, 1 / (1 + leaf)) for leaf in range(item, item + shared)]
    return Partial.of([*terms, ("b", item // 3, 1)])


@given(first=st.integers(0, 300), n=st.integers(1, 300))
def test_nodes_are_counted(first: int, n: int) -> None:
    assert n_nodes(first, first + n) == len(Partial.of(("a", leaf, 1.0) for leaf in range(first, first + n)).nodes)


def test_data_in_memory_stay_in_this_process() -> None:
    """Also where a client is in use; and a cluster that is asked for is refused, not fed N rows in every pass."""
    data = ArrayDataset.of(np.random.default_rng(0).normal(size=(500, 2)))
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster, Client(cluster):
        assert fit(data, Start(1)).converged
        executor = connect(ClusterSpec("active"), small=False)
        with pytest.raises(RefusedError, match="would travel to the workers"):
            fit(data, Start(1), executor=executor)


def test_a_cluster_that_cannot_be_reached_is_an_error() -> None:
    with pytest.raises(ClusterError, match="cannot reach the cluster"):
        connect(ClusterSpec("address", address="tcp://127.0.0.1:9", timeout=1), small=False)


def test_wrong_cluster_specs_are_refused() -> None:
    with pytest.raises(JobError, match="Did you mean 'threads'"):
        ClusterSpec("thread")
    with pytest.raises(JobError, match="needs an `address`"):
        ClusterSpec("address")
    with pytest.raises(JobError, match="at least one"):
        ClusterSpec("local", workers=0)
    with pytest.raises(JobError, match="takes no `address`"):
        ClusterSpec("local", address="tcp://127.0.0.1:8786")
    with pytest.raises(JobError, match="takes no `memory_limit`"):
        ClusterSpec("threads", memory_limit="1GB")
    with pytest.raises(JobError, match="memory_limit is not a size"):
        ClusterSpec("local", memory_limit="lots")
