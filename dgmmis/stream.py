"""A stream of files: a model that follows them as they come, each looked at once, whatever ends the process between.

OUT is a run, of the model as the stream leaves it. OUT/stream holds where the stream is and which sources it has seen,
replaced in one step after each; a source that was under way is then begun anew.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dgmmis.callback import Callback, Counting, doing
from dgmmis.dataset.bound_source import outline
from dgmmis.dataset.checkpoint import STREAM, Run, is_run, read_run, require_place_for_run, write_run
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.disk import writing
from dgmmis.dataset.encoding import decoded, encoded
from dgmmis.dataset.ingest import ingest
from dgmmis.dataset.lock import held
from dgmmis.dataset.manifest import read_attributes
from dgmmis.dataset.new_sources import Problem, Source, found, new_sources
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import replace_file
from dgmmis.dataset.schema import FORMAT
from dgmmis.errors import DataError, DgmmisError, JobError, RefusedError, StoreError, counted
from dgmmis.execution.serial import Threads
from dgmmis.job import constraints_of
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Expected
from dgmmis.online import OnlineEM, OnlineState, OnlineStep, StepSize
from dgmmis.prior import Constraints

CLASSES = {of.__name__: of for of in (OnlineState, GaussianMixture, Expected, StepSize)}
"""What a state consists of."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A source that was followed.

    Args:
        source: its name.
        steps: one for each of its chunks.
    """

    source: str
    steps: tuple[OnlineStep, ...]

    @property
    def n_samples(self) -> float:
        return sum(step.n_samples for step in self.steps)

    @property
    def log_likelihood(self) -> float:
        """Mean per object, each under the model before its step: of rows that it had not seen."""
        total = sum(step.n_samples * step.log_likelihood for step in self.steps)
        return total / self.n_samples if self.steps else math.nan


class Stream:
    """Follows sources into a run; to be used within `with stream.held():`.

    Args:
        start: the run to begin with, where `out` has no stream yet.
        out: the run that follows.
        columns: of the sources; None: those named like the run's features. Survey stores have their own.
        alpha, memory: of the StepSize; None: as before, or as StepSize has it.
        allow_code: whether a run may name functions to import.
        callback: hears what is being done.

    Raises:
        RefusedError: a run with a selection: what was not seen has to settle, which `dgmmis reprocess` does.
        StoreError: a run cannot be read, or something else is at `out`.
    """

    def __init__(
        self,
        start: Path | None,
        out: Path,
        *,
        columns: Columns | None = None,
        alpha: float | None = None,
        memory: float | None = None,
        allow_code: bool = False,
        callback: Callback | None = None,
    ) -> None:
        self._callback = callback or Callback()
        given = {"alpha": alpha, "memory": memory}
        self.out, self._given = place_of(out).absolute(), {k: v for k, v in given.items() if v is not None}
        if isinstance(self.out, BucketPath):
            raise RefusedError(f"a stream is kept on a disk, and '{self.out}' is in a bucket", do="copy its run there")
        require_place_for_run(out)
        if is_run(out) and not (out / STREAM).exists():
            raise JobError(f"'{out}' is a run, and no stream", do="give another path; and `--start` to begin with it")
        if is_run(out):
            start = out
        if start is None:
            raise JobError(f"no stream at '{out}' to go on with", do="give the run to begin with: --start RUN")
        run = read_run(start, allow_code=allow_code)
        if run.survey(allow_code=allow_code).is_partial:
            raise RefusedError(
                "a run with a selection, and a stream: what was not seen has to settle, pass by pass",
                do="use `dgmmis reprocess`, which follows a survey that grows",
            )
        self._run, self.columns = run, columns or Columns(run.features)
        self._constraints = _constraints(run)
        self._known: list[dict[str, Any]] = []
        self._what = ""
        self._begin(StepSize())

    def _begin(self, step_size: StepSize) -> None:
        self._step_size = replace(step_size, **self._given)
        options: dict[str, Any] = {"constraints": self._constraints, "step_size": self._step_size}
        self._online = OnlineEM(self._run.model, executor=Threads(), **options)

    @property
    def features(self) -> tuple[str, ...]:
        """Of the model."""
        return self._run.features

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run against others, and go on from where it is.

        Raises:
            LockedError: another process follows into it.
            StoreError: its state is damaged.
        """
        with writing(f"the run '{self.out}'"):
            self.out.mkdir(parents=True, exist_ok=True)
        with held(self.out):
            for left in self.out.glob(".stream-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            self._restore()
            self._keep()
            yield

    def follow(self, patterns: Sequence[str], on_source: Callable[[Followed], object] | None = None) -> int:
        """Follow the sources that are new, by name; how many they were. A bad one does not keep the others out.

        Raises:
            DataError: one that it has seen has changed; or one has rows that no survey can have.
            DgmmisError: one cannot be read.
        """
        n, problems = self._follow(found(patterns, Path.cwd()), on_source)
        for problem in problems:
            problem.error.add_note(f"This is of '{problem.path}'.")
            for other in problems[1:]:
                problem.error.add_note(f"And '{other.path}': {other.error}")
            raise problem.error
        return n

    def watch(
        self,
        patterns: Sequence[str],
        seconds: float,
        on_source: Callable[[Followed], object],
        on_problem: Callable[[Problem], object],
    ) -> None:
        """Follow what comes, until a signal ends the process. A file counts once it has not changed for `seconds`; of a
        bad one it is said once, until it changes."""
        before: dict[Path, dict[str, Any]] = {}
        bad: dict[Path, dict[str, Any]] = {}
        while True:
            now: dict[Path, dict[str, Any]] = {}
            for path in found(patterns, Path.cwd()):
                with suppress(OSError):  # gone again
                    now[path] = outline(path)
            settled = [path for path, of in now.items() if before.get(path) == of and bad.get(path) != of]
            for problem in self._follow(settled, on_source)[1] if settled else []:
                bad[problem.path] = now[problem.path]
                on_problem(problem)
            before = now
            self._callback.on_notice(doing(""))  # waiting is nothing to speak of
            time.sleep(seconds)

    def _follow(
        self, paths: Sequence[Path], on_source: Callable[[Followed], object] | None
    ) -> tuple[int, list[Problem]]:
        new, problems = new_sources(paths, self._known, grows=False, has_row_ids=False)
        for number, source in enumerate(new, 1):
            self._what = f"{number} of {counted(len(new), 'source')}"
            self._callback.on_notice(doing(f"following {self._what}: {source.path.name}"))
            try:
                done = self._followed(source)
            except DgmmisError as error:
                problems.append(Problem(source.path, error))
                continue
            if on_source is not None:
                on_source(done)
        return len(new), problems

    def _followed(self, source: Source) -> Followed:
        state = self._online.state
        try:
            steps = tuple(self._steps(source.path))
        except BaseException:
            self._online.restored(state)  # a source is followed as a whole, or not at all
            raise
        self._known.append(dict(source.origin))
        self._keep()
        return Followed(source.path.name, steps)

    def _keep(self) -> None:
        """Where the stream is, and the run that follows from it."""
        with writing(f"the run '{self.out}'"):
            whole = {"state": self._online.state, "step_size": self._step_size, "known": self._known}
            replace_file(self.out / STREAM, encoded(whole, CLASSES))
        self._write()

    def _steps(self, path: Path) -> Iterator[OnlineStep]:
        if path.is_dir() and read_attributes(path).get("format") == FORMAT:
            data, run = Dataset.open(path), self._run
            units = [of for of in zip(run.units, data.schema.units, strict=False) if all(of) and of[0] != of[1]]
            if data.schema.features != run.features or units:
                got = f"{', '.join(data.schema.features)}{f', in other units: {units}' if units else ''}"
                raise JobError(f"'{path.name}' has other features than the run", expected=run.features, got=got)
            yield from self._stepped(data)
            return
        with tempfile.TemporaryDirectory(prefix=".stream-", dir=self.out) as folder:
            on_batch = Counting(self._callback, f"reading {self._what}")
            yield from self._stepped(ingest(path, Path(folder) / "batch.zarr", self.columns, on_batch=on_batch))

    def _stepped(self, data: Dataset) -> Iterator[OnlineStep]:
        tell, done = Counting(self._callback, f"following {self._what}"), 0
        for reference, step in zip(data.references, self._online.sweep(data), strict=True):
            done += reference.n_rows
            tell(done, data.n_rows)
            yield step

    def _restore(self) -> None:
        try:
            content = (self.out / STREAM).read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"'{self.out / STREAM}' cannot be read", got=error, do="check its permissions") from error
        try:
            known = decoded(content, CLASSES)
            self._begin(known["step_size"])
            self._online.restored(known["state"])
            self._known = list(known["known"])
        except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
            do = "remove the run, and begin anew with --start"
            raise StoreError(f"'{self.out / STREAM}' is damaged", got=error, do=do) from error

    def _write(self) -> None:
        """The run, of the last model where it forgets, and of the averaged one where it does not."""
        online = self._online
        model: Model = online.model if self._step_size.memory is not None else online.average
        document = {
            **{key: value for key, value in self._run.document.items() if key in ("job", "data", "measured")},
            "status": f"follows a stream: {online.n_steps} steps, {len(self._known)} sources",
            "converged": True,
            "n_samples": online.n_samples,
            "completeness": 1.0,
            "completeness_error": 0.0,
            "background_fraction": model.background_fraction,
            "repairs": [],
            "history": [],
        }
        write_run(self.out, Run(model, self._run.features, self._run.units, document, self._run.record))


def _constraints(run: Run) -> Constraints:
    """Those of the job that a run was fitted by; none of a run from Python.

    Raises:
        RefusedError: the job cannot be read again.
    """
    text = run.document.get("job")
    if not text:
        return Constraints()
    try:
        return constraints_of(str(text))
    except DgmmisError as error:
        raise RefusedError(
            f"the run's job cannot be read again: {error}", do="begin with a run that has one"
        ) from error
