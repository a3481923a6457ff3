"""The page about fits on the dashboard of their cluster: what it is told, keeps and shows, without a browser."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import Div, Select
from bokeh.plotting import figure
from distributed import Client, LocalCluster
from distributed.protocol import dumps

from dgmmis.account import Account
from dgmmis.callback import Callback
from dgmmis.chunk import Chunk
from dgmmis.dashboard.ellipses import outlines, packed, window
from dgmmis.dashboard.shown import COLUMNS, MOST_POINTS, MOST_RUNS, Shown
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.checkpoint import Run
from dgmmis.dataset.schema import Schema
from dgmmis.density import BINS, MOST_FEATURES, pair_counts
from dgmmis.em import Stopping
from dgmmis.execution.distributed import Distributed
from dgmmis.execution.serial import Serial
from dgmmis.fit import evaluate, fit
from dgmmis.initialize import Start
from dgmmis.interruption import Interrupted
from dgmmis.job import Job, read_job
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.model_selection import Criterion, Fitting, select
from dgmmis.noise import NoNoise
from dgmmis.runs import run_job
from dgmmis.simulate import simulate
from dgmmis.telemetry import MOST_COMPONENTS, RunPage, Telemetry
from tests.interrupted import Interrupts, job_at
from tests.looked_at import answer, link_of, runs_at, session

LOOPBACK = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}


@dataclass(frozen=True)
class Watched:
    """A cluster of processes on which two jobs were fitted, and one of them was interrupted."""

    executor: Distributed
    link: str
    run: Run
    seen: list[dict[str, Any]]
    """What was there of the second run while it was under way."""


class Looks(Callback):
    """At what is shown of a fit, while it makes passes."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.on_step = lambda step: look()  # type: ignore[method-assign]


def _short(folder: Path, preset: str, name: str) -> Job:
    path = job_at(folder, preset, 20_000)
    text = re.sub("max_iter = [0-9]+", "max_iter = 6", path.read_text())
    assert "max_iter = 6" in text
    other = path.with_name(f"{name}.toml")
    other.write_text(text)
    return read_job(other)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    jobs = [
        _short(folder, preset, name)
        for folder, preset, name in zip(folders, ("background", "box-with-hole"), ("<first>", "second"), strict=True)
    ]
    with (
        LocalCluster(**LOOPBACK) as cluster,
        Client(cluster, set_as_default=False) as client,
        closing(Distributed(client)) as executor,
    ):
        link = link_of(executor)
        run = run_job(jobs[0], folders[0] / "a.run", executor=executor)
        seen: list[dict[str, Any]] = []
        looks = Looks(lambda: seen.extend(runs_at(link)[1:]))
        with pytest.raises(Interrupted):
            run_job(jobs[1], folders[1] / "b.run", executor=executor, callbacks=[looks, Interrupts(4)])
        yield Watched(executor, link, run, seen)


def test_it_is_in_the_menus_of_dask(watched: Watched) -> None:
    for link in (watched.link, watched.link.replace("/dgmmis", "/status")):
        page = answer(link)
        assert '<a href="dgmmis">' in page
        assert '<a href="individual-dgmmis-components">dgmmis Components</a>' in page
    plots = answer(watched.link.replace("/dgmmis", "/individual-plots.json"))
    assert "/individual-dgmmis-tasks" in plots
    assert "/individual-task-stream" in plots  # dask's own are still there


def test_scripts_are_told_of_every_pass(watched: Watched) -> None:
    first, second = runs_at(watched.link)
    assert (first["job"], second["job"]) == ("<first>", "second")
    assert first["run"] == watched.run.document["run_id"] != second["run"]
    (points,) = first["candidates"].values()
    for name in ("iteration", "objective", "completeness", "background_fraction"):
        assert points[name] == [record[name] for record in watched.run.document["history"]]
    assert first["about"]["features"] == list(watched.run.features)
    assert first["now"]["passes"] == watched.run.document["n_passes"]
    np.testing.assert_array_equal(first["model"]["means"], watched.run.model.mixture.means)
    assert runs_at(watched.link, f"?run={second['run']}") == [second]


