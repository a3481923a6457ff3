"""The mixture that a fit starts from, where `init` names a run or a saved model."""

from pathlib import Path

from dgmmis.dataset.checkpoint import is_run, latest_name, read_run
from dgmmis.dataset.place import place_of
from dgmmis.errors import JobError, nearest_name
from dgmmis.initialize import START_METHODS
from dgmmis.interchange.files import ENDINGS
from dgmmis.interchange.saved_model import SavedModel, is_saved
from dgmmis.mixture import GaussianMixture


def mixture_at(init: str | Path, folder: Path | None = None, *, allow_code: bool = False) -> GaussianMixture:
    """The mixture of the run, of the model store's version that holds, or of the saved model at a path.

    Args:
        init: the path, or the URL of a run in a bucket.
        folder: from which a relative one goes out; None: the current one.
        allow_code: whether what is there may name functions to import.

    Raises:
        JobError: nothing of the kind is there.
        StoreError: it cannot be read.
    """
    place = (folder or Path()) / place_of(init)
    if is_saved(place) or (place.suffix in ENDINGS and place.is_file()):
        return SavedModel.read(place, allow_code=allow_code).model.mixture
    if not (place.is_dir() or is_run(place) or latest_name(place)):
        raise JobError(
            f"init '{init}' is neither a way to start nor the path of a run or a model",
            do=nearest_name(str(init), START_METHODS),
        )
    return read_run(place, allow_code=allow_code).model.mixture
