"""Shown: a model and its survey as a picture needs them, and what the survey would see of the model."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.catalogue import Drawn, draws
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue
from dgmmis.dataset.checkpoint import Run
from dgmmis.dataset.dataset import Dataset
from dgmmis.errors import JobError, RefusedError, ShapeError, nearest_name
from dgmmis.execution.serial import Threads
from dgmmis.fit import Fit
from dgmmis.goodness.counts import Counts
from dgmmis.linalg import covariance_root, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.noise import NoNoise
from dgmmis.noise_classes import NoiseClass
from dgmmis.plotting.lettering import axis_label
from dgmmis.selection import Injections
from dgmmis.simulate.completeness import completed_by_class
from dgmmis.subsample import draw_sample
from dgmmis.survey import Survey
from dgmmis.types import Vector

Fitted = Model | GaussianMixture | Fit | Run

MOST_FEATURES = 6
"""Of a picture in which the panels can still be read."""

TAIL = 1e-3
"""Of what was seen that may lie outside the window, at either end of a feature."""

REACH = 2.7
"""Standard deviations of a component that is far from everything else."""

FEW = 1 << 14
"""Objects that say where a survey without data would see any."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What is to be drawn.

    Args:
        model: of all features.
        survey: with a noise law.
        noise_classes, by_class: as in a `Fit`; none where everything is seen.
        completeness: Z.
        names, units: of the model's features; "" for a unit that is not known.
        typical: some rows of the data; None: there are no data.
        n_rows: of the data, in all.
    """

    model: Model
    survey: Survey
    noise_classes: tuple[NoiseClass, ...]
    by_class: Vector
    completeness: float
    names: tuple[str, ...]
    units: tuple[str, ...]
    typical: Chunk | None
    n_rows: int

    @classmethod
    def of(
        cls, fitted: Fitted, data: Catalogue | None, survey: Survey | None, *, sample: Chunk | None = None
    ) -> "Shown":
        """A run or a fit with the survey that it knows; a model with the one that is given, whose completeness is found
        from some rows of the data: `sample`, or those that `draw_sample` finds.

        Raises:
            JobError: the run's survey has a function to be imported; a store of other features than the run; or a
                survey, without the data that it is of.
            RefusedError: data with projections, whose measured values are not the model's features.
            ShapeError: data of other features.
        """
        of = fitted if isinstance(fitted, (Fit, Run)) else None
        model = as_model(fitted) if of is None else of.model
        d = model.mixture.n_features
        if isinstance(fitted, Run) and isinstance(data, Dataset) and data.schema.features != fitted.features:
            got = data.schema.features
            raise JobError("the survey has other features than the run", expected=fitted.features, got=got)
        typical = None if data is None else _typical(data, d, sample)
        classes: tuple[NoiseClass, ...] = ()
        by_class, completeness = np.ones(1), 1.0
        if of is not None:
            survey = survey or (of.survey() if isinstance(of, Run) else of.survey)
            classes, by_class, completeness = of.noise_classes, of.by_class, of.completeness
        elif survey is None or survey.selection is None:
            survey = survey or Survey()
        elif typical is None:
            raise JobError("a survey of a model without data", do="give the data, or a run or a fit")
        else:
            survey = survey.completed(typical, d)
            completed, classes = completed_by_class(model, survey, typical)
            by_class = np.array([part.completeness for part in completed.unseen])
            completeness = completed.completeness
        if isinstance(fitted, Run):
            names, units = fitted.features, fitted.units
        elif isinstance(data, Dataset):
            names, units = data.schema.features, data.schema.units
        else:
            names, units = tuple(f"x{i}" for i in range(d)), ("",) * d
        n_rows = 0 if data is None else data.n_rows
        return cls(model, survey, classes, by_class, completeness, names, units, typical, n_rows)

    def chosen(self, features: Sequence[str | int] | None, *, least: int = 1) -> tuple[int, ...]:
        """The numbers of some features, given by name or number; None: all of them.

        Raises:
            JobError: one that there is not, or twice; too few or too many for a picture.
        """
        found = []
        for one in range(len(self.names)) if features is None else features:
            if isinstance(one, str) and one not in self.names:
                raise JobError(f"unknown feature '{one}'", do=nearest_name(one, self.names))
            found.append(self.names.index(one) if isinstance(one, str) else one)
        for number in found:
            if not 0 <= number < len(self.names):
                raise JobError("unknown feature", expected=f"0 to {len(self.names) - 1}", got=number)
        if len(set(found)) < len(found):
            raise JobError("a feature is given twice", got=", ".join(self.names[i] for i in found))
        if not least <= len(found) <= MOST_FEATURES:
            do = f"choose some of {', '.join(self.names)}"
            raise JobError(
                "a picture of so many features", expected=f"{least} to {MOST_FEATURES}", got=len(found), do=do
            )
        return tuple(found)

    def label(self, feature: int) -> str:
        """Name and unit of a feature, for an axis."""
        return axis_label(self.names[feature], self.units[feature])

    @property
    def is_foreseen(self) -> bool:
        """Whether it is known what the survey would see: not of injections, which do not say Omega at a point; not of
        projections; and without data, only where the fit knows the noise."""
        if isinstance(self.survey.selection, Injections) or any(c.projection is not None for c in self.noise_classes):
            return False
        return self.typical is not None or self.survey.noise_law is not None

    def require_foreseen(self) -> None:
        """Refuse to compare what was seen with what is not known to be expected.

        Raises:
            RefusedError: a survey of injections, say.
        """
        if not self.is_foreseen:
            raise RefusedError(
                "injections do not say whether an object is seen, so that nothing can be expected of them",
                do="draw the corner plot: it shows the data and the population",
            )

    def seen(self, n: int, *, seed: int, which: str = "seen") -> Iterator[Drawn]:
        """n objects that the survey would see, batch by batch, NaN where it would not measure them; or those of the
        population, measured likewise.

        Where no noise of the unseen was needed, each has that of one of the data.
        """
        of: dict[str, Any] = {"noise_classes": self.noise_classes, "by_class": self.by_class}
        parts = draws(self.model, self.survey, **of, n=n, seed=seed, which=which)
        like = self.typical if self.survey.noise_law is None else None
        if like is None:
            yield from parts
            return
        packed = None if isinstance(like.noise, NoNoise) else like.noise.packed(range(like.points.shape[1]))
        roots = None if packed is None else covariance_root(unpack(packed.T))
        for batch, part in enumerate(parts):
            rng = generator(seed, Purpose.PICTURE, batch)
            yield replace(part, points=_measured(part.positions, like, roots, rng))

    def window(self, chosen: Sequence[int], *, seed: int = 0) -> Float[np.ndarray, "f 2"] | None:
        """Where nearly all is that was seen, or would be (f, 2), from and to along each of some features; NaN where a
        feature was never measured; None where it is not known what the survey would see."""
        if self.typical is not None:
            seen = self.typical.points
        elif self.is_foreseen:
            seen = np.concatenate([part.points for part in self.seen(FEW, seed=seed)])
        else:
            return None
        return _within(seen, chosen)

    def measured_window(self, chosen: Sequence[int]) -> Float[np.ndarray, "f 2"]:
        """The same where there are data.

        Raises:
            RefusedError: a feature that was never measured, or has one value only.
        """
        assert self.typical is not None
        window = _within(self.typical.points, chosen)
        for feature, (low, high) in zip(chosen, window, strict=True):
            if not low < high:
                what = "was never measured" if np.isnan(low) else "has one value only"
                raise RefusedError(f"the feature '{self.names[feature]}' {what}", do="leave it out")
        return window

    def core_window(self, chosen: Sequence[int]) -> Float[np.ndarray, "f 2"]:
        """The same without long tails: in a window that held them the rest could not be seen."""
        window = self.measured_window(chosen)
        assert self.typical is not None
        return _without_tails(self.typical.points, chosen, window)

    def wide_window(self, chosen: Sequence[int], *, seed: int = 0) -> Float[np.ndarray, "f 2"]:
        """A window that holds all but the tails of the population and of what was seen; and components that are
        elsewhere."""
        population = self.model.sample(FEW, generator(seed, Purpose.PICTURE))
        window = _without_tails(population, chosen, _within(population, chosen))
        seen = self.window(chosen, seed=seed)
        if seen is not None:
            if self.typical is not None:
                seen = _without_tails(self.typical.points, chosen, seen)
            window = np.stack([np.fmin(window[:, 0], seen[:, 0]), np.fmax(window[:, 1], seen[:, 1])], axis=1)
        means = self.model.mixture.means[:, list(chosen)]
        reach = REACH * np.sqrt(np.diagonal(self.model.mixture.covariances, axis1=1, axis2=2)[:, list(chosen)])
        low = np.where(means < window[:, 0], means - reach, np.inf).min(axis=0)
        high = np.where(means > window[:, 1], means + reach, -np.inf).max(axis=0)
        return np.stack([np.minimum(window[:, 0], low), np.maximum(window[:, 1], high)], axis=1)

    def expected(self, edges: Float[np.ndarray, "f edges"], *, features: Sequence[int], n: int, seed: int) -> Counts:
        """n objects that the survey would see, in the cells of a picture."""
        total = Counts.of(np.zeros((0, len(edges))), edges)
        for part in self.seen(n, seed=seed):
            total = total + Counts.of(part.points[:, list(features)], edges)
        return total


def _typical(data: Catalogue, d: int, sample: Chunk | None) -> Chunk:
    if data.n_features != d:
        raise ShapeError("the model does not fit the data", expected=f"{data.n_features} features", got=d)
    typical = sample
    if typical is None:
        with closing(Threads()) as executor:
            typical = draw_sample(data.references, executor)
    if typical.projection is not None:
        raise RefusedError(
            "a picture of data with projections: their measured values are not the model's features",
            do="leave the data out, to draw the population",
        )
    return typical


def _measured(x: np.ndarray, like: Chunk, roots: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Positions (n, d) measured with the noise, and the gaps, of rows drawn by their weights."""
    weights = None if like.weights is None else like.weights / like.weights.sum()
    rows = rng.choice(like.n_samples, len(x), p=weights)
    y = x
    if roots is not None:
        of = roots[rows if len(roots) > 1 else np.zeros_like(rows)]
        y = x + np.einsum("nij,nj->ni", of, rng.normal(size=x.shape))
    return np.where(np.isnan(like.points[rows]), np.nan, y)


def _within(points: np.ndarray, chosen: Sequence[int]) -> Float[np.ndarray, "f 2"]:
    """From and to where nearly all points are along each of some features; NaN where none are known."""
    known = [points[~np.isnan(points[:, i]), i] for i in chosen]
    ends = [np.quantile(one, [TAIL, 1 - TAIL]) if len(one) else np.full(2, np.nan) for one in known]
    return np.stack(ends)


def _without_tails(points: np.ndarray, chosen: Sequence[int], window: Float[np.ndarray, "f 2"]) -> np.ndarray:
    """A window that ends where a normal distribution would have its own ends, if its last fiftieths began there."""
    out = window.copy()
    for number, i in enumerate(chosen):
        known = points[~np.isnan(points[:, i]), i]
        if len(known):
            low, middle, high = np.quantile(known, [0.02, 0.5, 0.98])
            out[number, 0] = max(window[number, 0], low - (middle - low) / 2)
            out[number, 1] = min(window[number, 1], high + (high - middle) / 2)
    return np.where((out[:, 1] > out[:, 0])[:, None], out, window)
