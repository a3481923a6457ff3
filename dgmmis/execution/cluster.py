"""connect(): the executor a job asks for. A local cluster of one process a core is the default for large work."""

import os
from dataclasses import dataclass
from typing import Any

import psutil
from dask.utils import parse_bytes

from dgmmis.errors import ClusterError, JobError, nearest_name
from dgmmis.execution.executor import Executor
from dgmmis.execution.serial import Serial, Threads

CLUSTER_KINDS = ("auto", "local", "threads", "serial", "address", "scheduler-file", "active")


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Where the work runs.

    Args:
        kind: "local": a LocalCluster of processes with one thread each; "threads", "serial": this process; "address",
            "scheduler-file": a running cluster; "active": the dask client in use; "auto": the active client if there
            is one, else threads for small work and a local cluster for the rest.
        workers: processes or threads; None: one a core.
        memory_limit: of each worker, as dask writes it ("4GiB"); None: its share of the machine.
        address: of the scheduler ("tcp://host:8786"), or the path of its scheduler file.
        timeout: seconds to wait for the cluster.
    """

    kind: str = "auto"
    workers: int | None = None
    memory_limit: str | None = None
    address: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.kind not in CLUSTER_KINDS:
            raise JobError(f"unknown cluster kind '{self.kind}'", do=nearest_name(self.kind, CLUSTER_KINDS))
        if self.kind in ("address", "scheduler-file") and not self.address:
            raise JobError(f"cluster kind '{self.kind}' needs an `address`", do="give the scheduler's address or file")
        if self.workers is not None and self.workers < 1:
            raise JobError("cluster `workers` must be at least one", got=self.workers)


@dataclass(frozen=True, slots=True)
class Resources:
    """What an executor would have to work with: enough for a plan, without starting anything."""

    n_workers: int
    memory_per_worker: int
    resident_bytes: int


def local_resources(spec: ClusterSpec) -> Resources:
    """What a local cluster of this spec would have."""
    n_workers = spec.workers or len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total // n_workers
    if spec.memory_limit:
        try:
            memory = parse_bytes(spec.memory_limit)
        except ValueError as error:
            raise JobError(
                "cluster memory_limit is not a size", expected="such as '4GiB'", got=spec.memory_limit
            ) from error
    return Resources(n_workers, memory, memory // 2)


def connect(spec: ClusterSpec, *, small: bool) -> Executor:
    """The executor for a spec; `small` says whether the work is too little for a cluster to pay.

    Raises:
        ClusterError: the cluster cannot be reached in time.
    """
    kind = spec.kind
    if kind == "auto":
        kind = "active" if _active_client() is not None else "threads" if small else "local"
    if kind == "serial":
        return Serial()
    if kind == "threads":
        return Threads(spec.workers)
    return _distributed(kind, spec)


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
    from distributed import Client, LocalCluster

    from dgmmis.execution.distributed import Distributed

    if kind == "active":
        client = _active_client()
        if client is None:
            raise ClusterError("there is no active dask client", do="make a distributed.Client first")
        return Distributed(client)
    try:
        if kind == "local":
            cluster = LocalCluster(
                n_workers=spec.workers or len(os.sched_getaffinity(0)),
                threads_per_worker=1,
                processes=True,
                memory_limit=spec.memory_limit or "auto",
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            )
            client = Client(cluster, timeout=spec.timeout, set_as_default=False)
            return Distributed(client, owned=[client, cluster])
        where = {"address": spec.address} if kind == "address" else {"scheduler_file": spec.address}
        client = Client(**where, timeout=spec.timeout, set_as_default=False)
        client.wait_for_workers(1, timeout=spec.timeout)
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"cannot reach the cluster ({kind} {spec.address or ''}): {error}", do="check that the scheduler is up"
        ) from error
    return Distributed(client, owned=[client])
