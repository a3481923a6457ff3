"""The algebra of selections, and what is refused of a user's own."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from dgmmis.errors import DataError, DgmmisError, JobError, RefusedError, ShapeError
from dgmmis.selection import Ball, Box, FromFunction, Grid, HalfSpace, Imported, Selection, as_selection

POINTS = np.random.default_rng(0).normal(0, 2, (200, 2))


def half_seen(points: np.ndarray) -> np.ndarray:
    return np.full(len(points), 0.5)


def of_radius(points: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * np.sum(points**2, axis=1))


def of_width(points: np.ndarray, width: float = 1.0) -> np.ndarray:
    return np.exp(-0.5 * np.sum(points**2, axis=1) / width**2)


def above(points: np.ndarray) -> np.ndarray:
    """A mask: truth values."""
    return points[:, 1] > 0.2


SELECTIONS: dict[str, Selection] = {
    "box": Box([-1, -2], [2, 1]),
    "open box": Box([-1, -np.inf], [np.inf, 1]),
    "ball": Ball([0.5, 0], 1.5),
    "half space": HalfSpace([1, 2], 0.3),
    "soft half space": HalfSpace([1, 2], 0.3, 0.5),
    "function": FromFunction(of_radius),
    "mask": FromFunction(above),
    "imported": Imported(f"{__name__}:of_width", {"width": 2.0}),
    "grid": Grid([[-9, 0, 9], [-9, -1, 1, 9]], [[0.1, 0.5, 0], [1, 0.2, 0.3]]),
    "linear grid": Grid([[-9, 0, 9]], [0.1, 0.7, 0.2], interpolation="linear", features=(1,)),
    "both": Box([-1, -2], [2, 1]) & of_radius,
    "either": Ball([0.5, 0], 1.5) | HalfSpace([1, 2], 0.3, 0.5),
    "complement": ~FromFunction(of_radius),
}
kinds = st.sampled_from(sorted(SELECTIONS)).map(SELECTIONS.__getitem__)


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections_are_probabilities_and_survive_pickling(name: str) -> None:
    selection = SELECTIONS[name]
    assert isinstance(selection, Selection)
    omega = selection(POINTS)
    assert omega.shape == (200,)
    assert omega.dtype == float
    assert np.all((omega >= 0) & (omega <= 1))
    assert 0.01 < omega.mean() < 0.99
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(selection))(POINTS), omega)
    assert selection(POINTS[:0]).shape == (0,)
    # values of one point do not depend on its company
    np.testing.assert_array_equal(np.concatenate([selection(POINTS[:70]), selection(POINTS[70:])]), omega)


@given(kinds, kinds, kinds)
def test_algebra(a: Selection, b: Selection, c: Selection) -> None:
    def same(one: Selection, other: Selection) -> None:
        np.testing.assert_allclose(one(POINTS), other(POINTS), atol=1e-14)

    np.testing.assert_array_equal((a & b)(POINTS), a(POINTS) * b(POINTS))
    same(a & b, b & a)
    same(a | b, b | a)
    same((a & b) & c, a & (b & c))
    same((a | b) | c, a | (b | c))
    same(~~a, a)
    same(~(a & b), ~a | ~b)
    same(~(a | b), ~a & ~b)
    np.testing.assert_allclose(a(POINTS) + (~a)(POINTS), 1, atol=1e-15)


def test_meanings() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5], [3.0, 3.0]])
    np.testing.assert_array_equal(Box([0, 0], [1, 1])(points), [0, 0, 1, 0])  # edges are outside
    np.testing.assert_array_equal(Ball([0, 0], 1)(points), [1, 0, 1, 0])
    np.testing.assert_array_equal(HalfSpace([1, 1], 1)(points), [1, 0, 0, 0])
    np.testing.assert_allclose(HalfSpace([1, 1], 1, 0.25)(points), expit([4.0, 0.0, 0.0, -20.0]))
    with np.errstate(all="raise"):
        assert HalfSpace([1, 0], 0, 1e-3)(np.array([[1e9, 0.0], [-1e9, 0.0]])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kind", [Box([0, 0], [1, 1]), Ball([0, 0], 1), HalfSpace([1, 1], 1)])
def test_wrong_dimensions_are_refused(kind: Selection) -> None:
    with pytest.raises(ShapeError, match=r"does not fit the data: expected points \(n, 2\), got \(200, 3\)"):
        kind(np.zeros((200, 3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box([0, 0], [1, 0]), "`lower` must be below `upper`"),
        (lambda: Box([0, 0], [1]), "`lower` must be below `upper`"),
        (lambda: Box([0, np.nan], [1, 1]), "`lower` must be one number a feature"),
        (lambda: Box([[0.0]], [[1.0]]), "`lower` must be one number a feature"),
        (lambda: Ball([0, 0], 0), "`radius` must be positive"),
        (lambda: Ball([0, 0], np.inf), "`radius` must be positive"),
        (lambda: HalfSpace([0, 0], 1), "`normal` must not be zero"),
        (lambda: HalfSpace([1, 0], 1, -1), "`softness` must be >= 0"),
        (lambda: HalfSpace([1, 0], np.nan), "`offset` must be a number"),
    ],
)
def test_bad_shapes_of_the_sky_are_refused(make: Callable[[], Selection], message: str) -> None:
    with pytest.raises((DataError, ShapeError), match=message):
        make()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda points: np.ones((len(points), 1)), ShapeError, r"wrong shape: expected \(200,\) .* got \(200, 1\)"),
        (lambda points: 1.0, ShapeError, "Return one probability a point"),
        (lambda points: None, ShapeError, "wrong shape"),
        (lambda points: np.full(len(points), "yes"), DataError, "wrong type: expected numbers"),
        (lambda points: np.full(len(points), 1j), DataError, "wrong type"),
        (lambda points: np.where(np.arange(len(points)) == 7, np.nan, 0.5), DataError, r"got nan at \["),
        (lambda points: np.full(len(points), 1.0001), DataError, r"0 <= Omega <= 1, got 1\.0001 at \["),
        (lambda points: np.full(len(points), -1e-9), DataError, "0 <= Omega <= 1, got -1e-09"),
    ],
)  # fmt: skip
def test_functions_that_give_no_probabilities_are_refused(
    function: Callable[[np.ndarray], np.ndarray], error: type[Exception], message: str
) -> None:
    for selection in (as_selection(function), Box([-9, -9], [9, 9]) & function, ~FromFunction(function)):
        with pytest.raises(error, match=message):
            selection(POINTS)


def test_functions_may_give_truth_values() -> None:
    np.testing.assert_array_equal(
        as_selection(lambda points: points[:, 0] > 0)(POINTS), (POINTS[:, 0] > 0).astype(float)
    )


def test_what_cannot_be_called_is_no_selection() -> None:
    with pytest.raises(DataError, match=r"selection must be callable: .* got str"):
        as_selection("box")
    box = Box([0], [1])
    assert as_selection(box) is box


def test_missing_features_are_ignored_where_nothing_depends_on_them() -> None:
    points = np.array([[0.5, np.nan], [np.nan, 0.5], [2.0, np.nan], [np.nan, np.nan], [0.5, 0.5]])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(Box([0, 0], [1, 1])(points), [1, 1, 0, 1, 1])
        np.testing.assert_array_equal(HalfSpace([0, 2], 1.5)(points[[1, 4]]), [1, 1])
        np.testing.assert_array_equal((~Box([0, 0], [1, 1]) & HalfSpace([1, 0], 3))(points[[0, 2]]), [0, 1])
        np.testing.assert_array_equal(
            as_selection(lambda y: np.isnan(y).any(axis=1))(points), [True, True, True, True, False]
        )


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        (Ball([0, 0], 1), RefusedError, "Ball needs feature 1, which was not measured in row 2"),
        (HalfSpace([1, 2], 1), RefusedError, "HalfSpace needs feature 1, which was not measured in row 2"),
        (HalfSpace([0, 2], 1, 0.1), RefusedError, "HalfSpace needs feature 1"),
        (Grid([[-9, 9], [-9, 9]], [[1.0]]), RefusedError, "Grid needs feature 1, which was not measured in row 2"),
        (Box([0, 0], [1, 1]) | Ball([0, 0], 1), RefusedError, "Ball needs feature 1"),
        (FromFunction(lambda y: 0.1 * y[:, 1]), DataError, r"got nan at \[0\.1 nan\]"),
    ],
)
def test_missing_features_are_refused_where_they_matter(
    selection: Selection, error: type[DgmmisError], message: str
) -> None:
    points = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, np.nan], [0.1, 0.3]])
    with pytest.raises(error, match=message):
        selection(points)


def test_an_imported_function_has_its_parameters() -> None:
    narrow, wide = Imported(f"{__name__}:of_width"), Imported(f"{__name__}:of_width", {"width": 2.0})
    np.testing.assert_array_equal(narrow(POINTS), of_radius(POINTS))
    np.testing.assert_array_equal(wide(POINTS), of_width(POINTS, 2.0))
    copy = pickle.loads(pickle.dumps(wide))
    assert (copy.path, dict(copy.parameters)) == (wide.path, {"width": 2.0})
    assert len(pickle.dumps(wide)) < 300  # its path, not its code
    np.testing.assert_array_equal((wide & above)(POINTS), of_width(POINTS, 2.0) * above(POINTS))
    with pytest.raises(DataError, match="0 <= Omega <= 1, got"):
        Imported("numpy:linalg.norm", {"axis": 1})(POINTS)
    with pytest.raises(TypeError):
        wide.parameters["width"] = 3.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "parameters", "message"),
    [
        ("of_width", {}, r"expected 'package\.module:name', got of_width"),
        (":of_width", {}, "named by its module and its name"),
        (
            "no_such_module_here:f",
            {},
            "'no_such_module_here' cannot be imported: got ModuleNotFoundError: No module",
        ),
        ("math:no_such_name", {}, "module 'math' has no 'no_such_name'"),
        ("math:pi", {}, "'math:pi' cannot be called: expected a function, got float"),
        (f"{__name__}:of_width", {"widht": 1.0}, "does not take .*: got an unexpected keyword argument 'widht'"),
        (f"{__name__}:of_radius", {"points": 1.0}, "does not take"),
    ],
)
def test_what_cannot_be_imported_is_refused_when_made(path: str, parameters: dict[str, float], message: str) -> None:
    with pytest.raises(JobError, match=message):
        Imported(path, parameters)
