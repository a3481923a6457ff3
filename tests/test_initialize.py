"""First models: what they find in samples of every kind, and that no sample breaks them."""

import warnings

import numpy as np
import pytest

from dgmmis import Box, FromFunction, GaussianMixture, HalfSpace, Injections, Survey, Uniform
from dgmmis.chunk import Chunk
from dgmmis.errors import DataError, JobError, ShapeError
from dgmmis.initialize import START_METHODS, Start, first_model, first_models, spread
from dgmmis.linalg import pack, unpack
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise
from dgmmis.starts import Gaussians, Positions, gaussians, merged, row_weights, split
from dgmmis.starts.gaussians import deconvolved

D, K = 3, 8
SCALE = np.array([1e-3, 1.0, 50.0])
CORNERS = np.array([[x, y, z] for x in (-5, 5) for y in (-5, 5) for z in (-5, 5)], dtype=float)


def _truth(seed: int = 0) -> GaussianMixture:
    """Components at the corners of a box, of unequal weights, far from the origin, in unequal units."""
    rng = np.random.default_rng(seed)
    factors = np.eye(D) + 0.25 * rng.standard_normal((K, D, D))
    covariances = factors @ np.swapaxes(factors, 1, 2) * SCALE[:, None] * SCALE
    weights = rng.dirichlet(np.full(K, 3.0)) + 0.03
    return GaussianMixture(weights / weights.sum(), CORNERS * SCALE + 100 * SCALE, covariances)


TRUTH = _truth()


def _full(sigmas: np.ndarray, rng: np.random.Generator) -> FullNoise:
    """Covariances of any direction with such standard deviations (n, d), in the features' units."""
    turn = np.linalg.qr(rng.standard_normal((len(sigmas), D, D)))[0]
    return FullNoise(pack(turn * sigmas[:, None] ** 2 @ np.swapaxes(turn, 1, 2) * SCALE[:, None] * SCALE))


def _found(truth: GaussianMixture, start: GaussianMixture) -> int:
    """How many components have a mean of the start, each another one, within half a sigma a feature."""
    white = np.linalg.inv(np.linalg.cholesky(truth.covariances))
    offsets = start.means[None] - truth.means[:, None]
    distances = np.linalg.norm(np.einsum("kij,klj->kli", white, offsets), axis=2) / np.sqrt(truth.n_features)
    count = 0
    while distances.min() < 0.5:
        k, other = np.unravel_index(np.argmin(distances), distances.shape)
        distances[k], distances[:, other] = np.inf, np.inf
        count += 1
    return count


def _drawn(n: int = 4000, seed: int = 1) -> np.ndarray:
    return TRUTH.sample(n, seed)


def _holes(points: np.ndarray, seed: int = 2) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(points.shape) < 0.3, np.nan, points)


def _sample(kind: str) -> Chunk:
    rng = np.random.default_rng(3)
    points, noise = _drawn(), NoNoise()
    sigmas = np.exp(rng.uniform(np.log(0.1), np.log(4.0), (len(points), D)))  # most rows are noisier than wide
    if kind == "diagonal":
        points, noise = (
            points + sigmas * SCALE * rng.standard_normal(points.shape),
            DiagonalNoise((sigmas * SCALE) ** 2),
        )
    elif kind == "full":
        noise = _full(sigmas, rng)
        roots = np.linalg.cholesky(unpack(noise.values))
        points = points + np.einsum("nij,nj->ni", roots, rng.standard_normal(points.shape))
    elif kind == "missing":
        points = _holes(points)
    elif kind == "outliers":
        points[rng.choice(len(points), 4, replace=False)] += 1e6 * SCALE * rng.standard_normal((4, D))
    return Chunk(points, noise)


def _alike(one: GaussianMixture, other: GaussianMixture) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("weights", "means", "covariances"))


@pytest.mark.parametrize("kind", ["exact", "diagonal", "full", "missing", "outliers"])
def test_a_start_finds_every_component(kind: str) -> None:
    sample = _sample(kind)
    for model in first_models(Start(K), sample, None, 0, 4):
        assert _found(TRUTH, model.mixture) == K


def test_noise_is_taken_out_of_the_covariances() -> None:
    mixture = first_model(Start(K), _sample("full"), 0).mixture
    order = [int(np.argmin(np.sum(((mixture.means - mean) / SCALE) ** 2, axis=1))) for mean in TRUTH.means]
    wide = mixture.covariances[order] / (SCALE[:, None] * SCALE)
    true = TRUTH.covariances / (SCALE[:, None] * SCALE)
    ratio = np.linalg.det(wide) / np.linalg.det(true)
    assert np.all((ratio > 0.2) & (ratio < 5))  # with the noise left in, the ratio would be hundreds
    assert np.allclose(mixture.weights[order], TRUTH.weights, atol=0.03)


