"""The files of a work: arrays for every contestant, and the survey store that dgmmis reads."""

import inspect
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgmmis.dataset.ingest import Columns, ingest
from tests.benchmarks.works import Work

CAN_ORDER = "order" in inspect.signature(ingest).parameters
"""Whether ingest can put rows in the order of space."""


@dataclass(frozen=True, slots=True)
class Files:
    """A work on disk.

    Args:
        arrays: npz: points (n, d), noise (n, d, d) or nothing, and the start: weights, means, covariances.
        store: the survey store.
        ordered: whether its rows are in the order of space.
        ingest_seconds: that the store took.
    """

    arrays: Path
    store: Path
    ordered: bool
    ingest_seconds: float


def write(work: Work, folder: Path) -> Files:
    """Draw a work into a folder."""
    start, noise = work.start(), work.noise()
    given = {"points": work.points(), "weights": start.weights, "means": start.means, "covariances": start.covariances}
    if noise is not None:
        given["noise"] = noise
    arrays, store = folder / f"{work.name}.npz", folder / f"{work.name}.zarr"
    np.savez(arrays, **given)
    columns = Columns(points="points", noise="noise" if work.noisy else None)
    started = time.perf_counter()
    ordered = ordered_ingest(arrays, store, columns) if work.is_local else ingest(arrays, store, columns) is None
    return Files(arrays, store, ordered, time.perf_counter() - started)


def ordered_ingest(source: Path, store: Path, columns: Columns) -> bool:
    """Ingest in the order of space where that is possible; whether it was."""
    options = {"order": True} if CAN_ORDER else {}
    ingest(source, store, columns, **options)
    return CAN_ORDER
