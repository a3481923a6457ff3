"""The search: starts and moves that share readings, the best of them, and what became of the others."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dgmmis.callback import Callback, Step
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Passing, Status, Stopping
from dgmmis.errors import JobError, NumericalError
from dgmmis.execution.executor import Executor
from dgmmis.execution.serial import Serial, Threads
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.passes import Passes
from dgmmis.preparation import prepared
from dgmmis.prior import Constraints, Frozen
from dgmmis.rounds import rounds
from dgmmis.search import Runner, Search, Searching, follow
from dgmmis.selection import Ball
from dgmmis.survey import Survey

BLOBS = GaussianMixture(
    [0.3, 0.2, 0.25, 0.25], [[-6.0, -6.0], [6.0, -5.0], [-5.0, 6.0], [6.0, 6.0]], np.tile(np.eye(2), (4, 1, 1))
)
STUCK = GaussianMixture(
    [0.15, 0.15, 0.2, 0.5],
    [[-6.3, -6.0], [-5.7, -6.0], [6.0, -5.0], [0.5, 6.0]],
    [np.eye(2), np.eye(2), np.eye(2), np.diag([30.0, 1.0])],
)
"""Two components in one blob, and one over two: a maximum, but not the best."""


QUICK = Stopping(1e-5, imputation_error=0.5)
"""Enough to tell one maximum from another."""


def _blobs(n: int = 1200, *, seed: int = 0) -> np.ndarray:
    return BLOBS.sample(n, seed)


def _names_truth(result: Fit) -> bool:
    """Whether each of the blobs has a component of its own."""
    means = result.model.mixture.means
    nearest = [int(np.argmin(np.sum((means - mean) ** 2, axis=1))) for mean in BLOBS.means]
    return sorted(nearest) == [0, 1, 2, 3] and bool(np.all(np.abs(means[nearest] - BLOBS.means) < 0.5))


def test_moves_leave_a_bad_maximum() -> None:
    data, start = ArrayDataset.of(_blobs()), Start(4, STUCK)
    stuck = fit(data, start)
    assert stuck.converged
    assert not _names_truth(stuck)
    assert [candidate.name for candidate in stuck.candidates] == ["start 0"]
    found = fit(data, start, search=Search(split_merge=1))
    assert found.converged
    assert _names_truth(found)
    assert found.objective > stuck.objective + 0.1
    best = found.candidates[1]
    assert best.name == "components 0 and 1 merged, component 3 split"
    assert best.sentence == "better than before"
    assert best.objective == pytest.approx(found.objective, abs=1e-5)
    assert found.n_passes < stuck.n_passes + 60  # six moves share their readings


def test_moves_from_the_best_gain_nothing_and_change_nothing() -> None:
    data, start = ArrayDataset.of(_blobs()), Start(4, BLOBS)
    plain = fit(data, start, stopping=Stopping(1e-9))
    found = fit(data, start, stopping=Stopping(1e-9), search=Search(split_merge=3))
    assert found.objective >= plain.objective
    assert found.objective == pytest.approx(plain.objective, abs=1e-3)
    assert sum(candidate.sentence == "the best" for candidate in found.candidates) == 1
    assert len(found.candidates) > 1
    assert _names_truth(found)


@pytest.mark.parametrize("method", ["random", "kmeans"])
def test_more_starts_never_end_lower(method: str) -> None:
    data, start = ArrayDataset.of(_blobs(400)), Start(4, method)
    found = [fit(data, start, search=Search(n), seed=5) for n in (1, 3)]
    objectives = [result.objective for result in found]
    assert objectives == sorted(objectives)
    for n, result in zip((1, 3), found, strict=True):
        starts = result.candidates[:n]
        assert [candidate.name for candidate in starts] == [f"start {m}" for m in range(n)]
        best = max(starts, key=lambda candidate: candidate.objective)
        assert best.sentence == "the best"
        assert best.objective == result.objective
        assert all(candidate.sentence == "less than the best" for candidate in starts if candidate is not best)
    # the first start is the same, whatever the number of them
    assert len({result.candidates[0].objective for result in found}) == 1


def test_starts_share_their_readings() -> None:
    """As many as the longest of them needs, and refused steps, not their sum."""
    data = ArrayDataset.of(_blobs(400))
    found = fit(data, Start(4, "random"), search=Search(6), seed=1)
    passes = [candidate.n_passes for candidate in found.candidates[:6]]
    assert max(passes) <= found.n_passes < 1.6 * max(passes)
    assert found.n_passes < 0.6 * sum(passes)
    alone = fit(data, Start(4, "random"), seed=1)
    assert alone.objective == found.candidates[0].objective  # sharing changes nothing


def test_events_say_whose_they_are() -> None:
    seen: list[Step] = []

    class Watch(Callback):
        def on_step(self, step: Step) -> None:
            seen.append(step)

    data = ArrayDataset.of(_blobs(300))
    result = fit(data, Start(4, "random"), search=Search(2), callbacks=[Watch()], stopping=Stopping(max_iter=8))
    assert {step.record.candidate for step in seen} == {"start 0", "start 1"}
    assert all(record.candidate == "" for record in result.records)
    alone = fit(data, Start(4, "random"), callbacks=[Watch()], stopping=Stopping(max_iter=3))
    assert {step.record.candidate for step in seen[-len(alone.records) :]} == {""}


def test_a_start_that_fails_does_not_take_the_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none comes to an end, the error is that of the first."""
    good, bad = Model(BLOBS), [Model(STUCK), Model(STUCK)]

    def failing(passes: Passes, model: Model, **of: Any) -> Passing:
        if model is good:
            return (yield from rounds(passes, model, **of))
        yield model
        raise NumericalError(f"no way from {'first' if model is bad[0] else 'second'}")

    monkeypatch.setattr("dgmmis.search.rounds", failing)
    data = ArrayDataset.of(_blobs(300))
    with prepared(data, 4, survey=None, constraints=Constraints(), executor=Serial()) as ready:

        def searched(models: list[Model]) -> tuple[Searching, list[Runner]]:
            search = Searching(ready.passes, ready.sample, Search(2), Stopping(1e-3), Callback())
            runners = search.runners(models, 0)
            follow(runners)
            return search, runners

        search, runners = searched([bad[0], good])
        outcome, _, history = search.best(runners)
        assert outcome.status is Status.CONVERGED
        assert len(history.records) == search.candidates[1].n_passes
        failed, best = search.candidates
        assert np.isnan(failed.objective)
        assert "no way from first" in failed.sentence
        assert best.sentence == "the best"
        search, runners = searched(bad)
        with pytest.raises(NumericalError, match="no way from first"):
            search.best(runners)


