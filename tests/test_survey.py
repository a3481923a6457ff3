"""Surveys: what is completed by the data, what is refused, and which rows were selected on what is not known."""

import numpy as np
import pytest

from dgmmis.chunk import Chunk
from dgmmis.errors import DataError, JobError, RefusedError, ShapeError
from dgmmis.linalg import pack
from dgmmis.noise import DiagonalNoise, FullNoise, NoNoise, SharedNoise
from dgmmis.noise_law import ConstantNoise, FromCatalogue, NearestNoise, NoiseFunction, NoiseRegression, OwnNoise
from dgmmis.selection import Box, FromFunction, Injections
from dgmmis.survey import Survey

BOX = Box([-1.0, -1.0], [1.0, 1.0])
POINTS = np.random.default_rng(0).normal(size=(40, 2))
VARIANCES = np.random.default_rng(1).uniform(0.1, 0.3, size=(40, 2))
S = np.array([[0.2, 0.1], [0.1, 0.3]])
PROJECTION = np.random.default_rng(2).normal(size=(40, 2, 3))
INJECTIONS = Injections(POINTS, np.arange(40) % 2 == 0, np.zeros(40))


def test_names_and_callables_become_values() -> None:
    survey = Survey(lambda y: np.ones(len(y)), S.tolist())
    assert isinstance(survey.selection, FromFunction)
    assert isinstance(survey.noise_law, ConstantNoise)
    assert Survey(BOX).selection is BOX
    assert isinstance(Survey(BOX, "own").noise_law, OwnNoise)
    assert isinstance(Survey(BOX, "nearest").noise_law, FromCatalogue)
    assert isinstance(Survey(BOX, lambda x: S).noise_law, NoiseFunction)
    assert Survey().selection_on == "observed"
    assert not Survey().is_partial
    assert Survey(BOX).is_partial


def test_unknown_words_are_refused() -> None:
    with pytest.raises(JobError, match=r"unknown selection_on 'ture'.*'true'"):
        Survey(BOX, selection_on="ture")
    with pytest.raises(DataError, match=r"unknown noise_law 'owm'.*'own'"):
        Survey(BOX, "owm")


def test_injections_know_true_positions_only() -> None:
    with pytest.raises(RefusedError, match="injections with selection_on='true'"):
        Survey(INJECTIONS, selection_on="true")


@pytest.mark.parametrize("on", ["observed", "available"])
def test_noise_that_all_share_is_that_of_the_unseen(on: str) -> None:
    for noise, expected in ((SharedNoise(S), S), (NoNoise(), np.zeros((2, 2)))):
        law = Survey(BOX, None, on).completed(Chunk(POINTS, noise), 2).noise_law
        assert isinstance(law, ConstantNoise)
        assert np.array_equal(law.covariance, expected)


@pytest.mark.parametrize("noise", [DiagonalNoise(VARIANCES), FullNoise(pack(np.tile(S, (40, 1, 1))))])
def test_noise_that_differs_is_each_objects_own(noise: DiagonalNoise | FullNoise) -> None:
    completed = Survey(BOX, None, "available").completed(Chunk(POINTS, noise), 2)
    assert isinstance(completed.noise_law, OwnNoise)
    assert completed.selection is BOX
    assert completed.selection_on == "available"
    assert not completed.imputes_positions


def test_projections_that_differ_go_with_each_objects_own_noise() -> None:
    rows = Chunk(POINTS, SharedNoise(S), projection=PROJECTION)
    assert isinstance(Survey(BOX).completed(rows, 3).noise_law, OwnNoise)


def test_laws_that_were_given_stay() -> None:
    rows = Chunk(POINTS, DiagonalNoise(VARIANCES))
    for law in (ConstantNoise(S), OwnNoise(), NoiseFunction(lambda x: S)):
        completed = Survey(BOX, law).completed(rows, 2)
        assert completed.noise_law is law
        assert completed.imputes_positions == isinstance(law, NoiseFunction)


