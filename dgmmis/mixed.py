"""Mixed: objects, each with a mixture of Gaussians of its own, or of points: their moments, and draws."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dgmmis.linalg import covariance_root
from dgmmis.types import Covariances, Points


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """p_n = sum_k s_nk N(m_nk, V_nk).

    Args:
        shares: s_nk (b, k), summing to one.
        means: m_nk (b, k, d).
        covariances: V_nk (b, k, d, d), or (1, k, d, d) where they do not depend on the object; None: points.
    """

    shares: Float[np.ndarray, "b k"]
    means: Float[np.ndarray, "b k d"]
    covariances: Float[np.ndarray, "r k d d"] | None

    def moments(self) -> tuple[Points, Covariances]:
        """Means (b, d) and covariances (b, d, d): those within components, and of their means."""
        mean = np.einsum("bk,bkd->bd", self.shares, self.means)
        apart = self.means - mean[:, None]
        spread = np.swapaxes(self.shares[..., None] * apart, 1, 2) @ apart
        if self.covariances is not None:
            k, d = self.means.shape[1:]
            if len(self.covariances) == 1:
                spread += (self.shares @ self.covariances[0].reshape(k, d * d)).reshape(-1, d, d)
            else:
                spread += np.einsum("bk,bkde->bde", self.shares, self.covariances)
        return mean, spread

    def draw(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "b n d"]:
        """n draws of each."""
        b, k = self.shares.shape
        each = np.arange(b)[:, None]
        # one search for all: those of object n lie between n and n + 1
        edges = (each + np.cumsum(self.shares, axis=1)).ravel()
        which = np.searchsorted(edges, each + rng.random((b, n)), side="right") - k * each
        which = np.clip(which, 0, k - 1)
        drawn = self.means[each, which]
        if self.covariances is not None:
            roots = covariance_root(self.covariances)[each if len(self.covariances) > 1 else 0, which]
            drawn = drawn + np.einsum("bnde,bne->bnd", roots, rng.standard_normal(drawn.shape))
        return np.asarray(drawn)


@dataclass(frozen=True, slots=True, eq=False)
class Pointed:
    """p_n = sum_j s_nj p(x | z_nj), an average over points of which each has a mixture.

    Args:
        first: number of the first point of each object (b,).
        shares: of the points (p,), to a sum of one for each object, but for a factor.
        given: numbers of some points -> what is known of x there.
        step: how many points to ask of at a time.
    """

    first: Int[np.ndarray, " b"]
    shares: Float[np.ndarray, " p"]
    given: Callable[[np.ndarray], Mixed]
    step: int

    def moments(self) -> tuple[Points, Covariances]:
        """Means (b, d) and covariances (b, d, d)."""
        n, p = len(self.first), len(self.shares)
        owner = np.repeat(np.arange(n), np.diff(np.append(self.first, p)))
        sums = np.add.reduceat(self.shares, self.first)
        shares = self.shares / np.where(sums > 0, sums, 1.0)[owner]
        means, within = [], None
        for start in range(0, p, self.step):
            points = np.arange(start, min(start + self.step, p))
            mean, spread = self.given(points).moments()
            means.append(mean)
            within = np.zeros((n, *spread.shape[1:])) if within is None else within
            np.add.at(within, owner[points], shares[points, None, None] * spread)
        assert within is not None
        of_points = np.concatenate(means)
        mean = np.add.reduceat(shares[:, None] * of_points, self.first, axis=0)
        for start in range(0, p, self.step):
            some = slice(start, start + self.step)
            apart = of_points[some] - mean[owner[some]]
            np.add.at(within, owner[some], (shares[some, None] * apart)[:, :, None] * apart[:, None, :])
        return mean, within

    def draw(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "b n d"]:
        """n draws of each: a point by its share, then from what is known there."""
        edges = np.append(0.0, np.cumsum(self.shares))
        start, stop = edges[self.first], edges[np.append(self.first[1:], len(self.shares))]
        level = start[:, None] + rng.random((len(start), n)) * (stop - start)[:, None]
        last = np.append(self.first[1:], len(self.shares)) - 1
        chosen = np.clip(np.searchsorted(edges, level, side="right") - 1, self.first[:, None], last[:, None]).ravel()
        parts = [self.given(chosen[at : at + self.step]).draw(1, rng) for at in range(0, len(chosen), self.step)]
        return np.concatenate(parts).reshape(*level.shape, -1)
