"""What people and operators see of a command that takes a while: progress, its log, its metrics, and how it ended."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

BEGAN = time.monotonic()

if TYPE_CHECKING:
    from dgmmis.callback import Callback, Callbacks, Counting
    from dgmmis.job import Job
    from dgmmis.metrics import MetricsFile


PAGES = (".html", ".htm")


def page_place(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """A page that can be written, as far as one can tell beforehand."""
    if path is not None and path.suffix not in PAGES:
        raise click.BadParameter(f"'{path}' must end in .html", ctx, param)
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder '{path.parent}'", ctx, param)
    return path


def operators(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options."""
    command = click.option(
        "--performance-report",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE.html",
        callback=page_place,
        help="Write dask's own report of what the cluster did there, whatever ends the command.",
    )(command)
    command = click.option(
        "--metrics",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE.prom",
        help="Keep the numbers of the job there for Prometheus (the textfile collector of node_exporter), a file for "
        "each job; default: the job's [output].",
    )(command)
    return click.option(
        "--log",
        metavar="FILE",
        help="Append what happens to this file, one JSON object a line; -: to stderr; default: the job's [output].",
    )(command)


class Operation:
    """A command under the eyes of whoever waits for it, and of operators; a context manager.

    What goes on is shown on stderr: to people, or as the lines of a log to whoever wants JSON; to nobody where it is to
    be quiet.

    Args:
        name: of the job; empty: there is none.
        as_json: machines are listening.
        quiet: show nothing, and say nothing at the end.
        log: path of the log, or "-"; None: what the job says.
        metrics: path of the metrics; None: what the job says.
        performance_report: path of dask's own report of the cluster; None: there is none.
    """

    def __init__(
        self,
        name: str = "",
        *,
        as_json: bool,
        quiet: bool,
        log: str | None = None,
        metrics: Path | None = None,
        performance_report: Path | None = None,
    ) -> None:
        from dgmmis.account import Account
        from dgmmis.dataset.under_way import new_run_id
        from dgmmis.event_log import STDERR, EventLog
        from dgmmis.progress import Progress
        from dgmmis.progress.progress import PATIENCE
        from dgmmis.progress.stream import Overheard, WholeLines

        self._quiet, self._as_json, self._performance_report = quiet, as_json, performance_report
        self.account = Account(name, new_run_id() if name else "")
        self._log: EventLog | None = None
        self._metrics: MetricsFile | None = None
        self._others: WholeLines | None = None
        self._workers: Overheard | None = None
        self._open(log, metrics)
        self._told = EventLog(STDERR, self.account) if as_json and not quiet and log != STDERR else None
        self._progress: Progress | None = None
        if not (as_json or quiet or log == STDERR):
            # a person waits since the program began, which is to load what it needs
            self._progress = Progress(patience=max(0.0, PATIENCE - (time.monotonic() - BEGAN)))

    def __enter__(self) -> "Operation":
        if self._progress is not None:
            self._progress.__enter__()
        if self._told is not None:
            from dgmmis.event_log import STDERR, EventLog
            from dgmmis.progress.stream import Overheard, WholeLines, is_stderr

            if is_stderr(sys.stderr):
                self._workers = Overheard(self._hear)
                self._told = EventLog(STDERR, self.account, stderr=self._workers.stream)
            self._others = sys.stderr = WholeLines(sys.stderr, self._hear)  # warnings, and loggers of libraries
        return self

    def _hear(self, lines: list[str]) -> None:
        from dgmmis.callback import Notice

        for one in lines:
            if self._told is not None:
                self._told.on_notice(Notice("said", {"message": one}, "warning"))

    def follows(self, job: "Job") -> "Job":
        """Open what the options did not name, and the job does; the job, with the report that is wanted of its cluster.

        Raises:
            RefusedError: it has no cluster.
            StoreError: a file cannot be written.
        """
        job = replace(job, performance_report=self._performance_report)
        job.cluster_spec()
        self._open(job.log_path if self._log is None else None, job.metrics_path if self._metrics is None else None)
        return job

    def _open(self, log: str | None, metrics: Path | None) -> None:
        from dgmmis.event_log import EventLog
        from dgmmis.metrics import MetricsFile

        if log is not None:
            self._log = EventLog(log, self.account)
        if metrics is not None:
            self._metrics = MetricsFile(metrics, self.account)

    @property
    def callbacks(self) -> list["Callback"]:
        """The account first: the others look at it."""
        followers = (self.account, self._log, self._told, self._metrics, self._progress)
        return [one for one in followers if one is not None]

    @property
    def callback(self) -> "Callbacks":
        """All of them as one."""
        from dgmmis.callback import Callbacks

        return Callbacks(self.callbacks)

    def doing(self, what: str) -> None:
        """Something begins that may take a while."""
        from dgmmis.callback import doing

        self.callback.on_notice(doing(what))

    def counting(self, what: str) -> "Counting":
        """To be called with the rows done, and the rows in all, while something goes through them."""
        from dgmmis.callback import Counting

        self.doing(what)
        return Counting(self.callback, what)

    def announce(self, lines: list[tuple[str, str]]) -> None:
        """Say to people what is about to begin; machines read it in the log."""
        from dgmmis.cli.output import show_rows

        if not (self._quiet or self._as_json):
            with self.aside():
                show_rows(lines, err=True)

    def aside(self) -> AbstractContextManager[None]:
        """Room on the terminal for what is said meanwhile."""
        return nullcontext() if self._progress is None else self._progress.aside()

    def problem(self, sentence: str) -> None:
        """Something that went wrong, and does not end the command."""
        from dgmmis.callback import Notice

        if not self._as_json:
            click.echo(f"dgmmis: {sentence}", err=True)
        elif self._told is not None:
            self._told.on_notice(Notice("problem", {"message": sentence}, "error"))

    def done(self) -> None:
        """Nothing more goes on: what was found may be printed."""
        if self._progress is not None:
            self._progress.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from dgmmis.ending import UNREAD, exit_code_of

        self.done()
        if self._others is not None:
            self._others.end()
            sys.stderr = self._others.stream
        if self._workers is not None:
            self._workers.close()
        failed = error is not None and not isinstance(error, SystemExit)
        code = 0 if error is None else int(error.code or 0) if isinstance(error, SystemExit) else exit_code_of(error)
        status = type(error).__name__ if failed else None if self.account.has_begun else "done"
        ending = self.account.ending(code, status)
        for log in (self._log, self._told):
            if log is not None:
                if error is not None and failed:
                    log.failed(error, code)
                log.ended(ending)
                log.close()
        if self._workers is not None:
            with suppress(OSError):  # nobody reads it any more
                self._workers.stream.close()
        if self._metrics is not None:
            self._metrics.ended(code)
        if not (self._quiet or self._as_json) and self.account.has_begun:  # else there is only the error to be said
            click.echo(f"dgmmis: {ending}", err=True)
        if failed and code != UNREAD and self._told is not None and "--debug" not in sys.argv:
            raise SystemExit(code) from error  # it has been said
