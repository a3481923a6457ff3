"""fit(): surveys of every kind, the limits that tie them together, and refusals that say why."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.callback import Callback, Step
from dgmmis.dataset.arrays import ArrayDataset, CatalogueLike
from dgmmis.em import Stopping
from dgmmis.errors import DataError, JobError, PlanError, RefusedError, ShapeError, StoreError
from dgmmis.execution.executor import Resources
from dgmmis.execution.serial import Serial
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise_law import ConstantNoise, NoiseFunction
from dgmmis.plan import Work, make_plan, shared_out
from dgmmis.prior import Constraints, Frozen, InverseWishart
from dgmmis.selection import Ball, Box, FromFunction, HalfSpace
from dgmmis.simulate import simulate
from dgmmis.survey import Survey

TRUTH = GaussianMixture(
    [0.35, 0.65], [[-1.0, 0.5], [1.5, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]]
)
NOISE = np.array([[0.09, 0.02], [0.02, 0.04]])


def _catalogue(n: int, seed: int, selection: object = None, noise: np.ndarray = NOISE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = TRUTH.sample(n, rng) + rng.multivariate_normal(np.zeros(2), noise, size=n)
    if selection is None:
        return points
    return points[rng.random(n) < selection(points)]  # type: ignore[operator]


def _distance(result: Fit, truth: GaussianMixture = TRUTH) -> float:
    """Largest distance of a parameter from the truth, in its error if every object's component were known and seen."""
    mixture = result.model.mixture
    order = [int(np.argmin(((mixture.means - mean) ** 2).sum(axis=1))) for mean in truth.means]
    assert sorted(order) == list(range(truth.n_components))
    objects = result.n_samples * truth.weights
    sigma = np.sqrt(np.diagonal(truth.covariances, axis1=1, axis2=2))
    means = np.abs(mixture.means[order] - truth.means) / sigma * np.sqrt(objects)[:, None]
    unit = sigma[:, :, None] * sigma[:, None, :]
    covariances = np.abs(mixture.covariances[order] - truth.covariances) / unit * np.sqrt(objects / 2)[:, None, None]
    weights = np.abs(mixture.weights[order] - truth.weights) / np.sqrt(
        truth.weights * (1 - truth.weights) / result.n_samples
    )
    return float(max(means.max(), covariances.max(), weights.max()))