def test_it_says_how_they_ended(watched: Watched) -> None:
    first, second = runs_at(watched.link)
    assert first["status"] == watched.run.document["status"]
    assert [run["is_over"] for run in (first, second)] == [True, True]
    assert second["status"].startswith("Interrupted")
    assert [event["level"] for event in (second["events"][0], second["events"][-1])] == ["info", "error"]
    assert re.fullmatch(r"begins: \d+ components", first["events"][0]["message"])
    times = [event["time"] for event in first["events"]]
    assert times == sorted(times)
    assert abs(times[-1] - time.time()) < 600


def test_it_is_told_while_they_are_under_way(watched: Watched) -> None:
    assert watched.seen[0]["status"] == "under way"
    assert not any(run["is_over"] for run in watched.seen)


def test_tasks_are_known_by_their_workers(watched: Watched) -> None:
    workers = set(watched.executor.client.scheduler_info(n_workers=-1)["workers"])
    for run in runs_at(watched.link):
        assert len(run["workers"]) > 0
        assert set(run["workers"]) <= workers
        n_passes = max(len(points["iteration"]) for points in run["candidates"].values())
        assert sum(of["tasks"] for of in run["workers"].values()) >= n_passes
        assert all(of["seconds"] > 0 for of in run["workers"].values())


def _selects(document: Document) -> dict[str, Select]:
    return {select.title: select for select in document.select({"type": Select})}


def _axes(document: Document) -> tuple[str, str]:
    """Of the components: what is across, and what is up."""
    (plot,) = (plot for plot in document.select({"type": figure}) if plot.title.text.endswith("components"))
    return plot.xaxis[0].axis_label, plot.yaxis[0].axis_label


def _words(document: Document) -> str:
    return " ".join(div.text for div in document.select({"type": Div}))


def test_who_looks_chooses_the_run_and_the_features(watched: Watched) -> None:
    first, second = runs_at(watched.link)
    with session(watched.link) as page, session(watched.link) as another:
        choice = _selects(page.document)
        assert [name for name, _ in choice["run"].options] == ["", second["run"], first["run"]]
        assert "<b>second</b>: Interrupted" in _words(page.document)
        choice["run"].value = first["run"]
        choice["up"].value, choice["across"].value = "0", "1"
        units = watched.run.units
        names = [f"{name} [{unit}]" if unit else name for name, unit in zip(watched.run.features, units, strict=True)]
        page.pull()
        assert _axes(page.document) == (names[1], names[0])
        assert "<b>&lt;first&gt;</b>: " in _words(page.document)  # a name is no markup
        assert "<b>second</b>" in _words(another.document)  # each has a choice of its own


@pytest.mark.parametrize("name", ["components", "convergence", "tasks"])
def test_there_are_bare_plots(watched: Watched, name: str) -> None:
    with session(watched.link.replace("/dgmmis", f"/individual-dgmmis-{name}")) as page:
        assert list(page.document.select({"type": figure}))
        assert not list(page.document.select({"type": Select}))


def _news(run: str, iteration: int, **more: Any) -> dict[str, Any]:
    point = [float(iteration if column == "iteration" else 0) for column in COLUMNS]
    return {"run": run, "job": run, "points": [("", point)], "client": "c", "executor": "e", **more}


def test_what_is_kept_is_bounded() -> None:
    shown = Shown()
    shown.hear(_news("under way", 0))
    for number in range(MOST_RUNS):
        shown.hear(_news(f"run {number}", 0, is_over=True))
    names = [run.name for run in shown]
    assert len(names) == MOST_RUNS
    assert names[0] == "under way"  # those that are over go first
    for iteration in range(3 * MOST_POINTS):
        shown.hear(_news("under way", iteration, events=[(0.0, "info", str(iteration))]))
        shown.task("e", (f"{iteration}-0", "tcp://one", 0.0, 1.0))
    run = shown.named("under way")
    assert run is not None
    of = [point[0] for point in run.points[""]]
    assert len(of) <= MOST_POINTS
    assert (of[0], of[-1]) == (0, 3 * MOST_POINTS - 1)
    assert of == sorted(set(of))
    assert len(run.events) < 1000
    assert len(run.tasks) <= 1000
    assert run.by_worker["tcp://one"] == [3 * MOST_POINTS, 3.0 * MOST_POINTS]


