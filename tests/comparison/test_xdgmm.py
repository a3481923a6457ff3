"""astroML's XDGMM, extreme deconvolution: noise of each object's own, nothing else."""

from pathlib import Path

import numpy as np

from comparison.peers import run_peer
from comparison.survey import NEAR, TRUTH, Answer, differences, ellipses, fitted, scattered, through_kernels
from dgmmis import GaussianMixture


def test_likelihood_and_optimum(tmp_path: Path) -> None:
    """The log density of each object at equal parameters to 1e-9; from the same start the same optimum, no lower."""
    rng = np.random.default_rng(20)
    noise = ellipses(200, rng)
    points = scattered(TRUTH.sample(200, rng), noise, rng)
    peer = run_peer("astroML", tmp_path, points=points, noise=noise, k=2, tol=1e-8, max_iter=400, seed=0)

    mixture = GaussianMixture(peer["alpha"], peer["mu"], peer["V"])
    np.testing.assert_allclose(mixture.log_density(points, noise), peer["log_density"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(through_kernels(mixture, points, noise), peer["log_density"], rtol=0, atol=1e-9)

    start = GaussianMixture(peer["start_alpha"], peer["start_mu"], peer["start_V"])
    ours = fitted(points, noise, start=start)
    assert np.abs(differences(ours, Answer(peer["alpha"], peer["mu"], peer["V"]))).max() < NEAR
    assert ours.log_likelihood * 200 >= peer["log_likelihood"] - 1e-9
