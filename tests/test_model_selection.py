"""Held-out likelihood and stacking: against literal sums."""

from pathlib import Path

import likelihood
import numpy as np
import pytest
from cases import CASES, INTERVAL, LINE, Case, Drawn, Measured, Variances, draw
from scipy.optimize import minimize, minimize_scalar

from dgmmis import Box, Criterion, Fitting, GaussianMixture, Model, Stopping, Survey, Uniform
from dgmmis.background import FixedMixture
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.folds import Fold, training
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, NumericalError, RefusedError, ShapeError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.execution.serial import Serial, Threads
from dgmmis.fit import evaluate, fit
from dgmmis.initialize import Start
from dgmmis.model_selection import CrossValidation, cross_validate, select, stack, stacked
from dgmmis.model_selection.average import Sums, maximised
from dgmmis.noise_law import NearestNoise

PLANE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.2, -0.3]], [np.diag([0.4, 0.9]), np.diag([0.6, 0.3])])
QUICK = Stopping(max_iter=3)


def _normal(y: np.ndarray, mixture: GaussianMixture) -> np.ndarray:
    """Densities of the components (n, k), written out."""
    offset = y[:, None] - mixture.means
    square = np.einsum("nki,kij,nkj->nk", offset, np.linalg.inv(mixture.covariances), offset)
    return np.exp(-0.5 * square) / np.sqrt(np.linalg.det(2 * np.pi * mixture.covariances))


# held-out likelihood

OWN = Case("own", LINE, Measured(Variances(0.2, 0.7)), 0, INTERVAL, law="own")


def _literal(case: Case, drawn: Drawn, rows: np.ndarray, model: Model) -> likelihood.Terms:
    mixture = model.mixture
    population = likelihood.Population(mixture.weights, mixture.means, mixture.covariances)
    survey = likelihood.Survey(case.selection, case.on, case.law or "own", case.breaks, case.widest)
    return likelihood.literal_log_likelihood(
        likelihood.Catalogue(drawn.points[rows], drawn.covariances[rows]), population, survey
    )


@pytest.mark.parametrize(
    ("case", "n", "error"), [(CASES["missing"], 300, 1e-10), (OWN, 400, 1e-4), (CASES["true"], 200, 6e-3)]
)
def test_held_out_log_likelihood_is_the_literal_one(case: Case, n: int, error: float) -> None:
    """Own noise, missing values; an interval of measured values, with noise classes; of true ones, with latent points.

    Weights of 20 ask for as fine noise classes, and as many points, as twenty times the objects would.
    """
    drawn = draw(case, n, 0)
    data = ArrayDataset.of(drawn.points, drawn.noise_covariance, sample_weight=np.full(len(drawn.points), 20.0))
    start = Start(2, case.truth.mixture)
    found = cross_validate(data, start, n_folds=2, survey=case.survey, stopping=QUICK, seed=4)
    residuals, total = [], 0.0
    for part in found.parts:
        rows = np.flatnonzero(part.fold.has(0, len(drawn.points)))
        expected = _literal(case, drawn, rows, part.judge.model)
        assert part.log_likelihood == pytest.approx(expected.mean, abs=error)
        sums = part.groups.sum(axis=1)
        assert sums[0] == pytest.approx(20 * len(rows))
        assert sums[1] / sums[0] == pytest.approx(expected.mean, abs=error)
        residuals.append(expected.log_density - expected.log_normaliser - found.log_likelihood)
        total += expected.total
    assert found.n_samples == pytest.approx(20 * len(drawn.points))
    assert found.log_likelihood == pytest.approx(total / len(drawn.points), abs=error)
    # some of the groups have two objects or more: their square is right on average only, within a tenth here
    literal_error = np.sqrt(np.sum(np.concatenate(residuals) ** 2)) / len(drawn.points)
    assert found.standard_error == pytest.approx(literal_error, rel=0.1)


def test_the_models_have_not_seen_their_folds() -> None:
    data = ArrayDataset.of(PLANE.sample(200, 0))
    found = cross_validate(data, Start(2), n_folds=3, stopping=QUICK, seed=1)
    for model, fold in zip(found.models, Fold.all(3, 1), strict=True):
        expected = fit(training(data, fold), Start(2), stopping=QUICK, seed=1).model.mixture
        assert np.array_equal(model.mixture.means, expected.means)


