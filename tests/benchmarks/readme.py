"""Puts the latest table into the README, between its markers."""

from pathlib import Path

from dgmmis.errors import DataError

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def replaced(text: str, part: str) -> str:
    """A text with what stands between the markers replaced; the markers stay."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise DataError("no place for the table", expected=f"{BEGIN} and, after it, {END}, once each")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{part.strip()}\n\n{END}{after}"


def write(part: str, path: Path = README) -> None:
    path.write_text(replaced(path.read_text(encoding="utf-8"), part), encoding="utf-8")
