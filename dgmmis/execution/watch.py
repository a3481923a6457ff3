"""Watch: waits for work on a cluster, and sees to it that the waiting ends: with the answer, or with an error.

Dask waits for ever for workers that have gone, and for one that hangs while its heartbeats go on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, wait
from contextlib import suppress
from typing import Any

from distributed import Client, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoValidWorkerError

from dgmmis.errors import ClusterError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the cluster, while it has not answered."""

PASSES = 20
"""A pass may take so many times as long as the longest before, without a word."""

MEMORY_TOPIC = "worker-restart-memory"
"""Under which nannies say that they ended a worker which took too much."""

AGAIN = "look at the workers' logs; run again"

Tasks = Mapping[str, Sequence[Any]]
"""The keys of what is under way, and the items that each works on."""


class Watch:
    """Over the work of one client.

    Args:
        client: of the cluster.
        timeout: seconds that workers may be gone, and the scheduler silent.
        patience: seconds at least in which some task of those under way must end.
    """

    def __init__(self, client: Client, *, timeout: float, patience: float) -> None:
        self.client, self.timeout, self.patience = client, timeout, patience
        self.lost = False
        self._longest = 0.0

    @property
    def allowed(self) -> float:
        """Seconds in which nothing may happen: the patience, or what passes so far have taught."""
        return max(self.patience, PASSES * self._longest)

    def ask(self, what: str, /, **arguments: Any) -> Any:
        """What the scheduler answers to a question of its protocol.

        Raises:
            ClusterError: nothing in time, or it is gone.
        """
        return self.timely(lambda **how: self.client.sync(getattr(self.client.scheduler, what), **how), **arguments)

    def timely(self, call: Callable[..., Any], /, *args: Any, **arguments: Any) -> Any:
        """What a method of the client gives, which waits for others to answer.

        Raises:
            ClusterError: as in `ask`.
        """
        self._connected()
        try:
            return call(*args, callback_timeout=self.timeout, **arguments)
        except TimeoutError as error:
            raise self._failure(f"the cluster has not answered for {self.timeout:g} s") from error
        except (OSError, AttributeError) as error:  # a client that closes itself has no scheduler any more
            raise self._gone() from error

    def answer(self, submit: Callable[[], Any], tasks: Tasks) -> Any:
        """What comes of the futures that `submit` gives, which wait for the tasks.

        Raises:
            ClusterError: the scheduler is gone, or all workers for `timeout`; a task's workers die again and again; no
                task ends for longer than is allowed, also after those workers that held some were restarted; or the
                cluster lacks a module.
        """
        self._connected()
        loop: Any = self.client.loop.asyncio_loop  # type: ignore[union-attr]
        began, started, known = time.time(), time.monotonic(), _Known(tasks)
        try:
            futures = submit()
            waiting = asyncio.run_coroutine_threadsafe(self.client.gather(futures, asynchronous=True), loop)
            try:
                while not wait([waiting], LOOK_SECONDS).done:
                    self._look(known)
                result = waiting.result()
            finally:
                if not waiting.done():  # the tasks are not wanted any more; so ends the wait for them, too
                    with suppress(RuntimeError):  # the loop has ended: there is nothing to take back
                        asyncio.run_coroutine_threadsafe(self.client.cancel(futures, asynchronous=True), loop)
                        wait([waiting], LOOK_SECONDS)
        except KilledWorker as error:
            raise self._killed(error, tasks, began) from error
        except (NoValidWorkerError, CancelledError, ClosedClientError, CommClosedError) as error:
            self._connected()
            raise self._failure(f"the cluster was lost: {error}") from error
        except (RuntimeError, ImportError) as error:
            missing = error.__cause__ if type(error) is RuntimeError else error  # scheduler's, worker's
            if not isinstance(missing, ImportError):
                raise
            raise self._failure(
                f"the cluster cannot load what it should do: {missing}",
                do="install this package, and the modules of your functions, for its scheduler and workers",
            ) from error
        self._longest = max(self._longest, time.monotonic() - started)
        return result

    def _connected(self) -> None:
        if self.client.status != "running":
            raise self._gone()

    def _look(self, known: "_Known") -> None:
        workers = self.ask("ncores")
        if known.seconds_alone(bool(workers)) > self.timeout:
            raise self._failure(
                f"the cluster has had no workers for {self.timeout:g} s",
                do="start workers, and run again; where they take long to start, give [cluster] a longer timeout",
            )
        if not workers or not known.is_due(self.allowed / 10):
            return
        still = known.seconds_still(self.ask("processing"))
        if still <= self.allowed:
            return
        where = ", ".join(known.held) or "no worker"
        what = f"no task has ended for {still:.0f} s: {where} {known.named()}"
        if known.restarted or not known.held:
            raise self._failure(
                what,
                do="look at these workers and at their disks; where tasks take so long, give [cluster] more patience",
            )
        logger.warning("%s. Restarting", what)
        self.ask(
            "restart_workers",
            workers=list(known.held),
            timeout=self.timeout / 2,
            wait_for_workers=False,
            on_error="return",
            stimulus_id=f"dgmmis-patience-{time.time()}",
        )
        known.restarted = True

    def _killed(self, error: KilledWorker, tasks: Tasks, began: float) -> ClusterError:
        """What to say of workers that died over one task."""
        times = error.allowed_failures + 1
        what = f"{times} workers died, one after the other, while they worked on {_named([str(error.task)], tasks)}"
        events = [event for at, event in self.ask("events", topic=MEMORY_TOPIC) if at >= began]
        if not events:
            return self._failure(
                what, do="look at the workers' logs; where memory ran out, give [cluster] fewer workers"
            )
        most = max(event["rss"] for event in events) / 1e6
        return self._failure(
            f"{what}: each had more memory than it may ({most:,.0f} MB)",
            do="give workers more memory (a larger memory_limit, or fewer workers), or fit fewer components",
        )

    def _gone(self) -> ClusterError:
        return self._failure("the cluster was lost: its scheduler is gone", do="start the cluster, and run again")

    def _failure(self, what: str, do: str = AGAIN) -> ClusterError:
        self.lost = True
        return ClusterError(what, do=do)


