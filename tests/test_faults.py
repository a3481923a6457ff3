"""Faults of a cluster, injected for real: the same bits come out, or the right error, and nothing waits for ever."""

import asyncio
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tblib.pickling_support
from distributed import Client, LocalCluster, Nanny

from dgmmis.dataset.dataset import Dataset
from dgmmis.errors import ClusterError, DgmmisError, StoreError, TaskError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.executor import Executor, Resources, grouped
from dgmmis.execution.serial import Serial, Threads
from dgmmis.plan import Work, make_plan
from tests.disturbed import bits, fitted, undisturbed_bits, written
from tests.faulty import (
    After,
    Faulty,
    Fragile,
    KillsItsReader,
    Streaming,
    ended,
    failed,
    fragile,
    groups_ended,
    killed,
    references,
    stopped,
    stuck,
)
from tests.started import ROOT, Started, started

Survived = Callable[[str], None]

PATIENCE = 20.0
"""Less than a busy machine needs to start a worker would be a fault of its own."""

GROUPS = grouped(range(40), 20)
"""More tasks than are joined at a time."""


@pytest.fixture
def client() -> Iterator[Client]:
    """Of a local cluster of its own: a worker that dies before its nanny has said that it runs is lost for good."""
    executor = connect(ClusterSpec("local", workers=2), small=False)
    assert isinstance(executor, Distributed)
    with closing(executor):
        yield executor.client


def _await_two(client: Client) -> None:
    """Wait for two workers, and for their nannies: those start none again that dies before it has said that it runs."""
    client.wait_for_workers(2, timeout=60)
    client.run(_running, nanny=True)


async def _running(dask_worker: Nanny) -> None:
    while dask_worker.status.name != "running":
        await asyncio.sleep(0.01)


@pytest.fixture
def local(client: Client) -> Distributed:
    _await_two(client)
    return Distributed(client)


@pytest.fixture
def impatient() -> Iterator[Distributed]:
    """A local cluster of its own."""
    executor = connect(ClusterSpec("local", workers=2, patience=PATIENCE), small=False)
    assert isinstance(executor, Distributed)
    with closing(executor):
        yield executor


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Started]:
    with started(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def far(processes: Started) -> Iterator[Distributed]:
    """A cluster of processes that nobody starts again."""
    spec = ClusterSpec("scheduler-file", address=str(processes.file), timeout=60)
    executor = connect(spec, small=False)
    assert isinstance(executor, Distributed)
    with closing(executor):
        executor.client.wait_for_workers(2, timeout=60)
        yield executor


def total(executor: Executor, task: Any) -> float:
    value = executor.map_reduce(task, None, GROUPS).total("a")
    assert isinstance(value, float)
    return value


UNDISTURBED = total(Serial(), Faulty(failed, at=-1))


def test_sums_depend_on_their_order() -> None:
    """So that the bits below say something."""
    assert sum(1 / (1 + item) for item in range(40)) != UNDISTURBED


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(killed, "worker killed in map"), (failed, "task failed once")],
)
def test_same_bits_after_a_fault_of_a_worker(
    local: Distributed, tmp_path: Path, survived: Survived, fault: Callable[[], None], kind: str
) -> None:
    assert total(local, Faulty(fault, tmp_path / "flag")) == UNDISTURBED
    assert (tmp_path / "flag").exists()
    survived(kind)


@pytest.mark.slow
def test_a_worker_whose_heart_stops_is_restarted(impatient: Distributed, tmp_path: Path, survived: Survived) -> None:
    assert total(impatient, Faulty(stopped, tmp_path / "flag")) == UNDISTURBED
    assert (tmp_path / "flag").exists()
    survived("worker stopped")


def test_same_bits_after_a_worker_died_in_a_join(local: Distributed, tmp_path: Path, survived: Survived) -> None:
    found = local.map_reduce(fragile, tmp_path / "flag", GROUPS).total("a")
    assert isinstance(found, Fragile)
    assert found.value == UNDISTURBED
    assert (tmp_path / "flag").exists()
    survived("worker killed in a join")


def test_same_bits_after_all_workers_died(local: Distributed, tmp_path: Path, survived: Survived) -> None:
    """Their nannies start them again."""
    pids = local.client.run(os.getpid).values()
    assert total(local, Faulty(partial(ended, list(pids)), tmp_path / "flag")) == UNDISTURBED
    survived("all workers killed in map")


def test_same_bits_where_all_workers_die_between_passes(local: Distributed, survived: Survived) -> None:
    assert total(local, Faulty(failed, at=-1)) == UNDISTURBED
    ended(list(local.client.run(os.getpid).values()))
    assert total(local, Faulty(failed, at=-1)) == UNDISTURBED
    survived("all workers killed between passes")


