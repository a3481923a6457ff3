"""The dense E-step: T_k does not depend on the sample, so log p = Theta phi(X) and the sums are Q phi(X)': two matrix
products a panel of samples, phi(x) = [x_d x_e (d <= e), x_d, 1] about the panel's centre in units of its spread.

Products about a common centre lose digits for a component much narrower than the panel; such components are found
beforehand and take their own differences x - mu_k instead. Components that do not matter to a panel are left out
(`pruning`). Where only variances are wanted, and no covariance has
anything off its diagonal, phi has squares and no other products.
"""

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep.components import components
from dgmmis.estep.dense_kernel import dense_kernel
from dgmmis.estep.kernel import Expectation, Room, log_background, read_only
from dgmmis.estep.pruning import FEWEST, MARGIN, PANEL
from dgmmis.linalg import packed_indices
from dgmmis.model import Model
from dgmmis.types import Vector

SMALLEST_PANEL, LARGEST_PANEL, PANEL_NUMBERS = 1 << 7, 1 << 11, 1 << 16
"""Samples in a panel, as powers of two: phi and q of a panel stay in cache, and there are not too many panels."""


def expect(model: Model, block: Block, variances_only: bool = False) -> Expectation:
    """Moments and log densities of a block (see Kernel)."""
    return _run(model, block, _room(model, block, with_responsibilities=False), variances_only)


def log_density(model: Model, block: Block) -> Vector:
    """Log densities of a block (see Kernel)."""
    return expect(model, block).log_density


def posterior(model: Model, block: Block) -> tuple[Vector, Float[np.ndarray, "k n"]]:
    """Log densities and responsibilities of a block (see Kernel)."""
    room = _room(model, block, with_responsibilities=True)
    return _run(model, block, room, False).log_density, room.responsibilities


def _room(model: Model, block: Block, *, with_responsibilities: bool) -> Room:
    k, (m, n) = model.mixture.n_components, block.points.shape
    return Room.of(k, m, n, with_responsibilities=with_responsibilities)


def _run(model: Model, block: Block, room: Room, variances_only: bool) -> Expectation:
    of = components(model, block)
    m, n = block.points.shape
    k = len(of.means)
    behind = log_background(model, block)
    i, j = packed_indices(m)
    if variances_only and of.axes_only:
        i = j = np.arange(m)
    prunes = k >= FEWEST
    totals = dense_kernel(
        read_only(block.points),
        read_only(np.ones(n) if block.weights is None else block.weights),
        read_only(np.empty(0) if behind is None else behind),
        read_only(np.empty(0) if block.log_reference is None else block.log_reference),
        of.log_constant,
        of.means,
        of.precision,
        of.whiten,
        read_only(i),
        read_only(j),
        PANEL if prunes else panel_size(len(i) + m + 1 + k),
        MARGIN if prunes else None,
        None if model.cutoff is None else float(model.cutoff),
        *room.arrays,
    )
    return room.expectation(block.features, model.mixture.n_features, totals)


def panel_size(numbers: int) -> int:
    """Samples in a panel that has so many numbers for each."""
    width = PANEL_NUMBERS // numbers
    return min(max(1 << (width.bit_length() - 1 if width else 0), SMALLEST_PANEL), LARGEST_PANEL)
