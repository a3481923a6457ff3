"""The look of the pictures: panels in one style, and one way to write them down."""

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from dgmmis import GaussianMixture
from dgmmis.plotting import confidence_ellipses

NIGHT, INK, GREY, PALE = "#0b0710", "#f4f1ea", "#8a8a8a", "#9fc9ff"
WRONG, RIGHT = "#ff8a4c", "#5fe3d0"
TRUE = {"color": INK, "alpha": 0.45, "linewidth": 4.5}
"""How the truth is drawn: broad and pale, below what is to lie on it."""


def panels(*titles: str) -> tuple[Figure, list[Axes]]:
    """A figure with a dark panel for each title."""
    figure = Figure(figsize=(4.7 * len(titles), 4.4), dpi=100, layout="constrained")
    axes = list(figure.subplots(1, len(titles), squeeze=False)[0])
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_facecolor(NIGHT)
        ax.tick_params(labelsize=8, length=2, color=GREY)
        ax.spines[:].set_visible(False)
    return figure, axes


def dots(ax: Axes, x: Any, y: Any, *, colour: str = INK, size: float = 2.0, alpha: float = 0.5) -> None:
    """A catalogue."""
    ax.plot(x, y, ".", color=colour, markersize=size, alpha=alpha, markeredgewidth=0)


def ellipses(ax: Axes, mixture: GaussianMixture, features: tuple[int, int] = (0, 1), **style: Any) -> None:
    """Two sigma of each component."""
    (drawn,) = confidence_ellipses(mixture, ax, features=features, sigmas=[2.0], colour=style.pop("color"))
    drawn.set(**{"alpha": 1.0, "linewidth": 1.6} | style)


def legend(ax: Axes, **entries: dict[str, Any]) -> None:
    """A legend of lines that are styled like these; _ in a name is a blank."""
    handles = [Line2D([], [], label=name.replace("_", " "), **style) for name, style in entries.items()]
    shown = ax.legend(handles=handles, fontsize=8, labelcolor=INK)
    shown.get_frame().set(facecolor=NIGHT, edgecolor="none", alpha=0.8)


def save(figure: Figure, path: Path) -> None:
    """Write it with few colours, which keeps it small."""
    buffer = BytesIO()
    figure.savefig(buffer)
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
