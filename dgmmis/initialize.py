"""First models, from a sample of the rows: k-means++ (aware of noise and missing features) or random rows.

Measurements through projections have no positions to cluster: their start is the single Gaussian that fits them, with
means drawn from it.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.background import Background
from dgmmis.chunk import Chunk
from dgmmis.errors import DataError, JobError, ShapeError, nearest_name
from dgmmis.estep import leaf_moments
from dgmmis.linalg import symmetrize
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.prior import Constraints
from dgmmis.types import Feature, Matrix, Means, Points

START_METHODS = ("kmeans", "random")
NARROWEST = 0.1
"""A start's deconvolved covariance keeps at least this fraction of the observed variance along every direction."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The first model, or how to find it.

    Args:
        n_components: K.
        method: "kmeans", "random", or a GaussianMixture with K components.
        background: the background, or None.
        background_fraction: the first guess of its share.
    """

    n_components: int
    method: str | GaussianMixture = "kmeans"
    background: Background | None = None
    background_fraction: float = 0.1

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
        if self.background is not None and not hasattr(self.background, "log_density"):
            raise DataError(
                "background must be a density that knows its noise",
                expected="Uniform, FixedMixture, FixedDensity, or a Background of your own",
                got=type(self.background).__name__,
                do="for a function, FixedDensity(function, lower, upper)",
            )
        if self.n_components < 1:
            raise JobError("n_components must be at least 1", got=self.n_components)

    def model(self, mixture: GaussianMixture) -> Model:
        return Model(mixture, self.background, self.background_fraction if self.background is not None else 0.0)


def first_model(start: Start, sample: Chunk, seed: int) -> Model:
    """The model to start from.

    Args:
        start: what is wanted.
        sample: some thousands of rows, drawn evenly from the data.
        seed: of the fit.

    Raises:
        DataError: fewer rows with a measured feature than components.
    """
    if isinstance(start.method, GaussianMixture):
        return start.model(start.method)
    rng = generator(seed, Purpose.START)
    k = start.n_components
    if sample.projection is not None:
        return start.model(_from_single_gaussian(sample, k, rng))
    usable = sample.points[np.any(~np.isnan(sample.points), axis=1)]
    if len(usable) < k:
        raise DataError(
            "fewer objects than components", expected=f"at least {k}", got=len(usable), do="lower n_components"
        )
    filled, mean, scale = _filled(sample.points)
    labels, centres = _cluster(start.method, (filled - mean) / scale, k, rng)
    noise = _mean_noise(sample)
    weights = np.maximum(np.bincount(labels, minlength=k), 1.0)
    covariances = np.stack(
        [_deconvolved(filled[labels == c] if start.method == "kmeans" else filled, noise, scale) for c in range(k)]
    )
    return start.model(GaussianMixture(weights / weights.sum(), centres * scale + mean, covariances))


def spread(sample: Chunk) -> Feature:
    """Typical variance (d,) of each feature of the model over the sample, never zero: the unit of floors.

    From the quartiles, which a single wild value cannot move; from the variance where they coincide.
    """
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature that nobody measured
        quartiles = np.nan_to_num(np.nanpercentile(sample.points, [25, 50, 75], axis=0))
        variance = np.nan_to_num(np.nanvar(sample.points, axis=0))
    robust = ((quartiles[2] - quartiles[0]) / 1.349) ** 2
    variance = np.where(robust > 0, robust, variance)
    if sample.projection is not None:  # y = R x: features have the measured spread, up to the length of R's rows
        norm = float(np.mean(np.sum(sample.projection**2, axis=2))) or 1.0
        return np.full(sample.projection.shape[2], float(variance.mean()) / norm or 1.0)
    rounding = (1e-8 * np.abs(quartiles[1])) ** 2  # a constant feature has no spread of its own
    return np.asarray(np.where(variance > rounding, variance, np.maximum(rounding, 1e-12)))


def _filled(points: Points) -> tuple[Points, Feature, Feature]:
    """Points with missing features at their mean (for the start only), the means, and the standard deviations."""
    seen = ~np.isnan(points)
    counts = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, points, 0.0).sum(axis=0) / counts
    filled = np.where(seen, points, mean)
    scale = np.sqrt((np.where(seen, points - mean, 0.0) ** 2).sum(axis=0) / counts)
    scale[scale == 0] = 1.0
    return filled, mean, scale


def _cluster(method: str, points: Points, k: int, rng: np.random.Generator) -> tuple[np.ndarray, Means]:
    if method == "random":
        centres = points[rng.choice(len(points), size=k, replace=False)]
        return rng.permutation(np.arange(len(points)) % k), centres
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        fitted = KMeans(k, n_init=3, random_state=int(rng.integers(2**31))).fit(points)
    return fitted.labels_, fitted.cluster_centers_


def _mean_noise(sample: Chunk) -> np.ndarray:
    """Mean noise variance (d,) of the sample."""
    variances = np.broadcast_to(sample.noise.variances(sample.points.shape[1]), sample.points.shape)
    seen = ~np.isnan(sample.points)
    return np.asarray(np.where(seen, variances, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1))


def _deconvolved(points: Points, noise: np.ndarray, scale: Feature) -> Matrix:
    """The scatter of points less their mean noise, kept positive along every direction."""
    d = points.shape[1]
    unit = scale[:, None] * scale
    scatter = np.cov(points.T, bias=True).reshape(d, d) / unit if len(points) > 1 else np.zeros((d, d))
    scatter = scatter + 1e-6 * np.eye(d) + (NARROWEST * np.eye(d) if len(points) <= d else 0.0)
    values, vectors = np.linalg.eigh(symmetrize(scatter))
    along = np.einsum("id,i,id->d", vectors, noise / scale**2, vectors)
    values = np.maximum(values - along, NARROWEST * values)
    return np.asarray(symmetrize((vectors * values) @ vectors.T) * unit)


def _from_single_gaussian(sample: Chunk, k: int, rng: np.random.Generator) -> GaussianMixture:
    """K components with the covariance of the single Gaussian that fits projected data, and means drawn from it."""
    assert sample.projection is not None
    d = sample.projection.shape[2]
    model = Model(GaussianMixture(np.ones(1), np.zeros((1, d)), np.diag(spread(sample))[None]))
    leaves = list(replace(sample, log_background=None).leaves())
    for _ in range(100):
        total = Moments.zero(1, d)
        for leaf in leaves:
            total = total + leaf_moments(model, leaf)
        model = maximize(total, model, Constraints(floor=1e-6 * spread(sample))).model
    covariance = model.mixture.covariances[0]
    means = rng.multivariate_normal(model.mixture.means[0], covariance, size=k) if k > 1 else model.mixture.means
    return GaussianMixture(np.full(k, 1 / k), means, np.repeat(covariance[None], k, axis=0))
