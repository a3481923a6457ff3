"""Cutting: components whose objects lie beyond the model's cutoff take no part in them."""

import math
import typing

import numpy as np
from numba import njit

from dgmmis.estep.simd import PART, exp


@njit(**PART)
@typing.no_type_check
def cut(log_joint, chi, n_components, n, cutoff, log_bg, log_cut, far, live):
    """Take what is beyond the cutoff out of the first rows and columns of log_joint; see `Model.takes_part`.

    chi, like log_joint, holds the squares of distances in sigmas, infinite for a component without weight; log_bg (n,)
    or (0,). log_cut receives the log of the sum of what was taken out, far 1 where every component lies too far away,
    live whether anything is left of a component.
    """
    nearest, top, taken = np.full(n, math.inf), np.full(n, -math.inf), np.zeros(n)
    for a in range(n_components):
        for v in range(n):
            nearest[v] = min(nearest[v], chi[a, v])
            top[v] = max(top[v], log_joint[a, v])
    reach = nearest
    for v in range(n):
        far[v] = 1.0 if nearest[v] > cutoff * cutoff else 0.0
        alone = len(log_bg) == 0 or log_bg[v] == -math.inf
        reach[v] = max(cutoff * cutoff, nearest[v]) if alone else cutoff * cutoff
    for a in range(n_components):
        cut_from = 0
        for v in range(n):
            cut_from += 1 if chi[a, v] > reach[v] else 0
        live[a] = cut_from < n
        if cut_from:
            for v in range(n):
                beyond = chi[a, v] > reach[v]
                taken[v] += exp(log_joint[a, v] - top[v]) if beyond else 0.0
                log_joint[a, v] = -math.inf if beyond else log_joint[a, v]
    for v in range(n):
        log_cut[v] = top[v] + math.log(taken[v]) if taken[v] > 0.0 else -math.inf
