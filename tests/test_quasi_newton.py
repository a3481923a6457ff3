"""Quasi-Newton steps: the slopes they follow, what is accepted, where they arrive, how far off they say they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from differences import directions, slopes

from dgmmis.background import Uniform
from dgmmis.callback import History
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Ascent, Outcome, Pass, Status, Stopping, em, passed
from dgmmis.errors import NumericalError
from dgmmis.execution.serial import Serial
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.mstep import constrained, maximize
from dgmmis.noise_classes import Partition, single_class
from dgmmis.passes import Passes
from dgmmis.preparation import Prepared, prepared
from dgmmis.prior import AnyPrior, Constraints, Dirichlet, Frozen, InverseWishart, NormalInverseWishart, Prior
from dgmmis.quadrature import Round
from dgmmis.quasi_newton import SHORTENED, QuasiNewton, objective_slopes
from dgmmis.rounds import Known
from dgmmis.selection import Ball, FromFunction, HalfSpace
from dgmmis.survey import Survey

PLANE = Model(
    GaussianMixture([0.35, 0.65], [[-0.8, 0.3], [0.7, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
)
BEHIND = replace(PLANE, background=Uniform([-4.0, -4.0], [4.0, 4.0]), background_fraction=0.25)


@contextmanager
def _passes(
    data: ArrayDataset, model: Model, constraints: Constraints | None = None, survey: Survey | None = None
) -> Iterator[tuple[Passes, Known]]:
    """Passes in this process, the unseen on fixed points around the model, and what rows say of the parameters."""
    constraints, k = constraints or Constraints(), model.mixture.n_components
    with prepared(data, k, survey=survey, constraints=constraints, executor=Serial()) as ready:
        if ready.passes.survey_is_partial:
            _begin_round(ready, model, 0)
        yield ready.passes, Known(ready.passes, ready.sample)


def _begin_round(ready: Prepared, model: Model, seed: int) -> None:
    """A few points only: what is said here holds on any."""
    survey = ready.passes.observing.survey
    partition = Partition.of(ready.sample, survey, ready.passes.observing.fill, 1)
    classes = single_class(survey, ready.sample) if partition.is_trivial else ready.passes.classes(partition)
    of = Round.of(model, 1024, seed, 0, classes=classes, partition=partition, latent_points=16)
    ready.passes.begin_round(of)


def _catalogue(n: int, model: Model = PLANE, selection: Callable | None = None, *, gaps: bool = False) -> ArrayDataset:
    """Noisy rows of a model, those that a selection of measured values leaves."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.05, 0.3, (n, 2))
    points = model.sample(n, rng) + np.sqrt(noise) * rng.normal(size=(n, 2))
    if selection is not None:
        seen = rng.random(n) < selection(points)
        points, noise = points[seen], noise[seen]
    if gaps:
        points[rng.random(points.shape) < 0.2] = np.nan
    return ArrayDataset.of(points, noise, sample_weight=rng.uniform(0.5, 2, len(points)))


GRADED = HalfSpace([1.0, 0.4], 0.5, 0.5)
WHOLE = Prior(
    Dirichlet(3.0),
    NormalInverseWishart(
        mean=np.array([0.5, 0.0]), mean_precision=8.0, scale=np.diag([3.0, 2.0]), degrees_of_freedom=5.0
    ),
)
SURVEYS = {
    "seen": None,
    "closed form": Survey(HalfSpace([1.0, 0.4], 0.5)),
    "points": Survey(GRADED),
    "on true values": Survey(GRADED, selection_on="true"),
}


@pytest.mark.parametrize("name", SURVEYS)
@pytest.mark.parametrize(
    ("model", "prior"),
    [(PLANE, InverseWishart(0.7)), (BEHIND, InverseWishart(0.7)), (BEHIND, WHOLE)],
    ids=["mixture", "background", "prior of all"],
)
def test_the_slopes_are_differences_of_the_objective(name: str, model: Model, prior: AnyPrior) -> None:
    """With weights, gaps, a prior that frozen covariances do not feel, and the points of the unseen where they are."""
    survey = SURVEYS[name]
    frozen = Frozen(covariances=frozenset({1})) if prior is not WHOLE else Frozen()
    constraints = Constraints(prior=prior, frozen=frozen)
    data = _catalogue(120, model, None if survey is None else survey.selection, gaps=name != "closed form")
    with _passes(data, model, constraints, survey) as (passes, _):
        found = objective_slopes(passes(model), model, constraints) @ directions(model)
        expected = slopes(lambda at: np.array(passes(at).objective), model)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def _run(
    passes: Callable[[Model], Pass], start: Model, constraints: Constraints, ascent: Ascent, tol: float = 1e-13
) -> tuple[Outcome, History]:
    history = History()
    loop = em(
        constrained(start, constraints),
        maximize=lambda moments, at: maximize(moments, at, constraints),
        stopping=Stopping(tol),
        ascent=ascent,
        callback=history,
    )
    return passed(loop, passes), history


