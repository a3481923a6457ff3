"""simulate(): a survey of a preset, batch by batch into a store, with its truth and the job file that fits it.

Every batch has its own random address, so that the same seed gives the same rows whatever their number, and memory
holds one batch.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.background import Uniform
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.publish import replace_file
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, RefusedError, StoreError
from dgmmis.job import selection_to_table
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, FullNoise, Noise
from dgmmis.selection import as_selection
from dgmmis.simulate.completeness import completeness
from dgmmis.simulate.job_text import job_path, job_text
from dgmmis.simulate.preset import Preset, find_preset
from dgmmis.types import Points

BATCH = 1 << 16
"""Objects drawn at a time."""


def simulate(
    path: str | Path,
    preset: Preset | str,
    *,
    n: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_batch: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Draw a survey into a new store, and write the job file that fits it beside it (see `job_path`).

    Args:
        path: of the store.
        preset: what to draw, or the name of one in PRESETS.
        n: objects before selection; None: the preset's number.
        seed: the same preset and seed give the same rows; fewer or more of them with n.
        overwrite: replace a survey, and its job file, that are there.
        on_batch: called with the number of objects drawn so far, and n, after every batch.

    Raises:
        JobError: an unknown preset (the nearest is named), n < 1 or seed < 0.
        StoreError: there is a survey or a job file already, or they cannot be written.
        RefusedError: a selection that no job file can hold, or one that is to act on missing features.
    """
    preset = find_preset(preset) if isinstance(preset, str) else preset
    n = preset.n if n is None else n
    if n < 1:
        raise JobError("n must be at least 1", got=n)
    if seed < 0:
        raise JobError("seed must not be negative", got=seed)
    path = Path(path).absolute()
    job, text = job_path(path), job_text(preset, path)
    if job.exists() and not overwrite:
        raise StoreError(f"'{job}' exists", do="give another path, or overwrite it")
    truth = _truth(preset, n, seed)
    with SurveyWriter(
        path,
        preset.schema,
        overwrite=overwrite,
        provenance={"simulated": preset.name, "seed": seed, "n_objects": n},
        truth=truth,
    ) as writer:
        for drawn, points, noise in _batches(preset, n, seed):
            writer.write(points, noise if isinstance(noise, (DiagonalNoise, FullNoise)) else None)
            if on_batch is not None:
                on_batch(drawn, n)
    try:
        replace_file(job, text.encode())
    except OSError as error:
        raise StoreError(f"'{job}' cannot be written", got=error, do="the survey is whole without it") from error
    return Dataset.open(path)


def true_model(truth: Mapping[str, Any]) -> Model:
    """The model that a store's `truth` describes."""
    edges = truth["background"]
    return Model(
        GaussianMixture(*(np.asarray(truth[name], dtype=float) for name in ("weights", "means", "covariances"))),
        None if edges is None else Uniform(np.asarray(edges["lower"]), np.asarray(edges["upper"])),
        truth["background_fraction"],
    )


def _batches(preset: Preset, n: int, seed: int) -> Iterator[tuple[int, Points, Noise]]:
    """How many objects were drawn so far; the points and noise of those of a batch that the survey keeps."""
    selection = None if preset.survey.selection is None else as_selection(preset.survey.selection)
    for batch, start in enumerate(range(0, n, BATCH)):
        rng = generator(seed, Purpose.SIMULATION, batch)
        stop = min(n, start + BATCH)
        # a whole batch is drawn even where part of it is wanted: otherwise the rows would depend on n
        points, noise = preset.draw(BATCH, rng)
        rows = np.arange(BATCH) < stop - start
        if selection is not None:
            if np.any(np.isnan(points)):
                raise RefusedError("a selection on features that are missing", do="simulate one or the other")
            rows &= rng.random(BATCH) < selection(points)
        yield stop, points[rows], noise.take(rows)


def _truth(preset: Preset, n: int, seed: int) -> dict[str, Any]:
    """What the survey is drawn from, as JSON values."""
    mixture, box, selection = preset.model.mixture, preset.model.background, preset.survey.selection
    share, error = completeness(preset.model, preset.survey)
    # the truth is stored with the first rows, so how many there will be is counted before
    selected = n if selection is None else sum(len(points) for _, points, _ in _batches(preset, n, seed))
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
        "background": None if box is None else {"lower": box.lower.tolist(), "upper": box.upper.tolist()},
        "background_fraction": preset.model.background_fraction,
        "selection": None if selection is None else selection_to_table(selection),
    }
