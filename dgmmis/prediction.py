"""Prediction: a survey under a run: how probable it is; which component each object belongs to, its true values, and
how far out it is, written in the order of the catalogue.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.callback import Callback
from dgmmis.chunk import CHUNK_ROWS, LEAF_ROWS, Chunk
from dgmmis.dataset.catalogue_order import Arrays, part_rows, row_by_row
from dgmmis.dataset.checkpoint import read_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.disk import writing
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import sync, sync_tree, temporary_sibling
from dgmmis.errors import JobError, RefusedError, StoreError
from dgmmis.execution.blas import one_blas_thread
from dgmmis.execution.executor import Executor, in_order
from dgmmis.execution.serial import Threads
from dgmmis.fit import evaluate
from dgmmis.interchange import SavedModel
from dgmmis.latent_draw import Observing
from dgmmis.linalg import pack
from dgmmis.model import Model
from dgmmis.noise_classes import mean_noise
from dgmmis.outliers import TailProbability
from dgmmis.scoring import labels, log_normalisers, score_rows
from dgmmis.subsample import draw_sample
from dgmmis.true_posterior import posterior_moments


def score_run(
    run_path: Path, data_path: Path, *, allow_code: bool = False, callbacks: Sequence[Callback] = ()
) -> dict[str, Any]:
    """Mean log-likelihood per object of a survey under a run's model and survey, and its parts."""
    run, data = read_run(run_path, allow_code=allow_code), Dataset.open(data_path)
    if data.schema.features != run.features:
        raise JobError("the survey has other features than the run", expected=run.features, got=data.schema.features)
    # objects where the survey could not see any are refused, as in a fit
    survey = run.survey(allow_code=allow_code)
    executor = Threads()
    try:
        result = evaluate(data, run.model, survey=survey, executor=executor, callbacks=callbacks)
    finally:
        executor.close()
    return {
        "log_likelihood": result.log_likelihood,
        "n_samples": result.n_samples,
        "completeness": result.completeness,
        "completeness_error": result.completeness_error,
    }


def export_run(run_path: Path, out: Path, *, allow_code: bool = False) -> dict[str, Any]:
    """Write a run's model to a file of its own, by the ending of its path (see `interchange.saved_model`).

    Returns:
        What was written, as JSON values.

    Raises:
        JobError: another ending than .json, .npz or .zarr.
        RefusedError: a background without a name; a place in a bucket.
        StoreError: something else is there, or the disk refuses.
    """
    run = read_run(run_path, allow_code=allow_code)
    SavedModel(run.model, run.features, run.units, run.completeness).write(out)
    mixture = run.model.mixture
    return {
        "run": str(run_path),
        "out": str(out),
        "components": mixture.n_components,
        "features": list(run.features),
        "background_fraction": run.model.background_fraction,
        "completeness": run.completeness,
    }