NEAR_EACH_OTHER = Model(GaussianMixture([0.5, 0.5], [[-0.3, 0.0], [0.3, 0.0]], [np.eye(2)] * 2))
"""A start from which plain EM crawls to the maximum of rows of PLANE."""


def _duplicated() -> ArrayDataset:
    """Rows of PLANE, a tenth of them in one place."""
    points = PLANE.sample(400, 0)
    points[:40] = [3.0, 3.0]
    return ArrayDataset.of(points)


ARRIVALS: dict[str, tuple[ArrayDataset, Model, Constraints]] = {
    "full": (_catalogue(600), NEAR_EACH_OTHER, Constraints()),
    "diag": (_catalogue(600), NEAR_EACH_OTHER, Constraints("diag")),
    "tied": (_catalogue(600), NEAR_EACH_OTHER, Constraints("tied")),
    "spherical": (_catalogue(600), NEAR_EACH_OTHER, Constraints("spherical")),
    "prior": (_catalogue(600, gaps=True), NEAR_EACH_OTHER, Constraints(prior=InverseWishart(5.0))),
    "prior of all": (_catalogue(600, gaps=True), NEAR_EACH_OTHER, Constraints(prior=WHOLE)),
    "frozen": (
        _catalogue(600),
        NEAR_EACH_OTHER,
        Constraints(frozen=Frozen(frozenset({0}), frozenset({1}), frozenset({0}))),
    ),
    "floor": (
        _duplicated(),
        Model(GaussianMixture([0.3, 0.4, 0.3], [[2.5, 2.5], [-0.3, 0.0], [0.3, 0.0]], [np.eye(2)] * 3)),
        Constraints(floor=np.full(2, 1e-4)),
    ),
    "background": (
        _catalogue(600, BEHIND),
        replace(NEAR_EACH_OTHER, background=BEHIND.background, background_fraction=0.1),
        Constraints(),
    ),
}


def _plain(passes: Callable[[Model], Pass], start: Model, constraints: Constraints, n: int) -> Outcome:
    """Where n passes of plain EM lead."""
    loop = em(
        constrained(start, constraints),
        maximize=lambda moments, at: maximize(moments, at, constraints),
        stopping=Stopping(1e-300, n),
        callback=History(),
    )
    return passed(loop, passes)


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrives_where_plain_em_goes_in_far_fewer_passes(name: str) -> None:
    """Three times as many of EM's leave it short of the maximum, the same one.

    Every accepted step raises the objective; the structure, and what is frozen, stay bit for bit.
    """
    data, start, constraints = ARRIVALS[name]
    with _passes(data, start, constraints) as (passes, known):
        constraints = passes.constraints
        fast, history = _run(passes, start, constraints, QuasiNewton(constraints, known))
        slow = _plain(passes, start, constraints, 3 * passes.count)
        assert passes.count < 200
        theirs, _ = _run(passes, slow.model, constraints, QuasiNewton(constraints, known, is_near=True))
        still = _plain(passes, fast.model, constraints, 5)
    assert fast.status is Status.CONVERGED
    assert slow.last.objective < fast.last.objective - 1e-11
    assert theirs.last.objective == pytest.approx(fast.last.objective, abs=1e-11)
    assert still.last.objective == pytest.approx(fast.last.objective, abs=1e-13)
    assert min(record.gain for record in history.records[1:]) >= -1e-13
    mixture, first = fast.model.mixture, constrained(start, constraints).mixture
    match constraints.covariance_type:
        case "diag":
            assert np.array_equal(mixture.covariances, mixture.covariances * np.eye(2))
        case "tied":
            assert np.array_equal(mixture.covariances[0], mixture.covariances[1])
        case "spherical":
            assert np.array_equal(mixture.covariances, mixture.covariances[:, :1, :1] * np.eye(2))
    for parameter in ("weights", "means", "covariances"):
        for c in getattr(constraints.frozen, parameter):
            assert np.array_equal(getattr(mixture, parameter)[c], getattr(first, parameter)[c])
    if name == "floor":
        np.testing.assert_allclose(mixture.covariances[0], 1e-4 * np.eye(2), rtol=1e-6, atol=1e-12)
        assert "collapsed onto 40" in history.records[-1].repairs[0]


