"""Writes commands.md, the page of the commands, from what each says of itself: python docs/commands_page.py"""

from collections.abc import Iterator
from pathlib import Path

import click

from dgmmis.cli import program

PAGE = Path(__file__).with_name("commands.md")

WIDTH = 88
"""Characters of a line that a page has room for."""

GROUPS = {
    "Surveys": ("simulate", "ingest", "withdraw", "compact"),
    "Fits": ("plan", "fit", "resume", "select"),
    "What a run is for": ("info", "score", "predict", "sample", "export", "plot", "check", "report"),
    "What follows": ("reprocess", "versions", "rollback", "status", "follow"),
}
"""Those that stand in none come last."""


def page() -> str:
    """The page, in Markdown."""
    known = [name for names in GROUPS.values() for name in names]
    rest = tuple(name for name in sorted(program.commands) if name not in known)
    groups = GROUPS | ({"Others": rest} if rest else {})
    return "\n".join(_lines(groups)) + "\n"


def _lines(groups: dict[str, tuple[str, ...]]) -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield "What `dgmmis COMMAND --help` says; this page is made of it (`python docs/commands_page.py`)."
    yield from ("", "```text", _help(program, "dgmmis"), "```")
    for title, names in groups.items():
        yield from ("", f"## {title}")
        for name in names:
            yield from ("", f"### {name}", "", "```text", _help(program.commands[name], f"dgmmis {name}"), "```")


def _help(command: click.Command, name: str) -> str:
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH, "help_option_names": ["-h", "--help"]}
    context = click.Context(command, info_name=name, **settings)
    text = command.get_help(context).replace("\b", "")  # click leaves some of its marks for paragraphs
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
