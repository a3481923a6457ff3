"""Notebook: one table below a cell, which follows what goes on."""

import builtins
import warnings
from collections.abc import Sequence
from html import escape
from typing import Any

from dgmmis.progress.activity import Activity
from dgmmis.progress.words import Said, of_activity, of_fits

INTERVAL = 0.5
"""Seconds between two tables."""


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython is loaded by whoever runs one, never from here."""
    shell = getattr(builtins, "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Notebook:
    """Shows what goes on in a table.

    Args:
        patience: seconds before there is one.
    """

    def __init__(self, patience: float) -> None:
        self._patience, self._at = patience, float("-inf")
        self._last: list[Said] = []
        self._sentences: list[str] = []
        self._handle: Any = None
        self._has_failed = False

    def show(self, activity: Activity, now: float) -> None:
        """Bring the table up to date, if it is time to."""
        if now - activity.began < self._patience or now - self._at < INTERVAL:
            return
        said = of_activity(activity, now) + (of_fits(activity) if activity.what else [])
        if said:
            self._last, self._at = said, now
            self._display()

    def say(self, text: str) -> None:
        """A sentence below the table, which stays."""
        self._sentences.append(text)
        self._display()

    def end(self, last: Sequence[Said], sentence: str) -> None:
        """The last pass as the table that stays, and how the fit ended."""
        self._last = [*last] or self._last
        self.say(sentence)

    def clear(self) -> None:
        """Nothing: the last table stays."""

    def _display(self) -> None:
        if self._has_failed:
            return
        try:
            self._update()
        except Exception as error:  # a browser that has gone, say: no reason to end the work
            self._has_failed = True
            warnings.warn(f"progress is not shown any more: {error!r}", RuntimeWarning, stacklevel=2)

    def _update(self) -> None:
        from IPython.display import HTML, display

        rows = "".join(f"<tr><th>{escape(one.name)}</th><td>{escape(one.value)}</td></tr>" for one in self._last)
        below = "".join(f'<tr><td colspan="2">{escape(text)}</td></tr>' for text in self._sentences)
        table = HTML(f'<table class="dgmmis-progress"><tbody>{rows}{below}</tbody></table>')
        if self._handle is None:
            self._handle = display(table, display_id=True)
        else:
            self._handle.update(table)
