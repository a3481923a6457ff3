"""Coverage: intervals of so many standard errors hold the truth as often as they say (`tests/calibration/COVERAGE.md`)."""

import numpy as np
import pytest
from scipy.stats import chi2

from tests.calibration.coverage import FORMS, KINDS, Judged, judged, truth
from tests.calibration.coverage_table import FALSE_ALARM, document, failures, n_numbers, nominal

REPLICATES = 40


def _drawn(kind: str, n: int, width: float, seed: int = 0) -> list[Judged]:
    """Surveys whose estimates are normal, and `width` times their errors off."""
    rng, q = np.random.default_rng(seed), len(KINDS[kind].quantities)
    return [Judged(4000.0, {form: width * rng.normal(size=q) for form in FORMS[:2]}, converged=True) for _ in range(n)]


@pytest.mark.parametrize(("width", "is_right"), [(1.0, True), (1.3, False), (0.75, False)])
def test_the_bounds_tell_wrong_errors_from_right_ones(width: float, is_right: bool) -> None:
    """Of 200 surveys, errors too small by a quarter, or too large by a third, are out of bounds; right ones are not."""
    surveys = _drawn("plane", 200, width)
    alarm = FALSE_ALARM / n_numbers({"plane": surveys}, REPLICATES)
    assert bool(failures(KINDS["plane"], surveys, alarm, REPLICATES)) is not is_right


def test_one_wrong_quantity_is_named() -> None:
    surveys = _drawn("plane", 200, 1.0)
    for survey in surveys:
        survey.offsets["sandwich"][0] *= 2
    found = failures(KINDS["plane"], surveys, FALSE_ALARM / 200, REPLICATES)
    assert found == ["weight 0 within 1 (sandwich)", "weight 0 within 2 (sandwich)"]
    assert "weight 0 within 1 (sandwich)" in document({"plane": surveys}, REPLICATES)


def test_a_survey_without_errors_is_a_failure() -> None:
    surveys = [*_drawn("line", 200, 1.0), Judged(trouble="LinAlgError: singular")]
    assert failures(KINDS["line"], surveys, 1e-6, REPLICATES) == ["1 without errors"]


def test_what_should_be_right() -> None:
    """Of normal estimates, of which 68.27 % and 95.45 % are within 1 and 2; with an error from 40 replicates, fewer."""
    assert [round(100 * nominal("sandwich", s, 40), 2) for s in (1, 2)] == [68.27, 95.45]
    rng = np.random.default_rng(0)
    off = rng.normal(size=200_000) / np.std(rng.normal(size=(40, 200_000)), axis=0, ddof=1)
    for s in (1, 2):
        assert abs(np.mean(np.abs(off) < s) - nominal("bootstrap", s, 40)) < 0.005


def test_intervals_of_a_few_surveys() -> None:
    """Noise, selection and background: mean square offsets of each quantity, and how many intervals hold the truth.

    Ten surveys of seed 0 to 9, one of them with a bootstrap. A mean square is chi2 of 10 degrees; bounds with a false
    alarm of 1e-4 for each of 24. The quantities depend on each other: together as if they were two a survey.
    """
    kind = KINDS["line"]
    surveys = [judged("line", seed, 20 if seed == 0 else 0) for seed in range(10)]
    assert all(survey.converged and not survey.trouble for survey in surveys)
    low, high = chi2.ppf([5e-5, 1 - 5e-5], len(surveys))
    for form in FORMS[:2]:
        offsets = np.array([survey.offsets[form] for survey in surveys])
        squares = np.sum(offsets**2, axis=0)
        assert np.all((squares > low) & (squares < high)), dict(zip(kind.quantities, squares, strict=True))
        assert 0.4 < np.mean(np.abs(offsets) < 1) < 0.9
        assert np.mean(np.abs(offsets) < 2) > 0.8
    first = surveys[0].offsets
    ratios = first["sandwich"] / first["bootstrap"]  # of the errors: the scatter over 20 replicates, good to a sixth
    assert np.all((ratios > 0.4) & (ratios < 1.9)), ratios


def test_the_truth_of_a_survey() -> None:
    """N / Z and Z belong together: what was seen of all objects is the mean of Omega over them."""
    values = dict(zip(KINDS["line"].quantities, truth("line"), strict=True))
    seen = np.mean([judged("line", seed).n_objects for seed in range(2)])
    expected = values["objects N / Z"] * values["completeness Z"]
    assert abs(seen - expected) < 5 * np.sqrt(expected * (1 - values["completeness Z"]) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.regular])
def test_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    """All of the table's surveys of a kind, with the table's bounds: 99.9 % for all numbers together."""
    kind = KINDS[name]
    surveys = [judged(name, seed, REPLICATES if seed < kind.n_bootstraps else 0) for seed in range(kind.n_surveys)]
    alarm = FALSE_ALARM / n_numbers({name: surveys}, REPLICATES)
    assert failures(kind, surveys, alarm, REPLICATES) == []
