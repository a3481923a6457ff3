"""Pictures of fits: what they show, measured on what is drawn."""

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import norm

from dgmmis.callback import Record
from dgmmis.chunk import Chunk
from dgmmis.cli import program
from dgmmis.dataset.arrays import ArrayDataset, Reference
from dgmmis.dataset.checkpoint import Run, read_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, JobError, RefusedError, ShapeError, StoreError
from dgmmis.goodness.counts import counted
from dgmmis.job import read_job
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.plotting import choice_figure, convergence_figure, corner_figure, residuals_figure, write_figure
from dgmmis.plotting.contours import densest
from dgmmis.runs import run_job
from dgmmis.selection import Box, HalfSpace, Injections
from dgmmis.simulate import PRESETS, simulate
from dgmmis.survey import Survey

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.collections import EllipseCollection  # noqa: E402
from matplotlib.contour import ContourSet  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.image import imread  # noqa: E402

MIXTURE = GaussianMixture(
    [0.6, 0.4],
    [[0.0, 1.0, 2.0], [3.0, -1.0, 0.0]],
    [[[1.0, 0.6, 0.0], [0.6, 2.0, 0.3], [0.0, 0.3, 1.0]], np.diag([0.5, 2.0, 1.0])],
)
N_LONG = 140_000
"""Rows of a store of three chunks."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a simulated survey of half a square field, and of a run fitted to it in threads."""
    folder = tmp_path_factory.mktemp("pictures")
    simulate(folder / "hole.zarr", "box-with-hole", n=8_000, seed=1)
    job = folder / "hole.toml"
    text = job.read_text().replace('kind = "local"', 'kind = "threads"').replace("tol = 1e-06", "tol = 1e-4")
    job.write_text(text)
    run_job(read_job(job), folder / "hole.run")
    return folder


@pytest.fixture(scope="module")
def hole(folder: Path) -> Dataset:
    return Dataset.open(folder / "hole.zarr")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder / "hole.run")


@pytest.fixture(scope="module")
def corner(run: Run, hole: Dataset) -> Figure:
    return corner_figure(run, hole)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """A store of three chunks with gaps and weights, and its points and weights as arrays."""
    rng = np.random.default_rng(5)
    points, weights = MIXTURE.sample(N_LONG, 4), rng.integers(1, 4, N_LONG).astype(float)
    points[rng.random(points.shape) < 0.1] = np.nan
    points[np.isnan(points).all(axis=1), 0] = 0.0
    path = tmp_path_factory.mktemp("long") / "long.zarr"
    with SurveyWriter(path, Schema(("a", "b", "c"), ("m", "", "s"), weighted=True)) as writer:
        writer.write(points, weights=weights)
    return Dataset.open(path), points, weights


@dataclass
class Reading:
    """What was read: how often, and how many chunks were in memory at once."""

    loads: list[str] = field(default_factory=list)
    alive: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, key: str, points: np.ndarray) -> None:
        with self.lock:
            self.loads.append(key)
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(points, self.end)

    def end(self) -> None:
        self.alive -= 1


@dataclass(frozen=True)
class Recorded:
    """A reference that notes when it is loaded."""

    of: Reference
    reading: Reading

    def __getattr__(self, name: str) -> object:
        return getattr(self.of, name)

    def load(self) -> Chunk:
        chunk = self.of.load()
        own = replace(chunk, points=np.array(chunk.points))
        self.reading.begin(self.of.key, own.points)
        return own


@dataclass(frozen=True)
class Recording:
    """A catalogue whose references do."""

    n_features: int
    references: Sequence[Recorded]
    in_memory: bool = False

    @property
    def n_rows(self) -> int:
        return sum(one.of.n_rows for one in self.references)


def _panel(figure: Figure, row: int, column: int) -> Axes:
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    return panels[row * int(np.sqrt(len(panels))) + column]


