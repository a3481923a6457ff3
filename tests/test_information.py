"""Standard errors: scores against finite differences, information against closed forms and exact maxima."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from differences import directions, slopes

from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Stopping
from dgmmis.estep import leaf_log_density, leaf_moments
from dgmmis.fit import Fit, fit
from dgmmis.imputation import Unseen, unseen_here, unseen_sums
from dgmmis.information import (
    Information,
    block_scores,
    free_directions,
    gradient,
    latent_scores,
    standard_errors,
)
from dgmmis.initialize import Start
from dgmmis.latent import Latent, latent_posterior
from dgmmis.latent_draw import Observing
from dgmmis.linalg import pack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise
from dgmmis.noise_classes import Partition, classes_of, single_class
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.observed import LatentPiece, Member, laid_out, load, observed_sums
from dgmmis.prior import Constraints, Frozen
from dgmmis.quadrature import Round, draw
from dgmmis.selection import Box, HalfSpace
from dgmmis.survey import Survey

PLANE = Model(
    GaussianMixture([0.35, 0.65], [[-0.8, 0.3], [0.7, -0.5]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
)
BEHIND = replace(PLANE, background=Uniform([-2.5, -2.5], [2.5, 2.5]), background_fraction=0.25)
N = 30


def _covariances(rng: np.random.Generator) -> np.ndarray:
    root = rng.normal(size=(N, 2, 3)) * 0.4
    return root @ np.swapaxes(root, 1, 2)


def _chunk(noise: str, missing: bool, projected: bool) -> Chunk:
    rng = np.random.default_rng(0)
    points, covariances = rng.normal(size=(N, 2)), _covariances(rng)
    if missing:
        points[rng.random((N, 2)) < 0.35] = np.nan
    kinds: dict[str, Noise] = {
        "none": NoNoise(),
        "shared": SharedNoise(covariances[0]),
        "diagonal": DiagonalNoise(np.diagonal(covariances, axis1=1, axis2=2)),
        "full": FullNoise(pack(covariances)),
    }
    return Chunk(points, kinds[noise], rng.uniform(0.5, 2, N), rng.normal(size=(N, 2, 2)) if projected else None)


@pytest.mark.parametrize("model", [PLANE, BEHIND], ids=["mixture", "background"])
@pytest.mark.parametrize(
    ("noise", "missing", "projected"),
    [
        ("none", False, False),
        ("none", True, False),
        ("shared", True, False),
        ("diagonal", False, False),
        ("full", True, False),
        ("full", False, True),
        ("diagonal", True, True),
    ],
)
def test_scores_of_objects_are_slopes(model: Model, noise: str, missing: bool, projected: bool) -> None:
    """Each object's, for dense and noisy blocks; and their weighted sum is the gradient from the moments."""
    chunk = _chunk(noise, missing, projected)
    leaf = laid_out(chunk, 0, model.background)
    numeric = slopes(lambda at: leaf_log_density(at, leaf), model)
    scores = np.empty((N, len(directions(model))))
    for block in leaf.blocks:
        scores[block.rows] = block_scores(model, block)
    np.testing.assert_allclose(scores @ directions(model), numeric.T, rtol=1e-5, atol=1e-6)
    total = gradient(leaf_moments(model, leaf), model)
    np.testing.assert_allclose(chunk.weights @ scores, total, rtol=1e-8, atol=1e-9)


def _round(model: Model, survey: Survey, sample: Chunk, n_points: int = 1 << 11, depth: int = 2) -> Round:
    partition = Partition.of(sample, survey, np.eye(2), depth)
    trivial = partition.is_trivial
    classes = single_class(survey, sample) if trivial else classes_of(partition.sums(sample), survey)
    return Round.of(model, n_points, 0, 0, classes=classes, partition=partition, latent_points=64)


@pytest.mark.parametrize("model", [PLANE, BEHIND], ids=["mixture", "background"])
@pytest.mark.parametrize("on", ["true", "observed"])
def test_scores_of_objects_with_latent_points_are_slopes(model: Model, on: str) -> None:
    chunk = _chunk("full", True, False)
    chunk = replace(chunk, points=0.4 * chunk.points)
    survey = Survey(HalfSpace([-1.0, 0.5], 0.2, 0.3), None, on).completed(chunk, 2)
    latent = _latent(model, chunk, survey)
    numeric = slopes(lambda at: latent_posterior(at, latent).log_density, model)
    np.testing.assert_allclose(latent_scores(model, latent) @ directions(model), numeric.T, rtol=1e-5, atol=1e-6)