def test_the_first_models_are_the_first_of_more_and_each_is_its_own() -> None:
    sample = _sample("missing")
    for method in START_METHODS:
        start = Start(K, method)
        three = [model.mixture for model in first_models(start, sample, None, 5, 3)]
        assert _alike(three[0], first_model(start, sample, 5).mixture)
        assert _alike(three[1], first_models(start, sample, None, 5, 2)[1].mixture)
        assert not any(_alike(three[i], three[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    grids = [first_model(Start(K, "grid"), sample, seed).mixture for seed in (0, 1)]
    assert _alike(*grids)  # no chance in it


def test_a_given_mixture_is_the_first_and_others_are_near_it() -> None:
    first, second = first_models(Start(K, TRUTH), _sample("exact"), None, 0, 2)
    assert first.mixture is TRUTH
    moved = np.linalg.solve(np.linalg.cholesky(TRUTH.covariances), (second.mixture.means - TRUTH.means)[..., None])
    assert 0.2 < np.sqrt(np.mean(moved**2)) < 1.0
    assert np.array_equal(second.mixture.covariances, TRUTH.covariances)
    with pytest.raises(ShapeError, match="n_components"):
        Start(K + 1, TRUTH)
    with pytest.raises(JobError, match="Did you mean 'grid'"):
        Start(K, "gird")


def test_random_means_are_rows_and_a_grid_has_equal_shares() -> None:
    points = _drawn()
    random = first_model(Start(K, "random"), Chunk(points, NoNoise()), 0).mixture
    assert np.all(np.min(np.abs((random.means[:, None] - points) / SCALE).max(axis=2), axis=1) < 1e-6)
    assert np.allclose(random.covariances, np.cov(points.T), rtol=0.05, atol=0.05 * SCALE[:, None] * SCALE)
    grid = first_model(Start(16, "grid"), Chunk(points, NoNoise()), 0).mixture
    assert np.allclose(grid.weights, 1 / 16, atol=1e-3)
    ordered = first_model(Start(2, "grid"), Chunk(np.arange(10.0)[:, None], NoNoise()), 0).mixture
    assert np.allclose(np.sort(ordered.means[:, 0]), [2, 7])


def test_weights_count_as_rows_do() -> None:
    points = _drawn(800)
    times = np.random.default_rng(0).integers(0, 4, len(points))
    for k, method, some in ((1, "kmeans", [0, 1, 2]), (4, "grid", [1])):
        weighted = Chunk(points[:, some], NoNoise(), times.astype(float))
        repeated = Chunk(np.repeat(points[:, some], times, axis=0), NoNoise())
        one, other = (first_model(Start(k, method), chunk, 0).mixture for chunk in (weighted, repeated))
        assert np.allclose(one.means, other.means, rtol=0, atol=0.05 * SCALE[some])
        assert np.allclose(one.weights, other.weights, atol=0.01)
    nobody = Chunk(points, NoNoise(), np.where(points[:, 1] > 100, 1.0, 0.0))
    assert np.all(first_model(Start(4), nobody, 0).mixture.means[:, 1] > 100)


def test_a_graded_selection_is_undone() -> None:
    """A component of which a twentieth is seen has a start, and its share of the population."""
    truth = GaussianMixture([0.5, 0.5], [[-4.0, 0.0], [4.0, 0.0]], np.repeat(np.eye(2)[None], 2, axis=0))
    everything = truth.sample(20_000, 0)
    omega = FromFunction(_twentieth)
    points = everything[np.random.default_rng(1).random(len(everything)) < omega(everything)]
    mixture = first_model(Start(2), Chunk(points, NoNoise()), 0, Survey(omega)).mixture
    assert _found(truth, mixture) == 2
    assert np.allclose(mixture.weights, 0.5, atol=0.04)  # 3.5 sigma of the 500 objects of the fainter one
    ignorant = first_model(Start(2), Chunk(points, NoNoise()), 0).mixture
    assert ignorant.weights.max() > 0.9


def _twentieth(points: np.ndarray) -> np.ndarray:
    return np.where(points[:, 0] > 0, 0.05, 1.0)


def _sees_what_is_there(points: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(points[:, 0]), 0.25, 0.5)


def test_row_weights_are_those_of_the_population_where_it_is_known() -> None:
    points = np.array([[0.0, 1.0], [2.0, 1.0], [np.nan, 1.0], [50.0, 0.0]])
    rng = np.random.default_rng(0)
    graded = HalfSpace([1.0, 0.0], 1.0, 1.0)
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    sample = Chunk(points, NoNoise(), weights)
    omega = graded(points[:2])
    factors = np.array([1.0, omega[0] / omega[1], omega[0] / omega[1], 20.0])  # the unknown: median; the last: at most
    assert np.allclose(row_weights(sample, Survey(graded), rng), weights * factors)
    assert np.array_equal(row_weights(sample, None, rng), weights)
    assert np.array_equal(
        row_weights(sample, Survey(Injections(np.zeros((3, 2)), [1, 0, 1], np.zeros(3))), rng), weights
    )
    available = Survey(FromFunction(_sees_what_is_there), selection_on="available")
    assert np.allclose(row_weights(sample, available, rng), weights * [1, 1, 2, 1])
    # on true values: one that was scattered out of a sharp edge is no reason for a weight without bound, nor an error
    noisy = Chunk(np.array([[-9.0], [1.01], [9.0]]), SharedNoise([[0.25]]))
    factors = row_weights(noisy, Survey(Box([-20.0], [1.0]), selection_on="true"), rng)
    assert factors[0] == 1
    assert 1 < factors[1] < 8
    assert 1 <= factors[2] <= 8  # not known: as the others
    with pytest.raises(DataError, match="probabilities"):
        row_weights(sample, Survey(lambda y: np.full(len(y), 3.0)), rng)


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_samples_that_break_k_means_have_starts(method: str, noise: str) -> None:
    rng = np.random.default_rng(4)
    three = np.repeat(rng.standard_normal((3, 2)), [40, 5, 2], axis=0)
    samples = {
        "three places": three,
        "one place": np.zeros((7, 2)),
        "a constant feature": np.column_stack([rng.standard_normal(60), np.full(60, 7e5)]),
        "mostly one value": np.where(rng.random((300, 2)) < 0.9, 0.0, rng.standard_normal((300, 2))),
        "empty rows": np.where(np.arange(80)[:, None] % 3 == 0, np.nan, rng.standard_normal((80, 2))),
        "never both": np.where(np.arange(80)[:, None] % 2 == [0, 1], np.nan, rng.standard_normal((80, 2))),
        "as many as components": rng.standard_normal((5, 2)),
        "far": 1e9 + rng.standard_normal((50, 2)),
    }
    for name, points in samples.items():
        kind: Noise = NoNoise() if noise == "none" else DiagonalNoise(rng.uniform(0.0, 4.0, points.shape))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for model in first_models(Start(5, method), Chunk(points, kind), None, 0, 2):
                mixture = model.mixture
                assert np.all(mixture.weights > 1e-4), name
                if name != "one place" and method != "random":
                    assert len(np.unique(mixture.means, axis=0)) == 5, name


def test_too_few_rows_are_refused() -> None:
    points = np.array([[0.0, 1.0], [np.nan, np.nan], [2.0, np.nan], [3.0, 3.0]])
    with pytest.raises(DataError, match=r"fewer objects than components.*at least 4.*got 3"):
        first_model(Start(4), Chunk(points, NoNoise()), 0)
    with pytest.raises(DataError, match="got 2"):
        first_model(Start(3), Chunk(points, NoNoise(), np.array([1.0, 1.0, 0.0, 1.0])), 0)


def test_few_rows_and_outliers() -> None:
    """One wild row in five hundred: each component has its own centre, the wild one none."""
    rng = np.random.default_rng(6)
    points = rng.standard_normal((500, 2)) + 6 * rng.integers(0, 2, (500, 1))
    points[17] = 1e6, -1e6
    for model in first_models(Start(2), Chunk(points, NoNoise()), None, 0, 5):
        assert np.allclose(np.sort(model.mixture.means[:, 0]), [0, 6], atol=0.5)
        assert np.all(model.mixture.covariances < 3)


def test_a_small_component_far_away_is_no_outlier() -> None:
    rng = np.random.default_rng(7)
    points = np.concatenate([rng.standard_normal((2970, 2)), 1e4 + rng.standard_normal((30, 2))])
    for model in first_models(Start(3), Chunk(points, NoNoise()), None, 0, 5):
        assert np.any(np.abs(model.mixture.means - 1e4).max(axis=1) < 1)


def test_a_background_does_not_take_components() -> None:
    points = _drawn()
    lower, upper = points.min(axis=0), points.max(axis=0)
    rng = np.random.default_rng(8)
    behind = rng.random(len(points)) < 0.3
    points[behind] = rng.uniform(lower, upper, (int(behind.sum()), D))
    start = Start(K, background=Uniform(lower, upper), background_fraction=0.2)
    for model in first_models(start, Chunk(points, NoNoise()), None, 0, 3):
        assert _found(TRUTH, model.mixture) == K
        assert model.background_fraction == 0.2


def test_projections_have_starts_that_differ() -> None:
    rng = np.random.default_rng(9)
    x = rng.multivariate_normal([1.0, -2.0], [[1.0, 0.4], [0.4, 2.0]], 2000)
    direction = rng.standard_normal((2000, 1, 2))
    sample = Chunk(np.einsum("nmd,nd->nm", direction, x), NoNoise(), projection=direction)
    one, other = first_models(Start(3), sample, Survey(HalfSpace([1.0], 9.0)), 0, 2)
    assert not np.array_equal(one.mixture.means, other.mixture.means)
    assert np.allclose(one.mixture.covariances, [[1.0, 0.4], [0.4, 2.0]], atol=0.3)  # 5 sigma


def test_the_spread_is_robust_and_never_zero() -> None:
    rng = np.random.default_rng(10)
    points = rng.normal(5.0, 2.0, (2000, 4))
    points[:3] = 1e9
    points[:, 1] = np.where(rng.random(2000) < 0.7, 0.0, points[:, 1])  # the quartiles coincide
    points[:, 2] = 3.0
    points[:, 3] = np.nan
    variances = spread(Chunk(points, NoNoise()))
    assert 3 < variances[0] < 5
    assert 3 < variances[1] < 20
    assert 0 < variances[2] < 1e-10
    assert 0 < variances[3] < 1e-10


def test_the_scatter_less_the_noise_is_that_of_the_truth_and_stays_positive() -> None:
    rng = np.random.default_rng(11)
    covariance = np.array([[2.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 0.5]]) * SCALE[:, None] * SCALE
    x = rng.multivariate_normal(np.zeros(D), covariance, 40_000)
    noise = _full(rng.uniform(0.2, 2.0, x.shape), rng)
    roots = np.linalg.cholesky(unpack(noise.values))
    y = _holes(x + np.einsum("nij,nj->ni", roots, rng.standard_normal(x.shape)))
    rows = Chunk(y, noise).take(np.flatnonzero(~np.isnan(y).all(axis=1)))
    positions = Positions.of(rows, np.ones(rows.n_samples), 1, spread(rows))
    one = gaussians(positions, np.zeros(rows.n_samples, dtype=int), positions.weights, np.zeros((1, D)))
    assert np.allclose(one.means / SCALE, 0, atol=0.05)
    assert np.allclose(one.covariances[0] / SCALE[:, None] / SCALE, covariance / SCALE[:, None] / SCALE, atol=0.15)
    scatter = covariance / SCALE[:, None] / SCALE
    left = deconvolved(scatter, 50 * np.eye(D))
    assert np.allclose(left, 0.1 * scatter)  # along every direction
    assert np.allclose(deconvolved(scatter, 0.1 * np.eye(D)), scatter - 0.1 * np.eye(D))
    assert np.all(np.linalg.eigvalsh(deconvolved(np.zeros((D, D)), np.eye(D))) > 0)


def test_merging_joins_what_overlaps_and_keeps_the_moments() -> None:
    rng = np.random.default_rng(12)
    weights = rng.dirichlet(np.ones(K))
    aside = 0.1 * np.linalg.cholesky(TRUTH.covariances)[:, :, 0]  # a tenth of a sigma
    means = np.concatenate([TRUTH.means + aside, TRUTH.means - aside])
    parts = Gaussians(np.tile(weights / 2, 2), means, np.tile(TRUTH.covariances, (2, 1, 1)))
    found = merged(parts, K)
    order = np.argmin(np.sum(((found.means[None] - TRUTH.means[:, None]) / SCALE) ** 2, axis=2), axis=1)
    assert np.allclose(found.weights[order], weights)
    assert np.allclose(found.means[order], TRUTH.means)
    assert np.allclose(found.covariances[order], TRUTH.covariances + aside[:, :, None] * aside[:, None])
    one, whole = merged(parts, 1), parts.weights @ parts.means
    assert np.allclose(one.means[0], whole)
    offset = parts.means - whole
    second = np.einsum("k,kij->ij", parts.weights, parts.covariances + offset[:, :, None] * offset[:, None])
    assert np.allclose(one.covariances[0], second)
    assert np.isclose(merged(parts, 3).weights.sum(), 1)


def test_splitting_makes_as_many_as_wanted() -> None:
    heavy = Gaussians(
        np.array([3.0, 1.0]), np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([np.diag([4.0, 1.0]), np.eye(2)])
    )
    parts = split(heavy, 5)
    assert np.all(parts.weights >= 0.75)
    assert len(np.unique(parts.means, axis=0)) == 5
    before, after = merged(heavy, 1), merged(parts, 1)
    assert np.allclose(after.means, before.means)
    assert np.allclose(after.covariances, before.covariances)