STARVED = GaussianMixture(
    [0.45, 0.25, 0.3 - 1e-9, 1e-9],
    [[0.0, -5.5], [-5.0, 6.0], [6.0, 6.0], [500.0, 500.0]],
    [np.diag([36.0, 1.0]), np.eye(2), np.eye(2), np.eye(2)],
)
"""A component far from all objects, while another covers two blobs."""


def test_a_starved_component_is_put_where_it_is_needed() -> None:
    """Without being asked: it is worth a move in any case."""
    found = fit(ArrayDataset.of(_blobs()), Start(4, STARVED))
    assert found.converged
    assert _names_truth(found)
    assert not found.repairs
    assert any("component 0 split" in candidate.name for candidate in found.candidates)


def test_a_starved_component_under_a_selection() -> None:
    points = _blobs(1500)
    selection = ~Ball([6.0, 6.0], 1.0)
    points = points[selection(points) > 0]
    found = fit(ArrayDataset.of(points), Start(4, STARVED), survey=Survey(selection), stopping=QUICK)
    assert found.converged
    assert _names_truth(found)
    assert found.completeness == pytest.approx(len(points) / 1500, abs=0.04)


def test_moves_under_a_selection() -> None:
    """The same imputed points for all of them, and rounds of new ones for the best."""
    points = _blobs(1500)
    selection = ~Ball([6.0, 6.0], 1.0)
    points = points[selection(points) > 0]
    data, survey, stopping = ArrayDataset.of(points), Survey(selection), QUICK
    stuck = fit(data, Start(4, STUCK), survey=survey, stopping=stopping)
    found = fit(data, Start(4, STUCK), survey=survey, stopping=stopping, search=Search(split_merge=1))
    assert not _names_truth(stuck)
    assert _names_truth(found)
    assert found.status is Status.CONVERGED
    assert found.objective > stuck.objective + 0.1


