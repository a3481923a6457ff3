"""More Gaussians than wanted are merged, fewer are split.

Clusters that share a component overlap; merging the pair of least distance ends with the components where k-means with
as many centres would put two in one and one in two.
"""

from functools import partial

import numpy as np

from dgmmis import merging
from dgmmis.background import Background
from dgmmis.linalg import symmetrize
from dgmmis.merging import Parts
from dgmmis.noise import NoNoise
from dgmmis.starts.gaussians import Gaussians
from dgmmis.types import Vector


def merged(parts: Gaussians, k: int, background: Background | None = None, fraction: float = 0.0) -> Gaussians:
    """k of them: again and again the two become one that have the least (A_i + A_j) B_ij.

    B = -log integral sqrt(p_i p_j) is the Bhattacharyya (1943) distance; the mean and the covariance of the pair stay
    what they were. One that is nearer to the background (of weight `fraction`) than any two are becomes part of that;
    there the background is taken to be as dense as at the mean, and B = -log b / 2 - log |8 pi C| / 4.
    """
    if len(parts) <= k:
        return parts
    given_up = None if background is None else partial(_given_up, background, fraction)
    left = merging.merged(Parts.of(parts.weights, parts.means, parts.covariances), k, _apart, given_up).parts
    return Gaussians(left.weights, left.means, left.covariances)


def _apart(parts: Parts, one: int, others: np.ndarray) -> Vector:
    offset = parts.means[others] - parts.means[one]
    middle = 0.5 * (parts.covariances[one] + parts.covariances[others])
    length = np.sum(offset * np.linalg.solve(middle, offset[..., None])[..., 0], axis=1)
    wider = np.linalg.slogdet(middle)[1] - 0.5 * (parts.logs[one] + parts.logs[others])
    return np.asarray((parts.weights[one] + parts.weights[others]) * (length / 8 + wider / 2))


def _given_up(background: Background, fraction: float, parts: Parts, some: np.ndarray) -> Vector:
    means = parts.means[some]
    density = background.log_density(means, NoNoise())
    distance = -density / 2 - (means.shape[1] * np.log(8 * np.pi) + parts.logs[some]) / 4
    return np.asarray((parts.weights[some] + fraction) * np.maximum(distance, 0.0))


def split(parts: Gaussians, k: int) -> Gaussians:
    """k of them: again and again the heaviest becomes two halves, half a sigma to either side along its longest axis.

    The mean and the covariance of both together stay what they were.

    So data with fewer distinct rows than components have a start whose components can part.
    """
    weights, means, covariances = list(parts.weights), list(parts.means), list(parts.covariances)
    while len(weights) < k:
        c = int(np.argmax(weights))
        scale = np.sqrt(np.diagonal(covariances[c]))
        values, vectors = np.linalg.eigh(covariances[c] / (scale[:, None] * scale))
        aside = 0.5 * np.sqrt(values[-1]) * vectors[:, -1] * scale
        weights[c] /= 2
        weights.append(weights[c])
        means.append(means[c] + aside)
        means[c] = means[c] - aside
        covariances[c] = symmetrize(covariances[c] - aside[:, None] * aside)  # three quarters of it along the axis
        covariances.append(covariances[c])
    return Gaussians(np.array(weights), np.array(means), np.array(covariances))
