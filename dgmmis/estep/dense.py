"""The dense E-step: T_k does not depend on the sample, so log p = Theta phi(X) and the sums are Q phi(X)': two matrix
products a panel of samples, phi(x) = [x_d x_e (d <= e), x_d, 1] about the panel's centre in units of its spread.

Products about a common centre lose digits for a component much narrower than the panel; such components are found
beforehand and take their own differences x - mu_k instead. Components that do not matter to a panel are left out
(`pruning`).

What the M-step will not ask for is not summed. Of diagonal covariances phi has squares and no other products, of
spherical ones x'x. Tied ones are spherical where x is in units of the one that they share: phi is the same, and the
scatter of all components together is a sum over samples alone.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.estep.components import Components, components
from dgmmis.estep.dense_kernel import CANCELLATION, dense_kernel
from dgmmis.estep.kernel import Expectation, Room, log_background, read_only
from dgmmis.estep.pruning import FEWEST, MARGIN, PANEL
from dgmmis.linalg import pack, packed_indices, packed_size
from dgmmis.model import Model
from dgmmis.types import Points, Vector

FEWEST_PRODUCTS = 1000
"""Of features with components, that are worth another coordinate system for tied covariances."""

SMALLEST_PANEL, LARGEST_PANEL, PANEL_NUMBERS = 1 << 7, 1 << 11, 1 << 16
"""Samples in a panel, as powers of two: phi and q of a panel stay in cache, and there are not too many panels."""


def expect(model: Model, block: Block, covariance_type: str = "full") -> Expectation:
    """Moments and log densities of a block (see Kernel)."""
    of, room = components(model, block), _room(model, block, with_responsibilities=False)
    products = len(of.means) * packed_size(len(block.features))
    if covariance_type == "tied" and of.is_common and products > FEWEST_PRODUCTS:
        white = np.ascontiguousarray(of.whiten[0] @ block.points)
        offset = white - white.mean(axis=1, keepdims=True)
        if np.sum(np.max(np.abs(offset), axis=1) ** 2) < CANCELLATION:
            room = replace(room, responsibilities=np.zeros((1, block.n_samples)))
            totals = _run(model, replace(block, points=white), of.whitened(), room, "spherical")
            _pool(of, offset, white[:, 0] - offset[:, 0], room)
            return room.expectation(block.features, model.mixture.n_features, totals)
    totals = _run(model, block, of, room, covariance_type)
    return room.expectation(block.features, model.mixture.n_features, totals)


def log_density(model: Model, block: Block) -> Vector:
    """Log densities of a block (see Kernel)."""
    return expect(model, block).log_density


def posterior(model: Model, block: Block) -> tuple[Vector, Float[np.ndarray, "k n"]]:
    """Log densities and responsibilities of a block (see Kernel)."""
    room = _room(model, block, with_responsibilities=True)
    _run(model, block, components(model, block), room, "full")
    return room.log_density, room.responsibilities


def _room(model: Model, block: Block, *, with_responsibilities: bool) -> Room:
    k, (m, n) = model.mixture.n_components, block.points.shape
    return Room.of(k, m, n, with_responsibilities=with_responsibilities)


def _run(model: Model, block: Block, of: Components, room: Room, covariance_type: str) -> tuple[float, ...]:
    """The sums over a block, put into a room; totals as `dense_kernel` returns them."""
    m = len(block.points)
    k = len(of.means)
    behind = log_background(model, block)
    i, j = packed_indices(m)
    is_isotropic = covariance_type == "spherical" and of.is_isotropic
    if is_isotropic:
        i = j = np.zeros(1, dtype=i.dtype)
    elif covariance_type in ("diag", "spherical") and of.axes_only:
        i = j = np.arange(m)
    prunes = k >= FEWEST
    totals: tuple[float, ...] = dense_kernel(
        read_only(block.points),
        read_only(block.w_n),
        read_only(np.empty(0) if behind is None else behind),
        read_only(np.empty(0) if block.log_reference is None else block.log_reference),
        of.log_constant,
        of.means,
        of.precision,
        of.whiten,
        read_only(i),
        read_only(j),
        True if is_isotropic else None,
        PANEL if prunes else panel_size(len(i) + m + 1 + k),
        MARGIN if prunes else None,
        None if model.cutoff is None else float(model.cutoff),
        *room.arrays,
    )
    return totals


def _pool(of: Components, offset: Points, centre: Vector, room: Room) -> None:
    """Scores in a room from those of L^-1 x; the covariance's is that of all components, shared out by weight.

    With z = L^-1 (x - c) and d_k = L^-1 (mu_k - c): sum_nk q (z - d_k)(z - d_k)' = sum_n q_n z z'
    - sum_k (u_k d_k' + d_k u_k' + A_k d_k d_k'), where u_k = sum_n q (z - d_k), and q_n is what all components have.
    """
    whiten, q = of.whiten[0], room.responsibilities
    weight, score = room.weight, room.mean_score
    from_centre = of.means @ whiten.T - centre
    cross = score.T @ from_centre
    scatter = (offset * q) @ offset.T - cross - cross.T - (weight * from_centre.T) @ from_centre
    total = float(weight.sum())
    inner = scatter - total * np.eye(len(scatter))
    share = weight / total if total > 0 else weight
    room.covariance_score[:] = share[:, None] * pack(whiten.T @ inner @ whiten)
    room.mean_score[:] = score @ whiten


def panel_size(numbers: int) -> int:
    """Samples in a panel that has so many numbers for each."""
    width = PANEL_NUMBERS // numbers
    return min(max(1 << (width.bit_length() - 1 if width else 0), SMALLEST_PANEL), LARGEST_PANEL)