class _Known:
    """What is known of work under way."""

    def __init__(self, tasks: Tasks) -> None:
        self.held: dict[str, frozenset[str]] = {}
        self.restarted = False
        self._tasks = tasks
        self._alone: float | None = None
        self._looked = self._changed = time.monotonic()

    def seconds_alone(self, has_workers: bool) -> float:
        """Since there were workers."""
        now = time.monotonic()
        self._alone = None if has_workers else now if self._alone is None else self._alone
        return 0.0 if self._alone is None else now - self._alone

    def is_due(self, seconds: float) -> bool:
        """Whether it is so long since this was true."""
        due = time.monotonic() - self._looked >= seconds
        if due:
            self._looked = time.monotonic()
        return due

    def seconds_still(self, processing: Mapping[str, Sequence[str]]) -> float:
        """Since the tasks that workers hold were others."""
        of_worker = {address: self._tasks.keys() & keys for address, keys in processing.items()}
        held = {address: frozenset(keys) for address, keys in of_worker.items() if keys}
        if held != self.held:
            self.held, self._changed = held, time.monotonic()
        return time.monotonic() - self._changed

    def named(self) -> str:
        keys = sorted(key for keys in self.held.values() for key in keys)
        return f"holds {_named(keys, self._tasks)}" if keys else "holds any"


def _named(keys: Sequence[str], tasks: Tasks) -> str:
    """The items of tasks: the first and the last of each of some."""
    of_keys = [tasks.get(key) for key in keys]
    said = [str(items[0]) if len(items) == 1 else f"{items[0]} to {items[-1]}" for items in of_keys if items]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return "; ".join(said[:3]) + more if said else "sums of sums"
