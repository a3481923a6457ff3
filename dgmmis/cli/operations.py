"""What operators see of a command that fits: its log, its metrics, and a line on stderr that says how it ended."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dgmmis.callback import Callback
    from dgmmis.event_log import EventLog
    from dgmmis.job import Job
    from dgmmis.metrics import MetricsFile


def operators(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options."""
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
    """

    def __init__(self, name: str, *, log: str | None, metrics: Path | None, quiet: bool) -> None:
        from dgmmis.account import Account
        from dgmmis.dataset.under_way import new_run_id

        self._quiet = quiet
        self.account = Account(name, new_run_id())
        self._log: EventLog | None = None
        self._metrics: MetricsFile | None = None
        self._open(log, metrics)

    def __enter__(self) -> "Operation":
        return self

    def follows(self, job: "Job") -> None:
        """Open what the options did not name, and the job does.

        Raises:
            StoreError: it cannot be written.
        """
        self._open(job.log_path if self._log is None else None, job.metrics_path if self._metrics is None else None)

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