def test_many_candidates_are_bounded_together() -> None:
    shown = Shown()
    shown.hear(_news("a", 0))
    for number in range(2 * MOST_POINTS):
        shown.hear(_news("a", 0, points=[(f"start {number}", [0.0] * len(COLUMNS))]))
    (run,) = shown
    assert len(run.points) == MOST_POINTS
    assert f"start {2 * MOST_POINTS - 1}" in run.points


def test_a_run_that_begins_again_is_drawn_anew() -> None:
    shown = Shown()
    for iteration in range(3):
        shown.hear(_news("a", iteration))
    shown.hear(_news("a", 0, about={"features": ["x"]}))
    (run,) = shown
    assert [point[0] for point in run.points[""]] == [0]


def test_a_driver_that_goes_without_a_word_is_seen() -> None:
    shown = Shown()
    shown.hear(_news("over", 0, is_over=True, status="converged"))
    shown.hear(_news("killed", 0))
    shown.gone("another")
    assert [run.is_over for run in shown] == [True, False]
    shown.gone("c")
    over, killed = shown
    assert (over.status, killed.is_over) == ("converged", True)
    assert "its process is gone" in killed.status


@pytest.fixture
def model() -> Model:
    """Two hundred and fifty components in seven features."""
    rng = np.random.default_rng(1)
    k, d = MOST_COMPONENTS + 50, MOST_FEATURES + 1
    a = rng.normal(size=(k, d, d))
    return Model(GaussianMixture(rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), a @ a.swapaxes(1, 2)))


class Noted(Serial):
    """Does the work, and keeps what is told."""

    is_watched = True

    def __init__(self) -> None:
        self.news: list[tuple[float, Mapping[str, Any]]] = []

    def show(self, news: Mapping[str, Any]) -> None:
        self.news.append((time.monotonic(), news))


def _fitted(tmp_path: Path, n: int) -> tuple[Noted, Run]:
    job = read_job(job_at(tmp_path, "box-with-hole", n))
    executor = Noted()
    return executor, run_job(job, tmp_path / "a.run", executor=executor)


def test_a_fit_is_told_of_seldom_and_wholly(tmp_path: Path) -> None:
    executor, run = _fitted(tmp_path, 20_000)
    told = [point for _, news in executor.news for _, point in news["points"]]
    assert [point[0] for point in told] == [record["iteration"] for record in run.document["history"]]
    times = [at for at, news in executor.news if "status" not in news]
    assert min(np.diff(times), default=1.0) > 0.45
    begun, last = executor.news[0][1], executor.news[-1][1]
    assert (begun["about"]["features"], begun["about"]["units"]) == (["x", "y"], ["arcmin", "arcmin"])
    assert last["is_over"]
    assert last["status"] == run.document["status"]
    assert last["model"]["means"] == run.model.mixture.means.tolist()


def test_models_to_choose_from_are_told_apart() -> None:
    points = np.random.default_rng(2).normal(size=(3000, 2)) + np.repeat([[0.0], [6.0]], 1500, axis=0)
    data = ArrayDataset(Chunk(points, NoNoise()))
    executor = Noted()
    with Telemetry(executor, Callback(), Account("job", "run"), schema=Schema(("a", "b")), replays=bool) as telemetry:
        select(data, [1, 2], criterion=Criterion("held-out"), executor=executor, callbacks=[telemetry])
    shown = Shown()
    for _, news in executor.news:
        shown.hear(news)
    (run,) = shown
    assert sum("about" in news for _, news in executor.news) == 1
    assert {"1 full", "2 full"} < set(run.points)
    assert run.density is not None
    assert run.model is not None
    assert run.is_over


