"""select: which number of components, and which structure."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgmmis.cli.operations import Operation, operators
from dgmmis.cli.pictures import require_place_for_picture
from dgmmis.cli.program import PLACE, allow_code_option, common, program
from dgmmis.cli.surveys import Names

if TYPE_CHECKING:
    from dgmmis.chosen import Tried
    from dgmmis.job import Job
    from dgmmis.model_selection import Choice


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas, and ranges first:last or first:last:step, the last included."""

    name = "1:20"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if not isinstance(value, str):
            return tuple(value)
        from dgmmis.model_selection.selecting import MOST

        numbers: set[int] = set()
        try:
            for part in value.split(","):
                first, *rest = (int(word) for word in part.split(":"))
                last, step = (*rest, *(first, 1)[len(rest) :])
                found = range(first, last + 1, step)
                if step < 1 or not found or first < 1 or len(found) > MOST:
                    raise ValueError
                numbers.update(found)
        except (ValueError, OverflowError):
            what = f"positive numbers such as 1:20, 2,4,8 or 1:20:2, up to {MOST} of them"
            self.fail(f"'{value[:40]}' is not of the form: {what}", param, ctx)
        return tuple(sorted(numbers))


@program.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--components",
    type=Numbers(),
    required=True,
    help="The numbers of components to try: 1:20, 2,4,8 or 1:20:2; instead of that of the job.",
)
@click.option(
    "--covariance-types",
    type=Names(),
    help="The structures to try, of full, diag, tied, spherical; default: that of the job.",
)
@click.option(
    "--criterion",
    default="bic",
    show_default=True,
    help="By what one is chosen: bic, aic, icl, or held-out, the log-likelihood of folds that the fits have not seen.",
)
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Of held-out rows.")
@click.option("--starts", type=click.IntRange(min=1), help="First models of each; default: the job's.")
@click.option("--out", type=PLACE, help="Write the best there as a run, and the table; and what it takes to go on.")
@click.option("--overwrite", is_flag=True, help="Give up what was interrupted there.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the criterion there: png, pdf, svg."
)
@operators
@allow_code_option
@common
def select(
    job: Path,
    components: tuple[int, ...],
    covariance_types: tuple[str, ...] | None,
    criterion: str,
    folds: int,
    starts: int | None,
    out: Path | None,
    overwrite: bool,
    plot: Path | None,
    allow_code: bool,
    as_json: bool,
    quiet: bool,
    **files: Any,
) -> None:
    """Fit several numbers of components, and structures, to the data of a job file, on its cluster, and say which is
    best.

    It is one job: each reading of the data serves all fits that are under way. Data, selection, noise, background,
    tolerance and cluster are those of the job. What is worse than the best is so by the criterion, with the standard
    error of the difference over the objects; fits that did not settle, and those with components that collapsed or
    starved, are marked, and recommended after all others.

    With --out, what it has found is kept there while it runs. SIGTERM, SIGUSR1 and Ctrl-C end it in order, with exit
    code 75; whatever ends it, `dgmmis resume` goes on from there and ends with the same bits, and so does the same
    command: models that have ended are not fitted again. Where a selection has ended, or a run is, the command begins
    anew, and replaces it at the end. Without --out nothing is kept. Exit code 3: the best has not
    settled.

    \b
    Example:
      dgmmis select survey.toml --components 1:20
      dgmmis select survey.toml --components 2,4,8 --covariance-types full,diag --out survey.run --plot select.png
      dgmmis select survey.toml --components 1:8 --criterion held-out --folds 10 --json
    """
    from dgmmis.chosen import Tried
    from dgmmis.job import read_job
    from dgmmis.model_selection import Criterion

    if plot is not None:
        require_place_for_picture(plot, "--plot")
    if overwrite and out is None:
        raise click.UsageError("--overwrite needs --out: without it nothing is kept that could be given up")

    tried = Tried(components, covariance_types or (), Criterion(criterion, folds), starts)
    with Operation(job.stem, as_json=as_json, quiet=quiet, **files) as operation:
        operation.doing("opening the survey")
        choice = selected(read_job(job, allow_code=allow_code), tried, operation, out=out, overwrite=overwrite)
        if plot is not None:
            operation.doing("drawing")
            from dgmmis.plotting import write_choice_figure

            write_choice_figure(plot, choice)
        operation.done()
        show_choice(choice, out, as_json)


def selected(
    job: "Job", tried: "Tried", operation: Operation, *, out: Path | None, overwrite: bool = False
) -> "Choice":
    """The choice of some models, which the operation follows."""
    from dgmmis.chosen import select_job
    from dgmmis.dataset.under_way import Sitting

    job = operation.follows(job)
    sitting = Sitting(overwrite=overwrite, run_id=operation.account.run)
    options: dict[str, Any] = {"callbacks": operation.callbacks, "announce": operation.announce, "sitting": sitting}
    return select_job(job, tried, out=out, **options)[0]


def show_choice(choice: "Choice", out: Path | None, as_json: bool) -> None:
    """A choice, and the exit code that it stands for."""
    from dgmmis.ending import NOT_CONVERGED

    if as_json:
        click.echo(json.dumps({**choice.document(), "run": None if out is None else str(out)}))
    else:
        click.echo(str(choice))
        if out is not None:
            click.echo(f"written to {out}")
    if not choice.best.converged:
        if not as_json:
            click.echo(choice.best.status.value, err=True)
        sys.exit(NOT_CONVERGED)
