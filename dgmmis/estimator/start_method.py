"""How a fit starts, from what `init` may be."""

from pathlib import Path

from dgmmis.dataset.place import place_of
from dgmmis.errors import JobError, nearest_name
from dgmmis.initialize import START_METHODS
from dgmmis.mixture import GaussianMixture


def start_method(init: object) -> str | GaussianMixture:
    """The name of a method, or a mixture; that of an earlier run, where its path was given.

    Raises:
        JobError: none of them.
        StoreError: the run cannot be read.
    """
    if isinstance(init, GaussianMixture):
        return init
    if not isinstance(init, (str, Path)):
        raise JobError(
            "init is no way to start",
            expected=f"{', '.join(START_METHODS)}, a GaussianMixture, or the path of a run",
            got=type(init).__name__,
        )
    if str(init) in START_METHODS:
        return str(init)
    if not (place_of(init) / "model.npz").is_file():
        raise JobError(
            f"init '{init}' is neither a way to start nor the path of a run",
            do=nearest_name(str(init), START_METHODS),
        )
    from dgmmis.dataset.checkpoint import read_run

    return read_run(init).model.mixture
