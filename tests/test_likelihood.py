"""The literal likelihood against closed forms, other people's quadrature, and maxima that were found without it."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from likelihood import Background, Catalogue, Population, Survey, Terms, literal_log_likelihood
from maximum import as_vector, from_vector, maximise, standard_errors
from population import background_density
from scipy import integrate
from scipy.special import expit
from scipy.stats import multivariate_normal, ncx2, norm

EXACT = Path(__file__).resolve().parents[2] / "shared" / "reference" / "exact_incomplete"

ONE = Population(np.array([1.0]), np.array([[0.3]]), np.array([[[0.8]]]))
PLANE = Population(np.array([1.0]), np.array([[0.4, -0.2]]), np.array([[[1.0, 0.3], [0.3, 0.6]]]))
TWO = Population(
    np.array([0.3, 0.7]),
    np.array([[-1.0, 0.5], [1.0, 0.0]]),
    np.array([[[0.5, 0.2], [0.2, 0.4]], [[0.6, -0.1], [-0.1, 0.5]]]),
)
FLAT = Background(np.array([-3.0, -2.0]), np.array([2.0, 4.0]))


def _noise(n: int, m: int, rng: np.random.Generator, scale: float = 0.3) -> np.ndarray:
    factors = rng.normal(size=(n, m, m + 2))
    return scale**2 * (factors @ np.swapaxes(factors, 1, 2) / (m + 2) + 0.2 * np.eye(m))


def _within(lower: np.ndarray, upper: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda y: np.all((y > lower) & (y < upper), axis=1).astype(float)


def _below(normal: np.ndarray, offset: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda y: (y @ normal < offset).astype(float)


def _exact(name: str) -> tuple[Any, np.ndarray, Population]:
    if not EXACT.exists():
        pytest.skip("needs reference/exact_incomplete, which does not come with the project")
    document = json.loads((EXACT / f"{name}.json").read_text())
    table = np.genfromtxt(EXACT / f"{name}.csv", delimiter=",", skip_header=1)
    mle = (np.array(document["mle"][part], dtype=float) for part in ("weights", "means", "covariances"))
    return document, table.reshape(len(table), -1), Population(*mle)


@pytest.mark.parametrize(
    ("name", "survey"),
    [
        ("A_1d_box_on_observed_hetero_noise", Survey(_within(np.array([-0.5]), np.array([2.0])))),
        ("B_1d_box_on_true_hetero_noise", Survey(_within(np.array([-0.5]), np.array([2.0])), "true")),
        ("C_1d_K2_soft_selection", Survey(lambda y: expit((y[:, 0] - 0.3) / 0.4))),
        ("D_2d_K3_cut", Survey(_below(np.array([1.0, 0.0]), 6.0), breaks=(6.0,))),
    ],
)
def test_maxima_found_elsewhere_have_the_value_stated(name: str, survey: Survey) -> None:
    document, table, at = _exact(name)
    d = at.means.shape[1]
    sigma = table[:, d:] if table.shape[1] > d else np.zeros((len(table), 1))
    noise = sigma[:, :, None] ** 2 * np.eye(d)
    terms = literal_log_likelihood(Catalogue(table[:, :d], noise), at, survey)
    assert terms.total == pytest.approx(document["loglik_at_mle"], rel=1e-9)


def test_the_maximum_and_its_errors_are_the_stated_ones() -> None:
    document, table, at = _exact("A_1d_box_on_observed_hetero_noise")
    survey = Survey(_within(np.array([-0.5]), np.array([2.0])))
    catalogue = Catalogue(table[:, :1], table[:, 1].reshape(-1, 1, 1) ** 2)
    errors = np.concatenate([np.ravel(document["se"][part]) for part in ("means", "covariances")])
    np.testing.assert_allclose(standard_errors(catalogue, at, survey), errors, rtol=1e-4)
    best, value = maximise(catalogue, ONE, survey)
    assert value == pytest.approx(document["loglik_at_mle"], abs=1e-7)
    assert np.all(np.abs(as_vector(best) - as_vector(at)) < 1e-3 * errors)


def test_complete_data_have_the_closed_maximum() -> None:
    points = np.random.default_rng(0).normal(0.2, 0.9, size=(300, 1))
    catalogue = Catalogue(points, np.zeros((300, 1, 1)))
    best, value = maximise(catalogue, ONE, Survey())
    np.testing.assert_allclose(as_vector(best), [points.mean(), points.var()], atol=1e-6)
    assert value == pytest.approx(norm.logpdf(points, points.mean(), points.std()).sum(), rel=1e-12)
    errors = standard_errors(catalogue, best, Survey())
    np.testing.assert_allclose(errors, [points.std() / np.sqrt(300), points.var() * np.sqrt(2 / 300)], rtol=1e-4)


def test_the_maximum_of_two_components_on_a_background_is_stationary() -> None:
    """Graded selection, own noise: no parameter can be moved by a hundredth of its error without loss."""
    rng = np.random.default_rng(1)
    flat = Background(np.array([-4.0]), np.array([4.0]))
    truth = Population(np.array([0.4, 0.6]), np.array([[-1.0], [1.2]]), np.array([[[0.3]], [[0.4]]]), 0.2, flat)
    x = np.where(rng.random(250) < 0.4, rng.normal(-1, 0.3**0.5, 250), rng.normal(1.2, 0.4**0.5, 250))
    x = np.where(rng.random(250) < 0.2, rng.uniform(-4, 4, 250), x)[:, None]
    noise = rng.uniform(0.1, 0.3, size=(250, 1, 1)) ** 2
    points = x + np.sqrt(noise[:, 0]) * rng.normal(size=x.shape)
    survey = Survey(lambda y: expit((1.0 - y[:, 0]) / 0.5))
    seen = rng.random(250) < survey.omega(points)
    catalogue = Catalogue(points[seen], noise[seen])
    best, value = maximise(catalogue, truth, survey)
    errors = standard_errors(catalogue, best, survey)
    assert np.all(np.isfinite(errors))
    for step in np.concatenate([np.diag(errors), -np.diag(errors)]):
        moved = literal_log_likelihood(catalogue, from_vector(as_vector(best) + 0.01 * step, best), survey)
        assert moved.total < value + 1e-9
    assert np.all(np.abs(as_vector(best) - as_vector(truth)) < norm.isf(1e-6) * errors)


def test_one_component_of_complete_data_lost_values_and_projections() -> None:
    rng = np.random.default_rng(2)
    y, S, R = rng.normal(size=(20, 2)), _noise(20, 2, rng), rng.normal(size=(20, 2, 2))
    mean, C = PLANE.means[0], PLANE.covariances[0]
    y[::3, 0] = np.nan
    y[1::5, 1] = np.nan
    terms = literal_log_likelihood(Catalogue(y, S, R, np.arange(20.0)), PLANE, Survey())
    for n in range(20):
        there = ~np.isnan(y[n])
        T = R[n] @ C @ R[n].T + S[n]
        expected = 0.0
        if there.any():
            expected = multivariate_normal.logpdf(y[n, there], (R[n] @ mean)[there], T[np.ix_(there, there)])
        assert terms.log_density[n] == pytest.approx(expected, rel=1e-12)
    assert np.all(terms.log_normaliser == 0)
    assert terms.mean == pytest.approx(np.arange(20) @ terms.log_density / 190, rel=1e-12)


def _normalisers(survey: Survey, y: np.ndarray, S: np.ndarray, R: np.ndarray | None = None) -> np.ndarray:
    return np.exp(literal_log_likelihood(Catalogue(y, S, R), PLANE, survey).log_normaliser)


def test_normalisers_have_their_closed_forms() -> None:
    """Half-plane, graded and hard, box and disc; each object's own noise, projections, patterns, and true values."""
    rng = np.random.default_rng(3)
    y, S, R, a = rng.normal(size=(6, 2)), _noise(6, 2, rng), rng.normal(size=(6, 2, 2)), np.array([1.0, 0.4])
    mean, C = PLANE.means[0], PLANE.covariances[0]
    T = R @ C @ np.swapaxes(R, 1, 2) + S
    center, sigma = R @ mean @ a, np.sqrt(np.einsum("i,nij,j->n", a, T, a))
    np.testing.assert_allclose(
        _normalisers(Survey(_below(a, 0.5), widest=0.4), y, S, R), norm.cdf((0.5 - center) / sigma), rtol=1e-9
    )
    graded = Survey(lambda y: norm.cdf((0.5 - y @ a) / 0.3), widest=0.6)
    expected = norm.cdf((0.5 - center) / np.hypot(sigma, 0.3))
    np.testing.assert_allclose(_normalisers(graded, y, S, R), expected, rtol=1e-9)
    constant = Survey(_below(a, 0.5), law=S[0], widest=0.4)
    sigma = np.sqrt(np.einsum("i,nij,j->n", a, T - S + S[0], a))
    np.testing.assert_allclose(_normalisers(constant, y, S, R), norm.cdf((0.5 - center) / sigma), rtol=1e-9)
    true = Survey(_below(a, 0.5), "true")
    expected = np.full(6, norm.cdf((0.5 - mean @ a) / np.sqrt(a @ C @ a)))
    np.testing.assert_allclose(_normalisers(true, y, S, R), expected, rtol=1e-9)

    patterns = np.array([[0.1, 0.2], [np.nan, 0.1], [0.3, np.nan]])
    lower, upper = np.array([-0.5, -1.0]), np.array([1.5, 0.7])
    box = Survey(lambda y: np.all(np.isnan(y) | ((y > lower) & (y < upper)), axis=1) * 1.0, "available")
    shape = C + np.diag([0.04, 0.09])
    one = [
        norm.cdf((upper[i] - mean[i]) / shape[i, i] ** 0.5) - norm.cdf((lower[i] - mean[i]) / shape[i, i] ** 0.5)
        for i in range(2)
    ]
    both = sum(
        (-1) ** (i + j) * multivariate_normal.cdf([edge_0, edge_1], mean, shape)
        for (i, edge_0), (j, edge_1) in product(enumerate([upper[0], lower[0]]), enumerate([upper[1], lower[1]]))
    )
    noise = np.tile(np.diag([0.04, 0.09]), (3, 1, 1))
    found = _normalisers(Survey(box.omega, "available", breaks=(-0.5, 1.5)), patterns, noise)
    np.testing.assert_allclose(found[1:], [one[1], one[0]], rtol=1e-9)
    assert found[0] == pytest.approx(both, abs=1e-7)  # the other is no better

    disc = Survey(lambda y: (np.sum((y - mean - 0.5) ** 2, axis=1) < 1) * 1.0, breaks=(mean[0] - 0.5, mean[0] + 1.5))
    round_noise = np.eye(2)[None] * 1.3 - C
    found = _normalisers(disc, y[:1], round_noise)
    assert found[0] == pytest.approx(ncx2.cdf(1 / 1.3, 2, 0.5 / 1.3), rel=3e-8)  # a chord shorter than 1/2000 is lost


