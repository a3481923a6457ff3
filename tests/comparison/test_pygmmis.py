"""pyGMMis 1.2.3 (Melchior & Goulding 2018): the same likelihoods and optima; where its answers differ, by how much."""

import re
from pathlib import Path

import numpy as np
import pytest

from comparison.peers import run_peer
from comparison.survey import (
    NEAR,
    START,
    TRUTH,
    Answer,
    differences,
    ellipses,
    fitted,
    model_of,
    scattered,
    through_kernels,
)
from dgmmis import (
    ArrayDataset,
    Ball,
    Box,
    FromFunction,
    GaussianMixture,
    InverseWishart,
    Model,
    Survey,
    Uniform,
    evaluate,
)
from dgmmis.em import Stopping
from dgmmis.initialize import Start
from dgmmis.prior import Constraints, Frozen
from dgmmis.simulate import find_preset

TIGHT = {"tol": 1e-12, "max_iter": 600}
"""Until its gains are rounding: its own tolerance is 1e-3 of the log-likelihood."""

BOX = np.array([[-6.0, -5.0], [6.0, 5.0]])


def run(
    folder: Path, points: np.ndarray, start: GaussianMixture = START, seeds: tuple[int, ...] = (0,), **options: object
) -> dict[str, np.ndarray]:
    """pyGMMis on these points from a start."""
    parameters = {"amp": start.weights, "mean": start.means, "covar": start.covariances}
    return run_peer("pygmmis", folder, points=points, seeds=list(seeds), **parameters, **options)


def answers(peer: dict[str, np.ndarray]) -> list[Answer]:
    """Its fits; amplitudes beside a background sum to less than one."""
    names = ("amp", "mean", "covar", "background_amp")
    parts = zip(*(peer[name] for name in names), strict=True)
    return [Answer(amp / amp.sum(), mean, covar, float(behind)) for amp, mean, covar, behind in parts]


