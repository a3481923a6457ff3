"""theta: slopes along it, its complete information, what is free, and that steps keep every structure."""

from dataclasses import replace

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.callback import Callback
from dgmmis.chunk import Chunk
from dgmmis.coordinates import Complete, Free, along, parameters, with_parameters
from dgmmis.criteria import n_parameters
from dgmmis.em import Pass, Stopping, em, passed
from dgmmis.estep import leaf_moments
from dgmmis.information import component_places, gradient
from dgmmis.linalg import packed_size
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.mstep import maximize
from dgmmis.noise import DiagonalNoise
from dgmmis.observed import laid_out
from dgmmis.prior import Constraints, Frozen
from dgmmis.quasi_newton import QuasiNewton

NOBODY = np.zeros(3, dtype=bool)


def _model(d: int = 2, *, behind: bool = True, seed: int = 0) -> Model:
    """Three components that overlap, on a background."""
    rng = np.random.default_rng(seed)
    factors = np.tril(rng.normal(size=(3, d, d))) / 2 + np.eye(d)
    mixture = GaussianMixture([0.2, 0.3, 0.5], rng.normal(size=(3, d)), factors @ np.swapaxes(factors, 1, 2))
    return Model(mixture, Uniform(np.full(d, -6.0), np.full(d, 6.0)), 0.3) if behind else Model(mixture)


def _moved(model: Model, step: np.ndarray) -> Model:
    moved = with_parameters(model, parameters(model), step)
    assert moved is not None
    return moved


def _steps(free: Free, n: int, seed: int = 1) -> np.ndarray:
    """Steps (n, p) along which all that is free moves."""
    rng = np.random.default_rng(seed)
    return np.stack([free.spread(rng.normal(size=free.n)) for _ in range(n)])


@pytest.mark.parametrize("d", [1, 2, 4])
def test_a_step_there_and_back(d: int) -> None:
    model = _model(d)
    theta = parameters(model)
    step = np.random.default_rng(d).normal(size=len(theta))
    there = _moved(model, step)
    # what is lost in log weights is the common factor
    found = parameters(there) - theta - step
    np.testing.assert_allclose(found[:3], found[0], atol=1e-13)
    np.testing.assert_allclose(found[3:], 0, atol=1e-12)
    back = _moved(there, theta - parameters(there))
    np.testing.assert_allclose(parameters(back), theta, atol=1e-12)
    still = _moved(model, np.zeros(len(theta)))
    assert np.array_equal(still.mixture.covariances, model.mixture.covariances)
    assert np.array_equal(still.mixture.weights, model.mixture.weights)
    assert still.background_fraction == model.background_fraction


def test_what_is_beyond_floating_point_is_no_model() -> None:
    model = _model()
    theta = parameters(model)
    (diagonal,) = np.flatnonzero(np.arange(len(theta)) == 3 + 6)
    for place, size in ((diagonal, 400.0), (diagonal, -400.0), (3, np.inf), (4, np.nan)):
        step = np.zeros(len(theta))
        step[place] = size
        assert with_parameters(model, theta, step) is None
    far = _moved(model, np.append(np.zeros(len(theta) - 1), 1e5))
    assert far.background_fraction < 1
    empty = replace(model, mixture=replace(model.mixture, weights=np.array([0.0, 0.4, 0.6])))
    assert np.all(np.isfinite(parameters(empty)))


CONSTRAINTS = {
    "full": Constraints(),
    "diag": Constraints("diag"),
    "tied": Constraints("tied"),
    "spherical": Constraints("spherical"),
    "frozen": Constraints(frozen=Frozen(frozenset({1}), frozenset({0, 2}), frozenset({1}))),
    "one free weight": Constraints(frozen=Frozen(weights=frozenset({0, 1}))),
    "background frozen": Constraints(background_bounds=(0.3, 0.3)),
}


