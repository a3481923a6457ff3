"""Recovery: a fit from the job file of every preset finds the truth again, within its statistical errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2, norm

from dgmmis.dataset.dataset import Dataset
from dgmmis.execution.serial import Threads
from dgmmis.fit import evaluate, fit
from dgmmis.job import read_job
from dgmmis.linalg import unpack
from dgmmis.model import Model
from dgmmis.simulate import PRESETS, job_path, simulate

FALSE_ALARM = 1e-6
"""How often each comparison here would fail by chance, were its seed not pinned."""


LITERAL = tuple(name for name in PRESETS if name != "one-likelihood")
"""Those whose information is that of the scores below: one completeness for all, nothing lost after selection."""


@pytest.mark.parametrize("name", LITERAL)
def test_the_job_file_finds_the_truth_again(tmp_path: Path, name: str) -> None:
    """Within the errors of the Fisher information, for each parameter and for all of them together."""
    dataset = simulate(tmp_path / "survey.zarr", name, n=40_000, seed=3)
    job, truth = read_job(job_path(dataset.path)), PRESETS[name].model
    executor = Threads(2)
    try:
        found = fit(
            Dataset.open(job.resolve(job.data.path)),
            job.start(),
            survey=job.survey(),
            constraints=job.constraints(),
            stopping=job.stopping(),
            seed=job.fit.seed,
            executor=executor,
        )
    finally:
        executor.close()
    assert found.converged
    information, slope = _information(truth, dataset)
    offset = _parameters(_matched(found.model, truth)) - _parameters(truth)
    errors = np.sqrt(np.diagonal(np.linalg.inv(information)))
    assert np.max(np.abs(offset / errors)) < norm.isf(FALSE_ALARM / 2 / len(offset))
    assert offset @ information @ offset < chi2.isf(FALSE_ALARM, len(offset))
    assert dataset.truth is not None
    share = dataset.truth["completeness"]
    if job.selection is None:
        assert found.completeness == share == 1.0
    else:
        error = np.hypot(np.sqrt(slope @ np.linalg.solve(information, slope)), found.completeness_error / share)
        assert abs(np.log(found.completeness / share)) < norm.isf(FALSE_ALARM / 2) * error


def test_everything_at_once_is_found_again(tmp_path: Path) -> None:
    """The likelihood of the truth is below the greatest by no more than as many parameters gain (Wilks 1938).

    At seed 4 twice the difference is 16, of 12 parameters; it would be this large in 0.18 of surveys.
    """
    dataset = simulate(tmp_path / "survey.zarr", "one-likelihood", n=3_000, seed=4)
    job, truth = read_job(job_path(dataset.path)), PRESETS["one-likelihood"].model
    executor = Threads(2)
    try:
        found = fit(
            dataset,
            job.start(),
            survey=job.survey(),
            constraints=job.constraints(),
            stopping=job.stopping(),
            seed=job.fit.seed,
            executor=executor,
        )
        at_truth = evaluate(dataset, truth, survey=job.survey(), executor=executor)
    finally:
        executor.close()
    assert found.converged
    gain = 2 * dataset.n_rows * (found.log_likelihood - at_truth.log_likelihood)
    assert -0.1 < gain < chi2.isf(FALSE_ALARM, len(_parameters(truth)))
    means = _matched(found.model, truth).mixture.means
    assert np.max(np.abs(means - truth.mixture.means)) < 0.5  # near, and not only as likely


def _matched(model: Model, truth: Model) -> Model:
    """The model with its components in the order of the truth's."""
    mixture = model.mixture
    distance = np.linalg.norm(truth.mixture.means[:, None] - mixture.means[None], axis=2)
    order = linear_sum_assignment(distance)[1]
    parts = {name: getattr(mixture, name)[order] for name in ("weights", "means", "covariances")}
    return replace(model, mixture=replace(mixture, **parts))


def _parameters(model: Model) -> np.ndarray:
    mixture = model.mixture
    i, j = np.tril_indices(mixture.n_features)
    parts = [mixture.weights[:-1], mixture.means.ravel(), mixture.covariances[:, i, j].ravel()]
    return np.concatenate([*parts, [model.background_fraction] if model.background is not None else []])


