"""The tasks of the passes, worker by worker."""

import time
from typing import Any

from bokeh.models import ColumnDataSource, FixedTicker, HoverTool
from bokeh.plotting import figure

from dgmmis.dashboard.shown import ShownRun
from dgmmis.dashboard.style import BLUE, ORANGE, TOOLS

WORKERS_NAMED = 16
"""With more workers there is no room for their names."""

LASTING = 60.0
"""Seconds of tasks that are shown."""


class Tasks:
    """The tasks of the last passes: on which worker, and how long."""

    def __init__(self, **size: Any) -> None:
        self._drawn: tuple[Any, ...] = ()
        self.root = figure(title="tasks of the passes", tools=TOOLS, x_axis_type="datetime", **size)
        self.root.toolbar.autohide = True
        self.root.grid.grid_line_alpha = 0.4
        self.root.yaxis.axis_label = "worker"
        self._ticker = FixedTicker(ticks=[])
        self.root.yaxis.ticker = self._ticker
        self.root.ygrid.visible = False
        names = ("left", "right", "bottom", "top", "colour", "worker", "seconds", "task")
        self._source = ColumnDataSource({name: [] for name in names})
        self.root.quad(
            "left",
            "right",
            "top",
            "bottom",
            fill_color="colour",
            line_color="white",
            line_width=0.5,
            source=self._source,
        )
        about = [("worker", "@worker"), ("seconds", "@seconds{0.000}"), ("pass-task", "@task")]
        self.root.add_tools(HoverTool(tooltips=about))

    def show(self, run: ShownRun | None) -> None:
        tasks = [] if run is None else list(run.tasks)
        about = (run and run.name, tasks[-1] if tasks else None)
        if about == self._drawn:
            return
        self._drawn = about
        last = max((stop for _, _, _, stop in tasks), default=time.time())
        tasks = [task for task in tasks if task[3] > last - LASTING]
        workers = sorted({worker for _, worker, _, _ in tasks})
        rows = {worker: row for row, worker in enumerate(workers)}
        passes = [int(key.partition("-")[0]) for key, _, _, _ in tasks]
        self._source.data = {
            "left": [1e3 * start for _, _, start, _ in tasks],  # milliseconds
            "right": [1e3 * stop for _, _, _, stop in tasks],
            "bottom": [rows[worker] - 0.4 for _, worker, _, _ in tasks],
            "top": [rows[worker] + 0.4 for _, worker, _, _ in tasks],
            "colour": [BLUE if number % 2 else ORANGE for number in passes],
            "worker": [worker for _, worker, _, _ in tasks],
            "seconds": [stop - start for _, _, start, stop in tasks],
            "task": [key for key, _, _, _ in tasks],
        }
        few = len(workers) <= WORKERS_NAMED
        self._ticker.ticks = list(range(len(workers))) if few else []
        self.root.yaxis.major_label_overrides = {row: worker.rpartition("/")[2] for worker, row in rows.items() if few}
        self.root.yaxis.axis_label = "worker" if few else f"{len(workers)} workers"