@pytest.mark.parametrize("name", ["full", "diag", "prior", "floor", "background"])
def test_the_distance_is_honest(name: str) -> None:
    """sqrt(2 N (best - objective)) is what it says, within a factor of 4 once that is less than a standard error."""
    data, start, constraints = ARRIVALS[name]
    with _passes(data, start, constraints) as (passes, known):
        outcome, history = _run(passes, start, passes.constraints, QuasiNewton(passes.constraints, known))
    best, n = outcome.last.objective, outcome.last.n_samples
    left = {r.distance: np.sqrt(max(2 * n * (best - r.objective), 0)) for r in history.records[:-2]}
    near = [said / true for said, true in left.items() if 1e-4 < true < 1]
    assert len(near) >= 5
    assert max(near) < 4
    assert min(near) > 1 / 4


def test_an_honest_distance_is_what_a_fit_may_stop_by() -> None:
    """With the default tolerance no more than a tenth of a standard error is left, a few times what is said."""
    data, start, constraints = ARRIVALS["full"]
    with _passes(data, start, constraints) as (passes, known):
        best, _ = _run(passes, start, passes.constraints, QuasiNewton(passes.constraints, known))
        found, history = _run(passes, start, passes.constraints, QuasiNewton(passes.constraints, known), 1e-6)
    left = best.last.objective - found.last.objective
    assert left < 5e-6
    assert np.sqrt(2 * found.last.n_samples * left) < 0.1  # of a standard error
    assert len(history.records) < 40


def test_a_refused_step_is_shortened_and_at_last_left() -> None:
    """By the parabola through both values, between a tenth and a half; by a tenth where there is no value."""
    data, start, constraints = ARRIVALS["full"]
    with _passes(data, start, constraints) as (passes, known):
        constraints = passes.constraints
        ascent = QuasiNewton(constraints, known, is_near=True)
        result = passes(start)
        image = maximize(result.moments, start, constraints).model
        proposed = ascent.propose(start, result, image)
        assert proposed is not None
        worse = replace(result, objective=result.objective - 0.01)
        lengths = [_length(start, proposed)]
        for trial, low, high in ((worse, 0.1, 0.5), (None, 0.1, 0.1)):
            shorter = ascent.refused(trial)
            assert shorter is not None
            lengths.append(_length(start, shorter))
            assert low - 1e-9 <= lengths[-1] / lengths[-2] <= high + 1e-9
        assert len(lengths) == 1 + SHORTENED
        assert ascent.refused(worse) is None
        # the next one does not reach further than the last that was refused
        again = ascent.propose(start, result, image)
        assert again is not None
        assert _length(start, again) < 1.01 * lengths[-1]


def _length(model: Model, other: Model) -> float:
    return float(np.linalg.norm(other.mixture.means - model.mixture.means))


@pytest.mark.parametrize("refusal", ["lower", "not finite", "an error"])
def test_where_every_step_is_refused_em_goes_on(refusal: str) -> None:
    """The way is that of plain EM, model for model; what was tried besides counts as passes."""
    data, start, constraints = ARRIVALS["tied"]
    stopping = Stopping(1e-13, 60)
    with _passes(data, start, constraints) as (passes, known):
        constraints = passes.constraints
        images: list[Model] = [constrained(start, constraints)]

        def accumulate(model: Model) -> Pass:
            result = passes(model)
            if any(np.array_equal(model.mixture.means, of.mixture.means) for of in images[-1:]):
                return result
            if refusal == "an error":
                raise NumericalError("no such model")
            return replace(result, objective=result.objective - 1.0 if refusal == "lower" else np.nan)

        def step(moments: object, at: Model) -> object:
            images.append((update := maximize(moments, at, constraints)).model)  # type: ignore[arg-type]
            return update

        history, plain = History(), History()
        ascent = QuasiNewton(constraints, known)
        passed(em(images[0], maximize=step, stopping=stopping, ascent=ascent, callback=history), accumulate)  # type: ignore[arg-type]
        loop = em(images[0], maximize=lambda a, b: maximize(a, b, constraints), stopping=stopping, callback=plain)
        passed(loop, passes)
    n = len(history.records)
    assert 5 < n < 40
    assert [r.objective for r in history.records] == [r.objective for r in plain.records[:n]]
    gaps = np.diff([r.iteration for r in history.records])
    assert set(gaps[2:]) == {1 + 1 + SHORTENED}


