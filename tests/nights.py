"""Nights of a survey that grows: files of objects that are numbered on from night to night, and the job for them."""

import csv
from pathlib import Path

import numpy as np

from dgmmis.mixture import GaussianMixture

TRUTH = GaussianMixture([0.6, 0.4], [[0.0, 0.0], [4.0, 1.0]], [np.eye(2), [[1.0, 0.5], [0.5, 2.0]]])

JOB = """
[data]
path = "survey.zarr"
[model]
n_components = 2
[cluster]
kind = "threads"
[reprocess]
sources = ["nights/*.csv"]
held_out = 0.1
keep = 3
[reprocess.columns]
features = ["x", "y"]
row_id = "id"
"""


def night(folder: Path, number: int, n: int = 400, *, shift: float = 0.0, name: str | None = None) -> Path:
    """A file with the objects of a night, numbered on from night to night."""
    points = TRUTH.sample(n, seed=number) + shift
    file = folder / "nights" / (name or f"{number:03d}.csv")
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "x", "y"])
        writer.writerows([10_000 * number + i, *map(repr, map(float, point))] for i, point in enumerate(points))
    return file