@pytest.mark.slow
def test_a_worker_that_is_stuck_in_a_task_is_restarted(
    impatient: Distributed, tmp_path: Path, survived: Survived, caplog: pytest.LogCaptureFixture
) -> None:
    total(Distributed(impatient.client), Faulty(failed, at=-1))  # so that the workers have what they import
    before = set(impatient.client.run(os.getpid).values())
    assert total(impatient, Faulty(stuck, tmp_path / "flag")) == UNDISTURBED
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("dgmmis")]
    assert "no task has ended for" in said
    assert "tcp://127.0.0.1" in said
    assert "4 to 5" in said  # what it works on
    impatient.client.wait_for_workers(2, timeout=60)
    assert len(before & set(impatient.client.run(os.getpid).values())) == 1
    survived("worker stuck in a task")


@pytest.mark.slow
def test_a_task_that_is_always_stuck_is_an_error(impatient: Distributed) -> None:
    with pytest.raises(ClusterError, match=r"no task has ended for .* tcp://.* holds .*4 to 5.*patience"):
        total(impatient, Faulty(stuck))


class _Odd(Exception):
    """Cannot be pickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} {other}")


def _odd() -> None:
    raise _Odd(1, 2)


def _too_much() -> None:
    raise MemoryError


def _damaged() -> None:
    raise StoreError("rows 7 to 9 cannot be read", do="restore them")


@pytest.fixture(params=["serial", "threads", "local"])
def everywhere(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "local":
        yield request.getfixturevalue("local")
        return
    with closing({"serial": Serial, "threads": Threads}[request.param]()) as executor:
        yield executor


@pytest.mark.parametrize(
    ("fault", "says"),
    [(failed, "RuntimeError: boom"), (_odd, "_Odd: 1 2"), (_too_much, "MemoryError.*more memory")],
)
def test_an_error_of_a_task_names_the_item(everywhere: Executor, fault: Callable[[], None], says: str) -> None:
    with pytest.raises(TaskError, match=f"could not work on 5: got {says}") as caught:
        total(everywhere, Faulty(fault))
    assert fault.__name__ in str(caught.value)  # and where it comes from
    with pytest.raises(TaskError, match=f"could not work on 5: got {says}"):
        everywhere.map(partial(Faulty(fault), None), range(9))


def test_our_own_errors_stay_what_they_are(everywhere: Executor) -> None:
    with pytest.raises(StoreError, match=r"rows 7 to 9 cannot be read\. Restore them") as caught:
        total(everywhere, Faulty(_damaged))
    assert caught.value.__notes__ == ["while working on 5"]


def _errors(base: type[DgmmisError]) -> Iterator[type[DgmmisError]]:
    yield base
    for one in base.__subclasses__():
        yield from _errors(one)


@pytest.mark.parametrize("error", list(_errors(DgmmisError)))
def test_errors_travel_between_processes(error: type[DgmmisError]) -> None:
    """As dask sends them, which rebuilds them by `__new__` whether or not it knew their class when it was imported."""
    made = error("what", expected=1, got=2, do="that")
    made.add_note("while working on it")
    tblib.pickling_support.install(made)
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error
    assert (str(again), again.__notes__) == ("what: expected 1, got 2. That.", ["while working on it"])


def test_workers_that_are_gone_for_good_are_an_error(far: Distributed, processes: Started, survived: Survived) -> None:
    short = Distributed(far.client, timeout=8)
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"no workers for 8 s. Start workers.*timeout"):
        total(short, Faulty(partial(groups_ended, [worker.pid for worker in processes.workers])))
    assert time.monotonic() - began < 60
    assert short.everywhere(int) == []  # nothing more is wanted of it
    with pytest.raises(ClusterError, match="no workers for 8 s"):
        Distributed(far.client, timeout=8).resources  # noqa: B018
    survived("all workers gone for good")


def test_workers_without_a_users_module_are_an_error(far: Distributed) -> None:
    """They do not find this module of tests, as others would not find that of a user's function."""
    with pytest.raises(ClusterError, match=r"cannot load what it should do: .*No module named.*Install"):
        total(far, Faulty(_damaged))


@pytest.mark.parametrize(
    ("number", "says"), [(signal.SIGKILL, "its scheduler is gone"), (signal.SIGSTOP, "has not answered for 4 s")]
)
def test_a_lost_scheduler_is_an_error(
    far: Distributed,
    processes: Started,
    survived: Survived,
    caplog: pytest.LogCaptureFixture,
    number: signal.Signals,
    says: str,
) -> None:
    """During a pass and between two; nothing else is said, and closing does not take long."""
    short = Distributed(far.client, timeout=4)
    began = time.monotonic()
    with pytest.raises(ClusterError, match=says):
        total(short, Faulty(partial(os.kill, processes.scheduler.pid, number)))
    for call in (lambda: total(short, Faulty(failed, at=-1)), lambda: short.map(int, [1]), lambda: short.resources):
        with pytest.raises(ClusterError, match=says):
            call()
    far.close()
    assert time.monotonic() - began < 40
    said = [record for record in caplog.records if record.levelno > logging.INFO]
    # dask's client says so by itself once it has tried for long, as on a busy machine
    assert [record for record in said if "Failed to reconnect" not in str(record.msg)] == []
    survived(f"scheduler lost by {number.name}")


