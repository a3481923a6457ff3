"""Rounds: what a settled round raises, what it leaves alone, and that they come to an end."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from dgmmis.callback import Callbacks, History
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Outcome, Pass, Status, Stopping, passed
from dgmmis.errors import UnseenError
from dgmmis.execution.serial import Serial
from dgmmis.fit import prepared
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.passes import Passes
from dgmmis.prior import Constraints
from dgmmis.readings import in_turns
from dgmmis.rounds import (
    CLASS_SHARE,
    FIRST_DEPTH,
    FIRST_LATENT,
    FIRST_POINTS,
    GROWTH,
    LATENT_BIAS,
    LATENT_ERROR,
    MONTE_CARLO_SHARE,
    MOST_DEPTH,
    MOST_LATENT,
    MOST_POINTS,
    Resolution,
    Verdict,
    evaluated,
    rounds,
)
from dgmmis.selection import Box, HalfSpace, Injections
from dgmmis.survey import Survey

MODEL = Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]]))
SOFT, N = HalfSpace([1.0], 0.6, 0.3), 400


def _data(noise: str = "none", n: int = N) -> ArrayDataset:
    rng = np.random.default_rng(0)
    x, sigma = rng.normal(size=(4 * n, 1)), rng.uniform(0.1, 0.6, size=(4 * n, 1))
    y = x + (sigma * rng.normal(size=x.shape) if noise == "own" else 0.0)
    seen = rng.random(4 * n) < SOFT(y)
    return ArrayDataset.of(y[seen][:n], sigma[seen][:n] ** 2 if noise == "own" else None)


def _resolution(noise: str = "none", selection: object = SOFT) -> tuple[Resolution, Passes, Chunk]:
    survey, data = Survey(selection), _data(noise)
    with prepared(data, 1, survey=survey, constraints=Constraints(), executor=Serial()) as ready:
        resolution = Resolution(ready.passes, ready.sample, 0)
        resolution.begin_round(MODEL)
        return resolution, ready.passes, ready.sample


FINE = Pass(Moments.zero(1, 1), -1.0, -1.0, float(N), completeness=0.5, completeness_error=1e-6)
"""A pass in which everything is resolved."""

COARSE_Z = replace(FINE, completeness_error=1.01 * MONTE_CARLO_SHARE * 0.5 * (0.5 / N) ** 0.5)
BIASED = replace(FINE, latent_bias=-1.01 * LATENT_BIAS / N**0.5)
NOISY = replace(FINE, latent_error=1.01 * LATENT_ERROR)


def _next(resolution: Resolution, passes: Passes) -> tuple[int, int, int]:
    """Points, latent points and depth of the round that follows."""
    resolution.begin_round(MODEL)
    assert passes.points_of is not None
    of = passes.points_of
    return of.n_points, of.latent_points, of.partition.depth


@pytest.mark.parametrize(
    ("last", "points", "latent"),
    [(FINE, 1, 1), (COARSE_Z, GROWTH, 1), (BIASED, 1, GROWTH), (NOISY, 1, GROWTH)],
    ids=["fine", "coarse", "biased", "noisy"],
)
def test_a_round_raises_what_is_lacking_and_nothing_else(last: Pass, points: int, latent: int) -> None:
    resolution, passes, _ = _resolution()
    assert resolution.judge(-1.0, last) is Verdict.MORE  # a first round with random points is never the last
    expected = (points * FIRST_POINTS, latent * FIRST_LATENT, 0)
    assert _next(resolution, passes) == expected
    assert resolution.judge(-1.0, last) is (Verdict.ENOUGH if last is FINE else Verdict.MORE)


def test_just_within_the_bounds_is_enough() -> None:
    resolution, passes, _ = _resolution()
    within = replace(
        FINE,
        completeness_error=0.99 * MONTE_CARLO_SHARE * 0.5 * (0.5 / N) ** 0.5,
        latent_bias=0.99 * LATENT_BIAS / N**0.5,
        latent_error=0.99 * LATENT_ERROR,
    )
    assert resolution.judge(-1.0, within) is Verdict.MORE
    _next(resolution, passes)
    assert resolution.judge(-1.0, within) is Verdict.ENOUGH


def test_one_round_is_enough_where_nothing_is_random() -> None:
    resolution, _, _ = _resolution(selection=HalfSpace([1.0], 5.0))
    assert resolution.judge(-1.0, replace(FINE, completeness_error=0.0)) is Verdict.ENOUGH


def test_classes_are_made_finer_until_that_changes_little() -> None:
    """The first change is not known before there are finer ones; it is from the end of a round to the next begin."""
    resolution, passes, _ = _resolution("own")
    assert passes.points_of is not None
    assert passes.points_of.partition.depth == FIRST_DEPTH
    assert resolution.judge(-1.3, FINE) is Verdict.MORE  # ends at -1
    assert resolution.class_change == np.inf
    assert _next(resolution, passes) == (pytest.approx(FIRST_POINTS, rel=1), FIRST_LATENT, FIRST_DEPTH + 2)
    large = 1.01 * CLASS_SHARE / N**0.5
    assert resolution.judge(-1.0 - large, replace(FINE, objective=-0.9)) is Verdict.MORE
    assert resolution.class_change == pytest.approx(large)
    assert _next(resolution, passes)[2] == FIRST_DEPTH + 4
    small = 0.99 * CLASS_SHARE / N**0.5
    assert resolution.judge(-0.9 + small, replace(FINE, objective=-0.8)) is Verdict.ENOUGH
    assert resolution.class_change == pytest.approx(small)


def test_another_round_with_the_same_classes_does_not_forget_their_change() -> None:
    resolution, passes, _ = _resolution("own")
    resolution.judge(-1.0, FINE)
    _next(resolution, passes)
    small = 0.5 * CLASS_SHARE / N**0.5
    assert resolution.judge(-1.0 - small, COARSE_Z) is Verdict.MORE
    n_points, _, depth = _next(resolution, passes)
    assert depth == FIRST_DEPTH + 2
    assert n_points > 2 * FIRST_POINTS
    assert resolution.judge(-7.0, FINE) is Verdict.ENOUGH  # the objective may begin anywhere
    assert resolution.class_change == pytest.approx(small)


@pytest.mark.parametrize("last", [COARSE_Z, BIASED, NOISY], ids=["coarse", "biased", "noisy"])
def test_what_stays_lacking_comes_to_an_end(last: Pass) -> None:
    resolution, passes, _ = _resolution()
    n_rounds = 1
    while resolution.judge(-1.0, last) is Verdict.MORE:
        reached = _next(resolution, passes)
        n_rounds += 1
        assert n_rounds < 10
    assert resolution.judge(-1.0, last) is Verdict.EXHAUSTED
    expected = (MOST_POINTS, FIRST_LATENT, 0) if last is COARSE_Z else (FIRST_POINTS, MOST_LATENT, 0)
    assert reached == expected


def test_classes_that_keep_changing_come_to_an_end() -> None:
    resolution, passes, _ = _resolution("own")
    depths, first = [FIRST_DEPTH], 0.0
    while resolution.judge(first, replace(FINE, objective=first)) is Verdict.MORE:
        depths.append(_next(resolution, passes)[2])
        first -= 1.0
    assert depths == [FIRST_DEPTH, FIRST_DEPTH + 2, FIRST_DEPTH + 4, MOST_DEPTH]


def test_large_surveys_may_have_more_points() -> None:
    """As N^(2/3), since the error of points falls faster than that of objects."""
    resolution, passes, _ = _resolution()
    many = replace(COARSE_Z, n_samples=1e8, completeness_error=1e-3)
    reached = [FIRST_POINTS]
    while resolution.judge(-1.0, many) is Verdict.MORE:
        reached.append(_next(resolution, passes)[0])
    assert reached[-1] == 1 << 28
    assert len(reached) <= 5


def test_injections_cannot_be_raised() -> None:
    """An effective number of four times that of the objects, that is an error of Z / (2 sqrt(N)), is asked for."""
    x = np.random.default_rng(1).uniform(-5, 5, size=(3000, 1))
    selection = Injections(x, SOFT(x) > 0.5, np.full(3000, -np.log(10)))
    resolution, passes, _ = _resolution(selection=selection)
    assert not resolution.relieve()
    assert passes.points_of is not None
    assert passes.points_of.n_points == 3000
    limit = 0.5 / (2 * N**0.5)
    assert resolution.judge(-1.0, replace(FINE, completeness_error=0.99 * limit)) is Verdict.ENOUGH
    assert resolution.judge(-1.0, replace(FINE, completeness_error=1.01 * limit)) is Verdict.EXHAUSTED


def test_points_are_raised_where_the_completeness_is_lost_in_noise() -> None:
    resolution, passes, _ = _resolution()
    assert resolution.relieve()
    assert _next(resolution, passes)[0] == GROWTH * FIRST_POINTS
    raised = 1
    while resolution.relieve():
        raised += 1
        assert raised < 10
    assert _next(resolution, passes)[0] >= MOST_POINTS


def _rounds(survey: Survey, data: ArrayDataset, model: Model = MODEL, **stopping: Any) -> tuple[Outcome, History]:
    history = History()
    with prepared(data, 1, survey=survey, constraints=Constraints(), executor=None) as ready:
        loop = rounds(
            ready.passes,
            model,
            sample=ready.sample,
            stopping=Stopping(**stopping),
            seed=0,
            callback=Callbacks([history]),
            history=history,
        )
        outcome = passed(loop, ready.passes)
    return outcome, history


def test_the_last_round_begins_where_the_one_before_ended() -> None:
    outcome, history = _rounds(Survey(SOFT), _data())
    assert outcome.status is Status.CONVERGED
    numbers = [record.round for record in history.records]
    assert numbers == sorted(numbers)
    assert numbers[-1] >= 1
    first = [numbers.index(n) for n in sorted(set(numbers))]
    for begin in first[1:]:
        before, after = history.records[begin - 1], history.records[begin]
        error = np.hypot(before.completeness_error, after.completeness_error) / after.completeness
        assert abs(after.objective - before.objective) < 6 * error + 1e-6
        assert np.isnan(after.gain)
    assert outcome.last.monte_carlo is not None
    assert 0 < outcome.last.monte_carlo.share <= 0.1


def test_without_selection_there_are_no_rounds() -> None:
    outcome, history = _rounds(Survey(), _data())
    assert outcome.status is Status.CONVERGED
    assert {record.round for record in history.records} == {0}


def test_the_largest_number_of_passes_is_of_all_rounds() -> None:
    outcome, history = _rounds(Survey(SOFT), _data(), max_iter=3)
    assert outcome.status is Status.MAX_ITERATIONS
    assert len(history.records) == 3


@pytest.mark.parametrize("variance", [0.02, 1.0])
def test_a_start_that_is_too_narrow_leaves_no_trace(variance: float) -> None:
    """Around it no object comes near an edge; once the model is as wide as it should be, many do.

    Selected on true values: the objective of the end is the closed form there, and the end is the same.
    """
    rng = np.random.default_rng(3)
    x, sigma = rng.normal(size=8000), rng.uniform(0.2, 0.8, 8000)
    y = x + sigma * rng.normal(size=8000)
    seen = np.flatnonzero((x > -0.5) & (x < 2.0))[:2500]
    y, sigma = y[seen], sigma[seen]
    data = ArrayDataset.of(y[:, None], sigma[:, None] ** 2)
    start = Model(GaussianMixture([1.0], [[0.6]], [[[variance]]]))
    outcome, _ = _rounds(Survey(Box([-0.5], [2.0]), None, "true"), data, start, tol=1e-8, max_iter=300)
    assert outcome.status is Status.CONVERGED

    def exact(mean: float, c: float) -> float:
        total = c + sigma**2
        at, wide = mean + c / total * (y - mean), np.sqrt(c * sigma**2 / total)
        inside = norm.cdf((2.0 - at) / wide) - norm.cdf((-0.5 - at) / wide)
        z = norm.cdf((2.0 - mean) / c**0.5) - norm.cdf((-0.5 - mean) / c**0.5)
        return float(np.sum(norm.logpdf(y, mean, np.sqrt(total)) + np.log(inside / z)))

    best = minimize(lambda at: -exact(at[0], np.exp(at[1])), [0.0, 0.0], method="Nelder-Mead")
    mixture = outcome.model.mixture
    here = exact(float(mixture.means[0, 0]), float(mixture.covariances[0, 0, 0]))
    assert abs(len(y) * outcome.last.log_likelihood - here) < 3
    assert -best.fun - here < 0.1  # of a likelihood that falls by 0.5 at one standard error


def test_a_model_is_evaluated_as_finely_as_a_fit() -> None:
    """Own noise: classes are made finer until the mean of log Z is that of each object's own."""
    rng = np.random.default_rng(2)
    sigma = rng.uniform(0.1, 1.5, N)
    y = np.minimum(rng.normal(size=N), 0.5)
    data = ArrayDataset.of(y[:, None], sigma[:, None] ** 2)
    with prepared(data, 1, survey=Survey(Box([-np.inf], [0.6])), constraints=Constraints(), executor=None) as ready:
        outcome = evaluated(ready.passes, MODEL, sample=ready.sample, seed=0)
        assert ready.passes.points_of is not None
        assert ready.passes.points_of.partition.depth > FIRST_DEPTH
    assert outcome.model is MODEL
    assert outcome.status is Status.CONVERGED
    assert 0 < outcome.last.class_change * N**0.5 < CLASS_SHARE
    log_p = norm.logpdf(y, 0, np.sqrt(1 + sigma**2)) - norm.logcdf(0.6 / np.sqrt(1 + sigma**2))
    assert abs(outcome.last.log_likelihood - log_p.mean()) < outcome.last.class_change


