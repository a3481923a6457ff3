"""What a plan says of the points of a fit under a selection, against what fits draw and keep."""

from dataclasses import replace

import numpy as np
import pytest

from dgmmis.callback import Callback, Step
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Status, Stopping
from dgmmis.execution.executor import Resources
from dgmmis.execution.resident import RESIDENT
from dgmmis.execution.serial import Serial, Threads
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise_classes import Partition, single_class
from dgmmis.plan import Work, make_plan
from dgmmis.quadrature import REPLICATES, Round, most_drawn
from dgmmis.selection import Ball, HalfSpace
from dgmmis.survey import Survey

TRUTH = GaussianMixture([0.6, 0.4], [[0.0, 0.0], [3.0, 1.0]], [np.eye(2), 0.5 * np.eye(2)])
HOLE = Survey(~Ball([1.0, 0.5], 1.0))
ROOMY = Resources(2, 1, 1 << 34)


def seen_of(survey: Survey, n: int, *, noise: float = 0.0, gaps: float = 0.0) -> ArrayDataset:
    """A catalogue of what is seen of n objects, some of whose values go missing."""
    rng = np.random.default_rng(n)
    points = TRUTH.sample(n, 1) + np.sqrt(noise) * rng.standard_normal((n, 2))
    assert survey.selection is not None
    points = points[np.asarray(survey.selection(points)) > rng.random(n)]
    points[rng.random(len(points)) < gaps, 1] = np.nan
    return ArrayDataset.of(points, noise * np.eye(2) if noise else None)


class Kept(Callback):
    """The most bytes that this process kept between passes, of all that it reads and of latent points."""

    def __init__(self) -> None:
        self.nbytes = self.latent = 0

    def on_step(self, step: Step) -> None:
        self.nbytes = max(self.nbytes, RESIDENT.nbytes)
        latent = sum(entry.nbytes for (_, key), entry in RESIDENT._entries.items() if "latent" in key)
        self.latent = max(self.latent, latent)


def test_a_fit_that_wants_the_most_points_draws_about_as_many_as_the_plan_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dgmmis.quadrature.MOST_POINTS", 1 << 16)
    monkeypatch.setattr("dgmmis.quadrature.WANTED", 80)
    data, kept = seen_of(HOLE, 4000), Kept()
    stopping = Stopping(1e-5, imputation_error=1e-6)
    found = fit(data, Start(2, TRUTH), survey=HOLE, stopping=stopping, executor=Threads(2), callbacks=[kept])
    assert found.status is Status.IMPRECISE
    assert found.points_of is not None
    drawn, promised = found.points_of.n_points, found.plan.unseen
    assert promised.n_points / 4 < drawn <= promised.n_points
    # what workers keep is of one round: points where Omega is one are not among them
    rows = found.plan.n_rows * Work.of(data, 2, HOLE).row_bytes
    assert rows < kept.nbytes < rows + promised.nbytes / promised.n_points * drawn
    assert kept.nbytes <= found.plan.kept_bytes


@pytest.mark.parametrize("n_classes", [1, 3, 700])
@pytest.mark.parametrize("n_points", [1, 5000, 1 << 17])
def test_no_round_draws_more_than_is_allotted(n_classes: int, n_points: int) -> None:
    sample = seen_of(HOLE, 500).whole
    survey = HOLE.completed(sample, 2)
    (one,) = single_class(survey, sample)
    shares = np.random.default_rng(0).dirichlet(np.full(n_classes, 0.3))
    classes = tuple(replace(one, share=float(share)) for share in shares)
    partition = Partition.of(sample, survey, np.eye(2), 0)
    points_of = Round.of(Model(TRUTH), n_points, 0, 0, classes=classes, partition=partition)
    assert n_points <= points_of.n_points <= most_drawn(n_points, n_strata=2, n_classes=n_classes)
    assert points_of.n_points % REPLICATES == 0


def test_where_bounds_have_a_closed_form_no_points_are_allotted() -> None:
    bound = Survey(HalfSpace([1.0, 0.3], 1.0))
    data = seen_of(bound, 500, noise=0.1)
    exact = fit(data, Start(2, TRUTH), survey=bound, executor=Serial())
    assert exact.last.monte_carlo is not None
    assert not exact.last.monte_carlo.errors.any()
    assert Work.of(data, 2, bound, start=Start(2, TRUTH)).unseen.n_points == 0
    assert Work.of(data, 2, bound, start=Start(2, TRUTH, cutoff=5.0)).unseen.n_points > 0


def test_latent_points_stay_within_what_is_allotted() -> None:
    data, kept = seen_of(HOLE, 3000, noise=0.05, gaps=0.2), Kept()
    found = fit(data, Start(2, TRUTH), survey=HOLE, stopping=Stopping(1e-4, 4), executor=Serial(), callbacks=[kept])
    assert found.points_of is not None
    objects = found.plan.latent.n_points / 2048
    assert objects == pytest.approx(0.2 * found.plan.n_rows, rel=0.1)
    assert 0 < kept.latent <= found.plan.latent.nbytes * found.points_of.latent_points / 2048


def test_a_plan_says_what_is_kept_of_the_points_and_what_the_rest_costs() -> None:
    data = seen_of(HOLE, 20_000)
    work = Work.of(data, 2, HOLE, start=Start(2, TRUTH))
    roomy = make_plan(data.references, work, ROOMY)
    assert roomy.points_kept == 1.0
    line = dict(roomy.lines())["imputed points"]
    assert line.startswith(f"at most {roomy.unseen.n_points:,}, ")
    assert "kept between passes" in line
    room = roomy.kept_bytes - roomy.unseen.nbytes / 2
    tight = make_plan(data.references, work, Resources(2, 1, int((roomy.task_bytes + room) / 0.7)))
    assert tight.resident
    assert tight.points_kept == pytest.approx(0.5, abs=0.01)
    assert tight.kept_bytes == pytest.approx(room, rel=1e-3)
    assert "50 % of them kept, others drawn in every pass" in dict(tight.lines())["imputed points"]
    assert "imputed points" not in dict(make_plan(data.references, Work.of(data, 2), ROOMY).lines())