def _line(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def _chi_square(figure: Figure, row: int = 0, column: int = 0) -> tuple[float, int]:
    words = _panel(figure, row, column).get_title(loc="left").replace(",", "").split()
    return float(words[1]), int(words[3])


def test_chunks_are_counted_as_the_whole_would_be(long: tuple[Dataset, np.ndarray, np.ndarray]) -> None:
    data, points, weights = long
    edges = np.stack([np.linspace(-4.0, 6.0, 21), np.linspace(-5.0, 5.0, 21)])
    told: list[tuple[int, int | None]] = []
    counts = counted(data, edges, features=(2, 0), on_rows=lambda done, of: told.append((done, of)))
    assert told == [(65_536, N_LONG), (131_072, N_LONG), (N_LONG, N_LONG)]
    c, a = points[:, 2], points[:, 0]
    both = ~np.isnan(a) & ~np.isnan(c)
    # weights are whole numbers: their sums are exact
    np.testing.assert_array_equal(counts.along[0], np.histogram(c, edges[0], weights=weights)[0])
    over = np.histogram2d(a[both], c[both], bins=edges[::-1], weights=weights[both])[0]
    np.testing.assert_array_equal(counts.over[1, 0], over)
    assert counts.measured[1, 0] == weights[both].sum()
    assert counts.measured[0, 0] == weights[~np.isnan(c)].sum()
    assert (counts.weight, counts.squares) == (weights.sum(), weights @ weights)


def test_the_data_are_never_in_memory_as_a_whole(long: tuple[Dataset, np.ndarray, np.ndarray]) -> None:
    data, _, _ = long
    reading = Reading()
    recording = Recording(3, [Recorded(one, reading) for one in data.references])
    counted(recording, np.linspace([-4.0, -4.0], [6.0, 6.0], 9, axis=1), features=(0, 1))
    assert reading.loads == [one.key for one in data.references]
    assert len(reading.loads) == 3
    assert reading.most <= 2  # the last one goes when the next has come


def test_the_panels_show_the_counts_of_the_data(corner: Figure, hole: Dataset) -> None:
    points = hole.references[0].load().points
    image = _panel(corner, 1, 0).images[0]
    left, right, bottom, top = image.get_extent()
    shown = np.asarray(image.get_array())
    b = len(shown)
    bins = np.linspace(bottom, top, b + 1), np.linspace(left, right, b + 1)
    area = (right - left) * (top - bottom) / b**2
    np.testing.assert_allclose(shown * area, np.histogram2d(points[:, 1], points[:, 0], bins=bins)[0], atol=1e-9)
    assert 0.995 * len(points) < shown.sum() * area <= len(points)
    (steps,) = _panel(corner, 0, 0).patches
    values, edges, _ = steps.get_data()
    np.testing.assert_allclose(values * np.diff(edges), np.histogram(points[:, 0], edges)[0], atol=1e-9)


def test_axes_have_names_units_and_limits_in_common(corner: Figure) -> None:
    assert [_panel(corner, 1, j).get_xlabel() for j in (0, 1)] == ["x [arcmin]", "y [arcmin]"]
    assert _panel(corner, 1, 0).get_ylabel() == "y [arcmin]"
    assert _panel(corner, 0, 1).get_ylabel() == "x [arcmin]"
    limits = {_panel(corner, i, 0).get_xlim() for i in (0, 1)} | {_panel(corner, 0, 1).get_ylim()}
    assert len(limits) == 1
    assert _panel(corner, 1, 0).get_ylim() == _panel(corner, 0, 1).get_xlim() == _panel(corner, 1, 1).get_xlim()
    lower, upper = (_panel(corner, *place).images[0].norm for place in ((1, 0), (0, 1)))
    assert (lower.vmin, lower.vmax) == pytest.approx((upper.vmin, upper.vmax))


def test_ellipses_are_the_covariances(corner: Figure, run: Run) -> None:
    for place, features in (((1, 0), (0, 1)), ((0, 1), (1, 0))):
        drawn = [one for one in _panel(corner, *place).collections if isinstance(one, EllipseCollection)]
        part = run.model.mixture.marginal(features)
        for sigma, ellipses in zip((1.0, 2.0), drawn, strict=True):
            np.testing.assert_allclose(ellipses.get_offsets(), part.means)
            axes = np.stack([ellipses.get_heights(), ellipses.get_widths()], axis=1) / (2 * sigma)
            np.testing.assert_allclose(axes**2, np.linalg.eigvalsh(part.covariances))


def test_the_population_holds_what_was_not_seen(corner: Figure, run: Run, hole: Dataset) -> None:
    image = _panel(corner, 0, 1).images[0]
    left, right, bottom, top = image.get_extent()
    held = np.asarray(image.get_array()).mean() * (right - left) * (top - bottom)
    assert 0.97 < held / (hole.n_rows / run.completeness) <= 1.0
    x, density = _line(_panel(corner, 0, 0), "population")
    covariance = run.model.mixture.covariances[:, 0, 0]
    exact = run.model.mixture.weights @ norm.pdf(x, run.model.mixture.means[:, :1], np.sqrt(covariance)[:, None])
    np.testing.assert_allclose(density, exact * hole.n_rows / run.completeness, rtol=1e-9)
    title = corner.get_suptitle()
    assert f"{hole.n_rows:,} objects that were seen" in title
    assert f"the population, {hole.n_rows / run.completeness:,.0f} objects" in title


def test_edges_are_drawn_on_both_sides(corner: Figure) -> None:
    for place in ((1, 0), (0, 1)):
        ax = _panel(corner, *place)
        dashed = [c for c in ax.collections if isinstance(c, ContourSet) and c.get_linestyle()[0][1] is not None]
        (edges,) = dashed
        vertices = np.concatenate([path.vertices for path in edges.get_paths()])
        straight = np.abs(vertices - 10.0).min(axis=1) < 0.05
        ring = np.abs(np.hypot(*(vertices - ([6.5, 6.0] if place == (1, 0) else [6.0, 6.5])).T) - 2.0) < 0.05
        assert straight.sum() > 20
        assert ring.sum() > 50


def test_the_model_is_drawn_as_the_survey_sees_it(hole: Dataset) -> None:
    """With noise and selection: nothing beyond the edge, and the truth as the objects lie."""
    preset = PRESETS["box-with-hole"]
    figure = corner_figure(preset.model, hole, survey=preset.survey)
    for i in (0, 1):
        x, density = _line(_panel(figure, i, i), "model, as seen")
        width = x[1] - x[0]
        assert np.all(density[(x < -width) | (x > 10 + width)] == 0)
        assert density.sum() * width == pytest.approx(hole.n_rows, rel=0.01)
        y = hole.references[0].load().points[:, i]
        seen = np.histogram(y, np.append(x - width / 2, x[-1] + width / 2))[0]
        expected = density * width
        assert np.sum((seen - expected) ** 2 / np.maximum(expected, 1.0)) < len(x) + 5 * np.sqrt(2 * len(x))


def test_where_all_is_seen_noise_widens_what_is_seen() -> None:
    model = Model(GaussianMixture([1.0], [[1.0, -2.0]], [np.diag([1.0, 0.25])]))
    rng = np.random.default_rng(3)
    y = model.sample(5_000, 7) + rng.normal(size=(5_000, 2)) * [2.0, 0.5]
    figure = corner_figure(model, ArrayDataset.of(y, np.diag([4.0, 0.25])))
    for i, (mean, own, noise) in enumerate([(1.0, 1.0, 4.0), (-2.0, 0.25, 0.25)]):
        x, density = _line(_panel(figure, i, i), "model, as seen")
        peak = 5_000 / np.sqrt(2 * np.pi * (own + noise))
        np.testing.assert_allclose(density, 5_000 * norm.pdf(x, mean, np.sqrt(own + noise)), atol=0.04 * peak)
    assert [_panel(figure, 1, j).get_xlabel() for j in (0, 1)] == ["x0", "x1"]


def test_curves_hold_the_shares_of_a_normal_distribution() -> None:
    x, y = np.meshgrid(np.linspace(-6, 6, 601), np.linspace(-6, 6, 601))
    values = np.exp(-(x**2 + y**2) / 2)
    two, one = densest(values, [1 - np.exp(-0.5), 1 - np.exp(-2.0)])
    assert (two, one) == pytest.approx((np.exp(-2.0), np.exp(-0.5)), rel=0.01)
    assert densest(np.zeros((3, 3)), [0.5]) == []


def test_edges_of_two_features_only_where_the_others_do_not_matter() -> None:
    points = MIXTURE.sample(2_000, 1)
    box = Box(np.array([-1.0, -2.0, -np.inf]), np.array([3.0, 2.0, np.inf]))
    slanted = HalfSpace(np.array([1.0, 1.0, 1.0]), 3.0)
    for selection, drawn in ((box, {(1, 0), (0, 1)}), (slanted, set())):
        data = points[selection(points) > 0]
        figure = corner_figure(Model(MIXTURE), data, survey=Survey(selection))
        found = set()
        for place in ((1, 0), (0, 1)):
            sets = [c for c in _panel(figure, *place).collections if isinstance(c, ContourSet)]
            if len(sets) == 2:  # curves, and edges
                found.add(place)
        assert found == drawn


def test_without_data_a_mixture_is_drawn_alone(tmp_path: Path) -> None:
    figure = corner_figure(MIXTURE, features=[2, 0])
    assert not _panel(figure, 0, 1).get_visible()
    assert _panel(figure, 1, 0).get_ylabel() == "x0"
    assert np.asarray(_panel(figure, 1, 0).images[0].get_array()).max() > 0
    write_figure(tmp_path / "alone.svg", figure)
    assert (tmp_path / "alone.svg").read_bytes().startswith(b"<?xml")


def test_a_run_without_its_data_says_what_would_be_seen(run: Run) -> None:
    figure = corner_figure(run)
    x, density = _line(_panel(figure, 0, 0), "model, as seen")
    assert density.sum() * (x[1] - x[0]) == pytest.approx(1.0, rel=0.01)
    assert np.all(density[x > 10.3] == 0)
    assert len(_panel(figure, 1, 0).images) == 0


def test_the_truth_leaves_nothing_but_chance(hole: Dataset, tmp_path: Path) -> None:
    preset = PRESETS["box-with-hole"]
    square, n = _chi_square(residuals_figure(preset.model, hole, survey=preset.survey))
    assert n > 100
    assert abs(square - n) < 4 * np.sqrt(2 * n)
    # colours whose errors and gaps differ for each object
    survey = simulate(tmp_path / "deconvolution.zarr", "deconvolution", n=8_000)
    figure = residuals_figure(PRESETS["deconvolution"].model, survey)
    for place in ((0, 0), (1, 0), (1, 1)):
        square, n = _chi_square(figure, *place)
        assert abs(square - n) < 4 * np.sqrt(2 * n)


def test_a_wrong_model_shows_where_it_is_wrong(long: tuple[Dataset, np.ndarray, np.ndarray]) -> None:
    data, _, _ = long
    without = Model(GaussianMixture([1.0], MIXTURE.means[:1], MIXTURE.covariances[:1]))
    figure = residuals_figure(without, data, features=["a", "b"])
    square, n = _chi_square(figure)
    assert square > 10 * n
    image = figure.axes[0].images[0]
    left, right, bottom, top = image.get_extent()
    values = np.ma.filled(image.get_array(), 0.0)
    row, column = np.unravel_index(np.argmax(values), values.shape)
    at = left + (column + 0.5) / values.shape[1] * (right - left), bottom + (row + 0.5) / len(values) * (top - bottom)
    assert np.hypot(*np.subtract(at, MIXTURE.means[1, :2])) < 1.5
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("a [m]", "b")


def test_weights_make_errors_larger(long: tuple[Dataset, np.ndarray, np.ndarray]) -> None:
    data, _, _ = long
    figure = residuals_figure(MIXTURE, data)
    for place in ((0, 0), (1, 0), (1, 1)):
        square, n = _chi_square(figure, *place)
        assert abs(square - n) < 4 * np.sqrt(2 * n)


def test_passes_are_drawn_as_they_were(run: Run) -> None:
    history = run.document["history"]
    figure = convergence_figure(run)
    names = [ax.get_ylabel().split("\n")[0] for ax in figure.axes]
    assert names == ["objective", "gain", "to the maximum", "completeness"]
    for ax, name in zip(figure.axes, ("objective", "gain", "distance", "completeness"), strict=True):
        drawn = [pair for line in ax.lines if line.get_label() == name for pair in np.asarray(line.get_xydata())]
        known = [(x, y) for x, y in drawn if np.isfinite(y)]
        exact = [(r["iteration"], r[name]) for r in history if r[name] is not None]
        assert known == [pair for pair in exact if name != "gain" or pair[1] > 0]
        marks = [line.get_xdata()[0] for line in ax.lines if line.get_label() == "_round"]
        later = [b for a, b in pairwise(history) if b["round"] != a["round"]]
        assert marks == [r["iteration"] - 0.5 for r in later]
        assert marks
    band = np.concatenate([c.get_paths()[0].vertices for c in figure.axes[3].collections])
    last = history[-1]
    at_last = band[band[:, 0] == last["iteration"], 1]
    assert np.ptp(at_last) == pytest.approx(2 * last["completeness_error"])
    looser = run.document["job"].replace("[fit]\n", "[fit]\narrived = 3\n")
    for of, arrived in ((run, 0.03), (replace(run, document={**run.document, "job": looser}), 3.0)):
        assert set(_line(convergence_figure(of).axes[2], "_close")[1]) == {arrived}


def test_losses_and_backgrounds_are_drawn() -> None:
    record = Record(0, 0, -1.0, np.nan, np.inf, -1.0, 1.0, 0.0, 0.1, 10.0, 0.1)
    records = [record, replace(record, iteration=1, gain=0.5), replace(record, iteration=2, gain=-0.25, distance=2.0)]
    figure = convergence_figure(records)
    assert [ax.get_ylabel().split("\n")[0] for ax in figure.axes][2:] == ["to the maximum", "background"]
    assert _line(figure.axes[1], "loss")[1].tolist() == [0.25]
    assert _line(figure.axes[3], "background_fraction")[1].tolist() == [0.1] * 3
    with pytest.raises(DataError, match="no passes"):
        convergence_figure([])


def test_a_damaged_history_is_an_error(run: Run) -> None:
    damaged = replace(run, document={**run.document, "history": [{"iteration": "first"}]})
    with pytest.raises(StoreError, match="history of the run is damaged"):
        convergence_figure(damaged)


def test_what_has_no_meaning_is_refused(run: Run, hole: Dataset) -> None:
    points = MIXTURE.sample(100, 0)
    with pytest.raises(JobError, match=r"unknown feature 'xx'\. Did you mean 'x'"):
        corner_figure(run, hole, features=["xx"])
    with pytest.raises(JobError, match="given twice"):
        corner_figure(run, hole, features=["x", "x"])
    with pytest.raises(JobError, match=r"expected 0 to 2, got 3"):
        corner_figure(MIXTURE, features=[3])
    with pytest.raises(JobError, match="expected 2 to 6, got 1"):
        residuals_figure(MIXTURE, points, features=[0])
    with pytest.raises(JobError, match=r"expected 1 to 6, got 7\. Choose some of"):
        corner_figure(GaussianMixture([1.0], np.zeros((1, 7)), np.eye(7)[None]))
    with pytest.raises(ShapeError, match="does not fit the data"):
        corner_figure(MIXTURE, points[:, :2])
    with pytest.raises(JobError, match="without data"):
        corner_figure(MIXTURE, survey=Survey(Box(np.full(3, -1.0), np.full(3, 1.0))))
    projected = ArrayDataset.of(points[:, :2], np.eye(2), projection=np.repeat(np.eye(2, 3)[None], 100, axis=0))
    with pytest.raises(RefusedError, match="with projections"):
        corner_figure(MIXTURE, projected)
    found = Injections(points, np.arange(100) < 60, MIXTURE.log_density(points))
    with pytest.raises(RefusedError, match="injections do not say"):
        residuals_figure(MIXTURE, points, survey=Survey(found))
    never = np.where([True, True, False], points, np.nan)
    with pytest.raises(RefusedError, match="'x2' was never measured"):
        residuals_figure(MIXTURE, never)


def test_pictures_are_not_blank(corner: Figure, tmp_path: Path) -> None:
    write_figure(tmp_path / "corner.png", corner)
    pixels = imread(tmp_path / "corner.png")[..., :3]
    height, width = pixels.shape[:2]
    assert (width, height) == (832, 848)
    for ax in corner.axes:
        box = ax.get_position()
        rows = slice(int((1 - box.y1) * height) + 4, int((1 - box.y0) * height) - 4)
        view = pixels[rows, int(box.x0 * width) + 4 : int(box.x1 * width) - 4]
        assert view.std() > 0.05


def _plot(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    command = [sys.executable, "-m", "dgmmis", "plot", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300, check=False
    )


def test_the_command_draws_the_run_with_its_own_data(folder: Path) -> None:
    done = _plot(folder, "hole.run", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["out"] == "hole-corner.png"
    assert document["rows"] == Dataset.open(folder / "hole.zarr").n_rows
    assert document["features"] == ["x", "y"]
    assert (folder / "hole-corner.png").read_bytes().startswith(b"\x89PNG")


def test_errors_are_one_sentence(folder: Path) -> None:
    done = _plot(folder, "hole.run", "--what", "residuals", "--features", "x,yy")
    assert done.returncode == 2
    assert done.stderr.strip() == "dgmmis: unknown feature 'yy'. Did you mean 'y'?"
    assert not (folder / "hole-residuals.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hole.zarr"], "no run at"),
        (["hole.run", "--out", "a.gif"], "must end in one of .png, .pdf, .svg"),
        (["hole.run", "--out", "nowhere/a.png"], "there is no folder 'nowhere'"),
        (["hole.run", "--what", "convergence", "--data", "hole.zarr"], "neither data nor features"),
        (["hole.run", "--data", "none.zarr"], "no survey store at"),
        (["hole.run", "--what", "corners"], "'corners' is not one of"),
        (["hole.run", "--what", "criteria", "--features", "x"], "neither data nor features"),
        (["hole.run", "--levels", "68"], "shares between 0 and 1 such as 0.68,0.95"),
        (["hole.run", "--contours", "half"], "shares between 0 and 1 such as 0.68,0.95"),
        (["hole.run", "--what", "residuals", "--contours", "0.5"], "residuals has neither ellipses nor curves"),
    ],
)
def test_bad_arguments_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(program, ["plot", *arguments])
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)


