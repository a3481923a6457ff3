"""reprocess, versions, rollback: a published model that follows its survey."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from dgmmis.cli.operations import Operation, operators
from dgmmis.cli.output import show_rows
from dgmmis.cli.program import PLACE, allow_code_option, common, program


@program.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--accept",
    is_flag=True,
    help="Publish whatever the gate finds, and take in again what was set aside.",
)
@click.option("--cold", is_flag=True, help="Begin where the job says, not with the model that holds.")
@operators
@allow_code_option
@common
def reprocess(job: Path, allow_code: bool, as_json: bool, quiet: bool, accept: bool, cold: bool, **files: Any) -> None:
    """Let a published model follow a survey that grows: one command for a scheduler, safe to run again at any time.

    It takes the new files of [reprocess] into the survey, fits on from the model that holds, compares the two on rows
    that neither has seen, and publishes the new one in a model store; or refuses it, sets its sources aside, and leaves
    everything as it was. With nothing new it says so. Killed anywhere, the next run goes on.

    \b
    A job file for it has, beside the tables of a fit:
      [reprocess]
      sources = ["nights/*.csv"]       # files or patterns, relative to the job file
      held_out = 0.05                  # share of the rows that no fit sees
      keep = 10                        # versions; keep_days = 90: and their age
      grows = false                    # true: sources grow at their end
      models = "survey.models"         # the model store; default: beside the job file
      columns = { features = ["x", "y"], errors = ["e_x", "e_y"], row_id = "id" }
      gate = { fall = 3, jump = 5, completeness = 0.05, arrivals = 1 }
    The gate: by how many of its standard errors the held-out log-likelihood may fall, and a parameter jump; by how much
    the completeness may change; and by how much per object new rows may be less probable than old ones.

    \b
    Exit code 1: refused; 65, 74: a source could not be read, and is tried again next time.

    \b
    Example:
      dgmmis reprocess survey.toml
      dgmmis reprocess survey.toml --quiet --log survey.jsonl --metrics /var/lib/node_exporter/survey.prom
      dgmmis status survey.models --max-age 36h  # for a monitor
      dgmmis score survey.models other.zarr      # the model that holds
    """
    from dgmmis.job import read_job
    from dgmmis.progress import bar
    from dgmmis.reprocess import reprocess as run

    def announce(lines: list[tuple[str, str]]) -> None:
        if not quiet:
            show_rows(lines, err=True)

    options: dict[str, Any] = {"accept": accept, "cold": cold, "announce": announce}
    with Operation(job.stem, quiet=quiet, **files) as operation:
        parsed = read_job(job, allow_code=allow_code)
        parsed = operation.follows(parsed)
        with bar("taking in", shown=not quiet) as on_batch:
            options |= {"on_batch": on_batch, "callbacks": operation.callbacks, "run_id": operation.account.run}
            report = run(parsed, **options)
        if as_json:
            click.echo(json.dumps(report.document()))
        else:
            click.echo(report.sentence)
        for problem in report.intake.problems:
            click.echo(f"dgmmis: {problem.path.name} was not taken in: {problem.error}", err=True)
        sys.exit(report.exit_code)


@program.command()
@click.argument("models", type=PLACE)
@common
def versions(models: Path, as_json: bool, quiet: bool) -> None:
    """List the versions of a model that `dgmmis reprocess` published; * marks the one that holds.

    \b
    Example:
      dgmmis versions survey.models
    """
    del quiet
    from dgmmis.dataset.model_store import ModelStore

    store = ModelStore(models).require()
    holds = store.latest()
    found = [store.version(name) for name in store.names()]
    if as_json:
        latest = None if holds is None else holds.name
        click.echo(json.dumps({"latest": latest, "versions": [dict(one.manifest) for one in found]}, indent=1))
        return
    for one in found:
        mark = "*" if holds is not None and one.name == holds.name else " "
        results = one.manifest.get("results", {})
        numbers = f"{results.get('n_samples', 0):,.6g} objects, log-likelihood {results.get('log_likelihood', 0):.5f}"
        click.echo(f"{mark} {one.name}  {one.published}  {numbers}")
    for entry in store.set_aside():
        why, source = str(entry.get("why")), str(entry.get("source"))
        click.echo(f"set aside: {why if source in why else f'{source}: {why}'}")


@program.command()
@click.argument("models", type=PLACE)
@click.option("--to", metavar="VERSION", help="Which; default: the one before the one that holds.")
@common
def rollback(models: Path, to: str | None, as_json: bool, quiet: bool) -> None:
    """Make an earlier version of a published model hold again. Newer ones stay; what comes in next goes on from it.

    \b
    Example:
      dgmmis rollback survey.models
    """
    del quiet
    from dgmmis.dataset.model_store import ModelStore

    store = ModelStore(models).require()
    with store.held():
        chosen = store.roll_back(to)
    click.echo(json.dumps({"latest": chosen.name}) if as_json else f"{chosen.name} of {chosen.published} holds")