def _latent(model: Model, chunk: Chunk, survey: Survey) -> Latent:
    """The latent points of a pass, taken from what it keeps."""
    pieces: list[LatentPiece] = []

    def keep(key: Any, make: Callable[[], Any]) -> Any:
        del key
        made = make()
        pieces.extend([made] if isinstance(made, LatentPiece) else [])
        return made

    (reference,) = ArrayDataset(chunk).references
    member = Member(model, _round(model, survey, chunk), draws_unseen=True)
    observing = Observing(survey, np.eye(2))
    loaded = load(reference, reference.load, observing, model.background)
    list(observed_sums(member, reference, loaded, observing, keep))
    (piece,) = pieces
    assert piece.latent is not None
    assert len(piece.latent.first) > 8
    return piece.latent


CLASSES = [
    (PLANE, Box([-1.0, -np.inf], [1.2, np.inf]), "full", False),
    (PLANE, Box([-1.0, -0.9], [1.2, 1.0]), "full", False),
    (PLANE, HalfSpace([1.0, -0.6], 0.4), "diagonal", True),
    (PLANE, Box([-1.0, -0.9], [1.2, 1.0]), "diagonal", True),
]


@pytest.mark.parametrize(("model", "selection", "noise", "projected"), CLASSES)
def test_slopes_of_the_completeness_in_closed_form(model: Model, selection: Any, noise: str, projected: bool) -> None:
    survey = Survey(selection, OwnNoise())
    points_of = _round(model, survey, _chunk(noise, False, projected))
    assert len(points_of.classes) == 4
    found = unseen_here(model, points_of, survey)
    assert all(part.squares == 0 for part in found)  # no points were drawn
    numeric = slopes(lambda at: np.array([part.completeness for part in unseen_here(at, points_of, survey)]), model)
    for part, expected in zip(found, numeric.T, strict=True):
        np.testing.assert_allclose(-gradient(part.moments, model) @ directions(model), expected, atol=1e-8)


@pytest.mark.parametrize("model", [PLANE, BEHIND], ids=["mixture", "background"])
@pytest.mark.parametrize("law", [OwnNoise(), ConstantNoise(0.2 * np.eye(2)), lambda x: 0.2 * np.eye(2)])
def test_slopes_of_the_completeness_on_fixed_points(model: Model, law: Any) -> None:
    survey = Survey(HalfSpace([-1.0, 0.5], 0.2, 0.3), law)
    points_of = _round(model, survey, _chunk("full", False, False))
    points = [(b.noise_class, draw(b, points_of, survey, model)) for b in points_of.blocks()]

    def unseen(at: Model) -> list[Unseen]:
        total = [Unseen.zero(2, 2) for _ in points_of.classes]
        for c, some in points:
            total[c] = total[c] + unseen_sums(at, some)
        return total

    numeric = slopes(lambda at: np.array([part.completeness for part in unseen(at)]), model)
    for part, expected in zip(unseen(model), numeric.T, strict=True):
        np.testing.assert_allclose(-gradient(part.moments, model) @ directions(model), expected, rtol=1e-6, atol=1e-8)


def _some_matrix(p: int) -> np.ndarray:
    root = np.random.default_rng(2).normal(size=(p, 2 * p))
    return root @ root.T


def _both(known: np.ndarray) -> Information:
    """The same in both forms."""
    return Information(known, known, 1.0)


