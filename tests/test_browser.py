"""The browser of the tests sees what a page draws, what goes wrong in it, and what it asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser, browser

pytestmark = CHROMIUM.needed

PAGE = """<!doctype html><title>A page</title><body style="margin: 0; background: rgb(200, 30, 30)">
<p id="late"></p><script>setTimeout(() => { document.getElementById("late").textContent = "there" }, 50)</script>"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as here:
        yield here


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    return path


def test_it_waits_and_sees(chromium: Browser, file: Path, tmp_path: Path) -> None:
    page = chromium.page(file.as_uri(), width=300, height=200)
    page.until("document.getElementById('late').textContent", true="there".__eq__)
    assert page.evaluate("[document.title, innerWidth, innerHeight]") == ["A page", 300, 200]
    picture = page.screenshot(tmp_path / "page.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert page.pdf(tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"
    assert page.errors == []
    assert page.requests == [file.as_uri()]


@pytest.mark.parametrize(
    "flaw", ["<script>nothing.there()</script>", "<script>console.error('flawed')</script>", "<img src='no.png'>"]
)
def test_it_tells_what_goes_wrong(chromium: Browser, file: Path, flaw: str) -> None:
    file.write_text(PAGE + flaw)
    page = chromium.page(file.as_uri())
    page.until("document.getElementById('late').textContent")
    assert page.errors