def test_resources_are_of_those_that_are_there() -> None:
    """A cluster that has scaled to nothing is woken up."""
    with LocalCluster(
        n_workers=0, threads_per_worker=2, memory_limit="1GB", dashboard_address="127.0.0.1:0"
    ) as cluster:
        cluster.adapt(minimum=0, maximum=1, interval="100ms")
        with Client(cluster, set_as_default=False) as client:
            assert Distributed(client).resources == Resources(2, 1, 1_000_000_000)


@pytest.fixture(scope="module")
def survey_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("faults"), "noisy")


@pytest.fixture(scope="module")
def expected_bits(survey_path: Path) -> str:
    return undisturbed_bits(survey_path)


@pytest.fixture
def own_copy(survey_path: Path, tmp_path: Path) -> Path:
    """Of the survey, which may be destroyed."""
    return Path(shutil.copytree(survey_path, tmp_path / survey_path.name))


def streaming(client: Client, path: Path) -> Streaming:
    _await_two(client)
    executor = Streaming(client)
    data = Dataset.open(path)
    executor.needed = make_plan(data.references, Work.of(data, 2), Resources(2, 2, 1 << 33)).task_bytes
    return executor


def test_same_bits_after_the_first_reader_died(
    client: Client, own_copy: Path, expected_bits: str, survived: Survived, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = streaming(client, own_copy)
    monkeypatch.setattr(Dataset, "references", references(own_copy))
    KillsItsReader.arm(own_copy)
    assert bits(fitted(own_copy, executor)) == expected_bits
    assert own_copy.with_suffix(".fired").exists()
    survived("worker killed in the first read")


def test_same_bits_after_a_reader_died_in_a_pass(
    client: Client, own_copy: Path, expected_bits: str, survived: Survived, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = streaming(client, own_copy)
    monkeypatch.setattr(Dataset, "references", references(own_copy))
    arms = After(partial(KillsItsReader.arm, own_copy))
    assert bits(fitted(own_copy, executor, (arms,))) == expected_bits
    assert own_copy.with_suffix(".fired").exists()
    survived("worker killed in a later read")


def _corrupted(path: Path) -> None:
    for file in (path / "segments").glob("*/points/c.*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 0xFF
        file.write_bytes(content)


def _missing(path: Path) -> None:
    for file in (path / "segments").glob("*/points/c.*"):
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "kind"),
    [(_corrupted, "chunk corrupted"), (_missing, "chunk missing"), (shutil.rmtree, "store deleted under a fit")],
)
def test_rows_that_a_worker_cannot_read_are_named(
    client: Client, own_copy: Path, survived: Survived, harm: Callable[[Path], None], kind: str
) -> None:
    unreadable, removed = (
        rf"rows \d+ to \d+ cannot be read from '{own_copy}.*points/c\.0\.0'",
        rf"'{own_copy}' was .*removed",
    )
    with pytest.raises(StoreError, match=removed if harm is shutil.rmtree else unreadable) as caught:
        fitted(own_copy, streaming(client, own_copy), (After(partial(harm, own_copy)),))
    assert caught.value.exit_code == 74
    (note,) = caught.value.__notes__
    assert note.startswith("while working on rows ")
    assert str(own_copy) in note
    survived(kind)


JOB = """
[data]
path = "noisy.zarr"
[model]
n_components = 2
[fit]
tol = 1e-12
[cluster]
kind = "scheduler-file"
address = "scheduler.json"
timeout = 3
"""


def test_the_program_ends_with_the_cluster(processes: Started, own_copy: Path, survived: Survived) -> None:
    """With one message and the exit code, at once, and no traceback of anybody's."""
    job = own_copy.with_name("job.toml")
    job.write_text(JOB)
    command = [sys.executable, "-m", "dgmmis", "fit", str(job), "--out", str(job.with_suffix(".run"))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT) as program:
        assert program.stderr is not None
        said = iter(program.stderr)
        before = next(line for line in said if "runs on" in line)  # it is connected; what follows is the fit's
        processes.scheduler.kill()
        began = time.monotonic()
        rest = list(said)
        assert program.wait(60) == 69, before
    assert time.monotonic() - began < 10
    assert "Traceback" not in "".join(rest)
    assert rest[-1] == "dgmmis: the cluster was lost: its scheduler is gone. Start the cluster, and run again.\n"
    survived("scheduler killed under the program")


class Fat:
    """A task that takes more memory than a worker may have."""

    def __call__(self, shared: object, item: int) -> Any:
        held = []
        while item == 5:
            held.append(bytearray(os.urandom(1_000_000)) * 10)
        return Faulty(failed, at=-1)(shared, item)


@pytest.mark.slow
def test_workers_that_run_out_of_memory_are_an_error(survived: Survived) -> None:
    """Nannies end them, and dask gives up in the end; the message says memory, and over what."""
    spec = ClusterSpec("local", workers=2, memory_limit="500MB")
    with (
        closing(connect(spec, small=False)) as executor,
        pytest.raises(ClusterError, match=r"4 workers died.* \d to \d: each had more memory than it may.*memory_limit"),
    ):
        total(executor, Fat())
    survived("workers out of memory")
