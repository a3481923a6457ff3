"""How a fit starts, from what `init` may be."""

from pathlib import Path

from dgmmis.errors import JobError
from dgmmis.initialize import START_METHODS
from dgmmis.interchange import mixture_at
from dgmmis.mixture import GaussianMixture


def start_method(init: object) -> str | GaussianMixture:
    """The name of a method, or a mixture; that of an earlier run or of a saved model, where its path was given.

    Raises:
        JobError: none of them.
        StoreError: what is there cannot be read.
    """
    if isinstance(init, GaussianMixture):
        return init
    if not isinstance(init, (str, Path)):
        raise JobError(
            "init is no way to start",
            expected=f"{', '.join(START_METHODS)}, a GaussianMixture, or the path of a run or a model",
            got=type(init).__name__,
        )
    if str(init) in START_METHODS:
        return str(init)
    return mixture_at(init)
