"""dgmmis simulate | ingest | info | plan | fit | score | predict | sample.

Heavy libraries are imported in the commands that need them, so that `dgmmis --help` is quick.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dgmmis.job import Job

WHICH = ("population", "seen", "unseen")

EXIT_CODES = """\b
Exit codes:
   0  done                             69  the cluster was lost or cannot be reached
   1  failed                           74  input/output error
   2  usage or a bad job file          75  interrupted: run again
   3  stopped without convergence (the model is written)
  65  bad data
"""


class _Names(click.ParamType[tuple[str, ...]]):
    """Names separated by commas."""

    name = "a,b,c"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        del param, ctx
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class _Factors(click.ParamType[dict[str, float]]):
    """name=factor pairs separated by commas."""

    name = "a=0.1,b=2"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        if not isinstance(value, str):
            return dict(value)
        try:
            return {name.strip(): float(factor) for name, factor in (part.split("=") for part in value.split(","))}
        except ValueError:
            self.fail(f"'{value}' is not of the form a=0.1,b=2", param, ctx)


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, for machines.")(
        command
    )
    return click.option("--quiet", is_flag=True, help="No progress on stderr.")(command)


def _allow_code(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--allow-code",
        is_flag=True,
        help="Let a job or a run import the functions that it names (selection, noise law, background), and call them "
        "as you: for files that you trust.",
    )(command)


def _order(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--order",
        is_flag=True,
        help="Put rows that lie near one another together, along a k-d tree, and keep their numbers in the catalogue: "
        "many local components are then fitted faster.",
    )(command)


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dgmmis", message="dgmmis %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def program(debug: bool) -> None:
    """Fit Gaussian mixtures to noisy, truncated, incomplete surveys, chunk by chunk on a dask cluster.

    \b
    Example:
      dgmmis simulate survey.zarr --preset box-with-hole
      dgmmis fit survey.toml
    """
    del debug


@program.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--preset", default="box-with-hole", show_default=True, help="Which survey; see above.")
@click.option("-n", "n", type=click.IntRange(min=1), help="Objects before selection; default: the preset's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option("--overwrite", is_flag=True, help="Replace a survey that is there.")
@_order
@_common
def simulate(out: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write a survey with a known truth to OUT, and a job file that fits it beside it.

    \b
    Presets:
      box-with-hole    a square field with a hole: half of the objects are out of sight
      many-components  fifty clumps, no noise
      deconvolution    a covariance for each object, a tenth of the features missing
      graded           a selection that fades out, 0 < Omega < 1
      background       clumps on a uniform background
      one-likelihood   all of it at once: own noise, graded selection, gaps, a background
    \b
    Example:
      dgmmis simulate survey.zarr --preset graded -n 50000 --seed 1
    """
    from dgmmis.progress import bar
    from dgmmis.simulate import job_path
    from dgmmis.simulate import simulate as run

    with bar("simulating", shown=not quiet) as on_batch:
        dataset = run(out, on_batch=on_batch, **options)
    _tell(dataset.describe(), as_json)
    if not as_json:
        click.echo(f"\nfit it:  dgmmis fit {job_path(out)}")


@program.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--features", type=_Names(), default=(), help="Columns that are features.")
@click.option("--errors", type=_Names(), default=(), help="Columns of one-sigma errors, one a feature.")
@click.option("--variances", type=_Names(), default=(), help="Columns of variances, one a feature.")
@click.option("--covariances", type=_Names(), default=(), help="Columns of the lower triangle: aa,ba,bb,ca,cb,cc.")
@click.option("--units", type=_Names(), default=(), help="Units of the features.")
@click.option("--scale", type=_Factors(), default={}, help="Factors for columns; a feature's applies to its noise too.")
@click.option("--weight", help="Column of sample weights.")
@click.option("--row-id", help="Column of whole numbers that name the rows.")
@click.option("--points", help="npz and zarr: the array (n, m) of all features.")
@click.option("--noise", help="npz and zarr: the array (n, m), (n, m, m) or (n, t) of noise.")
@click.option("--projection", help="npz and zarr: the array R (n, m, d), y = R x + noise.")
@click.option("--append", is_flag=True, help="Add the rows to the survey at OUT.")
@click.option("--overwrite", is_flag=True, help="Replace the survey at OUT.")
@_order
@click.option(
    "--float32",
    is_flag=True,
    help="Store values and noise in half the room, rounded by up to 6e-8 of each: refused where that is not far below "
    "a feature's errors. `info` says how much it is. Sums are float64 in any case.",
)
@_common
def ingest(
    source: Path,
    out: Path,
    append: bool,
    overwrite: bool,
    order: bool,
    float32: bool,
    as_json: bool,
    quiet: bool,
    **roles: Any,
) -> None:
    """Read a table SOURCE (CSV, parquet, FITS, npz, zarr) into a survey store OUT, in bounded memory.

    Empty or null features are missing; they are marginalised exactly.

    \b
    Example:
      dgmmis ingest stars.parquet stars.zarr --features pmra,pmdec --errors e_pmra,e_pmdec --units mas/yr,mas/yr
    """
    from dgmmis.dataset.columns import Columns
    from dgmmis.dataset.ingest import ingest as run
    from dgmmis.progress import bar

    options: dict[str, Any] = {
        "append": append,
        "overwrite": overwrite,
        "order": order,
        "storage": "float32" if float32 else "float64",
    }
    with bar("ingesting", shown=not quiet) as on_batch:
        dataset = run(source, out, Columns(**roles), on_batch=on_batch, **options)
    _tell(dataset.describe(), as_json)


