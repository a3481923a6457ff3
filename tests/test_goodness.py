"""Goodness of fit: quiet under the truth, whatever noise, gaps and selection are; planted flaws are named."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from observed import observed
from scipy.stats import binomtest, kstest, norm

import dgmmis
from dgmmis.background import FixedDensity, FixedMixture, Uniform
from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.cli import program
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.checkpoint import Run, write_run
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import JobError, RefusedError, ShapeError
from dgmmis.goodness import GoodnessOfFit, goodness_of_fit
from dgmmis.goodness.counts import Counts
from dgmmis.goodness.residuals import Residuals, quantile_edges
from dgmmis.goodness.transforms import has_closed_form, ranked, transforms
from dgmmis.goodness.uniformity import Uniformity
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import DiagonalNoise, NoNoise
from dgmmis.selection import Ball, Box, HalfSpace, Injections
from dgmmis.survey import Survey

MIXTURE = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.5, 0.0]], [[[0.6, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.5]]])
MODEL = Model(MIXTURE, Uniform([-4, -4], [4, 4]), 0.2)
SEEN = HalfSpace([1.0, 0.3], 1.0, 0.4) & ~Ball([-1.0, 0.5], 0.5)

SURVEYS = {
    "everything": Survey(),
    "observed": Survey(SEEN, "own"),
    "available": Survey(HalfSpace([1.0, 0.0], 1.0, 0.4), "own", "available"),
    "true": Survey(SEEN, None, "true"),
}

FALSE_ALARM = 1e-6
"""How often a statistical test here would fail by chance, were its seed not pinned."""


def _kinds(of: GoodnessOfFit) -> set[str]:
    return {f"{verdict.about} {verdict.test}" for verdict in of.verdicts if verdict.is_flagged}


def _words(of: GoodnessOfFit, about: str) -> str:
    (verdict,) = [verdict for verdict in of.verdicts if verdict.about == about]
    assert verdict.is_flagged, of
    return verdict.words


# transforms


@pytest.mark.parametrize("background", [None, Uniform([-4, -4], [4, 4]), FixedMixture(MIXTURE)])
@pytest.mark.parametrize("noise", [0.0, 1e-9, 0.5])
def test_transforms_are_the_share_of_draws_below(background: object, noise: float) -> None:
    """Literally: objects drawn and measured. A uniform density ends at its edges, softened by noise."""
    model = Model(MIXTURE, background, 0.0 if background is None else 0.3)
    rng = np.random.default_rng(1)
    drawn = model.sample(200_000, rng) + np.sqrt(noise) * rng.normal(size=(200_000, 2))
    points = np.array([[-4.5, 0.3], [-4.0, -3.9], [0.0, np.nan], [3.99, 1.0], [9.0, -9.0]])
    found = transforms(model, Chunk(points, DiagonalNoise(np.full(points.shape, noise))))
    expected = np.mean(drawn[None] <= points[:, None], axis=1)
    np.testing.assert_allclose(found[~np.isnan(points)], expected[~np.isnan(points)], atol=5 * 0.5 / np.sqrt(200_000))
    assert np.isnan(found[np.isnan(points)]).all()


def test_transforms_of_projections() -> None:
    """Of y = R x + e: a normal distribution function, for one component."""
    C, mean, R = np.diag([1.0, 4.0]) + 0.3, np.array([1.0, -1.0]), np.random.default_rng(0).normal(size=(50, 3, 2))
    y = np.random.default_rng(1).normal(size=(50, 3))
    chunk = Chunk(y, DiagonalNoise(np.full((50, 3), 0.2)), projection=R)
    expected = norm.cdf(y, R @ mean, np.sqrt(np.einsum("nmd,de,nme->nm", R, C, R) + 0.2))
    np.testing.assert_allclose(transforms(Model(GaussianMixture([1.0], [mean], [C])), chunk), expected, rtol=1e-12)


def test_only_what_is_normal_or_even_has_a_closed_form() -> None:
    chunk = Chunk(np.zeros((1, 2)), NoNoise())
    assert has_closed_form(MODEL, Survey(), chunk)
    assert not has_closed_form(MODEL, SURVEYS["observed"], chunk)
    odd = FixedDensity(lambda x: np.ones(len(x)), [-4, -4], [4, 4])
    assert not has_closed_form(Model(MIXTURE, odd, 0.2), Survey(), chunk)


@pytest.mark.parametrize("on", SURVEYS)
def test_transforms_are_uniform_under_the_truth(on: str) -> None:
    """By ranks; and by the closed form, where there is one. With the survey left out they are not."""
    rng, n = np.random.default_rng(3), 1200
    points, variances = observed(MODEL, SURVEYS[on], n, rng, shared=False)
    chunk, fill = Chunk(points, DiagonalNoise(variances)), np.eye(2) * variances.mean()
    found = ranked(MODEL, Observing(SURVEYS[on], fill), chunk, rng)
    smear = (rng.random((n, 3)) - 0.5) / 64
    columns = np.column_stack([found.transforms, found.density]) + smear
    if on == "everything":
        closed = transforms(MODEL, chunk)
        known = ~np.isnan(points)
        assert np.sqrt(np.mean((closed - found.transforms)[known] ** 2)) < 0.07  # 1 / sqrt(6 * 64) = 0.051
        columns = np.column_stack([columns, closed])
    else:
        careless = ranked(MODEL, Observing(Survey(), fill), chunk, rng).transforms
        assert kstest(careless[:, 0] + smear[:, 0], "uniform").pvalue < 1e-4
    for column in columns.T:
        assert kstest(column[~np.isnan(column)], "uniform").pvalue > FALSE_ALARM


# tests


def test_the_smooth_test_keeps_its_level() -> None:
    """p-values of uniform numbers are uniform, of weighted ones too; of a few numbers there is none."""
    rng = np.random.default_rng(0)
    for weigh in (False, True):
        p = [
            Uniformity.of(rng.random(200), rng.uniform(1, 5, 200) if weigh else np.ones(200)).p_value
            for _ in range(2000)
        ]
        assert kstest(p, "uniform").pvalue > 1e-4
        assert np.mean(np.array(p) < 0.01) < 0.01 + 4 * np.sqrt(0.01 / 2000)
    few = Uniformity.of(np.zeros(20), np.ones(20))
    assert not few.is_judged
    assert few.p_value == 1


def test_uniformity_adds_up() -> None:
    rng = np.random.default_rng(0)
    u, w = rng.random(300), rng.uniform(0, 2, 300)
    u[::7] = np.nan
    parts = Uniformity.of(u[:100], w[:100]) + Uniformity.of(u[100:], w[100:])
    whole = Uniformity.of(u, w)
    np.testing.assert_allclose(parts.deviations, whole.deviations, rtol=1e-10)
    np.testing.assert_allclose(parts.histogram, whole.histogram)
    assert parts.n_effective == pytest.approx(w[~np.isnan(u)].sum() ** 2 / np.sum(w[~np.isnan(u)] ** 2))


@pytest.mark.parametrize(
    ("truth", "order", "sign"),
    [
        (lambda z: z + 0.1, 1, 1),
        (lambda z: z - 0.1, 1, -1),
        (lambda z: 1.2 * z, 2, 1),
        (lambda z: 0.8 * z, 2, -1),
        (lambda z: (z + 0.2 * (z**2 - 1)) / np.sqrt(1.08), 3, 1),
        (lambda z: (z - 0.2 * (z**2 - 1)) / np.sqrt(1.08), 3, -1),
        (lambda z: np.where(np.abs(z) > 1, 1.15, 0.7) * z, 4, 1),
    ],
)
def test_the_direction_is_named(truth: object, order: int, sign: int) -> None:
    """A unit normal that is shifted, stretched, skewed, or given tails."""
    z = np.random.default_rng(0).normal(size=20_000)
    found = Uniformity.of(norm.cdf(truth(z)), np.ones(len(z)))  # type: ignore[operator]
    assert found.p_value < 1e-6
    assert found.leading[0] == order
    assert np.sign(found.deviations[order - 1]) == sign


def test_cells_keep_their_level() -> None:
    """Both counts are random; chi^2 knows, and a few objects do not deceive it. A wrong share of the cells is seen."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(60, 0.5))

    def p_of(n: int, m: int, of: np.ndarray) -> float:
        o, d = rng.multinomial(n, of).astype(float), rng.multinomial(m, shares).astype(float)
        return Residuals(o, d, n / m).homogeneity[2]

    for n, m in ((500, 400), (300, 20_000), (5000, 1000)):
        p = np.array([p_of(n, m, shares) for _ in range(1000)])
        assert np.mean(p < 0.01) < 0.01 + 4 * np.sqrt(0.01 / 1000)
        assert 0.4 < np.mean(p) < 0.6
    assert p_of(5000, 20_000, 0.8 * shares + 0.2 / 60) < 1e-6


