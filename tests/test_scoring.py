"""Scores of single objects: densities and responsibilities against integrals, and densities that integrate to one."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from dgmmis import GMMis
from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.errors import JobError, RefusedError
from dgmmis.latent_draw import Observing
from dgmmis.linalg import pack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.scoring import labels, log_densities, log_normalisers, score_rows
from dgmmis.selection import Box, HalfSpace, Injections, Selection
from dgmmis.survey import Survey

LINE = Model(GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [[[0.5]], [[0.25]]]))
PLANE = Model(
    GaussianMixture([0.35, 0.65], [[-0.8, 0.3], [0.7, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
)
pytestmark = pytest.mark.filterwarnings("ignore::dgmmis.errors.NotConvergedWarning")  # a few passes do for scores

HARD, GRADED = Box([-0.5], [2.0]), HalfSpace([-1.0], -0.3, 0.4)
NAN = np.nan


def test_without_selection_scores_are_those_of_the_mixture() -> None:
    """Own noise, missing values, projections, a background; against scipy, row by row."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 2))
    points[rng.random((40, 2)) < 0.3] = NAN
    root = rng.normal(size=(40, 2, 3)) * 0.4
    covariances, R = root @ np.swapaxes(root, 1, 2), rng.normal(size=(40, 2, 2))
    chunk = Chunk(points, FullNoise(pack(covariances)), projection=R)
    found = score_rows(PLANE, chunk, Observing(Survey(), np.eye(2)))
    mixture = PLANE.mixture
    for n in range(40):
        there = np.flatnonzero(~np.isnan(points[n]))
        joint = mixture.weights.copy()
        if len(there):
            T = R[n] @ mixture.covariances @ R[n].T + covariances[n]
            joint *= [
                multivariate_normal(m[there], t[np.ix_(there, there)]).pdf(points[n, there])
                for m, t in zip(mixture.means @ R[n].T, T, strict=True)
            ]
        assert found.log_density[n] == pytest.approx(np.log(joint.sum()), abs=1e-10)
        np.testing.assert_allclose(found.responsibilities[n], joint / joint.sum(), atol=1e-10)


def _terms(y: float, sigma: float, selection: Selection, model: Model) -> np.ndarray:
    """integral Omega(x) N(y | x, sigma^2) of each component's density, and of the background's."""
    nu, mixture = model.background_fraction, model.mixture
    densities = [
        lambda x, w=w, m=m, s=s: (1 - nu) * w * norm.pdf(x, m, s)
        for w, m, s in zip(mixture.weights, mixture.means[:, 0], np.sqrt(mixture.covariances[:, 0, 0]), strict=True)
    ]
    densities.append(lambda x: nu / 6 if abs(x) < 3 else 0.0)

    def term(density: object) -> float:
        return quad(
            lambda x: float(selection(np.array([[x]]))[0]) * density(x) * norm.pdf(y, x, sigma),
            y - 8 * sigma,
            y + 8 * sigma,
            points=[-3.0, -0.5, 2.0, 3.0],
            limit=200,
        )[0]

    return np.array([term(density) for density in densities])


@pytest.mark.parametrize("selection", [HARD, GRADED])
@pytest.mark.parametrize("nu", [0.0, 0.3])
def test_under_selection_on_true_values_scores_are_the_integrals(selection: Selection, nu: float) -> None:
    """In the order of the rows, whether they have latent points, a constant Omega, or were measured exactly."""
    model = Model(LINE.mixture, Uniform([-3.0], [3.0]), nu) if nu else LINE
    y = np.array([2.6, 0.7, -1.0, 0.1, 1.9, -0.7, 1.2])
    sigma = np.array([0.4, 0.01, 0.5, 0.2, 0.3, 0.4, 0.0])
    chunk = Chunk(y[:, None], DiagonalNoise(sigma[:, None] ** 2))
    found = score_rows(model, chunk, Observing(Survey(selection, None, "true"), np.eye(1)))
    for n in range(6):
        terms = _terms(y[n], sigma[n], selection, model)
        assert found.log_density[n] == pytest.approx(np.log(terms.sum()), abs=2e-2)
        np.testing.assert_allclose(found.responsibilities[n], terms[:-1] / terms.sum(), atol=2e-2)
    exact = model.log_density(y[6:, None])
    assert found.log_density[6] == pytest.approx(exact[0], abs=1e-12)  # log Omega(x_n) is left out


def test_a_row_that_could_not_have_been_selected_has_no_label() -> None:
    chunk = Chunk(np.array([[50.0], [0.4], [-60.0]]), DiagonalNoise(np.full((3, 1), 0.01)))
    observing = Observing(Survey(HARD, None, "true"), np.eye(1))
    for model in (LINE, Model(LINE.mixture, Uniform([-3.0], [3.0]), 0.1)):
        found = score_rows(model, chunk, observing)
        assert np.all(np.isneginf(found.log_density[[0, 2]]))
        assert labels(found.responsibilities).tolist() == [-1, 1, -1]