def noisy(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Points and their noise covariances, all different."""
    rng = np.random.default_rng(seed)
    noise = ellipses(n, rng)
    return scattered(TRUTH.sample(n, rng), noise, rng), noise, rng


@pytest.mark.parametrize("kind", ["none", "shared", "own"])
def test_log_densities_at_equal_parameters(kind: str, tmp_path: Path) -> None:
    """Each object's to 1e-9, from `logL` and from calling the mixture."""
    points, each, _ = noisy(30)
    noise = {"none": None, "shared": each[0], "own": each}[kind]
    peer = run(tmp_path, points, seeds=(), noise=noise)
    for ours in (START.log_density(points, noise), through_kernels(START, points, noise)):
        np.testing.assert_allclose(ours, peer["log_density"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours, peer["called"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["none", "shared", "own"])
def test_optima_with_noise(kind: str, tmp_path: Path) -> None:
    points, each, _ = noisy(31)
    noise = {"none": None, "shared": each[0], "own": each}[kind]
    peer = run(tmp_path, points, noise=noise, **TIGHT)
    ours = fitted(points, noise)
    assert np.abs(differences(ours, answers(peer)[0])).max() < NEAR
    # what `fit` returns is a sum, of the parameters before its last step
    total = ours.log_likelihood * len(points)
    assert total >= peer["log_likelihood"][0] - 1e-9
    assert total == pytest.approx(peer["log_likelihood"][0], abs=1e-6)


def test_missing_features(tmp_path: Path) -> None:
    """Its 2e10 on the diagonal is the limit of leaving a value out, but for a constant in the log-likelihood."""
    points, noise, rng = noisy(32)
    lost = rng.random(points.shape) < 0.15
    lost[lost.all(axis=1), 0] = False
    points[lost] = np.nan
    peer = run(tmp_path, points, noise=noise, **TIGHT)
    ours = fitted(points, noise)
    assert np.abs(differences(ours, answers(peer)[0])).max() < NEAR
    constant = 0.5 * lost.sum() * np.log(2 * np.pi * 2e10)
    assert ours.log_likelihood * len(points) == pytest.approx(peer["log_likelihood"][0] + constant, abs=1e-5)


def test_projections(tmp_path: Path) -> None:
    rng = np.random.default_rng(33)
    noise, projection = ellipses(600, rng), np.eye(2) + rng.normal(0, 0.5, (600, 2, 2))
    points = scattered(np.einsum("nij,nj->ni", projection, TRUTH.sample(600, rng)), noise, rng)
    peer = run(tmp_path, points, noise=noise, projection=projection, **TIGHT)
    ours = fitted(points, noise, projection=projection)
    assert np.abs(differences(ours, answers(peer)[0])).max() < NEAR
    assert ours.log_likelihood * len(points) == pytest.approx(peer["log_likelihood"][0], abs=1e-6)


def test_its_w_as_a_prior(tmp_path: Path) -> None:
    """Without selection w is InverseWishart(w^2 (n / k + 1)): a prior that grows with the data."""
    points, noise, _ = noisy(34)
    peer = run(tmp_path, points, noise=noise, w=0.3, **TIGHT)
    ours = fitted(points, noise, constraints=Constraints(prior=InverseWishart(0.3**2 * (len(points) / 2 + 1))))
    assert np.abs(differences(ours, answers(peer)[0])).max() < NEAR


def test_frozen_parameters(tmp_path: Path) -> None:
    """Its amp, mean, covar by name; a list there freezes all three."""
    points, noise, _ = noisy(35)
    frozen = Frozen.parse({"weights": [0], "means": [1], "covariances": [0]}, 2)
    peer = run(tmp_path, points, noise=noise, frozen_amp=[0], frozen_mean=[1], frozen_covar=[0], **TIGHT)
    ours = fitted(points, noise, constraints=Constraints(frozen=frozen))
    assert np.array_equal(peer["mean"][0][1], START.means[1])
    assert np.abs(differences(ours, answers(peer)[0])).max() < NEAR


@pytest.mark.parametrize("kind", ["none", "own"])
def test_uniform_background(kind: str, tmp_path: Path) -> None:
    """Likelihood at the start, and the optimum; its background knows the diagonal of the noise only."""
    rng = np.random.default_rng(36)
    background = Uniform(*BOX)
    points = np.concatenate([TRUTH.sample(600, rng), background.sample(150, rng)])
    variances = rng.uniform(0.2, 0.6, points.shape) ** 2
    noise = None
    if kind == "own":
        noise = variances[:, :, None] * np.eye(2)
        points = points + np.sqrt(variances) * rng.normal(size=points.shape)
    options = {"noise": noise, "footprint": BOX, "background_amp": 0.1}
    first = run(tmp_path, points, **options, tol=1e-12, max_iter=1)
    before = Model(START, background, 0.1).log_density(points, noise)
    assert before.sum() == pytest.approx(first["log_likelihood"][0], rel=1e-9)

    peer = run(tmp_path, points, **options, **TIGHT)
    ours = fitted(points, noise, start=Start(2, START, background, 0.1))
    (theirs,) = answers(peer)
    assert theirs.fraction == pytest.approx(0.2, abs=0.05)
    assert np.abs(differences(ours, theirs)).max() < NEAR
    assert ours.log_likelihood * len(points) == pytest.approx(peer["log_likelihood"][0], abs=1e-6)
    assert peer["amp"][0].sum() == pytest.approx(1 - theirs.fraction, abs=1e-9)


EDGE = 2.0
"""Of the survey below: it sees y_0 < EDGE, four objects of five."""


def cut(seed: int) -> tuple[np.ndarray, np.ndarray, Survey]:
    rng = np.random.default_rng(seed)
    noise = 0.09 * np.eye(2)
    points = TRUTH.sample(900, rng) + 0.3 * rng.normal(size=(900, 2))
    return points[points[:, 0] < EDGE], noise, Survey(Box([-np.inf, -np.inf], [EDGE, np.inf]))


CUT = {"selection_lower": [-1e3, -1e3], "selection_upper": [EDGE, 1e3]}


def test_likelihood_under_a_cut(tmp_path: Path) -> None:
    """Its log-likelihood at the start, with a drawn Z: relative to ours, to six errors of that drawing."""
    points, noise, survey = cut(40)
    oversampling = 300
    drawn = {"noise": noise, "unseen_noise": noise, "oversampling": oversampling, "max_iter": 1}
    peer = run(tmp_path, points, seeds=(1,), **drawn, **CUT)
    ours = evaluate(ArrayDataset.of(points, noise), Model(START), survey=survey)
    n = len(points)
    # log Z = -log(1 + N2 / n), and how many were drawn is known to one Poisson error of the n * oversampling seen
    assert n * ours.log_likelihood == pytest.approx(peer["log_likelihood"][0], abs=6 * np.sqrt(n / oversampling))
    without = START.log_density(points, noise).sum()
    assert n * ours.log_likelihood - without > 40 * np.sqrt(n / oversampling)


@pytest.mark.slow
def test_optimum_under_a_cut(tmp_path: Path) -> None:
    """Our optimum is where its steps stay, to their scatter, with any random numbers. From elsewhere they end on the
    way (measured: 0.5 to 0.65 standard errors short), since the number of objects that it draws for is left where it
    first agreed with the data to one Poisson error. No fit of its is above our optimum."""
    points, noise, survey = cut(41)
    ours = fitted(points, noise, survey=survey, stopping=Stopping(1e-9))
    drawn = {"noise": noise, "unseen_noise": noise, "oversampling": 40, "tol": 1e-12, "max_iter": 40}

    def fits(start: GaussianMixture) -> list[Answer]:
        return answers(run(tmp_path, points, start, seeds=(0, 1, 2, 3), **drawn, **CUT))

    stayed, went = fits(ours.model.mixture), fits(START)
    scaled = np.array([differences(ours, answer) for answer in stayed])
    scatter = scaled.std(axis=0, ddof=1) / np.sqrt(len(scaled))
    assert np.all(np.abs(scaled.mean(axis=0)) < 0.1 + 4 * scatter)
    assert np.abs(scaled).max() < 0.4
    assert max(np.abs(differences(ours, answer)).max() for answer in went) < 1
    data = ArrayDataset.of(points, noise)
    for answer in stayed + went:
        assert evaluate(data, model_of(answer, ours.model), survey=survey).log_likelihood < ours.log_likelihood


SLOPE = 1.0
"""Omega = 1 / (1 + exp(SLOPE y)), of the unit normal below."""


def where_dividing_leads() -> tuple[float, float, float]:
    """Mean, variance and sum of amplitudes of a unit normal where each observed object counts 1 / Omega and the unseen
    are added as well: the fixed point of that iteration, by quadrature."""
    y = np.linspace(-12, 12, 8001)
    step = y[1] - y[0]
    truth = np.exp(-0.5 * y**2) * step / np.sqrt(2 * np.pi)
    omega = 1 / (1 + np.exp(SLOPE * y))
    seen = omega @ truth
    mean, variance, total = 0.0, 1.0, 1.0
    for _ in range(500):
        model = np.exp(-0.5 * (y - mean) ** 2 / variance) * step / np.sqrt(2 * np.pi * variance)
        n_unseen = seen * (1 - omega @ model) / (omega @ model)
        both = truth + n_unseen * (1 - omega) * model / ((1 - omega) @ model)
        total = both.sum()
        mean, variance = y @ both / total, (y - mean) ** 2 @ both / total
        total /= seen + n_unseen
    return mean, variance, total


@pytest.mark.slow
def test_graded_selection_divides_by_omega(tmp_path: Path) -> None:
    """pyGMMis weighs what was seen by 1 / Omega and adds the unseen to it: its mean is drawn towards where objects are
    rarely seen, and its amplitudes sum to more than one. dgmmis is within its errors of the truth."""
    mean, variance, total = where_dividing_leads()
    assert mean > 0.2  # of a standard deviation
    rng = np.random.default_rng(50)
    objects = rng.normal(size=(8000, 1))
    seen = objects[rng.random(8000) < 1 / (1 + np.exp(SLOPE * objects[:, 0]))]
    start = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
    survey = Survey(FromFunction(lambda y: 1 / (1 + np.exp(SLOPE * y[:, 0]))))
    ours = fitted(seen, survey=survey, start=start, stopping=Stopping(1e-9))
    errors = ours.standard_errors()
    # false alarms: 1e-4 (two at four standard errors)
    assert abs(ours.model.mixture.means[0, 0]) < 4 * errors.means[0, 0]
    assert abs(ours.model.mixture.covariances[0, 0, 0] - 1) < 4 * errors.covariances[0, 0, 0]

    peer = run(tmp_path, seen, start, slope=[SLOPE], oversampling=10, tol=1e-12, max_iter=60)
    # 1 / Omega of the catalogue scatters: the mean of 8000 objects is good to 0.03 or so
    assert peer["mean"][0, 0, 0] == pytest.approx(mean, abs=0.12)
    assert peer["covar"][0, 0, 0, 0] == pytest.approx(variance, abs=0.15)
    assert peer["amp"][0].sum() == pytest.approx(total, abs=0.1)
    assert peer["mean"][0, 0, 0] > 6 * errors.means[0, 0]


@pytest.mark.slow
def test_it_stops_early_on_the_box_with_a_hole(tmp_path: Path) -> None:
    """From a start as wide as pyGMMis's own, at its own tolerance: it stops where the survey had seen half as much of
    the population as it had, with a lower likelihood. dgmmis goes on and has the number of objects within its error."""
    preset = find_preset("box-with-hole")
    rng = np.random.default_rng(60)
    noise = 0.25 * np.eye(2)
    points = preset.model.sample(4000, rng) + 0.5 * rng.normal(size=(4000, 2))
    selection = Box([0, 0], [10, 10]) & ~Ball([6.5, 6.0], 2.0)
    points = points[selection(points) > 0]
    wide = GaussianMixture(np.full(3, 1 / 3), [[2, 2], [7, 7], [1, 8]], np.stack([100 / 3 / np.pi * np.eye(2)] * 3))
    survey = Survey(selection)
    ours = fitted(points, noise, survey=survey, start=wide, stopping=Stopping(1e-7))
    number, error = ours.n_objects(ours.standard_errors())
    assert ours.converged
    assert abs(number - 4000) < 4 * error

    seen = {"selection_lower": [0.0, 0.0], "selection_upper": [10.0, 10.0], "hole": [6.5, 6.0, 2.0]}
    peer = run(tmp_path, points, wide, noise=noise, unseen_noise=noise, **seen)
    theirs = model_of(answers(peer)[0], ours.model)
    judged = evaluate(ArrayDataset.of(points, noise), theirs, survey=survey)
    assert len(points) / judged.completeness > 1.5 * 4000
    assert judged.log_likelihood < ours.log_likelihood - 0.02


def test_the_page_for_those_who_come_from_it_has_every_name(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "examples" / "from_pygmmis.md").read_text(encoding="utf-8")
    tables = re.sub("```.*?```", "", page, flags=re.DOTALL)
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", tables))))
    names = run(tmp_path, np.zeros((2, 2)), seeds=())["names"]
    assert {"fit", "split_n_merge", "Background", "logL_k", "stack_fit"} <= set(names.tolist())
    assert set(names.tolist()) - words == set()
