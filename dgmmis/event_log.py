"""Event log: what happens during a command, for machines: one JSON object a line, as it happens."""

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from dgmmis.account import UNDER_WAY, Account
from dgmmis.callback import Callback, Notice, Record, Step
from dgmmis.dataset.disk import refused
from dgmmis.ending import Ending
from dgmmis.errors import StoreError
from dgmmis.plain import as_plain

STDERR = "-"

INTERVAL = 2.0
"""Seconds between two lines about the rows that something goes through."""

FIRST = b'{"time": "'
"""How a log begins."""


class EventLog(Callback):
    """Writes events to a file, appended, or to stderr.

    Each line has `time` (UTC), `level` and `event`; where there is a job its name, `job`, and `run`, an id that is kept
    across resumes, once it is known. A disk that fails later on does not end the fit: it is said once, and the log ends
    there.

    Args:
        path: of the file, which may be there; "-": stderr.
        account: what is known of the run; it hears of events before the log does.
        stderr: what "-" is; None: `sys.stderr`.

    Raises:
        StoreError: the file cannot be written, or is something else.
    """

    def __init__(self, path: str | Path, account: Account, *, stderr: TextIO | None = None) -> None:
        self._account = account
        self._name = str(path)
        self._round: tuple[str, int] | None = None
        self._repairs: tuple[str, ...] = ()
        self._counted = float("-inf")
        self._stream: TextIO | None = stderr or sys.stderr
        if self._name != STDERR:
            try:
                _require_place(Path(path))
                # line by line, so that whoever follows it sees whole objects, and a kill leaves whole ones
                self._stream = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115
            except StoreError:
                raise
            except OSError as error:
                raise refused(f"the log '{path}' cannot be written", error) from error

    def on_notice(self, notice: Notice) -> None:
        if notice.event == "rows" and notice.values["done"] != notice.values["total"]:
            now = time.monotonic()
            if now - self._counted < INTERVAL:
                return
            self._counted = now
        if notice.event == "doing" and not notice.values["what"]:
            return
        self._write(notice.event, notice.level, notice.values)

    def on_step(self, step: Step) -> None:
        record = step.record
        numbers = self._account.numbers(record)
        repairs = numbers.pop("repairs", ())
        if (record.candidate, record.round) != self._round:
            self._round = (record.candidate, record.round)
            self._write("round", "info", _of_round(record))
        for sentence in repairs:
            if sentence not in self._repairs:
                about = {"iteration": record.iteration, "candidate": record.candidate, "message": sentence}
                self._write("repair", "warning", about)
        self._repairs = record.repairs
        self._write("step", "info", numbers)

    def on_end(self, sentence: str) -> None:
        self._write("settled", "info", {"message": sentence})

    def failed(self, error: BaseException, exit_code: int) -> None:
        """An error, or a signal, that ends the command."""
        self._write("error", "error", _of_error(error, exit_code, str(error)))

    def ended(self, ending: Ending) -> None:
        """The last line of a command."""
        self._write("end", "info" if ending.exit_code == 0 else "warning", ending.document())

    def close(self) -> None:
        if self._stream is not None and self._name != STDERR:
            self._stream.close()
        self._stream = None

    def _write(self, event: str, level: str, values: Mapping[str, Any]) -> None:
        if self._stream is None:
            return
        account = self._account
        whose = {"run": account.run, "job": account.job} if account.job else {}
        if event in UNDER_WAY and not account.has_begun:  # it may turn out to go on with an earlier one
            whose.pop("run", None)
        try:
            self._stream.write(_line(event, level, {**whose, **values}) + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._stream = None
            sys.stderr.write(f"dgmmis: the log '{self._name}' ends here: {error}\n")


def error_line(error: BaseException, exit_code: int, message: str) -> str:
    """The line of a log about an error of a command that has none."""
    return _line("error", "error", _of_error(error, exit_code, message))


def _line(event: str, level: str, values: Mapping[str, Any]) -> str:
    at = datetime.now(UTC).isoformat("T", "milliseconds").replace("+00:00", "Z")
    return json.dumps(as_plain({"time": at, "level": level, "event": event, **values}), default=str)


def _of_error(error: BaseException, exit_code: int, message: str) -> dict[str, Any]:
    notes = list(getattr(error, "__notes__", []))
    return {"kind": type(error).__name__, "message": message, "notes": notes, "exit_code": exit_code}


def _require_place(path: Path) -> None:
    """Refuse what is there and is no log: a job from somebody else may name any file."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(FIRST)) not in (b"", FIRST):
                raise StoreError(f"'{path}' is there and is not a log", do="choose another path, or move it away")


def _of_round(record: Record) -> dict[str, Any]:
    named = {"candidate": record.candidate} if record.candidate else {}
    return {"round": record.round, "iteration": record.iteration, **named}
