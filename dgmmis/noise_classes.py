"""Noise classes: objects that were measured nearly alike, so that one integral over what the survey sees serves them.

Where the likelihood is conditional on each object's own noise S_n (or projection R_n, or pattern of missing values),
its normaliser Z_n = integral Omega(y) p(y | S_n, R_n) dy differs by object. Objects are grouped by a tree of median
cuts in their noise; a class stands for its objects by its mean S and R, so that the error of the sum of log Z_n is of
second order in the width of the class, and shrinks as the tree grows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk
from dgmmis.linalg import pack, packed_indices, packed_size, symmetrize, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import DiagonalNoise, FullNoise, Noise, NoNoise, SharedNoise
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.types import Matrix

MOST_DEPTH = 10
"""Cuts one below the other, at most."""

Key = tuple[tuple[bool, ...], int]
"""Which values were measured, and the cell of the tree."""


@dataclass(frozen=True, slots=True, eq=False)
class NoiseClass:
    """Objects measured alike.

    Args:
        share: of the observed objects, by weight.
        width: m, the number of measured values.
        measured: which of them are there: all, unless the selection acts on those that are.
        noise: of the m values; none where the unseen are placed at their true positions.
        projection: R (m, d); None: the features themselves.
        cell: of the partition's tree.
    """

    share: float
    width: int
    measured: np.ndarray
    noise: Noise
    projection: Float[np.ndarray, "m d"] | None = None
    cell: int = 0

    def measures(self, mixture: GaussianMixture) -> GaussianMixture:
        """What the class measures of a mixture: N(R mu_k, R C_k R' + S) over the values that are there."""
        means, covariances = mixture.means, mixture.covariances
        if self.projection is not None:
            means = means @ self.projection.T
            covariances = symmetrize(self.projection @ covariances @ self.projection.T)
        covariances = covariances + unpack(self.noise.packed(range(self.width)).T)[0]
        there = self.measured
        return GaussianMixture(mixture.weights, means[:, there], covariances[:, there[:, None], there])


@dataclass(frozen=True, slots=True, eq=False)
class ClassSums:
    """Sums over the objects of a class: weights, packed noise covariances, projections. They add."""

    weight: float
    covariance: np.ndarray
    projection: np.ndarray

    def __add__(self, other: "ClassSums") -> "ClassSums":
        return ClassSums(
            self.weight + other.weight, self.covariance + other.covariance, self.projection + other.projection
        )


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """The rule that puts objects into classes.

    Args:
        by_pattern: whether objects with other values missing are in other classes.
        fill: noise covariance (m, m) that stands in for values which were not measured.
        scale: typical variances (m,) of measured values: the unit in which noise matters.
        length: typical entry of the projections: their unit, the same for every chunk.
        coordinates, thresholds: of the tree's cuts, breadth first: (2^depth - 1,) each; a value above goes right.
    """

    by_pattern: bool
    fill: Matrix
    scale: np.ndarray
    length: float
    coordinates: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def of(cls, sample: Chunk, survey: Survey, fill: Matrix, depth: int) -> "Partition":
        """Up to 2^depth cells that hold equally many of a sample's objects, cut where they differ most."""
        never = np.all(np.isnan(sample.points), axis=0)
        scale = np.nanvar(np.where(never, 0.0, sample.points), axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        length = 1.0 if sample.projection is None else float(np.sqrt(np.mean(sample.projection**2))) or 1.0
        injected = isinstance(survey.selection, Injections)  # one Z for all: they were found as objects were
        rule = cls(
            survey.selection_on == "available" and not injected,
            fill,
            scale,
            length,
            np.zeros(0, dtype=int),
            np.zeros(0),
        )
        if injected or survey.selection_on == "true" or not _differs(sample, survey):
            return rule
        values = rule._values(sample)
        coordinates, thresholds = np.zeros(2**depth - 1, dtype=int), np.full(2**depth - 1, np.inf)
        cell = np.zeros(len(values), dtype=int)
        for level in range(depth):
            first = 2**level - 1
            for node in range(2**level):
                inside = values[cell == node]
                if len(inside) > 1:
                    widest = int(np.argmax(inside.std(axis=0)))
                    along = inside[:, widest]
                    if np.ptp(along) > 0:
                        # where more than half share the largest value, they are cut off from the others
                        below = along[along < along.max()].max()
                        coordinates[first + node] = widest
                        thresholds[first + node] = min(np.median(along), below)
            right = values[np.arange(len(values)), coordinates[first + cell]] > thresholds[first + cell]
            cell = 2 * cell + right
        return cls(rule.by_pattern, fill, scale, length, coordinates, thresholds)

    @property
    def is_trivial(self) -> bool:
        """Whether all objects are in one class."""
        return not self.by_pattern and len(self.thresholds) == 0

    @property
    def depth(self) -> int:
        """Cuts one below the other."""
        return len(self.thresholds).bit_length()

    @property
    def is_exact(self) -> bool:
        """Whether the objects of a class do not differ at all."""
        return len(self.thresholds) == 0

    def cells(self, chunk: Chunk) -> np.ndarray:
        """The cell (n,) of each row."""
        cell = np.zeros(chunk.n_samples, dtype=int)
        if len(self.thresholds) == 0:
            return cell
        values = self._values(chunk)
        rows, first = np.arange(len(values)), 0
        while first < len(self.thresholds):
            right = values[rows, self.coordinates[first + cell]] > self.thresholds[first + cell]
            cell, first = 2 * cell + right, 2 * first + 1
        return cell

    def keys(self, chunk: Chunk) -> list[Key]:
        """The class of each row."""
        seen = ~np.isnan(chunk.points) | (not self.by_pattern)
        patterns, which = np.unique(seen, axis=0, return_inverse=True)
        names = [tuple(map(bool, pattern)) for pattern in patterns]
        return [(names[p], c) for p, c in zip(which.ravel().tolist(), self.cells(chunk).tolist(), strict=True)]

    def numbers(self, chunk: Chunk, classes: Sequence[NoiseClass]) -> np.ndarray:
        """Which of the classes (n,) each row is in; -1: none of them, for nothing was measured."""
        number = {}
        for c, of in enumerate(classes):
            pattern = np.zeros(of.width, dtype=bool)
            pattern[of.measured] = True
            number[tuple(map(bool, pattern)), of.cell] = c
        if self.is_trivial:
            return np.zeros(chunk.n_samples, dtype=int)
        return np.array([number.get(key, -1) for key in self.keys(chunk)], dtype=int)

    def sums(self, chunk: Chunk) -> dict[Key, ClassSums]:
        """The sums of each class over a chunk."""
        keys = self.keys(chunk)
        names = sorted(set(keys))
        number = {name: i for i, name in enumerate(names)}
        labels = np.array([number[key] for key in keys])
        weights = chunk.w_n
        m = chunk.points.shape[1]
        noise = filled_noise(chunk, self.fill).packed(range(m))
        covariances = np.broadcast_to(noise, (packed_size(m), chunk.n_samples))
        projections = np.zeros((chunk.n_samples, 0)) if chunk.projection is None else chunk.projection
        sums = {}
        for name, i in number.items():
            rows = labels == i
            w = weights[rows]
            sums[name] = ClassSums(
                float(w.sum()), covariances[:, rows] @ w, np.tensordot(w, np.asarray(projections[rows], dtype=float), 1)
            )
        return sums

    def _values(self, chunk: Chunk) -> np.ndarray:
        """What distinguishes the rows (n, c): log(1 + S_ii / v_i), correlations within C + S, and R."""
        m = chunk.points.shape[1]
        noise = filled_noise(chunk, self.fill)
        packed = noise.packed(range(m)).T
        i, j = packed_indices(m)
        variance = packed[:, i == j]
        total = np.sqrt(self.scale + variance)
        values = [np.log1p(variance / self.scale), (packed / (total[:, i] * total[:, j]))[:, i != j]]
        parts = [np.broadcast_to(part, (chunk.n_samples, part.shape[1])) for part in values]
        if chunk.projection is not None:
            parts.append(chunk.projection.reshape(chunk.n_samples, -1) / self.length)
        return np.concatenate(parts, axis=1)


def _differs(sample: Chunk, survey: Survey) -> bool:
    """Whether the integral differs by object: own noise that differs, or projections."""
    return sample.projection is not None or (isinstance(survey.noise_law, OwnNoise) and not sample.noise.is_shared)


def joined(parts: Iterable[Mapping[Key, ClassSums]]) -> dict[Key, ClassSums]:
    """The sums over several chunks, in their order."""
    total: dict[Key, ClassSums] = {}
    for part in parts:
        for key, sums in part.items():
            total[key] = total[key] + sums if key in total else sums
    return total


def single_class(survey: Survey, sample: Chunk) -> tuple[NoiseClass, ...]:
    """The one class of a survey in which the integral is the same for every object."""
    m = sample.points.shape[1]
    if survey.selection_on == "true" and sample.projection is not None:
        m = sample.projection.shape[2]
    return (NoiseClass(1.0, m, np.arange(m), _noise_of(survey, sample.noise)),)


def classes_of(sums: Mapping[Key, ClassSums], survey: Survey) -> tuple[NoiseClass, ...]:
    """The classes with objects, each with the mean noise and projection of its own."""
    total = sum(s.weight for s in sums.values())
    classes = []
    for (pattern, cell), s in sorted(sums.items(), key=lambda item: item[0]):
        if s.weight > 0 and any(pattern):
            noise = _noise_of(survey, SharedNoise(unpack(s.covariance / s.weight)))
            projection = s.projection / s.weight if s.projection.ndim == 2 else None
            classes.append(NoiseClass(s.weight / total, len(pattern), np.flatnonzero(pattern), noise, projection, cell))
    return tuple(classes)


def _noise_of(survey: Survey, own: Noise) -> Noise:
    """The noise in which a class's integral is done: none where true positions are imputed."""
    if survey.imputes_positions:
        return NoNoise()
    law = survey.noise_law
    noise = SharedNoise(law.covariance) if isinstance(law, ConstantNoise) else own
    return noise if isinstance(noise, SharedNoise) and np.any(noise.covariance) else NoNoise()


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSums:
    """The noise of rows whose values were measured, summed.

    Args:
        packed: sums of the covariances' lower triangles (t,).
        counts: of the rows that have both values (t,).
    """

    packed: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, chunk: Chunk) -> "NoiseSums":
        m = chunk.points.shape[1]
        i, j = packed_indices(m)
        seen = ~np.isnan(chunk.points)
        both = seen[:, i] & seen[:, j]
        packed = np.broadcast_to(chunk.noise.packed(range(m)).T, both.shape)
        return cls(np.where(both, packed, 0.0).sum(axis=0), both.sum(axis=0))

    def __add__(self, other: "NoiseSums") -> "NoiseSums":
        return NoiseSums(self.packed + other.packed, self.counts + other.counts)

    @property
    def mean(self) -> Matrix:
        matrix = unpack(self.packed / np.maximum(self.counts, 1))
        values = np.linalg.eigvalsh(matrix)
        # entries averaged over other objects each need not make a covariance together
        return matrix if values[0] > 1e-9 * max(values[-1], 0.0) else np.diag(np.diagonal(matrix))


def mean_noise(sample: Chunk) -> Matrix:
    """Mean noise covariance (m, m) of the objects whose values were measured: what stands in where they were not."""
    return NoiseSums.of(sample).mean


def filled_noise(chunk: Chunk, fill: Matrix) -> Noise:
    """A chunk's noise, with `fill` for values that were not measured, uncorrelated with those that were."""
    noise, seen = chunk.noise, ~np.isnan(chunk.points)
    if noise.is_shared or seen.all():
        return noise
    if isinstance(noise, DiagonalNoise):
        return DiagonalNoise(np.where(seen, noise.values, np.diagonal(fill)))
    assert isinstance(noise, FullNoise)
    i, j = packed_indices(chunk.points.shape[1])
    neither = ~seen[:, i] & ~seen[:, j]
    return FullNoise(np.where(seen[:, i] & seen[:, j], noise.values, np.where(neither, pack(fill), 0.0)))
