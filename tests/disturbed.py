"""Fits that are run in all ways, and disturbed: the surveys, and the bits that must come out."""

import hashlib
from pathlib import Path

import numpy as np

from dgmmis.background import Uniform
from dgmmis.callback import Callback
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.em import Stopping
from dgmmis.execution.executor import Executor
from dgmmis.execution.serial import Serial
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.selection import Ball, HalfSpace
from dgmmis.survey import Survey

KINDS = ("truncated", "noisy", "everything")

SURVEYS = {
    "truncated": Survey(HalfSpace([1.0, 0.0], 3.5) & Ball([0.0, 0.0], 1e3)),  # with the ball no closed form serves
    "noisy": None,
    "everything": Survey(HalfSpace([1.0, 0.0], 4.0, 0.5), "own"),
}


def written(folder: Path, kind: str) -> Path:
    """Some chunks in two segments: truncated with shared noise; or variances each, missing features, weights."""
    path = folder / f"{kind}.zarr"
    rng = np.random.default_rng(3)
    if kind == "truncated":
        points = np.concatenate([rng.normal(0, 1, (250_000, 2)), rng.normal(4, 0.7, (150_000, 2))])
        rng.shuffle(points)
        points = points[points[:, 0] < 3.5]
        schema = Schema(features=("a", "b"), noise="shared", shared_covariance=0.04 * np.eye(2))
        rows: dict[str, np.ndarray] = {"points": points}
    else:
        n = 100_000 if kind == "noisy" else 10_000
        points = np.concatenate([rng.normal(0, 1, (6 * n // 10, 2)), rng.normal(4, 0.7, (4 * n // 10, 2))])
        rng.shuffle(points)
        points[rng.random(points.shape) < 0.1] = np.nan
        schema = Schema(features=("a", "b"), noise="diagonal", weighted=True)
        rows = {
            "points": points,
            "noise": rng.uniform(0.01, 0.1, points.shape),
            "weights": rng.uniform(0.5, 2, n),
        }
    half = len(points) // 2 + 1
    for part, append in ((slice(0, half), False), (slice(half, None), True)):
        with SurveyWriter(path, schema, append=append) as writer:
            writer.write(**{name: array[part] for name, array in rows.items()})
    return path


def fitted(path: Path, executor: Executor, callbacks: tuple[Callback, ...] = ()) -> Fit:
    """The fit of a survey that `written` has made."""
    truncated = path.name == "truncated.zarr"
    return fit(
        Dataset.open(path),
        Start(2, background=None if truncated else Uniform([-9, -9], [9, 9])),
        survey=SURVEYS[path.stem],
        stopping=Stopping(1e-3, 12) if path.stem == "everything" else Stopping(max_iter=12 if truncated else 4),
        executor=executor,
        callbacks=callbacks,
    )


def bits(result: Fit) -> str:
    """Of the model, and of every objective on the way."""
    mixture = result.model.mixture
    arrays = (mixture.weights, mixture.means, mixture.covariances, np.array([r.objective for r in result.records]))
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def undisturbed_bits(path: Path) -> str:
    """What must come out: the bits of one process."""
    result = fitted(path, Serial())
    if SURVEYS[path.stem] is not None:
        assert result.records[-1].round > 0  # new points are part of what is compared
    return bits(result)
