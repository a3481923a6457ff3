"""goodness_of_fit(): whether a catalogue is as a model and its survey have it, and where it is not.

Three kinds of tests, of what was measured with all its noise, gaps and selection: the transforms of each feature and
the tail probabilities of whole objects are uniform (`transforms`, `uniformity`); the objects in cells of each pair of
features are as many as among objects drawn in their places (`residuals`); none is where the survey sees nothing.

A true model is flagged with at most the probability `level`. One that was fitted to the same objects follows them, and
is flagged less often: what is flagged is flagged all the more, what is not may have gone unnoticed.
"""

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset, Catalogue
from dgmmis.dataset.checkpoint import Run
from dgmmis.dataset.dataset import Dataset
from dgmmis.errors import JobError, ShapeError
from dgmmis.estimate import require_density
from dgmmis.execution.executor import in_order
from dgmmis.execution.serial import Threads
from dgmmis.fit import Fit
from dgmmis.goodness.cell import Cell, worst_cells
from dgmmis.goodness.residuals import Residuals, quantile_edges
from dgmmis.goodness.sums import Summing, Sums
from dgmmis.goodness.verdict import Judge, Verdict, of_cells, of_density, of_feature, of_impossible, of_pair
from dgmmis.latent_draw import Observing
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.noise_classes import mean_noise
from dgmmis.portrait import Portrait, Portrayed
from dgmmis.read_once import Reader, read_once
from dgmmis.reals import real
from dgmmis.redrawn import redrawn, require_redrawable
from dgmmis.rows import Measured, observing_of, require_survey
from dgmmis.subsample import draw_sample
from dgmmis.survey import Survey

LEVEL = 0.01
"""How often a true model is flagged, at most."""

RANKED_ROWS = 10_000
"""Rows, at random, in whose places objects are drawn to rank them among."""

PER_CELL, FEWEST, MOST = 20.0, 3, 16
"""Objects in a cell of a pair, and cells along a feature."""