def test_a_survey_that_sees_next_to_nothing_of_a_model_is_an_error() -> None:
    """After more points did not help."""
    far = Model(GaussianMixture([1.0], [[60.0]], [[[1.0]]]))
    soft = HalfSpace([1.0], 0.6, 0.01)
    data = ArrayDataset.of(np.linspace(-2.0, 0.0, 50)[:, None])
    with prepared(data, 1, survey=Survey(soft), constraints=Constraints(), executor=None) as ready:
        with pytest.raises(UnseenError, match="completeness cannot be told from zero"):
            evaluated(ready.passes, far, sample=ready.sample, seed=0)
        assert ready.passes.count > 2


@pytest.mark.parametrize(("n_some", "n_others"), [(2, 2), (4, 2), (16, 4), (3, 0), (0, 2), (7, 3)])
def test_whoever_takes_a_share_of_the_groups_has_rows_and_points(n_some: int, n_others: int) -> None:
    some, others = [[f"rows {i}"] for i in range(n_some)], [[f"points {i}"] for i in range(n_others)]
    groups = in_turns(some, others)
    assert [group for group in groups if "rows" in group[0]] == some  # each kind in its order
    assert [group for group in groups if "points" in group[0]] == others
    half = sum("rows" in group[0] for group in groups[: len(groups) // 2])
    assert abs(half - n_some / 2) <= 1
