"""The page: what is shown of a run, in words and plots, and which run it is."""

import time
from collections.abc import Callable
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import Div, Select
from distributed.dashboard.components import add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env

from dgmmis.dashboard.components import Components
from dgmmis.dashboard.curves import Curve, Speed, has_background, is_partial
from dgmmis.dashboard.shown import Shown, ShownRun
from dgmmis.dashboard.tasks import Tasks
from dgmmis.dashboard.words import events, in_words, of_components

INTERVAL = 1000
"""Milliseconds between two looks for news."""

LATEST = "the latest"

Document = Callable[[Any, Any, Any], None]
"""What makes a page: (scheduler, extra, document), as dask's own do."""


class Convergence:
    """The curves of the passes."""

    def __init__(self, height: int, **size: Any) -> None:
        size["height"] = height
        self.objective = Curve("objective", "objective, per object", **size)
        self.gain = Curve("gain", "gain of the objective", is_log=True, **size)
        self.distance = Curve("distance", "standard errors to the maximum", is_log=True, **size)
        self.completeness = Curve("completeness", "completeness", **size)
        self.background = Curve("background_fraction", "background fraction", **size)
        self.speed = Speed(**size)
        self.curves = (self.objective, self.gain, self.distance, self.speed, self.completeness, self.background)
        for curve in self.curves[1:]:
            curve.root.x_range = self.objective.root.x_range

    def show(self, run: ShownRun | None) -> None:
        about = {} if run is None else run.about
        lines = {"gain": about.get("tol"), "distance": about.get("arrived")}
        for curve in self.curves:
            curve.show(run, line=lines.get(curve._column))
        self.completeness.root.visible = run is not None and is_partial(run)
        self.background.root.visible = run is not None and has_background(run)


class Page:
    """All of it, for one who looks."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._drawn: tuple[Any, ...] = ()
        self.run = Select(title="run", value="", options=[("", LATEST)], width=420)
        self.x, self.y = Select(title="across", width=180), Select(title="up", width=180)
        self.words = Div(text="", sizing_mode="stretch_width")
        self.events = Div(
            text="",
            sizing_mode="stretch_width",
            height=230,
            styles={"overflow-y": "auto", "font-size": "12px", "background": "white", "padding": "4px 8px"},
        )
        self.components = Components(width=560, height=510)
        self.convergence = Convergence(height=170, sizing_mode="stretch_width", min_width=200)
        self.tasks = Tasks(height=230, sizing_mode="stretch_width")
        for select in (self.run, self.x, self.y):
            select.on_change("value", self._chosen)
        curves = [curve.root for curve in self.convergence.curves]
        pairs = [row(curves[i : i + 2], sizing_mode="stretch_width") for i in range(0, len(curves), 2)]
        wide: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self.root = column(
            row(self.run, self.x, self.y, **wide),
            self.words,
            row(self.components.root, column(pairs, **wide), **wide),
            row(column(self.tasks.root, **wide), column(self.events, width=560), **wide),
            **wide,
        )

    @property
    def chosen(self) -> ShownRun | None:
        return self._shown.named(self.run.value) or self._shown.latest

    def update(self) -> None:
        """Draw what has changed."""
        run = self.chosen
        about = (run and run.name, run and run.changes, len(self._shown), int(time.time()))
        if about == self._drawn:
            return
        self._drawn = about
        runs = [("", LATEST), *((one.name, one.label) for one in reversed(list(self._shown)))]
        if self.run.options != runs:
            self.run.options = runs
        features = [] if run is None else [str(name) for name in run.about.get("features", ())]
        for select, default in ((self.x, 0), (self.y, 1)):
            options = [(str(number), name) for number, name in enumerate(features)]
            if options and select.options != options:
                select.options = options
                select.value = str(min(default, len(options) - 1))
        self._draw(run)

    def _chosen(self, attribute: str, old: str, new: str) -> None:
        del attribute, old, new
        self._drawn = ()
        self.update()

    def _draw(self, run: ShownRun | None) -> None:
        self.components.x, self.components.y = (int(select.value or 0) for select in (self.x, self.y))
        for part in (self.components, self.convergence, self.tasks):
            part.show(run)
        self.components.root.title.text = of_components(run)
        for div, text in ((self.words, in_words(run)), (self.events, events(run))):
            if div.text != text:
                div.text = text


def page_document(shown: Shown) -> Document:
    """The page."""

    def document(scheduler: Any, extra: Any, doc: Any) -> None:
        del scheduler
        page = Page(shown)
        _open(doc, page, "Dask: dgmmis", INTERVAL)
        doc.template = env.get_template("simple.html")
        doc.template_variables.update(extra)

    return document


def bare_document(shown: Shown, name: str) -> Document:
    """One of the plots without anything around it, of the latest run."""

    def document(scheduler: Any, extra: Any, doc: Any) -> None:
        del scheduler, extra
        _open(doc, Bare(shown, name), f"Dask: dgmmis {name}", INTERVAL)

    return document


class Bare:
    """A plot that fills its window."""

    def __init__(self, shown: Shown, name: str) -> None:
        self._shown = shown
        size: dict[str, Any] = {"sizing_mode": "stretch_both"}
        match name:
            case "components":
                self._part: Any = Components(**size)
                self.root = self._part.root
            case "convergence":
                self._part = Convergence(height=160, sizing_mode="stretch_both")
                self.root = column([curve.root for curve in self._part.curves[:4]], **size)
            case _:
                self._part = Tasks(**size)
                self.root = self._part.root

    def update(self) -> None:
        self._part.show(self._shown.latest)


def _open(doc: Any, part: Page | Bare, title: str, interval: int) -> None:
    part.update()
    add_periodic_callback(doc, part, interval)
    doc.add_root(part.root)
    doc.title = title
    doc.theme = BOKEH_THEME
