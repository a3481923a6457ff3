"""GMMis: what a scikit-learn user expects, on numpy, dask, zarr and stores."""

import pickle
from pathlib import Path

import dask.array
import numpy as np
import pytest
import zarr
from sklearn.base import clone
from sklearn.mixture import GaussianMixture as PlainMixture
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dgmmis
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, NotConvergedWarning, RepairWarning, ShapeError


def _points(n: int = 3000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(0, 1, (n // 2, 2)), rng.normal([5, 3], [0.5, 1.5], (n - n // 2, 2))])
    rng.shuffle(points)
    return points


@pytest.mark.parametrize("covariance_type", ["full", "diag", "tied", "spherical"])
def test_agrees_with_scikit_learn_where_both_apply(covariance_type: str) -> None:
    points = _points()
    ours = dgmmis.GMMis(2, covariance_type=covariance_type, tol=1e-10).fit(points)
    theirs = PlainMixture(2, covariance_type=covariance_type, tol=1e-12, max_iter=2000, reg_covar=0).fit(points)
    assert ours.score(points) == pytest.approx(theirs.score(points), abs=1e-9)
    assert ours.bic(points) == pytest.approx(theirs.bic(points), rel=1e-9)
    assert ours.aic(points) == pytest.approx(theirs.aic(points), rel=1e-9)
    order, same = np.argsort(ours.means_[:, 0]), np.argsort(theirs.means_[:, 0])
    np.testing.assert_allclose(ours.means_[order], theirs.means_[same], atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(points)[:, order], theirs.predict_proba(points)[:, same], atol=1e-5)
    np.testing.assert_allclose(ours.score_samples(points), theirs.score_samples(points), atol=1e-4)


def test_dask_zarr_stores_and_numpy_give_the_same_bits(tmp_path: Path) -> None:
    points = _points(20_000)
    variances = np.full(points.shape, 0.04)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(points))
    expected = dgmmis.GMMis(2).fit(points, noise_covariance=variances, sample_weight=weights)
    lazy = dask.array.from_array(points, chunks=(7000, 2))
    stored = zarr.array(points, chunks=(4096, 2))
    with SurveyWriter(tmp_path / "s.zarr", Schema(features=("a", "b"), noise="diagonal", weighted=True)) as writer:
        writer.write(points, noise=variances, weights=weights)
    others = [
        dgmmis.GMMis(2).fit(lazy, noise_covariance=dask.array.from_array(variances), sample_weight=weights),
        dgmmis.GMMis(2).fit(stored, noise_covariance=variances, sample_weight=weights),
        dgmmis.GMMis(2).fit(str(tmp_path / "s.zarr")),
        dgmmis.GMMis(2).fit(dgmmis.Dataset.open(tmp_path / "s.zarr")),
    ]
    for other in others:
        assert np.array_equal(other.means_, expected.means_)
        assert other.log_likelihood_ == expected.log_likelihood_


def test_every_argument_of_the_interface_does_something() -> None:
    rng = np.random.default_rng(2)
    background = dgmmis.Uniform([-10, -10], [10, 10])
    points = np.concatenate([_points(6000), rng.uniform(-10, 10, (2000, 2))])
    points += rng.normal(0, 0.3, points.shape)
    selection = dgmmis.Box([-10, -10], [5.6, 10])
    seen = points[selection(points) > 0]
    model = dgmmis.GMMis(
        2,
        selection=selection,
        noise_law=0.09 * np.eye(2),
        background=background,
        prior=dgmmis.InverseWishart(0.1),
        init="random",
        random_state=3,
    ).fit(seen, noise_covariance=np.full(seen.shape, 0.09))
    assert model.converged_
    assert "converged" in model.status_
    assert model.background_amplitude_ == pytest.approx(0.25, abs=0.03)
    assert model.completeness_ == pytest.approx(len(seen) / len(points), abs=0.03)
    np.testing.assert_allclose(np.sort(model.means_[:, 0]), [0, 5], atol=0.15)
    assert model.history_[-1].log_likelihood == model.log_likelihood_
    assert model.n_iter_ >= len(model.history_)
    assert model.mixture_.n_components == 2
    assert model.score(seen, noise_covariance=np.full(seen.shape, 0.09)) == pytest.approx(
        model.log_likelihood_, abs=1e-12
    )
    labels = model.predict(np.array([[0.0, 0.0], [-9.0, 9.0]]))
    assert labels[0] >= 0
    assert labels[1] == -1
    drawn, which = model.sample(5000)
    assert drawn.shape == (5000, 2)
    assert np.mean(which == -1) == pytest.approx(model.background_amplitude_, abs=0.03)
    frozen = dgmmis.GMMis(2, init=model.mixture_, frozen={"means": [0, 1]}, max_iter=50).fit(points)
    assert np.array_equal(frozen.means_, model.means_)


def test_projections() -> None:
    rng = np.random.default_rng(0)
    true = rng.multivariate_normal([1, 2, 3], np.diag([1.0, 0.5, 0.2]), size=4000)
    projection = rng.normal(size=(4000, 2, 3))
    measured = np.einsum("nij,nj->ni", projection, true) + rng.normal(0, 0.1, (4000, 2))
    model = dgmmis.GMMis(1).fit(measured, noise_covariance=np.full((4000, 2), 0.01), projection=projection)
    np.testing.assert_allclose(model.means_[0], [1, 2, 3], atol=0.08)
    np.testing.assert_allclose(np.diag(model.covariances_[0]), [1.0, 0.5, 0.2], atol=0.12)


def test_clone_pickle_pipeline_cross_validation() -> None:
    points = _points()
    model = dgmmis.GMMis(2, tol=1e-5, random_state=1)
    assert clone(model).get_params() == model.get_params()
    fitted = clone(model).fit(points)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict(points), fitted.predict(points))
    pipeline = make_pipeline(StandardScaler(), clone(model)).fit(points)
    assert len(np.unique(pipeline.predict(points))) == 2
    assert np.all(np.isfinite(cross_val_score(clone(model), points, cv=3)))


def test_missing_features_at_prediction() -> None:
    points = _points()
    points[::7, 1] = np.nan
    model = dgmmis.GMMis(2).fit(points)
    assert np.all(np.isfinite(model.score_samples(points)))
    np.testing.assert_allclose(model.predict_proba(points).sum(axis=1), 1, atol=1e-12)


def test_warnings_say_what_happened() -> None:
    points = _points()
    with pytest.warns(NotConvergedWarning, match="raise max_iter"):
        dgmmis.GMMis(5, max_iter=3).fit(points)
    lonely = np.concatenate([points, np.full((50, 2), 40.0)])
    with pytest.warns(RepairWarning, match="component . collapsed onto 50 objects"):
        dgmmis.GMMis(3).fit(lonely)


def test_who_asks_for_less_than_arriving_is_done_sooner() -> None:
    points = np.random.default_rng(3).standard_t(4, (5000, 2))  # for the last components the data say little
    there, near = (dgmmis.GMMis(6, tol=1e-3, arrived=arrived).fit(points) for arrived in (0.03, 2.0))
    assert there.converged_
    assert near.converged_
    assert there.history_[-1].distance <= 0.03 < near.history_[-1].distance <= 2.0
    assert near.n_passes_ < there.n_passes_


def test_refusals() -> None:
    points = _points(100)
    with pytest.raises(JobError, match="unknown selection_on 'truth'"):
        dgmmis.GMMis(1, selection_on="truth", selection=dgmmis.Box([-9, -9], [9, 9])).fit(points)
    with pytest.raises(ShapeError, match="expecting 2 features"):
        dgmmis.GMMis(1).fit(points).predict(points[:, :1])
    infinite, variances = points.copy(), np.ones_like(points)
    infinite[3, 1], variances[5, 0] = np.inf, -1
    with pytest.raises(ValueError, match="infinite values in row 3"):
        dgmmis.GMMis(1).fit(infinite)
    with pytest.raises(ValueError, match="negative or not finite in row 5"):
        dgmmis.GMMis(1).fit(points, noise_covariance=variances)


def test_noise_in_the_place_of_labels_is_refused() -> None:
    points = _points(200)
    model = dgmmis.GMMis(1).fit(points)
    for ask in (dgmmis.GMMis(1).fit, dgmmis.VariationalGMMis(1).fit, model.score):
        for noise in (np.ones_like(points), np.eye(2), np.repeat(np.eye(2)[None], 200, axis=0)):
            with pytest.raises(JobError, match="Give it by its name: noise_covariance="):
                ask(points, noise)
        ask(points, np.arange(200) % 2)
