"""Gauges: the numbers of jobs among those that a scheduler shows under /metrics, where prometheus_client is there."""

from collections.abc import Iterable
from typing import Any


class Gauges:
    """Those of the scheduler's process."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def show(self, job: str, gauges: Iterable[tuple[str, str, float]]) -> None:
        """Set the numbers of a job, each with its name and what it is."""
        try:
            from prometheus_client import REGISTRY, Gauge
        except ImportError:
            return
        for name, about, value in gauges:
            if name not in self._known:
                # of a scheduler before this one in the same process, as tests and notebooks have them
                there = getattr(REGISTRY, "_names_to_collectors", {}).get(name)
                self._known[name] = there or Gauge(name, about, ["job"])
            self._known[name].labels(job=job).set(value)
