"""Gauges: the numbers of jobs among those that a scheduler shows under /metrics, where prometheus_client is there."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from dgmmis.dashboard.shown import MOST_RUNS


class Gauges:
    """Those of the scheduler's process, of the jobs that were heard of last: a scheduler lives for months."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._jobs: dict[str, None] = {}

    def show(self, job: str, gauges: Iterable[tuple[str, str, float]]) -> None:
        """Set the numbers of a job, each with its name and what it is."""
        try:
            from prometheus_client import REGISTRY, Gauge
        except ImportError:
            return
        for name, about, value in gauges:
            self._jobs.pop(job, None)
            self._jobs[job] = None
            if name not in self._known:
                # of a scheduler before this one in the same process, as tests and notebooks have them
                there = getattr(REGISTRY, "_names_to_collectors", {}).get(name)
                self._known[name] = there or Gauge(name, about, ["job"])
            self._known[name].labels(job=job).set(value)
        while len(self._jobs) > MOST_RUNS:
            oldest = next(iter(self._jobs))
            del self._jobs[oldest]
            for gauge in self._known.values():
                with suppress(KeyError):  # it never had this one
                    gauge.remove(oldest)
