"""Noise laws: what a catalogue teaches of the noise of the unseen, and what is said where it cannot; their tables."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import random_covariances

from dgmmis.errors import DataError, JobError, RefusedError, ShapeError
from dgmmis.linalg import is_positive_definite, pack
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise
from dgmmis.noise_law import (
    ConstantNoise,
    FromCatalogue,
    ImportedNoise,
    NearestNoise,
    NoiseFunction,
    NoiseLaw,
    NoiseRegression,
    OwnNoise,
    as_noise_law,
)
from dgmmis.tables import noise_law_from_table, noise_law_to_table


def _truth(points: np.ndarray) -> np.ndarray:
    """S(x) with log D and L linear in the position, so that a polynomial can be exact."""
    a, b = points[:, 0], points[:, 1]
    factor = np.zeros((len(points), 2, 2))
    factor[:, 0, 0], factor[:, 1, 1], factor[:, 1, 0] = 1, 1, 0.3 + 0.1 * a - 0.2 * b
    roots = np.exp(0.5 * np.stack([-2 + 0.4 * a, -1 - 0.3 * b + 0.05 * a * b], axis=1))
    factor = factor * roots[:, None, :]
    return factor @ np.swapaxes(factor, 1, 2)


def _positions(n: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform([-2, -1], [2, 3], (n, 2))


def _scattered(seed: int, n: int = 4000, sigma: float = 0.6) -> tuple[np.ndarray, FullNoise]:
    """The truth times exp(N(0, sigma^2)) for each object: the mean noise is exp(sigma^2 / 2) above the typical."""
    points = _positions(n, seed)
    factor = np.exp(sigma * np.random.default_rng(seed + 1).standard_normal(n))
    return points, FullNoise(pack(_truth(points) * factor[:, None, None]))


def named_law(points: np.ndarray, slope: float = 1.0) -> np.ndarray:
    """A law that a table can name."""
    return np.eye(2) * np.exp(slope * points[:, :1, None])


POINTS = _positions()
NOISE = FullNoise(pack(_truth(POINTS)))


def test_regression_is_exact_for_a_polynomial() -> None:
    law = NoiseRegression.fitted(POINTS, NOISE)
    inside = _positions(50, 1)
    inside = np.clip(inside, POINTS.min(axis=0), POINTS.max(axis=0))
    np.testing.assert_allclose(law(inside), _truth(inside), rtol=1e-9, atol=1e-12)


def test_regression_has_the_mean_noise_not_the_typical() -> None:
    """Of 4000 objects with a scatter of 0.6 in log S: the mean over them exactly; at each position to 10 %, where the
    typical noise is 16 % below: the mean's own error is 0.6 sqrt(12 terms / 4000) = 3 %."""
    points, noise = _scattered(3)
    law = NoiseRegression.fitted(points, noise)
    mean = np.array([[0, 1], [1, 2]])
    np.testing.assert_allclose(law(points).mean(axis=0), noise.values.mean(axis=0)[mean], rtol=1e-12)
    np.testing.assert_allclose(
        law(POINTS)[:, [0, 1], [0, 1]], np.exp(0.18) * _truth(POINTS)[:, [0, 1], [0, 1]], rtol=0.1
    )


def test_regression_does_not_depend_on_units() -> None:
    points, noise = _scattered(4, 300)
    scale = np.array([1e-4, 1e3])
    square = pack(scale[:, None] * scale)
    one = NoiseRegression.fitted(points, noise)(POINTS)
    other = NoiseRegression.fitted(points * scale + 5, FullNoise(noise.values * square))(POINTS * scale + 5)
    np.testing.assert_allclose(other / (scale[:, None] * scale), one, rtol=1e-7)


def test_variances_stay_uncorrelated() -> None:
    variances = np.exp(np.stack([POINTS[:, 0], -POINTS[:, 1]], axis=1))
    covariances = NoiseRegression.fitted(POINTS, DiagonalNoise(variances))(POINTS)
    assert np.all(covariances[:, 0, 1] == 0)
    np.testing.assert_allclose(covariances[:, [0, 1], [0, 1]], variances, rtol=1e-9)