SELECTIONS = {
    "box": Box([-2.0, -1.5], [2.5, 2.0]),
    "cut": HalfSpace([1.0, 0.3], 1.5),
    "hole": ~Ball([1.5, -0.5], 0.6),
    "graded": HalfSpace([-1.0, 0.0], 0.5, softness=0.6),
    "union": Box([-9, -9], [0.5, 9]) | HalfSpace([0, 1], -0.2, softness=0.3),
    "function": FromFunction(lambda y: 0.2 + 0.7 * np.exp(-0.5 * ((y - 1) ** 2).sum(axis=1))),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_population_is_recovered_under_selection(name: str) -> None:
    """Noisy and truncated, hard and graded, within 12 of the errors of complete data without noise.

    Noise and selection enlarge the errors two- to threefold, so this is four to six standard errors for each of
    eleven parameters: a false alarm below 1e-3, and none at this seed. Weighing objects by 1/Omega, or ignoring the
    selection, is off by 15 to 100.
    """
    selection = SELECTIONS[name]
    points = _catalogue(40_000, 11, selection)
    result = fit(ArrayDataset.of(points, NOISE), Start(2), survey=Survey(selection))
    assert result.converged
    assert _distance(result) < 12
    expected = len(points) / 40_000
    assert abs(result.completeness - expected) < 0.03 * expected + 5 * result.completeness_error
    ignorant = fit(ArrayDataset.of(points, NOISE), Start(2))
    assert _distance(ignorant) > 15


def test_nothing_missing_is_the_plain_fit_bit_for_bit() -> None:
    points = _catalogue(5000, 3)
    plain = fit(ArrayDataset.of(points, NOISE), Start(2))
    everything = fit(ArrayDataset.of(points, NOISE), Start(2), survey=Survey(HalfSpace([1.0, 0.0], np.inf)))
    assert everything.completeness == 1
    assert everything.records[0].objective == plain.records[0].objective
    for name in ("weights", "means", "covariances"):
        first = getattr(plain.model.mixture, name)
        assert (
            np.abs(getattr(everything.model.mixture, name) - first).max() < 5e-4
        )  # settled a little finer: 0.03 errors
    steps = min(len(plain.records), sum(record.round == 0 for record in everything.records))
    for mine, theirs in zip(plain.records[:steps], everything.records[:steps], strict=True):
        assert mine.objective == theirs.objective


def test_a_noise_law_as_a_function_of_position() -> None:
    """Noise that grows with x: the law is part of the likelihood of what was not seen."""
    rng = np.random.default_rng(4)
    selection = Box([-2.0, -1.5], [1.6, 2.0])

    def law(points: np.ndarray) -> np.ndarray:
        sigma = 0.15 + 0.1 / (1 + np.exp(-points[:, 0]))
        return sigma[:, None, None] ** 2 * np.eye(2)

    true = TRUTH.sample(40_000, rng)
    points = true + np.einsum("nij,nj->ni", np.linalg.cholesky(law(true)), rng.normal(size=true.shape))
    points = points[selection(points) > 0]
    result = fit(ArrayDataset.of(points, law(points)), Start(2), survey=Survey(selection, NoiseFunction(law)))
    assert result.converged
    assert _distance(result) < 12


def test_background_and_selection_together() -> None:
    rng = np.random.default_rng(8)
    background = Uniform([-5, -5], [5, 5])
    population = Model(TRUTH, background, 0.3)
    noise = np.diag(np.diagonal(NOISE))
    points = population.sample(60_000, rng) + rng.multivariate_normal(np.zeros(2), noise, size=60_000)
    selection = HalfSpace([1.0, 0.0], 1.5)
    points = points[selection(points) > 0]
    start = Start(2, background=background)
    result = fit(ArrayDataset.of(points, noise), start, survey=Survey(selection))
    assert result.converged
    assert result.model.background_fraction == pytest.approx(0.3, abs=0.015)  # about four standard errors
    assert _distance(result) < 15


def test_missing_features_and_weights() -> None:
    rng = np.random.default_rng(5)
    points = _catalogue(30_000, 6)
    points[rng.random(points.shape) < 0.25] = np.nan
    result = fit(ArrayDataset.of(points, NOISE), Start(2))
    assert _distance(result) < 12
    thin = points[:4000]
    stopping = Stopping(1e-13)  # other rows are looked at on the way, and the way is another
    twice = fit(ArrayDataset.of(np.repeat(thin, 2, axis=0), NOISE), Start(2, TRUTH), stopping=stopping)
    weighted = fit(ArrayDataset.of(thin, NOISE, sample_weight=np.full(4000, 2.0)), Start(2, TRUTH), stopping=stopping)
    np.testing.assert_allclose(twice.model.mixture.means, weighted.model.mixture.means, rtol=1e-6)
    assert twice.log_likelihood == pytest.approx(weighted.log_likelihood, rel=1e-12)


def test_an_observed_object_with_omega_zero_is_named() -> None:
    points = _catalogue(70_000, 0)
    points = points[points[:, 0] < 2]
    points[[17, 50_001]] = [5.0, 0.0]
    with pytest.raises(DataError, match="row 17") as error:
        fit(ArrayDataset.of(points, NOISE), Start(2), survey=Survey(HalfSpace([1.0, 0.0], 2.0)), executor=Serial())
    assert "Omega = 0.0 at [5. 0.]" in str(error.value)


def test_what_has_no_meaning_is_refused_with_a_reason() -> None:
    points = _catalogue(500, 0)
    selection = Box([-9, -9], [9, 9])
    with pytest.raises(JobError, match="noise law without a selection"):
        fit(ArrayDataset.of(points), Start(2), survey=Survey(None, ConstantNoise(np.eye(2))))
    with pytest.raises(ShapeError, match="noise_law does not fit"):
        fit(ArrayDataset.of(points), Start(2), survey=Survey(selection, ConstantNoise(np.eye(3))))
    with pytest.raises(ShapeError, match="background does not fit"):
        fit(ArrayDataset.of(points), Start(2, background=Uniform([0], [1])))
    with pytest.raises(ShapeError, match="first mixture does not fit"):
        fit(ArrayDataset.of(points[:, :1]), Start(2, TRUTH))
    turned = np.tile(np.eye(2), (500, 1, 1))
    with pytest.raises(RefusedError, match="a projected object has no position"):
        fit(ArrayDataset.of(points, NOISE, projection=turned), Start(2), survey=Survey(selection, "nearest"))
    with pytest.raises(JobError, match="unknown selection_on 'observd'"):
        Survey(selection, selection_on="observd")
    with pytest.raises(JobError, match="with a selection on true values has no effect"):
        fit(ArrayDataset.of(points, NOISE), Start(2), survey=Survey(selection, np.eye(2), "true"))
    missing = points.copy()
    missing[3, 0] = np.nan
    with pytest.raises(RefusedError, match="Ball"):
        fit(ArrayDataset.of(missing), Start(2), survey=Survey(Ball([0, 0], 20.0), selection_on="available"))
    with pytest.raises(DataError, match="next to no probability to row 3"):
        fit(ArrayDataset.of(missing), Start(2, TRUTH), survey=Survey(FromFunction(_only_what_is_there(missing))))
    with pytest.raises(DataError, match="fewer objects than components"):
        fit(ArrayDataset.of(points[:3]), Start(4))


def _only_what_is_there(catalogue: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Sees exactly the objects of a catalogue: nothing in place of a missing value."""
    return lambda points: np.isin(points[:, 1], catalogue[:, 1]) & np.isin(points[:, 0], catalogue[:, 0])


def test_a_catalogue_is_given_as_itself_as_a_path_or_as_an_array(tmp_path: Path) -> None:
    dataset = simulate(tmp_path / "survey.zarr", "graded", n=500)
    points = dataset.points.compute()
    start, once = Start(2), Stopping(max_iter=2)

    def fitted(data: CatalogueLike) -> float:
        return fit(data, start, stopping=once, executor=Serial()).log_likelihood

    assert len({fitted(data) for data in (dataset, dataset.path, str(dataset.path))}) == 1
    assert fitted(points) == fitted(ArrayDataset.of(points))
    with pytest.raises(StoreError, match=r"nowhere\.zarr"):
        fit(str(tmp_path / "nowhere.zarr"), start)


def test_frozen_components_and_prior_hold_in_a_whole_fit() -> None:
    points = _catalogue(4000, 2)
    start = Start(2, replace_means(TRUTH, [[-0.9, 0.5], [1.4, -0.5]]))
    frozen = Frozen.parse({"means": [0], "covariances": [1], "weights": [0]}, 2)
    result = fit(ArrayDataset.of(points, NOISE), start, constraints=Constraints(frozen=frozen))
    mixture = result.model.mixture
    assert np.array_equal(mixture.means[0], [-0.9, 0.5])
    assert np.array_equal(mixture.covariances[1], TRUTH.covariances[1])
    assert mixture.weights[0] == pytest.approx(TRUTH.weights[0], rel=1e-14)
    wide = fit(ArrayDataset.of(points, NOISE), start, constraints=Constraints(prior=InverseWishart(5000.0)))
    assert np.all(np.linalg.eigvalsh(wide.model.mixture.covariances) > 1)


def replace_means(mixture: GaussianMixture, means: list[list[float]]) -> GaussianMixture:
    return replace(mixture, means=means)


def test_more_components_than_the_data_have_ends_without_nan_and_names_them() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([np.zeros((200, 2)), rng.normal(5, 1, (200, 2))])  # half of them in one place
    result = fit(ArrayDataset.of(points), Start(3), stopping=Stopping(max_iter=60))
    mixture = result.model.mixture
    assert all(np.all(np.isfinite(a)) for a in (mixture.weights, mixture.means, mixture.covariances))
    assert any("collapsed onto 200 objects" in sentence for sentence in result.repairs)


def test_the_objective_never_goes_down_within_a_round() -> None:
    selection = SELECTIONS["hole"]
    points = _catalogue(10_000, 1, selection)
    result = fit(ArrayDataset.of(points, NOISE), Start(2, "random"), survey=Survey(selection))
    assert {record.round for record in result.records} > {0}
    assert all(record.gain >= 0 for record in result.records if np.isfinite(record.gain))
    assert result.last.monte_carlo is not None
    assert 0 < result.last.monte_carlo.share <= 0.1


def test_the_same_seed_gives_the_same_bits_and_another_one_other_points() -> None:
    selection = SELECTIONS["graded"]
    points = _catalogue(4000, 1, selection)
    data, survey, start = ArrayDataset.of(points, NOISE), Survey(selection), Start(2, TRUTH)
    first, again, other = (fit(data, start, survey=survey, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.model.mixture.means, again.model.mixture.means)
    assert not np.array_equal(first.model.mixture.means, other.model.mixture.means)
    np.testing.assert_allclose(first.model.mixture.means, other.model.mixture.means, atol=0.02)


def test_a_plan_that_cannot_fit_is_refused_before_anything_runs() -> None:
    data = ArrayDataset.of(_catalogue(500, 0))
    seen: list[Step] = []

    class Watch(Callback):
        def on_step(self, step: Step) -> None:
            seen.append(step)

    class Tiny(Serial):
        resources = Resources(1, 1, 1 << 20)  # type: ignore[assignment]

    with pytest.raises(PlanError, match="do not fit into a worker's memory"):
        fit(data, Start(2), executor=Tiny(), callbacks=[Watch()])
    assert not seen


def test_a_plan_counts_what_there_is() -> None:
    data = ArrayDataset.of(_catalogue(100_000, 0), np.full((100_000, 2), 0.1))
    work = Work.of(data, 500)
    assert work.row_bytes == pytest.approx(8 * (2 + 3 + 1 + 1), abs=2)  # y, packed S, row number, background
    plan = make_plan(data.references, work, Resources(n_workers=4, n_processes=2, process_bytes=1 << 30))
    assert plan.n_rows == 100_000
    assert len(data.references) == 2
    assert plan.n_chunks == 13  # cut, so that four workers have as much to do as one another
    assert plan.n_tasks == 4
    assert sum(piece.n_rows for piece in shared_out(data.references, 4)) == 100_000
    assert plan.pass_bytes == 100_000 * 8 * 4
    assert plan.resident
    assert plan.kept_bytes == pytest.approx(50_000 * work.row_bytes, rel=1e-6)
    assert plan.kept_bytes + plan.task_bytes < 0.7 * plan.process_bytes
    tight = make_plan(data.references, work, Resources(4, 2, int(plan.task_bytes / 0.7) + (1 << 20)))
    assert not tight.resident
    assert dict(tight.lines())["bytes per pass"] == "3.2 MB as loaded, not all kept: read again in every pass"
    tight.check()
    with pytest.raises(PlanError, match="Give workers more memory"):
        make_plan(data.references, work, Resources(4, 2, plan.task_bytes)).check()


@pytest.mark.parametrize("covariance_type", ["diag", "tied", "spherical"])
def test_the_objective_never_goes_down_from_the_first_model_on(covariance_type: str) -> None:
    """The first model takes the structure before the first pass, so that the first M-step does not have to leave it."""
    for seed in range(3):
        points = _catalogue(2000, seed)
        result = fit(ArrayDataset.of(points, NOISE), Start(2), constraints=Constraints(covariance_type), seed=seed)
        assert result.converged
        assert min(record.gain for record in result.records[1:]) >= -1e-14
    behind = Start(2, background=Uniform([-9, -9], [9, 9]), background_fraction=0.1)
    noise = np.diag(np.diagonal(NOISE))
    bounded = fit(
        ArrayDataset.of(points, noise),
        behind,
        constraints=Constraints(covariance_type, background_bounds=(0.5, 0.6)),
    )
    assert min(record.gain for record in bounded.records[1:]) >= -1e-14
    assert bounded.model.background_fraction == 0.5


@pytest.mark.parametrize("points", [np.arange(300.0)[:, None] % 2, np.full((300, 1), 7.0), np.zeros((5, 2))])
def test_a_fixed_point_is_recognised_at_once(points: np.ndarray) -> None:
    """One component is done after one step; so are constant data, which end at the floor and say so."""
    result = fit(ArrayDataset.of(points), Start(1))
    assert result.converged
    assert result.n_passes <= 4
    everything = Frozen.parse({"weights": [0, 1], "means": [0, 1], "covariances": [0, 1]}, 2)
    frozen = fit(ArrayDataset.of(_catalogue(500, 0)), Start(2, TRUTH), constraints=Constraints(frozen=everything))
    assert frozen.converged
    assert np.array_equal(frozen.model.mixture.means, TRUTH.means)


def test_convergence_does_not_depend_on_the_points() -> None:
    """Graded Omega: over seeds of the imputed points the means scatter by much less than their standard error."""
    selection = SELECTIONS["graded"]
    points = _catalogue(40_000, 11, selection)
    data = ArrayDataset.of(points, NOISE)
    results = [fit(data, Start(2, TRUTH), survey=Survey(selection), seed=seed) for seed in range(6)]
    scatter = np.std([result.model.mixture.means for result in results], axis=0, ddof=1)
    assert np.all(scatter < 0.25 * results[0].standard_errors().means)


@pytest.mark.parametrize("omega", [0.5, 0.05])
def test_scaling_omega_changes_nothing(omega: float) -> None:
    """A survey that sees a random part of everything is a fair sample: the fit is the plain one."""
    points = _catalogue(10_000, 4)
    plain = fit(ArrayDataset.of(points, NOISE), Start(2, TRUTH), stopping=Stopping(1e-9))
    part = fit(
        ArrayDataset.of(points, NOISE), Start(2, TRUTH), survey=Survey(FromFunction(lambda y: np.full(len(y), omega)))
    )
    assert part.converged
    assert part.completeness == pytest.approx(omega, rel=1e-2)
    error = np.sqrt(np.diagonal(TRUTH.covariances, axis1=1, axis2=2) / (10_000 * TRUTH.weights)[:, None])
    assert np.all(np.abs(part.model.mixture.means - plain.model.mixture.means) < 0.5 * error)


def test_surveys_check_what_they_are_given() -> None:
    points = _catalogue(500, 0)
    with pytest.raises(DataError, match="must return probabilities"):
        fit(ArrayDataset.of(points), Start(1), survey=Survey(lambda y: np.full(len(y), 3.0)))
    survey = Survey(lambda y: np.full(len(y), 0.5), np.eye(2))
    assert isinstance(survey.noise_law, ConstantNoise)
    exact = np.diag([0.1, 0.0])  # one feature without noise
    assert fit(ArrayDataset.of(points, exact), Start(1), survey=Survey(Box([-9, -9], [9, 9]))).converged


def test_one_wild_value_does_not_move_the_floor() -> None:
    points = _catalogue(4000, 0)
    points[1234, 0] = 1e8
    result = fit(ArrayDataset.of(points, NOISE), Start(3, "random"), stopping=Stopping(max_iter=200))
    narrow = np.sqrt(np.linalg.eigvalsh(result.model.mixture.covariances).min())
    assert narrow < 1


def test_a_feature_that_nobody_measured_is_refused() -> None:
    points = _catalogue(500, 0)
    points[:, 1] = np.nan
    with pytest.raises(DataError, match="measured value 1 is missing in all 500 rows"):
        fit(ArrayDataset.of(points), Start(1))


def test_a_background_that_cannot_grow_is_refused() -> None:
    start = Start(1, background=Uniform([-9, -9], [9, 9]), background_fraction=0.0)
    with pytest.raises(JobError, match="can never grow"):
        fit(ArrayDataset.of(_catalogue(500, 0)), start)


def test_a_fit_with_a_minimum_dispersion_that_starts_at_the_truth_stays() -> None:
    """w far below the true variances: a prior worth one object moves nothing by a statistical error."""
    points = _catalogue(5000, 11)
    result = fit(ArrayDataset.of(points, NOISE), Start(2, TRUTH), constraints=Constraints(prior=InverseWishart(0.01)))
    assert result.converged
    errors = result.standard_errors()
    for name, largest in (("weights", 4.0), ("means", 4.5), ("covariances", 4.5)):  # 1e-4 by chance for all of them
        apart = np.abs(getattr(result.model.mixture, name) - getattr(TRUTH, name)) / getattr(errors, name)
        assert apart.max() < largest
