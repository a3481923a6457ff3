"""Every kernel against the reference, and the laws that hold for any of them."""

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from jaxtyping import TypeCheckError
from scipy import stats
from strategies import Recipe, Survey, make, random_covariances, recipes

from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.errors import RefusedError
from dgmmis.estep import dense, dense_kernel, expect, leaf_log_density, leaf_moments, leaf_responsibilities, noisy
from dgmmis.estep.components import components
from dgmmis.estep.pruning import FEWEST
from dgmmis.linalg import pack, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise

ACCURACY = 1e-10
UNDERFLOW = 1e-250
"""Sums below this, in units of the component's width, have lost digits to underflow; they matter to nobody."""


def moments_of(model: Model, chunk: Chunk) -> Moments:
    return reduce(Moments.__add__, (leaf_moments(model, leaf) for leaf in chunk.leaves()))


def difference(got: np.ndarray, expected: np.ndarray, of_absolute: np.ndarray) -> float:
    """The largest error, relative to the sum of the absolute values of what was added."""
    error = np.abs(np.asarray(got, dtype=reference.Long) - expected)
    return float(np.max(error / of_absolute))


def errors(survey: Survey) -> dict[str, float]:
    """How far the kernels are from the reference, in each of the things that they give."""
    expected = reference.e_step(survey.catalogue, survey.parameters)
    got = moments_of(survey.model, survey.chunk)
    log_density = np.concatenate([leaf_log_density(survey.model, leaf) for leaf in survey.chunk.leaves()])
    q = np.concatenate([leaf_responsibilities(survey.model, leaf) for leaf in survey.chunk.leaves()])
    assert got.is_finite
    sigma = np.sqrt(np.diagonal(survey.model.mixture.covariances, axis1=1, axis2=2))
    i, j = np.tril_indices(sigma.shape[1])
    return {
        "log density": difference(log_density, expected.log_density, 1 + abs(expected.log_density)),
        "responsibilities": difference(q, expected.responsibilities, np.ones_like(q)),
        "weight": difference(got.weight, expected.weight, expected.weight + UNDERFLOW),
        "mean score": difference(
            got.mean_score, expected.mean_score, expected.mean_score_of_absolute + UNDERFLOW / sigma
        ),
        "covariance score": difference(
            got.covariance_score,
            expected.covariance_score[:, i, j],
            expected.covariance_score_of_absolute[:, i, j] + UNDERFLOW / (sigma[:, i] * sigma[:, j]),
        ),
        "background": difference(got.background, expected.background, expected.background + UNDERFLOW),
        "log likelihood": difference(
            got.log_likelihood,
            expected.log_likelihood,
            expected.log_likelihood_of_absolute + expected.n_samples + UNDERFLOW,
        ),
        "samples": difference(got.n_samples, expected.n_samples, expected.n_samples + UNDERFLOW),
        "dropped": difference(got.dropped, expected.dropped, expected.n_samples + UNDERFLOW),
        "beyond": difference(got.beyond, expected.beyond, expected.n_samples + UNDERFLOW),
    }


def assert_accurate(survey: Survey) -> None:
    found = errors(survey)
    assert all(error <= ACCURACY for error in found.values()), found


