"""Slopes by central differences along all directions in which a model's parameters are free."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dgmmis.information import free_directions
from dgmmis.linalg import packed_size, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.prior import Constraints


def directions(model: Model) -> np.ndarray:
    """(p, f): weights that sum to one, means, lower triangles, the background's fraction if there is one."""
    return free_directions(model, Constraints())


def shifted(model: Model, step: np.ndarray) -> Model:
    """The model a step (p,) away, in the order of `information.gradient`."""
    mixture = model.mixture
    k, d = mixture.means.shape
    weights, means, packed, fraction = np.split(step, [k, k + k * d, k + k * d + k * packed_size(d)])
    moved = GaussianMixture(
        mixture.weights + weights,
        mixture.means + means.reshape(k, d),
        mixture.covariances + unpack(packed.reshape(k, -1)),
    )
    return replace(model, mixture=moved, background_fraction=model.background_fraction + float(fraction[0]))


def slopes(function: Callable[[Model], np.ndarray], model: Model, step: float = 1e-4) -> np.ndarray:
    """d function / d phi (f, ...): fourth-order differences."""

    def along(direction: np.ndarray) -> np.ndarray:
        near, far = (
            np.asarray(function(shifted(model, size * direction)) - function(shifted(model, -size * direction)))
            for size in (step, 2 * step)
        )
        return np.asarray((8 * near - far) / (12 * step))

    return np.array([along(direction) for direction in directions(model).T])
