"""Faults that happen at a known place: tasks, sums and rows that kill, stop or hold up the process they are in."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from distributed import get_worker

from dgmmis.callback import Callback, Step
from dgmmis.chunk import Chunk
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.reference import ChunkReference
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.executor import Resources
from dgmmis.execution.tree import Partial


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def stuck() -> None:
    """In a read that never returns, say; the heartbeats go on."""
    threading.Event().wait()


def failed() -> None:
    raise RuntimeError("boom")


def ended(pids: list[int]) -> None:
    """Kill processes, this one last."""
    for pid in sorted(pids, key=lambda pid: pid == os.getpid()):
        os.kill(pid, signal.SIGKILL)


def groups_ended(groups: list[int]) -> None:
    """Kill groups of processes, this one's last."""
    for group in sorted(groups, key=lambda group: group == os.getpgrp()):
        os.killpg(group, signal.SIGKILL)


def claimed(flag: Path) -> bool:
    """Whether this is the first that asks."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True)
class Faulty:
    """A task of which one item meets a fault: once, if there is a flag."""

    fault: Callable[[], object]
    flag: Path | None = None
    at: int = 5

    def __call__(self, shared: object, item: int) -> Partial:
        if item == self.at and (self.flag is None or claimed(self.flag)):
            self.fault()
        return Partial.of([("a", item, 1 / (1 + item))])


@dataclass(frozen=True)
class Fragile:
    """A number whose first sum that is made apart from the tasks kills the process."""

    value: float
    flag: Path

    def __add__(self, other: "Fragile") -> "Fragile":
        if str(get_worker().get_current_task()).startswith("join-") and claimed(self.flag):
            killed()
        return Fragile(self.value + other.value, self.flag)


def fragile(flag: Path, item: int) -> Partial:
    """A task whose sums are fragile."""
    return Partial.of([("a", item, Fragile(1 / (1 + item), flag))])


class KillsItsReader(ChunkReference):
    """Rows whose reading kills the worker that it happens in, once they are armed: by a file beside the store."""

    @staticmethod
    def arm(path: Path) -> None:
        path.with_suffix(".armed").touch()

    def load(self) -> Chunk:
        if parent_process() is not None:  # the driver reads a sample, too
            with suppress(FileNotFoundError):
                Path(self.path).with_suffix(".armed").rename(Path(self.path).with_suffix(".fired"))
                killed()
        return ChunkReference.load(self)


def references(path: Path) -> list[ChunkReference]:
    """The rows of a store, as such that kill their reader."""
    of_store = Dataset.open(path).references
    return [KillsItsReader(**{f.name: getattr(one, f.name) for f in fields(one)}) for one in of_store]


class Streaming(Distributed):
    """A cluster that has room for tasks and for no chunk besides: each pass reads."""

    needed = 0

    @property
    def resources(self) -> Resources:
        there = super().resources
        return Resources(there.n_workers, there.n_processes, int(self.needed / 0.7) + 1000)


class After(Callback):
    """Does something after one of the steps."""

    def __init__(self, act: Callable[[], Any], iteration: int = 1) -> None:
        self.act, self.iteration, self.done = act, iteration, False

    def on_step(self, step: Step) -> None:
        if not self.done and step.record.iteration >= self.iteration:
            self.done = True
            self.act()
