"""Coverage: intervals hold the truth as often as they say; the full table is `tests/calibration/COVERAGE.md`."""

import numpy as np
import pytest
from scipy.stats import chi2

from tests.calibration.coverage import FORMS, KINDS, Judged, judged, truth
from tests.calibration.coverage_table import FALSE_ALARM, document, failures, n_numbers, nominal
from tests.cases import draw

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

    Of seeds 0 to 7. A mean square is chi2 of 8 degrees: a false alarm of 1e-4 for each of 24. The share of a survey's
    intervals scatters by 0.21 within 1, and 0.10 within 2, between surveys of the table: false alarms of 3e-4. The
    first survey has a bootstrap of 20 replicates, whose errors are good to a sixth: 4 and 5 sigma.
    """
    kind = KINDS["line"]
    surveys = [judged("line", seed, 20 if seed == 0 else 0) for seed in range(8)]
    assert all(survey.converged and not survey.trouble for survey in surveys)
    low, high = chi2.ppf([5e-5, 1 - 5e-5], len(surveys))
    for form in FORMS[:2]:
        offsets = np.array([survey.offsets[form] for survey in surveys])
        squares = np.sum(offsets**2, axis=0)
        assert np.all((squares > low) & (squares < high)), dict(zip(kind.quantities, squares, strict=True))
        assert 0.39 < np.mean(np.abs(offsets) <= 1) < 0.95
        assert np.mean(np.abs(offsets) <= 2) > 0.83
    first = surveys[0].offsets
    ratios = first["sandwich"] / first["bootstrap"]  # the error of the scatter, divided by the stated one
    assert np.all((ratios > 0.4) & (ratios < 1.9)), ratios


def test_the_truth_of_a_survey() -> None:
    """N / Z and Z belong together: what was seen of all objects is the mean of Omega over them, to 5 sigma (6e-7)."""
    kind = KINDS["line"]
    values = dict(zip(kind.quantities, truth("line"), strict=True))
    z, n = values["completeness Z"], 20 * values["objects N / Z"]
    seen = 20 * np.mean([len(draw(kind.case, kind.case.n_population, seed).points) for seed in range(20)])
    assert abs(seen - n * z) < 5 * np.sqrt(n * z * (1 - z))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.regular])
def test_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    """All of the table's surveys of a kind, with its bounds: 99.9 % for all numbers of the kind together."""
    kind = KINDS[name]
    surveys = [judged(name, seed, REPLICATES if seed < kind.n_bootstraps else 0) for seed in range(kind.n_surveys)]
    alarm = FALSE_ALARM / n_numbers({name: surveys}, REPLICATES)
    assert failures(kind, surveys, alarm, REPLICATES) == []
