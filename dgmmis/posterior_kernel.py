"""The compiled loop that places latent points: a component by its probability, then a point of its Gaussian."""

import typing

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
@typing.no_type_check
def place(some, cumulative, means, roots, which, uniform, normal, z):
    """Points z (s, j, d) of rows `some` (s,): mean_k + root_k normal_j, k the first with cumulative_k >= uniform_j.

    cumulative (n, k), means (n, k, d) and roots (n, k, d, d) of all rows; which (s,) of the nets uniform (t, j) and
    normal (t, j, d) each takes.
    """
    S, J, D = z.shape
    K = cumulative.shape[1]
    for s in range(S):
        n, t = some[s], which[s]
        for j in range(J):
            k = 0
            while k < K - 1 and uniform[t, j] > cumulative[n, k]:
                k += 1
            for i in range(D):
                value = means[n, k, i]
                for e in range(D):
                    value += roots[n, k, i, e] * normal[t, j, e]
                z[s, j, i] = value


def placed(
    some: np.ndarray,
    cumulative: np.ndarray,
    means: np.ndarray,
    roots: np.ndarray,
    *,
    which: np.ndarray,
    uniform: np.ndarray,
    normal: np.ndarray,
) -> np.ndarray:
    """The points (s, j, d) (see `place`)."""
    z = np.empty((len(some), uniform.shape[1], means.shape[2]))
    place(some, cumulative, means, roots, which, uniform, normal, z)
    return z
