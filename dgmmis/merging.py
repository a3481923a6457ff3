"""Merging Gaussians two by two: again and again the pair becomes one that costs least, with the moments of both."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dgmmis.linalg import symmetrize
from dgmmis.types import Covariances, Feature, Indices, Matrix, Means, Vector, Weights


@dataclass(slots=True, eq=False)
class Parts:
    """Gaussians that are being merged: weights (p,), means (p, d), covariances (p, d, d) and their log-determinants."""

    weights: Weights
    means: Means
    covariances: Covariances
    logs: Weights

    @classmethod
    def of(cls, weights: Weights, means: Means, covariances: Covariances) -> "Parts":
        """Copies, to be changed."""
        return cls(np.array(weights), np.array(means), np.array(covariances), np.linalg.slogdet(covariances)[1])


Costs = Callable[[Parts, int, np.ndarray], Vector]
"""(parts, one, others) -> what it costs (n,) to merge one with each of the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """What became of some parts.

    Args:
        parts: those that are left (k,).
        owner: number of the part that each has become (p,); -1: it was given up.
        cost: of all merges together.
    """

    parts: Parts
    owner: Indices
    cost: float


def joined(weights: Weights, means: Means, covariances: Covariances) -> tuple[float, Feature, Matrix]:
    """Two Gaussians as one, with the mean and the covariance of both together."""
    both = weights[0] + weights[1]
    share = weights[1] / both if both > 0 else 0.5
    offset = means[1] - means[0]
    covariance = symmetrize(
        (1 - share) * covariances[0] + share * covariances[1] + share * (1 - share) * offset[:, None] * offset
    )
    return float(both), means[0] + share * offset, covariance


def merged(parts: Parts, k: int, costs: Costs, given_up: Callable[[Parts, np.ndarray], Vector] | None = None) -> Merged:
    """At most k of the parts, changed in place.

    Args:
        parts: p of them.
        k: how many to leave.
        costs: of merging.
        given_up: what it costs (n,) to give up each of some parts instead; None: none are.
    """
    p = len(parts.weights)
    owner, alive, total = np.arange(p), np.ones(p, dtype=bool), 0.0
    cost = np.full((p, p), np.inf)  # above the diagonal
    if p > k:
        for first in range(p - 1):
            cost[first, first + 1 :] = costs(parts, first, np.arange(first + 1, p))
    behind = np.full(p, np.inf) if given_up is None or p <= k else given_up(parts, np.arange(p))
    for _ in range(p - k):
        one, other = divmod(int(np.argmin(cost)), p)
        if behind.min() < cost[one, other]:
            gone = int(np.argmin(behind))
            total += float(behind[gone])
            alive[gone], behind[gone] = False, np.inf
            owner[owner == gone] = -1
            cost[gone], cost[:, gone] = np.inf, np.inf
            continue
        total += float(cost[one, other])
        pair = [one, other]
        parts.weights[one], parts.means[one], parts.covariances[one] = joined(
            parts.weights[pair], parts.means[pair], parts.covariances[pair]
        )
        parts.logs[one] = np.linalg.slogdet(parts.covariances[one])[1]
        alive[other], behind[other] = False, np.inf
        owner[owner == other] = one
        if given_up is not None:
            behind[one] = given_up(parts, np.array([one]))[0]
        cost[other], cost[:, other] = np.inf, np.inf
        rest = np.flatnonzero(alive)
        rest = rest[rest != one]
        new = costs(parts, one, rest)
        after = rest > one
        cost[one, rest[after]], cost[rest[~after], one] = new[after], new[~after]
    number = np.append(np.cumsum(alive) - 1, -1)
    left = Parts(parts.weights[alive], parts.means[alive], parts.covariances[alive], parts.logs[alive])
    return Merged(left, number[owner], total)
