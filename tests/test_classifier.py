"""GMMisClassifier: Bayes' rule with noise, missing features, selection; and the iris of the old em toolbox."""

from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as PlainMixture
from sklearn.model_selection import cross_val_score

import dgmmis
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, JobError, RefusedError, RepairWarning, ShapeError
from dgmmis.selection import FromFunction

LABELS = np.array(["dwarf", "giant"])


def two_classes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three giants for each dwarf: points (n, 2) and labels."""
    rng = np.random.default_rng(seed)
    kind = (rng.uniform(size=n) < 0.75).astype(int)
    points = np.where(kind[:, None] == 1, rng.normal([1.5, 0], [1, 1], (n, 2)), rng.normal([0, 0], [1, 0.5], (n, 2)))
    return points, LABELS[kind]


def posterior(points: np.ndarray, labels: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Literally: a Gaussian a class at its own mean and covariance, and the shares of the classes."""
    joint = np.stack(
        [
            np.mean(labels == label)
            * multivariate_normal(
                points[labels == label].mean(axis=0), np.cov(points[labels == label].T, bias=True)
            ).pdf(at)
            for label in LABELS
        ],
        axis=1,
    )
    return joint / joint.sum(axis=1, keepdims=True)


def test_one_component_a_class_is_quadratic_discriminant_analysis() -> None:
    points, labels = two_classes(800, 0)
    model = dgmmis.GMMisClassifier().fit(points, labels)
    expected = posterior(points, labels, points)
    assert model.classes_.tolist() == ["dwarf", "giant"]
    np.testing.assert_allclose(model.predict_proba(points), expected, rtol=1e-6)
    np.testing.assert_allclose(model.predict_log_proba(points), np.log(expected), atol=1e-6)
    odds = np.log(expected[:, 1] / expected[:, 0])
    np.testing.assert_allclose(np.diff(model.predict_log_proba(points))[:, 0], odds, atol=1e-6)
    assert np.array_equal(model.predict(points), LABELS[expected.argmax(axis=1)])
    assert model.score(points, labels) == np.mean(model.predict(points) == labels)
    far = model.predict_log_proba([[0.0, 60.0]])
    assert np.isfinite(far).all()  # though the probability is none
    assert model.predict_proba([[0.0, 60.0]])[0, 0] == 0


def test_noise_and_missing_features_are_marginalised() -> None:
    """Objects measured badly, or in part, are told apart by what is known of them."""
    rng = np.random.default_rng(1)
    points, labels = two_classes(6000, 2)
    variances = rng.uniform(0.01, 4, points.shape)
    noisy = points + rng.normal(size=points.shape) * np.sqrt(variances)
    noisy[::3, 1] = np.nan
    model = dgmmis.GMMisClassifier().fit(noisy, labels, noise_covariance=variances)
    given = [
        np.log(share) + mixture.mixture_.log_density(noisy, variances)
        for share, mixture in zip(model.priors_, model.mixtures_, strict=True)
    ]
    odds = given[1] - given[0]
    found = np.diff(model.predict_log_proba(noisy, noise_covariance=variances))[:, 0]
    np.testing.assert_allclose(found, odds, atol=1e-9)
    # right as often as it says, on other objects
    points, labels = two_classes(20_000, 3)
    variances = rng.uniform(0.01, 4, points.shape)
    noisy = points + rng.normal(size=points.shape) * np.sqrt(variances)
    require_calibrated(model.predict_proba(noisy, noise_covariance=variances)[:, 1], labels == "giant")


def require_calibrated(said: np.ndarray, true: np.ndarray) -> None:
    """In each tenth of the probabilities as many are true as they say: to four errors, and 0.02 for the fit's."""
    for rows in np.array_split(np.argsort(said), 10):
        error = np.sqrt(np.mean(said[rows] * (1 - said[rows])) / len(rows))
        assert abs(np.mean(said[rows]) - np.mean(true[rows])) < 4 * error + 0.02


def graded(points: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(2 * points[:, 0] - 1))