@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(1, 3), st.floats(0, 12))
def test_regression_is_positive_definite_everywhere(seed: int, degree: int, d: int, distance: float) -> None:
    """Of any covariances, at up to 10^12 times the width of the catalogue."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((70, d)) * 10.0 ** rng.uniform(-3, 3, d)
    covariances = random_covariances(rng, 70, d, 1e-4, 1e4)
    law = NoiseRegression.fitted(points, FullNoise(pack(covariances)), degree=degree)
    found = law(rng.standard_normal((40, d)) * points.std(axis=0) * 10**distance)
    assert np.all(is_positive_definite(found))


def test_far_outside_the_noise_is_that_of_the_nearest_face() -> None:
    law = NoiseRegression.fitted(POINTS, NOISE)
    far = np.array([[1e9, 0.5], [-1e9, 1e9], [0.0, -40.0]])
    assert np.array_equal(law(far), law(np.clip(far, POINTS.min(axis=0), POINTS.max(axis=0))))


def test_shared_noise_is_learned_as_it_is() -> None:
    covariance = np.array([[0.5, 0.2], [0.2, 0.3]])
    for law in (
        NoiseRegression.fitted(POINTS, SharedNoise(covariance)),
        NearestNoise.fitted(POINTS, SharedNoise(covariance)),
    ):
        np.testing.assert_allclose(law(POINTS[:5] + 100), np.broadcast_to(covariance, (5, 2, 2)), rtol=1e-12)


def test_nearest_is_a_member_of_the_catalogue() -> None:
    """The one that a search through all distances finds, in units of the spread of each feature."""
    scale = np.array([1e-5, 1e4])
    law = NearestNoise(POINTS * scale, _truth(POINTS))
    asked = np.random.default_rng(2).normal(size=(60, 2)) * 4
    distances = (((asked[:, None] - POINTS) / POINTS.std(axis=0)) ** 2).sum(axis=2)
    assert np.array_equal(law(asked * scale), _truth(POINTS)[np.argmin(distances, axis=1)])
    assert np.array_equal(law(POINTS * scale), _truth(POINTS))


@pytest.mark.parametrize("kind", [NearestNoise, NoiseRegression])
def test_rows_with_missing_features_teach_nothing(kind: type[NearestNoise] | type[NoiseRegression]) -> None:
    points = POINTS.copy()
    points[::3, 1] = np.nan
    values = NOISE.values.copy()
    values[::3] = np.nan
    kept = np.arange(len(points)) % 3 != 0
    one, other = kind.fitted(points, FullNoise(values)), kind.fitted(POINTS[kept], NOISE.take(kept))
    assert np.array_equal(one(POINTS), other(POINTS))


@pytest.mark.parametrize(
    "law",
    [
        ConstantNoise(np.eye(2)),
        ImportedNoise("test_noise_law:named_law", {"slope": 0.5}),
        NearestNoise(POINTS, _truth(POINTS)),
        NoiseRegression.fitted(POINTS, NOISE),
    ],
    ids=lambda law: type(law).__name__,
)
def test_laws_travel_and_are_written_down(law: NoiseLaw) -> None:
    asked = np.random.default_rng(5).normal(size=(30, 2)) * 3
    assert np.array_equal(pickle.loads(pickle.dumps(law))(asked), law(asked))
    table = json.loads(json.dumps(noise_law_to_table(law)))
    again = noise_law_from_table(table, allow_code=True)
    assert type(again) is type(law)
    assert isinstance(again, NoiseLaw)
    assert np.array_equal(again(asked), law(asked))
    assert noise_law_to_table(again) == table
    assert as_noise_law(law) is law


@pytest.mark.parametrize("name", ["own", "nearest", "regression"])
def test_names(name: str) -> None:
    law = as_noise_law(name)
    assert law == (OwnNoise() if name == "own" else FromCatalogue(name))
    assert noise_law_to_table(law) == {"law": name}
    assert noise_law_from_table({"law": name}) == law == as_noise_law(law)
    assert pickle.loads(pickle.dumps(law)) == law
    if isinstance(law, FromCatalogue):
        expected = {"nearest": NearestNoise, "regression": NoiseRegression}[name]
        learned = law.fitted(POINTS, NOISE)
        assert isinstance(learned, expected)
        np.testing.assert_allclose(learned(POINTS), _truth(POINTS), rtol=1e-9, atol=1e-12)


def test_ones_own_noise_has_no_position() -> None:
    with pytest.raises(RefusedError, match="no function of position"):
        OwnNoise()(POINTS)


def test_what_cannot_be_learned_is_said() -> None:
    few = POINTS[:17], NOISE.take(slice(17))
    with pytest.raises(DataError, match="at least 18, got 17"):
        NoiseRegression.fitted(*few)
    NoiseRegression.fitted(*few, degree=1)
    with pytest.raises(DataError, match="at least 1, got 0"):
        NearestNoise.fitted(np.full((3, 2), np.nan), NOISE.take(slice(3)))
    with pytest.raises(RefusedError, match="zero in row 7 of"):
        NoiseRegression.fitted(POINTS, DiagonalNoise(np.where(np.arange(400)[:, None] == 7, 0.0, np.ones(2))))
    with pytest.raises(RefusedError, match="nearest"):
        NoiseRegression.fitted(POINTS, NoNoise())
    with pytest.raises(DataError, match="degree"):
        NoiseRegression.fitted(POINTS, NOISE, degree=-1)
    with pytest.raises(DataError, match="not symmetric positive definite in row 1"):
        NearestNoise(POINTS[:2], [np.eye(2), [[1, 2], [2, 1]]])
    with pytest.raises(DataError, match="finite"):
        NearestNoise([[np.nan, 0]], [np.eye(2)])
    with pytest.raises(ShapeError, match="covariances"):
        NearestNoise(POINTS[:2], np.eye(2))
    with pytest.raises(ShapeError, match="does not fit the data"):
        NearestNoise(POINTS, _truth(POINTS))(np.zeros((1, 3)))
    law = NoiseRegression.fitted(POINTS, NOISE)
    with pytest.raises(ShapeError, match="does not fit the data"):
        law(np.zeros((1, 3)))
    given = {key: getattr(law, key) for key in ("coefficients", "reach", "limits", "calibration")}
    with pytest.raises(ShapeError, match="degree 1 does not fit"):
        NoiseRegression(1, **given)
    with pytest.raises(DataError, match="calibration"):
        NoiseRegression(2, **(given | {"calibration": np.zeros((2, 2))}))
    with pytest.raises(DataError, match="finite"):
        NoiseRegression(2, **(given | {"limits": np.full((2, 3), np.inf)}))
    with pytest.raises(DataError, match="least to the greatest"):
        NoiseRegression(2, **(given | {"reach": law.reach[::-1]}))


def test_names_that_are_none_are_said() -> None:
    with pytest.raises(DataError, match=r"unknown noise_law 'regresion'.*Did you mean 'regression'"):
        as_noise_law("regresion")
    with pytest.raises(DataError, match="Did you mean 'nearest'"):
        FromCatalogue("neares")
    for nothing in (None, 3.0):
        with pytest.raises(DataError, match="a covariance"):
            as_noise_law(nothing)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "one kind"),
        ({"unseen": [[1.0]], "law": "own"}, "one kind"),
        ({"unsen": [[1.0]]}, "Did you mean 'unseen'"),
        ({"unseen": [[1.0, 2.0]]}, "`unseen`: noise_law must be"),
        ({"unseen": [[-1.0]]}, "`unseen`: noise_law is no covariance"),
        ({"law": "onw"}, "Did you mean 'own'"),
        ({"law": 3}, "is a name"),
        ({"function": {"path": "test_noise_law:named_law"}}, "--allow-code"),
        ({"function": {"pth": "a:b"}}, "Did you mean 'path'"),
        ({"function": {}}, "lacks path"),
        ({"function": "a:b"}, "needs a table"),
        ({"function": {"path": 3}}, "wrong types"),
        ({"regression": {"degree": 2}}, "lacks coefficients"),
        ({"nearest": {"points": [[0.0]], "covariances": [[1.0]]}}, "`nearest`: NearestNoise needs"),
    ],
)
def test_tables_that_are_wrong_are_said(table: dict[str, object], message: str) -> None:
    with pytest.raises(JobError, match=message):
        noise_law_from_table(table)


def test_code_is_imported_only_where_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "untrusted_law.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(JobError, match="allow-code"):
        noise_law_from_table({"function": {"path": "untrusted_law:f"}})
    with pytest.raises(JobError, match="has no 'nothing'"):
        noise_law_from_table({"function": {"path": "test_noise_law:nothing"}}, allow_code=True)
    with pytest.raises(JobError, match="does not take"):
        noise_law_from_table(
            {"function": {"path": "test_noise_law:named_law", "parameters": {"slop": 1}}}, allow_code=True
        )


def test_what_a_table_cannot_hold_is_said() -> None:
    with pytest.raises(RefusedError, match="ImportedNoise"):
        noise_law_to_table(NoiseFunction(named_law))
    many = np.random.default_rng(0).normal(size=(8334, 2))  # six numbers each: 50,004
    with pytest.raises(RefusedError, match=r"at most 50000 numbers, got 50004.*regression"):
        noise_law_to_table(NearestNoise(many, np.broadcast_to(np.eye(2), (8334, 2, 2))))
