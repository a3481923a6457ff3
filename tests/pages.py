"""Pages of the guide: their headings, links and pictures, and their blocks, which can be run as a reader would."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

MARK = re.compile(r"<!-- (not run|file): (.+?) -->", re.DOTALL)
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
MEASURED = re.compile(
    r"\d[\d.]* s: \d+% .*"
    r"|\d[\d.,]* (?:s|ms|min|rows/s|kB|MB|GB)\b"
    r"|(?<![\w.])(?:/[\w.-]+)+"
    r"|\d{4}-\d\d-\d\d(?:T\S+)?"
    r"|\b(?=\S*\d)[0-9a-f]{8,64}\b"
)
"""Times, where they went, sizes and rates, paths, dates, checksums: what differs by machine and day."""

PROGRESS = re.compile(
    r"\S.*?(?:: [\d,]+(?: of [\d,]+)? rows(?:  .*)?"
    r"|  (?:\d+ h \d\d min|\d+ min \d\d s|\d+ s)(?:  compiling)?"
    r"|  elapsed .*)"
)
"""A line that is written where something takes more than a second, which it does on a busy machine."""

SPEAKER = """
import json, sys, traceback
for line in sys.stdin:
    try:
        exec(compile(json.loads(line), "<page>", "exec"), globals())
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        code = 1
    print(f"\\n\\0{code}", flush=True)
"""
"""Runs one block of Python after the other in the same process, and says after each how it went."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Args:
        language: the word behind the fence.
        text: within.
        line: of the page.
        not_run: why it is not run; empty: it is.
        file: the name of the file that it is, if it is one.
        says_file: whether the words before it name that file.
    """

    language: str
    text: str
    line: int
    not_run: str = ""
    file: str = ""
    says_file: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    """A link, or a picture: where it leads, and its words."""

    target: str
    words: str
    is_picture: bool
    line: int


def tokens(page: Path) -> Sequence[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page; a comment right before one says what is special about it."""
    mark: re.Match[str] | None = None
    words = ""
    for token in tokens(page):
        line = (token.map or [0])[0] + 1
        if token.type == "html_block":
            mark = MARK.fullmatch(token.content.strip())
        elif token.type == "inline":
            words = token.content
            mark = None
        elif token.type == "fence":
            kind, said = (mark[1], mark[2]) if mark else ("", "")
            file = said if kind == "file" else ""
            not_run = said if kind == "not run" else ""
            yield Block(token.info.strip(), token.content, line, not_run, file, not file or f"`{file}`" in words)
            mark = None


def links(page: Path) -> Iterator[Link]:
    """The links and pictures of a page."""
    for token in tokens(page):
        if token.type != "inline":
            continue
        line = (token.map or [0])[0] + 1
        children = token.children or []
        for i, child in enumerate(children):
            if child.type == "image":
                yield Link(str(child.attrs["src"]), child.content, True, line)
            elif child.type == "link_open":
                words = "".join(c.content for c in children[i + 1 :][: _closing(children[i + 1 :])])
                yield Link(str(child.attrs["href"]), words, False, line)


def _closing(children: Sequence[Token]) -> int:
    return next(i for i, child in enumerate(children) if child.type == "link_close")


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as forges and Sphinx make them."""
    found, of = set(), tokens(page)
    for before, token in pairwise(of):
        if before.type == "heading_open":
            plain = "".join(c.content for c in token.children or [] if c.type in ("text", "code_inline"))
            found.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return found


def differences(shown: str, got: str) -> list[str]:
    """The lines that a page shows and that did not come so, one right after the other; blank ones do not count.

    A line "..." stands for any number of lines, and so do both ends of what is shown. Lines of progress come or do not.
    """
    came = [line for line in got.splitlines() if line.strip() and not PROGRESS.fullmatch(line)]
    missing, at = [], 0
    for piece in re.split(r"^\s*\.\.\.\n?", shown, flags=re.M):
        lines = [line for line in piece.splitlines() if line.strip()]
        places = range(at, len(came) - len(lines) + 1)
        here = [i for i in places if all(map(alike, lines, came[i : i + len(lines)]))]
        missing += [] if here else lines
        at = here[0] + len(lines) if here else at
    return missing


def alike(shown: str, got: str) -> bool:
    """Whether two lines have the same words, and numbers within a factor of two or a tenth of one another."""
    lines = [" ".join(MEASURED.sub("<measured>", text).split()) for text in (shown, got)]
    words = [NUMBER.sub("<number>", line) for line in lines]
    if words[0] != words[1]:
        return False
    pairs = zip(*([float(one.replace(",", "")) for one in NUMBER.findall(line)] for line in lines), strict=True)
    return all(abs(a - b) <= 0.1 or (a * b > 0 and 0.5 <= a / b <= 2) for a, b in pairs)


class Reader:
    """Somebody who follows a page to the letter, in a folder that was empty.

    Args:
        folder: it is.
        environment: of the commands, beside that of this process.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        sources = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
        # the width of a page, whoever runs this
        said = {"PATH": path, "PYTHONPATH": sources, "COLUMNS": "120", "PYTHONWARNINGS": "default"}
        self._environment = {**os.environ, **said, **(environment or {})}
        self._python: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        if self._python is not None:
            self._python.communicate(timeout=60)

    def does(self, block: Block) -> str:
        """What comes of a block.

        Raises:
            AssertionError: it fails.
        """
        if block.file:
            (self._folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / block.file).write_text(block.text, encoding="utf-8")
            return ""
        return self._runs(block.text) if block.language == "sh" else self._says(block.text)

    def _runs(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{text}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def _says(self, text: str) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-c", SPEAKER],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps(text) + "\n")
        self._python.stdin.flush()
        lines = []
        for line in self._python.stdout:
            if line.startswith("\0"):
                break
            lines.append(line)
        got = "".join(lines)
        assert line == "\0000\n", f"{text}\nfailed:\n{got}"
        return got
