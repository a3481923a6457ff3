"""The arithmetic of the model of a pass on a cluster."""

import numpy as np
import pytest

from tests.benchmarks.scaling_model import Pass, PassModel, task_seconds


def test_the_tree_of_joins() -> None:
    assert Pass(1, 1, 1, 0.0, 0.0, 0.0).levels == []
    assert Pass(1, 1, 8, 0.0, 0.0, 0.0).levels == [1]
    assert Pass(1, 1, 9, 0.0, 0.0, 0.0).levels == [2, 1]
    assert Pass(1, 1, 1000, 0.0, 0.0, 0.0).levels == [125, 16, 2, 1]


def test_amounts_by_hand() -> None:
    of = Pass(workers=4, hands=2, tasks=18, task_seconds=0.5, sum_bytes=10.0, model_bytes=7.0)
    # 3 joins, then 1; five rounds of tasks; two rounds of joins on two hands, then one, each of eight sums
    assert of.amounts().tolist() == [1.0, 22.0, 2.5, 3 * 8 * 10.0, 28.0, 16.0]


def test_seconds_are_the_sum_of_the_terms() -> None:
    model = PassModel(1.0, 0.1, 2.0, 0.01, 0.001, 0.25)
    of = Pass(4, 2, 18, 0.5, 10.0, 7.0)
    terms = {"start": 1.0, "scheduling": 2.2, "work": 5.0, "joining": 2.4, "broadcast": 0.028, "crowding": 4.0}
    assert model.terms(of) == pytest.approx(terms)
    assert model.seconds(of) == pytest.approx(sum(terms.values()))


def test_the_fit_finds_what_made_the_numbers() -> None:
    truth = PassModel(0.03, 1e-3, 1.1, 2e-9, 0.0, 1e-4)
    passes = [
        Pass(workers, 2, workers * each, seconds, size, size / 3)
        for workers in (1, 4, 16, 64)
        for each in (1, 3)
        for seconds in (0.0, 0.1)
        for size in (1e3, 4e6)
    ]
    noise = 1 + 0.01 * np.random.default_rng(0).normal(size=len(passes))
    found = PassModel.fitted(passes, [truth.seconds(of) * f for of, f in zip(passes, noise, strict=True)])
    unseen = Pass(1000, 1000, 2000, 0.5, 1e5, 1e5)
    assert found.seconds(unseen) == pytest.approx(truth.seconds(unseen), rel=0.05)
    assert min(found.start, found.per_task, found.work, found.per_sum_byte, found.per_model_byte, found.crowding) >= 0


def test_more_workers_than_tasks_are_no_help() -> None:
    model = PassModel(0.03, 1e-3, 1.0, 1e-9, 1e-9)
    assert model.seconds(Pass(200, 200, 100, 1.0, 0.0, 0.0)) == model.seconds(Pass(100, 100, 100, 1.0, 0.0, 0.0))


def test_reading_counts_where_it_is_longer_and_nothing_is_kept() -> None:
    assert task_seconds(0.5, 1e8, 1e9, kept=False) == 0.5
    assert task_seconds(0.5, 1e9, 1e9, kept=False) == 1.0
    assert task_seconds(0.5, 1e9, 1e9, kept=True) == 0.5
