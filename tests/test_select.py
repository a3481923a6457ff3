"""The choice between models: readings shared, criteria and their errors against literal sums, published tables."""

import json
import math
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import likelihood
import numpy as np
import pytest
from cases import INTERVAL, LINE, Case, Measured, Variances, draw

from dgmmis import (
    Box,
    Constraints,
    Criterion,
    Fitting,
    Frozen,
    GaussianMixture,
    Search,
    Start,
    Stopping,
    Survey,
    Uniform,
)
from dgmmis.alternatives import Alternative, fit_side_by_side
from dgmmis.callback import Callback, Step
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.errors import DataError, JobError, PlanError, RefusedError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.executor import Executor, Resources
from dgmmis.execution.serial import Serial, Threads
from dgmmis.execution.tree import Partial
from dgmmis.fit import Fit, fit
from dgmmis.model_selection import Choice, Entry, cross_validate, select
from dgmmis.model_selection.fitting import abreast
from dgmmis.plan import USABLE, Work, make_plan
from dgmmis.simulate import simulate

SHARED = Path(__file__).resolve().parents[2] / "shared"
PLANE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.2, -0.3]], [np.diag([0.4, 0.9]), np.diag([0.6, 0.3])])
FAR = GaussianMixture([0.3, 0.3, 0.4], [[-6, 0], [6, 0], [0, 6]], [np.eye(2), np.diag([0.5, 2]), 1.5 * np.eye(2)])
ROUGHLY = Fitting(stopping=Stopping(1e-4))


# one job


class Counting(Serial):
    """An executor that counts the readings by what they are for."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: Counter[str] = Counter()

    def map_reduce(self, function: Callable[..., Partial], shared: Any, groups: Sequence[Sequence[Any]]) -> Partial:
        self.readings[getattr(function, "__name__", type(function).__name__)] += 1
        return super().map_reduce(function, shared, groups)


def _bits(of: Fit) -> bytes:
    mixture = of.model.mixture
    numbers = np.array([of.objective, of.model.background_fraction])
    return b"".join(array.tobytes() for array in (mixture.weights, mixture.means, mixture.covariances, numbers))


def _numbers(choice: Choice) -> np.ndarray:
    """All numbers of the table."""
    rows = [
        [e.log_likelihood, e.bic, e.icl, e.held_out, e.worse.value, e.worse.standard_error]
        for e in choice.table
        if e.worse
    ]
    assert len(rows) == len(choice.table)
    return np.array(rows)


def test_each_reading_serves_all_fits() -> None:
    """As many readings as the longest of the fits takes alone, and one that compares them; to the same bits."""
    data = ArrayDataset.of(PLANE.sample(5000, 3))
    kinds, numbers, search = ("full", "diag"), (1, 2, 3), Search(2)
    alone = {}
    for kind in kinds:
        for k in numbers:
            found = fit(data, Start(k), constraints=Constraints(covariance_type=kind), search=search, executor=Serial())
            alone[k, kind] = found
    executor = Counting()
    choice = select(data, numbers, covariance_types=kinds, fitting=Fitting(search=search), executor=executor)
    longest = max(found.n_passes for found in alone.values())
    assert executor.readings["_Sums"] == longest < sum(found.n_passes for found in alone.values()) / 2
    assert executor.readings["_compared"] == 1
    assert choice.n_passes == longest + 1
    assert _bits(choice.best) == _bits(alone[choice.n_components, choice.covariance_type])
    for entry in choice.table:
        assert entry.log_likelihood == alone[entry.n_components, entry.covariance_type].log_likelihood


def test_folds_share_readings_too_and_find_what_cross_validation_does() -> None:
    data = ArrayDataset.of(PLANE.sample(600, 4))
    executor = Counting()
    choice = select(data, [1, 2, 3], criterion=Criterion("held-out", 3), fitting=ROUGHLY, executor=executor)
    for entry in choice.table:
        alone = cross_validate(data, Start(entry.n_components), n_folds=3, stopping=Stopping(1e-4))
        assert entry.held_out == alone.log_likelihood
        assert entry.validation is not None
        difference = entry.validation - alone
        assert (difference.value, difference.standard_error) == (0, 0)
    assert executor.readings["_grouped"] == 3  # one for each fold
    assert choice.n_passes == executor.readings.total()  # those that judge a fold among them


def test_a_fit_counts_the_readings_that_served_it() -> None:
    """And none of the moves of those beside it."""
    data, search, executor = ArrayDataset.of(FAR.sample(900, 8)), Search(split_merge=2), Counting()
    alternatives = [Alternative(Start(k, "random"), "full") for k in (2, 3, 4)]
    found = fit_side_by_side(data, alternatives, search=search, executor=executor)
    assert found.n_passes == executor.readings.total()
    for of, end in zip(alternatives, found.ends, strict=True):
        assert isinstance(end, Fit)
        assert end.n_passes == fit(data, of.start, search=search).n_passes < found.n_passes


@pytest.mark.parametrize("survey", [None, Survey(Box([-np.inf, -np.inf], [2.0, np.inf]))], ids=["seen", "selected"])
def test_groups_change_readings_and_nothing_else(survey: Survey | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sums of all fits do not fit into memory together, some go after the others; on any executor."""
    points = PLANE.sample(5000, 5)
    data = ArrayDataset.of(points[points[:, 0] < 2.0])
    fitting = Fitting(stopping=Stopping(1e-2, 100, imputation_error=1.0, arrived=30.0))
    found = []
    for executor, most in ((Serial(), 32), (Threads(3), 1)):
        monkeypatch.setattr("dgmmis.model_selection.fitting.SIDE_BY_SIDE", most)
        found.append(select(data, [1, 2, 3], fitting=fitting, survey=survey, executor=executor))
        executor.close()
    together, apart = found
    assert np.array_equal(_numbers(together)[:, [0, 1, 2, 4, 5]], _numbers(apart)[:, [0, 1, 2, 4, 5]])
    assert _bits(together.best) == _bits(apart.best)
    assert apart.n_passes > together.n_passes