def test_a_cell_is_judged_by_the_binomial_distribution() -> None:
    o, d = np.array([0.0, 3.0, 20.0, 5.0]), np.array([12.0, 4.0, 30.0, 0.0])
    found = Residuals(o, d, 0.5).p_values
    for got, k, n in zip(found, o.astype(int), (o + d).astype(int), strict=True):
        more = binomtest(k, n, 1 / 3, "greater").pvalue
        fewer = binomtest(k, n, 1 / 3, "less").pvalue
        assert got == pytest.approx(min(1, 2 * min(more, fewer)))


def test_sparse_cells_are_joined() -> None:
    cells = Residuals(np.array([[50.0, 1.0], [2.0, 60.0]]), np.array([[52.0, 3.0], [0.0, 58.0]]), 1.0)
    joined = cells.joined()
    assert sorted(joined.observed) == [53, 60]  # three objects in all were still too few
    assert joined.observed.sum() == cells.observed.sum()
    assert joined.drawn.sum() == cells.drawn.sum()
    assert Residuals(np.array([3.0]), np.array([2.0]), 1.0).homogeneity == (0.0, 0, 1.0)


def test_edges_are_round_and_hold_as_many() -> None:
    values = np.random.default_rng(0).normal(size=(5000, 2))
    values[:, 1] = np.nan
    edges = quantile_edges(values, 8)
    np.testing.assert_allclose(edges[0, 1:-1], np.round(edges[0, 1:-1], 1), atol=1e-12)
    assert np.all(np.diff(edges) > 0)
    counts = Counts.of(values, edges)
    assert counts.along[0].sum() == 5000
    assert counts.along[0].min() > 300
    assert counts.along[1].sum() == 0


