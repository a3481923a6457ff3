"""The last time that a model store was reprocessed: when, how it ended, and when it last ended well."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dgmmis.dataset.disk import writing
from dgmmis.dataset.publish import replace_document
from dgmmis.errors import StoreError

LAST = "last.json"

FAILED, INTERRUPTED = "failed", "interrupted"
"""Outcomes, beside those of a report: an error, and a signal."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """How it ended.

    Args:
        run: its id.
        outcome: that of its report, or "failed" or "interrupted".
        sentence: a line that says so.
        exit_code: that it ended with.
        began, ended: in UTC, as ISO 8601 has it.
        succeeded: when it last ended with a new version, or with nothing new; None: never yet.
        problems: sentences about sources that could not be read.
    """

    run: str
    outcome: str
    sentence: str
    exit_code: int
    began: str
    ended: str
    succeeded: str | None = None
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        words = (self.run, self.outcome, self.sentence, *self.problems)  # read from a file, they may be anything
        if not all(isinstance(word, str) for word in words) or not isinstance(self.exit_code, int):
            raise TypeError("a value of another type")
        for time in (self.began, self.ended, self.succeeded):
            if time is not None and datetime.fromisoformat(time).tzinfo is None:
                raise ValueError(f"'{time}' is of no time zone")

    @property
    def is_success(self) -> bool:
        """Whether it ended with a new version, or with nothing new."""
        return self.succeeded == self.ended

    @classmethod
    def of(cls, store: Path) -> "LastRun | None":
        """That of the model store at a path; None where it was never reprocessed.

        Raises:
            StoreError: it cannot be read.
        """
        file = store / LAST
        try:
            values: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return cls(**{**values, "problems": tuple(values["problems"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreError(f"'{file}' cannot be read", got=error, do="remove it: it is written anew") from error

    def write(self, store: Path) -> None:
        """Put it in the place of the one before, in one step.

        Raises:
            StoreError: the disk refuses.
        """
        with writing(f"the model store '{store}'"):
            replace_document(store / LAST, asdict(self))