@pytest.mark.parametrize("parameter", ["weights", "means", "covariances"])
def test_what_is_frozen_is_not_moved(parameter: str) -> None:
    """The component over two blobs is frozen in part: what is left are moves of the others."""
    frozen = Frozen.parse({parameter: [3]}, 4)
    found = fit(
        ArrayDataset.of(_blobs(500)),
        Start(4, STUCK),
        constraints=Constraints(frozen=frozen),
        search=Search(split_merge=1),
    )
    now, then = getattr(found.model.mixture, parameter)[3], getattr(STUCK, parameter)[3]
    np.testing.assert_allclose(now, then, rtol=1e-13)
    moves = [candidate.name for candidate in found.candidates[1:]]
    assert moves
    assert not any("3" in name for name in moves)


def test_one_free_component_cannot_be_moved() -> None:
    frozen = Frozen.parse({"means": [0, 1]}, 4)
    found = fit(
        ArrayDataset.of(_blobs(400)),
        Start(4, STUCK),
        constraints=Constraints(frozen=frozen),
        search=Search(split_merge=2),
    )
    assert len(found.candidates) == 1


def _bits(result: Fit) -> bytes:
    mixture = result.model.mixture
    arrays = (mixture.weights, mixture.means, mixture.covariances, np.array([r.objective for r in result.records]))
    others = np.array([candidate.objective for candidate in result.candidates])
    return b"".join(a.tobytes() for a in (*arrays, others))


@pytest.mark.parametrize("survey", [None, Survey(~Ball([6.0, 6.0], 1.0))], ids=["seen", "selected"])
def test_the_same_bits_on_any_executor(survey: Survey | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts side by side, moves side by side: leaves of 4096 rows in tasks of any number."""
    monkeypatch.setattr("dgmmis.search.MOVE_PASSES", 4)
    points = _blobs(5000)
    if survey is not None:
        assert survey.selection is not None
        points = points[survey.selection(points) > 0]
    data, found = ArrayDataset.of(points), []
    start = Start(4, replace(STUCK, weights=np.array([0.2, 0.1, 0.2, 0.5])))
    for executor in (Serial(), Threads(3)):
        found.append(_searched(data, start, survey, executor))
        executor.close()
    assert _bits(found[0]) == _bits(found[1])
    assert len(found[0].candidates) > 2


def _searched(data: ArrayDataset, start: Start, survey: Survey | None, executor: Executor) -> Fit:
    return fit(
        data,
        start,
        survey=survey,
        stopping=Stopping(1e-2, 100, imputation_error=1.0, arrived=30.0),
        search=Search(2, 1),
        seed=3,
        executor=executor,
    )


def test_no_more_passes_than_asked_for() -> None:
    found = fit(ArrayDataset.of(_blobs(300)), Start(4, STUCK), stopping=Stopping(max_iter=5), search=Search(2, 2))
    assert found.status is Status.MAX_ITERATIONS
    assert len(found.candidates) == 2  # no time for moves
    assert found.n_passes <= 5


def test_a_search_for_nothing_is_refused() -> None:
    with pytest.raises(JobError, match="number of starts must be a whole number, at least 1"):
        Search(0)
    with pytest.raises(JobError, match=r"split_merge.*must be a whole number, at least 0"):
        Search(1, -1)
