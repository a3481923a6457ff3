"""Grid selections: against slow literal interpolation, and what is refused."""

import pickle
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmmis.errors import DataError, DgmmisError, JobError, RefusedError, ShapeError
from dgmmis.selection import Box, Grid

EDGES = [np.array([0.0, 0.5, 2.0, 2.25]), np.array([-3.0, 1.0, 4.0]), np.array([10.0, 11.0, 13.0, 16.0, 20.0])]


def table(rng: np.random.Generator, n_axes: int, interpolation: str) -> np.ndarray:
    values = rng.random([len(edge) - (interpolation == "constant") for edge in EDGES[:n_axes]])
    return np.where(rng.random(values.shape) < 0.2, 0.0, values)


def places(rng: np.random.Generator, n_axes: int) -> np.ndarray:
    """Points within the edges, some on edges."""
    points = np.column_stack([rng.uniform(edge[0], edge[-1], 60) for edge in EDGES[:n_axes]])
    for axis in range(n_axes):
        points[axis::5, axis] = rng.choice(EDGES[axis], len(points[axis::5]))
    return points


def literal(values: np.ndarray, interpolation: str, point: np.ndarray) -> float:
    """One point by the words of the definition: numbers one at a time."""
    cells, fractions = [], []
    for y, edge in zip(point, EDGES, strict=False):
        cell = max(i for i in range(len(edge) - 1) if edge[i] <= y)
        cells.append(cell)
        fractions.append(float((y - edge[cell]) / (edge[cell + 1] - edge[cell])))
    if interpolation == "constant":
        return float(values[tuple(cells)])
    total, mean = 0.0, 1.0
    for corner in product((0, 1), repeat=len(cells)):
        weight = float(np.prod([f if up else 1 - f for up, f in zip(corner, fractions, strict=True)]))
        p = float(values[tuple(c + up for c, up in zip(cells, corner, strict=True))])
        total += weight * p
        mean *= p**weight  # 0**0 is 1
    return total if interpolation == "linear" else mean


@pytest.mark.parametrize("n_axes", [1, 2, 3])
@pytest.mark.parametrize("interpolation", ["constant", "linear", "log-linear"])
def test_grids_are_what_they_say_at_every_point(interpolation: str, n_axes: int) -> None:
    rng = np.random.default_rng(3)
    values, points = table(rng, n_axes, interpolation), places(rng, n_axes)
    expected = [literal(values, interpolation, point) for point in points]
    assert values.min() == 0  # zeros take part
    grid = Grid(EDGES[:n_axes], values, interpolation=interpolation)
    np.testing.assert_allclose(grid(points), expected, rtol=1e-13, atol=0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(grid))(points), grid(points))
    np.testing.assert_array_equal(np.concatenate([grid(point[None]) for point in points]), grid(points))
    assert grid(points[:0]).shape == (0,)
    with np.errstate(divide="ignore"):
        same = Grid(EDGES[:n_axes], log_probability=np.log(values), interpolation=interpolation)
    np.testing.assert_allclose(same(points), expected, rtol=1e-13, atol=0)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_linear_grids_give_a_multilinear_function_back(n_axes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = [np.sort(rng.choice(100, 4, replace=False)) / 10.0 for _ in range(n_axes)]
    slopes = rng.uniform(-1, 1, n_axes) / (20.0 * n_axes)
    corners = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1)
    points = np.column_stack([rng.uniform(edge[0], edge[-1], 50) for edge in edges])
    flat = Grid(edges, 0.5 + corners @ slopes, interpolation="linear")
    np.testing.assert_allclose(flat(points), 0.5 + points @ slopes, rtol=1e-12)
    steep = Grid(edges, log_probability=400 * (corners @ slopes - 1), interpolation="log-linear")
    np.testing.assert_allclose(np.log(steep(points)), 400 * (points @ slopes - 1), rtol=1e-12)


def test_many_decades_keep_their_digits() -> None:
    edges = [[0.0, 1.0, 2.0]]
    for interpolation, logs, y in (("constant", [-700.0, -0.1], [[0.5]]), ("linear", [-700.0, -0.1, 0.0], [[0.0]])):
        grid = Grid(edges, log_probability=logs, interpolation=interpolation)
        np.testing.assert_allclose(grid(np.array(y)), np.exp(-700.0), rtol=1e-15)
    middle = Grid(edges, log_probability=[-600.0, -680.0, -np.inf], interpolation="log-linear")
    np.testing.assert_allclose(middle(np.array([[0.5]])), np.exp(-640.0), rtol=1e-13)
    assert middle(np.array([[1.0], [1.001], [2.0]])).tolist() == [pytest.approx(np.exp(-680.0), rel=1e-13), 0.0, 0.0]


def test_a_corner_of_zero_in_the_logarithm_makes_its_cell_zero_but_for_the_faces_beyond() -> None:
    grid = Grid([[0, 1], [0, 1]], [[0.0, 0.2], [0.3, 0.4]], interpolation="log-linear")
    with np.errstate(all="raise"):
        omega = grid(np.array([[0.0, 0.0], [0.5, 0.5], [1e-9, 1e-9], [1.0, 0.5], [0.5, 1.0]]))
    np.testing.assert_allclose(omega, [0, 0, 0, np.sqrt(0.12), np.sqrt(0.08)], rtol=1e-14)


