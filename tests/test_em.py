"""The loop: what it accepts, when it stops, and that acceleration changes the way, not the goal."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.callback import Callback, History, Step
from dgmmis.chunk import Chunk
from dgmmis.coordinates import movement, parameters, with_parameters
from dgmmis.em import Ascent, Outcome, Pass, Status, Stopping, em, passed
from dgmmis.errors import JobError, NumericalError
from dgmmis.estep import leaf_moments
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.noise import NoNoise
from dgmmis.prior import Constraints
from dgmmis.quasi_newton import QuasiNewton


class _Accumulate:
    """Passes over points in memory; counts them."""

    def __init__(self, points: np.ndarray) -> None:
        self.leaves, self.count = list(Chunk(points, NoNoise()).leaves()), 0

    def __call__(self, model: Model) -> Pass:
        self.count += 1
        total = Moments.zero(model.mixture.n_components, model.mixture.n_features)
        for leaf in self.leaves:
            total = total + leaf_moments(model, leaf)
        mean = total.log_likelihood / total.n_samples
        return Pass(total, mean, mean, total.n_samples)


def _overlapping(n: int = 4000) -> tuple[np.ndarray, Model]:
    """Two components two sigma apart: EM needs hundreds of passes."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(-1, 1, (n // 2, 1)), rng.normal(1, 1, (n // 2, 1))])
    return points, Model(GaussianMixture([0.3, 0.7], [[-0.4], [0.6]], [[[1.0]], [[1.5]]]))


def _run(accumulate: _Accumulate, model: Model, stopping: Stopping, ascent: Ascent | None) -> tuple[Outcome, History]:
    history = History()
    loop = em(
        model,
        maximize=lambda moments, at: maximize(moments, at, Constraints()),
        stopping=stopping,
        ascent=ascent,
        callback=history,
    )
    return passed(loop, accumulate), history


def test_acceleration_goes_to_the_same_maximum_in_far_fewer_passes() -> None:
    points, model = _overlapping()
    plain, quick = _Accumulate(points), _Accumulate(points)
    slow, slow_history = _run(plain, model, Stopping(1e-13, 20_000), None)
    fast, fast_history = _run(quick, model, Stopping(1e-13, 20_000), QuasiNewton(Constraints()))
    assert slow.status is fast.status is Status.CONVERGED
    assert fast.last.objective == pytest.approx(slow.last.objective, abs=1e-8)
    assert fast.last.objective >= slow.last.objective - 1e-12
    assert quick.count * 10 < plain.count
    for history in (slow_history, fast_history):
        gains = [record.gain for record in history.records[1:]]
        assert min(gains) >= -1e-13  # rounding of a sum of 4000 terms
    assert fast_history.records[-1].iteration + 1 == quick.count  # refused steps are counted as passes


def test_stops_at_max_iter_with_the_best_model_and_says_so() -> None:
    points, model = _overlapping()
    accumulate = _Accumulate(points)
    outcome, history = _run(accumulate, model, Stopping(max_iter=7), QuasiNewton(Constraints()))
    assert outcome.status is Status.MAX_ITERATIONS
    assert accumulate.count == 7
    assert outcome.last.objective == max(record.objective for record in history.records)
    assert "raise max_iter" in outcome.status.value


def test_settled_needs_gain_and_closeness() -> None:
    stopping = Stopping(1e-6)
    assert stopping.settled(1e-7, 1e-4, 100.0)
    assert not stopping.settled(1e-5, 1e-4, 100.0)  # the objective still rises
    assert not stopping.settled(1e-7, 1e-2, 100.0)  # and will
    assert not stopping.settled(1e-7, 2 * stopping.arrived / 1e3, 1e6)  # a parameter is this part of its error bar away
    assert not stopping.settled(1e-7, float("inf"), 100.0)  # nobody knows
    assert not stopping.settled(float("nan"), 0.0, 100.0)  # nothing to compare with


class _Promising(QuasiNewton):
    """Takes the steps of EM, and says of each pass what it has been told to say."""

    def __init__(self, distances: Sequence[float]) -> None:
        super().__init__(Constraints())
        self._distances = iter(distances)

    def propose(self, model: Model, result: Pass, image: Model) -> Model | None:
        self.distance = next(self._distances)
        return None


