"""A catalogue in this process's memory, in the same terms as one on disk: references that load chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dgmmis.chunk import (
    CHUNK_ROWS,
    LEAF_ROWS,
    Chunk,
    check_points,
    check_projection,
    check_weights,
    chunk_from_arrays,
    leaf_pieces,
)
from dgmmis.errors import DataError, ShapeError
from dgmmis.noise import Noise, parse_noise
from dgmmis.portrait import Portrait, Portrayed
from dgmmis.reals import reals


@runtime_checkable
class Reference(Protocol):
    """Some rows of a catalogue: small, picklable if the catalogue is on disk, loaded where the work is."""

    @property
    def n_rows(self) -> int:
        """Rows that it stands for."""

    @property
    def first_leaf(self) -> int:
        """Number of its first leaf in the catalogue's tree."""

    @property
    def nbytes(self) -> int:
        """Bytes when loaded."""

    @property
    def key(self) -> str:
        """A name that no other rows have."""

    @property
    def is_ordered(self) -> bool:
        """Whether rows near one another were put together, so that no chunk looks like the whole."""

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """The numbers in the catalogue of some of its rows, counted from 0 here: for messages."""

    def split(self, n: int) -> "Sequence[Reference]":
        """The same rows in up to n references, cut between leaves."""

    def load(self) -> Chunk:
        """The rows."""


@runtime_checkable
class Catalogue(Protocol):
    """Data to fit: a Dataset on disk or an ArrayDataset in memory."""

    @property
    def n_features(self) -> int:
        """Features of the model."""

    @property
    def n_rows(self) -> int:
        """Rows in all."""

    @property
    def references(self) -> Sequence[Reference]:
        """The chunks."""

    @property
    def in_memory(self) -> bool:
        """Whether only this process can load them."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of the rows of a catalogue; a catalogue itself."""

    n_features: int
    references: tuple[Reference, ...]
    in_memory: bool

    @property
    def n_rows(self) -> int:
        return sum(reference.n_rows for reference in self.references)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayReference:
    """Rows [start, stop) of arrays in memory."""

    whole: Chunk
    start: int
    stop: int

    def __str__(self) -> str:
        return f"rows {self.start} to {self.stop - 1}"

    @property
    def n_rows(self) -> int:
        return self.stop - self.start

    @property
    def first_leaf(self) -> int:
        return self.start // LEAF_ROWS

    @property
    def nbytes(self) -> int:
        arrays = (self.whole.points, self.whole.weights, self.whole.projection)
        row: int = sum(8 * int(np.prod(a.shape[1:])) for a in arrays if a is not None)
        m = self.whole.points.shape[1]
        row += {"diagonal": 8 * m, "full": 4 * m * (m + 1)}.get(self.whole.noise.kind, 0)
        return row * self.n_rows

    @property
    def key(self) -> str:
        return f"memory-{id(self.whole)}-{self.start}"

    @property
    def is_ordered(self) -> bool:
        return False

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        return self.start + rows

    def split(self, n: int) -> "tuple[ArrayReference, ...]":
        return tuple(ArrayReference(self.whole, self.start + a, self.start + b) for a, b in leaf_pieces(self.n_rows, n))

    def load(self) -> Chunk:
        return self.whole.take(slice(self.start, self.stop))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ArrayDataset(Portrayed):
    """Arrays in memory, checked once."""

    whole: Chunk

    @classmethod
    def of(
        cls,
        points: Any,
        noise_covariance: object = None,
        *,
        projection: Any = None,
        sample_weight: Any = None,
    ) -> "ArrayDataset":
        """Check what a user gives and make a catalogue of it.

        Args:
            points: measured values y_n (n, m); NaN: missing.
            noise_covariance: of them, as for `parse_noise`.
            projection: R_n (n, m, d).
            sample_weight: how often each object counts (n,).

        Raises:
            ShapeError, DataError, RefusedError: as `parse_noise` and the checks in `chunk` say.
        """
        points = reals(points, "X")
        if points.ndim == 2 and points.shape[1] == 0:
            least = f"0 feature(s) (shape={points.shape}) while a minimum of 1 is required"  # scikit-learn's words
            raise ShapeError(f"X has {least}", do="give the features that were measured")
        if points.ndim != 2 or 0 in points.shape:
            raise ShapeError(
                "X must be a table of at least one row and one feature",
                expected="(n, d)",
                got=points.shape,
                do="reshape your data: X[:, None] for one feature, X[None] for one row",
            )
        check_points(points)
        noise = parse_noise(noise_covariance, points)
        weights = None if sample_weight is None else check_weights(sample_weight, len(points))
        if weights is not None and not weights.any():
            raise DataError("every sample_weight is zero", do="give a weight to the objects that count")
        matrices = None if projection is None else check_projection(projection, points)
        return cls(chunk_from_arrays(points, noise, weights=weights, projection=matrices))

    def __repr__(self) -> str:
        return f"ArrayDataset({self.n_rows} rows of {self.n_features} features, noise: {self.noise.kind})"

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        points, weights = self.whole.points, self.whole.weights
        lines = [
            ("rows", f"{self.n_rows:,}"),
            ("noise", self.noise.kind),
            ("weights", "a weight for each row" if weights is not None else "none"),
            ("missing", f"{np.mean(np.isnan(points)):.2%} of the values"),
        ]
        if self.whole.projection is not None:
            lines.append(("measured", f"{points.shape[1]} projections of {self.n_features} features"))
        return Portrait("ArrayDataset", tuple(lines))

    @property
    def n_rows(self) -> int:
        return self.whole.n_samples

    @property
    def n_features(self) -> int:
        """Features of the model."""
        whole = self.whole
        return int(whole.points.shape[1] if whole.projection is None else whole.projection.shape[2])

    @property
    def noise(self) -> Noise:
        return self.whole.noise

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def references(self) -> tuple[ArrayReference, ...]:
        edges = range(0, self.n_rows, CHUNK_ROWS)
        return tuple(ArrayReference(self.whole, start, min(start + CHUNK_ROWS, self.n_rows)) for start in edges)


CatalogueLike = Catalogue | np.ndarray | str | Path
"""What functions take for a catalogue: one, the path of a store, or an array (n, d) of exact values."""


def as_catalogue(data: object) -> Catalogue:
    """A catalogue as it is; the path of a store, or an array (n, d) of exact values, as one.

    Raises:
        DataError: none of them.
        StoreError: no store is there.
    """
    if isinstance(data, (str, Path)):
        from dgmmis.dataset.dataset import Dataset  # which is a catalogue

        return Dataset.open(data)
    if isinstance(data, np.ndarray):
        return ArrayDataset.of(data)
    if isinstance(data, Catalogue):
        return data
    raise DataError(
        "data must be a catalogue",
        expected="a Dataset or its path, ArrayDataset.of(points, noise_covariance), or an array (n, d)",
        got=type(data).__name__,
    )