def test_a_learned_noise_law_is_that_of_the_training_part() -> None:
    rng = np.random.default_rng(1)
    y, noise = PLANE.sample(300, rng), rng.uniform(0.05, 0.2, (300, 2))
    y, noise = y[y[:, 0] < 1.5], noise[y[:, 0] < 1.5]
    data = ArrayDataset.of(y, noise)
    survey = Survey(Box([-np.inf, -np.inf], [1.5, np.inf]), "nearest")
    found = cross_validate(data, Start(1), n_folds=2, survey=survey, stopping=QUICK)
    for part in found.parts:
        law = part.judge.observing.survey.noise_law
        assert isinstance(law, NearestNoise)
        assert np.array_equal(law.points, y[~part.fold.has(0, len(y))])


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, CrossValidation, CrossValidation]:
    y = PLANE.sample(2000, 2)
    data = ArrayDataset.of(y)
    one, two = (cross_validate(data, Start(k), n_folds=4, stopping=Stopping(1e-4)) for k in (1, 2))
    return y, one, two


def _rows(y: np.ndarray, found: CrossValidation) -> np.ndarray:
    """The held-out log density of each row."""
    log_density = np.empty(len(y))
    for part in found.parts:
        rows = part.fold.has(0, len(y))
        log_density[rows] = part.judge.model.log_density(y[rows])
    return log_density


def test_a_difference_is_of_pairs(pair: tuple[np.ndarray, CrossValidation, CrossValidation]) -> None:
    """1024 random groups tell a variance within 4.4 per cent, one sigma: four sigmas of the error are 9 per cent."""
    y, one, two = pair
    assert _rows(y, two).mean() == pytest.approx(two.log_likelihood, abs=1e-12)
    better = two - one
    rows = _rows(y, two) - _rows(y, one)
    assert better.value == pytest.approx(rows.mean(), abs=1e-12)
    assert better.standard_error == pytest.approx(rows.std() / np.sqrt(len(y)), rel=0.09)
    assert two.standard_error == pytest.approx(_rows(y, two).std() / np.sqrt(len(y)), rel=0.09)
    assert better.standard_error < 0.6 * np.hypot(one.standard_error, two.standard_error)
    assert better.value > 4 * better.standard_error
    assert (two - two).standard_error == (two - two).value == 0


def test_other_folds_are_no_pair(pair: tuple[np.ndarray, CrossValidation, CrossValidation]) -> None:
    y, one, _ = pair
    for data, seed in ((y, 1), (y[:1999], 0)):
        other = cross_validate(ArrayDataset.of(data), Start(1), n_folds=4, stopping=QUICK, seed=seed)
        with pytest.raises(RefusedError, match="other rows or folds"):
            one - other


def test_one_row_a_fold() -> None:
    y = np.random.default_rng(3).normal(size=(6, 1))
    found = cross_validate(ArrayDataset.of(y), Start(1), n_folds=6, stopping=QUICK)
    literal = np.array(
        [
            -0.5 * (np.log(2 * np.pi * rest.var()) + (y[n, 0] - rest.mean()) ** 2 / rest.var())
            for n in range(6)
            for rest in [np.delete(y, n)]
        ]
    )
    assert found.log_likelihood == pytest.approx(literal.mean(), abs=1e-9)
    assert found.standard_error == pytest.approx(literal.std() / np.sqrt(6), abs=1e-9)


@pytest.mark.parametrize("name", ["own", pytest.param("true", marks=pytest.mark.slow)])
def test_same_bits_on_any_executor(name: str) -> None:
    """Two leaves in each part: they are shared out otherwise among more threads. Small weights ask for few points."""
    case = CASES[name]
    drawn = draw(case, 60, 5)
    repeated = np.resize(np.arange(len(drawn.points)), 8200)
    noise, weights = drawn.noise_covariance[repeated], np.full(8200, 1e-2)
    data = ArrayDataset.of(drawn.points[repeated], noise, sample_weight=weights)
    start, found = Start(2, case.truth.mixture), set()
    for executor in (Serial(), Threads(3)):
        of = cross_validate(
            data, start, n_folds=2, survey=case.survey, stopping=Stopping(max_iter=1), executor=executor
        )
        average = stack(of.models, data, survey=case.survey, executor=executor)
        numbers = [[of.log_likelihood, of.standard_error, average.log_likelihood], average.weights]
        found.add(np.concatenate([*numbers, *(part.groups.ravel() for part in of.parts)]).tobytes())
        executor.close()
    assert len(found) == 1


@pytest.mark.slow
def test_same_bits_on_a_cluster(tmp_path: Path) -> None:
    case = CASES["own"]
    drawn = draw(case, 20_000, 6)
    schema = Schema(features=("a", "b"), noise="diagonal")
    with SurveyWriter(tmp_path / "survey.zarr", schema) as writer:
        writer.write(drawn.points, drawn.noise_covariance)
    data, found = Dataset.open(tmp_path / "survey.zarr"), set()
    for executor in (Serial(), connect(ClusterSpec("local", workers=2), small=False)):
        options = {"survey": case.survey, "stopping": QUICK, "executor": executor}
        common = {"survey": case.survey, "executor": executor}
        fitting = Fitting(stopping=QUICK)
        choice = select(data, [1, 2], criterion=Criterion("held-out", 2), fitting=fitting, **common)
        validated = [entry.validation for entry in choice.table]
        fits = [fit(data, Start(k), **options) for k in (1, 2)]
        average = stack(fits, data, validated=validated, executor=executor)
        numbers = [[entry.icl, entry.validation.standard_error] for entry in choice.table]
        found.add(np.concatenate([*numbers, average.population_weights, [average.log_likelihood]]).tobytes())
        executor.close()
    assert len(found) == 1


