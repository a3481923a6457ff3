"""The guide: commands are run as a reader would, output is shown as it comes, and nothing is left out."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import GUIDE, ROOT, Reader, alike, blocks, differences

import dgmmis
from dgmmis import errors
from dgmmis.job import job_tables
from dgmmis.metrics import HELP

DOCS = ROOT / "docs"
LANGUAGES = {"sh", "python", "toml", "text", "{toctree}", "{eval-rst}"}
SLOW = {
    "docs/arriving.md",
    "docs/growing-surveys.md",
    "docs/how-to-choose.md",
    "docs/interrupted.md",
    "docs/streams.md",
    "docs/tutorials/cluster.md",
    "docs/tutorials/first-fit.md",
    "docs/tutorials/nightly-job.md",
    "docs/tutorials/noise.md",
    "docs/tutorials/selection.md",
    "docs/using-a-model.md",
    "docs/watching.md",
}
"""Those that take long, or start more than a cluster of their own. The front page is always followed."""

RUN = [page for page in GUIDE if any(b.language in ("sh", "python") and not b.not_run for b in blocks(page))]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=named(page), marks=[pytest.mark.slow] if named(page) in SLOW else []) for page in RUN],
)
def test_a_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    """Every block in order, in an empty folder; what is shown right after one is what comes of it."""
    came = None  # of the block before
    with Reader(tmp_path) as reader:
        for block in blocks(page):
            if block.file or (block.language in ("sh", "python") and not block.not_run):
                came = reader.does(block)
            elif block.language == "text" and came is not None:
                missing = differences(block.text, came)
                assert missing == [], f"{named(page)}, line {block.line}: not in what came:\n{came}"
                came = None
            else:
                came = None


@pytest.mark.parametrize("page", GUIDE, ids=named)
def test_blocks_say_what_they_are(page: Path) -> None:
    for block in blocks(page):
        where = f"{named(page)}, line {block.line}"
        assert block.language in LANGUAGES, f"{where}: mark it as one of {', '.join(sorted(LANGUAGES))}"
        assert block.says_file, f"{where}: the words before it should name the file"
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.not_run:
            assert re.match("needs ", block.not_run), f"{where}: say what it needs"


def test_slow_pages_are_there() -> None:
    assert {named(page) for page in RUN} >= SLOW


@pytest.mark.parametrize(
    ("shown", "got", "missing"),
    [
        ("a 1.02 +- 0.1\nb 2", "a  1.01 +- 0.12\nb 2", []),
        ("...\nb 2", "a 1\nb 2\nc", []),
        ("a 1\nb 2", "a 1\nc 3\na 1\n\nb 2", []),
        ("a 1\nc 3", "a 1\nb 2\nc 3", ["a 1", "c 3"]),
        ("a 1\n...\nc 3", "a 1\nb 2\nc 3", []),
        ("c 3\n...\na 1", "a 1\nb 2\nc 3", ["a 1"]),
        ("objects 100", "objects 300", ["objects 100"]),
        ("objects 100", "object 100", ["objects 100"]),
        ("in 3.2 s to /tmp/a.run", "in 900 s to /var/b/a.run", []),
        ("time  3 s: 61% computing, 9% reading", "time  9.1 s: 50% in the driver, 30% reading", []),
        ("a 1\nb 2", "a 1\nstarting 2 workers  3 s\nreading: 1 of 7 rows  2 rows/s  about 3 s left\nb 2", []),
        ("passes  3\nb 2", "passes  3\npass 7  gain 1e-3  5 rows/s  elapsed 9 s  about 3 s left\nb 2", []),
        ("-3.1", "3.1", ["-3.1"]),
    ],
)
def test_what_is_shown_is_compared(shown: str, got: str, missing: list[str]) -> None:
    assert differences(shown, got) == missing


def test_words_count_and_numbers_nearly() -> None:
    assert alike("mean 4.02 at 2026-11-27T00:57:24+00:00", "mean  3.98 at 2027-01-01T10:00:00+00:00")
    assert not alike("mean 4.02", "median 4.02")


def test_every_public_name_has_its_place() -> None:
    found = re.findall(r"auto(?:class|function):: dgmmis\.(\w+)$", _text("api/*.md"), re.M)
    assert len(found) == len(set(found))
    assert {*found, "testing"} == set(dgmmis.__all__)


def test_every_error_has_its_place() -> None:
    kinds = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert kinds == {
        *re.findall(r"autoclass:: dgmmis(?:\.errors)?\.(\w+(?:Error|Warning))$", _text("api/errors.md"), re.M)
    }


def test_every_key_of_a_job_is_told() -> None:
    told = _text("job-file.md")
    tables = [of for name, of in vars(job_tables).items() if name.endswith("Table")]
    keys = {f.name for table in tables for f in fields(table) if f.metadata}
    assert [key for key in sorted(keys) if f"`{key}`" not in told] == []


def test_the_page_of_commands_is_what_they_say() -> None:
    sys.path.insert(0, str(DOCS))
    try:
        from commands_page import PAGE, page
    finally:
        sys.path.remove(str(DOCS))
    assert PAGE.read_text(encoding="utf-8").split() == page().split(), "run `python docs/commands_page.py`"


JOB = """
[data]
path = "survey.zarr"
[model]
n_components = 2
[selection]
half_space = { normal = [1.0, 0.3], offset = 21.5, softness = 0.6 }
[cluster]
kind = "serial"
"""


def test_every_number_is_explained(tmp_path: Path) -> None:
    """The keys of what commands say for machines stand on the page of numbers."""
    told = set(re.findall(r"`([a-z_]+)`", _text("numbers.md")))

    def ran(*words: str) -> str:
        command = [sys.executable, "-m", "dgmmis", *words]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr
        return done.stdout

    ran("simulate", "survey.zarr", "--preset", "graded", "-n", "2000")
    (tmp_path / "survey.toml").write_text(JOB)
    keys: set[str] = {*json.loads(ran("plan", "survey.toml", "--json"))}
    ran("fit", "survey.toml", "--log", "fit.jsonl")
    keys |= {*json.loads((tmp_path / "survey.run" / "fit.json").read_text())}
    lines = [json.loads(line) for line in (tmp_path / "fit.jsonl").read_text().splitlines()]
    keys |= {*(key for line in lines for key in line), *(line["event"] for line in lines)}
    check = json.loads(ran("check", "survey.run", "--json"))
    keys |= {*check, *check["tests"][0]} - {"run", "data"}
    keys |= {*json.loads(ran("score", "survey.run", "survey.zarr", "--json"))}
    keys |= {*json.loads(ran("status", "survey.run", "--json")), *json.loads(ran("status", "survey.zarr", "--json"))}
    choice = json.loads(ran("select", "survey.toml", "--components", "1,2", "--json"))
    keys |= {*choice, *choice["table"][0]} - {"table", "run"}
    keys |= {*HELP}
    assert sorted(keys - told) == []


def test_the_pages_are_built(tmp_path: Path) -> None:
    """Without a warning: a reference that leads nowhere is one."""
    if any(find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")):
        pytest.skip("needs the dependency group `docs`: sphinx, myst-parser, furo")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-b", "html", DOCS, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    html = {name: (tmp_path / "api" / f"{name}.html").read_text(encoding="utf-8") for name in ("estimators", "surveys")}
    assert 'id="dgmmis.GMMis.fit"' in html["estimators"]
    words = {name: re.sub(r"<[^>]*>", "", page) for name, page in html.items()}
    assert "precisions_: array[k, d, d]" in words["estimators"]  # and not as jaxtyping says it
    assert "Box(lower: ArrayLike, upper: ArrayLike)" in words["surveys"]


def _text(pattern: str) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob(pattern)))
