"""The commands that write, each with what it finds and what it leaves; for disks that fill, and processes that die."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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

SCHEMA = Schema(FEATURES, noise="diagonal")

Content = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Writer:
    """A command.

    Args:
        name: of it.
        arguments: with {out}, where it writes to, and {scene}, where it finds what it reads.
        old: makes the older survey that is there, of that name; None: there is none.
    """

    name: str
    arguments: tuple[str, ...]
    old: Callable[[Path], Dataset] | None = None

    def command(self, out: Path, scene: Path) -> list[str]:
        filled = [argument.format(out=out, scene=scene) for argument in self.arguments]
        return [sys.executable, "-m", "dgmmis", *filled, "--quiet"]


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and variances."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.uniform(0.1, 0.2, (n, 3))


def store(path: Path, n: int, seed: int, **options: bool) -> Dataset:
    """Rows in a survey store."""
    with SurveyWriter(path, SCHEMA, **options) as writer:
        writer.write(*rows(n, seed))
    return Dataset.open(path)


def short(path: Path) -> Dataset:
    """A small survey."""
    return store(path, 500, 3)


def nights(path: Path, *, n: int = N_ROWS // 3, count: int = 3, order: bool = False) -> Dataset:
    """A survey of as many segments, whose rows have ids: 0, 1, 2 ..., in the order of the catalogue."""
    for night in range(count):
        with SurveyWriter(path, SCHEMA, append=True, order=order, provenance={"night": night}) as writer:
            writer.write(*rows(n, night), row_ids=np.arange(night * n, (night + 1) * n))
    return Dataset.open(path)


ordered_nights = partial(nights, order=True)

WRITERS = (
    Writer("simulate", ("simulate", "{out}", "-n", "50000")),
    Writer("simulate over", ("simulate", "{out}", "-n", "50000", "--overwrite"), old=short),
    Writer("ingest", INGEST),
    Writer("ingest ordered", (*INGEST, "--order")),
    Writer("ingest float32", (*INGEST, "--float32")),
    Writer("append", (*INGEST, "--append"), old=short),
    Writer("append unique", (*INGEST, "--row-id", "id", "--append", "--unique"), old=nights),
    Writer("withdraw", ("withdraw", "{out}", "--rows", "{scene}/withdrawn.txt"), old=nights),
    Writer("withdraw ordered", ("withdraw", "{out}", "--rows", "{scene}/withdrawn.txt"), old=ordered_nights),
    Writer("compact", ("compact", "{out}"), old=nights),
    Writer("compact ordered", ("compact", "{out}"), old=ordered_nights),
    Writer("overwrite", (*INGEST, "--overwrite", "--order"), old=short),
    Writer("predict", ("predict", "{scene}/x.run", "{scene}/ordered.zarr", "{out}", "--responsibilities")),
    Writer("sample", ("sample", "{scene}/x.run", "40000", "{out}")),
    Writer("sample over", ("sample", "{scene}/x.run", "40000", "{out}", "--overwrite"), old=short),
)


def set_scene(folder: Path) -> None:
    """What the commands read: a table, an ordered survey, a run."""
    points, noise = rows(N_ROWS, 1)
    ids = np.arange(N_ROWS // 2, N_ROWS // 2 + N_ROWS)
    np.savez(folder / "source.npz", points=points, noise=noise, id=ids)
    (folder / "withdrawn.txt").write_text("".join(f"{number}\n" for number in range(0, N_ROWS, 10)))
    store(folder / "ordered.zarr", N_ROWS, 2, order=True)
    write_run(folder / "x.run", run(np.eye(3)))


def run(means: np.ndarray) -> Run:
    """A run of three components."""
    model = Model(GaussianMixture(np.full(3, 1 / 3), means, [np.eye(3)] * 3))
    return Run(model, FEATURES, ("", "", ""), {"completeness": 1.0}, SurveyRecord())


def content(path: Path) -> Content | None:
    """All that a reader sees at a path: the rows of a survey in the order of the catalogue, and how many the segments
    have; or a prediction.
    """
    if not path.exists():
        return None
    group = zarr.open_group(path, mode="r")
    if "dgmmis predictions" in group.attrs:
        return {name: np.asarray(array[...]) for name, array in group.arrays()}
    data = Dataset.open(path)
    order = np.argsort(data.catalogue_rows.compute())
    found = {"segments": np.array([segment.n_rows for segment in data.segments])}
    names = [*data.schema.arrays, *(["row_id"] if data.segments[0].row_ids else [])]
    for name in names:
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