class Kills(Callback):
    """Kills a process of a local cluster after some passes."""

    def __init__(self, executor: Executor, after: int) -> None:
        self._executor, self.left = executor, after

    def on_step(self, step: Step) -> None:
        del step
        self._executor.survived()  # who is there now
        self.left -= 1
        if self.left == 0:
            os.kill(self._executor.everywhere(os.getpid)[0], signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(tmp_path: Path, survived: Callable[[str], None]) -> None:
    """Among the fits, and among those of the folds; on processes, and in this one."""
    data, found = simulate(tmp_path / "survey.zarr", preset="deconvolution", n=9000, seed=2), []
    for passes in (None, 10, 60):
        executor = Serial() if passes is None else connect(ClusterSpec("local", workers=2), small=False)
        kills = Kills(executor, passes or -1)
        options: dict[str, Any] = {"criterion": Criterion("held-out", 2), "covariance_types": ["full", "diag"]}
        choice = select(data, [1, 2], fitting=ROUGHLY, executor=executor, callbacks=[kills], **options)
        found.append(_numbers(choice))
        if passes is not None:
            assert kills.left <= 0
            assert executor.survived().workers_lost == 1
            survived("worker killed in a choice")
        executor.close()
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_groups_fit_into_memory() -> None:
    """As many as fit into a task's memory together, and no more than are quick; one that does not fit is refused."""
    data = ArrayDataset.of(np.random.default_rng(0).normal(size=(20_000, 3)))
    alternatives = [Alternative(Start(k), "full") for k in range(1, 41)]
    work, roomy = Work.of(data, 1), Resources(2, 2, 1 << 34)

    def needed(n_components: int) -> int:
        return make_plan(data.references, replace(work, n_components=n_components), roomy).task_bytes

    for most, n_starts in ((40, 1), (100, 1), (100, 2)):
        resources = replace(roomy, process_bytes=math.ceil(needed(most) / USABLE) + 8)
        groups = abreast(data, alternatives, n_starts, work=work, resources=resources)
        assert [of for group in groups for of in group] == alternatives
        sums = [n_starts * sum(of.start.n_components for of in group) for group in groups]
        assert all(total <= most for total, group in zip(sums, groups, strict=True) if len(group) > 1)
        following = [n_starts * group[0].start.n_components for group in groups[1:]]
        assert all(total + more > most for total, more in zip(sums, following, strict=False))
    assert [len(group) for group in abreast(data, alternatives, 1, work=work, resources=roomy)] == [32, 8]
    assert [len(group) for group in abreast(data, alternatives, 4, work=work, resources=roomy)] == [8] * 5
    with pytest.raises(PlanError, match="do not fit into a worker's memory"):
        abreast(data, alternatives, 1, work=work, resources=replace(roomy, process_bytes=int(needed(39) / USABLE)))


# criteria and their errors


@pytest.mark.parametrize("criterion", ["bic", "icl", "held-out"])
def test_three_well_separated_components_are_found(criterion: str) -> None:
    """A fourth has to gain 6 log(600) / 2 = 19 in log L for BIC, three times as much as chance does with 6 parameters;
    held-out likelihood takes it in some catalogues, not in this one."""
    data = ArrayDataset.of(FAR.sample(600, 11))
    found = select(data, range(1, 5), criterion=Criterion(criterion, 2), fitting=ROUGHLY)
    assert found.n_components == 3
    assert [entry.n_components for entry in found.table] == [1, 2, 3, 4]
    assert [entry.n_parameters for entry in found.table] == [5, 11, 17, 23]
    assert np.all(np.diff([entry.log_likelihood for entry in found.table]) > 0)
    best = found.entry
    assert best is found.table[2]
    assert best.log_likelihood == found.best.log_likelihood
    assert best.bic == pytest.approx(-2 * 600 * best.log_likelihood + 17 * np.log(600))
    assert best.aic == pytest.approx(-2 * 600 * best.log_likelihood + 34)
    assert best.icl == pytest.approx(best.bic, abs=1)
    assert best.converged
    assert not best.mark
    assert (best.validation is not None) == (criterion == "held-out")
    first = found.table[0].worse
    assert first is not None
    assert first.value > 10 * first.standard_error > 0
    assert found.recommendation.startswith(("BIC", "ICL", "The held-out log-likelihood"))
    assert " is best for 3 full; next is 4 full, worse by " in found.recommendation


def test_errors_of_differences_are_those_of_sums_over_objects() -> None:
    """With weights and a background; ICL counts the background as a component."""
    rng = np.random.default_rng(12)
    y, w = np.concatenate([PLANE.sample(150, 12), rng.uniform(-6, 6, (100, 2))]), rng.integers(0, 4, 250).astype(float)
    data = ArrayDataset.of(y, sample_weight=w)
    fitting = Fitting(Start(1, background=Uniform([-6, -6], [6, 6])))
    for name in ("bic", "aic", "icl"):
        found = select(data, [1, 2], criterion=name, fitting=fitting)
        terms = []
        for entry in found.table:
            alone = fit(data, Start(entry.n_components, background=Uniform([-6, -6], [6, 6]))).model
            mixture, nu = alone.mixture, alone.background_fraction
            inside = np.stack(
                [(1 - nu) * a * one for a, one in zip(mixture.weights, _normal(y, mixture).T, strict=True)]
            )
            of_all = np.concatenate([inside, np.full((1, 250), nu / 144)])
            certainty = np.log(of_all.max(axis=0) / of_all.sum(axis=0))
            terms.append(np.log(of_all.sum(axis=0)) + (certainty if name == "icl" else 0))
            assert entry.icl == pytest.approx(entry.bic - 2 * w @ certainty, abs=1e-8)
        worst = found.table[1 - found.table.index(found.entry)]
        difference = 2 * (terms[1] - terms[0])
        error = np.sqrt(np.sum(w**2 * (difference - w @ difference / w.sum()) ** 2))
        assert worst.worse is not None
        assert worst.worse.standard_error == pytest.approx(error, rel=1e-9)
        values = [getattr(entry, name) for entry in found.table]
        assert worst.worse.value == pytest.approx(max(values) - min(values))
        assert (found.entry.worse.value, found.entry.worse.standard_error) == (0, 0)  # type: ignore[union-attr]


def test_criteria_are_normalised_under_noise_and_selection() -> None:
    """Against the literal likelihood of objects with noise of their own in an interval."""
    case = Case("own", LINE, Measured(Variances(0.2, 0.7)), 0, INTERVAL, law="own")
    drawn = draw(case, 400, 0)
    n = len(drawn.points)
    data = ArrayDataset.of(drawn.points, drawn.noise_covariance)
    found = select(data, [1, 2], survey=case.survey, fitting=Fitting(stopping=Stopping(1e-4)))
    terms = []
    for entry in found.table:
        mixture = fit(data, Start(entry.n_components), survey=case.survey, stopping=Stopping(1e-4)).model.mixture
        population = likelihood.Population(mixture.weights, mixture.means, mixture.covariances)
        survey = likelihood.Survey(case.selection, case.on, case.law or "own", case.breaks, case.widest)
        catalogue = likelihood.Catalogue(drawn.points, drawn.covariances)
        literal = likelihood.literal_log_likelihood(catalogue, population, survey)
        assert entry.bic == pytest.approx(-2 * literal.total + entry.n_parameters * np.log(n), abs=0.1)
        terms.append(literal.log_density - literal.log_normaliser)
    worst = found.table[1 - found.table.index(found.entry)]
    assert worst.worse is not None
    difference = 2 * (terms[1] - terms[0])
    assert worst.worse.standard_error == pytest.approx(np.sqrt(n) * difference.std(), rel=0.02)


@pytest.mark.slow
def test_the_error_is_the_scatter_between_catalogues() -> None:
    """Of the difference of BIC between one component and two, over 50 catalogues: a scatter is known within a tenth."""
    differences, errors = [], []
    for seed in range(50):
        found = select(ArrayDataset.of(PLANE.sample(500, 100 + seed)), [1, 2], fitting=ROUGHLY, executor=Serial())
        one = found.table[0].worse
        assert one is not None
        differences.append(one.value)
        errors.append(one.standard_error)
    assert np.std(differences, ddof=1) == pytest.approx(np.mean(errors), rel=0.4)


# what is not to be trusted


def test_a_collapsed_component_is_not_the_best() -> None:
    """Half of the values are the same: two components can have any likelihood."""
    y = np.random.default_rng(13).normal(size=(60, 1))
    y[:30] = 0.25
    found = select(ArrayDataset.of(y), [1, 2], fitting=ROUGHLY)
    one, two = found.table
    assert two.bic < one.bic - 100
    assert two.worse is not None
    assert two.worse.value < 0
    assert "collapsed" in two.repairs[0]
    assert "collapsed" in two.mark
    assert found.n_components == 1
    assert "Left out: 2 full (component" in found.recommendation


def test_a_component_without_a_spread_of_its_own_may_be_in_the_best() -> None:
    """Half of the objects are at one place, and noise scatters them: nothing is unbounded there."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(-2, 1, (150, 1)), np.full((150, 1), 1.0)])
    noise = np.full(x.shape, 0.09)
    found = select(ArrayDataset.of(x + rng.normal(0, 0.3, x.shape), noise), [1, 2])
    assert found.n_components == 2
    assert found.entry.repairs == ()
    assert not found.entry.mark
    assert "has no spread of its own along feature 0" in found.entry.notes[0]


def test_what_has_not_settled_is_not_the_best() -> None:
    data = ArrayDataset.of(PLANE.sample(400, 15))
    found = select(data, [1, 2], fitting=Fitting(stopping=Stopping(1e-12, max_iter=4)))
    one, two = found.table
    assert one.converged
    assert not two.converged
    assert two.bic < one.bic
    assert found.n_components == 1
    assert found.recommendation.startswith(
        "BIC is best for 1 full: there is no other sound fit. Left out: 2 full (stopped"
    )
    only = select(data, [2], fitting=Fitting(stopping=Stopping(1e-12, max_iter=4)))
    assert only.recommendation.startswith("No fit is sound; among them BIC is best for 2 full (stopped at")


def test_a_smaller_model_that_is_as_good_is_named() -> None:
    """Held-out likelihood of two components, and of three that have nothing to gain."""
    data = ArrayDataset.of(FAR.sample(600, 12))
    found = select(data, [3, 4, 5], criterion=Criterion("aic"), covariance_types=["full", "diag"], fitting=ROUGHLY)
    best = found.entry
    alike = [
        entry
        for entry in found.table
        if entry.n_parameters < best.n_parameters
        and entry.worse
        and entry.worse.value <= 2 * entry.worse.standard_error
    ]
    named = min(alike, key=lambda entry: entry.n_parameters)
    assert f"{named}, with {named.n_parameters} parameters instead of {best.n_parameters}" in found.recommendation


def test_a_choice_that_has_no_meaning_is_refused() -> None:
    data = ArrayDataset.of(PLANE.sample(20, 14))
    with pytest.raises(JobError, match=r"unknown criterion 'bci'.*bic"):
        select(data, [1], criterion="bci")
    with pytest.raises(JobError, match="no numbers of components"):
        select(data, [])
    with pytest.raises(JobError, match="no covariance types"):
        select(data, [1], covariance_types=[])
    with pytest.raises(JobError, match="unknown covariance_type 'ful'"):
        select(data, [1], covariance_types=["ful"])
    with pytest.raises(JobError, match="n_folds must be at least 2"):
        Criterion("held-out", 1)
    with pytest.raises(JobError, match="n_components must be a whole number, at least 1"):
        select(data, [0, 1])
    with pytest.raises(JobError, match="too many models"):
        select(data, range(1, 402))
    with pytest.raises(DataError, match="fewer objects than components"):
        select(data, [1, 21])
    with pytest.raises(RefusedError, match="frozen components"):
        select(data, [1], fitting=Fitting(constraints=Constraints(frozen=Frozen(means=frozenset([0])))))
    with pytest.raises(RefusedError, match="a mixture to start from"):
        select(data, [1, 2], fitting=Fitting(Start(2, PLANE)))


# published tables

SAME = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}
"""Our covariance types and mclust's names for them. Ours have no other of its structures: EII is one variance for all
components, EEI one diagonal for all, and those with E and V mixed share a volume, a shape or an orientation."""


def _published(name: str) -> tuple[Any, ArrayDataset]:
    files = (SHARED / "reference" / f"mclust_{name}.json", SHARED / "data" / "classics" / f"{name}.csv")
    for file in files:
        if not file.exists():
            pytest.skip(f"needs {file.relative_to(SHARED)}, which does not come with the project")
    document = json.loads(files[0].read_text())
    table = np.genfromtxt(files[1], delimiter=",", skip_header=1)
    return document, ArrayDataset.of(table[:, : document["d"]])


@pytest.mark.parametrize(("name", "most"), [("faithful", 2), ("iris", 3)])
def test_published_criteria(name: str, most: int) -> None:
    """mclust's BIC and ICL, which have the other sign; it stops earlier, by up to 0.01 in BIC and 0.4 in ICL."""
    document, data = _published(name)
    fitting = Fitting(stopping=Stopping(1e-9))
    found = select(data, range(1, most + 1), covariance_types=list(SAME), fitting=fitting)
    for entry in found.table:
        expected = document["fits"][f"{SAME[entry.covariance_type]}_G{entry.n_components}"]
        exact = 1e-8 if entry.n_components == 1 else 0.01
        assert entry.n_parameters == expected["df"]
        assert entry.bic == pytest.approx(-expected["bic_mclust"], abs=exact)
        assert entry.icl == pytest.approx(-expected["icl_mclust"], abs=40 * exact)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("faithful", 6), ("iris", 5)])
