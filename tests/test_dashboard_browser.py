"""The page about fits in a real browser: it opens, draws, moves while fits run, and does what is chosen."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from distributed import Client, LocalCluster

from dgmmis.execution.distributed import Distributed
from dgmmis.job import read_job
from dgmmis.runs import run_job
from tests.browser import CHROMIUM, Browser, Page, browser
from tests.interrupted import job_at
from tests.looked_at import link_of
from tests.test_dashboard import LOOPBACK

pytestmark = CHROMIUM.needed

MODELS = "[...Bokeh.documents[0]._all_models.values()]"

RUN, ACROSS, UP = (
    f"{MODELS}.find(m => m.type === 'Select' && m.title === '{title}')" for title in ("run", "across", "up")
)

COMPONENTS = f"{MODELS}.find(m => m.type === 'Figure' && m.title.text.endsWith('components'))"

AXES = f"[{COMPONENTS}.below[0].axis_label, {COMPONENTS}.left[0].axis_label]"

WORDS = f"{MODELS}.filter(m => m.type === 'Div').map(m => m.text).join(' ')"


def figure(title: str) -> str:
    """A plot."""
    return f"{MODELS}.find(m => m.type === 'Figure' && m.title.text.startsWith('{title}'))"


def points(title: str) -> str:
    """How many passes a curve has."""
    return f"{figure(title)}.renderers[2].data_source.data.x.length"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as here:
        yield here


@pytest.fixture(scope="module")
def executor() -> Iterator[Distributed]:
    with (
        LocalCluster(**LOOPBACK) as cluster,
        Client(cluster, set_as_default=False) as client,
        closing(Distributed(client)) as executor,
    ):
        yield executor


def is_drawn(page: Page, path: Path) -> bool:
    """Whether a picture of it has lines and areas in it: many colours, on a page that is mostly empty."""
    imageio = pytest.importorskip("matplotlib.image", reason="pip install 'dgmmis[plots]'")
    seen = imageio.imread(page.screenshot(path))[60:, :, :3]  # without the menu
    assert seen.shape[1] == 1280
    return len(np.unique(seen.reshape(-1, 3), axis=0)) > 100


def test_it_moves_while_fits_run_and_tells_them_apart(chromium: Browser, executor: Distributed, tmp_path: Path) -> None:
    link = link_of(executor)
    page = chromium.page(link)
    page.until(f"window.Bokeh && Bokeh.documents.length && {WORDS}.includes('No fit has run')")
    assert page.evaluate("document.querySelector('.navbar li a[href=dgmmis]').textContent") == "Dgmmis"
    folder = tmp_path / "first"
    folder.mkdir()
    path = job_at(folder, "box-with-hole", 30_000)
    fit = Thread(target=run_job, args=(read_job(path), tmp_path / "a.run"), kwargs={"executor": executor})
    fit.start()
    some = page.until(points("objective"))
    assert page.until(points("objective"), true=lambda n: n > some)  # it goes on
    fit.join()
    page.until(f"{WORDS}.includes('<b>survey</b>: converged')")
    assert page.evaluate(AXES) == ["x [arcmin]", "y [arcmin]"]
    assert page.evaluate(f"{figure('completeness')}.visible")
    assert not page.evaluate(f"{figure('background')}.visible")
    assert page.evaluate(f"{figure('tasks')}.renderers[0].data_source.data.left.length") > 0
    first = tmp_path / "first.png"
    assert is_drawn(page, first)

    other = path.with_name("other.toml")
    other.write_text(re.sub("max_iter = [0-9]+", "max_iter = 3", path.read_text()))
    run_job(read_job(other), tmp_path / "b.run", executor=executor)
    page.until(f"{WORDS}.includes('<b>other</b>: stopped at max_iter')")  # the latest is shown by itself
    assert page.evaluate(points("objective")) <= 3
    (name,) = (name for name, label in page.evaluate(f"{RUN}.options") if label.startswith("survey"))
    page.evaluate(f"{{ {RUN}.value = '{name}' }}")
    page.until(f"{WORDS}.includes('<b>survey</b>: converged')")
    page.evaluate(f"{{ {ACROSS}.value = '1'; {UP}.value = '0' }}")
    page.until(AXES, true=lambda axes: axes == ["y [arcmin]", "x [arcmin]"])
    assert page.errors == []
    assert is_drawn(page, tmp_path / "turned.png")
    assert (tmp_path / "turned.png").read_bytes() != first.read_bytes()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", ["components", "convergence", "tasks"])
def test_bare_plots_fill_a_small_window(chromium: Browser, executor: Distributed, tmp_path: Path, name: str) -> None:
    page = chromium.page(link_of(executor).replace("/dgmmis", f"/individual-dgmmis-{name}"), width=500, height=400)
    page.until("window.Bokeh && Bokeh.documents.length")
    page.until("[...document.querySelectorAll('*')].some(e => e.shadowRoot)")
    assert page.evaluate("document.documentElement.scrollWidth <= 500 && !document.querySelector('.navbar')")
    assert page.errors == []
