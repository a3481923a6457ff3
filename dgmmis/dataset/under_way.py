"""A run that is under way: what is in its folder until it is finished, so that whatever ends it, nothing is lost.

RUN/job.json says what is fitted, RUN/journal holds what the workers answered (`journal`: from it the fit is done again
to the same bits), and RUN/checkpoints the last few models, whole runs each. They go when the run is written.
"""

import json
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

from dgmmis.callback import Callback, Notice, Record, Step
from dgmmis.dataset.checkpoint import UNFINISHED, Run, read_file, run_bytes
from dgmmis.dataset.disk import writing
from dgmmis.dataset.encoding import Classes
from dgmmis.dataset.journal import Journal
from dgmmis.dataset.lock import Lock
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import replace_document, replace_file
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.undertaking import REPLACED, Undertaking
from dgmmis.errors import DgmmisError, JobError, NumericalError, StoreError
from dgmmis.plain import as_plain

JOURNAL, CHECKPOINTS, START = "journal", "checkpoints", "start.npz"

ENDED, SO_FAR = "ended", "so_far.json"
"""Of a selection instead of checkpoints (`selection_under_way`)."""

KEPT = 3
"""Checkpoints."""


@dataclass(frozen=True, slots=True)
class Sitting:
    """How a process sits down to a fit.

    Args:
        overwrite: whether it gives up the fit of something else that was interrupted there.
        run_id: of a run that is new; empty: a random one.
        goes_on: the command that goes on with the fit if this process is interrupted; empty: `dgmmis resume`.
    """

    overwrite: bool = False
    run_id: str = ""
    goes_on: str = ""


SITTING = Sitting()


def unfinished(out: str | Path) -> Undertaking | None:
    """What the fit in a folder is about, if there is one that has not ended.

    Raises:
        StoreError: it cannot be read.
    """
    file = Path(out) / UNFINISHED
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values["segments"] = tuple((str(name), str(identity)) for name, identity in values["segments"])
        return Undertaking(**values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"'{file}' cannot be read", got=error, do="begin anew with --overwrite") from error


def places(out: str | Path, job_path: Path, *, overwrite: bool) -> tuple[Path, Path]:
    """Where a run goes, and the folder where it is made: the same on a disk, but for the folder of a run in a bucket.

    Args:
        out: where the run goes; or the folder of one that was begun.
        job_path: of the job file, beside which the folder of a run in a bucket is.
        overwrite: whether what was begun there is given up.

    Raises:
        StoreError: what was begun there cannot be read.
    """
    place = place_of(out)
    if isinstance(place, BucketPath):
        return place, job_path.absolute().parent / f"{place.name}.fitting"
    begun = None if overwrite else unfinished(place)
    return (place_of(begun.destination) if begun is not None and begun.destination else place), place


def last_checkpoint(out: str | Path, *, allow_code: bool = False) -> Run | None:
    """The last whole checkpoint of a fit that has not ended; None if there is none."""
    for file in reversed(_checkpoints(Path(out))):
        with suppress(StoreError):
            return read_file(file, allow_code=allow_code)
    return None


