"""The kernels' exponential over a block: numpy's own compiles to vector instructions on some processors only."""

from numba import njit

from dgmmis.estep.simd import FAST, exp


@njit(**FAST)
def exponentials(values, out):  # type: ignore[no-untyped-def]
    """out = exp(values)."""
    for i in range(len(values)):
        out[i] = exp(values[i])