def test_a_law_of_the_true_position() -> None:
    """Constant, it is the constant law; else against adaptive quadrature."""
    rng = np.random.default_rng(4)
    y, S = rng.normal(size=(3, 1)), np.full((3, 1, 1), 0.09)
    omega = _within(np.array([-0.5]), np.array([1.5]))

    def found(law: object) -> Terms:
        return literal_log_likelihood(Catalogue(y, S), ONE, Survey(omega, law=law))

    same = found(lambda x: np.array([[0.25]])).log_normaliser
    np.testing.assert_allclose(same, found(np.array([[0.25]])).log_normaliser, rtol=1e-10)

    def seen(x: float) -> float:
        sigma = 0.2 + 0.3 * expit(x)
        return (norm.cdf((1.5 - x) / sigma) - norm.cdf((-0.5 - x) / sigma)) * norm.pdf(x, 0.3, 0.8**0.5)

    expected = integrate.quad(seen, -8, 8, points=[-0.5, 1.5], epsabs=1e-12, limit=200)[0]
    varying = found(lambda x: (0.2 + 0.3 * expit(x))[:, :, None] ** 2)
    np.testing.assert_allclose(varying.log_normaliser, np.log(expected), atol=1e-9)


def test_lost_values_under_selection_have_their_closed_forms() -> None:
    """A half-plane: the value lost is normal given the other; of true values, x is normal given what was measured."""
    rng = np.random.default_rng(5)
    y, S, a = rng.normal(size=(8, 2)), _noise(8, 2, rng), np.array([0.8, -0.6])
    y[:4, 0], y[4:7, 1] = np.nan, np.nan
    mean, C, n = PLANE.means[0], PLANE.covariances[0], np.arange(8)
    observed = literal_log_likelihood(Catalogue(y, S), PLANE, Survey(_below(a, 0.4))).log_density
    true = literal_log_likelihood(Catalogue(y, S), PLANE, Survey(_below(a, 0.4), "true")).log_density
    for n in range(8):
        there = ~np.isnan(y[n])
        T = C + S[n]
        inverse = np.linalg.inv(T[np.ix_(there, there)])
        offset = y[n, there] - mean[there]
        base = multivariate_normal.logpdf(y[n, there], mean[there], T[np.ix_(there, there)])
        gain = C[:, there] @ inverse  # of x given y
        about, spread = a @ (mean + gain @ offset), a @ (C - gain @ C[there]) @ a
        assert true[n] == pytest.approx(base + norm.logcdf((0.4 - about) / spread**0.5), abs=1e-9)
        if not there.all():
            gain = T[:, there] @ inverse  # of the whole y given the part
            about, spread = a @ (mean + gain @ offset), a @ (T - gain @ T[there]) @ a
            base += norm.logcdf((0.4 - about) / spread**0.5)
        assert observed[n] == pytest.approx(base, abs=1e-9)
    nothing = Catalogue(np.full((1, 2), np.nan), S[:1])
    assert literal_log_likelihood(nothing, PLANE, Survey(_below(a, 0.4))).total == pytest.approx(0, abs=1e-12)


