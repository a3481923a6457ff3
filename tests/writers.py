"""The commands that write, each with what it finds and what it leaves; for disks that fill, and processes that die."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from dgmmis.dataset.checkpoint import Run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model

FEATURES = ("a", "b", "c")
N_ROWS = 30_000
INGEST = ("ingest", "{scene}/source.npz", "{out}", "--features", "a,b,c", "--points", "points", "--noise", "noise")

Content = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Writer:
    """A command.

    Args:
        name: of it.
        arguments: with {out}, where it writes to, and {scene}, where it finds what it reads.
        old: whether an older survey is there.
    """

    name: str
    arguments: tuple[str, ...]
    old: bool = False

    def command(self, out: Path, scene: Path) -> list[str]:
        filled = [argument.format(out=out, scene=scene) for argument in self.arguments]
        return [sys.executable, "-m", "dgmmis", *filled, "--quiet"]


WRITERS = (
    Writer("simulate", ("simulate", "{out}", "-n", "50000")),
    Writer("simulate over", ("simulate", "{out}", "-n", "50000", "--overwrite"), old=True),
    Writer("ingest", INGEST),
    Writer("ingest ordered", (*INGEST, "--order")),
    Writer("ingest float32", (*INGEST, "--float32")),
    Writer("append", (*INGEST, "--append"), old=True),
    Writer("overwrite", (*INGEST, "--overwrite", "--order"), old=True),
    Writer("predict", ("predict", "{scene}/x.run", "{scene}/ordered.zarr", "{out}", "--responsibilities")),
    Writer("sample", ("sample", "{scene}/x.run", "40000", "{out}")),
    Writer("sample over", ("sample", "{scene}/x.run", "40000", "{out}", "--overwrite"), old=True),
)


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and variances."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.uniform(0.1, 0.2, (n, 3))


def store(path: Path, n: int, seed: int, **options: bool) -> Dataset:
    """Rows in a survey store."""
    with SurveyWriter(path, SCHEMA, **options) as writer:
        writer.write(*rows(n, seed))
    return Dataset.open(path)


SCHEMA = Schema(FEATURES, noise="diagonal")


def set_scene(folder: Path) -> None:
    """What the commands read: a table, an ordered survey, a run."""
    points, noise = rows(N_ROWS, 1)
    np.savez(folder / "source.npz", points=points, noise=noise)
    store(folder / "ordered.zarr", N_ROWS, 2, order=True)
    write_run(folder / "x.run", run(np.eye(3)))


def run(means: np.ndarray) -> Run:
    """A run of three components."""
    model = Model(GaussianMixture(np.full(3, 1 / 3), means, [np.eye(3)] * 3))
    return Run(model, FEATURES, ("", "", ""), {"completeness": 1.0}, SurveyRecord())


def content(path: Path) -> Content | None:
    """All that a reader sees at a path: the rows of a survey in the order of the catalogue, or a prediction."""
    if not path.exists():
        return None
    group = zarr.open_group(path, mode="r")
    if "dgmmis predictions" in group.attrs:
        return {name: np.asarray(array[...]) for name, array in group.arrays()}
    data = Dataset.open(path)
    order = np.argsort(data.catalogue_rows.compute())
    found = {}
    for name in data.schema.arrays:
        found[name] = np.concatenate([reference.read(name) for reference in data.references])[order]
    return found


def same(one: Content | None, other: Content | None) -> bool:
    """Whether two readers saw the same."""
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def started(command: list[str]) -> "subprocess.Popen[str]":
    """A process in a group of its own."""
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"},
        start_new_session=True,
    )


def said(command: list[str]) -> tuple[int, str]:
    """How a command ended, and what it said of errors."""
    process = started(command)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors
