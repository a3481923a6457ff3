"""Values say what they are: short text, and HTML for notebooks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import dgmmis
from dgmmis import Ball, Box, GaussianMixture, Grid, HalfSpace, Model, Uniform
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.checkpoint import Run, read_run, write_run
from dgmmis.information import StandardErrors
from dgmmis.model_selection import select
from dgmmis.portrait import Portrait
from dgmmis.selection import FromFunction, Imported, Injections
from dgmmis.simulate import simulate
from dgmmis.survey import Survey
from tests.browser import CHROMIUM, browser

MIXTURE = GaussianMixture([0.25, 0.75], [[0, 0], [4, 1]], [np.eye(2), [[2, 1.5], [1.5, 2]]])
SEEN = Box([-1, -np.inf], [4, 3.25]) & ~(Ball([1.5, 1 / 3], 0.5) | HalfSpace([1, -1], 0.5, softness=0.1))


def html(value: Any) -> ElementTree.Element:
    """What a notebook gets, which is well-formed."""
    return ElementTree.fromstring(value._repr_html_())


def said(value: Any) -> str:
    return " ".join(html(value).itertext())


@pytest.mark.parametrize(
    "selection",
    [
        Box([0, 0], [10, 10]),
        ~Ball([6.5, 6], 2),
        SEEN,
        (Box([0, 0], [1, 1]) | Ball([0, 0], 1)) & HalfSpace([1, 0], 0.5),
        Box([0, 0], [1, 1]) & (Ball([0, 0], 1) & HalfSpace([1, 0], 0.5)),
        Box([0, 0], [1, 1]) | (Ball([2, 0], 1) | Ball([0, 2], 1)),
        ~~Box([0, 0], [1, 1]),
    ],
    ids=str,
)
def test_a_selection_is_the_expression_that_makes_it(selection: dgmmis.selection.Selection) -> None:
    points = np.random.default_rng(0).normal(1, 3, (500, 2))
    again = eval(repr(selection), {"Box": Box, "Ball": Ball, "HalfSpace": HalfSpace, "inf": np.inf})
    assert np.allclose(again(points), selection(points), atol=1e-4)
    assert repr(again) == repr(selection)


def test_other_selections_are_short() -> None:
    omega = np.full((3, 4), 0.5)
    assert repr(Grid([[0, 1, 2, 3], [0, 1, 2, 3, 4]], omega)) == "Grid(3 x 4 values, constant, outside: refuse)"
    injections = Injections(np.zeros((5, 2)), np.array([True, False, True, True, False]), np.zeros(5))
    assert repr(injections) == "Injections(5 in 2 features, 3 of them found)"
    assert "some_omega" in repr(FromFunction(some_omega))
    assert repr(Imported("tests.test_portraits:some_omega", {"depth": 2.5})) == (
        "Imported('tests.test_portraits:some_omega', depth=2.5)"
    )
    assert len(repr(Box(np.zeros(40), np.ones(40)))) < 120
    assert "no map" not in said(injections)
    assert html(injections).find(".//svg") is None


def some_omega(points: np.ndarray, depth: float = 1.0) -> np.ndarray:
    return np.full(len(points), 0.5 * min(depth, 1.0))


def test_a_map_shows_where_is_seen() -> None:
    drawn = html(Box([0, 0], [10, 10]) & ~Ball([6.5, 6], 2))
    rows: dict[str, float] = {}
    for rect in drawn.iterfind(".//svg/rect"):
        if rect.get("fill") != "none":
            rows[rect.attrib["y"]] = rows.get(rect.attrib["y"], 0.0) + float(rect.attrib["width"])
    assert len(rows) == 40  # of 48, a tenth of the box beyond each edge
    assert max(rows.values()) == pytest.approx(150, abs=0.2)  # the box, of 180 pixels
    assert min(rows.values()) == pytest.approx(150 - 4 * 15, abs=8)  # less the ball
    # what has more features has no map, and functions are not called for one
    assert html(Box([0] * 3, [1] * 3)).find(".//svg") is None
    assert html(FromFunction(uncallable)).find(".//svg") is None
    assert html(Box([0, 0], [1, 1]) & FromFunction(uncallable)).find(".//svg") is None


def _dark(selection: dgmmis.selection.Selection) -> tuple[float, list[str]]:
    """The share of a map that is dark, and what is written beside it."""
    drawn = html(selection).find(".//svg")
    assert drawn is not None
    rects = [rect for rect in drawn.iterfind("rect") if rect.get("fill") != "none"]
    area = sum(
        float(rect.attrib["width"]) * float(rect.attrib["height"]) * float(rect.attrib["fill-opacity"])
        for rect in rects
    )
    return area / (0.75 * 180**2), ["".join(text.itertext()) for text in drawn.iterfind("text")]


def test_lines_and_grids_have_maps_too() -> None:
    # x + 2 y < 4, from where it meets one axis to where it meets the other: half of that window
    share, words = _dark(HalfSpace([1, 2], 4))
    assert share == pytest.approx(0.5, abs=0.03)
    assert words == ["-0.4", "4.4", "feature 0", "-0.2", "2.2", "feature 1"]
    # a grid that refuses what is beyond it ends where its map does
    steps = Grid([[0, 1, 2], [0, 1]], [[1.0], [0.25]], features=(3, 1))
    share, words = _dark(steps)
    assert share == pytest.approx(0.625, abs=0.02)
    assert words == ["0", "1", "feature 1", "0", "2", "feature 3"]
    # of one feature it is the area below Omega
    share, words = _dark(HalfSpace([0, 1, 0], 3.0, softness=0.1))
    assert share == pytest.approx(0.5, abs=0.02)
    assert words == ["2.28", "3.72", "feature 1", "0", "1", "Omega"]
    assert _dark(Box([0, -np.inf], [np.inf, np.inf]))[0] == pytest.approx(0.5, abs=0.02)
    # a line does not take a map beyond what encloses it
    _, words = _dark(Box([0, 0], [10, 10]) & HalfSpace([1, 0.001], 5))
    assert words == ["-1", "11", "feature 0", "-1", "11", "feature 1"]
    assert html(HalfSpace([1, 1, 1], 0)).find(".//svg") is None
    assert html(HalfSpace([1, 1], np.inf)).find(".//svg") is None


def uncallable(points: np.ndarray) -> np.ndarray:
    raise AssertionError("a portrait calls nobody's function")


def test_mixtures_are_tables_with_ellipses() -> None:
    assert repr(MIXTURE) == "GaussianMixture(2 components of 2 features, weights [0.75, 0.25])"
    rows = ["".join(row.itertext()) for row in html(MIXTURE).iterfind(".//tr")]
    assert rows[1].startswith("1" + "0.75" + "4 (1.41)")
    assert rows[2].startswith("0" + "0.25" + "0 (1)")
    ellipse = html(MIXTURE).find(".//ellipse")
    assert ellipse is not None
    axes = [float(ellipse.attrib[name]) for name in ("rx", "ry")]
    assert axes[0] > axes[1]  # of component 1, which is long, along the diagonal or so
    turned = float(ellipse.attrib["transform"].rpartition("rotate(")[2].rstrip(")")) % 180
    assert 90 < turned < 180  # from lower left to upper right, where downwards is positive
    wide = GaussianMixture(np.full(200, 0.005), np.zeros((200, 30)), np.broadcast_to(np.eye(30), (200, 30, 30)))
    assert len(wide._repr_html_()) < 60_000
    assert "180 more components and 22 more features" in said(wide).replace("; and ", " and ")
    assert len(repr(wide)) < 200
    on = Model(MIXTURE, Uniform([0, 0], [1, 1]), 0.1)
    assert "0.10000" in said(on)
    assert "Uniform" in repr(on)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portraits") / "survey.zarr"
    simulate(path, "box-with-hole", n=4000, seed=1)
    return path


def test_a_survey_is_told_from_its_documents(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dgmmis.Dataset.open(store)
    monkeypatch.setattr(dgmmis.dataset.reference.ChunkReference, "load", uncallable)
    words = said(dataset)
    for part in (str(store), f"{dataset.n_rows:,} in 1 segment", "smallest", "shared"):
        assert part in words
    catalogue = ArrayDataset.of([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]], 0.1 * np.eye(2))
    assert repr(catalogue) == "ArrayDataset(4 rows of 2 features, noise: shared)"
    assert "12.50% of the values" in said(catalogue)


def test_fits_runs_and_choices(store: Path, tmp_path: Path) -> None:
    seen = Survey(Box([0, 0], [10, 10]) & ~Ball([6.5, 6.0], 2.0))
    points = np.random.default_rng(0).normal([3, 4], 1.0, (800, 2))
    catalogue = ArrayDataset.of(points[seen.selection(points) > 0])
    choice = select(catalogue, [1, 2], survey=seen)
    found = choice.best
    for part in (found.status.value, "completeness", "log-likelihood"):
        assert part in said(found)
    assert len(repr(found)) < 200
    assert "GaussianMixture" not in said(found)
    rows = ["".join(row.itertext()) for row in html(choice).iterfind(".//tr")]
    assert any(row.startswith("*1full") for row in rows)
    printed = str(choice).splitlines()
    assert printed[0].split()[:3] == ["components", "covariances", "parameters"]
    assert printed[-1] == choice.recommendation
    errors = found.standard_errors()
    assert isinstance(errors, StandardErrors)
    assert len(repr(errors)) < 200

    document = {"status": found.status.value, "n_passes": 3, "standard_errors": {"means": errors.means.tolist()}}
    write_run(tmp_path / "a.run", Run(found.model, ("<x>", "y & z"), ("mag", ""), document))
    run = read_run(tmp_path / "a.run")
    assert "<x> [mag]" in said(run)  # escaped, and so come back
    assert " ± " in said(run)
    assert repr(run) == f"Run(1 component of <x>, y & z: {found.status.value})"


def test_text_of_others_is_escaped() -> None:
    portrait = Portrait("<b>", (("<i>", "&"),), (("<script>",), ("</td>",)), note="<hr>")
    assert said_by(portrait.html) == "<b> <i> & <script> </td> <hr>"


def said_by(made: Callable[[], str]) -> str:
    return " ".join(ElementTree.fromstring(made()).itertext())


@CHROMIUM.needed
def test_a_browser_draws_them(store: Path, tmp_path: Path) -> None:
    values = (MIXTURE, SEEN, Box([0, 0], [10, 10]) & ~Ball([6.5, 6], 2), dgmmis.Dataset.open(store))
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><meta charset='utf-8'>" + "".join(value._repr_html_() for value in values))
    with browser() as chromium:
        shown = chromium.page(page.as_uri(), width=700)
        assert shown.errors == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= 700
        sizes = shown.evaluate("[...document.querySelectorAll('ellipse')].map(e => e.getBoundingClientRect().width)")
        frame = shown.evaluate("document.querySelector('svg rect').getBoundingClientRect().width")
        assert len(sizes) == 4
        assert 0.3 * frame < max(sizes) < frame  # within the frame
