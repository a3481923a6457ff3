"""The program: `dgmmis --help` lists the commands.

Heavy libraries are imported in the commands that need them, so that `dgmmis --help` is quick.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dgmmis.dataset.checkpoint import Run
    from dgmmis.job import Job

WHICH = ("population", "seen", "unseen")

EXIT_CODES = """\b
Exit codes:
   0  done                             69  the cluster was lost or cannot be reached
   1  failed                           74  input/output error
   2  usage or a bad job file          75  interrupted or locked: run again
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
@click.option(
    "--append",
    is_flag=True,
    help="Add the rows to the survey at OUT. Columns that are not given are those that it was made from.",
)
@click.option(
    "--unique",
    is_flag=True,
    help="With --append: leave out rows whose row id is in the survey, or earlier in SOURCE; the first one stays.",
)
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
    unique: bool,
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
      dgmmis ingest tonight.parquet stars.zarr --append --unique
    """
    from dgmmis.dataset.append import append as run_append
    from dgmmis.dataset.columns import Columns
    from dgmmis.dataset.ingest import ingest as run
    from dgmmis.errors import RefusedError
    from dgmmis.progress import bar

    if unique and not append:
        raise RefusedError(
            "unique is for rows that are appended", do="give --append too: it makes a survey, if need be"
        )
    options: dict[str, Any] = {"order": order, "storage": "float32" if float32 else None}
    with bar("ingesting", shown=not quiet) as on_batch:
        if append and not overwrite:
            done = run_append(source, out, roles, unique=unique, on_batch=on_batch, **options)
            document = done.dataset.describe()
            if unique:
                document |= {"rows_added": done.n_rows, "rows_left_out": done.n_left_out}
        else:
            options |= {"append": append, "overwrite": overwrite}
            document = run(source, out, Columns(**roles), on_batch=on_batch, **options).describe()
    _tell(document, as_json)


@program.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--rows",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="A file of row ids: text of one number a line, or a table (CSV, npy, parquet, FITS, npz, zarr).",
)
@click.option("--column", help="Of the table; default: what the survey's row ids were called, or the only column.")
@click.option("--missing-ok", is_flag=True, help="Row ids that no row has are counted, not refused.")
@_common
def withdraw(store: Path, file: Path, column: str | None, missing_ok: bool, as_json: bool, quiet: bool) -> None:
    """Take rows out of the survey STORE, by their row ids: all of them in one step, or none.

    What is left keeps its order. A fit that is reading the survey ends with an error that says so.

    \b
    Example:
      dgmmis withdraw stars.zarr --rows withdrawn.txt
      dgmmis withdraw stars.zarr --rows corrections.csv --column source_id --missing-ok
    """
    from dgmmis.dataset.bound_source import origin
    from dgmmis.dataset.held_store import HeldStore
    from dgmmis.dataset.inherited import row_id_column
    from dgmmis.dataset.row_list import read_row_list
    from dgmmis.dataset.withdraw import withdraw as run
    from dgmmis.progress import bar

    with HeldStore(store) as held, bar("withdrawing", shown=not quiet) as on_rows:
        row_ids = read_row_list(file, column, usual=row_id_column(held.manifest))
        done = run(held, row_ids, missing_ok=missing_ok, provenance=origin(file.absolute()), on_rows=on_rows)
        document = done.dataset.describe() | {"rows_withdrawn": done.n_rows, "row_ids_unknown": done.n_unknown}
    _tell(document, as_json)


@program.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--all", "all_segments", is_flag=True, help="Join all segments, however long they are.")
@_common
def compact(store: Path, all_segments: bool, as_json: bool, quiet: bool) -> None:
    """Join short segments of the survey STORE that follow one another, one a night perhaps, into long ones.

    The rows and their order in the catalogue stay; those of an ordered survey are put along one k-d tree. A segment of
    a million rows is long. A fit that is reading the survey ends with an error that says so.

    \b
    Example:
      dgmmis compact stars.zarr
    """
    from dgmmis.dataset.compact import compact as run
    from dgmmis.progress import bar

    with bar("joining", shown=not quiet) as on_rows:
        done = run(store, all_segments=all_segments, on_rows=on_rows)
    _tell(done.dataset.describe() | {"segments_joined": done.n_joined, "into": done.n_made}, as_json)
    if not as_json and not done.n_joined:
        click.echo("\nnothing to join: no short segments follow one another")


@program.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Read every byte of a survey store, and list the files that are damaged.")
@_allow_code
@_common
def info(path: Path, verify: bool, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Describe a survey store or a run.

    \b
    Example:
      dgmmis info survey.zarr
      dgmmis info --verify survey.zarr
    """
    from dgmmis.dataset.checkpoint import is_run, is_unfinished, read_run
    from dgmmis.dataset.dataset import Dataset
    from dgmmis.dataset.under_way import last_checkpoint

    if verify:
        _verified(path, as_json, quiet)
    elif is_unfinished(path):
        last = last_checkpoint(path, allow_code=allow_code)
        if last is None:
            status = f"not finished, and without a checkpoint yet: `dgmmis resume {path}` goes on"
            _tell({"status": status, "converged": False}, as_json)
        else:
            _describe(last, path, as_json)
        if not as_json and is_run(path):
            click.echo("(an earlier run is there, and stays until this one is finished)")
    elif is_run(path):
        _describe(read_run(path, allow_code=allow_code), path, as_json)
    else:
        _tell(Dataset.open(path).describe(), as_json)


