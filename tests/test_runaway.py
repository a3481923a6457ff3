"""Fits that run away behind an edge, made on purpose, and true surveys, most of them unseen, that do not."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import norm

import dgmmis
from dgmmis.cli import program
from dgmmis.em import Stopping
from dgmmis.errors import NotConvergedWarning, RunawayWarning
from dgmmis.fit import Fit, fit
from dgmmis.initialize import Start
from dgmmis.linalg import packed_indices
from dgmmis.normaliser import completeness_slope
from dgmmis.prior import Constraints, NormalInverseWishart
from dgmmis.runaway import Runaway
from dgmmis.selection import Box, HalfSpace
from dgmmis.survey import Survey

EDGE = HalfSpace([1.0, 0.0], 0.0)
"""Seen is what is to the left of 0."""

FEW = Stopping(max_iter=60)
"""Passes: on a ridge there is always more to gain."""


@cache
def piled(seed: int = 0, n: int = 1000) -> np.ndarray:
    """A narrow clump and a wide one, both cut by the edge, where objects pile up."""
    rng = np.random.default_rng(seed)
    narrow = rng.random(20 * n) < 0.7
    x = np.where(narrow[:, None], [-0.2, 0.0], [-1.0, 0.0])
    x = x + np.where(narrow, 0.05**0.5, 2**0.5)[:, None] * rng.standard_normal((20 * n, 2))
    return np.asarray(x[x[:, 0] < 0][:n])


def seen_of_true(z: float, k: int, n: int, seed: int) -> np.ndarray:
    """n objects of one Gaussian, or of two apart, that the survey sees to a share z."""
    rng = np.random.default_rng((seed, int(1000 * z), n, k))
    parts = []
    for number, width in enumerate((1.0, 0.5)[:k]):
        x = rng.standard_normal((int(3 * n / z), 2)) * [width, 1.0] + [-width * norm.ppf(z), 4.0 * number]
        parts.append(x[x[:, 0] < 0][: n // k])
    return np.concatenate(parts)


def found(points: np.ndarray, k: int, selection: object = EDGE, constraints: Constraints | None = None) -> Fit:
    return fit(points, Start(k), survey=Survey(selection), constraints=constraints, stopping=FEW)


def on_its_way() -> Fit:
    """One Gaussian for two clumps, before Z is so small that its digits end."""
    return fit(piled(), Start(1), survey=Survey(EDGE), stopping=Stopping(max_iter=25))


def held(points: np.ndarray, mean_precision: float, share: float = 1.0) -> Constraints:
    """A prior that expects components where objects are."""
    scale = share * np.cov(points.T)
    return Constraints(prior=NormalInverseWishart(points.mean(axis=0), mean_precision, scale, 2.0))


# made on purpose


def test_one_gaussian_for_two_clumps_runs_away() -> None:
    """Objects pile up at the edge: the best Gaussian is infinitely far behind it, and is an exponential."""
    result = found(piled(), 1)
    (lost,) = result.runaways
    assert lost.component == 0
    assert lost.completeness == pytest.approx(result.completeness, rel=1e-3)
    assert lost.completeness < 1e-6
    assert lost.share == 1
    assert lost.n_observed == pytest.approx(1000, rel=0.1)
    assert lost.log_completeness_error > 0.5 * -np.log(lost.completeness)


def test_one_more_gaussian_does_not() -> None:
    result = found(piled(), 2)
    assert result.converged
    assert not result.runaways
    assert 0.75 < result.completeness < 0.95


def test_one_of_too_many_runs_away() -> None:
    """Few of the objects make most of what would be unseen."""
    (lost,) = found(piled(), 6).runaways
    assert lost.n_observed < 0.1 * 1000
    assert lost.share > 2 * lost.n_observed / 1000
    assert lost.log_completeness_error > -np.log(lost.completeness)


@pytest.mark.slow
def test_counts_behind_a_faint_end_run_away() -> None:
    """Numbers that rise exponentially with magnitude, and a detection limit: three Gaussians, one of them too many."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.standard_normal((8000, 2)), 3 - rng.exponential(1.0, 8000)])
    seen = x[rng.random(8000) < faint(x)]
    assert found(seen[:3000], 3, faint).runaways


def faint(y: np.ndarray) -> np.ndarray:
    """Half of the objects are seen at magnitude 0.5, and next to none at 1."""
    return np.asarray(1 / (1 + np.exp((y[:, 2] - 0.5) / 0.1)))


# what it is


def test_the_error_is_that_of_the_completeness() -> None:
    """With one component both are the same."""
    result = on_its_way()
    (lost,) = result.runaways
    assert result.points_of is not None
    slope = completeness_slope(result.model, result.last.unseen, result.points_of.classes)
    error = float(result.standard_errors().of(slope[None])[0]) / result.completeness
    assert lost.log_completeness_error == pytest.approx(error, rel=1e-6)


