"""M-step: the update is a maximum under every structure, prior and frozen set; collapse and starvation are named."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.criteria import n_parameters
from dgmmis.errors import DataError, JobError, RefusedError
from dgmmis.estep import leaf_moments
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.noise import FullNoise, NoNoise
from dgmmis.prior import Constraints, Dirichlet, Frozen, InverseWishart, NormalInverseWishart, Prior

K, D, N = 3, 2, 400


def _problem(seed: int = 0, noisy: bool = True) -> tuple[Model, Chunk]:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(m, 1, (N // K + 1, D)) for m in (-3, 0, 4)])[:N]
    noise = FullNoise(np.tile([0.2, 0.05, 0.1], (N, 1)) * rng.uniform(0.5, 2, (N, 1))) if noisy else NoNoise()
    model = Model(GaussianMixture([0.5, 0.2, 0.3], rng.normal(0, 3, (K, D)), np.tile(np.eye(D) * 3, (K, 1, 1))))
    return model, Chunk(points, noise)


def _moments(model: Model, chunk: Chunk) -> Moments:
    total = Moments.zero(model.mixture.n_components, model.mixture.n_features)
    for leaf in chunk.leaves():
        total = total + leaf_moments(model, leaf)
    return total


def _expected_complete(model: Model, chunk: Chunk, new: Model, constraints: Constraints) -> float:
    """Q(new | model) of Bovy et al. 2011 eq. 10 + log prior, up to a constant, from b_nk and B_nk, sample by sample."""
    mixture = model.mixture
    covariances = np.zeros((chunk.n_samples, D, D))
    if isinstance(chunk.noise, FullNoise):
        packed = chunk.noise.values
        covariances[:, 0, 0], covariances[:, 1, 1] = packed[:, 0], packed[:, 2]
        covariances[:, 0, 1] = covariances[:, 1, 0] = packed[:, 1]
    value = constraints.log_prior(new.mixture)
    for y, s in zip(chunk.points, covariances, strict=True):
        joint = np.array(
            [
                w * multivariate_normal.pdf(y, m, c + s)
                for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
            ]
        )
        q = joint / joint.sum()
        for k in range(K):
            gain = mixture.covariances[k] @ np.linalg.inv(mixture.covariances[k] + s)
            b = mixture.means[k] + gain @ (y - mixture.means[k])
            spread = mixture.covariances[k] - gain @ mixture.covariances[k]
            c, offset = new.mixture.covariances[k], b - new.mixture.means[k]
            inner = np.trace(np.linalg.inv(c) @ (np.outer(offset, offset) + spread))
            value += q[k] * (np.log(new.mixture.weights[k]) - 0.5 * (np.linalg.slogdet(c)[1] + inner))
    return float(value)


NORMAL = NormalInverseWishart(
    mean=np.array([1.0, -1.0]), mean_precision=20.0, scale=np.array([[20.0, 5.0], [5.0, 40.0]]), degrees_of_freedom=9.0
)
CASES = {
    "full": Constraints(),
    "prior": Constraints(prior=InverseWishart(50.0)),
    "prior matrix": Constraints(prior=InverseWishart(np.array([[20.0, 5.0], [5.0, 40.0]]))),
    "diag": Constraints("diag"),
    "diag prior": Constraints("diag", prior=InverseWishart(50.0)),
    "tied": Constraints("tied"),
    "tied prior": Constraints("tied", prior=InverseWishart(50.0)),
    "spherical": Constraints("spherical"),
    "spherical prior": Constraints("spherical", prior=InverseWishart(50.0)),
    "dirichlet": Constraints(prior=Dirichlet(np.array([30.0, 1.0, 5.0]))),
    "normal prior": Constraints(prior=NORMAL),
    "normal prior and dirichlet": Constraints(prior=Prior(Dirichlet(9.0), NORMAL)),
    "diag normal prior": Constraints("diag", prior=NORMAL),
    "tied normal prior": Constraints("tied", prior=NORMAL),
    "spherical normal prior": Constraints("spherical", prior=NORMAL),
    "frozen means, normal prior": Constraints(frozen=Frozen.parse({"means": [0, 2]}, K), prior=NORMAL),
    "frozen covariances, normal prior": Constraints(frozen=Frozen.parse({"covariances": [0, 1]}, K), prior=NORMAL),
    "frozen weights, dirichlet": Constraints(frozen=Frozen.parse({"weights": [1]}, K), prior=Dirichlet(40.0)),
    "frozen weights": Constraints(frozen=Frozen.parse({"weights": [1]}, K)),
    "frozen means": Constraints(frozen=Frozen.parse({"means": [0, 2]}, K)),
    "frozen covariances": Constraints(frozen=Frozen.parse({"covariances": [1, 2]}, K), prior=InverseWishart(9.0)),
}


def _perturbed(model: Model, constraints: Constraints, rng: np.random.Generator) -> Model:
    """A neighbour that respects the same constraints."""
    mixture, frozen, scale = model.mixture, constraints.frozen, 1e-3
    free = ~np.isin(np.arange(K), list(frozen.weights))
    weights = mixture.weights.copy()
    moved = weights[free] * np.exp(scale * rng.normal(size=free.sum()))
    weights[free] = moved * weights[free].sum() / moved.sum()
    means = mixture.means + scale * rng.normal(size=(K, D)) * ~np.isin(np.arange(K), list(frozen.means))[:, None]
    factors = np.eye(D) + scale * rng.normal(size=(K, D, D))
    if constraints.covariance_type == "diag":
        factors = factors * np.eye(D)
    if constraints.covariance_type == "spherical":
        factors = factors[:, :1, :1] * np.eye(D)
    if constraints.covariance_type == "tied":
        factors = np.repeat(factors[:1], K, axis=0)
    covariances = factors @ mixture.covariances @ np.swapaxes(factors, 1, 2)
    if constraints.covariance_type == "spherical":
        covariances = covariances[:, :1, :1] * np.eye(D)
    kept = list(frozen.covariances)
    covariances[kept] = mixture.covariances[kept]
    return Model(GaussianMixture(weights, means, (covariances + np.swapaxes(covariances, 1, 2)) / 2))


@pytest.mark.parametrize("name", CASES)
def test_the_update_maximises_the_expected_log_likelihood(name: str) -> None:
    """No neighbour that respects the constraints has a larger Q: the joint update, whatever the structure."""
    constraints, rng = CASES[name], np.random.default_rng(7)
    model, chunk = _problem()
    small = chunk.take(slice(0, N, 8))
    new = maximize(_moments(model, small), model, constraints).model
    best = _expected_complete(model, small, new, constraints)
    for _ in range(6):
        assert _expected_complete(model, small, _perturbed(new, constraints, rng), constraints) < best


@pytest.mark.parametrize("name", CASES)
def test_the_objective_never_goes_down(name: str) -> None:
    constraints = CASES[name]
    model, chunk = _problem(3)
    if constraints.covariance_type == "tied":
        model = Model(GaussianMixture(model.mixture.weights, model.mixture.means, np.tile(np.eye(D), (K, 1, 1))))
    last = -np.inf
    for _ in range(60):
        moments = _moments(model, chunk)
        objective = moments.log_likelihood + constraints.log_prior(model.mixture)
        assert objective >= last - 1e-9 * abs(objective)
        last = objective
        model = maximize(moments, model, constraints).model


def test_frozen_parameters_stay_bit_for_bit() -> None:
    model, chunk = _problem()
    frozen = Frozen.parse({"weights": [1], "means": [0], "covariances": [2]}, K)
    new = maximize(_moments(model, chunk), model, Constraints(frozen=frozen)).model.mixture
    assert new.weights[1] == model.mixture.weights[1]
    assert np.array_equal(new.means[0], model.mixture.means[0])
    assert np.array_equal(new.covariances[2], model.mixture.covariances[2])
    assert new.weights.sum() == pytest.approx(1, abs=1e-14)


def test_covariances_are_symmetric_to_the_last_bit() -> None:
    model, chunk = _problem()
    for _ in range(30):
        model = maximize(_moments(model, chunk), model, Constraints()).model
        assert np.array_equal(model.mixture.covariances, np.swapaxes(model.mixture.covariances, 1, 2))


def test_a_component_on_one_point_is_held_at_the_floor_and_named() -> None:
    points = np.concatenate([np.random.default_rng(0).normal(0, 1, (100, D)), [[50.0, 50.0]]])
    model = Model(GaussianMixture([0.5, 0.5], [[0, 0], [50, 50]], np.tile(np.eye(D), (2, 1, 1))))
    constraints = Constraints(floor=np.full(D, 1e-4))
    for _ in range(5):
        update = maximize(_moments(model, Chunk(points, NoNoise())), model, constraints)
        model = update.model
    (repair,) = update.repairs
    assert (repair.component, repair.kind) == (1, "collapsed")
    assert "component 1 collapsed onto 1 objects" in str(repair)
    np.testing.assert_allclose(np.linalg.eigvalsh(model.mixture.covariances[1]), 1e-4)
    assert np.all(np.isfinite(model.mixture.means))


def test_a_component_without_objects_keeps_its_shape_and_is_named() -> None:
    points = np.random.default_rng(0).normal(0, 1, (100, D))
    model = Model(GaussianMixture([0.5, 0.5], [[0, 0], [400, 400]], np.tile(np.eye(D), (2, 1, 1))))
    update = maximize(_moments(model, Chunk(points, NoNoise())), model, Constraints())
    assert [(repair.component, repair.kind) for repair in update.repairs] == [(1, "starved")]
    assert np.array_equal(update.model.mixture.means[1], [400, 400])
    assert np.all(np.isfinite(_moments(update.model, Chunk(points, NoNoise())).weight))


def test_above_the_floor_nothing_changes() -> None:
    model, chunk = _problem()
    moments = _moments(model, chunk)
    free = maximize(moments, model, Constraints()).model.mixture.covariances
    held = maximize(moments, model, Constraints(floor=np.full(D, 1e-9))).model.mixture.covariances
    assert np.array_equal(free, held)


def test_the_background_fraction_stays_within_its_bounds() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (100, D)), rng.uniform(-20, 20, (300, D))])
    background = Uniform([-20, -20], [20, 20])
    chunk = Chunk(points, NoNoise(), log_background=background.log_density(points, NoNoise()))
    for bounds in ((0.0, 0.999), (0.0, 0.2), (0.9, 0.95), (0.3, 0.3)):
        model = Model(GaussianMixture([1.0], [[0, 0]], [np.eye(D)]), background, 0.3)
        for _ in range(20):
            model = maximize(_moments(model, chunk), model, Constraints(background_bounds=bounds)).model
        assert bounds[0] <= model.background_fraction <= bounds[1]
        if bounds == (0.0, 0.999):
            assert model.background_fraction == pytest.approx(0.75, abs=0.08)  # binomial error 0.022


def test_parameters_are_counted() -> None:
    model, _ = _problem()
    full = (K - 1) + K * D + K * 3
    assert n_parameters(model, Constraints()) == full
    assert n_parameters(model, Constraints("diag")) == (K - 1) + K * D + K * D
    assert n_parameters(model, Constraints("tied")) == (K - 1) + K * D + 3
    assert n_parameters(model, Constraints("spherical")) == (K - 1) + K * D + K
    frozen = Frozen.parse({"weights": [0], "means": [0], "covariances": [0]}, K)
    assert n_parameters(model, Constraints(frozen=frozen)) == full - 1 - D - 3
    behind = Model(model.mixture, Uniform([0, 0], [1, 1]), 0.1)
    assert n_parameters(behind, Constraints()) == full + 1
    assert n_parameters(behind, Constraints(background_bounds=(0.1, 0.1))) == full


def test_refusals() -> None:
    with pytest.raises(JobError, match="Did you mean 'means'"):
        Frozen.parse({"mean": [0]}, K)
    with pytest.raises(JobError, match="no such component"):
        Frozen.parse({"means": [K]}, K)
    for mask in ([True, False], [0.5]):
        with pytest.raises(JobError, match="must be numbers of components"):
            Frozen.parse({"means": mask}, K)
    with pytest.raises(RefusedError, match="tied covariance cannot be frozen"):
        Constraints("tied", frozen=Frozen.parse({"covariances": [0]}, K))
    with pytest.raises(JobError, match="Did you mean 'full'"):
        Constraints("ful")
    with pytest.raises(DataError, match="must be positive"):
        InverseWishart(-1.0)
    with pytest.raises(JobError, match="bounds"):
        Constraints(background_bounds=(0.5, 0.2))
