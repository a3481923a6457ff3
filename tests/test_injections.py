"""Injections: what they say of a population's completeness, and what they refuse."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from dgmmis.errors import DataError, DgmmisError, RefusedError, ShapeError
from dgmmis.selection import Box, Injections, Selection, as_selection

GOOD: dict[str, Any] = {
    "points": [[0.0], [1.0], [2.0]],
    "found": [True, False, True],
    "log_density": [-1.0, -2.0, -1.5],
}


def injected(rng: np.random.Generator, n: int) -> Injections:
    """Drawn from N(0, 2^2), found with a probability that noise and a graded search give."""
    x = rng.normal(0, 2, n)
    found = rng.random(n) < expit(2 * (x + rng.normal(0, 0.3, n)) - 1)
    return Injections(x[:, None], found, norm.logpdf(x, 0, 2))


def test_completeness_is_the_integral_and_its_error_is_its_scatter() -> None:
    # mean of 200 runs, five of its errors: false alarm 6e-7; scatter of 200 against the error told, 25 % is 5 sigma
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(200):
        injections = injected(rng, 2000)
        runs.append(injections.completeness(norm.logpdf(injections.points[injections.found, 0], 0.5, 1)))
    z, errors = np.array(runs).T
    found_at = lambda x: quad(lambda e: expit(2 * (x + e) - 1) * norm.pdf(e, 0, 0.3), -3, 3)[0]  # noqa: E731
    truth = quad(lambda x: found_at(x) * norm.pdf(x, 0.5, 1), -8, 9)[0]
    assert abs(z.mean() - truth) < 5 * z.std() / np.sqrt(200)
    assert abs(errors.mean() / z.std() - 1) < 0.25
    assert z.std() < 0.1 * truth


def test_completeness_by_hand() -> None:
    injections = Injections(**GOOD)
    z, error = injections.completeness(np.array([-1.0, -np.inf]))
    assert z == pytest.approx(1 / 3)
    assert error == pytest.approx(np.sqrt(1 / 9 - 1 / 27))
    everybody = Injections([[0.0], [1.0]], [1, 1], [-1.0, -2.0])
    assert everybody.completeness(np.array([-1.0, -2.0])) == (1.0, 0.0)
    assert (len(injections), injections.n_features) == (3, 1)
    for values, error_kind in ((np.zeros(3), ShapeError), (np.array([0.0, np.nan]), DataError)):
        with pytest.raises(error_kind, match=r"log density of the population"):
            injections.completeness(values)


def test_injections_travel_and_are_a_selection_of_their_own() -> None:
    injections = Injections(**GOOD)
    assert isinstance(injections, Selection)
    assert as_selection(injections) is injections
    copy = pickle.loads(pickle.dumps(injections))
    for name in GOOD:
        np.testing.assert_array_equal(getattr(copy, name), getattr(injections, name))
    with pytest.raises(RefusedError, match="injections do not say how likely an object is seen at a point"):
        injections(np.zeros((2, 1)))


@pytest.mark.parametrize(
    "join",
    [
        lambda a, b: a & b,
        lambda a, b: b & a,
        lambda a, b: a | b,
        lambda a, b: b | a,
        lambda a, b: ~a,
        lambda a, b: a & (lambda points: points[:, 0] > 0),
        lambda a, b: (lambda points: points[:, 0] > 0) | a,
        lambda a, b: a & a,
        lambda a, b: ~b & a,
    ],
)
def test_injections_cannot_be_joined(join: Callable[[Any, Any], object]) -> None:
    with pytest.raises(RefusedError, match="cannot be joined with other selections"):
        join(Injections(**GOOD), Box([0], [1]))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"points": [0.0, 1.0, 2.0]}, ShapeError, r"`points` must be true positions \(n, d\): got \(3,\)"),
        ({"points": np.empty((0, 2))}, ShapeError, "`points`"),
        ({"found": [True, False]}, ShapeError, r"`found` must be one value a point: expected \(3,\), got \(2,\)"),
        ({"log_density": [[0.0]] * 3}, ShapeError, "`log_density` must be one value a point"),
        ({"found": [0, 1, 2]}, DataError, "`found` must be true or false"),
        ({"found": ["yes", "no", "yes"]}, DataError, "`found` must be true or false"),
        ({"found": [0, 0, 0]}, DataError, "none was found"),
        ({"points": [[0.0], [np.nan], [np.inf]]}, DataError, "`points` is not finite in rows 1, 2"),
        ({"log_density": [0.0, -np.inf, 0.0]}, DataError, "`log_density` is not finite in row 1"),
    ],
)
def test_bad_injections_are_refused(changes: dict[str, Any], error: type[DgmmisError], message: str) -> None:
    with pytest.raises(error, match=message):
        Injections(**(GOOD | changes))