def test_outside_of_the_edges() -> None:
    points = np.array([[-1.0, 0.5], [0.5, 9.0], [0.5, 0.5], [np.inf, -np.inf]])
    edges, values = [[0, 1, 2], [0, 1]], [[0.2], [0.8]]
    np.testing.assert_array_equal(Grid(edges, values, outside="zero")(points), [0, 0, 0.2, 0])
    np.testing.assert_array_equal(Grid(edges, values, outside="nearest")(points), [0.2, 0.2, 0.2, 0.8])
    message = r"outside its edges, rows 0, 1, 3: expected features within \[0, 2\], \[0, 1\], got \[-1\. 0\.5\]\. Ext"
    with pytest.raises(DataError, match=message):
        Grid(edges, values)(points)
    linear = Grid(edges, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], interpolation="linear", outside="nearest")
    np.testing.assert_allclose(linear(points), [0.15, 0.3, 0.25, 0.5], rtol=1e-14)
    endless = Grid([[-np.inf, 0, np.inf]], [0.25, 0.75])
    np.testing.assert_array_equal(endless(np.array([[-1e300], [0.0], [5.0], [np.inf]])), [0.25, 0.75, 0.75, 0.75])


def test_a_grid_looks_at_its_features_only() -> None:
    rng = np.random.default_rng(5)
    values, points = table(rng, 2, "linear"), places(rng, 2)
    alone = Grid(EDGES[:2], values, interpolation="linear")
    wide = np.full((len(points), 4), np.nan)
    wide[:, 3], wide[:, 1] = points[:, 0], points[:, 1]
    among = Grid(EDGES[:2], values, interpolation="linear", features=(3, 1))
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(among(wide), alone(points))
    wide[7, 1] = np.nan
    with pytest.raises(RefusedError, match=r"Grid needs feature 1, which was not measured in row 7"):
        among(wide)
    with pytest.raises(ShapeError, match=r"expected points \(n, 4\) or wider, got \(60, 2\)"):
        among(points)
    with pytest.raises(ShapeError, match=r"expected points \(n, 2\), got \(60, 4\)"):
        alone(wide)


def test_a_grid_joins_with_others() -> None:
    grid = Grid([[0, 1, 2]], [0.5, 0.25], outside="zero")
    points = np.array([[0.5], [1.5], [3.0]])
    np.testing.assert_array_equal((grid & Box([0], [1]))(points), [0.5, 0, 0])
    np.testing.assert_array_equal((~grid)(points), [0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda **k: Grid([[0, 1]], **k), JobError, "needs its table once: .* got none"),
        (lambda **k: Grid([[0, 1]], [1.0], log_probability=[0.0], **k), JobError, "got both"),
        (lambda **k: Grid([[0, 1, 2]], [1.0], **k), ShapeError, r"expected \(2,\), one value a cell .* got \(1,\)"),
        (lambda **k: Grid([[0, 1]], [1.0], interpolation="linear"), ShapeError, r"\(2,\), one value where the edges"),
        (lambda **k: Grid([[0, 1], [0, 1]], [1.0], **k), ShapeError, r"expected \(1, 1\)"),
        (lambda **k: Grid([[0, 1, 2]], [0.5, np.nan], **k), DataError, r"values in \[0, 1\], got nan at \(1,\)"),
        (lambda **k: Grid([[0, 1]], [1.1], **k), DataError, r"got 1\.1 at \(0,\)"),
        (lambda **k: Grid([[0, 1]], [-0.1], **k), DataError, r"got -0\.1"),
        (lambda **k: Grid([[0, 1]], log_probability=[0.1], **k), DataError, "expected values <= 0, got 0.1"),
        (lambda **k: Grid([[0, 1]], log_probability=[np.nan], **k), DataError, "got nan"),
        (lambda **k: Grid([[0, 1, 1]], [1.0, 1.0], **k), DataError, "axis 0 must be finite and increase"),
        (lambda **k: Grid([[0, 1], [1, 0]], [[1.0]], **k), DataError, "axis 1 must be finite and increase"),
        (lambda **k: Grid([[0, np.nan, 1]], [1.0, 1.0], **k), DataError, "finite and increase"),
        (lambda **k: Grid([[0, np.inf]], [1.0, 1.0], interpolation="linear"), DataError, "finite and increase"),
        (lambda **k: Grid([[0]], [], **k), ShapeError, "vector of two or more"),
        (lambda **k: Grid([0, 1], [1.0], **k), ShapeError, "vector of two or more"),
        (lambda **k: Grid([], 1.0, **k), ShapeError, "one vector of edges a feature"),
        (lambda **k: Grid([[0, 1]], [1.0], outside="nothing"), JobError, "unknown outside 'nothing'"),
        (lambda **k: Grid([[0, 1]], [1.0], interpolation="liner"), JobError, "Did you mean 'linear'"),
        (lambda **k: Grid([[0, 1]], [1.0], features=[0, 1]), ShapeError, "one index an axis"),
        (lambda **k: Grid([[0, 1], [0, 1]], [[1.0]], features=[1, 1]), ShapeError, "all different"),
        (lambda **k: Grid([[0, 1]], [1.0], features=[-1]), ShapeError, "one index an axis"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("outside", ["refuse", "nearest"])
def test_bad_grids_are_refused(make: Callable[..., Any], error: type[DgmmisError], message: str, outside: str) -> None:
    with pytest.raises(error, match=message):
        make(outside=outside)