def test_counts_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    points, weights, edges = rng.normal(size=(500, 2)), rng.uniform(0, 2, 500), np.stack([np.linspace(-1, 1, 6)] * 2)
    points[:2] = edges[:, [0, -1]].T  # on the outer edges
    points[7, 0] = np.nan
    found, known = Counts.of(points, edges, weights), ~np.isnan(points[:, 0])
    along, over = (
        np.histogram(points[known, 0], edges[0], weights=weights[known])[0],
        (points[known, 1], points[known, 0]),
    )
    np.testing.assert_allclose(found.along[0], along)
    np.testing.assert_allclose(found.over[1, 0], np.histogram2d(*over, bins=edges[0], weights=weights[known])[0])


# the whole


@pytest.mark.parametrize("on", SURVEYS)
def test_the_truth_passes(on: str) -> None:
    points, variances = observed(MODEL, SURVEYS[on], 1500, np.random.default_rng(2), shared=False)
    found = goodness_of_fit(MODEL, points, variances, survey=SURVEYS[on], level=FALSE_ALARM)
    assert found.flags == ()
    assert f"0 of {len(found.verdicts)} tests flagged" in repr(found)
    assert min(verdict.p_value for verdict in found.verdicts) < 1  # something was tested
    assert "0 of 6 tests flagged" in found.portrait().html()
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert len(document["tests"]) == 2 + 1 + 1 + 1 + 1
    assert document["objects"] == 1500


def _alarms(n: int, level: float) -> int:
    """How many of so many surveys are flagged under the truth, at this level."""
    flagged = 0
    for seed in range(n):
        rng = np.random.default_rng(100 + seed)
        points, variances = observed(MODEL, SURVEYS["observed"], 250, rng, shared=False)
        found = goodness_of_fit(MODEL, points, variances, survey=SURVEYS["observed"], level=level, seed=seed)
        flagged += bool(found.flags)
    return flagged


def test_false_alarms_are_as_few_as_said() -> None:
    """At most one survey in five: of 25 more than 17 by chance once in a million."""
    assert _alarms(25, 0.2) <= 16


@pytest.mark.slow
def test_false_alarms_are_as_few_as_said_in_many_surveys() -> None:
    """Of 400 surveys 20 at most are expected, at one in twenty; and some are, for the test not to be asleep."""
    assert 2 <= _alarms(400, 0.05) <= 20 + 5 * np.sqrt(20)


