"""First models, from a sample of the rows: k-means++, random rows, a grid of median cuts, or a mixture that is given.

Starts know of noise, missing features, weights and selection, so that a fit does not depend on luck (see `starts`).
Measurements through projections have no positions to cluster: their start is the single Gaussian that fits them, with
means drawn from it.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.background import Background
from dgmmis.chunk import Chunk, Leaf, blocks
from dgmmis.errors import DataError, JobError, ShapeError, nearest_name, require_whole
from dgmmis.estep import leaf_moments
from dgmmis.linalg import covariance_root
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.mstep import maximize
from dgmmis.prior import Constraints
from dgmmis.reals import real
from dgmmis.starts import (
    Gaussians,
    Positions,
    clusters,
    gaussians,
    median_cuts,
    merged,
    row_weights,
    split,
    without_outliers,
)
from dgmmis.survey import Survey
from dgmmis.types import Feature

START_METHODS = ("kmeans", "random", "grid")
LARGEST_CUTOFF = 30.0
OVERSEGMENTED = 2
"""k-means starts with so many clusters a component, which are then merged."""
SMALLEST_SEGMENT = 5
"""That many rows for each number of a mean and one more, or clusters are not made smaller than components."""
SEGMENT_STEPS = 5
"""EM steps on the clusters before they are merged: clusters are cut at hard edges, components overlap."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The first model, or how to find it.

    Args:
        n_components: K.
        method: "kmeans": clusters, merged to components; "random": means at random rows, one covariance; "grid": cells
            of a k-d tree of median cuts, without chance; or a GaussianMixture with K components.
        background: the background, or None.
        background_fraction: the first guess of its share.
        cutoff: a component takes part only in objects so near to it as this number of sigmas in one dimension: the
            ellipsoid in d dimensions that holds the same share of a Gaussian. None: everywhere.
    """

    n_components: int
    method: str | GaussianMixture = "kmeans"
    background: Background | None = None
    background_fraction: float = 0.1
    cutoff: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.method, GaussianMixture):
            if self.method.n_components != self.n_components:
                raise ShapeError(
                    "the first mixture does not have n_components components",
                    expected=self.n_components,
                    got=self.method.n_components,
                )
        elif self.method not in START_METHODS:
            raise JobError(f"unknown init '{self.method}'", do=nearest_name(str(self.method), START_METHODS))
        if self.background is not None and not all(
            hasattr(self.background, of) for of in ("log_density", "n_features")
        ):
            raise DataError(
                "background must be a density that knows its noise",
                expected="Uniform, FixedMixture, FixedDensity, or a Background of your own",
                got=type(self.background).__name__,
                do="for a function, FixedDensity(function, lower, upper)",
            )
        require_whole(self.n_components, "n_components", 1)
        if not 0 <= real(self.background_fraction, "the background's fraction") < 1:
            raise JobError(
                "the background's first fraction must be at least 0 and below 1", got=self.background_fraction
            )
        if self.cutoff is not None and not 0 < real(self.cutoff, "cutoff") < LARGEST_CUTOFF:
            raise JobError(
                "cutoff must be positive, in sigmas", expected=f"less than {LARGEST_CUTOFF}", got=self.cutoff
            )

    def model(self, mixture: GaussianMixture) -> Model:
        fraction = self.background_fraction if self.background is not None else 0.0
        reach = None
        if self.cutoff is not None:
            from scipy.stats import chi2

            reach = float(np.sqrt(chi2.isf(chi2.sf(self.cutoff**2, 1), mixture.n_features)))
        return Model(mixture, self.background, fraction, reach)


def first_model(start: Start, sample: Chunk, seed: int, survey: Survey | None = None) -> Model:
    """The model to start from: the first of `first_models`."""
    return first_models(start, sample, survey, seed, 1)[0]


def first_models(start: Start, sample: Chunk, survey: Survey | None, seed: int, n: int) -> list[Model]:
    """Models to start from, each from a random stream of its own.

    After the first, a grid is cut off the medians, and a given mixture has its means moved by half a sigma. Two models
    may still be alike, where the data leave little choice.

    Args:
        start: what is wanted.
        sample: some thousands of rows, drawn evenly from the data.
        survey: rows count by 1 / Omega, up to a limit, where it is known; None: everything was seen.
        seed: of the fit.
        n: how many; the first ones do not depend on it.

    Raises:
        DataError: fewer rows with a measured feature, and a weight, than components; a selection that does not give
            probabilities.
    """
    from threadpoolctl import threadpool_limits

    streams = [generator(seed, Purpose.START, i) for i in range(n)]
    with threadpool_limits(limits=1):  # the same bits on any number of cores
        if isinstance(start.method, GaussianMixture):
            given = start.method
            mixtures = [given, *(_moved(given, rng) for rng in streams[1:])]
        elif sample.projection is not None:
            if sample.n_samples < start.n_components:
                raise DataError(
                    "fewer objects than components",
                    expected=f"at least {start.n_components}",
                    got=sample.n_samples,
                    do="lower n_components",
                )
            single = single_gaussian(sample)
            mixtures = [_from_single_gaussian(single, start.n_components, rng) for rng in streams]
        else:
            mixtures = _from_rows(start, sample, survey, seed, streams)
    return [start.model(mixture) for mixture in mixtures]


def _from_rows(
    start: Start, sample: Chunk, survey: Survey | None, seed: int, streams: list[np.random.Generator]
) -> list[GaussianMixture]:
    k = start.n_components
    weights = row_weights(sample, survey, generator(seed, Purpose.START, 0, 0))
    usable = np.flatnonzero(np.any(~np.isnan(sample.points), axis=1) & (weights > 0))
    if len(usable) < k:
        raise DataError(
            "fewer objects than components", expected=f"at least {k}", got=len(usable), do="lower n_components"
        )
    rows = sample.take(usable)
    positions = Positions.of(rows, weights[usable], k, spread(sample))
    if start.method == "random":
        return [_random_rows(positions, k, rng) for rng in streams]
    if start.method == "grid":
        return [_grid(positions, k, rng if i else None) for i, rng in enumerate(streams)]
    behind = None if start.background is None else start.background.log_density(rows.points, rows.noise)
    rows = replace(rows, log_background=behind)
    return [_clustered(start, rows, positions, rng) for rng in streams]


def _clustered(start: Start, rows: Chunk, positions: Positions, rng: np.random.Generator) -> GaussianMixture:
    """Components from k-means: of more clusters than wanted, after some EM steps, those that overlap are merged.

    k-means with K centres often has two in one component and one between two, which EM does not mend.
    """
    k, d = start.n_components, positions.values.shape[1]
    finer = OVERSEGMENTED * k if k > 1 and rows.n_samples >= OVERSEGMENTED * k * SMALLEST_SEGMENT * (d + 1) else k
    found = clusters(positions, finer, k, rng)
    parts = gaussians(positions, found.labels, found.weights, found.centres)
    if len(parts) > k:
        model = start.model(parts.mixture())
        constraints = Constraints(floor=1e-6 * positions.scale**2)
        model = _steps(model, replace(rows, weights=found.weights), SEGMENT_STEPS, constraints)
        nu = model.background_fraction
        parts = merged(Gaussians.from_mixture(model.mixture, 1 - nu), k, model.background, nu)
    return split(parts, k).mixture()


def _random_rows(positions: Positions, k: int, rng: np.random.Generator) -> GaussianMixture:
    """Means at k different rows, drawn by their weights, with the covariance of all."""
    whole = without_outliers(positions)
    chance = whole.weights if np.count_nonzero(whole.weights) >= k else positions.weights
    rows = rng.choice(len(chance), size=k, replace=False, p=chance / chance.sum())
    means = np.stack([positions.as_centre(int(row)) for row in rows])
    means = np.where(positions.seen[rows], positions.values[rows], means) * positions.scale + positions.centre
    covariance = gaussians(positions, whole.labels, whole.weights, whole.centres).covariances
    return GaussianMixture(np.full(k, 1 / k), means, np.repeat(covariance, k, axis=0))


def _grid(positions: Positions, k: int, rng: np.random.Generator | None) -> GaussianMixture:
    """The cells of a k-d tree."""
    weights = without_outliers(positions).weights
    inside = np.flatnonzero(weights > 0)
    cells = np.full(len(weights), -1)
    cells[inside] = median_cuts(positions.take(inside), weights[inside], k, rng)
    centres = np.zeros((int(cells.max()) + 1, positions.values.shape[1]))
    return split(gaussians(positions, cells, weights, centres), k).mixture()


def _moved(mixture: GaussianMixture, rng: np.random.Generator) -> GaussianMixture:
    """The means moved by half a sigma, more or less."""
    normal = rng.standard_normal(mixture.means.shape)
    moves = np.einsum("kij,kj->ki", covariance_root(mixture.covariances), normal)
    return GaussianMixture(mixture.weights, mixture.means + 0.5 * moves, mixture.covariances)


def spread(sample: Chunk) -> Feature:
    """Typical variance (d,) of each feature of the model over the sample, never zero: the unit of floors.

    From the quartiles, which a single wild value cannot move; where they coincide from percentiles further out, and
    last from the variance.
    """
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature that nobody measured
        percentiles = np.nan_to_num(np.nanpercentile(sample.points, [25, 75, 10, 90, 2, 98, 50], axis=0))
        whole = np.nan_to_num(np.nanvar(sample.points, axis=0))
    variance = np.zeros_like(whole)
    for low, high, sigmas in ((0, 1, 1.349), (2, 3, 2.563), (4, 5, 4.107)):  # of a normal law between them
        variance = np.where(variance > 0, variance, ((percentiles[high] - percentiles[low]) / sigmas) ** 2)
    variance = np.where(variance > 0, variance, whole)
    if sample.projection is not None:  # y = R x: features have the measured spread, up to the length of R's rows
        norm = float(np.mean(np.sum(sample.projection**2, axis=2))) or 1.0
        return np.full(sample.projection.shape[2], float(variance.mean()) / norm or 1.0)
    rounding = (1e-13 * np.abs(percentiles[6])) ** 2  # a constant feature has no spread of its own
    return np.asarray(np.where(variance > rounding, variance, np.where(rounding > 0, rounding, 1e-12)))


def single_gaussian(sample: Chunk) -> GaussianMixture:
    """The single Gaussian that fits a sample, its noise, missing features and projections taken into account."""
    if sample.projection is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a feature that nobody measured
            centre = np.nan_to_num(np.nanmean(sample.points, axis=0))
    else:
        centre = np.zeros(sample.projection.shape[2])
    model = Model(GaussianMixture(np.ones(1), centre[None], np.diag(spread(sample))[None]))
    constraints = Constraints(floor=1e-6 * spread(sample))
    return _steps(model, replace(sample, log_background=None), 100, constraints).mixture


def _from_single_gaussian(single: GaussianMixture, k: int, rng: np.random.Generator) -> GaussianMixture:
    """K components with the covariance of a single Gaussian, and means drawn from it."""
    covariance = single.covariances[0]
    means = rng.multivariate_normal(single.means[0], covariance, size=k) if k > 1 else single.means
    return GaussianMixture(np.full(k, 1 / k), means, np.repeat(covariance[None], k, axis=0))


def _steps(model: Model, rows: Chunk, n_steps: int, constraints: Constraints) -> Model:
    """The model after some EM steps on the rows."""
    leaf = Leaf(0, tuple(blocks(rows)))  # one, whatever the number of rows: many patterns of missing values cost less
    for _ in range(n_steps):
        model = maximize(leaf_moments(model, leaf), model, constraints).model
    return model
