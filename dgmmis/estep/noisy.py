"""The noisy E-step: a covariance T_nk = R_n C_k R_n' + S_n for each pair of sample and component; and what it says of
the true values of each sample."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep.kernel import Expectation, Room, log_background, log_weights, read_only
from dgmmis.estep.noisy_kernel import LARGEST_LANE, noisy_kernel, sized
from dgmmis.estep.pruning import FEWEST, MARGIN, PANEL
from dgmmis.model import Model
from dgmmis.types import Covariances, Points, Vector

LANE_NUMBERS = 1 << 16
"""Numbers of the components' lanes that should stay in the cache of one core."""

FEWEST_PAIRS = 1 << 12
"""Of samples and components, for whose true values a loop is compiled: some seconds, once on a machine."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Moments of the true values of samples, given what was measured of them, under the components alone.

    Args:
        log_density: of the samples (n,), under these.
        mean: (n, d).
        covariance: (n, d, d).
    """

    log_density: Vector
    mean: Points
    covariance: Covariances

    def moments(self) -> tuple[Points, Covariances]:
        """Means and covariances."""
        return self.mean, self.covariance


def locates(model: Model, block: Block) -> bool:
    """Whether `located` is for these samples: so many that compiling pays, each with its noise, no projections."""
    own_noise = block.projection is None and block.noise.shape[1] > 1 and len(block.points) > 0
    return own_noise and model.cutoff is None and block.n_samples * model.mixture.n_components >= FEWEST_PAIRS


def located(signal: Model, block: Block) -> Located:
    """The true values of samples for which there is a closed form, to the last digits where C is much larger than S and
    the other way round.

    Args:
        signal: a model without a background or a cutoff.
        block: samples that `locates` is true for.
    """
    mixture, there, n = signal.mixture, block.features, block.n_samples
    k, d = mixture.means.shape
    gone = np.setdiff1d(np.arange(d), there)
    order = np.concatenate([there, gone])
    C = mixture.covariances
    regress = np.zeros((k, 0, len(there)))
    left = np.zeros((k, 0, 0))
    if len(gone):
        regress = np.linalg.solve(C[:, there[:, None], there], C[:, there[:, None], gone]).transpose(0, 2, 1)
        apart = np.concatenate([-regress, np.broadcast_to(np.eye(len(gone)), (k, len(gone), len(gone)))], axis=2)
        left = apart @ C[:, order[:, None], order] @ apart.transpose(0, 2, 1)
    mean, spread = np.empty((d, n)), np.empty((d, d, n))
    own = (
        np.ascontiguousarray(mixture.means[:, order]),
        np.ascontiguousarray(C[:, order[:, None], there]),
        np.ascontiguousarray(regress),
        np.ascontiguousarray(left),
        sized(d),
        np.empty((k, d, LARGEST_LANE)),
        mean,
        spread,
    )
    found = _run(signal, block, _room(signal, block, with_responsibilities=False), own)
    back = np.argsort(order)
    return Located(
        found.log_density, mean[back].T, np.ascontiguousarray(spread[back[:, None], back].transpose(2, 0, 1))
    )


def _room(model: Model, block: Block, *, with_responsibilities: bool) -> Room:
    k, n = model.mixture.n_components, block.n_samples
    return Room.of(k, len(block.features), n, with_responsibilities=with_responsibilities)


def _run(model: Model, block: Block, room: Room, own: Any = None) -> Expectation:
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
        own,
    )
    return room.expectation(features, mixture.n_features, totals)
