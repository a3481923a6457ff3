"""plot: pictures of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgmmis.cli.output import tell
from dgmmis.cli.program import PLACE, allow_code_option, common, program
from dgmmis.cli.surveys import Names

if TYPE_CHECKING:
    from dgmmis.dataset.checkpoint import Run
    from dgmmis.dataset.dataset import Dataset

PICTURES = (".png", ".pdf", ".svg")

WHAT = ("corner", "convergence", "residuals", "timeline")

OF_PASSES = ("convergence", "timeline")
"""Those that need no data."""


@program.command()
@click.argument("run", type=PLACE)
@click.option("--what", type=click.Choice(WHAT), default="corner", show_default=True, help="Which picture; see above.")
@click.option("--data", type=PLACE, help="The survey store; default: that of the run, if it is there.")
@click.option("--features", type=Names(), help="Those to draw, up to six; default: all.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file: png, pdf or svg; default: RUN-corner.png and so on, in this folder.",
)
@allow_code_option
@common
def plot(
    run: Path,
    what: str,
    data: Path | None,
    features: tuple[str, ...] | None,
    out: Path | None,
    allow_code: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw a picture of RUN to a file.

    \b
    Pictures:
      corner       two features at a time: below the diagonal the data, and the model as the survey sees it; above it
                   the population, corrected for selection and noise; edges of the survey where two features have them
      convergence  objective, gain, distance from the maximum, completeness and background, against the passes
      timeline     where the time went, pass by pass: reading, computing, joining sums and waiting, the driver
      residuals    observed minus expected objects in cells of two features, in units of their errors

    Data are read chunk by chunk. A corner plot without them shows the model alone.

    \b
    Example:
      dgmmis plot survey.run
      dgmmis plot survey.run --what residuals --features x,y --out residuals.pdf
    """
    from dgmmis.dataset.checkpoint import read_run
    from dgmmis.plotting import convergence_figure, corner_figure, residuals_figure, timeline_figure, write_figure
    from dgmmis.progress import bar

    for option, value in (("--data", data), ("--features", features)):
        if what in OF_PASSES and value is not None:
            raise click.BadParameter("a picture of passes has neither data nor features", param_hint=option)
    out = out or Path(f"{Path(run.name).stem or 'run'}-{what}.png")
    require_place_for_picture(out, "--out")
    fitted = read_run(run, allow_code=allow_code)
    document: dict[str, Any] = {"run": str(run), "what": what, "out": str(out)}
    if what in OF_PASSES:
        write_figure(out, (timeline_figure if what == "timeline" else convergence_figure)(fitted))
        tell({**document, "passes": len(fitted.document.get("history", []))}, as_json)
        return
    dataset = _data_of(fitted, data, needed=what == "residuals")
    options: dict[str, Any] = {"features": features or None, "survey": fitted.survey(allow_code=allow_code)}
    if dataset is None:
        if not quiet:
            click.echo("the data of the run are not there: the model alone is drawn", err=True)
        write_figure(out, corner_figure(fitted, **options))
    else:
        draw = residuals_figure if what == "residuals" else corner_figure
        with bar("counting", shown=not quiet) as on_rows:
            figure = draw(fitted, dataset, on_rows=on_rows, **options)
        write_figure(out, figure)
    read = {} if dataset is None else {"data": str(dataset.path), "rows": dataset.n_rows}
    tell({**document, "features": list(features or fitted.features), **read}, as_json)


def _data_of(run: "Run", data: Path | None, *, needed: bool) -> "Dataset | None":
    """The survey that is asked for, or else that of the run; None where that is not there, and not needed."""
    from dgmmis.dataset.dataset import Dataset
    from dgmmis.dataset.place import place_of
    from dgmmis.errors import JobError

    if data is not None:
        return Dataset.open(data)
    own = run.document.get("data")
    if isinstance(own, str) and (needed or place_of(own).exists()):
        return Dataset.open(own)
    if needed:
        raise JobError("the run does not say what its data were", do="name the store with --data")
    return None


def require_place_for_picture(path: Path, option: str) -> None:
    """Make sure, before work starts, that a picture can be drawn and written.

    Raises:
        click.BadParameter: another kind of file, or no folder for it.
        DgmmisError: no matplotlib.
    """
    from dgmmis.plotting import require_matplotlib

    if path.suffix not in PICTURES:
        raise click.BadParameter(f"'{path}' must end in one of {', '.join(PICTURES)}", param_hint=option)
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder '{path.parent}'", param_hint=option)
    require_matplotlib()