def test_new_points_forget_the_slopes_but_not_the_curvature() -> None:
    """After a new round the steps go on from what is known: few passes more, to the maximum on the new points."""
    model, survey = PLANE, Survey(FromFunction(lambda y: 1 - 0.8 * np.exp(-0.5 * np.sum(y**2, axis=1))))
    assert survey.selection is not None
    data = _catalogue(1000, model, survey.selection)
    with prepared(data, 2, survey=survey, constraints=Constraints(), executor=Serial()) as ready:
        passes, constraints = ready.passes, ready.passes.constraints
        ascent = QuasiNewton(constraints, Known(passes, ready.sample))
        counts = []
        start = model
        for seed in range(3):
            _begin_round(ready, start, seed)
            ascent.begin_round()
            before = passes.count
            outcome, _ = _run(passes, start, constraints, ascent, 1e-8)
            counts.append(passes.count - before)
            assert outcome.status is Status.CONVERGED
            start = outcome.model
    assert max(counts[1:]) < counts[0]
    assert max(counts[1:]) <= 10


@pytest.mark.parametrize("survey", ["hole", "on true values"])
def test_arrives_under_selection_on_fixed_points(survey: str) -> None:
    """Twice as many passes leave plain EM on the same points short of the maximum, the same one."""
    of = Survey(~Ball([0.7, -0.5], 0.8)) if survey == "hole" else SURVEYS["on true values"]
    assert of is not None
    data = _catalogue(800, PLANE, of.selection)
    with _passes(data, PLANE, None, of) as (passes, known):
        constraints = passes.constraints

        def fresh(model: Model) -> Pass:
            return replace(passes(model), worn=False)

        fast, history = _run(fresh, PLANE, constraints, QuasiNewton(constraints, known))
        slow = _plain(fresh, PLANE, constraints, 2 * passes.count)
        theirs, _ = _run(fresh, slow.model, constraints, QuasiNewton(constraints, known, is_near=True))
    assert fast.status is Status.CONVERGED
    assert slow.last.objective < fast.last.objective - 1e-9
    assert theirs.last.objective == pytest.approx(fast.last.objective, abs=1e-11)
    assert min(record.gain for record in history.records[1:]) >= -1e-13


def test_nothing_free_is_nothing_to_do() -> None:
    everything = Constraints(frozen=Frozen(frozenset({0, 1}), frozenset({0, 1}), frozenset({0, 1})))
    with _passes(_catalogue(100), PLANE, everything) as (passes, known):
        outcome, history = _run(passes, PLANE, passes.constraints, QuasiNewton(passes.constraints, known))
    assert outcome.status is Status.CONVERGED
    assert history.records[-1].distance == 0
    assert np.array_equal(outcome.model.mixture.covariances, PLANE.mixture.covariances)


def test_what_is_free_may_change_with_the_points() -> None:
    """A component that starves on the points of a new round leaves the curvature of before without a meaning."""
    data, start, constraints = ARRIVALS["full"]
    with _passes(data, start, constraints) as (passes, known):
        constraints = passes.constraints
        ascent, model = QuasiNewton(constraints, known, is_near=True), start
        for _ in range(3):
            result = passes(model)
            proposed = ascent.propose(model, result, maximize(result.moments, model, constraints).model)
            assert proposed is not None
            model = proposed
        ascent.begin_round()
        result = passes(model)
        moments = result.moments
        keep = np.arange(len(moments.weight)) > 0
        scores = {
            name: np.where(keep[:, None], getattr(moments, name), 0.0) for name in ("mean_score", "covariance_score")
        }
        starved = replace(result, moments=replace(moments, weight=np.where(keep, moments.weight, 0.0), **scores))
        proposed = ascent.propose(model, starved, maximize(starved.moments, model, constraints).model)
        assert proposed is not None
        np.testing.assert_array_equal(proposed.mixture.means[0], model.mixture.means[0])
