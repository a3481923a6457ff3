"""Elastic: a dask cluster that starts its workers itself, as jobs of a queue for one, while there is work for them."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

from dgmmis.errors import JobError
from dgmmis.execution.executor import Resources
from dgmmis.execution.tls import Tls

SLURM = "dask_jobqueue:SLURMCluster"

NAME = re.compile(r"\w[\w.,+@-]*", re.ASCII)
"""Of a queue or an account. They end up in the header of a script: a blank would begin another option there."""

WALLTIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}", re.ASCII)

IDLE_LOOKS = 60
"""A worker goes when it was idle at so many looks, a second apart: not between two passes."""

TARGET_SECONDS = "1s"
"""More workers are wanted where those there are have more to do than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Elastic:
    """A class of dask cluster, and how many workers it may start.

    Args:
        path: "package.module:Class". It is imported and called: who names it must be trusted.
        arguments: of the class; what it is not given it takes from dask's own configuration.
        minimum: worker processes that are there whether or not there is work.
        maximum: worker processes at most.
    """

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    minimum: int = 0
    maximum: int = 1

    def __post_init__(self) -> None:
        if self.minimum < 0 or self.maximum < max(1, self.minimum):
            expected = "0 <= minimum <= maximum, and 1 <= maximum"
            got = f"{self.minimum} and {self.maximum}"
            raise JobError("cluster `minimum` and `maximum` do not go together", expected=expected, got=got)
        object.__setattr__(self, "arguments", MappingProxyType(dict(self.arguments)))

    @classmethod
    def slurm(
        cls,
        *,
        queue: str | None = None,
        account: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        walltime: str | None = None,
        minimum: int = 0,
        maximum: int = 1,
    ) -> "Elastic":
        """Jobs of SLURM, each with a worker process on each of its cores.

        Args:
            queue: the partition.
            account: that pays.
            cores: of a job.
            memory: of a job, as dask writes it ("16GiB").
            walltime: of a job, as SLURM writes it ("04:00:00").
            minimum, maximum: worker processes in all jobs.
        """
        for name, value, form, example in (
            ("queue", queue, NAME, "the name of a partition"),
            ("account", account, NAME, "the name of an account"),
            ("walltime", walltime, WALLTIME, "such as '04:00:00' or '2-00:00:00'"),
        ):
            if value is not None and form.fullmatch(value) is None:
                raise JobError(f"cluster `{name}` is none that SLURM takes", expected=example, got=value)
        if memory is not None:
            require_size("memory", memory)
        if cores is not None and cores < 1:
            raise JobError("cluster `cores` must be at least one", got=cores)
        given = {"queue": queue, "account": account, "cores": cores, "memory": memory, "walltime": walltime}
        arguments = {name: value for name, value in given.items() if value is not None}
        if cores is not None:
            arguments["processes"] = cores
        return cls(SLURM, arguments, minimum, maximum)

    def foreseen(self) -> Resources | None:
        """What there is once all workers are there; None: only the class knows."""
        from dask.utils import parse_bytes

        processes, memory = self.arguments.get("processes"), self.arguments.get("memory")
        if self.path != SLURM or processes is None or memory is None:
            return None
        return Resources(self.maximum, self.maximum, parse_bytes(memory) // int(processes))

    def start(self, tls: Tls | None) -> Any:
        """The cluster, which adapts from now on. It is for the caller to close it.

        Raises:
            JobError: no such class, or it does not take the arguments.
        """
        made = self._class()
        arguments = dict(self.arguments)
        if self.path == SLURM:
            arguments["scheduler_options"] = self._scheduler_options()
        if tls is not None:
            for path in (tls.ca_file, tls.cert, tls.key):
                if path != shlex.quote(path):
                    raise JobError(f"the path '{path}' cannot stand in a job script", do="rename that file or folder")
            arguments["security"] = tls.security()
        try:
            cluster = made(**arguments)
        except (TypeError, ValueError) as error:
            raise JobError(
                f"{self.path} does not take what it is given: {error}",
                do="correct [cluster], or dask's configuration, from which it takes the rest",
            ) from error
        try:
            cluster.adapt(
                minimum=self.minimum,
                maximum=self.maximum,
                interval="1s",
                wait_count=IDLE_LOOKS,
                target_duration=TARGET_SECONDS,
            )
        except BaseException:
            cluster.close()
            raise
        return cluster

    def _class(self) -> Any:
        module, colon, name = self.path.partition(":")
        if not (module and colon and name):
            raise JobError("a class is named by its module and its name", expected="'module:Class'", got=self.path)
        try:
            found = getattr(import_module(module), name, None)
        except Exception as error:  # its own code runs
            do = "install it, or put its folder on PYTHONPATH"
            if module == "dask_jobqueue" and isinstance(error, ImportError):
                do = "install it: pip install 'dgmmis[slurm]'"
            raise JobError(f"cluster '{self.path}': cannot import '{module}'", got=repr(error), do=do) from error
        if not callable(found) or not hasattr(found, "adapt"):
            raise JobError(f"'{self.path}' is no class of dask clusters", do="name one that has `adapt`")
        return found

    def _scheduler_options(self) -> dict[str, Any]:
        """The dashboard is for this machine only, unless dask's configuration says otherwise."""
        import dask

        return {"dashboard_address": "127.0.0.1:0", **dask.config.get("jobqueue.slurm.scheduler-options", {})}


def require_size(name: str, size: str) -> None:
    """Raise JobError unless a key holds a size of memory."""
    from dask.utils import parse_bytes  # small fits in threads do without dask, and without its import

    try:
        parse_bytes(size)
    except ValueError as error:
        raise JobError(f"{name} is not a size", expected="such as '4GiB'", got=size) from error
