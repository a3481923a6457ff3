"""Real catalogues and published results: skipped where the folder with them is not beside the project."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmmis.callback import History
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.ingest import Columns, ingest
from dgmmis.em import Pass, Stopping, em, passed
from dgmmis.estep import leaf_moments
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.prior import Constraints, Frozen, InverseWishart
from dgmmis.selection import Box, HalfSpace, Selection
from dgmmis.survey import Survey

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _needed(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)}, which does not come with the project")
    return path


def _document(*parts: str) -> Any:
    return json.loads(_needed("reference", *parts).read_text())


@pytest.fixture(scope="module")
def stars() -> Any:
    return np.load(_needed("data", "hipparcos_xd", "hipparcos_xd.npz"))


def _published(document: Any) -> GaussianMixture:
    published = document["published"]
    covariances, weights = np.array(published["cov"]), np.array(published["amp"])
    return GaussianMixture(
        weights / weights.sum(), published["mean"], (covariances + np.swapaxes(covariances, 1, 2)) / 2
    )


def test_hipparcos_one_component(stars: Any) -> None:
    result = fit(ArrayDataset.of(stars["Y"], stars["Ycov"], projection=stars["P"]), Start(1), stopping=Stopping(1e-12))
    assert result.converged
    assert result.log_likelihood == pytest.approx(-8.979757951582, abs=1e-10)


def test_hipparcos_ten_components_from_the_published_start(stars: Any) -> None:
    start = Start(10, _published(_document("bovy2009_hipparcos_K10.json")))
    result = fit(
        ArrayDataset.of(stars["Y"], stars["Ycov"], projection=stars["P"]),
        start,
        constraints=Constraints(prior=InverseWishart(4.0)),
        stopping=Stopping(1e-10, 2000),
    )
    assert result.converged
    assert result.log_likelihood == pytest.approx(-8.75573, abs=5e-6)
    assert all(record.gain >= 0 for record in result.records[1:])


def test_hipparcos_500_plain_iterations_stay_positive_definite_and_monotone(stars: Any) -> None:
    """Without symmetrising, rounding destroys this fit near iteration 65."""
    leaves = list(ArrayDataset.of(stars["Y"], stars["Ycov"], projection=stars["P"]).whole.leaves())
    constraints = Constraints(prior=InverseWishart(4.0))

    def accumulate(model: Model) -> Pass:
        total = Moments.zero(10, 3)
        for leaf in leaves:
            total = total + leaf_moments(model, leaf)
        n = total.n_samples
        prior = constraints.log_prior(model.mixture)
        assert np.linalg.eigvalsh(model.mixture.covariances).min() > 0
        return Pass(total, (total.log_likelihood + prior) / n, total.log_likelihood / n, n)

    history = History()
    loop = em(
        Model(_published(_document("bovy2009_hipparcos_K10.json"))),
        maximize=lambda moments, at: maximize(moments, at, constraints),
        stopping=Stopping(1e-300, 500),
        callback=history,
    )
    passed(loop, accumulate)
    assert len(history.records) == 500
    assert min(record.gain for record in history.records[1:]) > -1e-13
    assert history.records[-1].log_likelihood == pytest.approx(-8.75573, abs=1e-5)


@pytest.mark.parametrize("number", range(20))
def test_hipparcos_colour_bins(stars: Any, number: int) -> None:
    """One free component and one frozen in place and shape, as Hogg et al. 2005 fitted twenty bins in colour."""
    document = _document("hogg2005_hipparcos_20bins.json")["bins"][number]
    low, high = document["rows"]
    rows = (stars["color_rank"] >= low) & (stars["color_rank"] < high)
    assert rows.sum() == document["n"]
    start = GaussianMixture([0.99, 0.01], [[0, 0, 0], [0, -220, 0]], [100 * np.eye(3), 1e4 * np.eye(3)])
    result = fit(
        ArrayDataset.of(stars["Y"][rows], stars["Ycov"][rows], projection=stars["P"][rows]),
        Start(2, start),
        constraints=Constraints(frozen=Frozen.parse({"means": [1], "covariances": [1]}, 2)),
        stopping=Stopping(1e-13, 5000),
    )
    refit, mixture = document["refit_tol1e12"], result.model.mixture
    assert result.log_likelihood == pytest.approx(refit["avg_loglik"], abs=1e-10)
    covariance = np.array(refit["cov"])
    unit = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(mixture.covariances[0] - covariance) < 1e-4 * np.outer(unit, unit))
    assert np.all(np.abs(mixture.means[0] - refit["mean"]) < 1e-4 * np.maximum(np.abs(refit["mean"]), unit))
    np.testing.assert_allclose(mixture.weights, refit["amp"], rtol=1e-4, atol=1e-6)  # one bin has none in the second
    assert np.array_equal(mixture.means[1], [0, -220, 0])
    assert np.array_equal(mixture.covariances[1], 1e4 * np.eye(3))


@pytest.mark.parametrize(
    ("name", "selection"),
    [("C_1d_K2_soft_selection", HalfSpace([-1.0], -0.3, softness=0.4)), ("D_2d_K3_cut", HalfSpace([1.0, 0.0], 6.0))],
)
def test_the_exact_maximum_under_selection(name: str, selection: Selection) -> None:
    """Graded and hard, against direct maximisation of the likelihood: within 0.3 of the stated standard errors."""
    document = _document("exact_incomplete", f"{name}.json")
    points = np.genfromtxt(SHARED / "reference" / "exact_incomplete" / f"{name}.csv", delimiter=",", skip_header=1)
    result = _under_selection(points.reshape(len(points), -1), len(document["mle"]["weights"]), selection)
    _assert_at_the_maximum(result, document)


@pytest.mark.parametrize(
    ("name", "on"), [("A_1d_box_on_observed_hetero_noise", "observed"), ("B_1d_box_on_true_hetero_noise", "true")]
)
def test_the_exact_maximum_under_selection_with_own_noise(name: str, on: str) -> None:
    """A box on measured values, or on true ones; each object's own noise: within 0.3 of the stated standard errors."""
    document = _document("exact_incomplete", f"{name}.json")
    y, sigma = np.genfromtxt(_needed("reference", "exact_incomplete", f"{name}.csv"), delimiter=",", skip_header=1).T
    data = ArrayDataset.of(y[:, None], sigma[:, None] ** 2)
    result = fit(data, Start(1), survey=Survey(Box([-0.5], [2.0]), None, on), stopping=Stopping(1e-8))
    assert result.converged
    _assert_at_the_maximum(result, document)
    # latent points leave 0.02 in each object's at most, three times which in quadrature is
    error = 0.05 if on == "observed" else 3 * 0.02 * len(y) ** 0.5
    assert result.log_likelihood * len(y) == pytest.approx(document["loglik_at_mle"], abs=error)


