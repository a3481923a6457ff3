"""More Gaussians than wanted are merged, fewer are split.

Clusters that share a component overlap; merging the pair of least distance ends with the components where k-means with
as many centres would put two in one and one in two.
"""

import numpy as np

from dgmmis.background import Background
from dgmmis.linalg import symmetrize
from dgmmis.noise import NoNoise
from dgmmis.starts.gaussians import Gaussians


def merged(parts: Gaussians, k: int, background: Background | None = None, fraction: float = 0.0) -> Gaussians:
    """k of them: again and again the two become one that have the least (A_i + A_j) B_ij.

    B = -log integral sqrt(p_i p_j) is the Bhattacharyya (1943) distance; the mean and the covariance of the pair stay
    what they were. One that is nearer to the background (of weight `fraction`) than any two are becomes part of that;
    there the background is taken to be as dense as at the mean, and B = -log b / 2 - log |8 pi C| / 4.
    """
    if len(parts) <= k:
        return parts
    weights, means, covariances = (np.array(a) for a in (parts.weights, parts.means, parts.covariances))
    logs = np.linalg.slogdet(covariances)[1]

    def costs(one: int, others: np.ndarray) -> np.ndarray:
        offset = means[others] - means[one]
        middle = 0.5 * (covariances[one] + covariances[others])
        length = np.sum(offset * np.linalg.solve(middle, offset[..., None])[..., 0], axis=1)
        wider = np.linalg.slogdet(middle)[1] - 0.5 * (logs[one] + logs[others])
        return np.asarray((weights[one] + weights[others]) * (length / 8 + wider / 2))

    cost = np.full((len(parts), len(parts)), np.inf)  # above the diagonal
    for first in range(len(parts) - 1):
        cost[first, first + 1 :] = costs(first, np.arange(first + 1, len(parts)))

    def given_up(some: np.ndarray) -> np.ndarray:
        if background is None:
            return np.full(len(some), np.inf)
        density = background.log_density(means[some], NoNoise())
        distance = -density / 2 - (means.shape[1] * np.log(8 * np.pi) + logs[some]) / 4
        return np.asarray((weights[some] + fraction) * np.maximum(distance, 0.0))

    behind = given_up(np.arange(len(parts)))
    alive = np.ones(len(parts), dtype=bool)
    for _ in range(len(parts) - k):
        one, other = divmod(int(np.argmin(cost)), len(parts))
        if behind.min() < cost[one, other]:
            gone = int(np.argmin(behind))
            alive[gone], behind[gone] = False, np.inf
            cost[gone], cost[:, gone] = np.inf, np.inf
            continue
        both = weights[one] + weights[other]
        share = weights[other] / both if both > 0 else 0.5
        offset = means[other] - means[one]
        covariances[one] = symmetrize(
            (1 - share) * covariances[one] + share * covariances[other] + share * (1 - share) * offset[:, None] * offset
        )
        means[one] += share * offset
        weights[one], logs[one] = both, np.linalg.slogdet(covariances[one])[1]
        alive[other], behind[other] = False, np.inf
        behind[one] = given_up(np.array([one]))[0]
        cost[other], cost[:, other] = np.inf, np.inf
        rest = np.flatnonzero(alive)
        rest = rest[rest != one]
        new = costs(one, rest)
        after = rest > one
        cost[one, rest[after]], cost[rest[~after], one] = new[after], new[~after]
    return Gaussians(weights[alive], means[alive], covariances[alive])


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
