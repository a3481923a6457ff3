"""Catalogues drawn from a model: their densities are those of the integrals, whatever was selected on what."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import binom, norm

from dgmmis.background import Uniform
from dgmmis.catalogue import BATCH, Drawn, drawn, draws, noise_kind
from dgmmis.errors import JobError, RefusedError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import FullNoise, Noise, NoNoise, SharedNoise
from dgmmis.noise_classes import NoiseClass
from dgmmis.selection import Box, HalfSpace, Injections
from dgmmis.survey import Survey

FALSE_ALARM = 1e-6
"""How often each comparison here would fail by chance, were its seed not pinned."""

N = 60_000
MODEL = Model(GaussianMixture([0.4, 0.6], [[-1.2], [1.0]], [[[0.4]], [[0.7]]]), Uniform([-4.0], [4.0]), 0.2)
SLOPE = HalfSpace([1.0], 0.5, 0.4)
VARIANCES = np.array([0.1, 0.6, 1.5])
SHARES = np.array([0.5, 0.3, 0.2])


def omega(y: float) -> float:
    return float(expit((0.5 - y) / 0.4))


def density(y: float, variance: float) -> float:
    """p(y) of MODEL under noise: normal components, and the convolved box."""
    signal = 0.8 * (0.4 * norm.pdf(y, -1.2, np.sqrt(0.4 + variance)) + 0.6 * norm.pdf(y, 1.0, np.sqrt(0.7 + variance)))
    if variance == 0:
        return float(signal + 0.2 * (abs(y) < 4) / 8)
    s = np.sqrt(variance)
    return float(signal + 0.2 * (norm.cdf((y + 4) / s) - norm.cdf((y - 4) / s)) / 8)


def integral(f: Callable[[float], float]) -> float:
    return float(quad(f, -12, 12, points=(-4, 4), limit=200, epsabs=1e-10)[0])


def moments(weight: Callable[[float], float], variance: float) -> tuple[float, float, float]:
    """Integral, mean and variance of weight(y) p(y)."""
    zeroth, first, second = (integral(lambda y, p=p: y**p * weight(y) * density(y, variance)) for p in range(3))
    return zeroth, first / zeroth, second / zeroth - (first / zeroth) ** 2


def agrees(values: np.ndarray, mean: float, variance: float) -> bool:
    """Mean and variance of a sample are those expected, within their own scatter."""
    limit, root = norm.isf(FALSE_ALARM / 4), np.sqrt(len(values))
    squares = (values - mean) ** 2
    return bool(
        abs(values.mean() - mean) < limit * values.std() / root
        and abs(squares.mean() - variance) < limit * squares.std() / root
    )


def one_class(noise: Noise) -> tuple[NoiseClass, ...]:
    return (NoiseClass(1.0, 1, np.arange(1), noise),)


def _own() -> tuple[tuple[NoiseClass, ...], np.ndarray]:
    classes = tuple(
        NoiseClass(share, 1, np.arange(1), SharedNoise([[variance]]))
        for share, variance in zip(SHARES, VARIANCES, strict=True)
    )
    return classes, np.array([moments(omega, variance)[0] for variance in VARIANCES])


def _draw_own(which: str, n: int = N) -> Drawn:
    classes, by_class = _own()
    return drawn(MODEL, Survey(SLOPE, "own"), noise_classes=classes, by_class=by_class, n=n, seed=1, which=which)


@pytest.mark.parametrize("which", ["seen", "unseen"])
def test_what_is_seen_follows_the_observed_density(which: str) -> None:
    """Measured values of constant noise: Omega(y) p(y), or (1 - Omega(y)) p(y)."""
    classes = one_class(SharedNoise([[0.3]]))
    found = drawn(MODEL, Survey(SLOPE, [[0.3]]), noise_classes=classes, by_class=np.ones(1), n=N, seed=0, which=which)
    assert len(found) == N
    assert isinstance(found.noise, SharedNoise)
    _, mean, variance = moments(lambda y: omega(y) if which == "seen" else 1 - omega(y), 0.3)
    assert agrees(found.points[:, 0], mean, variance)
    assert agrees((found.points - found.positions)[:, 0] ** 2, *_error_moments(which))


def _error_moments(which: str) -> tuple[float, float]:
    """Mean and variance of (y - x)^2, by an integral over y of what is known of x there."""
    grid = np.linspace(-7, 7, 1401)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    p = np.array([density(v, 0.0) for v in grid])[:, None] * norm.pdf(y - x, scale=np.sqrt(0.3))
    p *= expit((0.5 - y) / 0.4) if which == "seen" else expit((y - 0.5) / 0.4)
    square = (y - x) ** 2
    mean = float(np.sum(square * p) / p.sum())
    return mean, float(np.sum((square - mean) ** 2 * p) / p.sum())


def test_noise_classes_are_held_in_the_shares_of_what_is_seen() -> None:
    """share_c of the seen, share_c / Z_c of the population, share_c (1 - Z_c) / Z_c of the unseen; moments in each."""
    _, z = _own()
    shares = {"seen": SHARES, "population": SHARES / z, "unseen": SHARES * (1 - z) / z}
    weights = {"seen": omega, "population": lambda y: 1.0, "unseen": lambda y: 1 - omega(y)}
    for which, expected in shares.items():
        found = _draw_own(which)
        assert isinstance(found.noise, FullNoise)
        for share, variance in zip(expected / expected.sum(), VARIANCES, strict=True):
            rows = found.noise.values[:, 0] == variance
            count = int(rows.sum())
            assert min(binom.cdf(count, N, share), binom.sf(count - 1, N, share)) > FALSE_ALARM / 2
            assert agrees(found.points[rows, 0], *moments(weights[which], variance)[1:])


def test_seen_and_unseen_are_the_population() -> None:
    """In a batch they are the two parts of the same objects."""
    classes, by_class = _own()
    survey = Survey(SLOPE, "own")
    parts = {
        which: next(iter(draws(MODEL, survey, noise_classes=classes, by_class=by_class, n=BATCH, seed=5, which=which)))
        for which in ("seen", "unseen", "population")
    }
    together = np.concatenate([parts["seen"].points, parts["unseen"].points])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(parts["population"].points, axis=0))
    labels = np.concatenate([parts["seen"].labels, parts["unseen"].labels])
    counts = [np.sum(parts["population"].labels == k) for k in (-1, 0, 1)]
    assert [np.sum(labels == k) for k in (-1, 0, 1)] == counts
    assert len(parts["seen"]) + len(parts["unseen"]) == BATCH


def test_a_function_of_position_is_asked_at_the_position() -> None:
    found = drawn(
        MODEL,
        Survey(SLOPE, lambda x: (0.2 + 0.1 * (x > 0))[:, :, None]),
        noise_classes=one_class(NoNoise()),
        by_class=np.ones(1),
        n=N,
        seed=2,
        which="unseen",
    )
    assert isinstance(found.noise, FullNoise)
    np.testing.assert_allclose(found.noise.values[:, 0], np.where(found.positions[:, 0] > 0, 0.3, 0.2))
    grid = np.linspace(-8, 8, 3201)
    step = grid[1] - grid[0]
    hidden = [
        density(x, 0.0)
        * step
        * np.sum((1 - expit((0.5 - grid) / 0.4)) * norm.pdf(grid, x, np.sqrt(0.3 if x > 0 else 0.2)))
        for x in grid
    ]
    mean = float(np.average(grid, weights=hidden))
    assert agrees(found.positions[:, 0], mean, float(np.average((grid - mean) ** 2, weights=hidden)))


def test_true_values_are_selected_without_noise() -> None:
    survey = Survey(Box([-1.0], [2.0]), None, "true")
    found = drawn(MODEL, survey, noise_classes=one_class(NoNoise()), by_class=np.ones(1), n=N, seed=3)
    assert isinstance(found.noise, NoNoise)
    assert noise_kind(survey, one_class(NoNoise())) == "none"
    np.testing.assert_array_equal(found.points, found.positions)
    zeroth, first, second = (quad(lambda y, p=p: y**p * density(y, 0.0), -1, 2, epsabs=1e-10)[0] for p in range(3))
    assert agrees(found.points[:, 0], first / zeroth, second / zeroth - (first / zeroth) ** 2)


def test_a_selection_on_available_values_leaves_the_gaps_of_the_classes() -> None:
    """A box on two features: where one was not measured it does not count; the seen keep the shares of the patterns."""
    model = Model(GaussianMixture([1.0], [[0.0, 0.5]], [[[1.0, 0.5], [0.5, 1.0]]]))
    both, first = np.arange(2), np.arange(1)
    classes = tuple(NoiseClass(0.5, 2, there, SharedNoise(0.2 * np.eye(2))) for there in (both, first))
    marginal = float(norm.cdf(1 / np.sqrt(1.2)) - norm.cdf(-1 / np.sqrt(1.2)))
    z_both = quad(
        lambda u: (
            norm.pdf(u, scale=np.sqrt(1.2))
            * (
                norm.cdf(1, 0.5 + 0.5 / 1.2 * u, np.sqrt(1.2 - 0.25 / 1.2))
                - norm.cdf(-1, 0.5 + 0.5 / 1.2 * u, np.sqrt(1.2 - 0.25 / 1.2))
            )
        ),
        -1,
        1,
    )[0]
    survey = Survey(Box([-1.0, -1.0], [1.0, 1.0]), "own", "available")
    by_class = np.array([z_both, marginal])
    found = drawn(model, survey, noise_classes=classes, by_class=by_class, n=N, seed=4)
    gaps = np.isnan(found.points)
    assert not gaps[:, 0].any()
    count = int(gaps[:, 1].sum())
    assert min(binom.cdf(count, N, 0.5), binom.sf(count - 1, N, 0.5)) > FALSE_ALARM / 2
    assert np.all(np.abs(found.points[~gaps]) < 1)
    unseen = drawn(model, survey, noise_classes=classes, by_class=by_class, n=1_000, seed=4, which="unseen")
    assert np.all(np.nanmax(np.abs(unseen.points), axis=1) > 1)


def test_projections_are_those_of_the_classes() -> None:
    model = Model(GaussianMixture([1.0], [[0.0, 1.0]], [np.diag([0.2, 0.1])]))
    rows = (np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]]))
    classes = tuple(NoiseClass(0.5, 1, np.arange(1), SharedNoise([[0.1]]), R) for R in rows)
    given = {"noise_classes": classes, "by_class": np.ones(2), "n": 5_000, "seed": 0}
    survey = Survey(HalfSpace([1.0], 1.5), "own")
    found = drawn(model, survey, which="population", **given)
    assert found.projection is not None
    assert {tuple(R[0]) for R in found.projection} == {(1.0, 0.0), (0.6, 0.8)}
    errors = found.points - np.einsum("nmd,nd->nm", found.projection, found.positions)
    assert agrees(errors[:, 0], 0.0, 0.1)
    assert found.points.max() > 1.5 > drawn(model, survey, which="seen", **given).points.max()


def test_rows_do_not_depend_on_how_many_there_are() -> None:
    few, more = _draw_own("seen", 2_000), _draw_own("seen", 30_000)
    np.testing.assert_array_equal(few.points, more.points[:2_000])
    np.testing.assert_array_equal(few.labels, more.labels[:2_000])


@pytest.mark.parametrize(
    ("survey", "which", "message"),
    [
        (Survey(Injections([[0.0], [1.0]], [True, False], [0.0, 0.0])), "seen", "injections do not say"),
        (Survey(), "unseen", "sees everything"),
        (Survey(SLOPE), "seen", "noise of the objects is not known"),
        (Survey(SLOPE, "nearest"), "population", "noise of the objects is not known"),
        (Survey(Box([60.0], [61.0]), [[0.1]]), "seen", "sees next to nothing"),
        (Survey(Box([-60.0], [60.0]), [[0.1]]), "unseen", "misses next to nothing"),
    ],
)
def test_what_cannot_be_drawn_is_refused(survey: Survey, which: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        drawn(MODEL, survey, noise_classes=one_class(NoNoise()), by_class=np.ones(1), n=10, seed=0, which=which)


def test_words_and_numbers_are_checked() -> None:
    for which, n, message in (("sean", 5, "Did you mean 'seen'"), ("seen", 0, "n must be at least 1")):
        with pytest.raises(JobError, match=message):
            drawn(MODEL, Survey(), noise_classes=(), by_class=np.ones(1), n=n, seed=0, which=which)


def test_a_survey_that_sees_everything_is_its_population() -> None:
    everything = drawn(MODEL, Survey(), noise_classes=(), by_class=np.ones(1), n=N, seed=0)
    assert agrees(everything.points[:, 0], *moments(lambda y: 1.0, 0.0)[1:])
