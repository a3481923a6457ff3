"""The dense E-step: T_k does not depend on the sample, so log p = Theta phi(X) and the sums are Q phi(X)': two matrix
products a panel of samples, phi(x) = [x_d x_e (d <= e), x_d, 1] about the panel's centre in units of its spread.

Products about a common centre lose digits for a component much narrower than the panel; such components are found
beforehand and take their own differences x - mu_k instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from dgmmis.chunk import Block
from dgmmis.estep.kernel import Expectation, log_background, log_weights
from dgmmis.estep.noisy import embed
from dgmmis.linalg import LOG_TWO_PI, cholesky_inverse, logsumexp, pack, packed_indices, symmetrize, unpack
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.types import Vector

SMALLEST_PANEL, LARGEST_PANEL, PANEL_NUMBERS = 1 << 10, 1 << 14, 1 << 16
"""Samples in a panel, as powers of two: phi and q of a panel stay in cache, and there are not too many panels."""

CANCELLATION = 3e4
"""Largest sum of |Theta phi| for which the products are accurate to about 1e-11."""

NOTHING = -1e300
"""A log density that is as good as -inf, and finite."""


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """T_k = C_k + S over the block's features, prepared once a block."""

    log_constant: np.ndarray  # log (1-nu) alpha_k - (m log 2 pi + log|T_k|) / 2
    means: np.ndarray
    precision: np.ndarray  # T_k^-1
    whiten: np.ndarray  # L_k^-1, T_k = L_k L_k'


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    """Some samples about their centre, and which components are wide enough for the common centre."""

    columns: slice
    centre: np.ndarray
    scale: np.ndarray
    phi: np.ndarray  # (f, b)
    theta: np.ndarray  # (k, f), rows of narrow components unused
    narrow: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _Posterior:
    """What a panel's samples (b,) may come from."""

    q: np.ndarray  # (k, b)
    log_density: np.ndarray
    dropped: np.ndarray | None = None  # the share of the density that was cut; None without a cutoff
    beyond: np.ndarray | None = None  # whether every component was


def expect(model: Model, block: Block) -> Expectation:
    """Moments and log densities of a block (see Kernel)."""
    k, m = model.mixture.n_components, len(block.points)
    components = _components(model, block)
    weight, first, second = np.zeros(k), np.zeros((k, m)), np.zeros((k, m, m))  # about mu_k
    background = log_likelihood = 0.0
    n_samples = dropped = beyond = 0.0
    log_density = np.empty(block.n_samples)
    behind = log_background(model, block)
    for panel in _panels(components, block):
        found = _posterior(model, components, panel, block, behind)
        q, log_z = found.q, found.log_density
        log_density[panel.columns] = log_z
        w = np.ones(len(log_z)) if block.weights is None else block.weights[panel.columns]
        if block.log_reference is not None:
            w = w * np.exp(log_z - block.log_reference[panel.columns])
        log_likelihood += float(w @ log_z)
        n_samples += float(w.sum())
        if behind is not None:
            background += float(w @ np.exp(behind[panel.columns] - log_z))
        if found.dropped is not None and found.beyond is not None:
            dropped += float(w @ found.dropped)
            beyond += float(w @ found.beyond)
        q *= w
        panel_weight, panel_first, panel_second = _sums(components, panel, block, q)
        weight += panel_weight
        first += panel_first
        second += panel_second
    # into precision space: u = T^-1 first, W = T^-1 second T^-1 - A T^-1, as L^-T (L^-1 second L^-T - A) L^-1
    whiten = components.whiten
    # what rounding leaves unsymmetric counts as much as a flat covariance is flat
    inner = symmetrize(whiten @ second @ np.swapaxes(whiten, 1, 2)) - weight[:, None, None] * np.eye(m)
    covariance_score = pack(symmetrize(np.swapaxes(whiten, 1, 2) @ inner @ whiten))
    mean_score = np.einsum("kij,kj->ki", components.precision, first)
    moments = Moments(
        weight,
        *embed(mean_score, covariance_score, block.features, model.mixture.n_features),
        background,
        log_likelihood,
        n_samples,
        dropped,
        beyond,
    )
    return Expectation(moments, log_density)


def log_density(model: Model, block: Block) -> Vector:
    """Log densities of a block (see Kernel)."""
    components = _components(model, block)
    behind = log_background(model, block)
    out = np.empty(block.n_samples)
    for panel in _panels(components, block):
        out[panel.columns] = _posterior(model, components, panel, block, behind).log_density
    return out


def responsibilities(model: Model, block: Block) -> Float[np.ndarray, "k n"]:
    """Responsibilities of a block (see Kernel)."""
    components = _components(model, block)
    behind = log_background(model, block)
    out = np.empty((model.mixture.n_components, block.n_samples))
    for panel in _panels(components, block):
        out[:, panel.columns] = _posterior(model, components, panel, block, behind).q
    return out