def _flawed(n: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    survey = Survey(HalfSpace([1.0, 0.0], 1.0), "own")
    points, variances = observed(MODEL, survey, n, np.random.default_rng(4), shared=False)
    whole = ~np.isnan(points).any(axis=1)
    return points[whole], variances[whole]


def test_a_background_that_is_ignored_is_seen() -> None:
    points, variances = _flawed()
    found = goodness_of_fit(MIXTURE, points, variances, survey=Survey(HalfSpace([1.0, 0.0], 1.0), "own"))
    assert {"x1 smooth", "density smooth", "x0, x1 chi2", "cells cell"} <= _kinds(found)
    assert "spread wider" in _words(found, "x1")
    assert "objects where" in _words(found, "cells")


def test_noise_that_is_underestimated_is_seen() -> None:
    """By a fifth: the objects are spread wider than the model has them measured."""
    rng = np.random.default_rng(5)
    mixture = GaussianMixture([1.0], [[0.0, 0.0]], [0.05 * np.eye(2)])
    y = mixture.sample(4000, rng) + rng.normal(size=(4000, 2)) * np.sqrt(0.5)
    assert goodness_of_fit(mixture, y, np.full(y.shape, 0.5)).flags == ()
    found = goodness_of_fit(mixture, y, np.full(y.shape, 0.5 / 1.2**2))
    assert {"x0 smooth", "x1 smooth", "density smooth"} <= _kinds(found)
    assert "spread wider" in _words(found, "x0")
    assert "less probable" in _words(found, "density")


def test_an_edge_at_a_wrong_place_is_seen() -> None:
    """Too far out nothing is where objects are expected; too far in objects are where none could be."""
    points, variances = _flawed()
    out = goodness_of_fit(MODEL, points, variances, survey=Survey(HalfSpace([1.0, 0.0], 1.2), "own"))
    assert {"x0 smooth", "x0, x1 chi2", "cells cell"} <= _kinds(out)
    assert out.worst[0].observed < out.worst[0].expected
    assert "x0 >" in _words(out, "cells")
    within = goodness_of_fit(MODEL, points, variances, survey=Survey(HalfSpace([1.0, 0.0], 0.9), "own"))
    n = np.sum(points[:, 0] >= 0.9)
    assert f"{n} objects where the survey could not have seen any" in _words(within, "selection")


def test_a_component_too_few_is_seen() -> None:
    """Fitted to the objects it is judged by: two groups that one normal distribution has to hold."""
    x = MIXTURE.sample(2500, np.random.default_rng(6))
    one = GaussianMixture([1.0], x.mean(axis=0)[None], np.cov(x.T)[None])
    found = goodness_of_fit(one, x)
    assert {"x0 smooth", "density smooth", "x0, x1 chi2"} <= _kinds(found)
    fit = dgmmis.GMMis(2, random_state=0).fit(x)
    assert goodness_of_fit(fit.model_, x).flags == ()


def test_one_feature_has_cells_too() -> None:
    mixture = GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], [[[1.0]], [[1.0]]])
    x = mixture.sample(3000, 1)
    assert goodness_of_fit(mixture, x).flags == ()
    one = GaussianMixture([1.0], [[0.0]], [[[5.0]]])
    assert {"x0 smooth", "x0 chi2", "cells cell"} <= _kinds(goodness_of_fit(one, x))


@pytest.mark.parametrize("gaps", [[[1.0, np.nan], [np.nan, 1.0]], [[1.0, np.nan]], [[np.nan, np.nan]]])
def test_features_that_are_never_measured_together_have_no_cells(gaps: list[list[float]]) -> None:
    points = MIXTURE.sample(400, 1) * np.resize(gaps, (400, 2))
    found = goodness_of_fit(MIXTURE, points)
    assert found.flags == ()
    assert found.worst == ()
    json.dumps(found.document(), allow_nan=False)


