"""Selections as bounds on linear combinations: the same indicator, or None."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmmis.errors import DataError, ShapeError
from dgmmis.selection import Ball, Box, Composable, FromFunction, Grid, HalfSpace, LinearBounds, linear_bounds

POINTS = np.random.default_rng(1).normal(0, 2, (2000, 3))
inf = np.inf


def indicator(bounds: LinearBounds, points: np.ndarray) -> np.ndarray:
    inside = np.ones(len(points), dtype=bool)
    for row, low, high in zip(bounds.rows, bounds.lower, bounds.upper, strict=True):
        inside &= (points @ row > low) & (points @ row < high)
    return inside.astype(float)


BOUNDED: dict[str, tuple[Composable, int]] = {
    "box": (Box([-1, -2, -3], [1, 2, 3]), 3),
    "open box": (Box([-1, -inf, -inf], [1, inf, 0.5]), 2),
    "no box": (Box([-inf] * 3, [inf] * 3), 0),
    "half space": (HalfSpace([1, 2, -1], 0.5), 1),
    "beyond a half space": (~HalfSpace([1, 2, -1], 0.5), 1),
    "beyond an edge": (~Box([-inf, 0.3, -inf], [inf] * 3), 1),
    "below an edge": (~Box([-inf] * 3, [inf, 0.3, inf]), 1),
    "not not": (~~Box([-1, -2, -3], [1, 2, 3]), 3),
    "not not not": (~~~HalfSpace([1, 0, 0], 0.5), 1),
    "two boxes": (Box([-1, -2, -3], [1, 2, 3]) & Box([0, -inf, -4], [inf, 1, 2]), 3),
    "slab": (HalfSpace([1, 2, -1], 1.5) & HalfSpace([-1, -2, 1], 0.5), 1),
    "longer normal": (HalfSpace([0.1, 0.7, -0.3], 0.4) & ~HalfSpace([0.3, 2.1, -0.9], -0.6), 1),
    "box and scaled edge": (Box([-1, -2, -3], [1, 2, 3]) & HalfSpace([0, -2, 0], 1.0), 3),
    "three": (Box([-2, -inf, -inf], [2, inf, inf]) & HalfSpace([1, 1, 0], 1) & HalfSpace([0, 1, 1], 1), 3),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_the_selection(name: str) -> None:
    selection, n_rows = BOUNDED[name]
    bounds = linear_bounds(selection, 3)
    assert bounds is not None
    assert bounds.rows.shape == (n_rows, 3)
    np.testing.assert_array_equal(indicator(bounds, POINTS), selection(POINTS))
    assert name == "no box" or 0.005 < selection(POINTS).mean() < 0.995  # the points can tell


numbers = st.integers(-3, 3).map(float)
boxes = st.lists(
    st.sampled_from([(-inf, inf), (-1, 1), (0, inf), (-inf, 0.5), (-2, 0.25)]), min_size=3, max_size=3
).map(lambda edges: Box([low for low, _ in edges], [high for _, high in edges]))
half_spaces = st.builds(
    HalfSpace, st.lists(numbers, min_size=3, max_size=3).filter(any), st.sampled_from([-1.1, 0.1, 0.7, 2.3])
)
selections = st.recursive(
    boxes | half_spaces | half_spaces.map(lambda half: ~half),
    lambda inner: st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
    max_leaves=5,
)


@given(selections)
def test_any_product_is_bounds_with_no_two_parallel_rows(selection: Composable) -> None:
    bounds = linear_bounds(selection, 3)
    omega = selection(POINTS)
    if bounds is None:
        assert not omega.any()  # nothing is left between the bounds
        return
    np.testing.assert_array_equal(indicator(bounds, POINTS), omega)
    for i, row in enumerate(bounds.rows):
        for other in bounds.rows[:i]:
            assert np.linalg.matrix_rank(np.array([row, other])) == 2


@pytest.mark.parametrize(
    "selection",
    [
        Ball([0, 0, 0], 1),
        HalfSpace([1, 0, 0], 0, 0.1),
        HalfSpace([1, 0, 0], inf),
        ~Box([0, 0, 0], [1, 1, 1]),
        ~Box([0, -inf, -inf], [1, inf, inf]),
        ~Box([-inf] * 3, [inf] * 3),
        Box([0, 0, 0], [1, 1, 1]) & Ball([0, 0, 0], 1),
        Box([0, 0, 0], [1, 1, 1]) | Box([2, 2, 2], [3, 3, 3]),
        Box([0, 0, 0], [1, 1, 1]) & Box([1, 1, 1], [2, 2, 2]),
        FromFunction(np.ones_like),
        Grid([[0, 1]] * 3, [[[1.0]]]),
    ],
)
def test_all_else_has_no_bounds(selection: Composable) -> None:
    assert linear_bounds(selection, 3) is None


def test_wrong_widths_and_bounds_are_refused() -> None:
    for selection in (Box([0], [1]), HalfSpace([1, 0], 1), ~Box([0], [inf])):
        with pytest.raises(ShapeError, match=r"does not fit the data: expected 3 features, got [12]"):
            linear_bounds(selection, 3)
    with pytest.raises(DataError, match="`lower` must be below `upper`"):
        LinearBounds([[1.0, 0.0]], [1.0], [1.0])
    with pytest.raises(ShapeError, match="rows"):
        LinearBounds([[1.0, 0.0]], [1.0, 2.0], [1.0, 3.0])