def _information(model: Model, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """N times the covariance of the scores of the observed objects at the truth, and their mean: under a selection that
    is the gradient of log Z, so centring gives the information of the truncated likelihood.
    """
    total, mean, n = np.zeros(()), np.zeros(()), 0
    for reference in dataset.references:
        chunk = reference.load()
        for start in range(0, chunk.n_samples, 4_000):
            part = chunk.take(slice(start, start + 4_000))
            d = part.points.shape[1]
            noise = np.broadcast_to(unpack(part.noise.packed(range(d)).T), (part.n_samples, d, d))
            scores = _scores(model, part.points, noise, part.noise.variances(d))
            total, mean, n = total + scores.T @ scores, mean + scores.sum(axis=0), n + len(scores)
    return total - np.outer(mean, mean) / n, mean / n


def _scores(model: Model, points: np.ndarray, noise: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Derivatives of log p(y_n | theta) (n, parameters), from the density, one component after the other."""
    mixture, nu, d = model.mixture, model.background_fraction, points.shape[1]
    seen = ~np.isnan(points)
    both = seen[:, :, None] & seen[:, None, :]
    log_joint, gradients, curvatures = [], [], []
    for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
        # a missing feature is one of unit variance at its mean: it adds a constant to log p, and nothing to the scores
        total = np.where(both, covariance + noise, np.eye(d))
        inverse = np.linalg.inv(total)
        g = np.einsum("nij,nj->ni", inverse, np.where(seen, points - mean, 0.0))
        chi = np.einsum("ni,ni->n", np.where(seen, points - mean, 0.0), g)
        constant = seen.sum(axis=1) * np.log(2 * np.pi)
        log_joint.append(np.log((1 - nu) * weight) - 0.5 * (chi + np.linalg.slogdet(total)[1] + constant))
        gradients.append(g)
        curvatures.append(0.5 * (g[:, :, None] * g[:, None, :] - np.where(both, inverse, 0.0)))
    joint = np.exp(np.stack(log_joint, axis=1))
    behind = np.zeros(len(points))
    if model.background is not None:
        lower, upper, sigma = model.background.lower, model.background.upper, np.sqrt(variances)
        inside = norm.cdf((upper - points) / sigma) - norm.cdf((lower - points) / sigma)
        behind = nu * np.prod(inside / (upper - lower), axis=1)
    density = joint.sum(axis=1) + behind
    q = joint / density[:, None]
    i, j = np.tril_indices(d)
    twice = np.where(i == j, 1.0, 2.0)
    weights = q / mixture.weights
    parts = [weights[:, :-1] - weights[:, -1:]]
    parts.append(np.concatenate([q[:, [k]] * g for k, g in enumerate(gradients)], axis=1))
    parts.append(np.concatenate([q[:, [k]] * twice * c[:, i, j] for k, c in enumerate(curvatures)], axis=1))
    if model.background is not None:
        parts.append(((behind / nu - joint.sum(axis=1) / (1 - nu)) / density)[:, None])
    return np.concatenate(parts, axis=1)


def test_the_scores_are_the_derivatives_of_the_density() -> None:
    """The yardstick of the recovery test, against finite differences of the library's density."""
    for name in ("background", "deconvolution"):
        preset, step = PRESETS[name], 1e-5
        points, noise = preset.draw(20, np.random.default_rng(4))
        d, at = points.shape[1], _parameters(preset.model)
        covariances = unpack(noise.packed(range(d)).T)
        scores = _scores(preset.model, points, covariances, noise.variances(d))
        for p in range(len(at)):
            low, high = (
                _with_parameters(preset.model, at + sign * step * (np.arange(len(at)) == p)).log_density(points, noise)
                for sign in (-1, 1)
            )
            np.testing.assert_allclose(scores[:, p], (high - low) / (2 * step), rtol=1e-4, atol=1e-4)


def _with_parameters(model: Model, values: np.ndarray) -> Model:
    k, d = model.mixture.means.shape
    t = d * (d + 1) // 2
    weights, means, covariances, rest = np.split(values, np.cumsum([k - 1, k * d, k * t]))
    mixture = replace(
        model.mixture,
        weights=np.append(weights, 1 - weights.sum()),
        means=means.reshape(k, d),
        covariances=unpack(covariances.reshape(k, t)),
    )
    return replace(model, mixture=mixture, background_fraction=float(rest[0]) if len(rest) else 0.0)