BACKGROUND_CASES = {
    "exact": (np.eye(2), np.zeros((2, 2))),
    "independent": (np.eye(2), np.diag([0.2, 0.5])),
    "one exact": (np.eye(2), np.diag([0.0, 0.5])),
    "correlated": (np.eye(2), np.array([[0.2, 0.15], [0.15, 0.3]])),
    "projected": (np.array([[1.0, 0.5], [-0.3, 0.8]]), np.array([[0.2, 0.1], [0.1, 0.3]])),
    "one value": (np.array([[0.0, 2.0]]), np.array([[0.2]])),
    "one value of both": (np.array([[0.6, -0.9]]), np.array([[0.2]])),
}


@pytest.mark.parametrize("name", BACKGROUND_CASES)
def test_a_uniform_background_is_convolved(name: str) -> None:
    """Against plain quadrature of the same density given as a function, inside and out; its integral is one."""
    R, S = BACKGROUND_CASES[name]
    y = np.array([[0.0, 0.5], [1.8, 3.9], [2.3, 0.0], [-3.5, 4.4]])[:, : len(R)]
    found = background_density(y, R, S, FLAT)
    if np.linalg.det(S) > 0:
        plain = Background(FLAT.lower, FLAT.upper, lambda x: np.full(len(x), 1 / 30))
        np.testing.assert_allclose(found, background_density(y, R, S, plain), rtol=1e-9, atol=1e-14)
    side = np.linspace(-14, 14, 401)
    grid = np.array(list(product(side, repeat=len(R)))) if len(R) == 1 else np.stack(np.meshgrid(side, side), -1)
    total = background_density(grid.reshape(-1, len(R)), R, S, FLAT).sum() * (side[1] - side[0]) ** len(R)
    assert total == pytest.approx(1, abs=2e-2 if np.any(np.diag(S) == 0) else 1e-6)