CONSTRAINTS = {
    "free": Constraints(),
    "diag": Constraints("diag"),
    "tied": Constraints("tied"),
    "spherical": Constraints("spherical"),
    "frozen": Constraints(frozen=Frozen(frozenset({0}), frozenset({1}), frozenset({0}))),
    "background frozen": Constraints(background_bounds=(0.25, 0.25)),
}
THREE = Model(
    GaussianMixture([0.2, 0.3, 0.5], [[-1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], [np.eye(2)] * 3),
    Uniform([-2.5, -2.5], [2.5, 2.5]),
    0.25,
)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_errors_obey_the_constraints(name: str) -> None:
    """What cannot move has no error, what moves together has the same, and weights that sum to one stay so."""
    p = len(directions(THREE))
    errors = standard_errors(_both(_some_matrix(p)), THREE, CONSTRAINTS[name])
    covariance = errors.covariance
    np.testing.assert_allclose(np.ones(3) @ covariance[:3], 0, atol=1e-12)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    np.testing.assert_allclose(errors.weights, np.sqrt(np.diagonal(covariance)[:3]), atol=1e-15)
    free = np.ones(3, dtype=bool)
    if name == "frozen":
        assert errors.weights[0] == 0
        assert errors.weights[1] == pytest.approx(errors.weights[2], rel=1e-12)
        assert np.array_equal(errors.means[1], [0, 0])
        assert np.all(errors.means[[0, 2]] > 0)
        assert np.all(errors.covariances[0] == 0)
        free[0] = False
    else:
        assert np.all(errors.weights > 0)
        assert np.all(errors.means > 0)
    found = errors.covariances[free]
    if name == "tied":
        assert np.all(found == found[0])
    if name in ("diag", "spherical"):
        assert np.all(found[:, 0, 1] == 0)
        assert np.all(found[:, [0, 1], [0, 1]] > 0)
    else:
        assert np.all(found > 0)
    if name == "spherical":
        np.testing.assert_allclose(found[:, 0, 0], found[:, 1, 1], rtol=1e-12)
    np.testing.assert_allclose(found, np.swapaxes(found, 1, 2))
    assert (errors.background_amplitude == 0) == (name == "background frozen")


def test_errors_are_the_inverse_information_of_free_directions() -> None:
    """In any units: features rescaled by 1e6 give errors rescaled by it."""
    p = len(directions(THREE))
    D, known = free_directions(THREE, Constraints()), _some_matrix(p)
    expected = D @ np.linalg.inv(D.T @ known @ D) @ D.T
    np.testing.assert_allclose(
        standard_errors(_both(known), THREE, Constraints()).covariance, expected, rtol=1e-8, atol=1e-12
    )
    unit = np.concatenate([np.ones(3), np.full(6, 1e6), np.full(9, 1e12), np.ones(1)])
    scaled = standard_errors(_both(known / np.outer(unit, unit)), THREE, Constraints())
    np.testing.assert_allclose(scaled.covariance / np.outer(unit, unit), expected, rtol=1e-8, atol=1e-12)


def test_a_parameter_without_information_has_a_huge_error_and_spoils_no_other() -> None:
    """As that of a component without objects."""
    p = len(directions(PLANE))
    known = _some_matrix(p)
    silent = [4, 5]  # the second component's mean
    known[silent], known[:, silent] = 0, 0
    errors = standard_errors(_both(known), PLANE, Constraints())
    assert np.all(np.isfinite(errors.covariance))
    assert np.all(errors.means[1] > 1e6)
    fixed = standard_errors(_both(known), PLANE, Constraints(frozen=Frozen(means=frozenset({1}))))
    np.testing.assert_allclose(errors.weights, fixed.weights, rtol=1e-6)
    np.testing.assert_allclose(errors.means[0], fixed.means[0], rtol=1e-6)
    np.testing.assert_allclose(errors.covariances, fixed.covariances, rtol=1e-6)


def test_nothing_free_has_no_errors() -> None:
    one = Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]]))
    frozen = Constraints(frozen=Frozen(means=frozenset({0}), covariances=frozenset({0})))
    errors = standard_errors(_both(np.eye(4)), one, frozen)
    assert np.all(errors.covariance == 0)
    assert errors.background_amplitude == 0


def test_one_gaussian_has_the_errors_of_the_textbook() -> None:
    """sigma^2 / N, 2 sigma^4 / N, (C_11 C_22 + C_12^2) / N; the fourth moments of 4000 objects scatter by 5 %."""
    truth = np.array([[2.0, 0.9], [0.9, 1.5]])
    y = GaussianMixture([1.0], [[3.0, -1.0]], [truth]).sample(4000, np.random.default_rng(3))
    result = fit(ArrayDataset.of(y), Start(1), stopping=Stopping(1e-10))
    errors, C = result.standard_errors(), result.model.mixture.covariances[0]
    np.testing.assert_allclose(errors.means[0], np.sqrt(np.diagonal(C) / 4000), rtol=2e-2)
    variances = (np.outer(np.diagonal(C), np.diagonal(C)) + C**2) / 4000
    np.testing.assert_allclose(errors.covariances[0], np.sqrt(variances), rtol=8e-2)
    assert errors.weights[0] == 0
    assert result.n_objects(errors) == (4000.0, 0.0)


