"""True values by the loop of the E-step, against conditioning written out (`conditioned`, `Mixed`)."""

import numpy as np
import pytest

from dgmmis import true_posterior
from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.estep import noisy
from dgmmis.latent_draw import Observing
from dgmmis.linalg import pack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import FullNoise
from dgmmis.survey import Survey
from dgmmis.true_posterior import posterior_moments

K, D, N = 5, 3, 200
EVERYTHING = Observing(Survey(), np.eye(D))


def mixture() -> GaussianMixture:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(K, D, D))
    covariances = factors @ np.swapaxes(factors, 1, 2) + 0.1 * np.eye(D)
    return GaussianMixture(rng.dirichlet(np.full(K, 3.0)), 3 * rng.normal(size=(K, D)), covariances)


def rows(scale: float, *, gaps: bool) -> Chunk:
    """Measured with this much noise; two values of a third of them are missing."""
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(N, D, D))
    noise = scale * (factors @ np.swapaxes(factors, 1, 2) + 0.1 * np.eye(D))
    points = mixture().sample(N, 2) + np.sqrt(scale) * rng.normal(size=(N, D))
    if gaps:
        points[::3, [0, 2]] = np.nan
    return Chunk(points, FullNoise(pack(noise)))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("gaps", [False, True])
def test_true_values_by_the_loop_are_those_of_conditioning(
    monkeypatch: pytest.MonkeyPatch, scale: float, gaps: bool
) -> None:
    """Also where noise is far smaller, or far larger, than the components: to 1e-12 of each standard deviation,
    as far as there are digits."""
    chunk = rows(scale, gaps=gaps)
    monkeypatch.setattr(noisy, "FEWEST_PAIRS", 1)
    for model in (Model(mixture()), Model(mixture(), Uniform([-30] * D, [30] * D), 0.2)):
        found = posterior_moments(model, chunk, EVERYTHING)
        with monkeypatch.context() as patch:
            patch.setattr(true_posterior, "locates", lambda model, block: False)
            expected = posterior_moments(model, chunk, EVERYTHING)
        sigma = np.sqrt(np.diagonal(expected.covariance, axis1=1, axis2=2))
        digits = 1e-14 * np.abs(chunk.points[~np.isnan(chunk.points)]).max()  # of positions, in either way
        assert np.all(np.abs(found.mean - expected.mean) <= 1e-12 * sigma + digits)
        allowed = 1e-12 * sigma[:, :, None] * sigma[:, None] + digits * np.maximum(sigma[:, :, None], sigma[:, None])
        assert np.all(np.abs(found.covariance - expected.covariance) <= allowed)
        np.testing.assert_allclose(found.background, expected.background, rtol=1e-11, atol=1e-15)
        np.testing.assert_array_equal(found.covariance, np.swapaxes(found.covariance, 1, 2))


def test_few_rows_are_not_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(true_posterior, "located", never)
    assert rows(1.0, gaps=False).n_samples * K < noisy.FEWEST_PAIRS
    posterior_moments(Model(mixture()), rows(1.0, gaps=False), EVERYTHING)
