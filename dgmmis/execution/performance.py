"""Performance: dask's own report of what a cluster did, from when it is begun to when it is written: a page."""

import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Client

from dgmmis.errors import ClusterError
from dgmmis.execution.watch import Watch

ABOUT = """A command of dgmmis. Its tasks:
  pass-...: the sums over a group of chunks
  join-...: sums of such sums
  map-...: a sample of the rows, and classes of their noise"""
"""Where dask's page shows the code that was run."""


class PerformanceReport:
    """Dask's report (`distributed.performance_report`) of a cluster from now on.

    Args:
        watch: over the cluster.
        path: of the page; one that is there is replaced.

    Raises:
        ClusterError: the cluster cannot draw one.
    """

    def __init__(self, watch: Watch, path: Path) -> None:
        self._watch, self._path = watch, path
        try:
            self._count = watch.timely(_begun, watch.client)
            watch.timely(watch.client.run, _hush, on_error="ignore")
        except ImportError as error:
            what = f"the cluster cannot draw a performance report: {error}"
            raise ClusterError(what, do="install bokeh for its scheduler, or do without the report") from error
        self._began = time.time()

    def write(self) -> None:
        """Write the page, all or nothing. Whatever keeps it from being written is said, and ends nothing."""
        half = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            # with what it needs to be looked at in it: where it is read there may be no way out
            about = {"start": self._began, "last_count": self._count, "code": ABOUT, "mode": "inline"}
            half.write_text(self._watch.ask("performance_report", **about), encoding="utf-8")
            half.replace(self._path)
        except Exception as error:  # the scheduler's own code among others
            sys.stderr.write(f"dgmmis: the performance report '{self._path}' is not written: {error}\n")
        finally:
            with suppress(OSError):
                half.unlink(missing_ok=True)


def _begun(client: Client, callback_timeout: float) -> int:
    """Number of the last of the scheduler's looks at its process; from now on it notes what tasks do."""
    client.sync(client.scheduler.get_task_stream, start=0, stop=0, callback_timeout=callback_timeout)  # type: ignore[union-attr]
    return int(client.sync(client._run_on_scheduler, _looks, callback_timeout=callback_timeout))


def _hush() -> None:
    """Workers measure what they send, and warn of deep profiles that they cannot: of a local cluster one sees it."""
    logging.getLogger("distributed.sizeof").setLevel(logging.ERROR)


def _looks(dask_scheduler: Any) -> int:
    import bokeh.plotting  # noqa: F401  # what it will be drawn with

    return int(dask_scheduler.monitor.count)
