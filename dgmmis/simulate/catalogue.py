"""simulate(): a survey of a preset, batch by batch into a store, with its truth and the job file that fits it.

Every batch has its own random address, so that the same seed gives the same rows whatever their number, and memory
holds one batch.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.disk import writing
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import replace_file, require_room
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, RefusedError, StoreError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, FullNoise, Noise
from dgmmis.noise_law import ConstantNoise
from dgmmis.simulate.completeness import completeness
from dgmmis.simulate.job_text import job_path, job_text
from dgmmis.simulate.preset import Preset, find_preset
from dgmmis.survey import Survey
from dgmmis.tables import background_from_table, background_to_table, survey_from_tables, survey_to_tables
from dgmmis.types import Points

BATCH = 1 << 16
"""Objects drawn at a time."""

COUNTED_BATCHES = 8
"""In which the completeness is counted where it is no single integral."""


def simulate(
    path: str | Path,
    preset: Preset | str,
    *,
    n: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    order: bool = False,
    on_batch: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Draw a survey into a new store, and write the job file that fits it beside it (see `job_path`).

    Args:
        path: of the store.
        preset: what to draw, or the name of one in PRESETS.
        n: objects before selection; None: the preset's number.
        seed: the same preset and seed give the same rows; fewer or more of them with n.
        overwrite: replace a survey, and its job file, that are there.
        order: put the rows along a k-d tree, as `ingest` does.
        on_batch: called with the number of objects drawn so far, and n, after every batch; then, where rows are
            ordered, with those in their place, and those in all.

    Raises:
        JobError: an unknown preset (the nearest is named), n < 1 or seed < 0.
        StoreError: there is a survey or a job file already, or they cannot be written.
        RefusedError: functions without a path, which no job file can hold; a selection on available values that needs
            one that is missing.
    """
    preset = find_preset(preset) if isinstance(preset, str) else preset
    n = preset.n if n is None else n
    if n < 1:
        raise JobError("n must be at least 1", got=n)
    if seed < 0:
        raise JobError("seed must not be negative", got=seed)
    path = place_of(path).absolute()
    if isinstance(path, BucketPath):
        raise RefusedError(
            f"a simulated survey has its job file beside it, which '{path}' cannot have",
            do="simulate it on a disk, and `dgmmis ingest` or copy it",
        )
    if not path.name:
        raise StoreError(f"'{path}' is no place for a survey", do="give the name of a new folder: survey.zarr")
    job, text = job_path(path), job_text(preset, path)
    if not _is_text(path.name):
        raise StoreError("the name of the survey is not text in UTF-8, which its job file is", do="give another path")
    try:
        is_there = job.exists() and job.read_bytes() != text.encode()
    except (OSError, ValueError) as error:
        raise StoreError(f"'{job}' cannot be written", got=error, do="give another path") from error
    if is_there and not overwrite:
        raise StoreError(f"'{job}' exists", do="give another path, or say --overwrite (overwrite=True)")
    require_room(path, n * preset.schema.row_nbytes)
    truth = _truth(preset, n, seed)
    writer = SurveyWriter(
        path,
        preset.schema,
        overwrite=overwrite,
        order=order,
        on_ordered=on_batch,
        provenance={"simulated": preset.name, "seed": seed, "n_objects": n},
        truth=truth,
    )
    with _beside(path, job, text), writer:
        for drawn, points, noise in _batches(preset, n, seed):
            writer.write(points, noise if isinstance(noise, (DiagonalNoise, FullNoise)) else None)
            if on_batch is not None:
                on_batch(drawn, n)
    return Dataset.open(path)


@contextmanager
def _beside(path: Path, job: Path, text: str) -> Iterator[None]:
    """Write a job file with its survey: before a new one, so that a survey that is there has one, whatever kills the
    process; after one that is written over, so that the old survey keeps its own, or none."""
    is_new = not (job.exists() or path.exists())
    with writing(f"'{job}'"):
        if is_new:
            replace_file(job, text.encode())
    try:
        yield
    except BaseException:
        if is_new and not path.exists():  # it may be another process's by now
            job.unlink(missing_ok=True)
        raise
    with writing(f"'{job}'"):
        if not is_new:
            replace_file(job, text.encode())


def _is_text(name: str) -> bool:
    """Names of files may be any bytes, which Python writes as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def true_model(truth: Mapping[str, Any], *, allow_code: bool = False) -> Model:
    """The model that a store's `truth` describes; a function of it is imported where that is allowed."""
    table = truth["background"]
    return Model(
        GaussianMixture(*(np.asarray(truth[name], dtype=float) for name in ("weights", "means", "covariances"))),
        None if table is None else background_from_table(table, allow_code=allow_code),
        truth["background_fraction"],
    )


def true_survey(truth: Mapping[str, Any], *, allow_code: bool = False) -> Survey:
    """The survey that a store's `truth` describes; a function of it is imported where that is allowed."""
    return survey_from_tables(truth["selection"], truth.get("noise"), allow_code=allow_code)


def _batches(preset: Preset, n: int, seed: int) -> Iterator[tuple[int, Points, Noise]]:
    """How many objects were drawn so far; the points and noise of those of a batch that the survey keeps."""
    selection = preset.survey.selection
    for batch, start in enumerate(range(0, n, BATCH)):
        rng = generator(seed, Purpose.SIMULATION, batch)
        stop = min(n, start + BATCH)
        # a whole batch is drawn even where part of it is wanted: otherwise the rows would depend on n
        objects = preset.objects(BATCH, rng)
        rows = np.arange(BATCH) < stop - start
        if selection is not None:
            rows &= rng.random(BATCH) < selection(objects.selected_on)
        yield stop, objects.points[rows], objects.noise.take(rows)


def _truth(preset: Preset, n: int, seed: int) -> dict[str, Any]:
    """What the survey is drawn from, as JSON values."""
    mixture, behind, survey = preset.model.mixture, preset.model.background, preset.survey
    share, error = _completeness(preset)
    # the truth is stored with the first rows, so how many there will be is counted before
    selected = n if survey.selection is None else sum(len(points) for _, points, _ in _batches(preset, n, seed))
    return {
        "preset": preset.name,
        "seed": seed,
        "n_objects": n,
        "n_selected": selected,
        "completeness": share,
        "completeness_error": error,
        "weights": mixture.weights.tolist(),
        "means": mixture.means.tolist(),
        "covariances": mixture.covariances.tolist(),
        "background": None if behind is None else background_to_table(behind),
        "background_fraction": preset.model.background_fraction,
        "selection": None,
        "noise": None,
        **survey_to_tables(survey),
    }


def _completeness(preset: Preset) -> tuple[float, float]:
    """Z and its error: an integral if it is the same for all objects, else the mean of Omega over many of them."""
    survey = preset.survey
    if survey.selection is None or (survey.selection_on == "observed" and isinstance(survey.noise_law, ConstantNoise)):
        return completeness(preset.model, survey)
    means = []
    for batch in range(COUNTED_BATCHES):
        objects = preset.objects(BATCH, generator(0, Purpose.SIMULATION, 0, batch))
        means.append(float(np.mean(survey.selection(objects.selected_on))))
    return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(COUNTED_BATCHES))
