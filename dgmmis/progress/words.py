"""Words: an activity, and a record, in names and values that lines, blocks and tables are made of."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dgmmis.callback import Record
from dgmmis.errors import span_named
from dgmmis.progress.activity import Activity

NAMED = 3
"""Fits under way whose names are said."""


@dataclass(frozen=True, slots=True)
class Said:
    """A value and what it is; either may be empty."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} {self.value}".strip()


def of_record(record: Record) -> list[Said]:
    """A pass, in numbers."""
    said = [Said("", record.candidate)] if record.candidate else []
    said += [Said("pass", f"{record.iteration}"), Said("objective", f"{record.objective:.7f}")]
    if math.isfinite(record.gain):
        said.append(Said("gain", f"{record.gain:.2e}"))
    if math.isfinite(record.distance):
        said.append(Said("to go", f"{record.distance:.2g} sigma"))
    if record.completeness < 1:
        said.append(Said("round", f"{record.round}"))
        said.append(Said("completeness", f"{record.completeness:.4f}"))
    if record.background_fraction > 0:
        said.append(Said("background", f"{record.background_fraction:.4f}"))
    said.append(Said("", f"{record.seconds:.2f} s"))
    return said


def of_activity(activity: Activity, now: float) -> list[Said]:
    """What is being done, how far it is, how fast, and how long it may still take."""
    if activity.what:
        return [Said("", activity.what), Said("", span_named(now - activity.since)), *_compiling()]
    if activity.rows is not None:
        return _of_rows(activity, now)
    if activity.record is None:
        return []
    said = [*of_fits(activity), *_compiling()]
    if activity.rows_per_second is not None:
        said.append(Said("", f"{activity.rows_per_second:,.0f} rows/s"))
    said.append(Said("elapsed", span_named(now - activity.began)))
    left = activity.seconds_left
    if left is not None:
        of_round = " of this round" if activity.is_in_rounds else ""
        said.append(Said("", f"about {span_named(max(left, 1))}{of_round} left"))
    return said


def _of_rows(activity: Activity, now: float) -> list[Said]:
    rows = activity.rows
    assert rows is not None
    of = f" of {rows.total:,}" if rows.total else ""
    said = [Said(f"{rows.what}:", f"{rows.done:,}{of} rows"), *_compiling()]
    if rows.share == 1:
        return [*said, Said("", f"finishing, {span_named(now - activity.since)}")]
    if rows.per_second is not None:
        said.append(Said("", f"{rows.per_second:,.0f} rows/s"))
    if rows.seconds_left is not None:
        said.append(Said("", f"about {span_named(max(rows.seconds_left, 1))} left"))
    return said


def of_fits(activity: Activity) -> list[Said]:
    """How far fits have come: how many have settled, and the last pass."""
    record = activity.record
    last = [] if record is None else of_record(record)[:-1]
    if activity.n_fits is None:
        return last
    if record is not None and record.candidate:
        last[0] = Said("last", record.candidate)
    settled = Said("settled", f"{min(len(activity.arrived), activity.n_fits)} of {activity.n_fits} fits")
    names = activity.under_way
    if not names:
        return [settled, *last]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [settled, Said("under way", ", ".join(names[:NAMED]) + more), *last]


def _compiling() -> list[Said]:
    if "numba.core.event" not in sys.modules:  # whoever has not loaded it does not compile, and loading takes a second
        return []
    from dgmmis.compilation import is_compiling

    return [Said("", "compiling")] if is_compiling() else []


def line(said: Sequence[Said]) -> str:
    """In one line."""
    return "  ".join(map(str, said))


def clock() -> float:
    """Now, as activities count it."""
    return time.monotonic()