@pytest.mark.parametrize("by_class", [False, True])
def test_under_selection_the_prior_is_of_the_population(by_class: bool) -> None:
    """Giants are mostly lost: their share in the catalogue is not their share, and not what goes with their density."""
    omega: Any = FromFunction(graded)
    selection = {"dwarf": dgmmis.HalfSpace([0, 1], 0.3), "giant": omega} if by_class else omega

    def catalogue(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        points, labels = two_classes(n, seed)
        chance = graded(points)
        if by_class:
            chance = np.where(labels == "dwarf", points[:, 1] < 0.3, chance)
        seen = np.random.default_rng(seed + 1).uniform(size=n) < chance
        return points[seen], labels[seen]

    points, labels = catalogue(12_000, 4)
    model = dgmmis.GMMisClassifier(selection=selection).fit(points, labels)
    share = np.mean(labels == "giant")
    assert share < 0.65
    assert model.priors_[1] == pytest.approx(0.75, abs=0.04)
    np.testing.assert_allclose(
        model.priors_ * model.completeness_ / (model.priors_ @ model.completeness_), [1 - share, share], atol=1e-9
    )
    points, labels = catalogue(20_000, 6)
    said = model.predict_proba(points)[:, 1]
    require_calibrated(said, labels == "giant")
    assert said.mean() == pytest.approx(np.mean(labels == "giant"), abs=0.01)
    again = dgmmis.GMMisClassifier(selection=selection, priors={"giant": 0.75, "dwarf": 0.25})
    again.fit(points[:6000], labels[:6000])
    assert again.priors_.tolist() == [0.25, 0.75]
    require_calibrated(again.predict_proba(points)[:, 1], labels == "giant")
    if by_class:  # where no dwarf is seen, there is none
        assert np.all(model.predict(points[points[:, 1] > 0.3]) == "giant")
    else:
        other = dgmmis.GMMisClassifier(mixture=dgmmis.GMMis(selection=selection))
        other.fit(points[:2000], labels[:2000])
        expected = dgmmis.GMMisClassifier(selection=selection).fit(points[:2000], labels[:2000])
        assert np.array_equal(other.predict_proba(points), expected.predict_proba(points))


def test_a_class_may_have_been_seen_in_full_and_a_store_be_told_apart(tmp_path: Path) -> None:
    points, labels = two_classes(2000, 8)
    seen = (labels == "dwarf") | (points[:, 0] < 2)
    selection = {"dwarf": None, "giant": dgmmis.HalfSpace([1, 0], 2)}
    model = dgmmis.GMMisClassifier(selection=selection).fit(points[seen], labels[seen])
    assert model.completeness_[0] == 1
    assert model.priors_[1] == pytest.approx(0.75, abs=0.05)
    assert np.all(model.predict(points[points[:, 0] > 2]) == "dwarf")
    with SurveyWriter(tmp_path / "s.zarr", Schema(features=("a", "b"))) as writer:
        writer.write(points)
    assert np.array_equal(model.predict(tmp_path / "s.zarr"), model.predict(points))
    with pytest.raises(RefusedError, match="the rows of a survey store have no labels"):
        model.fit(tmp_path / "s.zarr", labels)


def test_an_object_that_no_class_could_be_is_named() -> None:
    points, labels = two_classes(500, 0)
    seen = points[:, 0] < 2
    cut = dgmmis.HalfSpace([1, 0], 2)
    model = dgmmis.GMMisClassifier(selection={"dwarf": cut, "giant": cut}).fit(points[seen], labels[seen])
    with pytest.raises(DataError, match="no class could have been seen at row 1"):
        model.predict([[0.0, 0.0], [3.0, 0.0]])


def test_errors_may_cost_more_or_less() -> None:
    points, labels = two_classes(800, 0)
    loss = np.array([[0.0, 9.0], [1.0, 0.0]])  # to take a dwarf for a giant is the worse
    model = dgmmis.GMMisClassifier(loss=loss).fit(points, labels)
    q = model.predict_proba(points)
    decided = model.predict(points)
    assert np.array_equal(decided == "giant", 9 * q[:, 0] < q[:, 1])
    lost = np.where(labels == "dwarf", 9.0, 1.0) * (decided != labels)
    weights = np.arange(800) % 3
    assert model.score(points, labels) == pytest.approx(1 - lost.mean(), rel=1e-12)
    assert model.score(points, labels, sample_weight=weights) == pytest.approx(1 - np.average(lost, weights=weights))
    plain = dgmmis.GMMisClassifier().fit(points, labels)
    assert model.score(points, labels) > 1 - np.mean(
        np.where(labels == "dwarf", 9, 1) * (plain.predict(points) != labels)
    )


def test_lazy_rows_and_labels() -> None:
    points, labels = two_classes(1000, 0)
    variances = np.full(points.shape, 0.1)
    weights = np.arange(1000) % 3 + 1.0
    numbers = {"dwarf": 1, "giant": 2}
    plain = dgmmis.GMMisClassifier(numbers).fit(points, labels, noise_covariance=variances, sample_weight=weights)
    assert [mixture.n_components for mixture in plain.mixtures_] == [1, 2]

    def lazy(values: np.ndarray) -> Any:
        return dask.array.from_array(values, chunks=(300, *values.shape[1:]))

    model = dgmmis.GMMisClassifier(numbers).fit(
        lazy(points), lazy(labels), noise_covariance=lazy(variances), sample_weight=lazy(weights)
    )
    assert np.array_equal(model.priors_, plain.priors_)
    some = points[:, 0] > -1
    for question in ("predict", "predict_proba", "predict_log_proba"):
        expected = getattr(plain, question)(points, noise_covariance=variances)
        answer = getattr(model, question)(lazy(points), noise_covariance=lazy(variances))
        assert isinstance(answer, dask.array.Array)
        assert (answer.shape, answer.dtype) == (expected.shape, expected.dtype)
        unknown = getattr(model, question)(lazy(points)[some], noise_covariance=lazy(variances)[some])
        if question == "predict":
            assert np.array_equal(answer.compute(), expected)
        else:
            np.testing.assert_allclose(answer.compute(), expected, rtol=1e-9)
            np.testing.assert_allclose(unknown.compute(), expected[some], rtol=1e-9)
    expected = plain.score(points, labels, variances, sample_weight=weights)
    assert model.score(lazy(points), lazy(labels), lazy(variances), sample_weight=weights) == expected
    array = xarray.DataArray(points, dims=("star", "feature"), coords={"star": np.arange(1000)})
    q = plain.predict_proba(array, noise_covariance=variances)
    assert q.sel({"class": "giant"}).shape == (1000,)


def test_refusals() -> None:
    points, labels = two_classes(200, 0)
    background = dgmmis.GMMis(background=dgmmis.Uniform([-9, -9], [9, 9]))
    box = dgmmis.Box([-9, -9], [9, 9])
    injections = dgmmis.Injections(points, points[:, 0] > 0, np.zeros(200))
    for options, error, match in (
        ({"mixture": background}, RefusedError, "a background belongs to none of the classes"),
        ({"mixture": 3}, JobError, "mixture is no GMMis"),
        ({"mixture": dgmmis.GMMis(selection=box), "selection": box}, RefusedError, "two selections"),
        ({"selection": {"dwarf": box}}, JobError, "selection without class 'giant'"),
        ({"selection": {"dwarf": box, "giant": injections}}, RefusedError, "injections of a class"),
        (
            {"n_components": {"dwarf": 1, "gaint": 2}},
            JobError,
            "n_components of an unknown class 'gaint'. Did you mean",
        ),
        ({"priors": [0.5, 0.6]}, DataError, "priors must be non-negative and sum to one"),
        ({"priors": [1.0]}, ShapeError, "priors do not fit the classes"),
        ({"loss": np.ones((3, 3))}, ShapeError, "loss does not fit the classes"),
        ({"n_components": {"dwarf": 1, "giant": 500}}, DataError, "class giant, .* fewer objects than components"),
    ):
        with pytest.raises(error, match=match):
            dgmmis.GMMisClassifier(**options).fit(points, labels)
    infinite = points.copy()
    infinite[150] = np.inf
    with pytest.raises(DataError, match="infinite values in row 150"):
        dgmmis.GMMisClassifier().fit(infinite, labels)
    lonely = np.concatenate([points, np.full((50, 2), 40.0)])
    with pytest.warns(RepairWarning, match="class giant: component . collapsed"):
        dgmmis.GMMisClassifier(2).fit(lonely, np.concatenate([labels, LABELS[[1] * 50]]))


IRIS = load_iris()


def test_the_iris_of_the_em_toolbox() -> None:
    """As the example of the em toolbox (pyem, later scikits.learn) has it: sepal and petal width, the first half of
    each species to learn a mixture of two axis-parallel components from, the other half to be told apart."""
    features, species = IRIS.data[:, [1, 3]], IRIS.target_names[IRIS.target]
    training = np.arange(150) % 50 < 25
    prior = dgmmis.InverseWishart(0.01)  # values are of one digit: many are the same
    model = dgmmis.GMMisClassifier(2, mixture=dgmmis.GMMis(covariance_type="diag", prior=prior))
    model.fit(features[training], species[training])
    rates = [model.score(features[part], species[part]) for part in (training, ~training)]
    assert [round(75 * rate) for rate in rates] == [73, 71]
    theirs = [
        PlainMixture(2, covariance_type="diag", random_state=0).fit(features[training & (species == name)])
        for name in model.classes_
    ]
    decided = model.classes_[np.argmax([mixture.score_samples(features) for mixture in theirs], axis=0)]
    assert [np.sum((decided == species)[part]) for part in (training, ~training)] == [73, 71]
    assert model.priors_.tolist() == [1 / 3] * 3
    setosa = model.predict(features[species == "setosa"])
    assert np.all(setosa == "setosa")


def test_the_whole_iris_in_cross_validation() -> None:
    prior = dgmmis.InverseWishart(0.01)
    model = dgmmis.GMMisClassifier(mixture=dgmmis.GMMis(prior=prior))
    rates = cross_val_score(model, IRIS.data, IRIS.target, cv=5)
    assert rates.mean() > 0.96
