"""The plots of the page: components over the data, curves of the passes, tasks of the workers."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Title,
)
from bokeh.palettes import Blues256, Category10_10
from bokeh.plotting import figure
from distributed.dashboard.utils import update

from dgmmis.dashboard.ellipses import outlines, window
from dgmmis.dashboard.shown import COLUMNS, ShownRun

COMPACT = "return Intl.NumberFormat('en', {notation: 'compact'}).format(tick)"
"""Of a tick: 1.5M."""

TOOLS = "pan,wheel_zoom,box_zoom,reset,save"

BLUE, ORANGE, GREY, RED = "#1f77b4", "#e08a2e", "#b5b5b5", "#c0392b"

WHAT = "lines: 1 and 2 sigma, without noise; blue: a sample of the data, as measured"

DENSITY = [*reversed(Blues256[60:])]
"""From the page's own white to a blue on which lines are still seen."""

DISTINCT = 10
"""So many components have colours of their own."""

WORKERS_NAMED = 16
"""With more workers there is no room for their names."""

LASTING = 60.0
"""Seconds of tasks that are shown."""


class Components:
    """The components in two features, over the density of a sample of the data."""

    def __init__(self, **size: Any) -> None:
        self.x, self.y = 0, 1
        self._drawn: tuple[Any, ...] = ()
        self._window: tuple[Any, ...] = ()
        self._range = Range1d(0, 1), Range1d(0, 1)
        self.root = figure(title="components", x_range=self._range[0], y_range=self._range[1], tools=TOOLS, **size)
        self.root.add_layout(Title(text=WHAT, text_font_size="11px", text_font_style="normal"), "below")
        self.root.grid.grid_line_alpha = 0.3
        self._image = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")})
        self._mapper = LinearColorMapper(DENSITY, low=0, high=1, low_color="#ffffff00")
        self.root.image("image", x="x", y="y", dw="dw", dh="dh", color_mapper=self._mapper, source=self._image)
        self._outlines = ColumnDataSource({name: [] for name in ("xs", "ys", "colour", "width", "alpha")})
        self.root.multi_line("xs", "ys", color="colour", line_width="width", line_alpha="alpha", source=self._outlines)
        names = ("x", "y", "colour", "size", "name", "weight", "spread")
        self._means = ColumnDataSource({name: [] for name in names})
        marks = self.root.scatter(
            "x", "y", size="size", color="colour", line_color="white", line_width=1, source=self._means
        )
        about = [("component", "@name"), ("weight", "@weight{0.0000}"), ("mean", "@x, @y"), ("sigma", "@spread")]
        self.root.add_tools(HoverTool(renderers=[marks], tooltips=about))

    def show(self, run: ShownRun | None) -> None:
        features = [] if run is None else list(run.about.get("features", ()))
        # of a single feature, both axes are it
        x, y = (min(of, max(0, len(features) - 1)) for of in (self.x, self.y))
        state = None if run is None else run.model and run.model["number"]
        about = (run and run.name, x, y, state, run is not None and run.density is not None, len(features))
        if about == self._drawn:
            return
        self._drawn = about
        self._density(run, x, y)
        self._model(run, x, y)
        if run is None or not features:
            return
        units = run.about.get("units") or [""] * len(features)
        for axis, number in ((self.root.xaxis, x), (self.root.yaxis, y)):
            axis.axis_label = labelled(features[number], units[number])
        self._frame(run, x, y)

    def _frame(self, run: ShownRun, x: int, y: int) -> None:
        """Show all there is; what was seen before of the same stays in view, so that the frame does not shake."""
        density = run.density
        bounds = None if density is None else list(zip(density["lower"], density["upper"], strict=True))
        if run.model is None and bounds is None:
            return
        wanted = [window(run.model, bounds, of) for of in (x, y)]
        if self._window == (run.name, x, y):
            wanted = [(min(w[0], r.start), max(w[1], r.end)) for w, r in zip(wanted, self._range, strict=True)]
        for span, (lower, upper) in zip(self._range, wanted, strict=True):
            if span.start != lower or span.end != upper:
                span.update(start=lower, end=upper, reset_start=lower, reset_end=upper)
        self._window = (run.name, x, y)

    def _density(self, run: ShownRun | None, x: int, y: int) -> None:
        density = None if run is None else run.density
        pair = f"{min(x, y)} {max(x, y)}"
        if density is None or x == y or pair not in density["counts"]:
            update(self._image, {name: [] for name in self._image.data})
            return
        n = density["bins"]
        counts = np.frombuffer(density["counts"][pair], np.uint8).reshape(n, n).astype(float)
        image = np.sqrt(counts if x < y else counts.T)  # y by x
        image[image == 0] = -1  # without a colour
        self._mapper.high = float(max(image.max(), 1))
        lower, upper = density["lower"], density["upper"]
        self._image.data = {
            "image": [image],
            "x": [lower[x]],
            "y": [lower[y]],
            "dw": [upper[x] - lower[x]],
            "dh": [upper[y] - lower[y]],
        }

    def _model(self, run: ShownRun | None, x: int, y: int) -> None:
        model = None if run is None else run.model
        if model is None or not model["means"]:
            for source in (self._outlines, self._means):
                source.data = {name: [] for name in source.data}
            return
        weights = np.array(model["weights"])
        k = len(weights)
        few = k <= DISTINCT
        colours = list(Category10_10[:k]) if few else [RED] * k
        faint = np.sqrt(weights / weights.max())
        inner, outer = outlines(model, x, y, 1.0), outlines(model, x, y, 2.0)
        self._outlines.data = {
            "xs": [*inner[0], *outer[0]],
            "ys": [*inner[1], *outer[1]],
            "colour": colours * 2,
            "width": [2.5 if few else 1.5] * k + [1.0] * k,
            "alpha": [*(np.maximum(faint, 0.3)), *(0.6 * np.maximum(faint, 0.3))],
        }
        means = np.array(model["means"])
        self._means.data = {
            "x": means[:, x],
            "y": means[:, y],
            "colour": colours,
            "size": 4 + 8 * faint,
            "name": [str(number) for number in model["which"]],
            "weight": weights,
            "spread": [f"{np.ptp(a) / 2:.3g}, {np.ptp(b) / 2:.3g}" for a, b in zip(*inner, strict=True)],
        }


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


def labelled(name: str, unit: str) -> str:
    """The name of an axis."""
    return f"{name} [{unit}]" if unit else name


def is_partial(run: ShownRun) -> bool:
    """Whether a run's survey misses some objects."""
    number = COLUMNS.index("completeness")
    return any(point[number] < 1 for of in run.points.values() for point in of[-1:])


def has_background(run: ShownRun) -> bool:
    """Whether a run's model has a background."""
    number = COLUMNS.index("background_fraction")
    return any(point[number] > 0 for of in run.points.values() for point in of[-1:])


def seconds_in_words(seconds: float) -> str:
    """A time for people, or that it is not known."""
    if not math.isfinite(seconds):
        return "not known yet"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
