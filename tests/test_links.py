"""Every link of the pages leads somewhere; those that leave the repository are all in one list."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pages import GUIDE, ROOT, Link, anchors, links

PAGES = (
    *GUIDE,
    *sorted((ROOT / "examples").glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
    ROOT / "SECURITY.md",
    ROOT / "dgmmis" / "DESIGN.md",
)

EXTERNAL = {"https://kubernetes.dask.org": "the operator of dask"}
"""Every address elsewhere that a page links to, and what is there. Nobody asks whether it still is: no network here."""


def dead(page: Path, link: Link, *, external: dict[str, str]) -> str:
    """Why a link leads nowhere; empty: it leads somewhere."""
    address = urlsplit(link.target)
    if address.scheme:
        if address.scheme != "https" or not re.fullmatch(r"[\w.-]+\.[a-z]{2,}", address.netloc):
            return "is not a well-formed address"
        return "" if link.target in external else "is not in the list of addresses"
    where = page if not address.path else (page.parent / address.path).resolve()
    if ROOT not in where.parents:
        return "leaves the repository"
    if not where.exists():
        return "is not there"
    if address.fragment and (where.suffix != ".md" or address.fragment not in anchors(where)):
        return "has no such heading"
    if link.is_picture and where.suffix not in (".png", ".svg"):
        return "is no picture"
    return "" if link.words.strip() else "has no words"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    found = [(link, dead(page, link, external=EXTERNAL)) for link in links(page)]
    assert [f"line {link.line}: {link.target} {why}" for link, why in found if why] == []


def test_the_list_of_addresses_is_used() -> None:
    targets = {link.target for page in PAGES for link in links(page)}
    assert set(EXTERNAL) <= targets


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](nowhere.md)", "is not there"),
        ("[a](README.md#no-such-heading)", "no such heading"),
        ("[a](#no-such-heading)", "no such heading"),
        ("[a](../../elsewhere.md)", "leaves"),
        ("[a](http://example.org/)", "well-formed"),
        ("[a](https://example.org/new)", "not in the list"),
        ("![](examples/what_goes_wrong.png)", "no words"),
        ("![a](LICENSE)", "no picture"),
    ],
)
def test_dead_links_are_found(tmp_path: Path, text: str, why: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\nWords, and {text}.\n")
    (link,) = links(page)
    assert why in dead(ROOT / "page.md" if "#no" not in text else ROOT / "README.md", link, external={})


def test_links_that_lead_somewhere_pass(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](README.md) ![a picture](examples/what_goes_wrong.png) [b](https://example.org/)\n")
    reasons = [dead(ROOT / "page.md", link, external={"https://example.org/": ""}) for link in links(page)]
    assert reasons == ["", "", ""]