def test_background_and_selection_against_independent_noise() -> None:
    """Box and uniform density: every integral is a product of one-dimensional ones, done by quad."""
    lower, upper, S = np.array([-1.0, -1.5]), np.array([1.5, 3.0]), np.diag([0.15, 0.2])
    population = Population(TWO.weights, TWO.means, np.array([np.diag([0.5, 0.4]), np.diag([0.6, 0.5])]), 0.3, FLAT)
    survey = Survey(_within(lower, upper), breaks=(-1.0, 1.5))
    terms = literal_log_likelihood(Catalogue(np.zeros((2, 2)), np.array([S, S])), population, survey)
    sides, expected = [], 0.0
    for i in range(2):
        scale = S[i, i] ** 0.5

        def side(y: float, i: int = i, scale: float = scale) -> float:
            inside = norm.cdf((FLAT.upper[i] - y) / scale) - norm.cdf((FLAT.lower[i] - y) / scale)
            return inside / (FLAT.upper[i] - FLAT.lower[i])

        sides.append(integrate.quad(side, lower[i], upper[i], epsabs=1e-13, limit=200)[0])
    for weight, mean, covariance in zip(population.weights, population.means, population.covariances, strict=True):
        scale = np.sqrt(np.diag(covariance + S))
        expected += 0.7 * weight * np.prod(norm.cdf((upper - mean) / scale) - norm.cdf((lower - mean) / scale))
    expected += 0.3 * np.prod(sides)
    np.testing.assert_allclose(terms.log_normaliser, np.log(expected), atol=1e-10)


@pytest.mark.parametrize("on", ["observed", "true", "available"])
@pytest.mark.parametrize("nu", [0.0, pytest.param(0.3, marks=pytest.mark.slow)])
def test_finer_panels_change_nothing(on: str, nu: float) -> None:
    """Graded Omega, correlated noise, lost values, a projection: everything that has no closed form."""
    rng = np.random.default_rng(7)
    y, S, a = rng.normal(size=(3, 2)), _noise(3, 2, rng, 0.9), np.array([0.8, -0.6])
    R = np.array([np.eye(2), np.eye(2), [[1.0, 0.5], [-0.3, 0.8]]])
    y[0, 0] = y[1, 1] = np.nan
    survey = Survey(lambda y: expit((0.4 - np.nan_to_num(y) @ a) / 0.4), on, widest=0.8)
    population = Population(TWO.weights, TWO.means, TWO.covariances, nu, FLAT)
    coarse, fine = (literal_log_likelihood(Catalogue(y, S, R), population, survey, fine) for fine in (1.0, 1.4))
    np.testing.assert_allclose(coarse.log_density, fine.log_density, atol=2e-9)
    np.testing.assert_allclose(coarse.log_normaliser, fine.log_normaliser, atol=2e-9)
