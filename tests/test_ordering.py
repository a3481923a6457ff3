"""Ordering: a k-d tree of rows is the literal one, a function of the points alone, and makes tight boxes."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dgmmis.errors import JobError
from dgmmis.ordering import kd_order, missing_patterns, spread

LEAF = 128


def literal_order(points: np.ndarray, leaf_rows: int, scale: np.ndarray) -> list[int]:
    """The tree by sorting: patterns first, then cuts of the longest side between (value, row) pairs."""
    patterns = missing_patterns(points)
    order: list[int] = []
    for pattern in np.unique(patterns):
        order += _literal_cut(points, np.flatnonzero(patterns == pattern), leaf_rows, scale)
    return order


def _literal_cut(points: np.ndarray, rows: np.ndarray, leaf_rows: int, scale: np.ndarray) -> list[int]:
    sides = np.ptp(points[rows], axis=0)
    widths = np.array([side / unit if unit > 0 and side > 0 else 0.0 for side, unit in zip(sides, scale, strict=True)])
    if len(rows) <= leaf_rows or not widths.max() > 0:
        return rows.tolist()
    feature = int(np.argmax(widths))
    n_left = max(leaf_rows << j for j in range(20) if leaf_rows << j < len(rows))
    by_value = rows[np.lexsort((rows, points[rows, feature]))]
    halves = np.sort(by_value[:n_left]), np.sort(by_value[n_left:])
    return [row for half in halves for row in _literal_cut(points, half, leaf_rows, scale)]


VALUES = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e9, 1e9), st.just(np.nan))


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(0, 150), st.integers(1, 20))
def test_the_tree_is_the_literal_one(data: st.DataObject, d: int, n: int, leaf_rows: int) -> None:
    points = data.draw(arrays(float, (n, d), elements=VALUES))
    scale = data.draw(arrays(float, d, elements=st.sampled_from([0.0, 0.1, 1.0, 3.0])))
    assert kd_order(points, leaf_rows, scale).tolist() == literal_order(points, leaf_rows, scale)
    assert kd_order(points, leaf_rows).tolist() == literal_order(points, leaf_rows, spread(points))


@pytest.mark.parametrize("n", [4096, 4096 + 700, 50_000])
@pytest.mark.parametrize("kind", ["normal", "heavy", "sorted", "whole", "same", "pipe"])
def test_large_and_awkward(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    points = {
        "normal": rng.normal(size=(n, 3)),
        "heavy": rng.standard_cauchy((n, 3)),
        "sorted": np.sort(rng.normal(size=(n, 3)), axis=0),
        "whole": rng.integers(0, 3, size=(n, 3)).astype(float),
        "same": np.ones((n, 3)),
        "pipe": np.minimum(np.arange(n), n - np.arange(n))[:, None] * np.ones(3),
    }[kind]
    given_points = points.copy()
    order = kd_order(points, LEAF)
    np.testing.assert_array_equal(points, given_points)
    assert order.tolist() == literal_order(points, LEAF, spread(points))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def volumes(points: np.ndarray, rows: int, start: int = 0) -> np.ndarray:
    """Of the boxes around every so many consecutive rows."""
    n = (len(points) - start) // rows * rows
    return np.prod(np.ptp(points[start : start + n].reshape(-1, rows, points.shape[1]), axis=1), axis=1)


@pytest.mark.parametrize("rows", [128, 256, 512])
@pytest.mark.parametrize("start", [0, 70])
def test_consecutive_rows_have_tight_boxes(rows: int, start: int) -> None:
    points = np.random.default_rng(1).random((1 << 17, 3))
    ordered = points[kd_order(points, LEAF)]
    # a cube of the mean volume of so many rows, times what a start off the leaves or an uneven cut may cost
    assert np.median(volumes(ordered, rows, start)) < 8 * rows / len(points)
    assert np.median(volumes(points, rows, start)) > 0.8


def test_units_do_not_matter_beyond_the_scale() -> None:
    points = np.random.default_rng(2).normal(size=(5000, 3))
    stretched = points * 2.0 ** np.array([-20, 0, 30])
    np.testing.assert_array_equal(kd_order(points, LEAF), kd_order(stretched, LEAF))


def test_one_stray_value_does_not_take_all_cuts() -> None:
    points = np.random.default_rng(3).random((1 << 14, 2))
    stray = points.copy()
    stray[77, 0] = 1e9
    good = np.median(volumes(points[kd_order(points, LEAF)], LEAF))
    assert np.median(volumes(stray[kd_order(stray, LEAF)], LEAF)) < 2 * good


def test_patterns_come_together() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(size=(3000, 3))
    points[rng.random((3000, 3)) < 0.3] = np.nan
    patterns = missing_patterns(points)[kd_order(points, LEAF)]
    np.testing.assert_array_equal(patterns, np.sort(patterns))
    assert set(patterns) == set(range(8))


def test_more_features_than_patterns_have_bits() -> None:
    points = np.random.default_rng(5).normal(size=(1000, 70))
    points[::3, 66] = np.nan
    np.testing.assert_array_equal(np.sort(kd_order(points, 10)), np.arange(1000))


def test_spread() -> None:
    column = np.arange(101.0)
    mostly = np.where(column < 80, 5.0, column)
    points = np.column_stack(
        [column, mostly, np.full(101, 7.0), np.full(101, np.nan), np.where(column < 50, np.nan, 3.0)]
    )
    assert spread(points).tolist() == [50.0, 95.0, 0.0, 0.0, 0.0]
    assert spread(np.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_what_is_refused() -> None:
    with pytest.raises(JobError, match="leaf_rows must be at least 1"):
        kd_order(np.zeros((3, 1)), 0)


@pytest.mark.slow
def test_it_is_fast() -> None:
    points = np.random.default_rng(6).normal(size=(1 << 20, 3))
    kd_order(points[:1000], LEAF)
    began = time.perf_counter()
    kd_order(points, LEAF)
    assert time.perf_counter() - began < 0.15 * 13  # 13 levels
