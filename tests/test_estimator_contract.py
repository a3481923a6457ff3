"""The contract of scikit-learn: its own checks of estimators, pipelines, searches, metadata, names of features."""

import warnings
from collections.abc import Callable

import numpy as np
import pandas
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_dataframe_column_names_consistency, parametrize_with_checks

import dgmmis

ESTIMATORS = [dgmmis.GMMis(), dgmmis.GMMisClassifier(), dgmmis.VariationalGMMis()]
OTHERS = [
    dgmmis.GMMis(2, covariance_type="diag", init="random"),
    dgmmis.GMMisClassifier(mixture=dgmmis.GMMis(covariance_type="tied")),
]

# some checks give so few objects that components collapse, and say so
sparing = pytest.mark.filterwarnings("ignore::dgmmis.RepairWarning", "ignore::dgmmis.NotConvergedWarning")


@sparing
@parametrize_with_checks(ESTIMATORS)
def test_the_checks_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


def expected_to_fail(estimator: BaseEstimator) -> dict[str, str]:
    """With several components a start takes some of the rows by chance: of other rows, it finds another maximum."""
    if not isinstance(estimator, dgmmis.GMMis):
        return {}
    return {"check_sample_weight_equivalence_on_dense_data": "15 rows of 30 features have many maxima"}


@sparing
@pytest.mark.slow
@parametrize_with_checks(OTHERS, expected_failed_checks=expected_to_fail)
def test_the_checks_of_other_estimators(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


@sparing
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_the_names_of_columns_are_kept_and_compared(estimator: BaseEstimator) -> None:
    check_dataframe_column_names_consistency(type(estimator).__name__, estimator)


def blobs(n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of two components with the noise of each (n, 2)."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(0, 1, (n // 2, 2)), rng.normal([6, 3], [0.5, 1.5], (n - n // 2, 2))])
    variances = rng.uniform(0.01, 2, points.shape)
    order = rng.permutation(n)
    return (points + rng.normal(size=points.shape) * np.sqrt(variances))[order], variances[order]


def test_a_search_in_a_pipeline_finds_how_many_there_are() -> None:
    points, _ = blobs()
    pipeline = make_pipeline(StandardScaler(), dgmmis.GMMis(tol=1e-4))
    search = GridSearchCV(pipeline, {"gmmis__n_components": [1, 2]}, cv=3).fit(points)
    assert search.best_params_ == {"gmmis__n_components": 2}
    assert search.predict(points).shape == (900,)


@pytest.mark.parametrize("form", ["variances", "covariances", "shared"])
def test_noise_and_weights_follow_their_rows_in_cross_validation(form: str) -> None:
    points, variances = blobs()
    noise = {
        "variances": variances,
        "covariances": np.einsum("ni,ij->nij", variances, np.eye(2)),
        "shared": np.diag([0.5, 1.0]),
    }[form]
    weights = np.random.default_rng(1).uniform(0.5, 2, len(points))
    folds = KFold(3)

    def of(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"noise_covariance": noise if form == "shared" else noise[rows], "sample_weight": weights[rows]}

    expected = []
    for train, test in folds.split(points):
        fitted = dgmmis.GMMis(2, tol=1e-4).fit(points[train], **of(train))
        expected.append(fitted.score(points[test], **of(test)))
    with config_context(enable_metadata_routing=True):
        model = dgmmis.GMMis(2, tol=1e-4)
        model.set_fit_request(noise_covariance=True, sample_weight=True)
        model.set_score_request(noise_covariance=True, sample_weight=True)
        params = {"noise_covariance": noise, "sample_weight": weights}
        assert cross_val_score(model, points, cv=folds, params=params).tolist() == expected
        search = GridSearchCV(model, {"n_components": [2]}, cv=folds).fit(points, **params)
        assert search.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(expected), rel=1e-12)


def test_noise_and_weights_of_classes_follow_their_rows() -> None:
    points, variances = blobs()
    labels = (points[:, 0] > 3).astype(int)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(points))
    expected = np.empty((len(points), 2))
    for train, test in KFold(3).split(points):
        fitted = dgmmis.GMMisClassifier().fit(
            points[train], labels[train], noise_covariance=variances[train], sample_weight=weights[train]
        )
        expected[test] = fitted.predict_proba(points[test], noise_covariance=variances[test])
    with config_context(enable_metadata_routing=True):
        model = dgmmis.GMMisClassifier()
        model.set_fit_request(noise_covariance=True, sample_weight=True)
        params = {"noise_covariance": variances, "sample_weight": weights}
        # what is asked of the prediction, cross_val_predict does not route: the noise of the fit is tested there
        blind = cross_val_predict(model, points, labels, cv=KFold(3), params=params, method="predict_proba")
        model.set_score_request(noise_covariance=True, sample_weight=False)
        scores = cross_val_score(model, points, labels, cv=KFold(3), params=params)
    assert np.abs(blind - expected).max() > 1e-3
    decided = [np.mean(expected[test].argmax(axis=1) == labels[test]) for _, test in KFold(3).split(points)]
    np.testing.assert_allclose(scores, decided, rtol=1e-12)


