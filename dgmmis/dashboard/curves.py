"""Curves: the numbers of the passes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, HoverTool
from bokeh.plotting import figure

from dgmmis.dashboard.shown import COLUMNS, ShownRun
from dgmmis.dashboard.style import BLUE, GREY, RED, TOOLS

COMPACT = "return Intl.NumberFormat('en', {notation: 'compact'}).format(tick)"
"""Of a tick: 1.5M."""


class Curve:
    """A number of every pass. Of fits side by side, the one whose model is shown is blue.

    Args:
        column: which number.
        title: what it is.
        is_log: whether the axis is logarithmic; what is not positive is left out.
    """

    def __init__(self, column: str, title: str, *, is_log: bool = False, **size: Any) -> None:
        self._column, self._is_log = column, is_log
        self._drawn: tuple[Any, ...] = ()
        how = {"y_axis_type": "log"} if is_log else {}
        self.root = figure(title=title, tools=TOOLS, **how, **size)
        self.root.grid.grid_line_alpha = 0.4
        self.root.xaxis.axis_label = "pass"
        self.root.toolbar.autohide = True
        names = ("x", "lower", "upper")
        self._band = ColumnDataSource({name: [] for name in names})
        self.root.varea("x", "lower", "upper", color=BLUE, alpha=0.25, source=self._band)
        self._lines = ColumnDataSource({name: [] for name in ("xs", "ys", "colour", "name")})
        self.root.multi_line("xs", "ys", color="colour", line_width=2, source=self._lines)
        self._dots = ColumnDataSource({"x": [], "y": [], "round": []})
        dots = self.root.scatter("x", "y", size=4, color=BLUE, source=self._dots)
        said = [("pass", "@x"), ("round", "@round"), (title.split(",")[0], "@y{0.[0000000]}" if not is_log else "@y")]
        self.root.add_tools(HoverTool(renderers=[dots], tooltips=said))
        self._goal = ColumnDataSource({"x": [], "y": []})  # a line of data: the axis reaches as far
        self.root.line("x", "y", color=RED, line_dash="dashed", source=self._goal)
        self.root.yaxis.minor_tick_line_color = None

    def show(self, run: ShownRun | None, *, line: float | None = None) -> None:
        """Draw what a run has; the line is where something ends."""
        points = {} if run is None else run.points
        ends = {name: (len(of), of[-1][0]) for name, of in points.items()}
        about = (run and run.name, run and run.candidate, ends)
        if about == self._drawn:
            return
        self._drawn = about
        shown = "" if run is None else run.candidate
        ordered = sorted(points, key=lambda name: name == shown)  # the one that is shown over the others
        self._lines.data = {
            "xs": [np.array([p[0] for p in points[name]]) for name in ordered],
            "ys": [self._values(points[name]) for name in ordered],
            "colour": [BLUE if name == shown else GREY for name in ordered],
            "name": ordered,
        }
        of = points.get(shown, [])
        x, y = np.array([p[0] for p in of]), self._values(of)
        self._dots.data = {"x": x, "y": y, "round": np.array([p[COLUMNS.index("round")] for p in of])}
        if self._column == "completeness":
            error = np.array([p[COLUMNS.index("completeness_error")] for p in of])
            self._band.data = {"x": x, "lower": y - error, "upper": y + error}
        across = [x[0], max(x[-1], x[0] + 1)] if of and line is not None else []
        self._goal.data = {"x": across, "y": [line for _ in across]}

    def _values(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        values = np.array([p[COLUMNS.index(self._column)] for p in points], dtype=float)
        return np.where(np.isfinite(values) & (~self._is_log | (values > 0)), values, np.nan)


class Speed(Curve):
    """Rows a second of every pass."""

    def __init__(self, **size: Any) -> None:
        super().__init__("seconds", "rows per second", **size)
        self._n_rows = 0
        self.root.yaxis.formatter = CustomJSTickFormatter(code=COMPACT)

    def show(self, run: ShownRun | None, *, line: float | None = None) -> None:
        self._n_rows = 0 if run is None else run.about.get("n_rows") or 0
        super().show(run, line=line)

    def _values(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        seconds = np.array([p[COLUMNS.index("seconds")] for p in points], dtype=float)
        return np.where(seconds > 0, self._n_rows / np.maximum(seconds, 1e-9), np.nan)


def is_partial(run: ShownRun) -> bool:
    """Whether a run's survey misses some objects."""
    number = COLUMNS.index("completeness")
    return any(point[number] < 1 for of in run.points.values() for point in of[-1:])


def has_background(run: ShownRun) -> bool:
    """Whether a run's model has a background."""
    number = COLUMNS.index("background_fraction")
    return any(point[number] > 0 for of in run.points.values() for point in of[-1:])
