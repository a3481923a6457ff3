"""Injections: made-up objects that were put into the data, and which of them the pipeline found.

They stand for a selection that nobody can write down: only its integral over a population is known (transit and
gravitational-wave surveys)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, RefusedError, ShapeError, rows_named
from dgmmis.reals import reals
from dgmmis.selection.spoken import Spoken
from dgmmis.types import Points, Vector


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Injections(Spoken):
    """True positions drawn from a known density, and whether each was found.

    The completeness of a population p is Z = (1/n) sum_found p(x_j) / p_draw(x_j), whatever the noise and the search
    did to the objects (Tiwari 2018; Mandel, Farr & Gair 2019). Rows that were not found count in n only.

    Args:
        points: true positions (n, d) in the units of the features.
        found: whether the search found each (n,).
        log_density: log p_draw (n,) of the draws, normalised, per unit volume of the features.

    Raises:
        ShapeError: lengths that differ.
        DataError: what is not finite, nothing found, `found` that is neither true nor false.
    """

    points: Points
    found: np.ndarray
    log_density: Vector

    def __init__(self, points: ArrayLike, found: ArrayLike, log_density: ArrayLike) -> None:
        positions, logs = reals(points, "Injections: `points`"), reals(log_density, "Injections: `log_density`")
        try:
            seen = reals(found, "Injections: `found`")
        except DataError as error:
            raise DataError("Injections: `found` must be true or false", got=found) from error
        if positions.ndim != 2 or not positions.size:
            raise ShapeError("Injections: `points` must be true positions (n, d)", got=positions.shape)
        n = len(positions)
        for name, values in (("found", seen), ("log_density", logs)):
            if values.shape != (n,):
                raise ShapeError(f"Injections: `{name}` must be one value a point", expected=(n,), got=values.shape)
        if not np.all((seen == 0) | (seen == 1)):
            raise DataError("Injections: `found` must be true or false", got=np.unique(seen)[:5])
        for name, finite in (("points", np.isfinite(positions).all(axis=1)), ("log_density", np.isfinite(logs))):
            if not finite.all():
                raise DataError(f"Injections: `{name}` is not finite in {rows_named(np.flatnonzero(~finite))}")
        if not seen.any():
            raise DataError("Injections: none was found, which says nothing about the completeness", got=f"0 of {n}")
        object.__setattr__(self, "points", positions)
        object.__setattr__(self, "found", seen.astype(bool))
        object.__setattr__(self, "log_density", logs)

    @property
    def n_features(self) -> int:
        return int(self.points.shape[1])

    def __len__(self) -> int:
        """How many were drawn, found or not."""
        return len(self.points)

    def completeness(self, log_density: Vector) -> tuple[float, float]:
        """Z and its Monte-Carlo error, of the population whose log density at `points[found]` is given.

        error^2 = sum_found w^2 / n^2 - Z^2 / n with w = p / p_draw; (Z / error)^2 is the effective number of
        injections, which should be at least four times the number of objects (Farr 2019).

        Args:
            log_density: log p (n_found,), -inf where the population has nobody.
        """
        drawn = self.log_density[self.found]
        if log_density.shape != drawn.shape:
            raise ShapeError(
                "Injections: the log density of the population at each that was found",
                expected=drawn.shape,
                got=log_density.shape,
            )
        if not np.all(log_density < np.inf):  # NaN too
            raise DataError("Injections: the log density of the population is NaN or infinite")
        n = len(self.points)
        weights = np.exp(log_density - drawn)
        z = float(weights.sum() / n)
        variance = float(np.sum(weights**2)) / n**2 - z**2 / n
        return z, float(np.sqrt(max(variance, 0.0)))

    def __call__(self, points: Points) -> Vector:
        del points
        raise RefusedError(
            "injections do not say how likely an object is seen at a point, only what share of a population is",
            do="use them on true positions in a fit, or give a selection that is known at every point",
        )

    def refuse_composition(self) -> None:
        """Raise the error of a product, a union or a complement: those need Omega at a point."""
        raise RefusedError(
            "injections cannot be joined with other selections",
            do="let the search apply the other selection, and set `found` to what passed both",
        )

    def __and__(self, other: object) -> None:
        self.refuse_composition()

    def __or__(self, other: object) -> None:
        self.refuse_composition()

    def __rand__(self, other: object) -> None:
        self.refuse_composition()

    def __ror__(self, other: object) -> None:
        self.refuse_composition()

    def __invert__(self) -> None:
        self.refuse_composition()
