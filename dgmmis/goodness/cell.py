"""Cells: where the objects are more, or fewer, than a model has them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.goodness.residuals import Residuals

NAMED = 5
"""Cells that are named, the worst."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a pair of features.

    Args:
        features: their numbers, the later one first; twice the same where there is one only.
        place: in words.
        observed, expected, error: objects, and the error of their difference if the model holds.
        p_value: of this cell alone.
        corrected: of the worst of so many cells.
    """

    features: tuple[int, int]
    place: str
    observed: float
    expected: float
    error: float
    p_value: float
    corrected: float

    def __str__(self) -> str:
        expected = f"{_counted(self.expected)} ± {_counted(self.error)} were expected"
        return f"cell {self.place}: {_counted(self.observed)} objects where {expected}"

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "features": list(self.features)}


def worst_cells(
    residuals: Mapping[tuple[int, int], Residuals],
    edges: Float[np.ndarray, "m edges"],
    names: Sequence[str],
    units: Sequence[str],
) -> tuple[Cell, ...]:
    """Those that differ most, the worst first."""
    found = sorted(_cells(residuals, edges, [*zip(names, units, strict=True)]), key=lambda cell: cell.p_value)
    return tuple(found[:NAMED])


def _cells(
    residuals: Mapping[tuple[int, int], Residuals],
    edges: Float[np.ndarray, "m edges"],
    named: Sequence[tuple[str, str]],
) -> Iterator[Cell]:
    """The worst of each pair."""
    p_values = {pair: cells.p_values for pair, cells in residuals.items()}
    n_cells = sum(values.size for values in p_values.values())
    for (i, j), values in p_values.items():
        cells = residuals[i, j]
        for number in np.argsort(values, axis=None, kind="stable")[:NAMED]:
            at = np.unravel_index(number, values.shape)
            if not cells.pooled[at] > 0:  # of features that are never measured together, say
                continue
            places = [_between(named[i], edges[i], int(at[0]))]
            if i != j:
                places.insert(0, _between(named[j], edges[j], int(at[1])))
            p = float(values[at])
            yield Cell(
                (i, j),
                ", ".join(filter(None, places)) or "everywhere",
                float(cells.observed[at]),
                float(cells.expected[at]),
                float(np.sqrt(float(cells.pooled[at]) * sum(cells.variances))),
                p,
                min(1.0, p * n_cells),
            )


def _between(named: tuple[str, str], edges: Float[np.ndarray, " edges"], cell: int) -> str:
    low, high = edges[cell : cell + 2].tolist()
    name, unit = named[0], f" {named[1]}" if named[1] else ""
    if np.isneginf(low):
        return "" if np.isposinf(high) else f"{name} < {high:.6g}{unit}"
    return f"{name} > {low:.6g}{unit}" if np.isposinf(high) else f"{low:.6g} < {name} < {high:.6g}{unit}"


def _counted(number: float) -> str:
    return f"{number:,.1f}" if abs(number) < 10 and not float(number).is_integer() else f"{number:,.0f}"
