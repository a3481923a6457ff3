"""The one small population that the peers are compared on, and what is made of it."""

from dataclasses import dataclass

import numpy as np

from dgmmis import ArrayDataset, GaussianMixture, GMMis, Model, Survey
from dgmmis.em import Stopping
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.prior import Constraints

TRUTH = GaussianMixture(
    [0.35, 0.65],
    [[-2.0, 1.0], [1.5, -0.5]],
    [[[0.6, 0.25], [0.25, 0.5]], [[0.9, -0.3], [-0.3, 0.7]]],
)
START = GaussianMixture([0.5, 0.5], [[-1.5, 0.5], [1.0, 0.0]], [np.eye(2), np.eye(2)])
"""Near enough that all go to the same maximum."""

TIGHT = Stopping(tol=1e-12, max_iter=2000)

NEAR = 1e-3
"""Largest difference of two optima of the same likelihood, in standard errors (measured: 1e-4 and less)."""


@dataclass(frozen=True)
class Answer:
    """A peer's parameters: weights that sum to one, and the background's fraction."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    fraction: float = 0.0


def ellipses(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise covariances (n, 2, 2) of all directions, standard deviations from 0.2 to 0.7."""
    angle = rng.uniform(0, np.pi, n)
    turn = np.moveaxis(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), 2, 0)
    return turn * rng.uniform(0.2, 0.7, (n, 1, 2)) ** 2 @ np.swapaxes(turn, 1, 2)


def scattered(points: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points with noise (n, 2, 2) added."""
    return points + np.einsum("nij,nj->ni", np.linalg.cholesky(noise), rng.normal(size=points.shape))


def fitted(
    points: np.ndarray,
    noise: np.ndarray | None = None,
    *,
    start: Start | GaussianMixture = START,
    projection: np.ndarray | None = None,
    survey: Survey | None = None,
    constraints: Constraints | None = None,
    stopping: Stopping = TIGHT,
) -> Fit:
    """dgmmis, from a given start."""
    start = Start(start.n_components, start) if isinstance(start, GaussianMixture) else start
    data = ArrayDataset.of(points, noise, projection=projection)
    return fit(data, start, survey=survey, constraints=constraints, stopping=stopping)


def through_kernels(mixture: GaussianMixture, points: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
    """Log densities (n,) by the E-step kernels: those of a fit in which nothing is free."""
    everything = list(range(mixture.n_components))
    frozen = dict.fromkeys(("weights", "means", "covariances"), everything)
    model = GMMis(mixture.n_components, init=mixture, frozen=frozen).fit(points, noise_covariance=noise)
    return model.score_samples(points, noise_covariance=noise)


def model_of(answer: Answer, like: Model) -> Model:
    """A peer's parameters as a model."""
    mixture = GaussianMixture(
        answer.weights, answer.means, (answer.covariances + answer.covariances.swapaxes(1, 2)) / 2
    )
    return Model(mixture, like.background, answer.fraction)


def differences(ours: Fit, theirs: Answer) -> np.ndarray:
    """Ours less theirs in our standard errors, of all parameters that are free."""
    model, errors = ours.model, ours.standard_errors()
    i, j = np.tril_indices(model.mixture.n_features)
    parts = [
        (model.mixture.weights - theirs.weights, errors.weights),
        (model.mixture.means - theirs.means, errors.means),
        ((model.mixture.covariances - theirs.covariances)[:, i, j], errors.covariances[:, i, j]),
        (np.array([model.background_fraction - theirs.fraction]), np.array([errors.background_amplitude])),
    ]
    difference, error = (np.concatenate([np.ravel(part[side]) for part in parts]) for side in (0, 1))
    return difference[error > 0] / error[error > 0]