def test_a_store_says_what_its_rows_say(tmp_path: Path) -> None:
    """Chunk by chunk, weights with it; lazily given rows too; twice the same bits."""
    import dask.array

    points, variances = _flawed(6500)
    n = len(points)
    assert n > LEAF_ROWS
    schema = Schema(("ra", "dec"), ("deg", "deg"), noise="diagonal")
    with SurveyWriter(tmp_path / "survey.zarr", schema) as writer:
        writer.write(points, variances)
    given = {"survey": Survey(HalfSpace([1.0, 0.0], 1.0), "own"), "seed": 3}
    seen: list[tuple[int, int | None]] = []
    here = goodness_of_fit(MODEL, points, variances, **given)
    store = goodness_of_fit(
        MODEL, tmp_path / "survey.zarr", **given, on_rows=lambda done, total: seen.append((done, total))
    )
    lazy = goodness_of_fit(MODEL, dask.array.from_array(points, chunks=4000), variances, **given)
    assert store.names == ("ra", "dec")
    assert all(" deg" in cell.place for cell in store.worst)
    assert seen[-1] == (n, n)
    for other in (store, lazy):
        assert [v.p_value for v in other.verdicts] == [v.p_value for v in here.verdicts]


def test_weights_do_not_make_more_of_the_objects_than_there_are() -> None:
    """Twice the weight of everything says the same."""
    points = MIXTURE.sample(3000, 1)
    once, twice = (
        goodness_of_fit(MIXTURE, ArrayDataset.of(points, sample_weight=np.full(3000, w))) for w in (1.0, 2.0)
    )
    for a, b in zip(once.verdicts, twice.verdicts, strict=True):
        assert a.p_value == pytest.approx(b.p_value)


@pytest.mark.parametrize(
    ("error", "message", "how"),
    [
        (
            RefusedError,
            "injections",
            {"survey": Survey(Injections(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) > 3, np.zeros(9)))},
        ),
        (RefusedError, "function of position", {"survey": Survey(SEEN, lambda x: np.tile(np.eye(2), (len(x), 1, 1)))}),
        (JobError, "level is a probability", {"level": 1.0}),
        (ShapeError, "noise_law does not fit", {"survey": Survey(SEEN, np.eye(3))}),
    ],
)
def test_what_has_no_meaning_is_refused(error: type[Exception], message: str, how: dict[str, object]) -> None:
    with pytest.raises(error, match=message):
        goodness_of_fit(MODEL, np.zeros((5, 2)), **how)


def test_other_shapes_and_cutoffs_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 features"):
        goodness_of_fit(MODEL, np.zeros((5, 3)))
    with pytest.raises(RefusedError, match="cutoff"):
        goodness_of_fit(Model(MIXTURE, cutoff=3.0), np.zeros((5, 2)))


# the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey within a box, and runs with its model: as it is, and with components too narrow."""
    folder = tmp_path_factory.mktemp("check")
    box = Survey(Box([-2, -2], [2, 2]))
    points, _ = observed(MODEL, box, 3000, np.random.default_rng(7), shared=True)
    points = points[~np.isnan(points).any(axis=1)]
    with SurveyWriter(
        folder / "survey.zarr", Schema(("x", "y"), noise="shared", shared_covariance=0.2 * np.eye(2))
    ) as w:
        w.write(points)
    record = SurveyRecord.of(Survey(box.selection, 0.2 * np.eye(2)))
    for name, model in (
        ("good", MODEL),
        ("bad", Model(GaussianMixture(MIXTURE.weights, MIXTURE.means, 0.3 * MIXTURE.covariances))),
    ):
        document = {"status": "made by hand", "data": str(folder / "survey.zarr")}
        write_run(folder / f"{name}.run", Run(model, ("x", "y"), ("", ""), document, record))
    return folder


def test_the_command_says_what_fails(folder: Path) -> None:
    """Exit code 0, flagged or not."""
    good = CliRunner().invoke(program, ["check", str(folder / "good.run"), "--json", "--quiet"])
    assert good.exit_code == 0, good.output
    assert json.loads(good.output)["flags"] == []
    bad = CliRunner().invoke(program, ["check", str(folder / "bad.run"), "--quiet"])
    assert bad.exit_code == 0, bad.output
    assert "FLAGGED" in bad.output
    assert re.search(r"FLAGGED +feature x: .* than the model has", bad.output)
    assert re.search(r"FLAGGED +x, y: .*chi2 [0-9]", bad.output)
    assert "in 1 % of surveys" in bad.output


def test_a_run_knows_its_survey(folder: Path) -> None:
    run = dgmmis.read_run(folder / "good.run")
    assert goodness_of_fit(run, folder / "survey.zarr").flags == ()
    with SurveyWriter(folder / "other.zarr", Schema(("a", "b"))) as writer:
        writer.write(np.zeros((10, 2)))
    with pytest.raises(JobError, match="other features"):
        goodness_of_fit(run, folder / "other.zarr")