# stacking


def _halves(mixture: GaussianMixture) -> list[Model]:
    return [
        Model(GaussianMixture([1.0], mean[None], covariance[None]))
        for mean, covariance in zip(mixture.means, mixture.covariances, strict=True)
    ]


def test_stacking_two_halves_finds_their_shares() -> None:
    """Within a twentieth of the share's standard error of the maximum that a search on a line finds."""
    y = PLANE.sample(2000, 6)
    found = stack(_halves(PLANE), ArrayDataset.of(y))
    p = _normal(y, PLANE)
    best = minimize_scalar(lambda b: -np.log(p @ [b, 1 - b]).sum(), bounds=(0, 1), options={"xatol": 1e-9})
    ratios = (p[:, 0] - p[:, 1]) / (p @ [best.x, 1 - best.x])
    assert abs(found.weights[0] - best.x) < 0.05 / np.sqrt(ratios @ ratios)
    assert found.log_likelihood * len(y) == pytest.approx(-best.fun, abs=1e-3)
    assert found.lacking * len(y) <= 1e-3
    np.testing.assert_allclose(found.of_each, np.log(p).mean(axis=0), atol=1e-10)
    assert np.array_equal(found.weights, found.population_weights)
    mixture = found.model.mixture
    np.testing.assert_allclose(mixture.weights, found.weights, atol=1e-15)
    assert np.array_equal(mixture.means, PLANE.means)


def test_the_truth_takes_the_weight_of_a_bad_model() -> None:
    """p_bad / p - 1 has mean 0 under the truth, and variance I: the bad one's share is 0 in half of all cases, and more
    than 4 / sqrt(N I) in 3e-5 of them."""
    y = PLANE.sample(3000, 7)
    truth, bad = Model(PLANE), Model(GaussianMixture([1.0], [[0.5, 0.0]], [np.diag([1.5, 0.5])]))
    ratio = np.exp(bad.log_density(y) - truth.log_density(y)) - 1
    found = stack([bad, truth], ArrayDataset.of(y))
    assert found.weights[0] < 4 / np.sqrt(ratio @ ratio) < 0.15
    assert found.log_likelihood >= found.of_each.max() - 1e-3 / len(y)


def test_stacking_under_selection_weights_the_population() -> None:
    """Against the direct maximum of sum log sum a_m p_m - N log sum a_m Z_m; the two halves differ much in Z."""
    box = Box([-np.inf, -np.inf], [0.6, np.inf])
    y = PLANE.sample(4000, 8)
    y = y[box(y) > 0]
    survey, data = Survey(box), ArrayDataset.of(y)
    found = stack(_halves(PLANE), data, survey=survey)
    z = np.array([evaluate(data, model, survey=survey).completeness for model in _halves(PLANE)])
    assert z[0] > 0.95
    assert z[1] < 0.3
    p, n = _normal(y, PLANE), len(y)
    direct = minimize_scalar(
        lambda a: n * np.log(z @ [a, 1 - a]) - np.log(p @ [a, 1 - a]).sum(), bounds=(0, 1), options={"xatol": 1e-9}
    )
    assert found.population_weights[0] == pytest.approx(direct.x, abs=5e-4)
    assert abs(found.population_weights[0] - 0.3) < 4 * np.sqrt(0.3 * 0.7 / n) / z[1]
    assert found.weights[0] == pytest.approx(direct.x * z[0] / (z @ [direct.x, 1 - direct.x]), abs=5e-4)
    alone = evaluate(data, found.model, survey=survey)
    assert alone.log_likelihood == pytest.approx(found.log_likelihood, abs=1e-10)


