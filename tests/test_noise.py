"""Noise as a user gives it: what is read, and what is refused, by row."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from strategies import covariances_of, random_covariances

from dgmmis.errors import DataError, RefusedError, ShapeError
from dgmmis.linalg import pack
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise, parse_noise

RNG = np.random.default_rng(0)
N, M = 8, 3
POINTS = RNG.normal(size=(N, M))
VARIANCES = RNG.uniform(0.1, 1.0, (N, M))
FULL = random_covariances(RNG, N, M)
SHARED = random_covariances(RNG, 1, M)[0]
GIVEN: dict[str, tuple[object, np.ndarray]] = {
    "none": (None, np.zeros((N, M, M))),
    "shared": (SHARED, np.broadcast_to(SHARED, (N, M, M))),
    "diagonal": (VARIANCES, VARIANCES[:, :, None] * np.eye(M)),
    "full": (FULL, FULL),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_each_form_is_read(kind: str) -> None:
    given, expected = GIVEN[kind]
    noise = parse_noise(given, POINTS)
    assert isinstance(noise, Noise)
    assert noise.kind == kind
    assert noise.is_shared == (kind in ("none", "shared"))
    assert parse_noise(noise, POINTS) is noise
    np.testing.assert_array_equal(covariances_of(noise, N, M), expected)
    np.testing.assert_array_equal(np.broadcast_to(noise.variances(M), (N, M)), np.diagonal(expected, axis1=1, axis2=2))
    for rows in (slice(2, 5), np.array([6, 0, 1])):
        np.testing.assert_array_equal(covariances_of(noise.take(rows), 3, M), expected[rows])
    for features in ([0, 2], [2, 0], [1], []):
        packed = noise.packed(features)
        np.testing.assert_array_equal(
            np.broadcast_to(packed, (len(packed), N)), pack(expected[:, np.ix_(features, features)[0], features]).T
        )


@pytest.mark.parametrize("kind", GIVEN)
def test_lists_are_read_like_arrays(kind: str) -> None:
    given, expected = GIVEN[kind]
    given = given.tolist() if isinstance(given, np.ndarray) else given
    np.testing.assert_array_equal(covariances_of(parse_noise(given, POINTS), N, M), expected)


def test_values_may_be_lists_and_keep_single_precision() -> None:
    assert SharedNoise([[1, 0], [0, 1]]).covariance.dtype == np.float64
    assert DiagonalNoise([[1, 2]]).variances(2).tolist() == [[1.0, 2.0]]
    assert FullNoise(np.ones((4, 1), dtype=np.float32)).values.dtype == np.float32


def test_square_noise_is_ambiguous() -> None:
    points, square = POINTS[:M], np.eye(M)
    with pytest.raises(RefusedError, match=r"either variances or one covariance. Pass dgmmis.DiagonalNoise"):
        parse_noise(square, points)
    assert parse_noise(SharedNoise(square), points).kind == "shared"
    assert parse_noise(DiagonalNoise(square), points).kind == "diagonal"


def test_one_number_is_not_ambiguous() -> None:
    noise = parse_noise([[0.25]], np.array([[1.0]]))
    np.testing.assert_array_equal(covariances_of(noise, 1, 1), [[[0.25]]])


@pytest.mark.parametrize("shape", [(M,), (N,), (N, M + 1), (N + 1, M), (M, N), (N, M, M + 1), (1, N, M, M), ()])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    expected = r"expected (3, 3), (8, 3) or (8, 3, 3) for 8 samples of 3 features, got " + str(shape)
    with pytest.raises(ShapeError, match=re.escape(expected)):
        parse_noise(np.ones(shape), POINTS)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (SharedNoise(np.eye(2)), "SharedNoise does not fit the data: expected (3, 3), got (2, 2)"),
        (DiagonalNoise(np.ones((N, 2))), "DiagonalNoise does not fit the data: expected (8, 3), got (8, 2)"),
        (DiagonalNoise(np.ones((N + 1, M))), "DiagonalNoise does not fit the data: expected (8, 3), got (9, 3)"),
        (FullNoise(np.ones((N, 3))), "FullNoise does not fit the data: expected (8, 6), got (8, 3)"),
        (FullNoise(np.ones((2, 6))), "FullNoise does not fit the data: expected (8, 6), got (2, 6)"),
    ],
)
def test_noise_of_another_catalogue_is_refused(noise: Noise, message: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        parse_noise(noise, POINTS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SharedNoise(np.ones((2, 3))), r"SharedNoise: one covariance \(m, m\): got \(2, 3\)"),
        (lambda: DiagonalNoise(np.ones(3)), r"DiagonalNoise: variances \(n, m\): got \(3,\)"),
        (lambda: FullNoise(FULL), r"FullNoise: packed lower triangles .* got \(8, 3, 3\)"),
    ],
)
def test_wrong_forms_of_a_kind_are_refused(make: Callable[[], Noise], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()


def spoilt(array: np.ndarray, *changes: tuple[tuple[int, ...], float]) -> np.ndarray:
    array = array.copy()
    for index, value in changes:
        array[index] = value
    return array


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (spoilt(VARIANCES, ((2, 1), -1.0), ((5, 0), np.nan)), r"not finite in rows 102, 105: .* got \[.*-1\."),
        (spoilt(VARIANCES, ((7, 2), np.inf)), "negative or not finite in row 107"),
        (spoilt(FULL, ((3, 1, 1), -1.0)), "negative or not finite in row 103"),
        (spoilt(FULL, ((3, 1, 1), np.inf)), "negative or not finite in row 103"),
        (spoilt(FULL, ((4, 0, 1), 9.0)), "not symmetric in row 104. Give S with S = S'"),
        (spoilt(FULL, ((4, 0, 1), np.nan), ((4, 1, 0), np.nan)), "not symmetric positive definite in row 104"),
        (spoilt(FULL, ((6, 0, 1), 50.0), ((6, 1, 0), 50.0)), "not symmetric positive definite in row 106"),
        (spoilt(FULL, ((1, 0, 0), 0.0)), "not symmetric positive definite in row 101"),
        (spoilt(SHARED, ((0, 0), -1.0)), "negative or not finite in the shared noise"),
        (spoilt(SHARED, ((0, 1), 0.123)), "not symmetric in the shared noise"),
        (spoilt(SHARED, ((0, 1), 50.0), ((1, 0), 50.0)), "the shared noise_covariance is not symmetric positive"),
    ],
)  # fmt: skip
def test_impossible_noise_is_refused_by_row(noise: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_noise(noise, POINTS, first=100)


def test_every_row_may_be_named_but_only_five_are() -> None:
    with pytest.raises(DataError, match="rows 0, 1, 2, 3, 4 and 3 more"):
        parse_noise(-VARIANCES, POINTS)


def test_asymmetry_is_judged_in_units_of_the_features() -> None:
    scale = np.array([1e-6, 1.0, 1e6])
    matrices = spoilt(FULL, ((4, 0, 1), 9.0)) * scale[:, None] * scale
    with pytest.raises(DataError, match="not symmetric in row 4"):
        parse_noise(matrices, POINTS)


@pytest.mark.parametrize(
    ("noise", "feature"),
    [
        (spoilt(VARIANCES, ((2, 1), np.nan)), 1),
        (spoilt(VARIANCES, ((2, 1), -5.0)), 1),
        (spoilt(FULL, ((2, 1, 1), np.inf), ((2, 0, 1), np.nan)), 1),
    ],
)
def test_noise_of_missing_features_is_not_looked_at(noise: np.ndarray, feature: int) -> None:
    with pytest.raises(DataError, match="row 2"):
        parse_noise(noise, POINTS)
    parse_noise(noise, spoilt(POINTS, ((2, feature), np.nan)))


def test_shared_noise_of_a_feature_that_nobody_measured_is_not_looked_at() -> None:
    noise = spoilt(SHARED, ((1, 1), np.nan), ((0, 1), np.nan))
    points = POINTS.copy()
    points[:, 1] = np.nan
    parse_noise(noise, points)
    points[3, 1] = 0.0
    with pytest.raises(DataError, match="the shared noise"):
        parse_noise(noise, points)


def test_exact_measurements_are_allowed() -> None:
    parse_noise(np.zeros((N, M)), POINTS)
    parse_noise(np.zeros((N, M, M)), POINTS)
    parse_noise(np.diag([0.0, 1.0, 2.0]), POINTS)
    parse_noise(NoNoise(), POINTS)
    parse_noise(None, POINTS)