def _describe(run: "Run", path: Path, as_json: bool) -> None:
    """All that there is to know of a run, but for its history."""
    from dgmmis.summary import document_lines, model_table, survey_lines

    document = {key: value for key, value in run.document.items() if key not in ("history", "job")}
    if as_json:
        _tell({**document, **run.numbers()}, as_json)
        return
    said = ("survey", "selection", "background", "completeness", "completeness_error")
    with _readable(path):
        lines = document_lines({k: v for k, v in document.items() if k not in said})
        if run.record.tables or "data" in document:  # a checkpoint does not keep the survey
            lines += survey_lines(run)
        table = model_table(run)
    _rows(lines)
    click.echo("\n" + table)


def _verified(path: Path, as_json: bool, quiet: bool) -> None:
    """Say which files of a store are damaged; an error if any is."""
    from dataclasses import asdict

    from dgmmis.dataset.dataset import Dataset
    from dgmmis.dataset.verify import damages
    from dgmmis.errors import StoreError
    from dgmmis.progress import bar

    with bar("verifying", shown=not quiet) as on_rows:
        found = damages(path, on_rows)
    if as_json:
        click.echo(json.dumps({"path": str(path), "damaged": [asdict(one) for one in found]}, indent=1))
    else:
        _rows([(one.file, f"rows {one.first_row} to {one.last_row}: {one.what}") for one in found])
    if found:
        files = len({one.file for one in found})
        raise StoreError(f"{files} damaged file{'s' if files > 1 else ''} in '{path}'", do="restore, or ingest again")
    is_old = any(segment.checksums is None for segment in Dataset.open(path).segments)
    if not as_json:
        click.echo("every chunk is whole" + (", but of old segments it is not known which" if is_old else ""))


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
@click.option("--overwrite", is_flag=True, help="Give up the fit of something else that was interrupted there.")
@_allow_code
@_common
def fit(job: Path, out: Path | None, overwrite: bool, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Fit the model of a job file to its data, on its cluster, and write a run.

    While it runs, what it has found is kept in the run's folder. SIGTERM, SIGUSR1 and Ctrl-C end it in order, with exit
    code 75; whatever ends it, `dgmmis resume` goes on from there and ends with the same bits, and so does the same
    command, as long as the survey has the same rows.

    \b
    Example:
      dgmmis fit survey.toml --out survey.run
    """
    from dgmmis.job import read_job

    parsed = read_job(job, allow_code=allow_code)
    _fit(parsed, out or parsed.output_path, as_json=as_json, quiet=quiet, overwrite=overwrite)


@program.command()
@click.argument("run", type=click.Path(path_type=Path))
@_allow_code
@_common
def resume(run: Path, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Go on with the fit in the folder RUN that was interrupted, to the same bits as if it had not been.

    What passes over the data found is taken from RUN/journal. Rows that were appended to the survey meanwhile are left
    out. A run that is finished is shown. Where another version or processor takes other steps, it says so, and begins
    again from the last model.

    \b
    Example:
      dgmmis resume survey.run
    """
    from dgmmis.dataset.checkpoint import read_run
    from dgmmis.runs import resumed

    job = resumed(run, allow_code=allow_code)
    if job is None:
        _show(read_run(run, allow_code=allow_code), run, as_json)
    else:
        _fit(job, run, as_json=as_json, quiet=quiet)


def _fit(job: "Job", out: Path, *, as_json: bool, quiet: bool, overwrite: bool = False) -> None:
    from dgmmis.progress import Progress
    from dgmmis.runs import run_job

    def announce(lines: list[tuple[str, str]]) -> None:
        if not quiet:
            _rows(lines, err=True)

    run = run_job(job, out, callbacks=[] if quiet else [Progress()], announce=announce, overwrite=overwrite)
    _show(run, out, as_json)


def _show(run: "Run", path: Path, as_json: bool) -> None:
    """A run, and the exit code that it stands for."""
    from dgmmis.summary import fit_lines, model_table

    document = run.document
    if as_json:
        click.echo(json.dumps({**document, **run.numbers()}))
    else:
        with _readable(path):
            lines, table = fit_lines(run), model_table(run)
        _rows(lines)
        click.echo("\n" + table)
        click.echo(f"\nwritten to {path}")
    with _readable(path):
        notes, converged, status = [str(one) for one in document["repairs"]], document["converged"], document["status"]
    for sentence in notes:
        click.echo(f"note: {sentence}", err=True)
    if not converged:
        click.echo(status, err=True)
        sys.exit(3)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever a run's document may hold, or lack, it is an error that names it."""
    from dgmmis.errors import StoreError

    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the document of '{path}' is damaged", got=repr(error), do="fit it again") from error


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
    from dgmmis.prediction import score_run

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
    from dgmmis.drawing import sample_run
    from dgmmis.progress import bar

    with bar("drawing", shown=not quiet) as on_batch:
        dataset = sample_run(run, n, out, on_batch=on_batch, **options)
    _tell(dataset.describe(), as_json)


@program.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--accept",
    is_flag=True,
    help="Publish whatever the gate finds, and take in again what was set aside.",
)
@click.option("--cold", is_flag=True, help="Begin where the job says, not with the model that holds.")
@_allow_code
@_common
def reprocess(job: Path, allow_code: bool, as_json: bool, quiet: bool, accept: bool, cold: bool) -> None:
    """Let a published model follow a survey that grows: one command for a scheduler, safe to run again at any time.

    It takes the new files of [reprocess] into the survey, fits on from the model that holds, compares the two on rows
    that neither has seen, and publishes the new one in a model store; or refuses it, sets its sources aside, and leaves
    everything as it was. With nothing new it says so. Killed anywhere, the next run goes on.

    
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

    
    Exit code 1: refused; 65, 74: a source could not be read, and is tried again next time.

    
    Example:
      dgmmis reprocess survey.toml
      dgmmis score survey.models other.zarr      # the model that holds
    """
    from dgmmis.job import read_job
    from dgmmis.progress import Progress, bar
    from dgmmis.reprocess import reprocess as run

    def announce(lines: list[tuple[str, str]]) -> None:
        if not quiet:
            _rows(lines, err=True)

    options: dict[str, Any] = {"accept": accept, "cold": cold, "announce": announce}
    with bar("taking in", shown=not quiet) as on_batch:
        options |= {"on_batch": on_batch, "callbacks": [] if quiet else [Progress()]}
        report = run(read_job(job, allow_code=allow_code), **options)
    if as_json:
        click.echo(json.dumps(report.document()))
    else:
        click.echo(report.sentence)
    for problem in report.intake.problems:
        click.echo(f"dgmmis: {problem.path.name} was not taken in: {problem.error}", err=True)
    sys.exit(report.exit_code)