@pytest.mark.parametrize("selection", [None, HARD])
def test_rows_are_scored_the_same_alone_and_with_responsibilities(selection: Selection | None) -> None:
    """Of as many components as are pruned, whose rows are put near one another; in the order in which they came."""
    rng = np.random.default_rng(8)
    mixture = GaussianMixture(np.full(60, 1 / 60), rng.uniform(-20, 20, size=(60, 1)), np.full((60, 1, 1), 0.05))
    y = np.where(np.arange(600) % 2, rng.uniform(-0.4, 1.9, size=600), mixture.sample(600, rng)[:, 0])
    chunk = Chunk(y[:, None], DiagonalNoise(np.where(np.arange(600) % 20, 0.0, 0.01)[:, None]))
    observing = Observing(Survey(selection, None, "true" if selection else "observed"), np.eye(1))
    found = score_rows(Model(mixture), chunk, observing)
    np.testing.assert_allclose(log_densities(Model(mixture), chunk, observing), found.log_density, rtol=1e-12)
    exact = np.flatnonzero(np.arange(600) % 20)
    joint = mixture.weights * norm.pdf(y[exact, None], mixture.means[:, 0], np.sqrt(0.05))
    np.testing.assert_allclose(found.log_density[exact], np.log(joint.sum(axis=1)), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.responsibilities[exact], joint / joint.sum(axis=1, keepdims=True), atol=1e-12)


def _inside(sigma: np.ndarray, low: float, high: float) -> np.ndarray:
    mixture = LINE.mixture
    wide = np.sqrt(mixture.covariances[:, 0, 0] + sigma[:, None] ** 2)
    edges = [norm.cdf((edge - mixture.means[:, 0]) / wide) for edge in (low, high)]
    return (edges[1] - edges[0]) @ mixture.weights


def test_normalisers_of_own_noise_are_the_closed_form() -> None:
    sigma = np.random.default_rng(1).permutation(np.linspace(0.1, 1.2, 2048))
    chunk = Chunk(np.zeros((2048, 1)), DiagonalNoise(sigma[:, None] ** 2))
    found = log_normalisers(LINE, chunk, Observing(Survey(HARD, OwnNoise()), np.eye(1)))
    np.testing.assert_allclose(found, np.log(_inside(sigma, -0.5, 2.0)), atol=2e-3)
    assert abs(np.mean(found - np.log(_inside(sigma, -0.5, 2.0)))) < 1e-6


def test_normalisers_of_what_is_available() -> None:
    """One value, both, or none of them; the selection looks at those, and of nothing it sees everything."""
    mixture = GaussianMixture([1.0], [[0.2, -0.1]], [np.diag([0.5, 0.8])])
    noise = np.diag([0.2, 0.1])
    points = np.array([[0, NAN], [NAN, NAN], [NAN, 0], [0, 0], [0, NAN]])
    survey = Survey(Box([-0.5, -1.0], [0.9, 0.7]), ConstantNoise(noise), "available")
    found = log_normalisers(Model(mixture), Chunk(points, SharedNoise(noise)), Observing(survey, noise))
    first, second = (
        np.diff(norm.cdf(edges, mean, sigma))[0]
        for edges, mean, sigma in (([-0.5, 0.9], 0.2, np.sqrt(0.7)), ([-1.0, 0.7], -0.1, np.sqrt(0.9)))
    )
    expected = np.log([first, 1.0, second, first * second, first])
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert found[1] == 0
    alone = Chunk(np.full((2, 2), NAN), SharedNoise(noise))
    assert np.array_equal(log_normalisers(Model(mixture), alone, Observing(survey, noise)), [0.0, 0.0])


def test_normalisers_where_all_share_them() -> None:
    points = np.random.default_rng(2).normal(size=(5, 1))
    chunk = Chunk(points, DiagonalNoise(np.full((5, 1), 0.3)))
    constant = Observing(Survey(HARD, ConstantNoise([[0.16]])), np.eye(1))
    expected = np.log(_inside(np.array([0.4]), -0.5, 2.0))[0]
    np.testing.assert_allclose(log_normalisers(LINE, chunk, constant), expected, atol=1e-10)
    true = Observing(Survey(HARD, None, "true"), np.eye(1))
    np.testing.assert_allclose(
        log_normalisers(LINE, chunk, true), np.log(_inside(np.array([0.0]), -0.5, 2.0))[0], atol=1e-10
    )
    assert np.all(log_normalisers(LINE, chunk, Observing(Survey(), np.eye(1))) == 0)
    injected = np.random.default_rng(3).uniform(-5, 5, size=(20_000, 1))
    survey = Survey(Injections(injected, HARD(injected) > 0, np.full(20_000, -np.log(10))))
    exact = Chunk(points, NoNoise())
    found = log_normalisers(LINE, exact, Observing(survey, np.eye(1)))
    assert abs(found[0] - np.log(_inside(np.array([0.0]), -0.5, 2.0))[0]) < 5e-2
    assert np.all(found == found[0])


