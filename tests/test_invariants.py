"""Invariants: each is violated by a planted fault, and named; a fit stops at it and keeps the last good model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.callback import Callback, Step
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Pass
from dgmmis.errors import NumericalError
from dgmmis.estep import leaf_moments
from dgmmis.execution.serial import Serial
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.invariants import InvariantError, require_invariants
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise import NoNoise
from dgmmis.search import Search


def doctored(**values: object) -> Model:
    """A model of two components on a background, with values that its classes would refuse."""
    mixture = GaussianMixture([0.4, 0.6], [[0.0, 0.0], [3.0, 1.0]], [np.eye(2), [[1.0, 0.5], [0.5, 2.0]]])
    model = Model(mixture, Uniform([-9, -9], [9, 9]), 0.1)
    for name, value in values.items():
        target = mixture if hasattr(mixture, name) else model
        object.__setattr__(target, name, value)
    return model


def passed(**values: object) -> Pass:
    """The pass of an unspoilt model over some points."""
    points = np.random.default_rng(1).normal(size=(500, 2))
    (leaf,) = Chunk(points, NoNoise(), log_background=np.full(500, np.log(1 / 324))).leaves()
    moments = leaf_moments(doctored(), leaf)
    mean = moments.log_likelihood / moments.n_samples
    return replace(Pass(moments, mean, mean, moments.n_samples), **values)


def covariances(k: int, i: int, j: int, value: float) -> np.ndarray:
    changed = doctored().mixture.covariances.copy()
    changed[k, i, j] = value
    return changed


MEAN = np.array([[0.0, 0.0], [np.inf, 1.0]])
FLAT = np.array([np.eye(2), [[1.0, 1.5], [1.5, 2.0]]])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"weights": np.array([-0.1, 1.1])}, r"the weight of component 0: expected in \[0, 1\], got -0.1"),
        ({"weights": np.array([0.4, np.nan])}, "the weight of component 1"),
        ({"weights": np.array([0.4, 0.6 + 1e-5])}, "the sum of the weights: expected 1, got 1.00001"),
        ({"means": MEAN}, "the mean of component 1 in feature 0: expected a finite number, got inf"),
        ({"covariances": covariances(0, 1, 0, np.nan)}, "covariance of component 0 between features 1 and 0.*got nan"),
        ({"covariances": covariances(1, 1, 1, -2.0)}, "variance of component 1 in feature 1: .*positive.*got -2.0"),
        (
            {"covariances": covariances(1, 0, 1, 0.4)},
            "component 1 between features 0 and 1: expected symmetric, 0.5",
        ),
        ({"covariances": FLAT}, "smallest eigenvalue of the correlations of component 1.*got -0.06"),
        ({"background_fraction": 1.0}, r"background fraction: expected in \[0, 1\), got 1.0"),
        ({"background": None}, "background fraction: expected 0 without a background, got 0.1"),
    ],
)
def test_a_model_that_cannot_be_is_named(values: dict[str, object], said: str) -> None:
    require_invariants(doctored(), passed())
    with pytest.raises(InvariantError, match=said) as caught:
        require_invariants(doctored(**values), passed())
    assert caught.value.exit_code == 1
    assert isinstance(caught.value, NumericalError)
    assert "no property of the data" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"completeness": 0.0}, r"the completeness: expected in \(0, 1\], got 0.0"),
        ({"completeness": 1.1}, "the completeness"),
        ({"completeness": np.nan}, "the completeness"),
        ({"moments": passed().moments * 0.5}, "observed and imputed objects: expected 500.0, N / Z, got 250"),
        ({"moments": replace(passed().moments, background=3.0)}, "responsibilities of all.*expected 500.0, as many"),
    ],
)
def test_a_pass_that_cannot_be_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvariantError, match=said):
        require_invariants(doctored(), passed(**values))


def test_more_than_all_may_be_found_by_chance() -> None:
    found = passed().moments
    result = passed(completeness=1.1, completeness_error=0.05, moments=found * (1 / 1.1))
    require_invariants(doctored(), result)


def test_the_objective_may_not_go_down_but_by_what_it_is_known_to() -> None:
    model, good = doctored(), passed()
    lower = replace(good, objective=good.objective - 1e-6)
    with pytest.raises(InvariantError, match="the objective went down within a round: expected at least") as caught:
        require_invariants(doctored(), lower, before=(model, good))
    assert caught.value.model is model
    require_invariants(doctored(), lower, before=(model, good), ascends=False)
    require_invariants(doctored(), lower, before=(model, replace(good, completeness_error=1e-6)))
    require_invariants(doctored(), replace(good, objective=good.objective - 1e-12), before=(model, good))
    hidden = passed(completeness=1e-10, moments=good.moments * 1e10)  # 1 - Z has no more digits than that
    require_invariants(doctored(), replace(hidden, objective=hidden.objective - 1e-6), before=(model, hidden))


class _Faulty(Serial):
    """An executor whose sums are spoilt from some pass on."""

    def __init__(self, spoil: Callable[[Moments], Moments], after: int) -> None:
        self._spoil, self._left = spoil, after

    def map_reduce(self, *arguments: Any) -> Any:
        sums = super().map_reduce(*arguments)
        self._left -= 1
        if self._left < 0:  # of one leaf: there is one node
            for node in [node for node in sums.nodes if node.tree.endswith("observed")]:
                sums.nodes[node] = self._spoil(sums.nodes[node])
        return sums


class _Kept(Callback):
    def __init__(self) -> None:
        self.models: list[Model] = []

    def on_step(self, step: Step) -> None:
        self.models.append(step.model)


def _lost_objects(moments: Moments) -> Moments:
    return replace(moments, n_samples=moments.n_samples - 1)


def _lost_weight(moments: Moments) -> Moments:
    weight = moments.weight.copy()
    weight[1] *= 1 - 1e-7
    return replace(moments, weight=weight)


def _lost_likelihood(moments: Moments) -> Moments:
    return replace(moments, log_likelihood=moments.log_likelihood - moments.n_samples)


@pytest.mark.parametrize("n_starts", [1, 3])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_lost_objects, "summed over observed and imputed objects: expected 1999.0"),
        (_lost_weight, "summed over observed and imputed objects: expected 2000.0, .*got 1999.99"),
        (_lost_likelihood, "the objective went down within a round"),
    ],
)
def test_a_fit_stops_at_a_spoilt_sum_and_keeps_the_last_good_model(
    spoil: Callable[[Moments], Moments], said: str, n_starts: int
) -> None:
    rng = np.random.default_rng(2)
    data = ArrayDataset.of(np.concatenate([rng.normal(-1, 1, (1000, 2)), rng.normal(1, 1, (1000, 2))]))
    kept = _Kept()
    search = Search(n_starts=n_starts)
    with pytest.raises(InvariantError, match=said) as caught:
        fit(data, Start(2), search=search, executor=_Faulty(spoil, 4), callbacks=[kept])
    if n_starts == 1:
        assert caught.value.model is kept.models[-1]
