"""Surveys of every kind that a store can hold, in segments, and all that is stored of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.linalg import pack

FEATURES = ("a", "b", "c")


@dataclass(frozen=True)
class Kind:
    """A kind of survey: its noise, weights and projections, how it is stored, and whether its rows are ordered."""

    noise: str
    rich: bool
    storage: str
    order: bool

    def __str__(self) -> str:
        words = [self.noise, "weighted and projected" * self.rich, self.storage, "ordered" * self.order]
        return " ".join(filter(None, words))

    @property
    def schema(self) -> Schema:
        return Schema(
            FEATURES[:2] if self.rich else FEATURES,
            noise=self.noise,
            shared_covariance=np.eye(3) / 3 if self.noise == "shared" else None,
            weighted=self.rich,
            measured=FEATURES if self.rich else None,
            storage=self.storage,
        )


KINDS = [
    Kind("none", rich=False, storage="float64", order=False),
    Kind("shared", rich=False, storage="float64", order=True),
    Kind("diagonal", rich=True, storage="float32", order=False),
    Kind("diagonal", rich=False, storage="float32", order=True),
    Kind("full", rich=True, storage="float64", order=False),
    Kind("full", rich=True, storage="float64", order=True),
]


def written(path: Path, kind: Kind, n: int, seed: int) -> Dataset:
    """So many rows more, some of them with missing values; their ids are random, but no two are equal."""
    rng, schema = np.random.default_rng(seed), kind.schema
    points = rng.normal(size=(n, 3))
    points[rng.random((n, 3)) < 0.1] = np.nan
    factors = rng.normal(size=(n, 3, 3))
    noise = {"diagonal": rng.uniform(0.1, 1, (n, 3)), "full": pack(factors @ factors.swapaxes(1, 2) + np.eye(3))}
    rich = {"weights": rng.uniform(1, 2, n), "projection": rng.normal(size=(n, 3, 2))}
    row_ids = rng.permutation(10 * n)[:n] * 10 + seed
    with SurveyWriter(path, schema, append=True, order=kind.order, provenance={"seed": seed}) as writer:
        writer.write(points, noise.get(kind.noise), row_ids=row_ids, **(rich if kind.rich else {}))
    return Dataset.open(path)


def table_of(data: Dataset) -> dict[str, np.ndarray]:
    """All that is stored of the rows, in the order of the catalogue."""
    order = np.argsort(data.catalogue_rows.compute(), kind="stable")
    names = [*data.schema.arrays, *(["row_id"] if data.row_ids is not None else [])]
    return {name: np.concatenate([part.read(name) for part in data.references])[order] for name in names}


def kept(path: Path) -> dict[str, bytes | None]:
    """Every file of a store, and every folder."""
    return {
        str(file.relative_to(path)): file.read_bytes() if file.is_file() else None for file in sorted(path.rglob("*"))
    }


def segments_on_disk(path: Path) -> set[str]:
    """The folders of segments, whether or not the manifest names them."""
    return {entry.name for entry in (path / "segments").iterdir() if entry.is_dir()}