@program.command()
@click.argument("models", type=click.Path(path_type=Path))
@_common
def versions(models: Path, as_json: bool, quiet: bool) -> None:
    """List the versions of a model that `dgmmis reprocess` published; * marks the one that holds.

    
    Example:
      dgmmis versions survey.models
    """
    del quiet
    from dgmmis.dataset.model_store import ModelStore

    store = ModelStore(models)
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
        click.echo(f"set aside: {entry.get('source')}: {entry.get('why')}")


@program.command()
@click.argument("models", type=click.Path(path_type=Path))
@click.option("--to", metavar="VERSION", help="Which; default: the one before the one that holds.")
@_common
def rollback(models: Path, to: str | None, as_json: bool, quiet: bool) -> None:
    """Make an earlier version of a published model hold again. Newer ones stay; what comes in next goes on from it.

    
    Example:
      dgmmis rollback survey.models
    """
    del quiet
    from dgmmis.dataset.model_store import ModelStore

    store = ModelStore(models)
    with store.held():
        chosen = store.roll_back(to)
    click.echo(json.dumps({"latest": chosen.name}) if as_json else f"{chosen.name} of {chosen.published} holds")


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
    from dgmmis.interruption import Interrupted, interruptible

    try:
        with interruptible():
            program(standalone_mode=False)
    except (Interrupted, click.exceptions.Abort) as error:
        _fail(error, 75, str(error) or "interrupted", do="Run again.")
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except DgmmisError as error:
        _fail(error, error.exit_code, str(error))
    except UnicodeDecodeError as error:
        _fail(error, 65, f"the file is not UTF-8 text: {error}. Convert it, for example with iconv.")
    except OSError as error:
        _fail(error, 74, str(error))


def _fail(error: BaseException, exit_code: int, what: str, do: str = "") -> None:
    """Say what happened, and what is left of it."""
    if "--debug" in sys.argv:
        raise error
    notes = getattr(error, "__notes__", [])
    click.echo("\n".join([f"dgmmis: {what}", *(notes or ([do] if do else []))]), err=True)
    sys.exit(exit_code)