def test_laws_are_learned_from_the_sample() -> None:
    rows = Chunk(POINTS, DiagonalNoise(VARIANCES))
    nearest = Survey(BOX, "nearest").completed(rows, 2).noise_law
    assert isinstance(nearest, NearestNoise)
    np.testing.assert_allclose(nearest(POINTS[:3]), [np.diag(v) for v in VARIANCES[:3]])
    assert isinstance(Survey(BOX, "regression").completed(rows, 2).noise_law, NoiseRegression)


@pytest.mark.parametrize("name", ["nearest", "regression"])
def test_projected_objects_have_no_position_to_learn_from(name: str) -> None:
    rows = Chunk(POINTS, DiagonalNoise(VARIANCES), projection=PROJECTION)
    with pytest.raises(RefusedError, match=f"noise_law='{name}' with projections"):
        Survey(BOX, name).completed(rows, 3)


def test_a_law_of_another_width_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"noise_law does not fit the data: expected \(2, 2\), got \(3, 3\)"):
        Survey(BOX, np.eye(3)).completed(Chunk(POINTS, NoNoise()), 2)
    # the width is that of the measured values, not of the features
    rows = Chunk(POINTS, SharedNoise(S), projection=PROJECTION)
    assert isinstance(Survey(BOX, S).completed(rows, 3).noise_law, ConstantNoise)
    with pytest.raises(ShapeError, match="noise_law does not fit the data"):
        Survey(BOX, np.eye(3)).completed(rows, 3)


@pytest.mark.parametrize(
    ("survey", "why"),
    [
        (Survey(None, S), "without a selection"),
        (Survey(BOX, S, "true"), "with a selection on true values"),
        (Survey(INJECTIONS, "own"), "with injections"),
    ],
)
def test_a_law_without_effect_is_refused(survey: Survey, why: str) -> None:
    with pytest.raises(JobError, match=f"a noise law {why} has no effect"):
        survey.completed(Chunk(POINTS, SharedNoise(S)), 2)


@pytest.mark.parametrize("survey", [Survey(), Survey(BOX, None, "true"), Survey(INJECTIONS)])
def test_surveys_that_need_no_law_are_complete(survey: Survey) -> None:
    assert survey.completed(Chunk(POINTS, DiagonalNoise(VARIANCES)), 2) is survey
    assert survey.noise_law is None


def test_injections_of_another_width_are_refused() -> None:
    rows = Chunk(POINTS, SharedNoise(S), projection=PROJECTION)
    with pytest.raises(ShapeError, match=r"injections do not fit the data: expected 3 features, got \(40, 2\)"):
        Survey(INJECTIONS).completed(rows, 3)


def test_positions_are_imputed_where_the_noise_cannot_be_marginalised() -> None:
    assert Survey(BOX, None, "true").imputes_positions
    assert Survey(INJECTIONS).imputes_positions
    assert Survey(BOX, lambda x: S).imputes_positions
    assert not Survey(BOX, S).imputes_positions
    assert not Survey(BOX, "own").imputes_positions


NAN = np.nan
ROWS = np.array([[0.1, 0.2], [NAN, 0.2], [0.1, NAN], [NAN, NAN], [0.3, 0.4]])


def test_rows_selected_on_what_the_catalogue_does_not_hold() -> None:
    """Of measured values: where some are missing; of true ones: where anything is missing, noisy, or projected."""
    missing = [False, True, True, True, False]
    variances = np.array([[0.1, 0.0], [NAN, 0.1], [0.0, NAN], [NAN, NAN], [0.0, 0.0]])
    noisy, exact = Chunk(ROWS, DiagonalNoise(variances)), Chunk(ROWS, NoNoise())
    shared, projected = Chunk(ROWS, SharedNoise(S)), Chunk(ROWS, NoNoise(), projection=np.ones((5, 2, 2)))
    none, everything = [False] * 5, [True] * 5
    for survey, expected in (
        (Survey(), (none, none, none, none)),
        (Survey(BOX, None, "available"), (none, none, none, none)),
        (Survey(INJECTIONS), (none, none, none, none)),
        (Survey(BOX), (missing, missing, missing, missing)),
        (Survey(BOX, None, "true"), ([True, True, True, True, False], missing, everything, everything)),
    ):
        for rows, tilted in zip((noisy, exact, shared, projected), expected, strict=True):
            found = survey.tilts(rows)
            assert found.dtype == bool
            assert found.tolist() == tilted
