"""What operators see of a command that fits: its log, its metrics, and a line on stderr that says how it ended."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dgmmis.callback import Callback
    from dgmmis.event_log import EventLog
    from dgmmis.job import Job
    from dgmmis.metrics import MetricsFile


PAGES = (".html", ".htm")


def _page(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """A page that can be written, as far as one can tell beforehand."""
    if path is not None and path.suffix not in PAGES:
        raise click.BadParameter(f"'{path}' must end in .html", ctx, param)
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder '{path.parent}'", ctx, param)
    return path


performance_report_option = click.option(
    "--performance-report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    callback=_page,
    help="Write dask's own report of what the cluster did there, whatever ends the command.",
)


def operators(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options."""
    command = performance_report_option(command)
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
    """A command under the eyes of its operators; a context manager. Its `callbacks` follow the fit.

    Args:
        name: of the job.
        log: path of the log, or "-"; None: what the job says.
        metrics: path of the metrics; None: what the job says.
        quiet: say nothing at the end.
        performance_report: path of dask's own report of the cluster; None: there is none.
    """

    def __init__(
        self, name: str, *, log: str | None, metrics: Path | None, quiet: bool, performance_report: Path | None = None
    ) -> None:
        from dgmmis.account import Account
        from dgmmis.dataset.under_way import new_run_id

        self._quiet, self._performance_report = quiet, performance_report
        self.account = Account(name, new_run_id())
        self._log: EventLog | None = None
        self._metrics: MetricsFile | None = None
        self._open(log, metrics)

    def __enter__(self) -> "Operation":
        return self

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
        from dgmmis.progress import Progress

        followers: list[Callback | None] = [self.account, self._log, self._metrics]
        return [*(one for one in followers if one is not None), *([] if self._quiet else [Progress()])]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from dgmmis.ending import exit_code_of

        failed = error is not None and not isinstance(error, SystemExit)
        code = 0 if error is None else int(error.code or 0) if isinstance(error, SystemExit) else exit_code_of(error)
        ending = self.account.ending(code, type(error).__name__ if failed else None)
        if self._log is not None:
            if error is not None and failed:
                self._log.failed(error, code)
            self._log.ended(ending)
            self._log.close()
        if self._metrics is not None:
            self._metrics.ended(code)
        if not self._quiet and self.account.has_begun:  # else there is nothing to say but the error
            click.echo(f"dgmmis: {ending}", err=True)
