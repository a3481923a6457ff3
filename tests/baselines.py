"""The pictures that are compared with those in tests/baseline, and the way to renew these.

After a change that is meant to be seen, `PYTHONPATH=. python tests/baselines.py` writes those that have changed again;
`python tests/baselines.py corner` writes that one. Look at them before they are committed.

Words are taken out: they are drawn by another FreeType elsewhere, and would make everything else move. What is drawn
comes from models that are written down, and from data drawn with a seed: nothing is fitted.
"""

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter
from PIL import Image

from dgmmis import ArrayDataset, GaussianMixture, Uniform
from dgmmis.callback import Record
from dgmmis.model import Model
from dgmmis.noise_law import ConstantNoise
from dgmmis.plotting import (
    choice_figure,
    completeness_figure,
    convergence_figure,
    corner_figure,
    marginals_figure,
    membership_figure,
    residuals_figure,
)
from dgmmis.selection import HalfSpace
from dgmmis.survey import Survey

BASELINE = Path(__file__).parent / "baseline"
DPI, FINER = 50, 4
TOLERANCE = {"residuals": 4.0, "membership": 4.0}
"""Root mean square of the differences of the pixels, of 255, of pictures of large cells, whose edges matplotlib 3.8 to
3.10 draw a quarter of a pixel from where 3.11 does: that makes 2.2."""

USUAL = 1.5
"""Of the others: other versions make up to 1.0, mostly nothing; a missing line 3.2 or more."""

NOISE = np.diag([0.04, 0.09])
MODEL = Model(
    GaussianMixture([0.6, 0.4], [[-1.0, 0.5], [2.0, -1.0]], [[[0.8, 0.4], [0.4, 0.9]], [[0.5, -0.2], [-0.2, 0.7]]]),
    Uniform(np.full(2, -5.0), np.full(2, 5.0)),
    0.15,
)
SURVEY = Survey(HalfSpace(np.array([1.0, 0.3]), 1.5, 0.5), ConstantNoise(NOISE))


def _observed() -> ArrayDataset:
    """Some thousands of objects that a fading survey saw."""
    rng = np.random.default_rng(1)
    y = MODEL.sample(6_000, 1) + rng.normal(size=(6_000, 2)) * np.sqrt(np.diagonal(NOISE))
    assert SURVEY.selection is not None
    return ArrayDataset.of(y[rng.random(len(y)) < SURVEY.selection(y)], NOISE)


def _records() -> list[Record]:
    """Two rounds that come to their ends, with a loss in each."""
    records = []
    for i in range(24):
        left, later = 0.6 ** (i % 12), i // 12
        gain = np.nan if i % 12 == 0 else -0.02 * left if i in (7, 17) else 0.1 * left
        objective, z, z_error = -3.0 - 0.5 * left + 0.05 * later, 0.6 - 0.1 * left, 0.02 / (1 + later)
        nu = 0.15 + 0.1 * left
        records.append(Record(i, later, objective, gain, 20 * left, objective, z, z_error, nu, 6_000.0, 0.1))
    return records


def _choice() -> dict[str, Any]:
    """Two structures, of which one did not settle once."""
    table = [
        {
            "n_components": k,
            "covariance_type": kind,
            "log_likelihood": -2.0,
            "bic": 1000 + 40 * (k - 3) ** 2 + extra,
            "worse_error": None if (k, kind) == (3, "full") else 12.0,
            "converged": (k, kind) != (5, "diag"),
            "repairs": [],
        }
        for kind, extra in (("full", 0.0), ("diag", 60.0))
        for k in range(1, 7)
    ]
    criterion = {"name": "bic", "n_folds": 5}
    return {"criterion": criterion, "n_components": 3, "covariance_type": "full", "table": table}


FIGURES: Mapping[str, Callable[[], Figure]] = {
    "corner": lambda: corner_figure(MODEL, _observed(), survey=SURVEY, levels=(0.68, 0.95), contours=(0.5, 0.9)),
    "corner-population": lambda: corner_figure(MODEL, levels=(0.68,)),
    "marginals": lambda: marginals_figure(MODEL, _observed(), survey=SURVEY),
    "residuals": lambda: residuals_figure(MODEL, _observed(), survey=SURVEY),
    "membership": lambda: membership_figure(MODEL, _observed(), survey=SURVEY),
    "completeness": lambda: completeness_figure(MODEL, _observed(), survey=SURVEY),
    "convergence": lambda: convergence_figure(_records()),
    "criteria": lambda: choice_figure(_choice()),
}


def without_words(figure: Figure) -> Figure:
    """The same figure with lines, images and marks alone."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(NullFormatter())
            axis.set_minor_formatter(NullFormatter())
        if ax.get_legend() is not None:
            ax.get_legend().remove()
    for legend in list(figure.legends):
        legend.remove()
    for text in figure.findobj(Text):
        text.set_visible(False)
        text.set_in_layout(False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # which would move panels a little each time they are drawn
    return figure


def draw(name: str) -> Figure:
    """One of the pictures, without words."""
    return without_words(FIGURES[name]())


def save(figure: Figure, path: Path) -> Path:
    """Small; drawn larger than it is kept, for versions put the edge of a cell on one pixel or on the next."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=FINER * DPI)
    Image.open(buffer).convert("RGB").reduce(FINER).save(path, optimize=True)
    return path


def difference(figure: Figure, name: str, folder: Path) -> str | None:
    """What differs from the baseline by more than the tolerance, in words; None where nothing does."""
    actual = save(figure, folder / f"{name}.png")
    expected = folder / f"{name}-expected.png"
    expected.write_bytes((BASELINE / f"{name}.png").read_bytes())
    found = compare_images(str(expected), str(actual), TOLERANCE.get(name, USUAL))
    return None if found is None else str(found)


def renew(*names: str) -> None:
    """Write some of the baselines, or all of them; those that would look the same stay as they are."""
    import tempfile

    for name in names or FIGURES:
        figure, path = draw(name), BASELINE / f"{name}.png"
        with tempfile.TemporaryDirectory() as folder:
            if names or not path.exists() or difference(figure, name, Path(folder)) is not None:
                save(figure, path)
                sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    renew(*sys.argv[1:])