class UnderWay(Callback):
    """The folder of a run while its fit is under way; a context manager that holds it against others.

    As a callback it keeps the best model so far. Left with an exception it brings everything to the disk, and says in a
    note to the exception how to go on.

    Args:
        out: the folder.
        task: what is fitted.
        classes: that the workers' answers consist of (`encoding`).
        interval: seconds of work that may be lost.
        schema: of the survey; checkpoints have its features.
        sitting: how this process goes about it.
        allow_code: whether a checkpoint may name functions to import.
        follower: is told of checkpoints.

    Raises:
        JobError: an unfinished fit of something else is there.
        LockedError: another process is at it.
        StoreError: the folder cannot be read or written.
    """

    def __init__(
        self,
        out: Path,
        task: Undertaking,
        *,
        classes: Classes,
        interval: float,
        schema: Schema,
        sitting: Sitting = SITTING,
        allow_code: bool = False,
        follower: Callback | None = None,
    ) -> None:
        self._follower = follower or Callback()
        self.out, self._classes, self._interval, self._schema = out, classes, interval, schema
        self._sitting, self._allow_code = sitting, allow_code
        self.task = task
        self.seconds_before = 0.0
        """That earlier sittings took, as far as they told."""
        self._began = time.monotonic()
        self._lock: Lock | None = None
        self._journal: Journal | None = None
        self._best: Step | None = None
        self._records: dict[str, list[Record]] = {}
        self._checkpointed = 0
        self._is_new = self._is_finished = False

    @property
    def journal(self) -> Journal:
        assert self._journal is not None, "the run is not open"
        return self._journal

    @property
    def replays(self) -> bool:
        """Whether the fit goes on with an earlier one."""
        return self.journal.replays

    def __enter__(self) -> "UnderWay":
        with writing(f"the run '{self.out}'"):
            self.out.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.out)
        try:
            with writing(f"the run '{self.out}'"):
                self._claim()
            self._open()
        except BaseException:
            if self._is_new:
                with suppress(StoreError):
                    self.finish()
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._keep(error)
        finally:
            self._close()
            self._release()
            with suppress(OSError):
                self.out.rmdir()  # if nothing is there

    def on_step(self, step: Step) -> None:
        record = step.record
        self._records.setdefault(record.candidate, []).append(record)
        best = None if self._best is None else self._best.record
        if best is not None and record.candidate != best.candidate and record.objective <= best.objective:
            return  # of another start, and worse
        self._best = step
        if self.journal.n_flushes != self._checkpointed:
            self._checkpoint()

    def begin_again(self) -> None:
        """Give the journal up; `start` is then the last checkpoint, if there is one.

        Killed at any place, it is done again with the same outcome.
        """
        files = [file for file in [self.out / START, *_checkpoints(self.out)] if self._is_whole(file)]
        self.journal.close()
        self.task = replace(self.task, starts_from=bool(files))
        with writing(f"the run '{self.out}'"):
            if files:
                replace_file(self.out / START, files[-1].read_bytes())
            self._write_task()
            (self.out / JOURNAL).unlink(missing_ok=True)
            shutil.rmtree(self.out / CHECKPOINTS, ignore_errors=True)  # numbers begin again
        self._journal = Journal(self.out / JOURNAL, self._classes, self._interval)
        self._best, self._records, self._checkpointed = None, {}, 0

    def start(self) -> Run | None:
        """The run whose model the fit begins with, where it could not go on from its journal."""
        return read_file(self.out / START, allow_code=self._allow_code) if self.task.starts_from else None

    @property
    def seconds(self) -> float:
        """Of this sitting and, as far as they told, of those before."""
        return self.seconds_before + time.monotonic() - self._began

    def finish(self) -> None:
        """The run is written: remove what was there for it."""
        self._is_finished = True
        with writing(f"the run '{self.out}'"):
            (self.out / UNFINISHED).unlink(missing_ok=True)  # first: what is left without it is rubbish
            self._clear()

    def _open(self) -> None:
        self._journal = Journal(self.out / JOURNAL, self._classes, self._interval)

    def _close(self) -> None:
        self.journal.close()

    def _claim(self) -> None:
        there = unfinished(self.out) if not self._sitting.overwrite else None
        if there is None:
            self._is_new = True
            self._clear()
        else:
            difference = there.difference(self.task)
            if difference:
                finishes = "" if difference == REPLACED else f"`dgmmis resume {self.out}` finishes it; "
                raise JobError(
                    f"in '{self.out}' a {there.kind} of {difference} is not finished",
                    do=f"{finishes}choose another output, or give it up with `{self.task.command} --overwrite`",
                )
            self.seconds_before = self._seconds_told()
            begun = there.n_sittings
            self.task = replace(self.task, starts_from=there.starts_from, n_sittings=begun, run_id=there.run_id)
        n_sittings, run_id = self.task.n_sittings + 1, self.task.run_id or self._sitting.run_id or new_run_id()
        self.task = replace(self.task, n_sittings=n_sittings, run_id=run_id)
        self._write_task()

    def _write_task(self) -> None:
        seldom = ("destination", "tried", "failed")
        values = {name: value for name, value in asdict(self.task).items() if name not in seldom or value}
        replace_document(self.out / UNFINISHED, values)

    def _keep(self, error: BaseException) -> None:
        """What there is, before an exception leaves."""
        if self._is_finished:
            self._clear()
            error.add_note(f"The run is written: `dgmmis info {self.task.destination or self.out}`.")
            return
        if self._has_nothing():
            with suppress(StoreError):
                self.finish()
            return
        try:
            if isinstance(error, NumericalError):
                self.journal.doubt()
            self.journal.flush()
            self._checkpoint()
            if isinstance(error, NumericalError):
                self.task = replace(self.task, failed=str(error))
                self._write_task()
        except (DgmmisError, OSError) as another:
            error.add_note(f"and what was found since could not be kept: {another}")
        allowed = " --allow-code" if self._allow_code else ""
        goes_on = self._sitting.goes_on or f"dgmmis resume{allowed} {self.out}"
        error.add_note(f"What was found so far is kept: `{goes_on}` goes on from there.")

    def _has_nothing(self) -> bool:
        """Whether nothing was found that is worth to be kept."""
        is_new = self.journal.n_answers == 0 and not self.replays and not self.task.starts_from
        return is_new and not _checkpoints(self.out)

    def _seconds_told(self) -> float:
        """That the sittings before took, as far as they told."""
        earlier = last_checkpoint(self.out, allow_code=self._allow_code)
        return 0.0 if earlier is None else float(earlier.document.get("seconds", 0.0))

    def _checkpoint(self) -> None:
        """Write the best model so far, and let go of all but the last few."""
        self._checkpointed = self.journal.n_flushes
        if self._best is None:
            return
        record, folder = self._best.record, self.out / CHECKPOINTS
        document = {
            "status": f"not finished: pass {record.iteration}",
            "converged": False,
            "log_likelihood": record.log_likelihood,
            "objective": record.objective,
            "n_samples": record.n_samples,
            "completeness": record.completeness,
            "completeness_error": record.completeness_error,
            "background_fraction": record.background_fraction,
            "n_passes": record.iteration + 1,
            "seconds": self.seconds,
            "repairs": list(record.repairs),
            "run_id": self.task.run_id,
            "job": self.task.text,
            "history": [as_plain(asdict(one)) for one in self._records[record.candidate]],
        }
        with writing(f"a checkpoint in '{folder}'"):
            folder.mkdir(exist_ok=True)
            run = Run(self._best.model, self._schema.features, self._schema.units, document)
            replace_file(folder / f"{self.journal.n_answers:06d}.npz", run_bytes(run))
            for file in _checkpoints(self.out)[:-KEPT]:
                file.unlink()
        self._follower.on_notice(Notice("checkpoint", {"iteration": record.iteration, "objective": record.objective}))

    def _is_whole(self, file: Path) -> bool:
        with suppress(StoreError, FileNotFoundError):
            read_file(file, allow_code=self._allow_code)
            return True
        return False

    def _clear(self) -> None:
        for name in (JOURNAL, START, ENDED, SO_FAR):
            (self.out / name).unlink(missing_ok=True)
        shutil.rmtree(self.out / CHECKPOINTS, ignore_errors=True)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def new_run_id() -> str:
    """A short random word."""
    return secrets.token_hex(4)


def _checkpoints(out: Path) -> list[Path]:
    return sorted((out / CHECKPOINTS).glob("[0-9]*.npz"))