def test_weights_count_as_so_many_objects() -> None:
    y = np.random.default_rng(4).normal(size=(1000, 1))
    once, four = (
        fit(ArrayDataset.of(y, sample_weight=np.full(1000, w)), Start(1), stopping=Stopping(1e-10)).standard_errors()
        for w in (1.0, 4.0)
    )
    np.testing.assert_allclose(once.means / four.means, 2.0, rtol=1e-6)
    np.testing.assert_allclose(once.covariances / four.covariances, 2.0, rtol=1e-6)


def _half_seen(frozen: Frozen) -> Fit:
    y = np.random.default_rng(5).normal(size=(4000, 1))
    first = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
    survey, constraints = Survey(HalfSpace([1.0], 0.5)), Constraints(frozen=frozen)
    return fit(ArrayDataset.of(y[y[:, 0] < 0.5]), Start(1, first), survey=survey, constraints=constraints)


def test_number_of_objects_of_a_known_population_has_the_binomial_error() -> None:
    """N / Z, with variance N (1 - Z) / Z^2 of who was seen (closed form, no other error)."""
    result = _half_seen(Frozen(means=frozenset({0}), covariances=frozenset({0})))
    number, error = result.n_objects(result.standard_errors())
    z = 0.6914624612740131
    assert number == pytest.approx(result.n_samples / z, rel=1e-9)
    assert error == pytest.approx(np.sqrt(result.n_samples * (1 - z)) / z, rel=1e-9)
    assert abs(number - 4000) < 5 * error


def test_number_of_objects_has_the_error_of_the_parameters_too() -> None:
    """By the delta method, slopes by finite differences."""
    result = _half_seen(Frozen())
    errors = result.standard_errors()
    number, error = result.n_objects(errors)
    assert result.points_of is not None

    def objects(model: Model) -> np.ndarray:
        (part,) = unseen_here(model, result.points_of, result.survey)
        return np.array(result.n_samples / part.completeness)

    D = directions(result.model)
    reduced = np.linalg.lstsq(D, errors.covariance, rcond=None)[0] @ np.linalg.pinv(D).T
    slope = slopes(objects, result.model)
    z = result.completeness
    expected = slope @ reduced @ slope + result.n_samples * (1 - z) / z**2
    assert error == pytest.approx(np.sqrt(expected), rel=1e-5)
    assert error > 1.5 * np.sqrt(result.n_samples * (1 - z)) / z
    assert abs(number - 4000) < 5 * error


SHARED = Path(__file__).resolve().parents[2] / "shared" / "reference" / "exact_incomplete"


@pytest.mark.parametrize(
    ("name", "on"), [("A_1d_box_on_observed_hetero_noise", "observed"), ("B_1d_box_on_true_hetero_noise", "true")]
)
def test_errors_of_truncated_surveys_are_those_of_the_exact_likelihood(name: str, on: str) -> None:
    """Own noise under a box on measured or on true values; against its second derivatives at the maximum."""
    if not SHARED.exists():
        pytest.skip("needs reference/exact_incomplete, which does not come with the project")
    document = json.loads((SHARED / f"{name}.json").read_text())
    y, sigma = np.genfromtxt(SHARED / f"{name}.csv", delimiter=",", skip_header=1).T
    at = GaussianMixture(*(document["mle"][part] for part in ("weights", "means", "covariances")))
    result = fit(
        ArrayDataset.of(y[:, None], sigma[:, None] ** 2),
        Start(1, at),
        survey=Survey(Box([-0.5], [2.0]), None, on),
        stopping=Stopping(1e-8),
    )
    errors = result.standard_errors()
    np.testing.assert_allclose(errors.means, document["se"]["means"], rtol=5e-2)
    np.testing.assert_allclose(errors.covariances, document["se"]["covariances"], rtol=5e-2)
