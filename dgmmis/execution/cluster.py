"""connect(): the executor a job asks for. A local cluster of one process a core is the default for large work."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmmis.errors import ClusterError, DgmmisError, JobError, RefusedError, counted, nearest_name
from dgmmis.execution.elastic import Elastic, require_size
from dgmmis.execution.executor import Executor, Resources
from dgmmis.execution.serial import Serial, Threads
from dgmmis.execution.tls import Tls
from dgmmis.interruption import unwarned_children

CLUSTER_KINDS = ("auto", "local", "threads", "serial", "address", "scheduler-file", "active", "slurm", "class")
ELASTIC_KINDS = ("slurm", "class")

WITHOUT = {"threads": "work in threads of this process", "serial": "work that is done here, one thing after the other,"}
"""A scheduler."""

TIMEOUT, QUEUE_TIMEOUT = 60.0, 3600.0
"""Seconds to wait for a cluster; and for one whose workers wait in a queue."""

SILENT_SECONDS = 60.0
"""A worker of a local cluster whose heartbeats stop for so long is restarted; elsewhere dask's own setting holds."""


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Where the work runs.

    Args:
        kind: "local": a LocalCluster of processes with one thread each; "threads", "serial": this process; "address",
            "scheduler-file": a running cluster; "active": the dask client in use; "slurm", "class": one that starts its
            workers where there is work; "auto": the active client if there is one, else threads for small work and a
            local cluster for the rest.
        workers: processes or threads; None: one a core.
        memory_limit: of each worker, as dask writes it ("4GiB"); None: its share of the machine.
        address: of the scheduler ("tcp://host:8786"), or the path of its scheduler file.
        timeout: seconds to wait for the cluster, also when all of its workers have gone; None: a minute, or an hour for
            workers that wait in a queue.
        patience: seconds in which some task must end, else the workers that hold any are restarted, and then the
            cluster is given up; 20 times the longest pass so far where that is more.
        tls: certificates, for a cluster at tls://, or for one that starts its workers.
        elastic: what starts them.
        performance_report: where dask's own report of what the cluster did is written in the end, a page.
    """

    kind: str = "auto"
    workers: int | None = None
    memory_limit: str | None = None
    address: str | None = None
    timeout: float | None = None
    patience: float = 300.0
    tls: Tls | None = None
    elastic: Elastic | None = None
    performance_report: Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in CLUSTER_KINDS:
            raise JobError(f"unknown cluster kind '{self.kind}'", do=nearest_name(self.kind, CLUSTER_KINDS))
        if self.kind in ("address", "scheduler-file") and not self.address:
            raise JobError(f"cluster kind '{self.kind}' needs an `address`", do="give the scheduler's address or file")
        for name, value, kinds in (
            ("address", self.address, ("address", "scheduler-file")),
            ("workers", self.workers, ("auto", "local", "threads")),
            ("memory_limit", self.memory_limit, ("auto", "local")),
            ("tls_ca_file", self.tls, ("address", "scheduler-file", *ELASTIC_KINDS)),
            ("maximum", self.elastic, ELASTIC_KINDS),
        ):
            if value is not None and self.kind not in kinds:
                raise JobError(f"cluster kind '{self.kind}' takes no `{name}`", do=f"it goes with {', '.join(kinds)}")
        if self.kind in ELASTIC_KINDS and self.elastic is None:
            raise JobError(f"cluster kind '{self.kind}' needs what starts its workers", do="give `elastic`")
        if self.memory_limit is not None:
            require_size("memory_limit", self.memory_limit)
        for name, seconds in (("timeout", self.seconds), ("patience", self.patience)):
            if not seconds > 0:
                raise JobError(f"cluster `{name}` must be positive", got=seconds)
        if self.tls is not None and self.kind == "address" and not str(self.address).startswith("tls://"):
            raise JobError("certificates go with a tls:// address", got=self.address, do="give tls://host:port")
        self.require_scheduler(self.kind)
        if self.workers is not None and self.workers < 1:
            raise JobError("cluster `workers` must be at least one", got=self.workers)

    def require_scheduler(self, kind: str) -> None:
        """Refuse a report of a kind that has nothing to report on."""
        if self.performance_report is not None and kind in ("threads", "serial"):
            do = 'give the job [cluster] kind = "local"; `dgmmis plot RUN --what timeline` does without'
            raise RefusedError(f"a performance report is of dask's scheduler, and {WITHOUT[kind]} has none", do=do)

    @property
    def seconds(self) -> float:
        """The timeout."""
        if self.timeout is not None:
            return self.timeout
        return QUEUE_TIMEOUT if self.kind in ELASTIC_KINDS else TIMEOUT


def local_resources(spec: ClusterSpec) -> Resources:
    """What a local cluster of this spec has; without a memory_limit each worker has its share of the machine."""
    from dask.utils import parse_bytes
    from distributed.system import MEMORY_LIMIT

    n_workers = spec.workers or len(os.sched_getaffinity(0))
    memory = parse_bytes(spec.memory_limit) if spec.memory_limit else MEMORY_LIMIT // n_workers
    return Resources(n_workers, n_workers, memory)


def foreseen(spec: ClusterSpec, *, small: bool) -> Resources | None:
    """What a cluster will have that would be started for the work; None: one has to connect to know."""
    if spec.kind == "local" or (spec.kind == "auto" and not small):
        return local_resources(spec)
    return None if spec.elastic is None else spec.elastic.foreseen()


def connect(spec: ClusterSpec, *, small: bool) -> Executor:
    """The executor for a spec; `small` says whether the work is too little for a cluster to pay.

    Raises:
        ClusterError: the cluster cannot be reached in time.
    """
    kind = spec.kind
    if kind == "auto":
        kind = "active" if _active_client() is not None else "threads" if small else "local"
    spec.require_scheduler(kind)
    if kind == "serial":
        return Serial()
    if kind == "threads":
        return Threads(spec.workers)
    return _distributed(kind, spec)


def what_starts(spec: ClusterSpec, *, small: bool) -> str:
    """What `connect` is about to do, in a few words; empty where it does nothing that takes time."""
    kind = spec.kind
    if kind == "auto":
        kind = "active" if _active_client() is not None else "threads" if small else "local"
    match kind:
        case "local":
            n = local_resources(spec).n_workers
            return f"starting {counted(n, 'worker')}"
        case "address" | "scheduler-file":
            return f"connecting to the cluster at {spec.address}"
        case "slurm" | "class":
            return "waiting for workers"
    return ""


def _active_client() -> Any:
    import sys

    if "distributed" not in sys.modules:  # nobody has made a client
        return None
    from distributed.client import Client

    try:
        return Client.current()
    except ValueError:
        return None


def _distributed(kind: str, spec: ClusterSpec) -> Executor:
    import dask
    from distributed import Client, LocalCluster

    from dgmmis.execution.distributed import Distributed

    if kind == "active":
        client = _active_client()
        if client is None:
            raise ClusterError("there is no active dask client", do="make a distributed.Client first")
        executor = Distributed(client, timeout=spec.seconds, patience=spec.patience)
        if spec.performance_report is not None:
            executor.reports(spec.performance_report)
        return executor
    if kind == "scheduler-file" and not Path(str(spec.address)).exists():
        raise ClusterError(f"no scheduler file '{spec.address}'", do="start the scheduler with --scheduler-file")
    if kind == "address":
        _check_scheme(str(spec.address))
    owned: list[Any] = []  # what to close, last made first
    try:
        if kind == "local":
            resources = local_resources(spec)
            silent = min(SILENT_SECONDS, spec.patience)
            with dask.config.set({"distributed.scheduler.worker-ttl": silent}), unwarned_children():
                cluster = LocalCluster(
                    n_workers=resources.n_workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=resources.process_bytes,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                )
                owned.append(cluster)  # before a signal that came meanwhile is seen: nobody else would close it
            where: dict[str, Any] = {"address": cluster}
        elif spec.elastic is not None:
            with unwarned_children():
                owned.append(spec.elastic.start(spec.tls))
            where = {"address": owned[0]}
        else:
            where = {"address": spec.address} if kind == "address" else {"scheduler_file": spec.address}
            where["security"] = None if spec.tls is None else spec.tls.security()
        client = Client(**where, timeout=spec.seconds, set_as_default=False)
        owned.insert(0, client)
        executor = Distributed(client, owned=owned, timeout=spec.seconds, patience=spec.patience)
        executor.wake()
        if spec.performance_report is not None:
            executor.reports(spec.performance_report)
    except BaseException as error:
        for one in owned:
            one.close()
        # a TypeError is dask's where tls:// has no certificates, a RuntimeError where its workers do not start
        of_dask = (OSError, TimeoutError, ValueError, TypeError, RuntimeError)
        if isinstance(error, of_dask) and not isinstance(error, DgmmisError):
            raise ClusterError(
                f"cannot reach the cluster ({kind} {spec.address or ''}): {error}",
                do="check that the scheduler is up, and that certificates are given if and only if it has some",
            ) from error
        raise
    return executor


def _check_scheme(address: str) -> None:
    """A client that fails on an unknown scheme leaves a traceback behind when it is collected; so look first."""
    from distributed.comm.addressing import parse_address
    from distributed.comm.registry import get_backend

    try:
        get_backend(parse_address(address)[0])
    except ValueError as error:
        raise ClusterError(f"cannot reach the cluster at '{address}': {error}", do="give tcp://host:port") from error
