"""check, report: whether a survey is as a run has it, and all that there is to say of one."""

from pathlib import Path
from typing import Any

import click

from dgmmis.cli.operations import Operation, page_place
from dgmmis.cli.output import show_rows, tell
from dgmmis.cli.pictures import data_of
from dgmmis.cli.program import PLACE, allow_code_option, common, program


@program.command()
@click.argument("run", type=PLACE)
@click.option("--data", type=PLACE, help="The survey store; default: that of the run.")
@click.option("--level", type=float, default=0.01, show_default=True, help="How often a true model may be flagged.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@allow_code_option
@common
def check(run: Path, data: Path | None, level: float, seed: int, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Test whether the survey is as RUN has it, with its noise, selection and gaps: goodness of fit.

    The transforms of each feature are uniform if the model holds, and so are the probabilities of whole objects
    (Neyman's smooth test says in which direction they are not); the objects in cells of each pair of features are
    counted against those expected (chi^2, and the worst cells). A true model is flagged with the probability --level
    at most; one that was fitted to these objects less often. Flags or none, the exit code is 0.

    \b
    Example:
      dgmmis check survey.run
      dgmmis check survey.run --data other.zarr
    """
    from dgmmis.dataset.checkpoint import read_run

    fitted = read_run(run, allow_code=allow_code)
    dataset = data_of(fitted, data)
    options: dict[str, Any] = {"survey": fitted.survey(allow_code=allow_code), "level": level, "seed": seed}
    with Operation(as_json=as_json, quiet=quiet) as operation:
        on_rows = operation.counting("checking")
        from dgmmis.goodness import goodness_of_fit

        found = goodness_of_fit(fitted, dataset, on_rows=on_rows, **options)
    document: dict[str, Any] = {"run": str(run), "data": str(dataset.path)}
    if as_json:
        tell({**document, **found.document()}, as_json)
        return
    lines = [(name, str(value)) for name, value in document.items()]
    lines += [("objects", f"{found.n_rows:,}, {found.sums.ranked:,} of them ranked among others drawn in their places")]
    lines += [("FLAGGED" if verdict.is_flagged else "passed", verdict.words) for verdict in found.verdicts]
    flagged = f"{len(found.flags)} of {len(found.verdicts)} tests flagged"
    lines += [("in all", f"{flagged}; of a true model any is, at most, in {100 * level:g} % of surveys")]
    show_rows(lines)


@program.command()
@click.argument("run", type=PLACE)
@click.option("--data", type=PLACE, help="The survey store; default: that of the run, if it is there.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=page_place,
    help="The HTML file; default: RUN-report.html, in this folder.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@allow_code_option
@common
def report(
    run: Path, data: Path | None, out: Path | None, seed: int, allow_code: bool, as_json: bool, quiet: bool
) -> None:
    """Write a report of RUN: one HTML file that opens without a network, prints, and can be sent.

    It says what was fitted to what, how it converged, the population with its errors, whether the survey is as the
    model has it (see `dgmmis check`), what it cost, and how to do it again; with pictures. RUN may be a model store,
    or not be finished; what is not there is left out, and said to be.

    \b
    Example:
      dgmmis report survey.run
      dgmmis report survey.run --data survey.zarr --out survey.html
    """
    out = out or Path(f"{Path(run.name).stem or 'run'}-report.html")
    with Operation(as_json=as_json, quiet=quiet) as operation:
        operation.doing("loading")
        from dgmmis.report import report_page, write_report

        options: dict[str, Any] = {"seed": seed, "allow_code": allow_code}
        text, document = report_page(run, data=data, on_rows=operation.counting, **options)
        write_report(out, text)
    tell({**document, "out": str(out), "bytes": len(text)}, as_json)
