"""simulate, ingest, withdraw, compact: commands that write survey stores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dgmmis.cli.operations import Operation
from dgmmis.cli.output import tell
from dgmmis.cli.program import PLACE, common, program


class Names(click.ParamType[tuple[str, ...]]):
    """Names separated by commas."""

    name = "a,b,c"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        del param, ctx
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Factors(click.ParamType[dict[str, float]]):
    """name=factor pairs separated by commas."""

    name = "a=0.1,b=2"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        if not isinstance(value, str):
            return dict(value)
        try:
            return {name.strip(): float(factor) for name, factor in (part.split("=") for part in value.split(","))}
        except ValueError:
            self.fail(f"'{value}' is not of the form a=0.1,b=2", param, ctx)


def order_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--order",
        is_flag=True,
        help="Put rows that lie near one another together, along a k-d tree, and keep their numbers in the catalogue: "
        "many local components are then fitted faster.",
    )(command)


@program.command()
@click.argument("out", type=PLACE)
@click.option("--preset", default="box-with-hole", show_default=True, help="Which survey; see above.")
@click.option("-n", "n", type=click.IntRange(min=1), help="Objects before selection; default: the preset's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option("--overwrite", is_flag=True, help="Replace a survey that is there.")
@order_option
@common
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
    with Operation(as_json=as_json, quiet=quiet) as operation:
        on_batch = operation.counting("simulating")
        from dgmmis.simulate import job_path
        from dgmmis.simulate import simulate as run

        dataset = run(out, on_batch=on_batch, **options)
    tell(dataset.describe(), as_json)
    if not as_json:
        click.echo(f"\nfit it:  dgmmis fit {job_path(out)}")


@program.command()
@click.argument("source", type=PLACE)
@click.argument("out", type=PLACE)
@click.option("--features", type=Names(), default=(), help="Columns that are features.")
@click.option("--errors", type=Names(), default=(), help="Columns of one-sigma errors, one a feature.")
@click.option("--variances", type=Names(), default=(), help="Columns of variances, one a feature.")
@click.option("--covariances", type=Names(), default=(), help="Columns of the lower triangle: aa,ba,bb,ca,cb,cc.")
@click.option("--units", type=Names(), default=(), help="Units of the features.")
@click.option("--scale", type=Factors(), default={}, help="Factors for columns; a feature's applies to its noise too.")
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
@order_option
@click.option(
    "--float32",
    is_flag=True,
    help="Store values and noise in half the room, rounded by up to 6e-8 of each: refused where that is not far below "
    "a feature's errors. `info` says how much it is. Sums are float64 in any case.",
)
@common
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
    from dgmmis.errors import RefusedError

    if unique and not append:
        raise RefusedError(
            "unique is for rows that are appended", do="give --append too: it makes a survey, if need be"
        )
    options: dict[str, Any] = {"order": order, "storage": "float32" if float32 else None}
    with Operation(as_json=as_json, quiet=quiet) as operation:
        on_batch = operation.counting("ingesting")
        from dgmmis.dataset.append import append as run_append
        from dgmmis.dataset.columns import Columns
        from dgmmis.dataset.ingest import ingest as run

        if append and not overwrite:
            done = run_append(source, out, roles, unique=unique, on_batch=on_batch, **options)
            document = done.dataset.describe()
            if unique:
                document |= {"rows_added": done.n_rows, "rows_left_out": done.n_left_out}
        else:
            options |= {"append": append, "overwrite": overwrite}
            document = run(source, out, Columns(**roles), on_batch=on_batch, **options).describe()
    tell(document, as_json)


@program.command()
@click.argument("store", type=PLACE)
@click.option(
    "--rows",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="A file of row ids: text of one number a line, or a table (CSV, npy, parquet, FITS, npz, zarr).",
)
@click.option("--column", help="Of the table; default: what the survey's row ids were called, or the only column.")
@click.option("--missing-ok", is_flag=True, help="Row ids that no row has are counted, not refused.")
@common
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

    with Operation(as_json=as_json, quiet=quiet) as operation, HeldStore(store) as held:
        operation.doing("reading the row ids")
        row_ids = read_row_list(file, column, usual=row_id_column(held.manifest))
        on_rows = operation.counting("withdrawing")
        done = run(held, row_ids, missing_ok=missing_ok, provenance=origin(file.absolute()), on_rows=on_rows)
        document = done.dataset.describe() | {"rows_withdrawn": done.n_rows, "row_ids_unknown": done.n_unknown}
    tell(document, as_json)


@program.command()
@click.argument("store", type=PLACE)
@click.option("--all", "all_segments", is_flag=True, help="Join all segments, however long they are.")
@common
def compact(store: Path, all_segments: bool, as_json: bool, quiet: bool) -> None:
    """Join short segments of the survey STORE that follow one another, one a night perhaps, into long ones.

    The rows and their order in the catalogue stay; those of an ordered survey are put along one k-d tree. A segment of
    a million rows is long. A fit that is reading the survey ends with an error that says so.

    \b
    Example:
      dgmmis compact stars.zarr
    """
    from dgmmis.dataset.compact import compact as run

    with Operation(as_json=as_json, quiet=quiet) as operation:
        done = run(store, all_segments=all_segments, on_rows=operation.counting("joining"))
    tell(done.dataset.describe() | {"segments_joined": done.n_joined, "into": done.n_made}, as_json)
    if not as_json and not done.n_joined:
        click.echo("\nnothing to join: no short segments follow one another")
