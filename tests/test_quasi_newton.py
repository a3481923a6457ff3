"""Quasi-Newton steps: the slopes they follow, what is accepted, where they arrive, and how far off they say they are."""

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
from dgmmis.passes import Passes
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints, Frozen, InverseWishart
from dgmmis.quasi_newton import SHORTENED, QuasiNewton, objective_slopes
from dgmmis.rounds import Known, Resolution
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
            Resolution(ready.passes, ready.sample, 0).begin_round(model)
        yield ready.passes, Known(ready.passes, ready.sample)


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
SURVEYS = {
    "seen": None,
    "closed form": Survey(HalfSpace([1.0, 0.4], 0.5)),
    "points": Survey(GRADED),
    "on true values": Survey(GRADED, selection_on="true"),
}


@pytest.mark.parametrize("name", SURVEYS)
@pytest.mark.parametrize("model", [PLANE, BEHIND], ids=["mixture", "background"])
def test_the_slopes_are_differences_of_the_objective(name: str, model: Model) -> None:
    """With weights, gaps, a prior that frozen covariances do not feel, and the points of the unseen where they are."""
    survey = SURVEYS[name]
    constraints = Constraints(prior=InverseWishart(0.7), frozen=Frozen(covariances=frozenset({1})))
    data = _catalogue(120, model, None if survey is None else survey.selection, gaps=name != "closed form")
    with _passes(data, model, constraints, survey) as (passes, _):
        found = objective_slopes(passes(model), model, constraints) @ directions(model)
        expected = slopes(lambda at: np.array(passes(at).objective), model)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def _run(
    passes: Callable[[Model], Pass], start: Model, constraints: Constraints, ascent: Ascent | None, tol: float = 1e-13
) -> tuple[Outcome, History]:
    history = History()
    loop = em(
        constrained(start, constraints),
        maximize=lambda moments, at: maximize(moments, at, constraints),
        stopping=Stopping(tol, 20_000),
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


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrives_where_plain_em_does_in_far_fewer_passes(name: str) -> None:
    """Every accepted step raises the objective; the structure, and what is frozen, stay bit for bit."""
    data, start, constraints = ARRIVALS[name]
    with _passes(data, start, constraints) as (passes, known):
        constraints = passes.constraints
        slow, _ = _run(passes, start, constraints, None)
        n_slow = passes.count
        fast, history = _run(passes, start, constraints, QuasiNewton(constraints, known))
        n_fast = passes.count - n_slow
    assert slow.status is fast.status is Status.CONVERGED
    assert fast.last.objective >= slow.last.objective - 1e-12
    assert fast.last.objective == pytest.approx(slow.last.objective, abs=1e-8)
    assert n_fast * 4 < n_slow
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
