"""Sections of a report: facts, tables, pictures and texts, as plain values: text, never markup."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Args:
        caption: what it holds.
        head: of its columns.
        rows: of as many cells; the first names the row.
        marked: numbers of rows that stand out.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in the page itself.

    Args:
        caption: what it shows.
        alt: the same for those who cannot see it.
        source: a data URI.
    """

    caption: str
    alt: str
    source: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram of shares, drawn small.

    Args:
        name: of what.
        alt: what it shows, in words.
        heights: of the bars, 1 where as many are expected.
        is_flagged: whether it is not as expected.
    """

    name: str
    alt: str
    heights: Sequence[float]
    is_flagged: bool

    @property
    def path(self) -> str:
        """Its outline in a field of 100 by 50, two times what is expected at the top."""
        width = 100 / len(self.heights)
        tops = [50 - 25 * min(height, 2.0) for height in self.heights]
        steps = " ".join(f"V{top:.1f} H{width * (i + 1):.1f}" for i, top in enumerate(tops))
        return f"M0 50 {steps} V50 Z"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report, in this order.

    Args:
        title: of it.
        lead: a sentence on what it says.
        flags: what is wrong.
        facts: names and values.
        notes: sentences, on what is left out and why.
        bars, tables, pictures: as they are.
        texts: (caption, text) to be shown as it is.
        meanings: (word, meaning).
    """

    title: str
    lead: str = ""
    flags: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    bars: Sequence[Bars] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    texts: Sequence[tuple[str, str]] = ()
    meanings: Sequence[tuple[str, str]] = ()

    @property
    def anchor(self) -> str:
        """Its name within the page."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())
