"""The probability of a region under a model: in closed form within linear bounds, else by points."""

import numpy as np
from numpy.typing import ArrayLike

from dgmmis.background import Background, FixedMixture, Uniform
from dgmmis.errors import RefusedError, ShapeError
from dgmmis.estimate import N_POINTS, Estimate, background_expectation, expectation, require_density
from dgmmis.linalg import symmetrize
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.noise import SharedNoise, check_noise
from dgmmis.reals import reals
from dgmmis.selection import Injections, LinearBounds, Selection, as_selection, linear_bounds
from dgmmis.truncation import rectangle
from dgmmis.types import Matrix


def probability_in(
    model: Model | GaussianMixture,
    region: Selection,
    noise_covariance: ArrayLike | None = None,
    *,
    n_points: int = N_POINTS,
    seed: int = 0,
) -> Estimate:
    """integral Omega(y) p(y) dy: the share of the population in a region, or the mean of a graded selection.

    Boxes, half spaces and their products have a closed form, exact for bounds on up to three combinations of the
    features; for more, for other regions, and for a background that the bounds cut obliquely, it is a mean over points.

    Args:
        model: p, background included.
        region: any Selection, or function of points (n, d) -> probabilities (n,).
        noise_covariance: S (d, d) with which y = x + e is measured; None: y = x.
        n_points: where points are needed, about so many.
        seed: of them.

    Raises:
        RefusedError: injections, which are no region; a cutoff.
        ShapeError: a region of other features, noise of another shape.
        DataError: noise that no measurement can have.
    """
    of = as_model(model)
    require_density(of)
    selection, d = as_selection(region), of.mixture.n_features
    if isinstance(selection, Injections):
        raise RefusedError("injections are no region: they do not say Omega at a point", do="give a selection")
    noise = None if noise_covariance is None else _noise(noise_covariance, d)
    bounds = linear_bounds(selection, d)
    if bounds is None or not _are_independent(bounds.rows):
        return expectation(of, selection, noise_covariance=noise, n_points=n_points, seed=seed)
    signal, nu = _within(of.mixture, bounds, noise), of.background_fraction
    if of.background is None or nu == 0:
        return signal
    behind = _background_within(of.background, bounds, noise)
    if behind is None:
        behind = background_expectation(of.background, selection, noise=noise, n_points=n_points, seed=seed)
    return Estimate((1 - nu) * signal.value + nu * behind.value, (1 - nu) * signal.error + nu * behind.error)


def _are_independent(rows: np.ndarray) -> bool:
    """Whether the combinations have a covariance with an inverse."""
    if len(rows) == 0:
        return True
    return bool(np.linalg.matrix_rank(rows / np.linalg.norm(rows, axis=1, keepdims=True)) == len(rows))


def _within(mixture: GaussianMixture, bounds: LinearBounds, noise: Matrix | None) -> Estimate:
    if len(bounds.rows) == 0:
        return Estimate(1.0, 0.0)
    covariances = mixture.covariances if noise is None else mixture.covariances + noise
    rows = bounds.rows
    inside = rectangle(mixture.means @ rows.T, symmetrize(rows @ covariances @ rows.T), bounds.lower, bounds.upper)
    # components share their points, where there are any: their errors add
    return Estimate(float(mixture.weights @ inside.probability), float(mixture.weights @ inside.error))


def _background_within(background: Background, bounds: LinearBounds, noise: Matrix | None) -> Estimate | None:
    """None: there is no closed form."""
    if isinstance(background, FixedMixture):
        return _within(background.mixture, bounds, noise)
    if not isinstance(background, Uniform) or noise is not None or np.any(np.count_nonzero(bounds.rows, axis=1) > 1):
        return None
    share = 1.0
    for row, low, high in zip(bounds.rows, bounds.lower, bounds.upper, strict=True):
        (f,) = np.flatnonzero(row)
        a, b = sorted((low / row[f], high / row[f]))
        left = min(b, background.upper[f]) - max(a, background.lower[f])
        share *= max(0.0, float(left)) / float(background.upper[f] - background.lower[f])
    return Estimate(share, 0.0)


def _noise(noise_covariance: ArrayLike, d: int) -> Matrix:
    noise = reals(noise_covariance, "noise_covariance")
    if noise.shape != (d, d):
        raise ShapeError("noise of a region: one covariance", expected=(d, d), got=noise.shape)
    check_noise(SharedNoise(noise), np.zeros((1, d)))
    return noise
