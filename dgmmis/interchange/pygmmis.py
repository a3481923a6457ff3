"""Mixtures of pyGMMis (Melchior & Goulding 2018), from the npz file that its `GMM.save` writes.

The file has `amp` (k,), `mean` (k, d) and `covar` (k, d, d), full and symmetric up to rounding, and whatever else its
user gave to `save` by name. Beside a background the amplitudes sum to one less the background's.
"""

import zipfile
from pathlib import Path

import numpy as np

from dgmmis.background import Background, Uniform
from dgmmis.errors import DataError, RefusedError, ShapeError, StoreError
from dgmmis.interchange.parameters import mixture_of
from dgmmis.model import Model
from dgmmis.npz import read_npz
from dgmmis.reals import reals

PARAMETERS: tuple[str, str, str] = ("amp", "mean", "covar")
KNOWN = (*PARAMETERS, "footprint", "background_amp")
"""With what is understood of what `save` was given by name."""

ROUNDING = 1e-6
"""By which amplitudes may sum to more than one."""


def load_pygmmis(path: str | Path, *, background: Background | None = None) -> Model:
    """The model in a file of pyGMMis; `.mixture` of it is a start for a fit.

    Args:
        path: of the npz file that `gmm.save(path)` wrote. What `gmm.save(path, footprint=bg.footprint,
            background_amp=bg.amp)` adds makes a Uniform background: the footprint (2, d), its lower and upper corner,
            and its fraction; without the latter it is what the amplitudes lack to one.
        background: the background that the mixture was fitted with, where the file does not have it; its fraction is as
            above.

    Returns:
        The model. Weights are the amplitudes divided by their sum, as pyGMMis draws from them. They sum to less than
        one where there was a background, or objects beyond the cutoff, and to more after a fit under a graded
        selection (see examples/from_pygmmis.md).

    Raises:
        StoreError: the file cannot be read, or is not one of pyGMMis.
        ShapeError: its arrays do not fit together, or not the background.
        DataError: amplitudes that are negative or all zero, covariances that are not symmetric positive definite, a
            background whose fraction is not in [0, 1).
        RefusedError: two backgrounds, or a fraction without one.
    """
    path = Path(path)
    arrays = _read(path)
    amp, mean, covar = (arrays[name] for name in PARAMETERS)
    mixture = mixture_of(amp, mean, covar, of=f"'{path}'", names=PARAMETERS)
    behind = _background(path, arrays, background)
    if behind is None:
        return Model(mixture)
    fraction = float(arrays["background_amp"]) if "background_amp" in arrays else 1 - float(amp.sum())
    if -ROUNDING < fraction < 0:
        fraction = 0.0
    if not 0 <= fraction < 1:
        raise DataError(
            f"'{path}': the fraction of the background must be in [0, 1)",
            got=f"{fraction:.6g}" + ("" if "background_amp" in arrays else ", one less the sum of the amplitudes"),
            do="save it with the mixture: gmm.save(path, footprint=bg.footprint, background_amp=bg.amp)",
        )
    return Model(mixture, behind, fraction)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays that are understood; others, which may be of any kind, stay unread."""
    if not path.is_file():
        beside = path.with_name(path.name + ".npz")  # numpy puts it there
        do = f"Did you mean '{beside}'?" if beside.is_file() else "give the file that gmm.save wrote"
        raise StoreError(f"there is no file '{path}'", do=do)
    if not zipfile.is_zipfile(path):
        raise StoreError(f"'{path}' is not a whole npz file", do="give the file that gmm.save wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            names = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
        arrays = {name: reals(array, name) for name, array in read_npz(path, KNOWN).items()}
    except DataError as error:
        raise StoreError(f"'{path}' cannot be read as a mixture of pyGMMis: {error}") from error
    if not arrays.keys() >= set(PARAMETERS):
        expected = f"arrays {', '.join(PARAMETERS)}"
        raise StoreError(f"'{path}' is not a mixture of pyGMMis", expected=expected, got=names)
    return arrays


def _background(path: Path, arrays: dict[str, np.ndarray], given: Background | None) -> Background | None:
    """The background that was given, or that of the file, if any."""
    footprint, d = arrays.get("footprint"), arrays["mean"].shape[1]
    if footprint is not None and given is not None:
        raise RefusedError(f"'{path}' has a footprint, and a background was given", do="leave the background out")
    if footprint is None:
        if given is None and "background_amp" in arrays:
            raise RefusedError(f"'{path}' has the fraction of a background, but not which", do="give the background")
        return given
    if footprint.shape != (2, d):
        raise ShapeError(f"'{path}': a footprint is a lower and an upper corner", expected=(2, d), got=footprint.shape)
    return Uniform(*footprint)
