"""Priors: the densities they name, the maxima they lead to, their slopes and curvature, and what has no mode."""

from dataclasses import replace

import numpy as np
import pytest
from differences import directions, slopes
from scipy.optimize import minimize
from scipy.stats import dirichlet, invwishart, multivariate_normal, norm

from dgmmis.background import Uniform
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Stopping
from dgmmis.errors import DataError, JobError, RefusedError, ShapeError
from dgmmis.estimator import GMMis
from dgmmis.fit import fit
from dgmmis.information import prior_curvature, prior_slope
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Expected
from dgmmis.mstep import maximize_expected
from dgmmis.prior import (
    AnyPrior,
    Constraints,
    Dirichlet,
    DirichletProcess,
    Frozen,
    InverseWishart,
    NormalInverseWishart,
    Prior,
)
from dgmmis.selection import HalfSpace
from dgmmis.survey import Survey

SCALE = np.array([[0.7, 0.2], [0.2, 0.5]])
NORMAL = NormalInverseWishart(mean=np.array([0.3, -0.2]), mean_precision=2.5, scale=SCALE, degrees_of_freedom=4.5)
BOTH = Prior(Dirichlet(np.array([1.5, 3.0])), NORMAL)
PLANE = Model(
    GaussianMixture([0.35, 0.65], [[-0.8, 0.3], [0.7, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
)
BEHIND = replace(PLANE, background=Uniform([-4.0, -4.0], [4.0, 4.0]), background_fraction=0.25)
FREEDOM = {
    "free": Frozen(),
    "frozen": Frozen(frozenset({0}), frozenset({1}), frozenset({0})),
    "frozen means": Frozen(means=frozenset({0, 1})),
    "frozen covariances": Frozen(covariances=frozenset({0, 1})),
}


def test_log_prior_is_the_density_it_names() -> None:
    """Up to a constant, which differences of models do not have."""
    rng = np.random.default_rng(0)

    def literal(mixture: GaussianMixture) -> float:
        value = dirichlet.logpdf(mixture.weights, [1.5, 3.0])
        for mean, covariance in zip(mixture.means, mixture.covariances, strict=True):
            value += invwishart.logpdf(covariance, 4.5, SCALE)
            value += multivariate_normal.logpdf(mean, [0.3, -0.2], covariance / 2.5)
        return float(value)

    constraints, differences = Constraints(prior=BOTH), []
    for _ in range(4):
        root = rng.normal(size=(2, 2, 3))
        mixture = GaussianMixture(rng.dirichlet([2, 2]), rng.normal(size=(2, 2)), root @ np.swapaxes(root, 1, 2))
        differences.append(constraints.log_prior(mixture) - literal(mixture))
    np.testing.assert_allclose(differences, differences[0], atol=1e-10)


@pytest.mark.parametrize("freedom", FREEDOM)
@pytest.mark.parametrize("prior", [InverseWishart(SCALE), Dirichlet(2.5), BOTH], ids=["covariances", "weights", "all"])
def test_slope_and_curvature_are_differences(prior: AnyPrior, freedom: str) -> None:
    """In the directions that are free; what is frozen has no slope."""
    constraints = Constraints(prior=prior, frozen=FREEDOM[freedom])
    D = directions(BEHIND)
    frozen = FREEDOM[freedom]
    if not frozen:
        numeric = slopes(lambda at: np.array(constraints.log_prior(at.mixture)), BEHIND)
        np.testing.assert_allclose(prior_slope(BEHIND, constraints) @ D, numeric, rtol=1e-7, atol=1e-8)
    numeric = -slopes(lambda at: prior_slope(at, constraints), BEHIND)
    found = prior_curvature(BEHIND, constraints)
    # a row for each parameter, a column for each direction; of what is frozen nobody asks
    kept = np.abs(prior_slope(BEHIND, constraints)) > 0
    mine = (found @ D)[kept]
    free = _free_columns(frozen)
    np.testing.assert_allclose(mine[:, free], numeric.T[kept][:, free], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found, found.T, rtol=1e-12)


def test_a_weight_that_all_but_vanished_has_a_curvature() -> None:
    """Though its square is no number."""
    mixture = GaussianMixture([1.0, 1e-200], PLANE.mixture.means, PLANE.mixture.covariances)
    found = prior_curvature(Model(mixture), Constraints(prior=Dirichlet(2.5)))
    assert np.all(np.isfinite(found))
    assert found[1, 1] > 1e290


def _free_columns(frozen: Frozen) -> np.ndarray:
    """Which of the directions of PLANE with a background move nothing that is frozen: 1 of weights, 2 of each mean, 3
    of each covariance, the fraction."""
    weights = [not frozen.weights]
    means = [c not in frozen.means for c in (0, 1) for _ in range(2)]
    covariances = [c not in frozen.covariances for c in (0, 1) for _ in range(3)]
    return np.flatnonzero([*weights, *means, *covariances, True])


def test_one_gaussian_is_met_at_its_mode() -> None:
    """mu = (n m + kappa m_0) / (n + kappa), C = [S + scale + kappa n / (kappa + n) d d'] / (n + nu + d + 2)."""
    y = np.random.default_rng(1).normal(size=(40, 2)) @ np.array([[1.0, 0.4], [0.0, 0.6]]) + 2.0
    result = fit(ArrayDataset.of(y), Start(1), constraints=Constraints(prior=NORMAL), stopping=Stopping(1e-12))
    n, kappa = 40, 2.5
    mean = (n * y.mean(axis=0) + kappa * NORMAL.mean) / (n + kappa)
    away = y.mean(axis=0) - NORMAL.mean
    scatter = n * np.cov(y.T, ddof=0) + SCALE + kappa * n / (kappa + n) * np.outer(away, away)
    np.testing.assert_allclose(result.model.mixture.means[0], mean, rtol=1e-9)
    np.testing.assert_allclose(result.model.mixture.covariances[0], scatter / (n + 4.5 + 4), rtol=1e-8)


def test_a_component_without_objects_follows_its_prior() -> None:
    """Where there is one on means; without it, it stays where it is and is named."""
    empty = Expected(np.array([10.0, 0.0]), np.zeros((2, 2)), np.array([10 * np.eye(2), np.zeros((2, 2))]), 0.0)
    update = maximize_expected(empty, PLANE, Constraints(prior=BOTH))
    assert update.repairs == ()
    np.testing.assert_allclose(update.model.mixture.means[1], NORMAL.mean)
    np.testing.assert_allclose(update.model.mixture.covariances[1], SCALE / 8.5)
    np.testing.assert_allclose(update.model.mixture.weights, np.array([10.5, 2.0]) / 12.5)
    (repair,) = maximize_expected(empty, PLANE, Constraints(prior=InverseWishart(1.0))).repairs
    assert repair.kind == "starved"


def test_the_mode_under_selection_is_that_of_the_literal_posterior() -> None:
    """One Gaussian on a line, noisy, cut at 0.5: by direct maximisation of log p - N log Z + log prior."""
    rng = np.random.default_rng(2)
    y = rng.normal(0.4, 1.0, 400) + rng.normal(0, 0.3, 400)
    y = y[y < 0.5]
    prior = NormalInverseWishart(mean=np.array([0.0]), mean_precision=30.0, scale=20.0, degrees_of_freedom=20.0)

    def minus(theta: np.ndarray) -> float:
        mean, variance = theta[0], np.exp(theta[1])
        sigma = np.sqrt(variance + 0.09)
        value = norm.logpdf(y, mean, sigma).sum() - len(y) * norm.logcdf(0.5, mean, sigma)
        value += invwishart.logpdf(variance, 20.0, 20.0) + norm.logpdf(mean, 0.0, np.sqrt(variance / 30))
        return -float(value)

    best = minimize(minus, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000})
    result = fit(
        ArrayDataset.of(y[:, None], np.array([[0.09]])),
        Start(1),
        survey=Survey(HalfSpace([1.0], 0.5)),
        constraints=Constraints(prior=prior),
        stopping=Stopping(1e-12),
    )
    assert result.converged
    assert result.model.mixture.means[0, 0] == pytest.approx(best.x[0], abs=1e-5)
    assert result.model.mixture.covariances[0, 0, 0] == pytest.approx(np.exp(best.x[1]), rel=1e-5)
    # the prior matters: without it the estimate is elsewhere
    free = fit(ArrayDataset.of(y[:, None], np.array([[0.09]])), Start(1), survey=Survey(HalfSpace([1.0], 0.5)))
    assert abs(free.model.mixture.means[0, 0] - best.x[0]) > 0.01


@pytest.mark.parametrize(
    "shape", ["full", *(pytest.param(shape, marks=pytest.mark.slow) for shape in ("diag", "tied", "spherical"))]
)
def test_a_fit_with_everything_never_goes_down(shape: str) -> None:
    """Noise of each object's own, a selection, a background; and the objective has the prior in it."""
    rng = np.random.default_rng(3)
    noise = rng.uniform(0.02, 0.2, (800, 2))
    y = BEHIND.sample(800, rng) + np.sqrt(noise) * rng.normal(size=(800, 2))
    selection = HalfSpace([1.0, 0.4], 1.0)
    seen = selection(y) > 0
    y, noise = y[seen], noise[seen]
    constraints = Constraints(shape, BOTH)
    result = fit(
        ArrayDataset.of(y, noise),
        Start(2, PLANE.mixture, BEHIND.background, 0.2),
        survey=Survey(selection),
        constraints=constraints,
    )
    assert result.converged
    assert all(record.gain > -1e-10 for record in result.records if np.isfinite(record.gain))
    assert result.objective == pytest.approx(
        result.log_likelihood + constraints.log_prior(result.model.mixture) / result.n_samples
    )


def test_the_estimator_takes_a_prior() -> None:
    y = PLANE.sample(300, 4)
    strong = Prior(
        Dirichlet(1e5),
        NormalInverseWishart(mean=np.array([5.0, 5.0]), mean_precision=1e5, scale=SCALE * 1e5, degrees_of_freedom=1e5),
    )
    gm = GMMis(2, init=PLANE.mixture).set_params(prior=strong).fit(y)
    np.testing.assert_allclose(gm.weights_, 0.5, atol=1e-3)
    np.testing.assert_allclose(gm.means_, 5.0, atol=0.05)


def test_what_has_no_mode_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"infinite where a weight is zero.*variational_fit"):
        Constraints(prior=Dirichlet(0.5))
    with pytest.raises(RefusedError, match="infinite where a weight is zero"):
        Constraints(prior=Prior(Dirichlet(np.array([2.0, 0.9]))))
    with pytest.raises(RefusedError, match="order of the components"):
        Constraints(prior=DirichletProcess(2.0))
    assert Constraints(prior=Dirichlet(1.0)).log_prior(GaussianMixture([0.0, 1.0], [[0], [1]], [[[1]], [[1]]])) == 0


def test_refusals() -> None:
    arguments = {"mean": np.zeros(2), "mean_precision": 1.0, "scale": 1.0, "degrees_of_freedom": 3.0}
    for wrong, error, message in (
        ({"mean": np.array([0.0, np.nan])}, DataError, "must be finite"),
        ({"mean_precision": 0.0}, DataError, r"mean_precision.*InverseWishart"),
        ({"degrees_of_freedom": 1.0}, DataError, "more than 1 for 2 features"),
        ({"scale": -1.0}, DataError, "`scale` must be positive"),
    ):
        with pytest.raises(error, match=message):
            NormalInverseWishart(**{**arguments, **wrong})  # type: ignore[arg-type]
    for concentration in (0.0, np.array([1.0, -1.0]), np.inf):
        with pytest.raises(DataError, match="must be positive"):
            Dirichlet(concentration)
    with pytest.raises(DataError, match="must be positive"):
        DirichletProcess(0.0)
    y = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ShapeError, match="mean does not fit the data: expected 3 features, got 2"):
        fit(ArrayDataset.of(y), Start(2), constraints=Constraints(prior=NORMAL))
    with pytest.raises(ShapeError, match="expected 3 components, got"):
        fit(ArrayDataset.of(y), Start(3), constraints=Constraints(prior=Dirichlet(np.array([1.0, 2.0]))))
    with pytest.raises(JobError, match="prior is no prior"):
        Prior.parse(3)
