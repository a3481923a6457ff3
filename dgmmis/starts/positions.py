"""Positions: a sample's rows as a start sees them, in units of each feature's robust spread."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from dgmmis.chunk import Chunk
from dgmmis.linalg import packed_indices, symmetrize, unpack
from dgmmis.noise import Noise
from dgmmis.types import Feature, Matrix, Points, Vector

LINEAR = 5.0
"""Beyond so many spreads distances grow by their logarithm only: what is far stays apart, and cannot rule."""
LEAST_SIGNAL = 0.1
"""At least this part of a feature's spread is taken for signal, however large its noise."""
DONORS = 10
"""Rows whose mean stands in for a missing feature of a row that becomes a centre."""


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Rows in units of each feature's robust spread (n, d), zero where missing.

    Args:
        values: (y - centre) / scale.
        near: the same, compressed beyond 5 spreads: what distances are measured on.
        seen: what was measured.
        share: of the signal in each value, tau / (tau + S / scale^2) with tau the variance of a typical component;
            zero where missing. Distances and means count each value so much.
        weights: of the rows (n,).
        noise: of the rows, in the units of the data.
        centre, scale: (d,).
    """

    values: Points
    near: Points
    seen: Bool[np.ndarray, "n d"]
    share: Points
    weights: Vector
    noise: Noise
    centre: Feature
    scale: Feature

    @classmethod
    def of(cls, sample: Chunk, weights: Vector, k: int, spread: Feature) -> "Positions":
        """Of a sample's rows, for k components; `spread` is the typical variance (d,) of each feature."""
        points = np.asarray(sample.points, dtype=float)
        seen = ~np.isnan(points)
        variances = np.where(seen, np.broadcast_to(sample.noise.variances(points.shape[1]), points.shape), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a feature that nobody measured
            centre = np.nan_to_num(np.nanmedian(points, axis=0))
            typical = np.nan_to_num(np.nanmedian(variances, axis=0))
        scale = np.sqrt(np.maximum(spread - typical, LEAST_SIGNAL * spread))
        values = np.where(seen, (points - centre) / scale, 0.0)
        size = np.maximum(np.abs(values), LINEAR)
        near = np.where(size > LINEAR, np.sign(values) * LINEAR * (1 + np.log(size / LINEAR)), values)
        tau = k ** (-2 / points.shape[1])
        share = np.where(seen, tau / (tau + np.where(seen, variances, 0.0) / scale**2), 0.0)
        return cls(values, near, seen, share, weights, sample.noise, centre, scale)

    def take(self, rows: np.ndarray) -> "Positions":
        """Some of the rows."""
        return replace(
            self,
            values=self.values[rows],
            near=self.near[rows],
            seen=self.seen[rows],
            share=self.share[rows],
            weights=self.weights[rows],
            noise=self.noise.take(rows),
        )

    def distances(self, centres: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "n k"]:
        """Squared distances over the features that are there, each value counted by its share of signal."""
        counted = self.share * self.near
        out = self.share @ (centres**2).T
        out -= 2 * (counted @ centres.T)
        out += np.sum(counted * self.near, axis=1)[:, None]
        return np.asarray(np.maximum(out, 0.0, out=out))

    def as_centre(self, row: int) -> Feature:
        """The row as a centre (d,): what it lacks is the mean of its nearest neighbours that have it."""
        seen = self.seen[row]
        centre = np.array(self.near[row])
        if seen.all():
            return centre
        share = self.share[:, seen]
        common = share.sum(axis=1)
        apart = np.sum(share * (self.near[:, seen] - centre[seen]) ** 2, axis=1)
        apart = np.where(common > 0, apart / np.where(common > 0, common, 1.0), np.inf)
        for feature in np.flatnonzero(~seen):
            able = np.flatnonzero(self.seen[:, feature] & np.isfinite(apart))
            if len(able) == 0:
                continue  # nobody has both: the middle, which is zero
            few = min(DONORS, len(able))
            nearest = able[np.argpartition(apart[able], few - 1)[:few]]
            counts = self.share[nearest, feature]
            centre[feature] = np.sum(counts * self.near[nearest, feature]) / counts.sum()
        return centre

    def scatter(self, rows: np.ndarray, weights: np.ndarray, mean: Feature) -> tuple[Matrix, Matrix]:
        """Scatter (d, d) of some rows about a mean, and the mean noise in it, over the rows that have both features.

        Both are sums with the same factors, so that their difference is that of the true values without bias.
        """
        seen = self.seen[rows]
        factors = np.sqrt(weights)[:, None] * self.share[rows]
        offset = np.where(seen, self.values[rows] - mean, 0.0) * factors
        counts = factors.T @ factors
        there = counts > 0
        counts = np.where(there, counts, 1.0)
        i, j = packed_indices(len(mean))
        noise = np.asarray(self.noise.take(rows).packed(range(len(mean))), dtype=float).T / (
            self.scale[i] * self.scale[j]
        )
        pairs = factors[:, i] * factors[:, j]
        summed = np.where(pairs > 0, noise, 0.0) * pairs
        return symmetrize(offset.T @ offset / counts), unpack(summed.sum(axis=0)) / counts