def _components(model: Model, block: Block) -> _Components:
    features, mixture = block.features, model.mixture
    total = mixture.covariances[:, features[:, None], features] + unpack(block.noise[:, 0])
    whiten, log_determinant = cholesky_inverse(total)
    return _Components(
        log_weights(model) - 0.5 * (len(features) * LOG_TWO_PI + log_determinant),
        mixture.means[:, features],
        np.swapaxes(whiten, 1, 2) @ whiten,
        whiten,
    )


def _panels(components: _Components, block: Block) -> Iterator[_Panel]:
    m = len(block.points)
    i, j = packed_indices(m)
    width = PANEL_NUMBERS // (len(i) + m + 1 + len(components.means))
    size = int(np.clip(1 << (width.bit_length() - 1 if width else 0), SMALLEST_PANEL, LARGEST_PANEL))
    for start in range(0, block.n_samples, size):
        columns = slice(start, min(start + size, block.n_samples))
        x = block.points[:, columns]
        centre = x.mean(axis=1)
        z = x - centre[:, None]
        scale = np.sqrt(np.mean(z * z, axis=1))
        scale[scale == 0] = 1.0
        z /= scale[:, None]
        phi = np.empty((len(i) + m + 1, x.shape[1]))
        np.multiply(z[i], z[j], out=phi[: len(i)])
        phi[len(i) : -1] = z
        phi[-1] = 1.0

        offset = (components.means - centre) / scale
        precision = components.precision * scale[:, None] * scale
        linear = np.einsum("kij,kj->ki", precision, offset)
        theta = np.empty((len(offset), len(phi)))
        theta[:, : len(i)] = precision[:, i, j] * np.where(i == j, -0.5, -1.0)
        theta[:, len(i) : -1] = linear
        constant = -0.5 * np.einsum("ki,ki->k", linear, offset)
        # a component without weight has -inf, which the matrix product would multiply by zeros: NaN
        theta[:, -1] = constant + np.maximum(components.log_constant, NOTHING)
        reach = np.abs(phi).max(axis=1)
        narrow = np.flatnonzero(np.abs(theta[:, :-1]) @ reach[:-1] + np.abs(constant) > CANCELLATION)
        yield _Panel(columns, centre, scale, phi, theta, narrow)


def _posterior(
    model: Model, components: _Components, panel: _Panel, block: Block, behind: np.ndarray | None
) -> _Posterior:
    """Responsibilities and log densities of a panel."""
    q = panel.theta @ panel.phi
    for k in panel.narrow:
        white = components.whiten[k] @ (block.points[:, panel.columns] - components.means[k][:, None])
        q[k] = components.log_constant[k] - 0.5 * np.einsum("in,in->n", white, white)
    log_cut = beyond = None
    if model.cutoff is not None:
        log_cut, beyond = _cut(model, components, q, None if behind is None else behind[panel.columns])
    top = q.max(axis=0)
    if behind is not None:
        top = np.maximum(top, behind[panel.columns])
    q -= top
    np.exp(q, out=q)
    z = q.sum(axis=0)
    if behind is not None:
        z += np.exp(behind[panel.columns] - top)
    q /= z
    log_z = top + np.log(z)
    return _Posterior(q, log_z, None if log_cut is None else expit(log_cut - log_z), beyond)


def _cut(
    model: Model, components: _Components, log_joint: np.ndarray, behind: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Take what is beyond the cutoff out of log joint densities (k, b), in place.

    Returns:
        The log of the sum of what was taken out (b,), and whether every component lies too far away (b,).
    """
    assert model.cutoff is not None
    weighted = np.isfinite(components.log_constant)
    squares = np.full_like(log_joint, np.inf)
    squares[weighted] = 2 * (components.log_constant[weighted, None] - log_joint[weighted])
    there = model.takes_part(squares, behind)
    log_cut = logsumexp(np.where(there, -np.inf, log_joint), axis=0)
    log_joint[~there] = -np.inf
    return log_cut, squares.min(axis=0) > model.cutoff**2


def _sums(
    components: _Components, panel: _Panel, block: Block, q: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sum q (k,), sum q (x - mu_k) (k, m), sum q (x - mu_k)(x - mu_k)' (k, m, m) of a panel."""
    m = len(panel.scale)
    sums = q @ panel.phi.T
    weight = sums[:, -1]
    shift = (panel.centre - components.means) / panel.scale
    linear = sums[:, -m - 1 : -1]
    first = linear + weight[:, None] * shift
    cross = linear[:, :, None] * shift[:, None, :]
    second = unpack(sums[:, : -m - 1]) + cross + np.swapaxes(cross, 1, 2)
    second += weight[:, None, None] * shift[:, :, None] * shift[:, None, :]
    first *= panel.scale
    second *= panel.scale[:, None] * panel.scale
    for k in panel.narrow:
        offset = block.points[:, panel.columns] - components.means[k][:, None]
        weighted = offset * q[k]
        first[k] = weighted.sum(axis=1)
        second[k] = weighted @ offset.T
    return weight, first, second
