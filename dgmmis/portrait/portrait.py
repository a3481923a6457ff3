"""Portrait: what a value says of itself in a notebook."""

from dataclasses import dataclass
from html import escape

CELL = "text-align: left; padding: 0.1em 0.8em 0.1em 0; vertical-align: top; background: none"


@dataclass(frozen=True, slots=True)
class Portrait:
    """A title, lines of what and how much, a table, a drawing.

    Args:
        title: plain text.
        lines: (what, value) in plain text.
        table: rows of plain text, the first of them the heads; empty: no table.
        drawing: an SVG element, which is not escaped; empty: none.
        note: plain text below.
    """

    title: str
    lines: tuple[tuple[str, str], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    drawing: str = ""
    note: str = ""

    def html(self) -> str:
        """As HTML in the colours of the page around it. Text is escaped: names may come from anybody's files."""
        parts = [f"<div><strong>{escape(self.title)}</strong></div>"]
        if self.lines:
            parts.append(_table([_cell("th", what) + _cell("td", value) for what, value in self.lines]))
        if self.table:
            heads, *rows = self.table
            named = "".join(_cell("th", head) for head in heads)
            parts.append(_table([named, *("".join(_cell("td", value) for value in row) for row in rows)]))
        if self.note:
            parts.append(f"<div><small>{escape(self.note)}</small></div>")
        said = "".join(parts)
        if not self.drawing:
            return f"<div>{said}</div>"
        return f'<div style="display: flex; flex-wrap: wrap; gap: 1em"><div>{said}</div>{self.drawing}</div>'


class Portrayed:
    """A value that notebooks show by its portrait."""

    __slots__ = ()

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.portrait().html()


def _cell(kind: str, text: str) -> str:
    return f'<{kind} style="{CELL}">{escape(text)}</{kind}>'


def _table(rows: list[str]) -> str:
    return f'<table style="border: none">{"".join(f"<tr>{cells}</tr>" for cells in rows)}</table>'