def test_convergence_and_residuals_from_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for what, out in (("convergence", "c.pdf"), ("residuals", "r.svg")):
        result = CliRunner().invoke(program, ["plot", "hole.run", "--what", what, "--out", out])
        assert result.exit_code == 0, result.output
    assert (folder / "c.pdf").read_bytes().startswith(b"%PDF")
    assert b"in" in (folder / "r.svg").read_bytes()


@pytest.mark.parametrize("what", ["marginals", "membership", "completeness"])
def test_the_other_pictures_from_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(program, ["plot", "hole.run", "--what", what, "--features", "y", "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["what"], document["features"]) == (what, ["y"])
    pixels = imread(folder / f"hole-{what}.png")[..., :3]
    assert pixels.std() > 0.05


def test_levels_and_contours_from_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    written = []
    for options in ([], ["--levels", "0.68,0.95"], ["--contours", "0.5"], ["--contours", ""]):
        result = CliRunner().invoke(program, ["plot", "hole.run", *options, "--quiet", "--out", "l.png"])
        assert result.exit_code == 0, result.output
        written.append((folder / "l.png").read_bytes())
    assert len(set(written)) == 4


def test_a_choice_is_drawn_from_beside_its_run(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from dgmmis.chosen import TABLE
    from dgmmis.dataset.checkpoint import write_beside, write_run
    from dgmmis.model_selection import select

    monkeypatch.chdir(folder)
    result = CliRunner().invoke(program, ["plot", "hole.run", "--what", "criteria"])
    assert result.exit_code != 0
    assert "no table of a choice beside the run 'hole.run'" in str(result.exception)
    choice = select(ArrayDataset.of(MIXTURE.sample(400, 2)), [1, 2])
    write_run(folder / "best.run", run)
    write_beside(folder / "best.run", TABLE, choice.document())
    result = CliRunner().invoke(program, ["plot", "best.run", "--what", "criteria", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["models"] == 2
    drawn, again = choice_figure(choice), choice_figure(json.loads((folder / "best.run" / TABLE).read_text()))
    for one, other in zip(drawn.axes[0].lines, again.axes[0].lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())
    with pytest.raises(StoreError, match="table of the choice is damaged"):
        choice_figure({**choice.document(), "n_components": 9})
    (folder / "best.run" / TABLE).write_text("{")
    assert CliRunner().invoke(program, ["plot", "best.run", "--what", "criteria"]).exit_code != 0


def test_a_run_whose_data_are_gone_is_drawn_alone(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from dgmmis.dataset.checkpoint import write_run

    monkeypatch.chdir(folder)
    write_run(folder / "moved.run", replace(run, document={**run.document, "data": str(folder / "gone.zarr")}))
    result = CliRunner().invoke(program, ["plot", "moved.run"])
    assert result.exit_code == 0, result.output
    assert "the model alone is drawn" in result.output
    assert (folder / "moved-corner.png").exists()


def test_the_help_has_an_example() -> None:
    shown = CliRunner().invoke(program, ["plot", "--help"])
    assert "dgmmis plot survey.run --what residuals --features x,y --out residuals.pdf" in shown.output
