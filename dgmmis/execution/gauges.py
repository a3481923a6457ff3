"""Gauges: the numbers of jobs among those that a scheduler shows under /metrics, where prometheus_client is there."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.protocol.pickle import dumps

from dgmmis.errors import ClusterError
from dgmmis.execution.executor import Gauge
from dgmmis.execution.watch import Watch

TOPIC = "dgmmis-gauges"


class Gauges(SchedulerPlugin):
    """Sets the gauges of the scheduler's process to what is published under TOPIC."""

    name = "dgmmis-gauges"
    idempotent = True

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def log_event(self, topic: str, msg: Any) -> None:
        """Called for whatever is published on the scheduler."""
        if topic != TOPIC:
            return
        try:
            from prometheus_client import REGISTRY
            from prometheus_client import Gauge as Shown
        except ImportError:
            return
        for name, about, value in msg["gauges"]:
            if name not in self._known:
                # of a scheduler before this one in the same process, as tests and notebooks have them
                there = getattr(REGISTRY, "_names_to_collectors", {}).get(name)
                self._known[name] = there or Shown(name, about, ["job"])
            self._known[name].labels(job=msg["job"]).set(value)


class Display:
    """The gauges of one client's scheduler. One that cannot have them, since it lacks this package or takes no plugins
    of others, goes without."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._is_there: bool | None = None

    def show(self, job: str, gauges: Sequence[Gauge]) -> None:
        """Show the numbers of a job from now on."""
        if self._is_there is None:
            self._is_there = self._installed()
        if self._is_there and not self._watch.lost:
            values = [(one.name, one.help, float(one.value)) for one in gauges]
            with suppress(ClusterError):  # the next pass says so, if there is one
                self._watch.ask("log_event", topic=TOPIC, msg={"job": job, "gauges": values})

    def _installed(self) -> bool:
        plugin = {"plugin": dumps(Gauges()), "name": Gauges.name, "idempotent": True}
        try:
            self._watch.ask("register_scheduler_plugin", **plugin)
        except Exception:  # whatever the scheduler lacks, the fit does not need it
            return False
        return True
