"""Reports: one page that needs nothing else, says what there is, and takes nothing that it is told for markup."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from interrupted import Interrupts

from dgmmis.background import Uniform
from dgmmis.chosen import Tried, select_job
from dgmmis.chunk import Chunk
from dgmmis.cli import program
from dgmmis.dataset.checkpoint import Run, read_run, write_run
from dgmmis.dataset.model_store import ModelStore
from dgmmis.dataset.reference import ChunkReference
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.under_way import CHECKPOINTS
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import StoreError
from dgmmis.interruption import Interrupted
from dgmmis.job import parse_job, read_job
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.portrait import with_error
from dgmmis.report import report_page, write_report
from dgmmis.runs import run_job
from dgmmis.simulate import simulate
from tests.browser import CHROMIUM, browser

pytest.importorskip("matplotlib")


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a simulated survey, and of a run with a bootstrap."""
    folder = tmp_path_factory.mktemp("report")
    simulate(folder / "hole.zarr", "box-with-hole", n=2000, seed=1)
    job = folder / "hole.toml"
    text = job.read_text().replace('kind = "local"', 'kind = "threads"').replace("tol = 1e-06", "tol = 1e-4")
    job.write_text(text.replace("[fit]\n", "[fit]\nbootstrap = 2\n"))
    run_job(read_job(job), folder / "hole.run")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return report_page(folder / "hole.run")[0]


def _is_whole(page: str) -> Parsed:
    """A page that asks for nothing, and can be read by those who do not see it."""
    parsed = Parsed(page)
    for _, attributes in parsed.tags:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            assert re.match("#|data:", attributes.get(name) or "#"), attributes
    assert not {"script", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in parsed.tags}
    assert "@import" not in page
    assert not re.search(r"url\(", page)
    assert parsed.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in parsed.all("img"))
    assert all(drawing["aria-label"] for drawing in parsed.all("svg"))
    assert all(head["scope"] in ("row", "col") for head in parsed.all("th"))
    anchors = [link["href"] for link in parsed.all("a")]
    assert set(anchors) == {f"#{section['id']}" for section in parsed.all("section")}
    return parsed


def test_it_says_all_that_there_is_to_say(folder: Path, page: str) -> None:
    parsed, run = _is_whole(page), read_run(folder / "hole.run")
    text = _words(parsed.text)
    for title in (
        "Goodness of fit",
        "How it converged",
        "What was fitted",
        "The data",
        "The population",
        "Pictures",
        "The passes",
        "Costs and versions",
        "How to do it again",
        "What the numbers mean",
    ):
        assert f"\n{title}\n" in parsed.text.replace("</h2>", "\n") or title in text
    assert run.document["status"] in text
    assert "of 6 tests flagged" in text
    assert "peak memory" in text
    assert "arcmin" in text
    assert "bootstrap of 2 replicates" in text
    assert "simulated box-with-hole" in text  # the provenance
    assert run.document["job"].strip() in parsed.text  # verbatim
    assert f"dgmmis fit JOB.toml --out {folder / 'hole.run'}" in text
    assert len(parsed.all("img")) == 6
    mean, error = run.model.mixture.means[0, 0], run.document["standard_errors"]["means"][0][0]
    assert with_error(mean, error) in text
    assert with_error(run.document["n_samples"] / run.completeness, run.document["n_objects_error"]) in text