def test_weights_count_like_repeated_rows() -> None:
    points, variances = blobs(60)
    weights = np.arange(60) % 4
    rows = np.repeat(np.arange(60), weights)
    model = dgmmis.GMMis(2, tol=1e-4).fit(points, noise_covariance=variances)
    given = {"noise_covariance": variances, "sample_weight": weights}
    for question in (model.score, model.bic, model.aic):
        repeated = question(points[rows], noise_covariance=variances[rows])
        assert question(points, **given) == pytest.approx(repeated, rel=1e-12)
        assert question(points, noise_covariance=variances) != pytest.approx(repeated, rel=1e-3)
    with pytest.raises(ValueError, match="every sample_weight is zero"):
        model.score(points, sample_weight=np.zeros(60))


def test_criteria_of_projections() -> None:
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(500, 2, 3))
    measured = np.einsum("nij,nj->ni", projection, rng.normal([1, 2, 3], 1, (500, 3)))
    measured += rng.normal(0, 0.1, (500, 2))
    given = {"noise_covariance": 0.01 * np.eye(2), "projection": projection}
    model = dgmmis.GMMis(1).fit(measured, **given)
    total = model.score_samples(measured, **given).sum()
    assert model.bic(measured, **given) == pytest.approx(-2 * total + 9 * np.log(500), rel=1e-12)
    assert model.aic(measured, **given) == pytest.approx(-2 * total + 18, rel=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "tied", "spherical"])
def test_what_scikit_learns_mixture_has_is_here(covariance_type: str) -> None:
    points, variances = blobs()
    prior = dgmmis.InverseWishart(0.1)
    model = dgmmis.GMMis(2, covariance_type=covariance_type, prior=prior, tol=1e-4)
    labels = model.fit_predict(points, noise_covariance=variances)
    assert np.array_equal(labels, model.predict(points, noise_covariance=variances))
    unit = np.broadcast_to(np.eye(2), (2, 2, 2))
    np.testing.assert_allclose(model.precisions_ @ model.covariances_, unit, atol=1e-12)
    roots = model.precisions_cholesky_
    np.testing.assert_allclose(roots @ np.swapaxes(roots, 1, 2), model.precisions_, rtol=1e-12)
    assert np.array_equal(roots, np.triu(roots))
    log_prior = dgmmis.Constraints(covariance_type, prior).log_prior(model.mixture_) / len(points)
    assert model.lower_bound_ == pytest.approx(model.log_likelihood_ + log_prior, rel=1e-12)
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert len(model.lower_bounds_) == len(model.history_)


def test_a_table_is_read_with_what_is_missing_in_it() -> None:
    points, _ = blobs(100)
    table = pandas.DataFrame(points, columns=["a", "b"])
    holed = points.copy()
    holed[::9, 1] = np.nan
    nullable = table.astype("Float64")
    nullable.loc[::9, "b"] = pandas.NA
    model = dgmmis.GMMis(1).fit(nullable)
    assert np.array_equal(model.means_, dgmmis.GMMis(1).fit(holed).means_)
    assert isinstance(model.predict(nullable), np.ndarray)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        model.predict(table[["b", "a"]])
    with pytest.warns(UserWarning, match="X does not have valid feature names, but GMMis was fitted with"):
        model.predict(points)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(points).predict(points)
    assert not hasattr(model, "feature_names_in_")
