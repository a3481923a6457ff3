"""Functions of a user's: selections, noise laws and backgrounds that return, raise, forget and change anything."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.background import FixedDensity
from dgmmis.estimator import GMMis
from fuzzing.judgement import Judge

X = np.random.default_rng(3).normal(size=(40, 2))

WRONG: tuple[Callable[[np.ndarray], Any], ...] = (
    lambda v: None,
    lambda v: v[:-1],
    lambda v: v[:, None] if v.ndim == 1 else v[0, 0],
    lambda v: v.sum(),
    lambda v: v.tolist(),
    lambda v: "words",
    lambda v: np.full(v.shape, "w"),
    lambda v: v.astype(object),
    lambda v: v + 0j,
    lambda v: np.where(np.arange(v.size).reshape(v.shape) % 7 == 3, np.nan, v),
    lambda v: np.where(np.arange(v.size).reshape(v.shape) % 7 == 3, np.inf, v),
    lambda v: v - 2,
    lambda v: v * 3,
    lambda v: v * 0,
    lambda v: v.astype(np.float32),
    lambda v: v > 0.5,
    lambda v: {"a": v},
    lambda v: np.ma.masked_array(v, mask=True),
    lambda v: np.datetime64("2000-01-01"),
    lambda v: 1 / 0,
    lambda v: [][0],
    lambda v: {}["key"],
    lambda v: np.random.default_rng().random(v.shape),
    lambda v: v,
)


class Raising:
    """Raises what a user's code may, with a message of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, values: np.ndarray) -> Any:
        raise self.error


ERRORS = (
    RuntimeError("a\nb\tc"),
    KeyError(3),
    ValueError("x" * 10_000),
    AssertionError(),
    RecursionError("deep"),
    OSError(),
)


def wrong(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """Each wrong thing as each function, on data with and without gaps, in fits and in scores."""
    rng = np.random.default_rng(seed)
    wrongs = [*WRONG, *map(Raising, ERRORS)]
    for number in range(n):
        change = wrongs[number % len(wrongs)]
        late = int(rng.integers(0, 4))  # it goes wrong at the first call, or later
        kind = int(rng.integers(4))
        judge(partial(_used, change, kind, late, rng), f"{kind} {late} {number % len(wrongs)}")
    return {}


def _used(change: Callable[[np.ndarray], Any], kind: int, late: int, rng: np.random.Generator) -> None:
    calls = [0]

    def spoilt(right: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], Any]:
        def function(points: np.ndarray) -> Any:
            calls[0] += 1
            if rng.random() < 0.05:
                points += 1.0  # changes what it was given
            return change(right(points)) if calls[0] > late else right(points)

        return function

    points = X.copy()
    if rng.random() < 0.3:
        points[::5, 0] = np.nan
    graded = spoilt(lambda p: 1 / (1 + np.exp(np.nan_to_num(p[:, 0]) - 1)))
    noise = spoilt(lambda p: np.tile(0.1 * np.eye(2), (len(p), 1, 1)))
    options: dict[str, Any] = {"n_components": 2, "max_iter": 3, "imputation_error": 2.0}
    match kind:
        case 0:
            options |= {"selection": graded}
        case 1:
            options |= {"selection": graded, "selection_on": str(rng.choice(["available", "true"]))}
        case 2:
            options |= {"selection": lambda p: np.full(len(p), 0.5), "noise_law": noise}
        case _:
            options |= {"background": FixedDensity(graded, [-5, -5], [5, 5])}
    GMMis(**options).fit(points, 0.1 * np.eye(2) if kind == 2 else None)
