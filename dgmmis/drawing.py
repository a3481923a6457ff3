"""Drawing: samples of a run's model, written as a survey store."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

from dgmmis.catalogue import Drawn, draws, noise_kind
from dgmmis.dataset.checkpoint import Run, read_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.publish import require_room
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import RefusedError
from dgmmis.noise import DiagonalNoise, FullNoise, SharedNoise
from dgmmis.survey import Survey


def sample_run(
    run_path: Path,
    n: int,
    out: Path,
    *,
    which: str = "population",
    noise: bool | None = None,
    seed: int = 0,
    overwrite: bool = False,
    allow_code: bool = False,
    on_batch: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """Draw n objects of a run's model into a store: its population, what its survey sees of it, or what it misses.

    With noise they are measured as the survey would, where its fit says with what noise; without they are true
    positions. None: the population without, the others with whatever noise is known.

    Raises:
        RefusedError: noise that the run does not know; others as in `catalogue.drawn`.
    """
    run = read_run(run_path, allow_code=allow_code)
    measured = noise if noise is not None else which != "population"
    # true positions of the population have nothing to do with the survey, be it a function that is not allowed
    survey = run.survey(allow_code=allow_code) if measured or which != "population" else Survey()
    classes = run.noise_classes if survey.is_partial else ()
    if noise and survey.noise_law is None:
        raise RefusedError(
            "this run does not know the noise of its objects: nothing was selected on measured values",
            do="leave the noise out",
        )
    batches = draws(run.model, survey, noise_classes=classes, by_class=run.by_class, n=n, seed=seed, which=which)
    first = next(batches)
    schema = _schema(run, first, noise_kind(survey, classes)) if measured else Schema(run.features, run.units)
    require_room(out, n * schema.row_nbytes)
    provenance = {"drawn_from": str(run_path), "which": which, "seed": seed}
    with SurveyWriter(out, schema, overwrite=overwrite, provenance=provenance) as writer:
        for part in chain([first], batches):
            if measured:
                own = part.noise if isinstance(part.noise, (DiagonalNoise, FullNoise)) else None
                writer.write(part.points, own, projection=part.projection)
            else:
                writer.write(part.positions)
            if on_batch is not None:
                on_batch(writer.n_rows, n)
    return Dataset.open(out)


def _schema(run: Run, drawn: Drawn, kind: str) -> Schema:
    """Of drawn objects as they were measured."""
    names = run.document.get("measured") or [f"value_{i}" for i in range(drawn.points.shape[1])]
    shared = drawn.noise.covariance if isinstance(drawn.noise, SharedNoise) else None
    return Schema(run.features, run.units, kind, shared, measured=None if drawn.projection is None else tuple(names))
