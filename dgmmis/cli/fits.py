"""plan, fit, resume: a job becomes a run."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgmmis.cli.operations import Operation, operators
from dgmmis.cli.output import readable, show_rows
from dgmmis.cli.program import PLACE, allow_code_option, common, program
from dgmmis.cli.selecting import selected, show_choice

if TYPE_CHECKING:
    from dgmmis.dataset.checkpoint import Run
    from dgmmis.job import Job


@program.command()
@click.argument("job", type=click.Path(path_type=Path))
@allow_code_option
@common
def plan(job: Path, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Say what the fit of a job file would take: tasks, bytes, memory per task. Nothing runs.

    \b
    Example:
      dgmmis plan survey.toml
    """
    del quiet
    from dataclasses import asdict

    from dgmmis.job import read_job
    from dgmmis.runs import planned

    plan = planned(read_job(job, allow_code=allow_code))
    if as_json:
        click.echo(json.dumps(asdict(plan), indent=1))
    else:
        show_rows(plan.lines())
    plan.check()


@program.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--out", type=PLACE, help="Where the run is written; default: the job's [output].")
@click.option("--overwrite", is_flag=True, help="Give up the fit of something else that was interrupted there.")
@operators
@allow_code_option
@common
def fit(
    job: Path, out: Path | None, overwrite: bool, allow_code: bool, as_json: bool, quiet: bool, **files: Any
) -> None:
    """Fit the model of a job file to its data, on its cluster, and write a run.

    While it runs, what it has found is kept in the run's folder. SIGTERM, SIGUSR1 and Ctrl-C end it in order, with exit
    code 75; whatever ends it, `dgmmis resume` goes on from there and ends with the same bits, and so does the same
    command, as long as the survey has the same rows.

    \b
    Example:
      dgmmis fit survey.toml --out survey.run
      dgmmis fit survey.toml --quiet --log survey.jsonl --metrics /var/lib/node_exporter/survey.prom
    """
    from dgmmis.job import read_job

    with Operation(job.stem, as_json=as_json, quiet=quiet, **files) as operation:
        parsed = read_job(job, allow_code=allow_code)
        _fit(parsed, out or parsed.output_path, operation, as_json=as_json, overwrite=overwrite)


@program.command()
@click.argument("run", type=PLACE)
@operators
@allow_code_option
@common
def resume(run: Path, allow_code: bool, as_json: bool, quiet: bool, **files: Any) -> None:
    """Go on with the fit, or the selection, in the folder RUN that was interrupted, to the same bits as if it had not
    been.

    What passes over the data found is taken from RUN/journal. Rows that were appended to the survey meanwhile are left
    out. A run that is finished is shown. Where another version or processor takes other steps, it says so, and begins
    again from the last model.

    \b
    Example:
      dgmmis resume survey.run
      dgmmis resume survey.run --log survey.jsonl
    """
    from dgmmis.chosen import tried_in
    from dgmmis.dataset.checkpoint import read_run
    from dgmmis.runs import resumed

    job, tried = resumed(run, allow_code=allow_code), tried_in(run)
    if job is None:
        show_run(read_run(run, allow_code=allow_code), run, as_json)
        return
    with Operation(job.path.stem, as_json=as_json, quiet=quiet, **files) as operation:
        if tried is None:
            _fit(job, run, operation, as_json=as_json)
            return
        operation.doing("opening the survey")
        choice = selected(job, tried, operation, out=run)
        operation.done()
        show_choice(choice, run, as_json)


def _fit(job: "Job", out: Path, operation: Operation, *, as_json: bool, overwrite: bool = False) -> None:
    operation.doing("opening the survey")
    from dgmmis.dataset.under_way import Sitting
    from dgmmis.runs import run_job

    job = operation.follows(job)
    sitting = Sitting(overwrite=overwrite, run_id=operation.account.run)
    run = run_job(job, out, callbacks=operation.callbacks, announce=operation.announce, sitting=sitting)
    operation.done()
    show_run(run, out, as_json)


def show_run(run: "Run", path: Path, as_json: bool) -> None:
    """A run, and the exit code that it stands for."""
    from dgmmis.ending import NOT_CONVERGED
    from dgmmis.summary import fit_lines, model_table

    document = run.document
    if as_json:
        click.echo(json.dumps({**document, **run.numbers()}))
    else:
        with readable(path):
            lines, table = fit_lines(run), model_table(run)
        show_rows(lines)
        click.echo("\n" + table)
        click.echo(f"\nwritten to {path}")
    with readable(path):
        notes = [str(one) for name in ("runaways", "repairs") for one in document.get(name, [])]
        converged, status = document["converged"], document["status"]
    if not as_json:  # whose document has them
        for sentence in notes:
            click.echo(f"note: {sentence}", err=True)
        if not converged:
            click.echo(status, err=True)
    if not converged:
        sys.exit(NOT_CONVERGED)
