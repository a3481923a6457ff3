"""Mixtures of extreme-deconvolution (Bovy, Hogg & Roweis 2011): the arrays that its `extreme_deconvolution` fits in
place."""

from numpy.typing import ArrayLike

from dgmmis.interchange.parameters import mixture_of
from dgmmis.mixture import GaussianMixture
from dgmmis.reals import reals


def from_extreme_deconvolution(xamp: ArrayLike, xmean: ArrayLike, xcovar: ArrayLike) -> GaussianMixture:
    """The mixture of amplitudes xamp (k,), means xmean (k, d) and covariances xcovar (k, d, d); back again these are
    `weights`, `means` and `covariances`, of which it wants copies that can be written to.

    Raises:
        ShapeError: they do not fit together.
        DataError: amplitudes that are negative or all zero, covariances that are not symmetric positive definite.
    """
    names = ("xamp", "xmean", "xcovar")
    arrays = [reals(values, name) for values, name in zip((xamp, xmean, xcovar), names, strict=True)]
    return mixture_of(*arrays, of="extreme-deconvolution", names=names)