def test_the_survey_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For goodness of fit and for all pictures, after a look at some of its rows."""
    loads: list[str] = []
    load = ChunkReference.load

    def noting(reference: ChunkReference) -> Chunk:
        loads.append(reference.key)
        return load(reference)

    monkeypatch.setattr(ChunkReference, "load", noting)
    _, short = report_page(folder / "hole.run")
    assert short["pictures"] == 6
    assert len(loads) == 2
    assert len(set(loads)) == 1


def test_flags_come_first(folder: Path, tmp_path: Path) -> None:
    """Of a run whose components are too narrow."""
    run = read_run(folder / "hole.run")
    mixture = run.model.mixture
    narrow = Model(GaussianMixture(mixture.weights, mixture.means, 0.3 * mixture.covariances))
    write_run(tmp_path / "bad.run", replace(run, model=narrow))
    page, short = report_page(tmp_path / "bad.run")
    assert short["flags"]
    first = page[: page.index("How it converged</h2>")]
    assert first.count("<li>") == len(short["flags"])
    assert "feature x: " in first


@pytest.mark.slow
def test_the_same_run_has_the_same_report(folder: Path, page: str) -> None:
    assert report_page(folder / "hole.run")[0] == page


def test_errors_have_two_digits() -> None:
    assert with_error(8263.2, 342.1) == "8,260 ± 340"
    assert with_error(0.48285, 0.000083) == "0.482850 ± 0.000083"
    assert with_error(1.5, None) == "1.5"
    assert with_error(float("nan"), 1.0) == "-"
    assert with_error(3e20, 2e18) == "3e+20 ± 2e+18"


HOSTILE = "<script>alert(1)</script>", '"><img src=http://elsewhere.example/x onerror=alert(2)>', "$\\frac{"
"""Names of features and units, and one that is no mathematics either."""

ERRORS = ("standard_errors", "bootstrap", "n_objects_error")


@pytest.fixture(scope="module")
def hostile(folder: Path) -> Path:
    """A run whose features, data and job are named to be taken for markup."""
    run = read_run(folder / "hole.run")
    place = folder / "hostile"
    place.mkdir()
    mixture = GaussianMixture([1.0], [np.zeros(3)], [np.eye(3)])
    features = (HOSTILE[0], HOSTILE[1], HOSTILE[2])
    with SurveyWriter(place / "h.zarr", Schema(features, ("</table>", "", HOSTILE[1]))) as writer:
        writer.write(mixture.sample(400, 0))
    document = {
        **{name: value for name, value in run.document.items() if name not in ERRORS},
        "data": str(place / "h.zarr"),
        "job": f"</pre>{HOSTILE[0]}",
        "status": HOSTILE[1],
        "repairs": [HOSTILE[0]],
        "completeness": 1.0,
    }
    write_run(place / "h.run", Run(Model(mixture), features, ("</table>", "", ""), document))
    return place / "h.run"


@pytest.fixture(scope="module")
def hostile_page(hostile: Path) -> str:
    return report_page(hostile)[0]


def test_names_are_no_markup(hostile_page: str) -> None:
    parsed = _is_whole(hostile_page)
    assert "onerror" not in {name for _, attributes in parsed.tags for name in attributes}
    for word in HOSTILE:
        assert word in parsed.text
    assert f"</pre>{HOSTILE[0]}" in parsed.text


@pytest.mark.slow
def test_a_run_that_did_not_converge_says_so(folder: Path, tmp_path: Path) -> None:
    text = (folder / "hole.toml").read_text().replace("max_iter = 1000", "max_iter = 2").replace("bootstrap = 2\n", "")
    run_job(parse_job(text, folder / "hole.toml"), tmp_path / "short.run")
    page, short = report_page(tmp_path / "short.run")
    assert short["status"].startswith("stopped at max_iter before it converged")
    between = page[page.index('<section id="how-it-converged"') : page.index('<section id="the-passes"')]
    assert f"<li>{short['status']}" in between
    _is_whole(page)


def test_of_an_unfinished_run_it_says_what_there_is(folder: Path, tmp_path: Path) -> None:
    """After some passes, and before the first checkpoint."""
    text = (folder / "hole.toml").read_text().replace("[output]\n", "[output]\ncheckpoint_seconds = 0\n")
    job = parse_job(text, folder / "hole.toml")
    out = tmp_path / "begun.run"
    with pytest.raises(Interrupted):
        run_job(job, out, callbacks=[Interrupts(6)])
    for has_checkpoint in (True, False):
        if not has_checkpoint:
            shutil.rmtree(out / CHECKPOINTS)
        page, short = report_page(out)
        text = _words(_is_whole(page).text)
        assert short["status"].startswith("not finished")
        assert f"dgmmis resume {out}" in text
        assert "checkpoint_seconds = 0" in text
        assert f"{folder / 'hole.zarr'}" in text
        assert ("The population" in text) == has_checkpoint


def test_without_its_data_it_leaves_them_out(folder: Path, tmp_path: Path) -> None:
    run = read_run(folder / "hole.run")
    document = {**run.document, "data": str(tmp_path / "gone.zarr")}
    write_run(tmp_path / "gone.run", replace(run, document=document))
    page, short = report_page(tmp_path / "gone.run")
    text = _words(_is_whole(page).text)
    assert short["data"] is None
    assert "is not there any more" in text
    assert "Not judged." in text
    assert len(Parsed(page).all("img")) == 4  # neither marginals nor residuals
    again, with_data = report_page(tmp_path / "gone.run", data=folder / "hole.zarr")
    assert with_data["data"] == str(folder / "hole.zarr")
    assert len(Parsed(again).all("img")) == 6
    with pytest.raises(StoreError):
        report_page(tmp_path / "gone.run", data=tmp_path / "gone.zarr")


def test_of_a_model_store_it_is_the_latest_version(folder: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    inputs = [{"source": "night.csv", "sha256": "ab" * 32}]
    with store.held():
        store.candidate.parent.mkdir(parents=True, exist_ok=True)
        write_run(store.candidate, read_run(folder / "hole.run"))
        manifest = {"inputs": inputs, "software": {"dgmmis": "0.0.9"}, "job_path": "/somewhere/night.toml"}
        store.publish({**manifest, "costs": {"passes": 7}})
    page, _ = report_page(tmp_path / "models")
    text = _words(_is_whole(page).text)
    assert "Report: models, version 000001" in text
    assert "ab" * 32 in text
    assert "dgmmis reprocess /somewhere/night.toml" in text
    assert "0.0.9" in text


def test_of_a_choice_it_shows_the_candidates(tmp_path: Path) -> None:
    with SurveyWriter(tmp_path / "two.zarr", Schema(("x",))) as writer:
        writer.write(GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], [[[1.0]], [[1.0]]]).sample(400, 0))
    text = '[data]\npath = "two.zarr"\n[model]\nn_components = 2\n[cluster]\nkind = "threads"\n'
    job = parse_job(text, tmp_path / "two.toml")
    choice, _ = select_job(job, Tried((1, 2), ("diag",)), out=tmp_path / "chosen.run")
    page, _ = report_page(tmp_path / "chosen.run")
    text = _words(_is_whole(page).text)
    assert choice.recommendation in text
    assert f"{choice.n_components} diag (best)" in text
    assert "--components 1,2 --covariance-types diag --criterion bic" in text


def test_where_nothing_can_be_judged_it_says_why(folder: Path, tmp_path: Path) -> None:
    """Functions that may not be imported."""
    run = read_run(folder / "hole.run")
    record = type(run.record)({"selection": {"function": {"path": "elsewhere:omega"}}}, {})
    write_run(tmp_path / "f.run", Run(run.model, run.features, run.units, run.document, record))
    page, short = report_page(tmp_path / "f.run")
    assert short["flags"] is None
    assert "allow" in _words(_is_whole(page).text).split("Not judged:")[1][:300]


def test_a_damaged_run_is_named(folder: Path, tmp_path: Path) -> None:
    run = read_run(folder / "hole.run")
    write_run(tmp_path / "d.run", Run(run.model, run.features, run.units, {"history": [], "candidates": [1, 2]}))
    with pytest.raises(StoreError, match=r"the document of .*d\.run"):
        report_page(tmp_path / "d.run")
    with pytest.raises(StoreError, match="no run"):
        report_page(tmp_path / "nothing.run")


@pytest.mark.slow
def test_a_hundred_components_stay_small(folder: Path, tmp_path: Path) -> None:
    """Six features of a hundred components: below five megabytes."""
    rng, run = np.random.default_rng(0), read_run(folder / "hole.run")
    spread = rng.normal(size=(100, 6, 6)) / 4
    mixture = GaussianMixture(
        np.full(100, 0.01), rng.normal(scale=4, size=(100, 6)), spread @ spread.swapaxes(1, 2) + 0.05 * np.eye(6)
    )
    model = Model(mixture, Uniform([-20] * 6, [20] * 6), 0.02)
    names = tuple("abcdef")
    with SurveyWriter(tmp_path / "many.zarr", Schema(names)) as writer:
        writer.write(model.sample(20_000, 1))
    document = {name: value for name, value in run.document.items() if name not in ERRORS}
    document |= {"data": str(tmp_path / "many.zarr"), "completeness": 1.0}
    write_run(tmp_path / "many.run", Run(model, names, ("",) * 6, document))
    page, short = report_page(tmp_path / "many.run")
    assert short["flags"] == []
    assert len(page) < 5e6
    _is_whole(page)


# the command


def test_the_command_writes_a_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(program, ["report", str(folder / "hole.run"), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["out"] == "hole-report.html"
    assert said["pictures"] == 6
    assert (tmp_path / "hole-report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    nowhere = CliRunner().invoke(program, ["report", str(folder / "hole.run"), "--out", "no/such/folder.html"])
    assert nowhere.exit_code == 2
    assert "there is no folder" in nowhere.output


# in a browser


@pytest.fixture(scope="module")
def shown(folder: Path, page: str, hostile_page: str) -> Iterator[tuple[object, dict[str, Path]]]:
    if CHROMIUM.lacking:
        pytest.skip(CHROMIUM.lacking)
    places = {"hole": folder / "hole.html", "hostile": folder / "hostile.html"}
    write_report(places["hole"], page)
    write_report(places["hostile"], hostile_page)
    with browser() as chromium:
        yield chromium, places


@pytest.mark.parametrize("which", ["hole", "hostile"])
def test_it_opens_without_a_network_on_any_screen(shown: tuple[object, dict[str, Path]], which: str) -> None:
    """No request, no complaint, no scrolling to the side but within tables; pictures are there."""
    chromium, places = shown
    tab = chromium.page()  # type: ignore[attr-defined]
    tab.offline()
    url = places[which].as_uri()
    tab.open(url)
    n_pictures = tab.evaluate("[...document.images].filter(i => i.complete && i.naturalWidth > 100).length")
    assert n_pictures == page_pictures(places[which])
    for width in (390, 1280):
        tab.size(width, 900, phone=width < 500)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        rights = tab.evaluate("[...document.querySelectorAll('.table')].map(t => t.getBoundingClientRect().right)")
        assert max(rights) <= width
    assert tab.errors == []
    assert {request for request in tab.requests if not request.startswith("data:")} == {url}


def page_pictures(place: Path) -> int:
    return len(Parsed(place.read_text(encoding="utf-8")).all("img"))


def test_it_prints_on_a4(shown: tuple[object, dict[str, Path]], tmp_path: Path) -> None:
    chromium, places = shown
    tab = chromium.page(places["hole"].as_uri())  # type: ignore[attr-defined]
    printed = tab.pdf(tmp_path / "report.pdf").read_bytes()
    pages = re.findall(rb"/Type\s*/Page\b", printed)
    assert 3 <= len(pages) <= 16
    sizes = {tuple(round(float(x)) for x in box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", printed)}
    assert sizes <= {(0, 0, 595, 842), (0, 0, 596, 842)}
    # wide tables do not run off the paper
    tab.ask("Emulation.setEmulatedMedia", media="print")
    tab.size(690, 900)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 690
