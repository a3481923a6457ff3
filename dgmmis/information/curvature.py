"""Second derivatives of densities by the parameters, from sums over rows: p''/p, and d2 log p = p''/p - s s'.

p = (1 - nu) sum_k alpha_k N_k + nu b is linear in the weights, and a sum over components: p'' has a block for each of
them, a border with nu, and nothing else. A covariance is half a second derivative by the mean,

    dN / dC_ij = (1/2) d2N / dmu_i dmu_j,

so that all of a block are the first four derivatives of N by mu, the Hermite polynomials of g and H:

    He_a = g_a,    He_ab = g_a g_b - H_ab,    He_abc = g_a g_b g_c - (g_a H_bc + g_b H_ac + g_c H_ab),
    He_abcd = g_a g_b g_c g_d - (g_a g_b H_cd + ... 6 terms) + (H_ab H_cd + H_ac H_bd + H_ad H_bc).

Their sums over rows are permuted entries of one matrix product per component, of [1, g, g g', H] with itself.
"""

import numpy as np
from jaxtyping import Float

from dgmmis.information.parameters import component_places, n_directions
from dgmmis.linalg import packed_indices, unpack
from dgmmis.model import Model


def second_blocks(
    model: Model,
    weights: Float[np.ndarray, "n k"],
    g: Float[np.ndarray, "n k d"],
    h: Float[np.ndarray, "r k t"],
) -> Float[np.ndarray, "k b b"]:
    """sum_n w_n p''_n / p_n in the blocks of the components, b = 1 + d + t: weight, mean, covariance.

    Args:
        model: whose weights alpha they are.
        weights: w_n q_nk.
        g: R' T^-1 (y - R mu).
        h: R' T^-1 R, packed; one row where it is the same for all.
    """
    n, k, d = g.shape
    i, j = packed_indices(d)
    t = len(i)
    features = np.concatenate(
        [np.ones((n, k, 1)), g, g[:, :, i] * g[:, :, j], np.broadcast_to(h, (n, k, t))], axis=2
    ).transpose(1, 2, 0)
    sums = (features * weights.T[:, None]) @ features.transpose(0, 2, 1)
    place = np.empty((d, d), dtype=int)  # of an entry in the packed triangle
    place[i, j] = place[j, i] = np.arange(t)

    one, mean, square, spread = 0, 1 + np.arange(d), 1 + d + np.arange(t), 1 + d + t + np.arange(t)
    second = sums[:, one, square] - sums[:, one, spread]
    a = np.arange(d)[:, None]
    third = sums[:, mean[:, None], square] - sums[:, mean[:, None], spread]
    third -= sums[:, mean[i], spread[place[a, j]]] + sums[:, mean[j], spread[place[a, i]]]
    squares = sums[:, square[:, None], square]
    mixed = sums[:, square[:, None], spread]  # of g_a g_b H_cd at (ab, cd)
    spreads = sums[:, spread[:, None], spread]
    a, b, c, e = i[:, None], j[:, None], i, j
    ac, ae, bc, be = place[a, c], place[a, e], place[b, c], place[b, e]
    fourth = squares - mixed - mixed.transpose(0, 2, 1)
    fourth -= mixed[:, ac, be] + mixed[:, be, ac] + mixed[:, ae, bc] + mixed[:, bc, ae]
    fourth += spreads + spreads[:, ac, be] + spreads[:, ae, bc]

    alpha = np.maximum(model.mixture.weights, 1e-300)[:, None]
    half = np.where(i == j, 0.5, 1.0)  # an entry off the diagonal stands for both
    out = np.zeros((k, 1 + d + t, 1 + d + t))
    out[:, 0, 1 : 1 + d] = sums[:, one, mean] / alpha
    out[:, 0, 1 + d :] = second * half / alpha
    out[:, 1 : 1 + d, 1 + d :] = third * half
    out += out.transpose(0, 2, 1)
    out[:, 1 : 1 + d, 1 : 1 + d] = unpack(second)
    out[:, 1 + d :, 1 + d :] = fourth * half[:, None] * half
    return out


def second_matrix(blocks: Float[np.ndarray, "k b b"], slope: Float[np.ndarray, " p"], model: Model) -> np.ndarray:
    """sum w p''/p as a matrix (p, p), from its blocks and the sum of the scores w p'/p.

    The border with the background's fraction is d2p / dnu dtheta_k = -(alpha_k N_k)' = -(dp / dtheta_k) / (1 - nu).
    """
    out = np.zeros((n_directions(model),) * 2)
    places = component_places(model)
    out[places[:, :, None], places[:, None, :]] = blocks
    out[-1, :-1] = out[:-1, -1] = -slope[:-1] / (1 - model.background_fraction)
    return out
