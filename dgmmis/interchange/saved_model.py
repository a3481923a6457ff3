"""A model in a file of its own, for other programs to read; a run (`dgmmis fit`) holds it with its survey and history.

Layout, version 1. Three arrays of float64: `weights` (k,), `means` (k, d), `covariances` (k, d, d); and a document:

    format, version      "dgmmis-model", 1
    dgmmis               the version that wrote it
    features, units      d words each, or null
    completeness         fraction of the population that the survey of the fit saw, or null
    background           null, or as in a job file: {"uniform": {"lower": [...], "upper": [...]}}, ...
    background_fraction  nu, in p(x) = (1 - nu) sum_k weights_k N(means_k, covariances_k) + nu b(x)
    cutoff               null, or the sigmas that a component reaches (see Model)

`.json` is one object, the arrays as nested lists beside the document's keys. `.npz` has the arrays, and the document
as a JSON text `document`. `.zarr` is a group, version 3, with the arrays, and the document as its attribute "dgmmis
model".
Numbers come back to the last bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmmis import __version__
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.errors import DataError, DgmmisError, JobError, RefusedError, ShapeError, StoreError
from dgmmis.interchange.files import ENDINGS, is_document, read, write
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.reals import real
from dgmmis.tables import background_from_table, background_to_table

FORMAT, VERSION = "dgmmis-model", 1

ARRAYS = ("weights", "means", "covariances")
KEYS = ("features", "units", "completeness", "background", "background_fraction", "cutoff")


@dataclass(frozen=True, slots=True, eq=False)
class SavedModel:
    """A model, and what is known around it.

    Args:
        model: itself.
        features, units: names and units of its features, in order; None: not known.
        completeness: fraction of the population that was seen; None: not known.

    Raises:
        ShapeError: names or units that are not one a feature.
        DataError: a completeness that is not in (0, 1].
    """

    model: Model
    features: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    completeness: float | None = None

    def __post_init__(self) -> None:
        d = self.model.mixture.n_features
        for name in ("features", "units"):
            words = getattr(self, name)
            if words is not None and (len(words) != d or not all(isinstance(word, str) for word in words)):
                raise ShapeError(f"{name} do not fit the model", expected=f"{d} words", got=words)
        if self.completeness is not None and not 0 < real(self.completeness, "completeness") <= 1:
            raise DataError("completeness must be in (0, 1]", got=self.completeness)

    def write(self, path: str | Path) -> None:
        """Write it, by the ending of the path, in one step: .json and .npz take the place of a model that is there.

        Raises:
            JobError: another ending.
            RefusedError: a background without a name, a place in a bucket.
            StoreError: something else is there, or the disk refuses.
        """
        where = _place(path)
        model, mixture = self.model, self.model.mixture
        document = {
            "format": FORMAT,
            "version": VERSION,
            "dgmmis": __version__,
            "features": None if self.features is None else list(self.features),
            "units": None if self.units is None else list(self.units),
            "completeness": None if self.completeness is None else float(self.completeness),
            "background": None if model.background is None else background_to_table(model.background),
            "background_fraction": float(model.background_fraction),
            "cutoff": None if model.cutoff is None else float(model.cutoff),
        }
        if where.exists() and not is_saved(where):
            raise StoreError(f"'{where}' is there and is no model", do="choose another path, or move it away")
        write(where, document, {name: getattr(mixture, name) for name in ARRAYS})

    @classmethod
    def read(cls, path: str | Path, *, allow_code: bool = False) -> "SavedModel":
        """What was written.

        Args:
            path: of the file, or of the zarr group.
            allow_code: whether a background may be a function to import and call.

        Raises:
            StoreError: there is none, it cannot be read, or another version wrote it.
            JobError: another ending; a background that is a function, where that is not allowed or does not work.
            RefusedError: a place in a bucket.
        """
        where = _place(path)
        document, arrays = read(where, ARRAYS)
        _check_format(where, document)
        try:
            table, cutoff = document["background"], document["cutoff"]
            background = None if table is None else background_from_table(table, allow_code=allow_code)
            mixture = GaussianMixture(*(arrays[name] for name in ARRAYS))
            fraction = real(document["background_fraction"], "background_fraction")
            model = Model(mixture, background, fraction, None if cutoff is None else real(cutoff, "cutoff"))
            features, units = (_words(document[name]) for name in ("features", "units"))
            completeness = document["completeness"]
            seen = None if completeness is None else real(completeness, "completeness")
            return cls(model, features, units, seen)
        except JobError:
            raise
        except KeyError as error:
            raise StoreError(
                f"the model '{where}' lacks {error}", expected=", ".join((*ARRAYS, *KEYS)), do="save it again"
            ) from error
        except (DgmmisError, TypeError, ValueError) as error:
            raise StoreError(f"the model '{where}' is damaged: {error}", do="save it again") from error


def save_model(
    model: Model | GaussianMixture,
    path: str | Path,
    *,
    features: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    completeness: float | None = None,
) -> None:
    """Write a model to a .json or .npz file or a .zarr group; see `interchange.saved_model` for the layout.

    Args:
        model: or a mixture.
        path: whose ending says how.
        features, units: names and units of the features.
        completeness: fraction of the population that was seen.

    Raises:
        JobError, RefusedError, StoreError: as `SavedModel.write`.
        ShapeError, DataError: as `SavedModel`.
    """
    named, measured = (None if words is None else tuple(words) for words in (features, units))
    SavedModel(as_model(model), named, measured, completeness).write(path)


def load_model(path: str | Path, *, allow_code: bool = False) -> Model:
    """The model that `save_model` wrote; `SavedModel.read` gives the names of its features too.

    Raises:
        StoreError, JobError, RefusedError: as `SavedModel.read`.
    """
    return SavedModel.read(path, allow_code=allow_code).model


def is_saved(path: str | Path) -> bool:
    """Whether there is a saved model at a path, whole or not: a file or a group of this format."""
    where = place_of(path)
    return not isinstance(where, BucketPath) and where.suffix in ENDINGS and is_document(where, FORMAT)


def _place(path: str | Path) -> Path:
    where = place_of(path)
    if isinstance(where, BucketPath):
        raise RefusedError(f"models are saved to a disk, and '{where}' is in a bucket", do="copy them there")
    if where.suffix not in ENDINGS:
        raise JobError(
            f"the ending of '{where}' says nothing", expected=f"one of {', '.join(ENDINGS)}", got=where.suffix
        )
    return where


def _check_format(where: Path, document: Mapping[str, Any]) -> None:
    found = (document.get("format"), document.get("version"))
    if found == (FORMAT, VERSION):
        return
    if found[0] != FORMAT:
        do = (
            "`dgmmis export` saves the model of a run"
            if found[0] == "dgmmis-run"
            else "give a file that save_model wrote"
        )
        raise StoreError(f"'{where}' is no model", expected=f"{FORMAT} {VERSION}", got=found[0], do=do)
    raise StoreError(
        f"'{where}' is of another version", expected=VERSION, got=found[1], do="use the dgmmis that wrote it"
    )


def _words(words: object) -> tuple[str, ...] | None:
    if words is None:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ShapeError("names and units of features must be a list of words", got=words)
    return tuple(words)