@program.command()
@click.argument("path", type=click.Path(path_type=Path))
@_allow_code
@_common
def info(path: Path, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Describe a survey store or a run.

    \b
    Example:
      dgmmis info survey.zarr
    """
    del quiet
    from dgmmis.dataset.checkpoint import is_run, read_run
    from dgmmis.dataset.dataset import Dataset

    if is_run(path):
        run = read_run(path, allow_code=allow_code)
        document = {key: value for key, value in run.document.items() if key not in ("history", "job")}
        if as_json:
            _tell({**document, **run.numbers()}, as_json)
            return
        from dgmmis.errors import StoreError
        from dgmmis.summary import document_lines, model_table, survey_lines

        said = ("survey", "selection", "background", "completeness", "completeness_error")
        try:
            lines = [*document_lines({k: v for k, v in document.items() if k not in said}), *survey_lines(run)]
            table = model_table(run)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the document of '{path}' is damaged", got=repr(error), do="fit it again") from error
        _rows(lines)
        click.echo("\n" + table)
        return
    _tell(Dataset.open(path).describe(), as_json)


@program.command()
@click.argument("job", type=click.Path(path_type=Path))
@_allow_code
@_common
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
        _rows(plan.lines())
    plan.check()


@program.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where the run is written; default: the job's [output].")
@_allow_code
@_common
def fit(job: Path, out: Path | None, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Fit the model of a job file to its data, on its cluster, and write a run.

    \b
    Example:
      dgmmis fit survey.toml --out survey.run
    """
    from dgmmis.job import read_job
    from dgmmis.progress import Progress
    from dgmmis.runs import run_job
    from dgmmis.summary import fit_lines, model_table

    parsed: Job = read_job(job, allow_code=allow_code)
    target = out or parsed.output_path

    def announce(lines: list[tuple[str, str]]) -> None:
        if not quiet:
            _rows(lines, err=True)

    run = run_job(parsed, target, callbacks=[] if quiet else [Progress()], announce=announce)
    if as_json:
        click.echo(json.dumps({**run.document, **run.numbers()}))
    else:
        _rows(fit_lines(run))
        click.echo("\n" + model_table(run))
        click.echo(f"\nwritten to {target}")
    for sentence in run.document["repairs"]:
        click.echo(f"note: {sentence}", err=True)
    if not run.document["converged"]:
        click.echo(run.document["status"], err=True)
        sys.exit(3)


@program.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@_allow_code
@_common
def score(run: Path, data: Path, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Mean log-likelihood per object of the survey DATA under the model of RUN, normalised under its selection.

    \b
    Example:
      dgmmis score survey.run other.zarr
    """
    del quiet
    from dgmmis.runs import score_run

    _tell(score_run(run, data, allow_code=allow_code), as_json)


@program.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--responsibilities", is_flag=True, help="Write those of every component too (n, k).")
@_allow_code
@_common
def predict(run: Path, data: Path, out: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write the most probable component of each object of the survey DATA under the model of RUN (`label`; -1: the
    background), and its log density as the fit counts it, normalised under the selection (`log_density`), to a zarr
    group OUT, in the order of the catalogue.

    Whether the survey could have seen an object at its measured values is not looked at (`dgmmis score` does). One
    whose missing or true values could not have been selected, whatever they were, has -1 and -inf.

    \b
    Example:
      dgmmis predict survey.run survey.zarr labels.zarr
    """
    from dgmmis.prediction import predict_run
    from dgmmis.progress import bar

    with bar("predicting", shown=not quiet) as on_batch:
        document = predict_run(run, data, out, on_batch=on_batch, **options)
    _tell(document, as_json)


@program.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("n", type=click.IntRange(min=1))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--which",
    type=click.Choice(WHICH),
    default="population",
    show_default=True,
    help="All objects, those that the survey sees, or those that it misses.",
)
@click.option(
    "--noise/--no-noise",
    default=None,
    help="Measured with the noise of the survey, or true positions; default: true positions of the population, "
    "measured values of the others.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option("--overwrite", is_flag=True, help="Replace a survey that is there.")
@_allow_code
@_common
def sample(run: Path, n: int, out: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Draw N objects from the model of RUN into a survey store OUT: of the population before selection, or a catalogue
    as its survey would make it, or what that would miss.

    \b
    Example:
      dgmmis sample survey.run 1000000 population.zarr
      dgmmis sample survey.run 100000 again.zarr --which seen
    """
    from dgmmis.progress import bar
    from dgmmis.runs import sample_run

    with bar("drawing", shown=not quiet) as on_batch:
        dataset = sample_run(run, n, out, on_batch=on_batch, **options)
    _tell(dataset.describe(), as_json)


def _tell(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, indent=1, default=str))
    else:
        from dgmmis.summary import document_lines

        _rows(document_lines(document))


def _rows(lines: list[tuple[str, str]], err: bool = False) -> None:
    width = max((len(what) for what, _ in lines), default=0)
    for what, value in lines:
        # names of files need not be text, and what a file says need not be fit for a terminal
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in f"{what:<{width}}  {value}")
        click.echo(line, err=err)


def main() -> None:
    """The program: commands, and errors as one message and an exit code."""
    from dgmmis.errors import DgmmisError

    try:
        program(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted; nothing was written: run again", err=True)
        sys.exit(75)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except DgmmisError as error:
        if "--debug" in sys.argv:
            raise
        click.echo(f"dgmmis: {error}", err=True)
        sys.exit(error.exit_code)
    except UnicodeDecodeError as error:
        if "--debug" in sys.argv:
            raise
        click.echo(f"dgmmis: the file is not UTF-8 text: {error}. Convert it, for example with iconv.", err=True)
        sys.exit(65)
    except OSError as error:
        if "--debug" in sys.argv:
            raise
        click.echo(f"dgmmis: {error}", err=True)
        sys.exit(74)