def _structured(model: Model, constraints: Constraints) -> Model:
    d, covariances = model.mixture.n_features, model.mixture.covariances
    match constraints.covariance_type:
        case "diag":
            covariances = covariances * np.eye(d)
        case "tied":
            covariances = np.repeat(covariances[:1], 3, axis=0)
        case "spherical":
            covariances = covariances[:, :1, :1] * np.eye(d)
    return replace(model, mixture=replace(model.mixture, covariances=covariances))


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_slopes_along_theta_are_differences(name: str) -> None:
    """Of the log-likelihood of noisy rows with gaps, along directions in which all that is free moves at once."""
    constraints, rng = CONSTRAINTS[name], np.random.default_rng(3)
    model = _structured(_model(), constraints)
    points = rng.normal(size=(25, 2))
    points[:4, 0] = np.nan
    leaf = laid_out(Chunk(points, DiagonalNoise(rng.uniform(0.1, 0.5, (25, 2)))), 0, model.background)
    free = Free.of(model, constraints, NOBODY, NOBODY)
    slopes = along(model, gradient(leaf_moments(model, leaf), model), free.weights)

    def value(step: np.ndarray) -> float:
        return leaf_moments(_moved(model, step), leaf).log_likelihood

    for step in 1e-3 * _steps(free, 6):
        expected = (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / 12
        assert slopes @ step == pytest.approx(expected, rel=1e-6, abs=1e-9)
    # the slopes along phi are those along theta of what follows it
    phi = rng.normal(size=free.n)
    assert free.gathered(slopes) @ phi == pytest.approx(slopes @ free.spread(phi), rel=1e-12)


def test_slopes_of_many_rows_at_once() -> None:
    model, free = _model(), np.array([True, False, True])
    slopes = np.random.default_rng(0).normal(size=(4, len(parameters(model))))
    both = along(model, slopes, free)
    assert both.shape == slopes.shape
    for one, of in zip(both, slopes, strict=True):
        np.testing.assert_allclose(one, along(model, of, free), rtol=1e-13)


def _divergence(model: Model, other: Model) -> float:
    """Kullback and Leibler's, per object, were its component and its noise-free values known."""
    p, q, nu = model.mixture, other.mixture, model.background_fraction
    inverse = np.linalg.inv(q.covariances)
    apart = q.means - p.means
    parts = 0.5 * (
        np.einsum("kij,kji->k", inverse, p.covariances)
        - p.n_features
        + np.einsum("ki,kij,kj->k", apart, inverse, apart)
        + np.linalg.slogdet(q.covariances)[1]
        - np.linalg.slogdet(p.covariances)[1]
    )
    signal = float(p.weights @ (parts + np.log(p.weights / q.weights)))
    mu = other.background_fraction
    return (1 - nu) * (signal + np.log((1 - nu) / (1 - mu))) + nu * np.log(nu / mu)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_complete_information_is_the_curvature_of_the_divergence(d: int) -> None:
    """Along directions without the common factor of the weights, which it does not know to be none."""
    model = _model(d)
    complete = Complete.of(model)
    blocks, behind = complete.blocks(), complete.behind
    for direction in np.random.default_rng(0).normal(size=(5, len(parameters(model)))):
        direction[:3] -= model.mixture.weights @ direction[:3]
        step = 1e-3 * direction
        own = step[component_places(model)]
        expected = np.einsum("kb,kbc,kc->", own, blocks, own) + behind * step[-1] ** 2
        near, far = (
            _divergence(model, _moved(model, s * step)) + _divergence(model, _moved(model, -s * step)) for s in (1, 2)
        )
        assert expected == pytest.approx((16 * near - far) / 12, rel=1e-5)


def test_the_inverse_complete_information_gives_the_step_of_em() -> None:
    """Xu & Jordan 1996, to first order: half as far from the maximum the difference is a quarter."""
    rng, model = np.random.default_rng(0), _model(behind=False)
    leaf = laid_out(Chunk(model.sample(300, 1), DiagonalNoise(np.full((300, 2), 0.1))), 0, None)

    def accumulate(at: Model) -> Pass:
        moments = leaf_moments(at, leaf)
        return Pass(moments, moments.log_likelihood / 300, moments.log_likelihood / 300, 300.0)

    loop = em(
        model,
        maximize=lambda moments, at: maximize(moments, at, Constraints()),
        stopping=Stopping(1e-13),
        ascent=QuasiNewton(Constraints()),
        callback=Callback(),
    )
    model = passed(loop, accumulate).model
    direction = rng.normal(size=len(parameters(model)))
    direction[-1] = 0
    differences = []
    for size in (1e-3, 5e-4):
        at = _moved(model, size * direction)
        blocks = Complete.of(at).blocks()
        moments = leaf_moments(at, leaf)
        slopes = along(at, gradient(moments, at), np.ones(3, dtype=bool)) / moments.n_samples
        places = component_places(at)
        step = np.linalg.solve(blocks, slopes[places][:, :, None])[:, :, 0]
        image = parameters(maximize(moments, at, Constraints()).model) - parameters(at)
        assert np.abs(image).max() > 1e-2 * size
        differences.append(np.abs(step - image[places]).max())
    assert differences[1] == pytest.approx(differences[0] / 4, rel=0.1)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_as_many_are_free_as_information_criteria_count(name: str) -> None:
    """And one more, the common factor, where weights are free to share."""
    constraints = CONSTRAINTS[name]
    model = _structured(_model(3), constraints)
    free = Free.of(model, constraints, NOBODY, NOBODY)
    factor = int(3 - len(constraints.frozen.weights) > 1)
    assert free.n == n_parameters(model, constraints) + factor
    assert np.array_equal(np.unique(free.follows[free.follows >= 0]), np.arange(free.n))


def test_held_and_pinned_components_stay() -> None:
    model, (first, second) = _model(), np.eye(3, dtype=bool)[:2]
    free = Free.of(model, Constraints(), first, second)
    places = component_places(model)
    moves = free.follows[places] >= 0
    assert moves[0].tolist() == [True] + [False] * 5  # its weight only
    assert moves[1].tolist() == [True] * 3 + [False] * 3  # all but its covariance
    assert moves[2].all()


@pytest.mark.parametrize(("bounds", "moves"), [((0.0, 0.9), True), ((0.3, 0.9), False), ((0.1, 0.3), False)])
def test_a_background_at_its_bounds_stays(bounds: tuple[float, float], moves: bool) -> None:
    constraints = Constraints(background_bounds=bounds)
    assert (Free.of(_model(), constraints, NOBODY, NOBODY).follows[-1] >= 0) == moves
    assert Free.of(_model(behind=False), constraints, NOBODY, NOBODY).follows[-1] == -1


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_steps_keep_the_structure_and_what_is_frozen(name: str) -> None:
    """Bit for bit, over many steps one after the other."""
    constraints = CONSTRAINTS[name]
    first = model = _structured(_model(3), constraints)
    free = Free.of(model, constraints, NOBODY, NOBODY)
    for step in 0.1 * _steps(free, 50):
        model = _moved(model, step)
    mixture, frozen = model.mixture, constraints.frozen
    assert mixture.weights.sum() == pytest.approx(1, abs=1e-14)
    match constraints.covariance_type:
        case "diag":
            assert np.array_equal(mixture.covariances, mixture.covariances * np.eye(3))
        case "tied":
            assert np.array_equal(mixture.covariances[1:], mixture.covariances[:-1])
        case "spherical":
            assert np.array_equal(mixture.covariances, mixture.covariances[:, :1, :1] * np.eye(3))
    for parameter in ("weights", "means", "covariances"):
        kept, now = getattr(first.mixture, parameter), getattr(mixture, parameter)
        for c in range(3):
            stays = c in getattr(frozen, parameter) or (parameter == "weights" and name == "one free weight")
            assert np.array_equal(now[c], kept[c]) == stays, (parameter, c)
    assert (model.background_fraction == 0.3) == (name == "background frozen")


def test_matrices_along_phi() -> None:
    """phi' (gathered) phi = theta' (matrix) theta, and phi is picked from what it spread."""
    rng, constraints = np.random.default_rng(0), Constraints("tied", background_bounds=(0.3, 0.3))
    model = _structured(_model(3), constraints)
    free = Free.of(model, constraints, NOBODY, NOBODY)
    p = 3 + 9 + 3 * packed_size(3) + 1
    root = rng.normal(size=(p, p))
    phi = rng.normal(size=free.n)
    theta = free.spread(phi)
    assert np.array_equal(free.picked(theta), phi)
    gathered = free.gathered_information(root @ root.T)
    assert phi @ gathered @ phi == pytest.approx(theta @ root @ root.T @ theta, rel=1e-12)