NOISE = np.random.default_rng(5).uniform(0.05, 0.4, size=(1500, 2))


@pytest.mark.parametrize("on", ["observed", "available", "true"])
def test_the_mean_over_the_training_data_is_the_log_likelihood(on: str) -> None:
    """Latent points and noise classes are others than in the fit, which stops in its first round, of few points."""
    rng = np.random.default_rng(4)
    x = PLANE.mixture.sample(1500, rng)
    box, y = Box([-1.0, -1.2], [1.2, 1.0]), x + np.sqrt(NOISE) * rng.normal(size=x.shape)
    kept = np.flatnonzero(box(x if on == "true" else y) > 0)[:400]
    y, noise = y[kept], NOISE[kept]
    y[rng.random(y.shape) < 0.15] = NAN
    model = GMMis(2, selection=box, selection_on=on, init=PLANE.mixture, max_iter=3)
    model.fit(y, noise_covariance=noise)
    assert model.score(y, noise_covariance=noise) == pytest.approx(model.log_likelihood_, abs=2e-2)
    assert 0.2 < model.completeness_ < 0.9
    responsibilities = model.predict_proba(y, noise_covariance=noise)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, atol=1e-10)
    assert np.array_equal(model.predict(y, noise_covariance=noise), responsibilities.argmax(axis=1))


def _line_fit(selection: object, on: str = "observed", law: object = None, noise: object = None) -> GMMis:
    rng = np.random.default_rng(6)
    y = np.clip(LINE.mixture.sample(300, rng), -0.4, 1.9)
    model = GMMis(2, selection=selection, selection_on=on, noise_law=law, init=LINE.mixture, max_iter=2)
    return model.fit(y, noise_covariance=noise)


@pytest.mark.parametrize(
    ("selection", "on", "law", "sigma"),
    [
        (HARD, "observed", None, 0.0),
        (GRADED, "observed", None, 0.0),
        (GRADED, "observed", None, 0.3),
        (HARD, "observed", [[0.09]], 0.3),
        (HARD, "true", None, 0.0),
        (HARD, "true", None, 0.3),
        (GRADED, "available", None, 0.3),
    ],
)
def test_densities_integrate_to_one(selection: Selection, on: str, law: object, sigma: float) -> None:
    """Gauss-Legendre panels cut at the edges; latent points of an object are good to a percent at hard edges."""
    noise = [[sigma**2]] if sigma else None
    model = _line_fit(selection, on, law, noise)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    # an object so far from all that could be seen that it cannot have been is an error, not a density
    edges = np.array([-1.6, -1.1, -0.5, 2.0, 2.7, 3.2] if on == "true" and sigma else [-7.0, -3.0, -0.5, 2.0, 5.0, 8.0])
    half = np.diff(edges)[:, None] / 2
    y, share = (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()
    assert share @ np.exp(model.score_samples(y[:, None], noise, density="observed")) == pytest.approx(1, abs=2e-3)
    population = share @ np.exp(model.score_samples(y[:, None], noise, density="population"))
    wide = np.sqrt(model.covariances_[:, 0, 0] + sigma**2)
    within = np.diff(norm.cdf((edges[[0, -1], None] - model.means_[:, 0]) / wide), axis=0)[0] @ model.weights_
    assert population == pytest.approx(within, abs=1e-8)
    seen = np.exp(model.score_samples(y[:, None], noise, density="observed"))
    if on != "true":
        rtol = 1e-3 if on == "available" else 1e-9  # Z of other points than in the fit, or the same number
        expected = selection(y[:, None]) * np.exp(model.score_samples(y[:, None], noise, density="population"))
        np.testing.assert_allclose(seen, expected / model.completeness_, rtol=rtol, atol=1e-12)


def test_densities_that_have_no_meaning_are_refused() -> None:
    injected = np.random.default_rng(7).uniform(-5, 5, size=(4000, 1))
    model = _line_fit(Injections(injected, HARD(injected) > 0, np.full(4000, -np.log(10))))
    y = np.array([[0.3]])
    with pytest.raises(RefusedError, match="injections do not say Omega"):
        model.score_samples(y, density="observed")
    with pytest.raises(JobError, match=r"unknown density 'populatoin'.*population"):
        model.score_samples(y, density="populatoin")
    difference = model.score_samples(y, density="population") - model.score_samples(y)
    assert difference[0] == pytest.approx(np.log(model.completeness_), abs=1e-12)