def _assert_at_the_maximum(result: Fit, document: Any) -> None:
    mixture = result.model.mixture
    order = [int(np.argmin(((mixture.means - m) ** 2).sum(axis=1))) for m in np.array(document["mle"]["means"])]
    for parameter in ("weights", "means", "covariances"):
        error = np.array(document["se"][parameter])
        distance = np.abs(getattr(mixture, parameter)[order] - np.array(document["mle"][parameter]))
        assert np.all(distance <= 0.3 * error), parameter


def _under_selection(points: np.ndarray, k: int, selection: Selection) -> Fit:
    return fit(ArrayDataset.of(points), Start(k), survey=Survey(selection), stopping=Stopping(1e-8))


TYCHO_COLUMNS = Columns(
    features=("pmRA_x10", "pmDE_x10", "BT_x1000", "VT_x1000"),
    errors=("e_pmRA_x10", "e_pmDE_x10", "e_BT_x1000", "e_VT_x1000"),
    scale={"pmRA_x10": 0.1, "pmDE_x10": 0.1, "BT_x1000": 1e-3, "VT_x1000": 1e-3},
    units=("mas/yr", "mas/yr", "mag", "mag"),
)


def test_tycho_end_to_end(tmp_path: Path) -> None:
    """Two and a half million stars with errors and missing blocks: ingest, and passes on the local cluster."""
    source = _needed("data", "tycho2", "tycho2.parquet")
    dataset = ingest(source, tmp_path / "tycho.zarr", TYCHO_COLUMNS)
    assert dataset.n_rows == 2_539_913
    first: Chunk = dataset.references[0].load()
    assert 0 < np.isnan(first.points[:, 0]).mean() < 0.2  # proper motions are missing together
    assert np.array_equal(np.isnan(first.points[:, 0]), np.isnan(first.points[:, 1]))
    executor = connect(ClusterSpec("local", memory_limit="2GiB"), small=False)
    try:
        result = fit(Dataset.open(tmp_path / "tycho.zarr"), Start(20), stopping=Stopping(max_iter=3), executor=executor)
    finally:
        executor.close()
    assert result.n_samples == 2_539_913
    assert all(record.gain > 0 for record in result.records[1:])
    assert np.all(np.isfinite(result.model.mixture.means))
