"""Tally: how many rows are done of all, over several pieces of work, for whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Called with the rows of a piece that are done, it tells `on_rows`, if there is one, of all that are."""

    on_rows: Callable[[int, int], object] | None
    total: int
    before: int = 0

    def __call__(self, done: int) -> None:
        if self.on_rows is not None:
            self.on_rows(self.before + done, self.total)

    def end_piece(self, n_rows: int) -> None:
        """Go on to the next piece; this one had so many rows."""
        self.before += n_rows