@pytest.mark.parametrize(
    ("distances", "last"),
    [
        ([1.0, 1e-1, 1e-2, 1e-9, 1e-10], 3),  # falls, and arrives
        ([1e-1, 1e-2, 1.0, 1e-9, 1e-9, 1e-9, 1e-10], 5),  # rose again: believed when that is past
        ([1.0, np.inf, 1e-9, 1e-9, 1e-9, 1e-10], 4),  # nobody knew in between
        ([np.inf, 1e-10, 2e-10, 1e-10], 2),  # by rounding
    ],
)
def test_a_distance_that_rose_again_is_not_believed(distances: Sequence[float], last: int) -> None:
    points, model = _overlapping()
    outcome, history = _run(_Accumulate(points), model, Stopping(1.0), _Promising(distances))
    assert outcome.status is Status.CONVERGED
    assert history.records[-1].iteration == last


def test_a_pass_that_is_not_finite_is_an_error() -> None:
    _, model = _overlapping()

    def broken(model: Model) -> Pass:
        moments = Moments.zero(2, 1) * float("nan")
        return Pass(moments, 0.0, 0.0, 1.0)

    with pytest.raises(NumericalError, match="not finite"):
        passed(
            em(
                model,
                maximize=lambda moments, at: maximize(moments, at, Constraints()),
                stopping=Stopping(),
                callback=Callback(),
            ),
            broken,
        )


def test_events_come_in_order_with_models() -> None:
    points, model = _overlapping()
    seen: list[Step] = []

    class Watch(Callback):
        def on_step(self, step: Step) -> None:
            seen.append(step)

    loop = em(
        model,
        maximize=lambda moments, at: maximize(moments, at, Constraints()),
        stopping=Stopping(max_iter=4),
        callback=Watch(),
    )
    passed(loop, _Accumulate(points))
    assert [step.record.iteration for step in seen] == [0, 1, 2, 3]
    assert seen[0].model is model
    assert np.isnan(seen[0].record.gain)
    assert all(step.record.gain > 0 for step in seen[1:])


def test_parameters_round_trip() -> None:
    rng = np.random.default_rng(0)
    factors = np.tril(rng.normal(size=(3, 4, 4))) + 3 * np.eye(4)
    mixture = GaussianMixture(rng.dirichlet(np.ones(3)), rng.normal(size=(3, 4)), factors @ np.swapaxes(factors, 1, 2))
    model = Model(mixture, Uniform(np.full(4, -9.0), np.full(4, 9.0)), 0.2)
    theta = parameters(model)
    moved = with_parameters(model, theta, np.full(len(theta), 1e-3))
    assert moved is not None
    back = with_parameters(moved, parameters(moved), theta - parameters(moved))
    assert back is not None
    np.testing.assert_allclose(back.mixture.weights, mixture.weights, rtol=1e-13)
    np.testing.assert_allclose(back.mixture.covariances, mixture.covariances, rtol=1e-12)
    assert back.background_fraction == pytest.approx(0.2, rel=1e-13)
    assert movement(model, back) == pytest.approx(0, abs=1e-11)


def test_what_does_not_move_stays_bit_for_bit() -> None:
    model = Model(GaussianMixture([0.2, 0.3, 0.5], np.eye(3, 2), np.tile([[0.3, -0.1], [-0.1, 0.5]], (3, 1, 1))))
    theta = parameters(model)
    step = np.full(len(theta), 0.1)
    step[0] = 0  # weight of component 0
    step[9 + 3 : 9 + 6] = 0  # covariance of component 1
    moved = with_parameters(model, theta, step)
    assert moved is not None
    assert moved.mixture.weights[0] == 0.2
    assert moved.mixture.weights.sum() == pytest.approx(1, abs=1e-15)
    assert np.array_equal(moved.mixture.covariances[1], model.mixture.covariances[1])
    assert not np.array_equal(moved.mixture.covariances[0], model.mixture.covariances[0])


def test_movement_is_in_sigmas_times_the_root_of_the_weight() -> None:
    old = Model(GaussianMixture([0.25, 0.75], [[0.0], [10.0]], [[[4.0]], [[1.0]]]))
    new = Model(GaussianMixture([0.25, 0.75], [[0.2], [10.0]], [[[4.0]], [[1.0]]]))
    assert movement(old, new) == pytest.approx(0.1 * np.sqrt(0.25))
    behind = Uniform([-20], [20])
    old, new = (replace(model, background=behind, background_fraction=nu) for model, nu in ((old, 0.25), (old, 0.27)))
    assert movement(old, new) == pytest.approx(0.02 / 0.5)


def test_wrong_tolerances_are_refused() -> None:
    with pytest.raises(JobError, match="tol must be positive"):
        Stopping(0.0)
    with pytest.raises(JobError, match="arrived must be finite"):
        Stopping(arrived=np.inf)
    with pytest.raises(JobError, match="max_iter"):
        Stopping(max_iter=0)
