"""The components of a model in two features, over the data."""

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LinearColorMapper, Range1d, Title
from bokeh.palettes import Blues256, Category10_10
from bokeh.plotting import figure

from dgmmis.dashboard.ellipses import outlines, window
from dgmmis.dashboard.shown import ShownRun
from dgmmis.dashboard.style import RED, TOOLS

WHAT = "lines: 1 and 2 sigma, without noise; blue: a sample of the data, as measured"

DENSITY = [*reversed(Blues256[60:])]
"""From the page's own white to a blue on which lines are still seen."""

DISTINCT = 10
"""So many components have colours of their own."""


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
            self._image.data = {name: [] for name in self._image.data}
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


def labelled(name: str, unit: str) -> str:
    """The name of an axis."""
    return f"{name} [{unit}]" if unit else name
