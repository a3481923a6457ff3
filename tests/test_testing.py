"""The conformance checks of selections and noise laws: what keeps the laws passes, and each law catches a breach."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dgmmis.noise_law import ConstantNoise, NoiseFunction
from dgmmis.selection import Ball, Box, FromFunction, Grid, HalfSpace, Imported, Injections, Selection
from dgmmis.testing import check_noise_law, check_selection


def fading(points: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * np.sum(points**2, axis=1))


GRID = Grid([[-1, 0, 1]], [0.2, 0.9, 0.4], interpolation="linear", outside="nearest", features=(1,))


@pytest.mark.parametrize(
    "selection",
    [
        Box([-1, -2], [1, np.inf]),
        Ball([0, 0], 1),
        HalfSpace([0.3, 0.7], 0.1),
        HalfSpace([0.3, 0.7], 0.1, 0.2) & ~Ball([0, 0], 0.5) | GRID,
        FromFunction(fading),
        Imported(f"{__name__}:fading"),
        fading,
    ],
)
def test_selections_keep_the_laws(selection: Selection) -> None:
    check_selection(selection, n_features=2)
    check_selection(selection, np.random.default_rng(8).uniform(-1, 1, (30, 2)))


# broken on purpose, each in one way


def a_column(y: np.ndarray) -> np.ndarray:
    return np.ones((len(y), 1))


def words(y: np.ndarray) -> np.ndarray:
    return np.full(len(y), "seen")


def not_a_number(y: np.ndarray) -> np.ndarray:
    return np.where(y[:, 0] > 1, np.nan, 0.5)


def above_one(y: np.ndarray) -> np.ndarray:
    return 1.5 * fading(y)


def below_zero(y: np.ndarray) -> np.ndarray:
    return fading(y) - 0.9


def writes(y: np.ndarray) -> np.ndarray:
    y[:] = np.abs(y)
    return fading(y)


RNG = np.random.default_rng(0)


def random(y: np.ndarray) -> np.ndarray:
    return RNG.random(len(y))


def by_row(y: np.ndarray) -> np.ndarray:
    return np.linspace(0, 1, len(y))


def by_company(y: np.ndarray) -> np.ndarray:
    return fading(y - y.mean(axis=0))


def not_for_nobody(y: np.ndarray) -> np.ndarray:
    return fading(y) / y.max() * y.max()


def one_for_nobody(y: np.ndarray) -> np.ndarray:
    return fading(y) if len(y) else np.ones(1)


@dataclass
class Forgetful:
    """Pickling loses its width."""

    width: float = 1.0

    def __call__(self, y: np.ndarray) -> np.ndarray:
        return fading(y / self.width)

    def __reduce__(self) -> Any:
        return Forgetful, ()


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (a_column, r"must give shape \(64,\), got \(64, 1\)"),
        (words, "must give numbers, got <U4"),
        (not_a_number, "gives NaN"),
        (above_one, r"gives 1\.[0-9]*, which is no probability"),
        (below_zero, r"gives -0\.[0-9]*, which is no probability"),
        (writes, "changes the points"),
        (random, "other values when called again"),
        (by_row, "does not follow a permutation"),
        (by_company, "another value when it comes alone"),
        (not_for_nobody, r"raised ValueError at points of shape \(0, 2\): zero-size array"),
        (one_for_nobody, r"nothing for no points, got shape \(1,\)"),
        (lambda y: fading(y), "cannot be pickled, so it cannot go to a worker"),
        (Forgetful(2.0), "other values after pickling"),
        (Injections([[0.0, 0.0]], [1], [0.0]), "raised RefusedError at .* injections do not say"),
    ],
)
def test_each_law_of_a_selection_is_checked(broken: Callable[[np.ndarray], np.ndarray], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_selection(broken, n_features=2)


def test_a_check_needs_points() -> None:
    with pytest.raises(AssertionError, match="points to be checked at, or n_features"):
        check_selection(fading)
    with pytest.raises(AssertionError, match=r"points \(n, d\) with n > 1, got \(3,\)"):
        check_selection(fading, [1.0, 2.0, 3.0])


def growing(x: np.ndarray) -> np.ndarray:
    return (0.1 + x[:, :1, None] ** 2) * np.eye(2)


def exact_in_one(x: np.ndarray) -> np.ndarray:
    return np.diag([1, 0])


def tiny(x: np.ndarray) -> np.ndarray:
    return 1e-12 * growing(x)


@pytest.mark.parametrize(
    "law",
    [ConstantNoise(np.diag([1.0, 2.0])), NoiseFunction(growing), growing, tiny, exact_in_one, [[1.0, 0.5], [0.5, 1.0]]],
)
def test_noise_laws_keep_the_laws(law: Any) -> None:
    check_noise_law(law, 2)
    check_noise_law(law, points=np.random.default_rng(8).uniform(5, 6, (30, 2)))


def variances(x: np.ndarray) -> np.ndarray:
    return x**2


def flat(x: np.ndarray) -> np.ndarray:
    return np.ones(len(x))


def oblong(x: np.ndarray) -> np.ndarray:
    return np.ones((len(x), 2, 3))


def infinite(x: np.ndarray) -> np.ndarray:
    return np.where(x[:, :1, None] > 0, growing(x), np.inf)


def skew(x: np.ndarray) -> np.ndarray:
    return growing(x) + np.array([[0, 0.01], [0, 0]])


def indefinite(x: np.ndarray) -> np.ndarray:
    return np.tile([[1.0, 2.0], [2.0, 1.0]], (len(x), 1, 1))


def negative_but_tiny(x: np.ndarray) -> np.ndarray:
    return -tiny(x)


def nowhere(x: np.ndarray) -> np.ndarray:
    return np.full((len(x), 2, 2), np.nan)


def random_noise(x: np.ndarray) -> np.ndarray:
    return growing(x) * (1 + 1e-6 * RNG.random())


def tiny_by_company(x: np.ndarray) -> np.ndarray:
    return tiny(x - x.mean(axis=0))


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (variances, r"must give shape \(64, 2, 2\), got \(64, 64, 2\)"),
        (flat, r"must give shape \(64, 64, 64\), got \(64,\)"),
        (oblong, r"must give shape \(64, 3, 3\), got \(64, 2, 3\)"),
        (nowhere, "gives NaN"),
        (infinite, "infinite covariances"),
        (skew, "not symmetric"),
        (indefinite, "not positive semidefinite: eigenvalue -1"),
        (negative_but_tiny, "not positive semidefinite"),
        (random_noise, "other values when called again"),
        (tiny_by_company, "another value when it comes alone"),
        (lambda x: growing(x), "cannot be pickled"),
    ],
)
def test_each_law_of_a_noise_law_is_checked(broken: Callable[[np.ndarray], np.ndarray], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_noise_law(broken, 2)