@pytest.fixture
def unpruned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every component is looked at (tests/test_pruning.py shows that others do not matter)."""
    for kernel in (dense, noisy):
        monkeypatch.setattr(kernel, "FEWEST", 10**9)


# the reference itself


def test_reference_agrees_with_scipy() -> None:
    survey = make(Recipe(d=4, k=3, n=20, noise="full", seed=1, missing=0.3))
    got = reference.e_step(survey.catalogue, survey.parameters)
    catalogue, mixture = survey.catalogue, survey.parameters
    for i, y in enumerate(catalogue.points):
        seen = np.flatnonzero(~np.isnan(y))
        if len(seen) == 0:
            assert abs(got.log_density[i]) < 1e-15
            continue
        cut = np.ix_(seen, seen)
        density = sum(
            a * stats.multivariate_normal.pdf(y[seen], mu[seen], C[cut] + catalogue.noise[i][cut])
            for a, mu, C in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
        )
        assert float(got.log_density[i]) == pytest.approx(np.log(density), rel=1e-11)


def test_reference_agrees_with_exact_fractions() -> None:
    rng = np.random.default_rng(2)
    T = np.round(rng.normal(size=(5, 5)), 3)
    T = T @ T.T * np.outer(*[10.0 ** np.array([-6, 6, 0, 3, -3])] * 2)
    T = 0.5 * (T + T.T)
    offset = np.sqrt(np.diag(T)) * rng.normal(size=5)
    left = [[Fraction(float(x)) for x in (*row, y)] for row, y in zip(T, offset, strict=True)]
    determinant = Fraction(1)
    for j in range(5):  # Gauss-Jordan without rounding
        determinant *= left[j][j]
        left[j] = [x / left[j][j] for x in left[j]]
        for i in range(5):
            if i != j:
                left[i] = [x - left[i][j] * y for x, y in zip(left[i], left[j], strict=True)]
    precision, log_determinant = reference.inverse_and_log_determinant(T.astype(reference.Long))
    solved = precision @ offset
    assert all(abs(float(x / float(row[-1])) - 1) < 1e-13 for x, row in zip(solved, left, strict=True))
    assert abs(float(log_determinant) - np.log(float(determinant))) < 1e-13


# kernels against the reference


@given(recipe=recipes(("none", "shared"), tuple(range(1, 21))))
@settings(max_examples=150)
def test_dense_kernel_is_accurate(recipe: Recipe) -> None:
    assert_accurate(make(recipe))


@given(recipe=recipes(("diagonal", "full"), (1, 2, 3, 6)))
@settings(max_examples=150)
def test_noisy_kernel_is_accurate(recipe: Recipe) -> None:
    assert_accurate(make(recipe))


@pytest.mark.parametrize(
    ("noise", "d", "m"),
    [(noise, d, m) for noise in ("shared", "diagonal", "full") for d, m in ((3, 2), (2, 3), (3, 1), (3, 3), (1, 2))]
    + [("none", d, m) for d, m in ((3, 2), (3, 1), (3, 3))],  # with m > d, R C R' alone is singular
)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_projections_are_accurate(noise: str, d: int, m: int, missing: float) -> None:
    for seed in range(3):
        assert_accurate(
            make(Recipe(d=d, k=3, n=40, noise=noise, seed=seed, measured=m, missing=missing, weighted=seed == 1,
                        reference=seed == 2, log_scale=3.0 * seed))
        )  # fmt: skip


@pytest.mark.parametrize("noise", ["none", "shared", "diagonal", "full"])
@pytest.mark.parametrize(("d", "k"), [(1, 200), (3, 200), (6, 50)])
def test_many_components_are_accurate(noise: str, d: int, k: int, unpruned: None) -> None:
    """Sums that are tiny are accurate too, which is more than they are where components are left out."""
    assert_accurate(make(Recipe(d=d, k=k, n=40, noise=noise, seed=k, missing=0.1, offset=1e6, log_scale=6)))


@pytest.mark.slow
@pytest.mark.parametrize("d", range(1, 21))
def test_noisy_kernel_is_accurate_in_any_dimension(d: int) -> None:
    for seed, noise in enumerate(("diagonal", "full")):
        assert_accurate(make(Recipe(d=d, k=5, n=60, noise=noise, seed=seed, offset=1e6, log_scale=6, narrow=1e-2)))
        assert_accurate(make(Recipe(d=d, k=3, n=60, noise=noise, seed=seed, background=True, weighted=True)))


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_widest_case_is_accurate(noise: str, unpruned: None) -> None:
    assert_accurate(make(Recipe(d=20, k=200, n=20, noise=noise, seed=3, offset=1e6, log_scale=6)))


@pytest.mark.parametrize("noise", ["none", "shared", "diagonal", "full"])
def test_error_grows_no_faster_than_the_condition(noise: str) -> None:
    """No algorithm in doubles can do better than condition times rounding, for a covariance given in doubles."""
    recipe = Recipe(d=6, k=2, n=60, noise=noise, seed=4)
    survey = make(recipe)
    rng = np.random.default_rng(5)
    covariances = random_covariances(rng, 2, 6, 1e-6, 1.0)
    mixture = GaussianMixture([0.4, 0.6], survey.model.mixture.means, covariances)
    points = mixture.sample(60, 6)
    found = errors(Survey(Model(mixture), replace(survey.chunk, points=points)))
    assert all(error <= 10 * 1e6 * np.finfo(float).eps for error in found.values()), found


def test_narrow_components_in_a_wide_panel_are_accurate() -> None:
    """Products about a common centre would lose sigma^2 / width^2 of all digits: 1e-16 is lost here."""
    rng = np.random.default_rng(7)
    widths = 10.0 ** np.array([-8, -6, -4, -3, -2.5, -2, -1, 0])
    mixture = GaussianMixture(
        np.full(8, 1 / 8), rng.uniform(-1, 1, (8, 2)), random_covariances(rng, 8, 2) * widths[:, None, None] ** 2
    )
    survey = Survey(Model(mixture), Chunk(mixture.sample(1500, 8), NoNoise()))
    assert_accurate(survey)
    narrow = _narrow(survey)
    assert narrow >= {0, 1, 2}, "the guard must take the narrow components"
    assert 7 not in narrow, "and leave the wide ones to the matrix product"


def _narrow(survey: Survey) -> set[int]:
    """The components that take their own differences, in the first leaf taken as one panel."""
    (leaf,) = survey.chunk.leaves()
    (block,) = leaf.blocks
    of = components(survey.model, block)
    m, n = block.points.shape
    i, j = np.tril_indices(m)
    centre, scale, reach = np.empty(m), np.empty(m), np.empty(len(i) + m + 1)
    dense_kernel._features(block.points, i, j, None, centre, scale, np.empty((len(reach), n)), reach)
    about = (of.log_constant, of.means, of.precision, i, j, centre, scale, reach, np.empty(len(reach)))
    return {k for k in range(len(of.means)) if dense_kernel._coefficients(k, *about)}


@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_outliers_have_a_finite_log_density(noise: str) -> None:
    survey = make(Recipe(d=3, k=3, n=20, noise=noise, seed=9))
    points = survey.chunk.points.copy()
    points[3] += 1e8
    found = errors(Survey(survey.model, replace(survey.chunk, points=points)))
    assert found["log density"] < ACCURACY


# laws


def close(one: Moments, other: Moments, tolerance: float = 1e-11) -> bool:
    """Equal to rounding, in units of the largest entry of each sum."""

    def near(a: np.ndarray | float, b: np.ndarray | float) -> bool:
        return bool(np.max(np.abs(np.subtract(a, b)), initial=0) <= tolerance * (np.max(np.abs(b), initial=0) + 1e-300))

    return all(near(getattr(one, name), getattr(other, name)) for name in Moments.__dataclass_fields__)


KINDS = [
    Recipe(d=2, k=3, noise="none", background=True),
    Recipe(d=3, k=4, noise="shared", missing=0.2),
    Recipe(d=3, k=4, noise="diagonal", missing=0.2, weighted=True, background=True),
    Recipe(d=3, k=4, noise="full", reference=True),
    Recipe(d=3, k=3, noise="full", measured=2),
]


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.noise)
def test_any_partition_gives_the_same_sums(recipe: Recipe) -> None:
    survey = make(replace(recipe, n=2 * LEAF_ROWS + 700, seed=11))
    chunk = survey.chunk
    leaves = list(chunk.leaves(first_leaf=5))
    assert [leaf.index for leaf in leaves] == [5, 6, 7]
    whole = moments_of(survey.model, chunk)
    edges = [0, 1, 63, 64, 1500, LEAF_ROWS + 1, 2 * LEAF_ROWS, chunk.n_samples]
    parts = [chunk.take(slice(a, b)) for a, b in pairwise(edges)]
    assert [part.first_row for part in parts] == edges[:-1]
    assert close(reduce(Moments.__add__, (moments_of(survey.model, part) for part in parts)), whole)


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.noise)
def test_leaves_do_not_depend_on_their_neighbours(recipe: Recipe) -> None:
    """Aligned parts give the same bits: what makes a result independent of how leaves are grouped into tasks."""
    survey = make(replace(recipe, n=LEAF_ROWS + 100, seed=12))
    whole = list(survey.chunk.leaves())
    second = next(survey.chunk.take(slice(LEAF_ROWS, None)).leaves(1))
    one, other = leaf_moments(survey.model, whole[1]), leaf_moments(survey.model, second)
    for name in Moments.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.noise)
def test_weight_two_is_a_row_twice(recipe: Recipe) -> None:
    survey = make(replace(recipe, n=50, seed=13, weighted=False))
    weights = np.where(np.arange(50) < 20, 2.0, 1.0)
    doubled = replace(survey.chunk, weights=weights)
    again = moments_of(survey.model, survey.chunk.take(slice(0, 20)))
    assert close(moments_of(survey.model, doubled), moments_of(survey.model, survey.chunk) + again)


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.noise)
def test_order_of_components_does_not_matter(recipe: Recipe) -> None:
    survey = make(replace(recipe, seed=14))
    mixture = survey.model.mixture
    order = np.random.default_rng(0).permutation(mixture.n_components)
    permuted = replace(
        survey.model, mixture=GaussianMixture(mixture.weights[order], mixture.means[order], mixture.covariances[order])
    )
    whole = moments_of(survey.model, survey.chunk)
    ordered = replace(
        whole,
        weight=whole.weight[order],
        mean_score=whole.mean_score[order],
        covariance_score=whole.covariance_score[order],
    )
    assert close(moments_of(permuted, survey.chunk), ordered)


@pytest.mark.parametrize("kind", ["shared", "diagonal", "full"])
def test_vanishing_noise_is_no_noise(kind: str) -> None:
    survey = make(Recipe(d=3, k=3, n=80, seed=15, missing=0.2))
    exact = moments_of(survey.model, survey.chunk)

    def with_noise(variance: float) -> Moments:
        packed = pack(variance * np.eye(3))
        noise = {
            "shared": SharedNoise(variance * np.eye(3)),
            "diagonal": DiagonalNoise(np.full((80, 3), variance)),
            "full": FullNoise(np.tile(packed, (80, 1))),
        }[kind]
        return moments_of(survey.model, replace(survey.chunk, noise=noise))

    assert close(with_noise(0.0), exact)
    assert close(with_noise(1e-15), exact)
    assert not close(with_noise(1e-3), exact)


@pytest.mark.parametrize("kind", ["none", "shared", "diagonal", "full"])
def test_missing_feature_is_a_dropped_one(kind: str) -> None:
    survey = make(Recipe(d=3, k=3, n=60, noise=kind, seed=16))
    points = survey.chunk.points.copy()
    points[:, 1] = np.nan
    got = moments_of(survey.model, replace(survey.chunk, points=points))
    kept = [0, 2]
    noise = FullNoise(np.tile(survey.chunk.noise.packed(kept).T, (60 if survey.chunk.noise.is_shared else 1, 1)))
    smaller = Model(survey.model.mixture.marginal(kept))
    expected = moments_of(smaller, Chunk(np.ascontiguousarray(points[:, kept]), noise))
    full = unpack(got.covariance_score)
    assert np.all(got.mean_score[:, 1] == 0)
    assert np.all(full[:, 1] == 0)
    reduced = replace(got, mean_score=got.mean_score[:, kept], covariance_score=pack(full[:, [[0], [2]], [0, 2]]))
    assert close(reduced, expected)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("background", [False, True])
def test_noisy_kernel_equals_dense_kernel(missing: float, background: bool) -> None:
    survey = make(
        Recipe(d=3, k=5, n=300, noise="shared", seed=17, missing=missing, background=background, weighted=True)
    )
    (leaf,) = survey.chunk.leaves()
    compared = 0
    for block in leaf.blocks:
        if len(block.points) and block.n_samples > 1:
            slow, fast = noisy.expect(survey.model, block), dense.expect(survey.model, block)
            assert close(slow.moments, fast.moments)
            np.testing.assert_allclose(slow.log_density, fast.log_density, rtol=1e-12)
            np.testing.assert_allclose(
                noisy.posterior(survey.model, block)[1], dense.posterior(survey.model, block)[1], atol=1e-12
            )
            compared += 1
    assert compared >= (1 if missing == 0 else 4)


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.noise)
def test_responsibilities_and_background_sum_to_one(recipe: Recipe) -> None:
    survey = make(replace(recipe, seed=18, weighted=False, reference=False))
    (leaf,) = survey.chunk.leaves()
    q = leaf_responsibilities(survey.model, leaf)
    moments = leaf_moments(survey.model, leaf)
    assert np.all((q >= 0) & (q <= 1))
    np.testing.assert_allclose(q.sum(axis=0), moments.weight, rtol=1e-12, atol=1e-300)
    assert q.sum() + moments.background == pytest.approx(moments.n_samples, rel=1e-13)
    if not recipe.background:
        np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-13)


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.noise)
def test_expectations_follow_from_the_scores(recipe: Recipe) -> None:
    """sum q (b - mu) = C u, and sum q [(b - mu)(b - mu)' + B] = A C + C W C."""
    survey = make(replace(recipe, seed=19))
    moments = moments_of(survey.model, survey.chunk)
    expected = reference.e_step(survey.catalogue, survey.parameters)
    covariances = survey.model.mixture.covariances
    for got, want in ((moments.first(covariances), expected.first), (moments.second(covariances), expected.second)):
        np.testing.assert_allclose(got, want.astype(float), rtol=1e-11, atol=1e-11 * float(abs(want).max()))


@pytest.mark.parametrize("noise", ["none", "diagonal", "full"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_scores_are_the_gradient_of_the_log_likelihood(noise: str, missing: float) -> None:
    """Fisher's identity: u_k = d log L / d mu_k, W_k / 2 = d log L / d C_k; 4th-order differences in long doubles."""
    d, k, step = 2, 2, 1e-4
    survey = make(Recipe(d=d, k=k, n=12, noise=noise, seed=20, missing=missing, background=True, weighted=True))
    moments = moments_of(survey.model, survey.chunk)
    catalogue, at = survey.catalogue, survey.parameters

    def derivative(name: str, direction: np.ndarray) -> float:
        def value(by: float) -> reference.Long:
            moved = getattr(at, name).astype(reference.Long) + by * direction
            return reference.log_likelihood(catalogue, replace(at, **{name: moved}))

        return float((8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step))

    scores = unpack(moments.covariance_score)
    for c in range(k):
        for i in range(d):
            direction = np.zeros((k, d))
            direction[c, i] = 1
            assert moments.mean_score[c, i] == pytest.approx(derivative("means", direction), rel=1e-9, abs=1e-9)
            for j in range(i + 1):
                direction = np.zeros((k, d, d))
                direction[c, i, j] = direction[c, j, i] = 1
                along = float(np.sum(scores[c] * direction[c])) / 2
                assert along == pytest.approx(derivative("covariances", direction), rel=1e-9, abs=1e-9)


def test_moments_are_a_monoid() -> None:
    rng = np.random.default_rng(21)
    a, b, c = (
        Moments(
            rng.normal(size=2),
            rng.normal(size=(2, 3)),
            rng.normal(size=(2, 6)),
            *(float(x) for x in rng.normal(size=5)),
        )
        for _ in range(3)
    )
    zero = Moments.zero(2, 3)
    assert close(a + zero, a, 0)
    assert close(zero + a, a, 0)
    assert close(a + b, b + a, 0)
    assert close((a + b) + c, a + (b + c), 1e-15)
    assert close((a + b) * 3.0, a * 3.0 + b * 3.0, 1e-15)
    assert close(a * 0.0, zero, 0)
    assert a.is_finite
    assert not replace(a, background=float("nan")).is_finite


# edges


def test_no_rows_have_no_leaves() -> None:
    assert list(Chunk(np.empty((0, 2)), NoNoise()).leaves()) == []


def test_a_background_needs_its_density() -> None:
    survey = make(Recipe(background=True))
    (leaf,) = replace(survey.chunk, log_background=None).leaves()
    with pytest.raises(RefusedError, match="the chunk has none"):
        leaf_moments(survey.model, leaf)


def test_read_only_blocks_need_no_compilation() -> None:
    """What dask brings over the wire cannot be written; numba would compile for it anew."""
    survey = make(Recipe(d=2, k=2, n=20, noise="diagonal", weighted=True))
    (leaf,) = survey.chunk.leaves()
    expected = leaf_moments(survey.model, leaf)
    known = len(noisy.noisy_kernel.signatures)
    for block in leaf.blocks:
        for array in (block.points, block.noise, block.weights):
            array.flags.writeable = False
    assert close(leaf_moments(survey.model, leaf), expected, 0)
    assert len(noisy.noisy_kernel.signatures) == known


def test_kernels_are_found_again_by_another_process_and_give_the_same_bits(tmp_path: Path) -> None:
    """The second start compiles nothing; and code that was just compiled is the code that is found in the cache."""
    code = """
import numpy as np, sys
from dgmmis import chunk, estep, mixture, model, noise
from dgmmis.compilation import seconds_compiling
from dgmmis.estep.dense_kernel import dense_kernel
from dgmmis.estep.noisy_kernel import noisy_kernel
rng = np.random.default_rng(0)
means = rng.normal(size=({k}, 3))
points = means[rng.integers(0, {k}, 3000)] + 0.3 * rng.normal(size=(3000, 3))
of = model.Model(mixture.GaussianMixture(np.full({k}, 1 / {k}), means, np.repeat(0.09 * np.eye(3)[None], {k}, axis=0)))
for law, kernel in ((noise.NoNoise(), dense_kernel), (noise.DiagonalNoise(0.01 + 0.1 * points**2), noisy_kernel)):
    moments = estep.leaf_moments(of, next(chunk.Chunk(points, law).leaves()))
    assert sum(kernel.stats.cache_{expected}.values()) == 1, kernel.stats
    arrays = moments.weight, moments.mean_score, moments.covariance_score, np.array([moments.log_likelihood])
    sys.stdout.write(b"".join(array.tobytes() for array in arrays).hex() + "\\n")
(seconds,) = seconds_compiling().values()
assert (seconds == 0) == ("{expected}" == "hits")
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    for k in (5, FEWEST):
        found = []
        for expected in ("misses", "hits"):
            command = [sys.executable, "-c", code.format(k=k, expected=expected)]
            ran = subprocess.run(command, check=True, env=environment, timeout=240, capture_output=True, text=True)
            found.append(ran.stdout)
        assert found[0] == found[1]


def test_shapes_are_checked_but_not_within_the_compiled_kernel() -> None:
    """The import hook wraps every function of the package, but must keep away from what numba compiles."""
    with pytest.raises(TypeCheckError):
        Moments(np.zeros(2), np.zeros((3, 1)), np.zeros((2, 1)), 0.0, 0.0, 0.0)
    assert hasattr(noisy.noisy_kernel, "signatures")
    assert noisy.noisy_kernel.py_func.__no_type_check__
    assert not hasattr(noisy.noisy_kernel.py_func, "__wrapped__")


@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_no_samples_give_no_moments(noise: str) -> None:
    survey = make(Recipe(d=2, k=3, n=20, noise=noise, weighted=True))
    (block,) = next(survey.chunk.leaves()).blocks
    found = expect(survey.model, block.take(np.empty(0, dtype=int)))
    assert len(found.log_density) == 0
    assert close(found.moments, Moments.zero(3, 2), 0)
