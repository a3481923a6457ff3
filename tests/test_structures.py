"""What the M-step of a structure does not ask for is not summed; what it asks for is the same."""

from collections.abc import Iterator

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.estep import dense, leaf_moments
from dgmmis.estep.components import components
from dgmmis.information.parameters import gradient
from dgmmis.linalg import packed_indices
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.noise import Noise, NoNoise, SharedNoise
from dgmmis.prior import Constraints, InverseWishart

K, D = 5, 4
SHAPES = ("diag", "tied", "spherical")


@pytest.fixture(autouse=True)
def even_where_it_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The components of these tests are few."""
    monkeypatch.setattr(dense, "FEWEST_PRODUCTS", 0)


def covariances(covariance_type: str, rng: np.random.Generator, k: int = K, d: int = D) -> np.ndarray:
    """Of a structure (k, d, d)."""
    match covariance_type:
        case "diag":
            return rng.uniform(0.5, 2, (k, d, 1)) * np.eye(d)
        case "spherical":
            return rng.uniform(0.5, 2, (k, 1, 1)) * np.eye(d)
    root = rng.normal(size=(d, d))
    return np.repeat((root @ root.T / d + 0.3 * np.eye(d))[None], k, axis=0)


def model_of(covariance_type: str, *, k: int = K, spread: float = 1.0, behind: float = 0.0) -> Model:
    rng = np.random.default_rng(3)
    means = rng.normal(0, spread, (k, D)) + 30.0
    mixture = GaussianMixture(rng.dirichlet(np.ones(k)), means, covariances(covariance_type, rng, k))
    return Model(mixture, Uniform(np.full(D, 20.0), np.full(D, 40.0)), behind) if behind else Model(mixture)


def noise_of(covariance_type: str, kind: str) -> Noise:
    """Shared noise that leaves the structure as it is."""
    if kind == "none":
        return NoNoise()
    return SharedNoise(np.diag([0.3, 0.2, 0.4, 0.1]) if covariance_type == "diag" else 0.3 * np.eye(D))


def chunk_of(model: Model, noise: Noise, *, missing: bool, n: int = 900) -> Chunk:
    """Weighted rows, some without some of their values."""
    rng = np.random.default_rng(5)
    points = model.sample(n, 4)
    if missing:
        points[rng.uniform(size=points.shape) < 0.2] = np.nan
        points = points[~np.isnan(points).all(axis=1)]
    background = None if model.background is None else model.background.log_density(points, noise)
    return Chunk(points, noise, weights=rng.uniform(0.5, 2, len(points)), log_background=background)


def moments_of(model: Model, chunk: Chunk, covariance_type: str) -> Moments:
    total = Moments.zero(model.mixture.n_components, D)
    for leaf in chunk.leaves():
        total = total + leaf_moments(model, leaf, covariance_type=covariance_type)
    return total


CASES = [
    pytest.param(shape, noise, missing, behind, id=f"{shape}-{noise}-{'missing' if missing else 'whole'}-{behind}")
    for shape in SHAPES
    for noise, missing, behind in [("none", False, 0.0), ("shared", False, 0.2), ("shared", True, 0.2)]
]


@pytest.mark.parametrize(("shape", "noise", "missing", "behind"), CASES)
def test_the_m_step_and_the_gradient_are_the_same(shape: str, noise: str, missing: bool, behind: float) -> None:
    model = model_of(shape, behind=behind)
    chunk = chunk_of(model, noise_of(shape, noise), missing=missing)
    whole, some = (moments_of(model, chunk, one) for one in ("full", shape))
    np.testing.assert_allclose(some.weight, whole.weight, rtol=1e-11)
    np.testing.assert_allclose(some.mean_score, whole.mean_score, rtol=1e-10, atol=1e-9)
    for name in ("log_likelihood", "background", "n_samples"):
        assert getattr(some, name) == pytest.approx(getattr(whole, name), rel=1e-12)
    for constraints in (Constraints(shape), Constraints(shape, prior=InverseWishart(2.0))):
        one, other = (maximize(moments, model, constraints).model for moments in (some, whole))
        np.testing.assert_allclose(one.mixture.means, other.mixture.means, rtol=1e-11)
        np.testing.assert_allclose(one.mixture.covariances, other.mixture.covariances, rtol=1e-10, atol=1e-11)
        assert one.background_fraction == pytest.approx(other.background_fraction, rel=1e-12)
    slopes = [gradient(moments, model)[K + K * D :][: K * D * (D + 1) // 2].reshape(K, -1) for moments in (some, whole)]
    for along in directions(shape):
        np.testing.assert_allclose(*(along(slope) for slope in slopes), rtol=1e-9, atol=1e-8)


def directions(shape: str) -> Iterator[object]:
    """How slopes by packed covariances (k, t) act on what a structure leaves free."""
    i, j = packed_indices(D)
    match shape:
        case "diag":
            yield lambda slope: slope[:, i == j]
        case "spherical":
            yield lambda slope: slope[:, i == j].sum(axis=1)
        case "tied":
            yield lambda slope: slope.sum(axis=0)


def test_less_is_summed() -> None:
    """Or the tests above would show nothing."""
    i, j = packed_indices(D)
    for shape in SHAPES:
        model = model_of(shape)
        chunk = chunk_of(model, NoNoise(), missing=False)
        whole, some = (moments_of(model, chunk, one).covariance_score for one in ("full", shape))
        assert not np.allclose(whole, some)
        if shape != "tied":
            assert np.all(some[:, i != j] == 0)
        if shape == "spherical":
            assert np.allclose(some[:, i == j], some[:, :1])
        if shape == "tied":
            assert np.linalg.matrix_rank(some) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_where_noise_breaks_the_structure_everything_is_summed(shape: str) -> None:
    """Turned noise on diagonal and spherical components."""
    model = model_of(shape)
    turned = 0.2 * np.eye(D) + 0.1
    (leaf,) = chunk_of(model, SharedNoise(turned), missing=False).leaves()
    whole, some = (leaf_moments(model, leaf, covariance_type=one) for one in ("full", shape))
    if shape == "tied":  # still the same for all
        np.testing.assert_allclose(some.covariance_score.sum(axis=0), whole.covariance_score.sum(axis=0), rtol=1e-9)
    else:
        np.testing.assert_array_equal(some.covariance_score, whole.covariance_score)


@pytest.mark.parametrize("shape", ["tied", "spherical"])
def test_narrow_components_keep_their_digits(shape: str) -> None:
    """Clumps a ten-thousandth as wide as they are far from one another."""
    rng = np.random.default_rng(0)
    means = rng.normal(0, 1, (K, D)) + 100.0
    mixture = GaussianMixture(np.full(K, 1 / K), means, 1e-8 * covariances(shape, rng))
    model = Model(mixture)
    (leaf,) = Chunk(mixture.sample(800, 1), NoNoise()).leaves()
    whole, some = (leaf_moments(model, leaf, covariance_type=one) for one in ("full", shape))
    one, other = (maximize(moments, model, Constraints(shape)).model.mixture for moments in (some, whole))
    np.testing.assert_allclose(one.covariances, other.covariances, rtol=1e-9, atol=1e-17)


@pytest.mark.parametrize("cutoff", [None, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_pruned_and_cut(shape: str, cutoff: float | None) -> None:
    """Many local components, of which most are left out of most panels."""
    mixture = model_of(shape, k=80, spread=20.0).mixture
    model = Model(mixture, cutoff=cutoff)
    (leaf,) = Chunk(mixture.sample(3000, 2), NoNoise()).leaves()
    whole, some = (leaf_moments(model, leaf, covariance_type=one) for one in ("full", shape))
    assert some.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)
    assert some.dropped == pytest.approx(whole.dropped, rel=1e-9, abs=1e-9)
    one, other = (maximize(moments, model, Constraints(shape)).model.mixture for moments in (some, whole))
    np.testing.assert_allclose(one.covariances, other.covariances, rtol=1e-9)
    np.testing.assert_allclose(one.means, other.means, rtol=1e-11)


def test_imputed_points_have_weights_of_their_own() -> None:
    """Importance sampling: each point counts by its density over that which it was drawn from."""
    model = model_of("tied", behind=0.1)
    chunk = chunk_of(model, NoNoise(), missing=False)
    reference = model_of("full").log_density(chunk.points)
    (leaf,) = Chunk(chunk.points, NoNoise(), log_background=chunk.log_background, log_reference=reference).leaves()
    whole, some = (leaf_moments(model, leaf, covariance_type=one) for one in ("full", "tied"))
    np.testing.assert_allclose(some.covariance_score.sum(axis=0), whole.covariance_score.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(some.mean_score, whole.mean_score, rtol=1e-9, atol=1e-9)


def test_what_is_common_and_what_is_isotropic() -> None:
    found = {}
    for shape in ("diag", "tied", "spherical"):
        model = model_of(shape)
        (leaf,) = chunk_of(model, NoNoise(), missing=False).leaves()
        of = components(model, leaf.blocks[0])
        found[shape] = of.axes_only, of.is_isotropic, of.is_common
        assert dense.expect(model, leaf.blocks[0], shape).moments.is_finite
    assert found == {"diag": (True, False, False), "tied": (False, False, True), "spherical": (True, True, False)}
