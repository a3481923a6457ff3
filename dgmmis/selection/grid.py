"""A table of probabilities on a grid: what a simulation of the survey gives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, JobError, ShapeError, nearest_name, rows_named
from dgmmis.reals import reals
from dgmmis.selection.algebra import Composable
from dgmmis.selection.points import points_of_width, refuse_missing
from dgmmis.types import Points, Vector

INTERPOLATIONS = ("constant", "linear", "log-linear")
OUTSIDE = ("refuse", "zero", "nearest")


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Grid(Composable):
    """Omega from a table, one axis a feature.

    "constant": one value a cell. "linear": values where the edges meet, multilinear between them,
    Omega = sum_c w_c p_c over the 2^f corners of the cell. "log-linear": the same in the logarithm, the weighted
    geometric mean Omega = prod_c p_c^w_c with 0^0 = 1: a corner of zero makes its cell zero, but for the faces that
    do not touch it. A point on an inner edge belongs to the cell above it, one on the last edge to the last cell.

    Args:
        edges: an increasing vector an axis; for "constant" the outermost may be infinite.
        probability: in [0, 1], len(edge) - 1 values an axis if "constant", else len(edge).
        log_probability: its natural logarithm instead, at most 0, -inf for never: for what spans many decades.
        interpolation: "constant", "linear" or "log-linear".
        outside: of a point beyond the edges: "refuse" it, "zero", or the value at the "nearest" edge.
        features: the features that the axes are; None: all, in order. Others may be missing (NaN).

    Raises:
        ShapeError: edges or a table of the wrong shape.
        DataError: values that are no probabilities, edges that do not increase; when called, points outside.
        RefusedError: when called, a feature of the grid that was not measured.
        JobError: both or none of the tables, an unknown word.
    """

    edges: tuple[Vector, ...]
    values: np.ndarray
    """The probability, or its logarithm if "log-linear"."""
    interpolation: str
    outside: str
    features: tuple[int, ...] | None

    def __init__(
        self,
        edges: Iterable[ArrayLike],
        probability: ArrayLike | None = None,
        *,
        log_probability: ArrayLike | None = None,
        interpolation: str = "constant",
        outside: str = "refuse",
        features: ArrayLike | Sequence[int] | None = None,
    ) -> None:
        for name, word, known in (("interpolation", interpolation, INTERPOLATIONS), ("outside", outside, OUTSIDE)):
            if word not in known:
                raise JobError(f"Grid: unknown {name} '{word}'", do=nearest_name(word, known))
        given: object = edges
        if not isinstance(given, Iterable) or (isinstance(given, np.ndarray) and given.ndim == 0):
            raise ShapeError(
                "Grid needs one vector of edges a feature", got=repr(edges), do="write [[0, 1, 2], [0, 1]]"
            )
        axes = tuple(_increasing(edge, axis, interpolation == "constant") for axis, edge in enumerate(edges))
        object.__setattr__(self, "edges", axes)
        object.__setattr__(self, "interpolation", interpolation)
        object.__setattr__(self, "outside", outside)
        object.__setattr__(self, "features", _indices(features, len(axes)))
        shape = tuple(len(edge) - (interpolation == "constant") for edge in axes)
        object.__setattr__(self, "values", _table(probability, log_probability, interpolation, shape))

    def __call__(self, points: Points) -> Vector:
        features = range(len(self.edges)) if self.features is None else self.features
        points = points_of_width(points, max(features) + 1, "Grid", or_more=self.features is not None)
        refuse_missing(points, features, "Grid")
        inside = np.ones(len(points), dtype=bool)
        cells, fractions = [], []
        for feature, edge in zip(features, self.edges, strict=True):
            y = points[:, feature]
            inside &= (y >= edge[0]) & (y <= edge[-1])
            y = np.clip(y, edge[0], edge[-1])
            cell = np.minimum(np.searchsorted(edge, y, side="right") - 1, len(edge) - 2)
            cells.append(cell)
            if self.interpolation != "constant":
                fractions.append((y - edge[cell]) / (edge[cell + 1] - edge[cell]))
        if self.outside == "refuse" and not inside.all():
            self._refuse(points, np.flatnonzero(~inside))
        omega = self.values[tuple(cells)] if self.interpolation == "constant" else self._interpolated(cells, fractions)
        return np.where(inside, omega, 0.0) if self.outside == "zero" else np.asarray(omega)

    def _interpolated(self, cells: list[np.ndarray], fractions: list[np.ndarray]) -> Vector:
        """The sum over the corners of each point's cell, one corner of all points at a time."""
        total = np.zeros(len(cells[0]))
        for corner in product((0, 1), repeat=len(cells)):
            weight = np.ones(len(total))
            for upper, fraction in zip(corner, fractions, strict=True):
                weight *= fraction if upper else 1 - fraction
            value = self.values[tuple(cell + upper for cell, upper in zip(cells, corner, strict=True))]
            # a corner without weight says nothing, -inf or not
            total += np.multiply(weight, value, where=weight > 0, out=np.zeros(len(total)))
        return np.exp(np.minimum(total, 0.0)) if self.interpolation == "log-linear" else np.clip(total, 0.0, 1.0)

    def _refuse(self, points: Points, rows: np.ndarray) -> None:
        ranges = ", ".join(f"[{edge[0]:g}, {edge[-1]:g}]" for edge in self.edges)
        raise DataError(
            f"Grid says nothing about points outside its edges, {rows_named(rows)}",
            expected=f"features within {ranges}",
            got=np.array2string(points[rows[0]], precision=6),
            do="extend the grid, or say outside='zero' or outside='nearest'",
        )


