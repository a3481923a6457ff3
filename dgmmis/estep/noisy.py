"""The noisy E-step: a covariance T_nk = R_n C_k R_n' + S_n for each pair of sample and component."""

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep.kernel import Expectation, Room, log_background, log_weights, read_only
from dgmmis.estep.noisy_kernel import noisy_kernel, sized
from dgmmis.estep.pruning import FEWEST, MARGIN, PANEL
from dgmmis.model import Model
from dgmmis.types import Vector

LANE_NUMBERS = 1 << 16
"""Numbers of the components' lanes that should stay in the cache of one core."""


def expect(model: Model, block: Block, covariance_type: str = "full") -> Expectation:
    """Moments and log densities of a block (see Kernel)."""
    del covariance_type
    return _run(model, block, _room(model, block, with_responsibilities=False))


def log_density(model: Model, block: Block) -> Vector:
    """Log densities of a block (see Kernel)."""
    return expect(model, block).log_density


def posterior(model: Model, block: Block) -> tuple[Vector, Float[np.ndarray, "k n"]]:
    """Log densities and responsibilities of a block (see Kernel)."""
    room = _room(model, block, with_responsibilities=True)
    return _run(model, block, room).log_density, room.responsibilities


def _room(model: Model, block: Block, *, with_responsibilities: bool) -> Room:
    k, n = model.mixture.n_components, block.n_samples
    return Room.of(k, len(block.features), n, with_responsibilities=with_responsibilities)


def _run(model: Model, block: Block, room: Room) -> Expectation:
    mixture, features = model.mixture, block.features
    m, n = block.points.shape
    behind = log_background(model, block)
    # what projections make of a box, and of noise, nobody has bounded
    prunes = mixture.n_components >= FEWEST and block.projection is None and block.noise.shape[1] == n
    totals = noisy_kernel(
        read_only(block.points),
        read_only(block.noise),
        None if block.projection is None else read_only(block.projection),
        read_only(block.w_n),
        read_only(np.empty(0) if behind is None else behind),
        read_only(np.empty(0) if block.log_reference is None else block.log_reference),
        log_weights(model),
        np.ascontiguousarray(mixture.means[:, features]),
        np.ascontiguousarray(mixture.covariances[:, features[:, None], features]),
        sized(m),
        sized(len(features)),
        LANE_NUMBERS,
        PANEL,
        MARGIN if prunes else None,
        None if model.cutoff is None else float(model.cutoff),
        *room.arrays,
    )
    return room.expectation(features, mixture.n_features, totals)