def test_messages_are_small(model: Model) -> None:
    executor, features = Noted(), tuple("abcdefg")
    page = RunPage(executor, Account("job", "run"), Schema(features), Stopping(arrived=3.0))
    page.density = pair_counts(Chunk(np.random.default_rng(0).normal(size=(5000, 7)), NoNoise()))
    page.begin(model, 1e-6)
    ((_, news),) = executor.news
    assert news["about"]["arrived"] == 3.0
    assert len(news["about"]["features"]) == MOST_FEATURES
    assert sum(len(frame) for frame in dumps(news["density"])) < 40_000
    assert sum(len(frame) for frame in dumps(news["model"])) < 64_000
    which = news["model"]["which"]
    assert min(model.mixture.weights[which]) >= np.sort(model.mixture.weights)[-MOST_COMPONENTS]


def test_rows_are_counted_where_they_are() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(400, 3))
    points[::7, 1] = np.nan
    weights = rng.uniform(size=400)
    found = pair_counts(Chunk(points, NoNoise(), weights))
    assert found is not None
    assert set(found["counts"]) == {"0 1", "0 2", "1 2"}
    counts = np.frombuffer(found["counts"]["0 1"], np.uint8).reshape(BINS, BINS)  # y by x
    expected = np.zeros((BINS, BINS))
    for (x, y, _), weight in zip(points, weights, strict=True):
        place = [(v - found["lower"][d]) / (found["upper"][d] - found["lower"][d]) * BINS for d, v in enumerate((x, y))]
        if all(0 <= p < BINS for p in place):  # NaN is nowhere
            expected[int(place[1]), int(place[0])] += weight
    np.testing.assert_allclose(counts, np.ceil(255 * expected / expected.max()), atol=1)
    assert pair_counts(Chunk(points, NoNoise(), projection=np.ones((400, 3, 3)))) is None


def test_outlines_are_at_their_sigma(model: Model) -> None:
    d = model.mixture.n_features
    rows, columns = np.tril_indices(d)
    told = {"means": model.mixture.means, "covariances": model.mixture.covariances[:, rows, columns]}
    for x, y in ((0, 1), (4, 2)):
        xs, ys = outlines(told, x, y, 2.0)
        for k in (0, 17):
            off = np.stack([xs[k], ys[k]]) - model.mixture.means[k, [x, y]][:, None]
            covariance = model.mixture.covariances[k][np.ix_([x, y], [x, y])]
            np.testing.assert_allclose(np.sum(off * np.linalg.solve(covariance, off), axis=0), 4.0)
    assert packed(1, 2) == packed(2, 1) == 4


def test_the_frame_holds_what_matters() -> None:
    told = {"weights": [0.999, 0.001], "means": [[0.0], [1e6]], "covariances": [[1.0], [1.0]]}
    assert window(told, [(-1.0, 1.0)], 0) == pytest.approx((-2.12, 2.12))
    assert window(told, None, 0) == pytest.approx((-2.12, 2.12))
    lower, upper = window({**told, "covariances": [[1e9], [1.0]]}, [(-1.0, 1.0)], 0)
    assert -4 < lower < -3 < 3 < upper < 4  # one that is far too wide does not make a dot of the data


def test_nothing_is_told_where_nobody_looks(tmp_path: Path) -> None:
    account = Account("job", "run")
    with Telemetry(Serial(), Callback(), account, schema=Schema(("a",)), replays=lambda: False) as telemetry:
        assert telemetry._page is None


def test_fits_from_python_are_shown_on_the_client_in_use(watched: Watched, tmp_path: Path) -> None:
    data = simulate(tmp_path / "python.zarr", "graded", n=3000)
    n_before, once = len(runs_at(watched.link)), Stopping(max_iter=2)
    with Client(watched.executor.client.scheduler.address):  # in use from here on
        found = fit(data, Start(2), stopping=once)
        evaluate(data, found.model)  # which is no fit
        choice = select(data, [1, 2], fitting=Fitting(stopping=once))
    ours = runs_at(watched.link)[n_before:]
    assert [run["job"] for run in ours] == ["python", "python"]
    assert [run["status"] for run in ours] == [found.status.value, choice.best.status.value]
    assert all(run["is_over"] for run in ours)
    (points,) = ours[0]["candidates"].values()
    assert points["objective"] == [record.objective for record in found.records]
    assert set(ours[1]["candidates"]) == {"1 full", "2 full"}
    assert ours[0]["about"]["features"] == list(data.schema.features)