def test_on_the_ridge_it_is_the_error_of_the_spread() -> None:
    """log Z goes as minus the variance along the edge's normal: their relative errors are the same."""
    result = on_its_way()
    (lost,) = result.runaways
    i, j = packed_indices(2)
    place = 1 + 2 + int(np.flatnonzero((i == 0) & (j == 0))[0])
    variance = result.model.mixture.covariances[0, 0, 0]
    of_variance = np.sqrt(result.standard_errors().covariance[place, place]) / variance
    assert lost.log_completeness_error / -np.log(lost.completeness) == pytest.approx(of_variance, rel=0.1)


def test_the_sentence_says_what_to_do() -> None:
    said = str(Runaway(3, 2e-5, 7.25, 41.0, 0.83))
    assert said.startswith("component 3 ran away: it would be 0.83 of the population, but the survey sees 2e-05 of it")
    assert "41 observed objects speak of it" in said
    assert "-10.8 +- 7.2" in said
    assert "NormalInverseWishart" in said
    assert "beyond all bounds" in str(Runaway(3, 2e-5, 1e6, 41.0, 0.83))


# what does not


@pytest.mark.parametrize("z", [0.05, 0.3, 0.9])
def test_a_survey_that_misses_most_is_no_runaway(z: float) -> None:
    result = found(seen_of_true(z, 1, 4000, 0), 1)
    assert result.converged
    assert not result.runaways
    assert abs(np.log(result.completeness / z)) < np.log(4)


def test_a_component_of_which_little_is_seen_is_no_runaway() -> None:
    """A box cuts a clump down to a tenth; the other is seen whole."""
    rng = np.random.default_rng(3)
    cut, whole = rng.normal([1.28, 0.0], 1.0, (20000, 2)), rng.normal([-4.0, 3.0], 0.5, (2000, 2))
    x = np.concatenate([cut, whole])
    box = Box([-np.inf, -6.0], [0.0, 6.0])
    result = found(x[box(x) > 0], 2, box)
    assert result.converged
    assert not result.runaways
    assert result.completeness == pytest.approx(np.mean(box(x)), rel=0.5)


# what helps


def test_a_prior_with_a_mean_holds_it() -> None:
    """mean_precision objects at the mean cost so many times log Z_k: the ridge has a top."""
    points = piled()
    free, bound = found(points, 6), found(points, 6, constraints=held(points, 1.0, share=0.5))
    assert free.runaways
    assert not bound.runaways
    one = found(points, 1, constraints=held(points, 5.0))
    assert one.converged
    assert not one.runaways
    assert one.completeness > 1e-4


# where people look


def test_the_estimator_warns() -> None:
    with (
        pytest.warns(RunawayWarning, match="component 0 ran away: it would be 1 of the population"),
        pytest.warns(NotConvergedWarning),
    ):
        model = dgmmis.GMMis(1, selection=EDGE, max_iter=60).fit(piled())
    assert "ran away" in model.result_._repr_html_()


JOB = """
[data]
path = "piled.zarr"

[model]
n_components = 1

[fit]
max_iter = 60

[selection]
half_space = { normal = [1.0, 0.0], offset = 0.0 }
"""


@pytest.mark.slow
def test_the_commands_say_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "piled.npz", x=piled()[:, 0], y=piled()[:, 1])
    (tmp_path / "piled.toml").write_text(JOB)
    run = str(tmp_path / "piled.run")
    ran("ingest", str(tmp_path / "piled.npz"), str(tmp_path / "piled.zarr"), "--features", "x,y")
    said = ran("fit", str(tmp_path / "piled.toml"), "--out", run, exit_code=3)
    assert "note: component 0 ran away" in said
    assert "component 0 ran away" in ran("info", run)
    ran("report", run, "--out", str(tmp_path / "piled.html"))
    assert "component 0 ran away" in (tmp_path / "piled.html").read_text(encoding="utf-8")


def ran(*words: str, exit_code: int = 0) -> str:
    """What a command says."""
    done = CliRunner().invoke(program, list(words))
    assert done.exit_code == exit_code, done.output
    return done.output


# how often

N_EACH = 4
SURVEYS = [(z, k, n) for z in (0.05, 0.1, 0.3, 0.6, 0.9) for k in (1, 2) for n in (1000, 4000)]


@pytest.mark.slow
def test_how_often_true_surveys_are_flagged() -> None:
    """An alarm is false where the number of objects before selection was right within a factor of two."""
    false, right, well_seen, n_well_seen, missed = 0, 0, 0, 0, 0
    for z, k, n in SURVEYS:
        for seed in range(N_EACH):
            result = fit(seen_of_true(z, k, n, seed), Start(k), survey=Survey(EDGE), stopping=Stopping(max_iter=150))
            off = abs(np.log(result.completeness / z))
            is_right, flagged = off < np.log(2), bool(result.runaways)
            right += is_right
            false += is_right and flagged
            missed += off > np.log(20) and not flagged
            n_well_seen += z >= 0.3
            well_seen += z >= 0.3 and flagged
    assert well_seen == 0, (well_seen, n_well_seen)
    assert false <= 0.05 * right, (false, right)
    assert missed == 0
