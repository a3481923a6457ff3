"""An exponential that compilers turn into vector instructions: numpy's own does so on some processors only."""

import math

import numpy as np
from numba import njit

HIGH, LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""log 2 in two parts, the first with zeros at its end."""

COEFFICIENTS = tuple(1 / math.factorial(i) for i in range(13, -1, -1))
"""Taylor's, of highest degree first: within 1e-16 on half an octave around zero."""


@njit(fastmath={"contract"}, nogil=True, error_model="numpy")
def exponentials(values, bits, scales, out):  # type: ignore[no-untyped-def]
    """out = exp(values) where that is neither below 1e-300 nor above 1e300; bits are those of scales (int64)."""
    for i in range(len(values)):
        n = np.floor(values[i] * 1.4426950408889634 + 0.5)
        bits[i] = (np.int64(np.int32(n)) + 1023) << 52  # 2^n
        r = values[i] - n * HIGH - n * LOW
        p = COEFFICIENTS[0]
        p = p * r + COEFFICIENTS[1]
        p = p * r + COEFFICIENTS[2]
        p = p * r + COEFFICIENTS[3]
        p = p * r + COEFFICIENTS[4]
        p = p * r + COEFFICIENTS[5]
        p = p * r + COEFFICIENTS[6]
        p = p * r + COEFFICIENTS[7]
        p = p * r + COEFFICIENTS[8]
        p = p * r + COEFFICIENTS[9]
        p = p * r + COEFFICIENTS[10]
        p = p * r + COEFFICIENTS[11]
        p = p * r + COEFFICIENTS[12]
        p = p * r + COEFFICIENTS[13]
        out[i] = p
    for i in range(len(values)):
        out[i] *= scales[i]
