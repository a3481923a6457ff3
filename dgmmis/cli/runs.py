"""score, predict, sample, export: what a run is for."""

from pathlib import Path
from typing import Any

import click

from dgmmis.cli.operations import Operation
from dgmmis.cli.output import tell
from dgmmis.cli.program import PLACE, allow_code_option, common, program

WHICH = ("population", "seen", "unseen")


@program.command()
@click.argument("run", type=PLACE)
@click.argument("data", type=PLACE)
@allow_code_option
@common
def score(run: Path, data: Path, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Mean log-likelihood per object of the survey DATA under the model of RUN, normalised under its selection.

    \b
    Example:
      dgmmis score survey.run other.zarr
    """
    with Operation(as_json=as_json, quiet=quiet) as operation:
        operation.doing("opening the survey")
        from dgmmis.prediction import score_run

        document = score_run(run, data, allow_code=allow_code, callbacks=operation.callbacks)
    tell(document, as_json)


@program.command()
@click.argument("run", type=PLACE)
@click.argument("data", type=PLACE)
@click.argument("out", type=PLACE)
@click.option("--responsibilities", is_flag=True, help="Write those of every component too (n, k).")
@click.option(
    "--true-values",
    is_flag=True,
    help="Write the mean (n, d) of the posterior of each object's true values, and its covariance (n, d (d + 1) / 2), "
    "the lower triangle packed row by row: `true_mean`, `true_covariance`.",
)
@click.option(
    "--outliers",
    is_flag=True,
    help="Write the probability of an object as improbable as this one, measured with its noise and selected as it "
    "was: `tail_probability`, uniform from 0 to 1 if the model holds.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@allow_code_option
@common
def predict(
    run: Path,
    data: Path,
    out: Path,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Write the most probable component of each object of the survey DATA under the model of RUN (`label`; -1: the
    background), and its log density as the fit counts it, normalised under the selection (`log_density`), to a zarr
    group OUT, in the order of the catalogue.

    Whether the survey could have seen an object at its measured values is not looked at (`dgmmis score` does). One
    whose missing or true values could not have been selected, whatever they were, has -1 and -inf.

    \b
    Example:
      dgmmis predict survey.run survey.zarr labels.zarr
      dgmmis predict survey.run survey.zarr true.zarr --true-values --outliers
    """
    with Operation(as_json=as_json, quiet=quiet) as operation:
        on_batch = operation.counting("predicting")
        from dgmmis.prediction import predict_run

        document = predict_run(run, data, out, on_batch=on_batch, **options)
    tell(document, as_json)


@program.command()
@click.argument("run", type=PLACE)
@click.argument("n", type=click.IntRange(min=1))
@click.argument("out", type=PLACE)
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
@allow_code_option
@common
def sample(run: Path, n: int, out: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Draw N objects from the model of RUN into a survey store OUT: of the population before selection, or a catalogue
    as its survey would make it, or what that would miss.

    \b
    Example:
      dgmmis sample survey.run 1000000 population.zarr
      dgmmis sample survey.run 100000 again.zarr --which seen
    """
    with Operation(as_json=as_json, quiet=quiet) as operation:
        on_batch = operation.counting("drawing")
        from dgmmis.drawing import sample_run

        dataset = sample_run(run, n, out, on_batch=on_batch, **options)
    tell(dataset.describe(), as_json)


@program.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@allow_code_option
@common
def export(run: Path, out: Path, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Write the model of RUN to a file of its own, for other programs: OUT ends in .json, .npz or .zarr.

    It has weights, means and covariances, the background, the names and units of the features, and the completeness. A
    job starts from it with init = "model.json", and `dgmmis.load_model` reads it.

    \b
    Example:
      dgmmis export survey.run model.json
    """
    del quiet
    from dgmmis.prediction import export_run

    tell(export_run(run, out, allow_code=allow_code), as_json)
