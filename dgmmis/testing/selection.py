"""The laws of a selection."""

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.selection import Selection
from dgmmis.testing.laws import check_numbers, check_pointwise, evaluated, law, points_for
from dgmmis.types import Points


def check_selection(
    selection: Selection, points: ArrayLike | None = None, *, n_features: int | None = None, seed: int = 0
) -> None:
    """Check that Omega (n,) is a probability at each point, whatever the other points are, here and on a worker.

    Args:
        selection: a callable, points (n, d) -> (n,).
        points: where to look (n, d), best on both sides of every edge; None: standard normal points.
        n_features: d, where no points are given.
        seed: of the points.

    Raises:
        AssertionError: the first law that is broken.
    """
    where = points_for(points, n_features, seed, "the selection")
    omega = evaluated(_omega, selection, where.copy(), "the selection")
    check_numbers(omega, (len(where),), "the selection")
    law(np.all(omega >= 0) and np.all(omega <= 1), f"the selection gives {_worst(omega)}, which is no probability")
    check_pointwise(selection, _omega, where, "the selection")


def _omega(selection: Selection, points: Points) -> np.ndarray:
    return selection(points)


def _worst(omega: np.ndarray) -> float:
    return float(omega[np.argmax(np.abs(omega.astype(float) - 0.5))])