def _increasing(edge: ArrayLike, axis: int, endless: bool) -> Vector:
    """One axis, checked; the outermost edges may be infinite where nothing is interpolated."""
    vector = reals(edge, f"Grid: edges of axis {axis}")
    if vector.ndim != 1 or len(vector) < 2:
        raise ShapeError(f"Grid: edges of axis {axis} must be a vector of two or more", got=vector.shape)
    finite = np.isfinite(vector[1:-1]).all() if endless else np.isfinite(vector).all()
    if not (finite and np.all(vector[:-1] < vector[1:])):
        raise DataError(f"Grid: edges of axis {axis} must be finite and increase", got=vector)
    return vector


def _indices(features: ArrayLike | Sequence[int] | None, n_axes: int) -> tuple[int, ...] | None:
    if n_axes == 0:
        raise ShapeError("Grid needs one vector of edges a feature", got="none")
    if features is None:
        return None
    given = np.asarray(features) if isinstance(features, np.ndarray) else _listed(features)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ShapeError("Grid: `features` must be whole numbers, one an axis", got=features)
    indices = tuple(given.tolist())
    if len(indices) != n_axes or len(set(indices)) != n_axes or min(indices) < 0:
        raise ShapeError("Grid: `features` must be one index an axis, all different", got=indices)
    return indices


def _listed(features: object) -> np.ndarray:
    try:
        return np.asarray(features)
    except ValueError:  # rows of unequal length
        return np.empty((0, 0))


def _table(
    probability: ArrayLike | None, log_probability: ArrayLike | None, interpolation: str, shape: tuple[int, ...]
) -> np.ndarray:
    """What is interpolated: the probability, or its logarithm, whichever of them was given."""
    if (probability is None) == (log_probability is None):
        given = "none" if probability is None else "both"
        raise JobError("Grid needs its table once", expected="probability or log_probability", got=given)
    name = "log_probability" if probability is None else "probability"
    table = reals(log_probability if probability is None else probability, f"Grid: `{name}`")
    if table.shape != shape:
        per = "one value a cell" if interpolation == "constant" else "one value where the edges meet"
        raise ShapeError(
            f"Grid: `{name}` does not fit the edges", expected=f"{shape}, {per} for {interpolation}", got=table.shape
        )
    fits = table <= 0 if probability is None else (table >= 0) & (table <= 1)
    if not fits.all():  # NaN does not fit either
        first = tuple(int(i) for i in np.argwhere(~fits)[0])
        limits = "values <= 0" if probability is None else "values in [0, 1]"
        raise DataError(f"Grid: `{name}` holds no probability", expected=limits, got=f"{table[first]} at {first}")
    if interpolation == "log-linear" and probability is not None:
        with np.errstate(divide="ignore"):  # log 0 = -inf: never
            return np.asarray(np.log(table))
    return np.exp(table) if interpolation != "log-linear" and probability is None else table.copy()