def test_cross_validated_stacking_is_no_worse_than_its_parts() -> None:
    y = PLANE.sample(300, 9)
    data = ArrayDataset.of(y)
    starts = [Start(k) for k in (1, 2, 3)]
    fits = [fit(data, start, stopping=QUICK) for start in starts]
    validated = [cross_validate(data, start, n_folds=3, stopping=QUICK) for start in starts]
    found = stack(fits, data, validated=validated)
    np.testing.assert_allclose(found.of_each, [of.log_likelihood for of in validated], atol=1e-10)
    assert found.log_likelihood >= found.of_each.max() - 1e-3 / len(y)
    p = np.exp(np.stack([_rows(y, of) for of in validated], axis=1))
    assert np.log(p @ found.weights).mean() == pytest.approx(found.log_likelihood, abs=1e-10)
    simplex = {"type": "eq", "fun": lambda beta: beta.sum() - 1}
    direct = minimize(
        lambda beta: -np.log(p @ beta).mean(), np.full(3, 1 / 3), bounds=[(0, 1)] * 3, constraints=simplex, tol=1e-12
    )
    assert found.log_likelihood == pytest.approx(-direct.fun, abs=2e-6)
    kept = [one.model.mixture for one, weight in zip(fits, found.weights, strict=True) if weight > 0]
    assert found.model.mixture.n_components == sum(mixture.n_components for mixture in kept)
    with pytest.raises(RefusedError, match="would prefer the largest"):
        stack(fits, data)
    with pytest.raises(RefusedError, match="other rows or folds"):
        stack(
            fits[:2], data, validated=[validated[0], cross_validate(data, Start(1), seed=1, n_folds=3, stopping=QUICK)]
        )
    with pytest.raises(ShapeError, match="a cross-validation is needed for each"):
        stack(fits, data, validated=validated[:2])


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_at_the_maximum(seed: int) -> None:
    """Many models, two of them equal, one hopeless, objects with weights: what is said to be lacking is an upper bound
    of what a thousand steps of EM find on top."""
    rng = np.random.default_rng(seed)
    log_p = rng.normal(scale=3, size=(500, 8))
    log_p[:, 3], log_p[:, 5] = log_p[:, 2], -200.0
    w = rng.integers(0, 3, 500).astype(float)
    passes = []

    def sums(beta: np.ndarray) -> Sums:
        passes.append(beta)
        return Sums.of(log_p, w, beta)

    beta, here, lacking = maximised(sums, 8)
    assert beta.sum() == pytest.approx(1, abs=1e-12)
    assert beta.min() >= 0
    assert beta[5] == 0
    assert len(passes) < 30
    assert here.log_likelihood == pytest.approx(w @ np.log(np.exp(log_p) @ beta), abs=1e-9)
    assert lacking * w.sum() <= 1e-3
    em = beta
    for _ in range(1000):
        p = np.exp(log_p) * em
        em = w @ (p / p.sum(axis=1, keepdims=True)) / w.sum()
    assert w @ np.log(np.exp(log_p) @ em) - here.log_likelihood <= lacking * w.sum() + 1e-9


def test_the_average_has_the_average_density() -> None:
    rng = np.random.default_rng(10)
    box, y = Uniform([-4, -4], [4, 4]), rng.uniform(-3, 3, (50, 2))
    models = [Model(PLANE, box, 0.2), Model(GaussianMixture([1.0], [[0, 0]], [np.eye(2)])), Model(PLANE, None)]
    shares = np.array([2.0, 1.0, 0.0])
    found = stacked(models, shares)
    expected = sum(share * np.exp(model.log_density(y)) for model, share in zip(models, shares / 3, strict=True))
    np.testing.assert_allclose(np.exp(found.log_density(y)), expected, rtol=1e-12)
    assert found.mixture.n_components == 3
    assert found.background is box
    same = stacked([models[0], Model(PLANE, Uniform([-4, -4], [4, 4]), 0.1)], [1, 1])
    assert same.background_fraction == pytest.approx(0.15)
    for other in (Uniform([-4, -4], [4, 5]), FixedMixture(PLANE)):
        with pytest.raises(RefusedError, match="different backgrounds"):
            stacked([models[0], Model(PLANE, other, 0.1)], [1, 1])
    for wrong in ([-1, 2, 1], [0, 0, 0], [np.nan, 1, 1]):
        with pytest.raises(DataError, match="weights must be non-negative"):
            stacked(models, wrong)
    with pytest.raises(ShapeError, match="a weight is needed for each"):
        stacked(models, [1, 2])
    with pytest.raises(ShapeError, match="model 1 does not fit"):
        stacked([models[0], Model(PLANE.marginal([0]))], [1, 1])


def test_objects_that_no_model_explains_are_an_error() -> None:
    y = np.array([[0.0], [50.0]])
    narrow = Model(GaussianMixture([1.0], [[0.0]], [[[1e-8]]]))
    found = Sums.of(np.array([[0.0, -1.0], [-np.inf, -np.inf]]), np.ones(2), np.array([0.5, 0.5]))
    with pytest.raises(NumericalError, match="no density under any"):
        maximised(lambda beta: found, 2)
    assert stack([narrow, narrow], ArrayDataset.of(y)).lacking == 0  # far away is not impossible