DRAWN, FEWEST_DRAWN, MOST_DRAWN = 4, 1 << 16, 1 << 21
"""Objects drawn for each that was seen, for the cells; in all."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GoodnessOfFit(Portrayed):
    """What the tests say.

    Args:
        names: of the measured values.
        n_rows: of the catalogue.
        level: how often a true model is flagged, at most.
        verdicts: of each test.
        worst: the cells that differ most, those that would be flagged or not.
        sums: what the tests are made of: histograms of the transforms, counts in cells.
    """

    names: tuple[str, ...]
    n_rows: int
    level: float
    verdicts: tuple[Verdict, ...]
    worst: tuple[Cell, ...]
    sums: Sums

    @property
    def flags(self) -> tuple[str, ...]:
        """Where the model fails, in sentences; empty if it does not."""
        return tuple(verdict.words for verdict in self.verdicts if verdict.is_flagged)

    @property
    def summary(self) -> str:
        """How many tests are flagged."""
        return f"{len(self.flags)} of {len(self.verdicts)} tests flagged at {100 * self.level:g} %"

    def __repr__(self) -> str:
        said = "".join(f"\n  {flag}" for flag in self.flags)
        return f"GoodnessOfFit({self.summary}, {self.n_rows:,} objects{said})"

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        rows = [("", "p of all", "verdict")]
        rows += [("fails" if one.is_flagged else "", f"{one.corrected:.2g}", one.words) for one in self.verdicts]
        rate = f"{100 * self.level:g} % of surveys"
        note = f"of a true model any is flagged in {rate} at most; of one that was fitted to these objects, in fewer"
        return Portrait(f"Goodness of fit: {self.summary}, {self.n_rows:,} objects", table=tuple(rows), note=note)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        sums = self.sums
        return {
            "objects": self.n_rows,
            "ranked": sums.ranked,
            "not_judged": sums.lost,
            "false_alarm_rate": self.level,
            "flags": list(self.flags),
            "tests": [verdict.document() for verdict in self.verdicts],
            "worst_cells": [cell.document() for cell in self.worst],
            "histograms": {
                name: of.histogram.tolist()
                for name, of in zip((*self.names, "density"), (*sums.transforms, sums.density), strict=True)
            },
        }


def goodness_of_fit(
    model: Model | GaussianMixture | Fit | Run,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
    survey: Survey | None = None,
    level: float = LEVEL,
    seed: int = 0,
    on_rows: Callable[[int, int | None], None] | None = None,
) -> GoodnessOfFit:
    """Test whether objects are as a model has them, measured and selected as they were. Memory holds some chunks.

    Args:
        model: a model or a mixture; or a fit or a run, which know their survey.
        points: measured values (n, m); NaN: missing. Of any kind that `GMMis.fit` takes, survey stores among
            them; or an ArrayDataset, with weights.
        noise_covariance, projection: of them, as in `GMMis.fit`.
        survey: how objects came into the catalogue; None: that of the fit or the run, else all that is there was seen.
        level: how often a true model may be flagged by any of the tests.
        seed: of everything random.
        on_rows: called with the rows done, and the rows in all.

    Returns:
        Verdicts with p-values. Transforms are of all rows where they have a closed form (no selection), else of about
        RANKED_ROWS of them at random, as tail probabilities are; cells are of all.

    Raises:
        RefusedError: injections, or a noise law that is a function of position: it is not known what else could have
            been measured so; a model with a cutoff.
        JobError: a level that is no probability; a store of other features than the run.
        ShapeError, DataError: as in `GMMis.fit`.
    """
    if not 0 < real(level, "level") < 1:
        raise JobError("level is a probability", expected="0 < level < 1", got=level, do=f"{LEVEL} is usual")
    of = model.model if isinstance(model, (Fit, Run)) else as_model(model)
    if survey is None:
        survey = model.survey() if isinstance(model, Run) else model.survey if isinstance(model, Fit) else Survey()
    require_survey(survey)
    require_density(of)
    require_redrawable(survey, "goodness of fit")
    if isinstance(points, ArrayDataset):
        whole = points.whole
        measured = Measured(whole.points, whole.noise, whole.projection, whole.weights)
    else:
        measured = Measured.of(points, noise_covariance, projection)
    measured.require_features(of.mixture.n_features)
    with tempfile.TemporaryDirectory() as folder:
        catalogue = measured.catalogue(Path(folder))
        with closing(Threads()) as executor:
            sample = draw_sample(catalogue.references, executor)
        named = _named(model, catalogue, measured)
        stored = Measured(catalogue) if isinstance(catalogue, Dataset) else measured
        observing = observing_of(survey, stored, of.mixture.n_features)
        reader = _judging(of, observing, sample, catalogue, named=named, level=level, seed=seed)
        return read_once(catalogue, [reader], on_rows=on_rows)[0]


def judging(run: Run, data: Dataset, sample: Chunk, *, survey: Survey, seed: int) -> Reader[GoodnessOfFit]:
    """Read the survey of a run along, and judge the run by it as `goodness_of_fit` does, at the usual level.

    Args:
        run: of the same features.
        data: its survey.
        sample: some rows, by `draw_sample`.
        survey: how its objects came into it.
        seed: of everything random.
    """
    require_survey(survey)
    require_density(run.model)
    require_redrawable(survey, "goodness of fit")
    measured, d = Measured.of(data), run.model.mixture.n_features
    measured.require_features(d)
    named = _named(run, data, measured)
    on_observed = survey.is_partial and survey.selection_on == "observed"
    # which is what `observing_of` looks for in a sample of its own
    observing = Observing(survey, mean_noise(sample)) if on_observed else observing_of(survey, measured, d)
    found = yield from _judging(run.model, observing, sample, data, named=named, level=LEVEL, seed=seed)
    return found


def _judging(
    model: Model,
    observing: Observing,
    sample: Chunk,
    catalogue: Catalogue,
    *,
    named: tuple[tuple[str, ...], tuple[str, ...]],
    level: float,
    seed: int,
) -> Reader[GoodnessOfFit]:
    n_rows = catalogue.n_rows
    n_drawn = float(np.clip(DRAWN * n_rows, FEWEST_DRAWN, MOST_DRAWN))
    summing = Summing(
        model,
        observing,
        _edges(model, observing, sample, n_rows, seed),
        ranked_share=RANKED_ROWS / n_rows,
        drawn_share=n_drawn / n_rows,
        drawn=max(1, round(n_drawn / n_rows)),
        seed=seed,
    )
    total = Sums.zero(summing.edges)
    with closing(Threads()) as executor:
        while (part := (yield)) is not None:
            reference, chunk = part
            for sums in in_order(executor, summing, enumerate(chunk.leaf_chunks(), reference.first_leaf)):
                total = total + sums
    names, units = named
    return judged(total, names, n_rows, level, units=units)


def judged(sums: Sums, names: tuple[str, ...], n_rows: int, level: float, *, units: tuple[str, ...]) -> GoodnessOfFit:
    """The verdicts on a catalogue's sums."""
    m = len(names)
    pairs = [(j, i) for i, j in combinations(range(m), 2)] or [(0, 0)]
    residuals = {pair: Residuals.between(sums.counts, sums.drawn, pair) for pair in pairs}
    judge = Judge(level, m + 1 + len(pairs) + 1)
    worst = worst_cells(residuals, sums.counts.edges, names, units)
    verdicts = [of_feature(name, found, judge) for name, found in zip(names, sums.transforms, strict=True)]
    verdicts.append(of_density(sums.density, judge))
    for (i, j), cells in residuals.items():
        verdicts.append(of_pair(names[i] if i == j else f"{names[j]}, {names[i]}", cells, judge))
    verdicts += [of_cells(worst, judge), of_impossible(sums.impossible)]
    return GoodnessOfFit(names, n_rows, level, tuple(verdicts), worst, sums)


def _named(model: object, catalogue: Catalogue, measured: Measured) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units of the measured values; "" for a unit that is not known."""
    if isinstance(catalogue, Dataset) and measured.is_store:
        schema = catalogue.schema
        if isinstance(model, Run) and schema.features != model.features:
            raise JobError("the survey has other features than the run", expected=model.features, got=schema.features)
        names = tuple(schema.columns)
        return names, schema.units if names == schema.features else ("",) * len(names)
    m = measured.n_measured
    if m is None:
        m = catalogue.references[0].load().points.shape[1]
    if isinstance(model, Run) and len(model.features) == m and measured.projection is None:
        return model.features, model.units
    columns = getattr(measured.given, "columns", ())
    return tuple(map(str, columns)) if len(columns) == m else tuple(f"x{i}" for i in range(m)), ("",) * m


def _edges(model: Model, observing: Observing, sample: Chunk, n_rows: int, seed: int) -> np.ndarray:
    """Of the cells (m, b + 1): what is drawn says where, not the data, whose counts in them are then free."""
    rng = generator(seed, Purpose.GOODNESS)
    found = np.zeros(sample.n_samples, dtype=int)
    parts = [part.points for part in redrawn(model, observing, sample, 1, found=found, rngs=rng)]
    drawn = np.concatenate([np.empty((0, sample.points.shape[1])), *parts])
    if len(drawn) == 0:
        raise ShapeError("the survey sees next to nothing of the model", do="correct the selection or the model")
    return quantile_edges(drawn, int(np.clip(np.sqrt(n_rows / PER_CELL), FEWEST, MOST)))
