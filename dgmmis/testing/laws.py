"""The laws of anything that is a function of points (n, d): each point has a value of its own, now and later."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from dgmmis.types import Points

ROUNDING = 1e-9
"""Two ways to the same number may differ by this much of it: matrix products round as the number of rows has it."""

N_POINTS = 64

Evaluate = Callable[[Any, Points], np.ndarray]
"""What a value gives at points (n, d): one entry a point, of any shape."""


def law(holds: object, sentence: str) -> None:
    """Raise AssertionError with the sentence unless the law holds."""
    if not holds:
        raise AssertionError(sentence)


def evaluated(evaluate: Evaluate, value: Any, points: Points, name: str) -> np.ndarray:
    """What the value gives; an error of its own breaks a law too."""
    try:
        return np.asarray(evaluate(value, points))
    except Exception as error:
        message = f"{name} raised {type(error).__name__} at points of shape {points.shape}: {error}"
        raise AssertionError(message) from error


def points_for(points: object, n_features: int | None, seed: int, name: str) -> Points:
    """The points to check at: those given, or standard normal ones."""
    if points is not None:
        given = np.asarray(points, dtype=float)
        law(given.ndim == 2 and len(given) > 1, f"{name} is checked at points (n, d) with n > 1, got {given.shape}")
        return given
    law(n_features is not None, f"{name} needs points to be checked at, or n_features to draw them")
    return np.random.default_rng(seed).normal(size=(N_POINTS, n_features or 0))


def check_numbers(values: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    """Numbers of the right shape, none of them NaN."""
    law(values.shape == shape, f"{name} must give shape {shape}, got {values.shape}")
    law(values.dtype.kind in "bfiu", f"{name} must give numbers, got {values.dtype}")
    law(not np.isnan(values.astype(float)).any(), f"{name} gives NaN")


def check_pointwise(value: Any, evaluate: Evaluate, points: Points, name: str) -> None:
    """The input stays as it is, calls agree, order and company do not matter, no points is no values, copies agree."""

    def at(some: Points) -> np.ndarray:
        return evaluated(evaluate, value, some, name)

    given = points.copy()
    values = at(given).copy()
    finite = np.abs(values[np.isfinite(values)].astype(float))
    rounding = ROUNDING * float(finite.max(initial=0.0))

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape == b.shape and np.allclose(a.astype(float), b.astype(float), rtol=ROUNDING, atol=rounding)

    law(np.array_equal(given, points, equal_nan=True), f"{name} changes the points it is given")
    law(same(at(points.copy()), values), f"{name} gives other values when called again")
    order = np.random.default_rng(len(points)).permutation(len(points))
    law(same(at(points[order]), values[order]), f"{name} does not follow a permutation of the points")
    rows = np.concatenate([at(points[i : i + 1]) for i in range(min(len(points), N_POINTS))])
    law(same(rows, values[:N_POINTS]), f"{name} gives a point another value when it comes alone")
    nobody = at(points[:0])
    law(nobody.shape == (0, *values.shape[1:]), f"{name} must give nothing for no points, got shape {nobody.shape}")
    try:
        copy = pickle.loads(pickle.dumps(value))
    except Exception as error:
        raise AssertionError(f"{name} cannot be pickled, so it cannot go to a worker: {error}") from error
    law(same(evaluated(evaluate, copy, points, name), values), f"{name} gives other values after pickling")