def predict_run(
    run_path: Path,
    data_path: Path,
    out: Path,
    *,
    responsibilities: bool = False,
    true_values: bool = False,
    outliers: bool = False,
    seed: int = 0,
    allow_code: bool = False,
    on_batch: Callable[[int, int | None], None] | None = None,
) -> dict[str, Any]:
    """Write a zarr group with arrays in the order of the catalogue, whatever that of the store; memory holds a chunk,
    and the responsibilities of a leaf for each core, and of a leaf or of `catalogue_order.PART_BYTES`.

    `label` (n,): the most probable component, or -1 for the background and for an object that could not have been
    selected, whose log density is -inf; `log_density` (n,): log L_n - log Z, as a fit counts objects. If wanted,
    `responsibilities` (n, k); `true_mean` (n, d) and `true_covariance` (n, d (d + 1) / 2), the posterior of the true
    values, the lower triangle packed row by row (see `deconvolution`); `tail_probability` (n,) (see `outliers`).

    Args:
        run_path: of the run.
        data_path: of a survey store with the run's features.
        out: the group to make; while it is made there is room for all of it twice beside it.
        responsibilities, true_values, outliers: write these too.
        seed: of the draws that tail probabilities are counted among, and of points that averages need.
        allow_code: let the run import the functions that it names.
        on_batch: called with the rows done, and the rows in all.

    Returns:
        What was written, as JSON values.

    Raises:
        JobError: a survey of other features.
        RefusedError: `out` is in a bucket; outliers, where none can be told (see `outliers`).
        StoreError: there is something at `out`, or it cannot be written.
    """
    out = place_of(out).absolute()
    if isinstance(out, BucketPath):
        raise RefusedError(f"predictions are written to a disk, and '{out}' is in a bucket", do="copy them there")
    try:
        is_there = out.exists()
    except (OSError, ValueError) as error:
        raise StoreError(f"'{out}' cannot be written", got=error, do="give another path") from error
    if is_there:
        raise StoreError(f"'{out}' exists", do="give another path, or remove it")
    run, data = read_run(run_path, allow_code=allow_code), Dataset.open(data_path)
    if data.schema.features != run.features:
        raise JobError("the survey has other features than the run", expected=run.features, got=data.schema.features)
    with closing(Threads()) as executor:
        sample = draw_sample(data.references, executor)
    survey = run.survey(allow_code=allow_code).completed(sample, data.n_features)
    observing = Observing(survey, mean_noise(sample))
    tail_probability = TailProbability(run.model, observing, seed=seed) if outliers else None
    judged = partial(_judged, run.model, observing, Wanted(responsibilities, true_values, tail_probability, seed))
    about = {"run": str(run_path), "data": str(data_path), "rows": data.n_rows}
    folder, lock = temporary_sibling(out)
    try:
        with writing(f"'{out}'"):
            group = _Group(folder, data.n_rows, about)
            with (
                one_blas_thread(),
                closing(Threads()) as executor,
                closing(row_by_row(data.references, partial(judged, executor), folder)) as parts,
            ):
                for arrays in parts:
                    group.append(arrays)
                    if on_batch is not None:
                        on_batch(group.filled, data.n_rows)
            sync_tree(folder)
            folder.rename(out)
            sync(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
    return {**about, "out": str(out), "components": run.model.mixture.n_components, "arrays": group.names}


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What is said of rows besides their label and their log density."""

    responsibilities: bool = False
    true_values: bool = False
    tail_probability: TailProbability | None = None
    seed: int = 0


def _judged(model: Model, observing: Observing, wanted: Wanted, executor: Executor, chunk: Chunk) -> Iterator[Arrays]:
    """What is written of a chunk's rows, found leaf by leaf, in parts of so many leaves as `part_rows` says."""
    log_z = log_normalisers(model, chunk, observing)
    found: list[Arrays] = []
    done = begun = 0
    for arrays in in_order(executor, partial(_of_leaf, model, observing, wanted), chunk.leaf_chunks()):
        rows = slice(done, done + len(arrays["label"]))
        arrays["log_density"] = arrays["log_density"] - log_z[rows]
        found.append(arrays)
        done = rows.stop
        row_bytes = sum(values[:1].nbytes for values in arrays.values())
        if done == chunk.n_samples or done - begun + LEAF_ROWS > part_rows(row_bytes):
            yield {name: np.concatenate([part[name] for part in found]) for name in found[0]}
            found, begun = [], done


def _of_leaf(model: Model, observing: Observing, wanted: Wanted, leaf: Chunk) -> Arrays:
    """What is said of a leaf's rows, their log densities without the normaliser."""
    scores = score_rows(model, leaf, observing)
    arrays = {"label": labels(scores.responsibilities).astype(np.int32), "log_density": scores.log_density}
    if wanted.responsibilities:
        arrays["responsibilities"] = scores.responsibilities
    if wanted.true_values:
        moments = posterior_moments(model, leaf, observing, seed=wanted.seed)
        arrays |= {"true_mean": moments.mean, "true_covariance": pack(moments.covariance)}
    if wanted.tail_probability is not None:
        arrays["tail_probability"] = wanted.tail_probability(leaf)
    return arrays


class _Group:
    """A zarr group whose arrays are filled from the first row to the last."""

    def __init__(self, folder: Path, n_rows: int, about: dict[str, Any]) -> None:
        import zarr

        self._group = zarr.create_group(folder, attributes={"dgmmis predictions": about})
        self._n_rows, self.filled = n_rows, 0
        self._arrays: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        return sorted(self._arrays)

    def append(self, arrays: Arrays) -> None:
        """Write the next rows."""
        n = 0
        for name, values in arrays.items():
            n, tail = len(values), values.shape[1:]
            if name not in self._arrays:
                chunks = (min(self._n_rows, CHUNK_ROWS, part_rows(values[:1].nbytes)), *tail)
                self._arrays[name] = self._group.create_array(
                    name, shape=(self._n_rows, *tail), dtype=values.dtype, chunks=chunks
                )
            self._arrays[name][self.filled : self.filled + n] = values
        self.filled += n
