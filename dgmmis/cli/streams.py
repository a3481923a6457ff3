"""follow: a model that follows a stream of files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgmmis.cli.operations import Operation
from dgmmis.cli.program import PLACE, allow_code_option, common, program
from dgmmis.cli.surveys import Names

if TYPE_CHECKING:
    from dgmmis.dataset.new_sources import Problem
    from dgmmis.stream import Followed


@program.command()
@click.argument("out", type=PLACE)
@click.argument("sources", nargs=-1, required=True)
@click.option("--start", type=PLACE, help="The run to begin with, where OUT has no stream yet.")
@click.option("--features", type=Names(), default=(), help="Columns that are features; default: named as in the run.")
@click.option("--errors", type=Names(), default=(), help="Columns of one-sigma errors, one a feature.")
@click.option("--variances", type=Names(), default=(), help="Columns of variances, one a feature.")
@click.option("--covariances", type=Names(), default=(), help="Columns of the lower triangle: aa,ba,bb,ca,cb,cc.")
@click.option("--weight", help="Column of sample weights.")
@click.option("--memory", type=float, help="Objects after which what came before counts 1/e; default: all count.")
@click.option("--alpha", type=float, help="Step t counts (t + 2)^-alpha; default: as before, or 0.6.")
@click.option("--watch", type=float, metavar="SECONDS", help="Go on watching for new sources, so often.")
@allow_code_option
@common
def follow(
    out: Path,
    sources: tuple[str, ...],
    start: Path | None,
    as_json: bool,
    quiet: bool,
    allow_code: bool,
    memory: float | None,
    alpha: float | None,
    watch: float | None,
    **roles: Any,
) -> None:
    """Follow a stream: take steps of online EM with each of the SOURCES that is new (files, survey stores, or patterns
    in quotes), and write the model to the run OUT. Each source is looked at once; OUT remembers which ones were.

    Nothing is kept of the rows. For a survey with a selection, or where the best model of all rows is wanted, there is
    `dgmmis reprocess`.

    \b
    Example:
      dgmmis follow tonight.run "nights/*.csv" --start survey.run --errors e_x,e_y
      dgmmis follow tonight.run "nights/*.csv" --errors e_x,e_y --memory 1e6 --watch 60
    """
    from dgmmis.dataset.columns import Columns
    from dgmmis.errors import JobError
    from dgmmis.stream import Stream

    if watch is not None and not watch > 0:
        raise JobError("--watch must be positive", got=watch)
    features = roles.pop("features")

    operation = Operation(as_json=as_json, quiet=quiet)

    def tell(done: "Followed") -> None:
        numbers = {"objects": done.n_samples, "log_likelihood": done.log_likelihood, "steps": len(done.steps)}
        said = f"{done.n_samples:,.6g} objects, log-likelihood {done.log_likelihood:.5f} before they were followed"
        with operation.aside():
            if as_json:
                click.echo(json.dumps({"source": done.source, **numbers}))
            elif not quiet:
                click.echo(f"{done.source}  {said}")

    given = any(roles.values()) or bool(features)

    def tell_problem(problem: "Problem") -> None:
        operation.problem(f"{problem.path.name} was not followed: {problem.error}")

    way: dict[str, Any] = {"alpha": alpha, "memory": memory, "allow_code": allow_code}
    with operation:
        stream = Stream(start, out, callback=operation.callback, **way)
        if given:
            stream.columns = Columns(features or stream.features, **roles)
        with stream.held():
            if watch is not None:
                stream.watch(sources, watch, tell, tell_problem)
            elif stream.follow(sources, tell) == 0 and not as_json:
                operation.done()
                click.echo("nothing new")
