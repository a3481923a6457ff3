"""LogLines: plain lines, for a file or a pipe."""

from collections.abc import Sequence
from contextlib import suppress

from dgmmis.progress.activity import Activity
from dgmmis.progress.stream import Stream
from dgmmis.progress.words import Said, clock, line, of_activity

INTERVAL = 2.0
"""Seconds between lines while there is news."""

SETTLING, LONGEST = 1.0, 60.0
"""Seconds after which it is said what is being done; and at most until it is said again, each time twice as long."""


class LogLines:
    """Writes a line now and then.

    Args:
        stream: where.
        patience: seconds before anything is written.
    """

    def __init__(self, stream: Stream, patience: float) -> None:
        self._stream, self._patience = stream, patience
        self._said = float("-inf")
        self._news, self._since, self._wait = -1, 0.0, INTERVAL

    def show(self, activity: Activity, now: float) -> None:
        """A line, if one is due."""
        if now - activity.began < self._patience:
            return
        begins = bool(activity.what) and activity.since != self._since
        has_news = not activity.what and activity.news != self._news
        if begins:  # what is over in less is not worth a line
            due = max(activity.since, self._said) + SETTLING
        else:
            due = self._said + (INTERVAL if has_news else self._wait)
        if now < due:
            return
        said = line(of_activity(activity, now))
        if said:
            self._wait = INTERVAL if begins or has_news else min(2 * self._wait, LONGEST)
            self._said, self._news, self._since = now, activity.news, activity.since
            self._write(said)

    def say(self, text: str) -> None:
        """A line of its own, and for a while none about what goes on."""
        self._said = clock()
        self._write(text)

    def end(self, last: Sequence[Said], sentence: str) -> None:
        """The last pass, and how the fit ended."""
        for text in (line(last), sentence):
            if text:
                self.say(text)

    def clear(self) -> None:
        """Nothing: lines stay."""

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # whoever read it has gone: no reason to end the work
            self._stream.write(text + "\n")
            self._stream.flush()
