"""plot: pictures of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgmmis.cli.operations import Operation
from dgmmis.cli.output import tell
from dgmmis.cli.program import PLACE, allow_code_option, common, program
from dgmmis.cli.surveys import Names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dgmmis.dataset.checkpoint import Run
    from dgmmis.dataset.dataset import Dataset

PICTURES = (".png", ".pdf", ".svg")

WHAT = (
    "corner",
    "marginals",
    "membership",
    "completeness",
    "residuals",
    "convergence",
    "timeline",
    "criteria",
)

OF_FILES = ("convergence", "timeline", "criteria")
"""What is drawn of the run's own files alone."""


class Shares(click.ParamType[tuple[float, ...]]):
    """Shares of probability, separated by commas."""

    name = "0.68,0.95"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if not isinstance(value, str):
            return tuple(value)
        try:
            found = tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError:
            found = (0.0,)
        if not all(0 < share < 1 for share in found):
            self.fail(f"'{value[:40]}' is not of the form: shares between 0 and 1 such as 0.68,0.95", param, ctx)
        return found


@program.command()
@click.argument("run", type=PLACE)
@click.option("--what", type=click.Choice(WHAT), default="corner", show_default=True, help="Which picture; see above.")
@click.option("--data", type=PLACE, help="The survey store; default: that of the run, if it is there.")
@click.option("--features", type=Names(), help="Those to draw, up to six; default: all.")
@click.option(
    "--levels", type=Shares(), help="Shares of a component's objects within its ellipses; default: 0.393,0.865."
)
@click.option(
    "--contours", type=Shares(), help="Shares of all objects within curves; '': no curves; default: --levels."
)
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
    levels: tuple[float, ...] | None,
    contours: tuple[float, ...] | None,
    out: Path | None,
    allow_code: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw a picture of RUN to a file.

    \b
    Pictures:
      corner        two features at a time: below the diagonal the data, and the model as the survey sees it; above it
                    the population, corrected for selection and noise; edges of the survey where two features have them
      marginals     each feature for itself: objects seen with Poisson errors, what the model lets expect, and the
                    population, with bands of one and two standard errors
      membership    which component the objects belong to, over two features, and how surely; the background in grey
      completeness  what share of the population the survey sees, over two features, against each, of each component
      residuals     observed minus expected objects in cells of two features, in units of their errors
      convergence   objective, gain, distance from the maximum, completeness and background, against the passes
      timeline      where the time went, pass by pass: reading, computing, joining sums and waiting, the driver
      criteria      of the best of a choice (`dgmmis select --out`): the criterion against the number of components

    Data are read chunk by chunk. Corner and completeness do without them, and show the model alone.

    \b
    Example:
      dgmmis plot survey.run
      dgmmis plot survey.run --levels 0.68,0.95 --contours 0.5,0.9
      dgmmis plot survey.run --what residuals --features x,y --out residuals.pdf
    """
    from dgmmis.dataset.checkpoint import read_run
    from dgmmis.plotting import write_figure

    for option, value in (("--data", data), ("--features", features)):
        if what in OF_FILES and value is not None:
            raise click.BadParameter(
                "a picture of passes or of a choice has neither data nor features", param_hint=option
            )
    for option, shares in (("--levels", levels), ("--contours", contours)):
        if what != "corner" and shares is not None:
            raise click.BadParameter(f"{what} has neither ellipses nor curves to choose", param_hint=option)
    out = out or Path(f"{Path(run.name).stem or 'run'}-{what}.png")
    require_place_for_picture(out, "--out")
    fitted = read_run(run, allow_code=allow_code)
    document: dict[str, Any] = {"run": str(run), "what": what, "out": str(out)}
    if what in OF_FILES:
        figure, about = _of_files(run, fitted, what)
        write_figure(out, figure)
        tell({**document, **about}, as_json)
        return
    needs_data = what not in ("corner", "completeness")
    dataset = data_of(fitted, data) if needs_data or is_data_there(fitted, data) else None
    options: dict[str, Any] = {"features": features or None, "survey": fitted.survey(allow_code=allow_code)}
    if levels is not None:
        options["levels"] = levels
    if contours is not None:
        options["contours"] = contours
    with Operation(as_json=as_json, quiet=quiet) as operation:
        if dataset is None:
            operation.announce([("note", "the data of the run are not there: the model alone is drawn")])
        figure = _of_data(fitted, dataset, what, operation, options)
        operation.doing("drawing")
        write_figure(out, figure)
    read = {} if dataset is None else {"data": str(dataset.path), "rows": dataset.n_rows}
    tell({**document, "features": list(features or fitted.features), **read}, as_json)


def _of_files(run: Path, fitted: "Run", what: str) -> "tuple[Figure, dict[str, Any]]":
    """A picture of what the run says of itself, and what to tell of it."""
    from dgmmis.chosen import read_choice
    from dgmmis.plotting import choice_figure, convergence_figure, timeline_figure

    if what == "criteria":
        choice = read_choice(run)
        return choice_figure(choice), {"models": len(choice.get("table", []))}
    draw = timeline_figure if what == "timeline" else convergence_figure
    return draw(fitted), {"passes": len(fitted.document.get("history", []))}


def _of_data(
    fitted: "Run", dataset: "Dataset | None", what: str, operation: Operation, options: dict[str, Any]
) -> "Figure":
    """A picture of a run and its data."""
    from dgmmis import plotting

    if what == "completeness":
        return plotting.completeness_figure(fitted, dataset, **options)
    draw: dict[str, Callable[..., Any]] = {
        "corner": plotting.corner_figure,
        "marginals": plotting.marginals_figure,
        "membership": plotting.membership_figure,
        "residuals": plotting.residuals_figure,
    }
    figure: Figure = draw[what](fitted, dataset, on_rows=operation.counting("counting"), **options)
    return figure


def is_data_there(run: "Run", data: Path | None) -> bool:
    """Whether a survey is asked for, or that of the run is where it was."""
    from dgmmis.dataset.place import place_of

    own = run.document.get("data")
    return data is not None or (isinstance(own, str) and place_of(own).exists())


def data_of(run: "Run", data: Path | None) -> "Dataset":
    """The survey that is asked for, or else that of the run.

    Raises:
        JobError: neither is known.
        StoreError: it is not there.
    """
    from dgmmis.dataset.dataset import Dataset
    from dgmmis.errors import JobError

    own = data or run.document.get("data")
    if not own or not isinstance(own, (str, Path)):
        raise JobError("the run does not say what its data were", do="name the store with --data")
    return Dataset.open(own)


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
