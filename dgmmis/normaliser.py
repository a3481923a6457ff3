"""log Z of the noise classes: how it changes with the parameters, to second order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk
from dgmmis.imputation import Unseen, closed_form, unseen_sums, unseen_within
from dgmmis.information import block_terms, component_places, gradient, n_directions, point_weights, second_matrix
from dgmmis.linalg import pack, packed_indices, packed_size
from dgmmis.model import Model
from dgmmis.noise_classes import NoiseClass
from dgmmis.quadrature import REPLICATES, Round, UnseenPoints, draw
from dgmmis.selection import LinearBounds
from dgmmis.survey import Survey

STEP = 1e-3
"""Of a component's mean, in its sigmas, and of its covariance, for differences of exact slopes: their error is 1e-6."""


@dataclass(frozen=True, slots=True, eq=False)
class Normaliser:
    """Derivatives of log Z_c.

    Args:
        points_of: the round whose noise classes they are of.
        slopes: d log Z_c / dtheta (c + 1, p), in the order of `gradient`; the last one, number -1, is of objects of
            which nothing was measured: zero.
        second: Z_c'' / Z_c (p, p), mean over the objects of the catalogue.
    """

    points_of: Round
    slopes: Float[np.ndarray, "c p"]
    second: Float[np.ndarray, "p p"]

    @classmethod
    def of(
        cls,
        model: Model,
        survey: Survey,
        points_of: Round,
        unseen: Sequence[Unseen],
        blocks_of: Sequence[np.ndarray] | None = None,
    ) -> "Normaliser":
        """Of a model and the sums over its unseen, class by class; `blocks_of`: M'' of each, if somebody has them.

        The second derivatives are those of what was maximised: on the points of the round, or in closed form. With
        others the curvature would not vanish with the scores, and where little was seen their noise would swamp it.
        """
        shares = np.array([of.share / part.completeness for of, part in zip(points_of.classes, unseen, strict=True)])
        masses = np.stack([gradient(part.moments, model) for part in unseen])
        bounds = closed_form(model, survey, points_of.classes)
        if bounds is not None:
            blocks = _blocks_within(model, points_of.classes, bounds, shares)
        else:
            if blocks_of is None:
                blocks_of = [np.zeros(()) for _ in shares]
                for some in points_of.blocks():
                    sign = -1.0 if points_of.n_injections else 1.0  # found ones give Z'' = -M''
                    found = sign * mass_blocks(model, draw(some, points_of, survey, model))
                    blocks_of[some.noise_class] = blocks_of[some.noise_class] + found
            blocks = np.einsum("c,ckbe->kbe", shares, np.stack(blocks_of))
        second = -second_matrix(np.asarray(blocks), shares @ masses, model)
        return replace(cls.to_first_order(model, points_of, unseen), second=second)

    @classmethod
    def to_first_order(cls, model: Model, points_of: Round, unseen: Sequence[Unseen]) -> "Normaliser":
        """The slopes alone: for the scores' outer products nothing else counts."""
        p = n_directions(model)
        slopes = [-gradient(part.moments, model) / part.completeness for part in unseen]
        return cls(points_of, np.stack([*slopes, np.zeros(p)]), np.zeros((p, p)))

    def numbers(self, chunk: Chunk) -> np.ndarray:
        """Which of the slopes (n,) each row has."""
        return self.points_of.partition.numbers(chunk, self.points_of.classes)


def mass_blocks(model: Model, points: UnseenPoints) -> Float[np.ndarray, "k b b"]:
    """d2M/dtheta2 from the points of a block, as the blocks of the components (`second_matrix`)."""
    k, d = model.mixture.means.shape
    total = np.zeros((k, 1 + d + packed_size(d), 1 + d + packed_size(d)))
    for some in points.leaf.blocks:
        for terms in block_terms(model, some, point_weights(model, some)):
            total += terms.second
    return total


def mass_slopes(model: Model, points: UnseenPoints) -> np.ndarray:
    """dM/dtheta (r, p) as each replicate of the points has it, from the points of a block."""
    parts = (unseen_sums(model, points.of_replicate(number)).moments for number in range(REPLICATES))
    return REPLICATES * np.stack([gradient(moments, model) for moments in parts])


def completeness_slope(model: Model, unseen: Sequence[Unseen], classes: Sequence[NoiseClass]) -> np.ndarray:
    """dZ/dtheta (p,) of Z = 1 / sum_c (share_c / Z_c), the fraction of all objects that was seen."""
    everything = max(0.0, 1.0 - sum(of.share for of in classes))  # what nothing was measured of is seen always
    slope = np.zeros(n_directions(model))
    for of, part in zip(classes, unseen, strict=True):
        everything += of.share / part.completeness
        slope -= of.share / part.completeness**2 * gradient(part.moments, model)
    return slope / everything**2


def _blocks_within(
    model: Model, classes: Sequence[NoiseClass], bounds: LinearBounds, factors: np.ndarray
) -> np.ndarray:
    """sum_c factor_c M_c'' in closed form, by differences of the exact slopes.

    M is a sum over components, so that all of them move at once, each along its own sigmas.
    """
    mixture, places = model.mixture, component_places(model)
    (k, d), (i, j) = mixture.means.shape, packed_indices(mixture.n_features)
    root = np.linalg.cholesky(mixture.covariances)

    def slope(means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
        at = Model(replace(mixture, means=mixture.means + means, covariances=mixture.covariances + covariances))
        parts = unseen_within(at, classes, bounds)
        return np.asarray(sum(f * gradient(part.moments, at) for f, part in zip(factors, parts, strict=True))[places])

    still_means, still = np.zeros((k, d)), np.zeros((k, d, d))
    moves = [(root[:, :, e], still) for e in range(d)]
    for a, b in zip(i, j, strict=True):
        both = root[:, :, a, None] * root[:, None, :, b]
        moves.append((still_means, 0.5 * (both + both.transpose(0, 2, 1))))
    along = np.stack([np.concatenate([means, pack(covariances)], axis=1) for means, covariances in moves], axis=2)
    changes = np.stack(
        [(slope(STEP * m, STEP * c) - slope(-STEP * m, -STEP * c)) / (2 * STEP) for m, c in moves], axis=2
    )
    out = np.zeros((k, places.shape[1], places.shape[1]))
    out[:, :, 1:] = np.linalg.solve(along.transpose(0, 2, 1), changes.transpose(0, 2, 1)).transpose(0, 2, 1)
    out[:, 1:, 0] = out[:, 0, 1:]
    out[:, 1:, 1:] = 0.5 * (out[:, 1:, 1:] + out[:, 1:, 1:].transpose(0, 2, 1))
    return out
