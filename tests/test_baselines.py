"""Pictures stay as they are: compared with those in tests/baseline, within what another matplotlib may change."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
from baselines import BASELINE, FIGURES, difference, draw  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.collections import Collection  # noqa: E402
from matplotlib.contour import ContourSet  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

MOST_BYTES = 60_000


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    """Each picture, drawn once."""
    return {}


def _drawn(drawn: dict[str, Figure], name: str) -> Figure:
    if name not in drawn:
        drawn[name] = draw(name)
    return drawn[name]


def test_each_picture_has_a_small_baseline() -> None:
    assert {path.stem for path in BASELINE.glob("*.png")} == set(FIGURES)
    assert all(path.stat().st_size < MOST_BYTES for path in BASELINE.glob("*.png"))


@pytest.mark.parametrize("name", FIGURES)
def test_pictures_look_as_they_did(name: str, drawn: dict[str, Figure], tmp_path: Path) -> None:
    assert difference(_drawn(drawn, name), name, tmp_path) is None


def _contours(figure: Figure) -> list[ContourSet]:
    """Of the curves that hold shares of what is drawn, in the panel below the diagonal, and its edges."""
    return [one for one in figure.axes[2].collections if isinstance(one, ContourSet)]


def _hide(artist: Collection) -> Callable[[], None]:
    artist.set_visible(False)
    return lambda: artist.set_visible(True)


def _without_curves(figure: Figure) -> Callable[[], None]:
    return _hide(_contours(figure)[0])


def _without_edges(figure: Figure) -> Callable[[], None]:
    return _hide(_contours(figure)[-1])


def _curves_of_another_colour(figure: Figure) -> Callable[[], None]:
    curves = _contours(figure)[0]
    before = curves.get_edgecolor()
    curves.set_edgecolor("#ff8a4c")
    return lambda: curves.set_edgecolor(before)


def _curves_elsewhere(figure: Figure) -> Callable[[], None]:
    """By a twentieth of the window."""
    curves, (left, right) = _contours(figure)[0], figure.axes[2].get_xlim()
    paths = curves.get_paths()
    before = [path.vertices.copy() for path in paths]
    for path in paths:
        path.vertices = np.add(path.vertices, [0.05 * (right - left), 0.0])

    def back() -> None:
        for path, vertices in zip(paths, before, strict=True):
            path.vertices = vertices

    return back


def _other_image(change: Callable[[np.ndarray], np.ndarray], panel: int) -> Callable[[Figure], Callable[[], None]]:
    def changed(figure: Figure) -> Callable[[], None]:
        image = figure.axes[panel].images[0]
        before = image.get_array()
        assert before is not None
        image.set_data(change(np.array(before)))
        return lambda: image.set_data(before)

    return changed


def _without_bands(ax: Callable[[Figure], Axes]) -> Callable[[Figure], Callable[[], None]]:
    def changed(figure: Figure) -> Callable[[], None]:
        backs = [_hide(band) for band in ax(figure).collections]
        assert backs

        def back() -> None:
            for one in backs:
                one()

        return back

    return changed


def _without_line(panel: int, number: int) -> Callable[[Figure], Callable[[], None]]:
    def changed(figure: Figure) -> Callable[[], None]:
        line = figure.axes[panel].lines[number]
        line.set_visible(False)
        return lambda: line.set_visible(True)

    return changed


DISTURBED = [
    ("corner", "curves are missing", _without_curves),
    ("corner", "edges are missing", _without_edges),
    ("corner", "curves have another colour", _curves_of_another_colour),
    ("corner", "curves have moved", _curves_elsewhere),
    ("corner", "the data have moved by a cell", _other_image(lambda a: np.roll(a, 1, axis=1), 2)),
    ("corner-population", "curves have moved", _curves_elsewhere),
    ("marginals", "bands are missing", _without_bands(lambda figure: figure.axes[1])),
    ("marginals", "the model is missing", _without_line(0, 1)),
    ("residuals", "signs have changed", _other_image(lambda a: -a, 0)),
    ("membership", "two components have changed colours", _other_image(lambda a: a[..., [2, 1, 0, 3]], 1)),
    ("completeness", "the map has moved by a cell", _other_image(lambda a: np.roll(a, 1, axis=1), 1)),
    ("convergence", "the objective is missing", _without_line(0, 0)),
    ("convergence", "bands are missing", _without_bands(lambda figure: figure.axes[3])),
    ("criteria", "the ring is missing", _without_line(0, -1)),
]


@pytest.mark.parametrize(("name", "what", "disturb"), DISTURBED, ids=[f"{name}: {what}" for name, what, _ in DISTURBED])
def test_what_is_seen_to_change_is_found(
    name: str, what: str, disturb: Callable[[Figure], Callable[[], None]], drawn: dict[str, Figure], tmp_path: Path
) -> None:
    figure = _drawn(drawn, name)
    back = disturb(figure)
    try:
        assert difference(figure, name, tmp_path) is not None, what
    finally:
        back()
    assert difference(figure, name, tmp_path) is None