def test_published_tables(name: str, most: int) -> None:
    """Every entry of mclust's tables that is ours: the same maximum, within 0.1 in BIC and 1 in ICL since it stops
    earlier, or a higher one, where its only start led to a lower. Of both tables the best is the same."""
    document, data = _published(name)
    numbers, stopping = range(1, most + 1), Stopping(1e-9)
    entries: list[Entry] = []
    for kinds, search in ((["full"], Search(4, 2)), (["tied", "diag", "spherical"], Search(4))):
        fitting = Fitting(stopping=stopping, search=search)
        entries += select(data, numbers, covariance_types=kinds, fitting=fitting).table
    alike = 0
    for entry in entries:
        expected = document["fits"][f"{SAME[entry.covariance_type]}_G{entry.n_components}"]
        assert entry.n_parameters == expected["df"]
        assert entry.bic <= -expected["bic_mclust"] + 0.01
        if entry.bic > -expected["bic_mclust"] - 0.1:
            alike += 1
            assert entry.icl == pytest.approx(-expected["icl_mclust"], abs=1)
    assert alike >= 11
    published = {(kind, k): document["bic_table"][SAME[kind]][f"G{k}"] for kind in SAME for k in numbers}
    best = min(entries, key=lambda entry: entry.rank(Criterion("bic")))
    assert (best.covariance_type, best.n_components) == max(published, key=lambda of: float(published[of]))


def _normal(y: np.ndarray, mixture: GaussianMixture) -> np.ndarray:
    """Densities of the components (n, k), written out."""
    offset = y[:, None] - mixture.means
    square = np.einsum("nki,kij,nkj->nk", offset, np.linalg.inv(mixture.covariances), offset)
    return np.exp(-0.5 * square) / np.sqrt(np.linalg.det(2 * np.pi * mixture.covariances))
