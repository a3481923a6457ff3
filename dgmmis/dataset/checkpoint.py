"""The run store: what a fit leaves behind, all that is needed to score, sample and predict with it later.

RUN/model.npz is the whole truth, in one file replaced in one step; RUN/fit.json repeats the numbers for people and
other programs. Version 1 had no noise law and no noise classes, and uniform backgrounds only.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis import __version__
from dgmmis.background import Background, Uniform
from dgmmis.dataset.disk import writing
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.publish import document_bytes, replace_document, replace_file
from dgmmis.dataset.survey_store import SurveyRecord, class_arrays, classes_from
from dgmmis.errors import DataError, DgmmisError, JobError, ShapeError, StoreError, UnreachableError, counted
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise_classes import NoiseClass
from dgmmis.npz import read_npz
from dgmmis.portrait import Portrait, Portrayed, component_rows, components_drawing
from dgmmis.survey import Survey
from dgmmis.tables import background_from_table, background_to_table
from dgmmis.types import Vector

FORMAT = "dgmmis-run"
VERSION = 2
READABLE = (1, VERSION)

MODEL, UNFINISHED, STREAM = "model.npz", "job.json", "stream"
"""The file that is the run; the one that is there while, or until, it is made (`under_way`); and where a stream is that
it follows (`stream`)."""

DESCRIBED = "fit.json"

TOLD = (("data", "data"), ("status", "status"), ("passes over the data", "n_passes"))
"""What a notebook shows of a run's document as it stands there."""

VERSIONS, LATEST = "versions", "latest"
"""Of a model store (`model_store`): the folder of its runs, and the file that names the one that holds."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Run(Portrayed):
    """A fitted model and the numbers around it: `true_values(run.model, X, survey=run.survey())`, say.

    Args:
        model: the model.
        features, units: names and units of the model's features, in order.
        document: JSON values: status, objective, completeness, history, job, versions.
        record: of the survey, completed with its noise law.
        noise_classes: of the observed objects, where something was not seen.
        by_class: Z of each of them (g,).
        moments: of the model over all objects, seen and unseen, as a pass gives them; None where they are not known.
    """

    model: Model
    features: tuple[str, ...]
    units: tuple[str, ...]
    document: Mapping[str, Any]
    record: SurveyRecord = field(default_factory=SurveyRecord)
    noise_classes: tuple[NoiseClass, ...] = ()
    by_class: Vector = field(default_factory=lambda: np.ones(1))
    moments: Moments | None = None

    def survey(self, *, allow_code: bool = False) -> Survey:
        """Selection and noise law of the fit.

        Raises:
            JobError: it has a function, to be imported, and that is not allowed or does not work.
        """
        return self.record.survey(allow_code=allow_code)

    def numbers(self) -> dict[str, Any]:
        """The model's parameters as JSON values."""
        mixture, background = self.model.mixture, self.model.background
        numbers: dict[str, Any] = {
            "weights": mixture.weights.tolist(),
            "means": mixture.means.tolist(),
            "covariances": mixture.covariances.tolist(),
            "background_fraction": self.model.background_fraction,
            "cutoff_radius": self.model.cutoff,
        }
        if background is not None:
            numbers["background"] = background_to_table(background)
        return numbers

    @property
    def completeness(self) -> float:
        return float(self.document.get("completeness", 1.0))

    @property
    def labels(self) -> list[str]:
        """Name and unit of each feature."""
        return [f"{name} [{unit}]" if unit else name for name, unit in zip(self.features, self.units, strict=True)]

    def __repr__(self) -> str:
        components, features = counted(self.model.mixture.n_components, "component"), ", ".join(self.features)
        return f"Run({components} of {features}: {self.document.get('status', 'no status')})"

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        mixture, document = self.model.mixture, self.document
        parameters = (mixture.weights, mixture.means, mixture.covariances)
        table, note = component_rows(*parameters, names=self.labels, errors=document.get("standard_errors"))
        lines = [(what, str(document[key])) for what, key in TOLD if document.get(key) is not None]
        n, likelihood = document.get("n_samples"), document.get("log_likelihood")
        if n is not None and likelihood is not None:
            lines.append(("log-likelihood", f"{likelihood:.7g} per object, {n:,.6g} objects"))
        if n is not None and self.completeness < 1:
            error = document.get("n_objects_error")
            lines.append(("completeness", f"{self.completeness:.5g}"))
            number = f"{n / self.completeness:,.0f}" + ("" if error is None else f" ± {error:,.0f}")
            lines.append(("objects before selection", number))
        return Portrait(
            f"Run: {counted(mixture.n_components, 'component')}",
            lines=(*lines, *self.model.portrait().lines),
            table=table,
            drawing=components_drawing(*parameters, names=self.labels),
            note=note,
        )


def require_place_for_run(path: str | Path) -> None:
    """Make sure that nothing but a run is at a path.

    Raises:
        StoreError: something else is there.
    """
    path = place_of(path)
    with writing(f"the run '{path}'"):
        if isinstance(path, BucketPath):
            names = path.names()
            is_free = MODEL in names or names <= {DESCRIBED}  # which is put first
        else:
            is_free = not path.exists() or (path.is_dir() and _is_for_runs(path))
        if not is_free:
            raise StoreError(f"'{path}' is there and is not a run", do="choose another output, or move it away")


def _is_for_runs(folder: Path) -> bool:
    """Whether a run is there, or may be: what is hidden is the lock's, or was left by a writer that was killed."""
    is_one = any((folder / name).exists() for name in (MODEL, UNFINISHED, STREAM))
    return is_one or all(entry.name.startswith(".") for entry in folder.iterdir())


def write_run(path: str | Path, run: Run) -> None:
    """Write a run, in the place of the one that is there.

    Raises:
        StoreError: something else is there, or the disk refuses.
    """
    path = place_of(path)
    require_place_for_run(path)
    described = document_bytes(_described(run) | run.numbers())
    with writing(f"the run '{path}'"):
        if isinstance(path, BucketPath):
            (path / DESCRIBED).put(described)
            (path / MODEL).put(run_bytes(run))  # last: with it the run is there
            return
        path.mkdir(parents=True, exist_ok=True)
        replace_file(path / MODEL, run_bytes(run))
        replace_file(path / DESCRIBED, described)


def write_beside(path: str | Path, name: str, document: Mapping[str, Any]) -> None:
    """Write a document of JSON values into the folder of a run, in the place of the one that is there.

    Raises:
        StoreError: the disk refuses.
    """
    place = place_of(path) / name
    with writing(f"'{place}'"):
        replace_document(place, document)


def run_bytes(run: Run) -> bytes:
    """A run as the content of a file."""
    arrays: dict[str, Any] = {
        "weights": run.model.mixture.weights,
        "means": run.model.mixture.means,
        "covariances": run.model.mixture.covariances,
        "background_fraction": np.float64(run.model.background_fraction),
        "cutoff": np.float64(np.inf if run.model.cutoff is None else run.model.cutoff),
        "document": np.array(json.dumps(_described(run))),
        **run.record.arrays,
        **class_arrays(run.noise_classes, run.by_class),
        **_moment_arrays(run.moments),
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _described(run: Run) -> dict[str, Any]:
    background = run.model.background
    return {
        **run.document,
        "format": FORMAT,
        "version": VERSION,
        "dgmmis": __version__,
        "features": list(run.features),
        "units": list(run.units),
        "survey": run.record.tables,
        "background": None if background is None else background_to_table(background),
    }


def is_run(path: str | Path) -> bool:
    """Whether there is a run at a path."""
    return _holds(path, MODEL)


def is_unfinished(path: str | Path) -> bool:
    """Whether a fit is under way in a folder, or was interrupted."""
    return _holds(path, UNFINISHED)


def _holds(path: str | Path, name: str) -> bool:
    try:
        return (place_of(path) / name).is_file()
    except UnreachableError:
        raise
    except (OSError, ValueError):  # no path at all
        return False


def read_run(path: str | Path, *, allow_code: bool = False) -> Run:
    """Read a run.

    Args:
        path: of the run; or of a model store, whose latest version it is then.
        allow_code: whether a background may be a function to import and call. That of the survey is asked for where
            it is needed, by `Run.survey`.

    Raises:
        StoreError: there is none, it cannot be read, or another version wrote it.
        JobError: its background is a function, and that is not allowed or does not work.
    """
    if is_run(path):
        return read_file(place_of(path) / MODEL, allow_code=allow_code)
    latest = latest_name(path)
    if latest is not None:
        version = place_of(path) / VERSIONS / latest
        if not is_run(version):
            do = f"`dgmmis rollback --to VERSION {path}` chooses another"
            raise StoreError(f"the version that holds in '{path}', {latest}, is not there", do=do)
        return read_file(version / MODEL, allow_code=allow_code)
    if is_unfinished(path):
        raise StoreError(f"the run '{path}' is not finished", do=f"`dgmmis resume {path}` goes on with it")
    raise StoreError(f"no run at '{path}'", expected=f"a folder with {MODEL}", do="`dgmmis fit JOB.toml` writes one")


def latest_name(path: str | Path) -> str | None:
    """The name of the version that holds in the model store at a path; None where there is none.

    Raises:
        StoreError: the file that names it is damaged.
    """
    if not _holds(path, LATEST):
        return None
    try:
        name = json.loads((place_of(path) / LATEST).read_text(encoding="utf-8"))["version"]
        if not (isinstance(name, str) and re.fullmatch("[0-9]{6,}", name)):
            raise ValueError(f"'{name}' is no version")
    except UnreachableError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(
            f"'{place_of(path) / LATEST}' is damaged",
            got=error,
            do=f"`dgmmis rollback --to VERSION {path}` writes it anew",
        ) from error
    return name


def read_file(path: Path, *, allow_code: bool = False) -> Run:
    """Read a run from the file that holds it; raises as `read_run` does."""
    try:
        arrays = read_npz(path)
    except DataError as error:
        raise StoreError(f"the run '{path}' cannot be read: {error}") from error
    try:
        document = _document(path, arrays)
        table = document["background"]
        background: Background | None = None if table is None else background_from_table(table, allow_code=allow_code)
        mixture = GaussianMixture(arrays["weights"], arrays["means"], arrays["covariances"])
        cutoff = float(arrays["cutoff"]) if "cutoff" in arrays else np.inf
        fraction = float(arrays["background_fraction"])
        model = Model(mixture, background, fraction, cutoff if np.isfinite(cutoff) else None)
        d = mixture.n_features
        features, units = _words(document, "features", d), _words(document, "units", d)
        record = SurveyRecord.read(document["survey"], arrays)
        classes, by_class = classes_from(arrays, d)
        moments = _moments_from(arrays, mixture)
    except JobError:
        raise
    except DgmmisError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"the run '{path}' is damaged: {error}", do="fit it again") from error
    except Exception as error:
        raise StoreError(f"the run '{path}' is damaged", got=repr(error), do="fit it again") from error
    return Run(model, features, units, document, record, classes, by_class, moments)


def read_document(path: Path) -> dict[str, Any]:
    """What a run says of itself, from the file that holds it, without its model: no function is imported for it.

    Raises:
        StoreError: it cannot be read, or another version wrote it.
    """
    try:
        return _document(path, read_npz(path, {"document"}))
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"the run '{path}' is damaged", got=repr(error), do="fit it again") from error


def _moment_arrays(moments: Moments | None) -> dict[str, Any]:
    return {} if moments is None else {f"moments_{of.name}": getattr(moments, of.name) for of in fields(moments)}


def _moments_from(arrays: Mapping[str, np.ndarray], mixture: GaussianMixture) -> Moments | None:
    zero = Moments.zero(mixture.n_components, mixture.n_features)
    if "moments_weight" not in arrays:
        return None
    values: dict[str, Any] = {of.name: np.asarray(arrays[f"moments_{of.name}"], dtype=float) for of in fields(Moments)}
    for name, value in values.items():
        if value.shape != np.shape(getattr(zero, name)):
            raise ShapeError(f"moments_{name}", expected=np.shape(getattr(zero, name)), got=value.shape)
    found: dict[str, Any] = {name: value if value.ndim else float(value) for name, value in values.items()}
    return Moments(**found)


def _document(path: str | Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The document of a run, as it would be today.

    Raises:
        StoreError: of something else, or of another version.
    """
    document = json.loads(str(arrays["document"]))
    if not isinstance(document, dict):
        raise TypeError(f"the document is a {type(document).__name__}")
    if document.get("format") != FORMAT or document.get("version") not in READABLE:
        got = f"{document.get('format')} {document.get('version')}"
        raise StoreError(
            f"'{path}' has another format",
            expected=f"{FORMAT} {' or '.join(map(str, READABLE))}",
            got=got,
            do="fit it again, or use the dgmmis that wrote it",
        )
    return _from_first_version(document, arrays) if document["version"] == 1 else document


def _words(document: Mapping[str, Any], key: str, d: int) -> tuple[str, ...]:
    words = document[key]
    if not isinstance(words, list) or len(words) != d or not all(isinstance(w, str) for w in words):
        raise ShapeError(f"{key} do not fit the model", expected=f"{d} words", got=words)
    return tuple(words)


def _from_first_version(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the document would say today: edges were arrays, and the selection had a table of its own."""
    table = document.get("selection")
    box = None
    if "background_lower" in arrays:
        box = background_to_table(Uniform(arrays["background_lower"], arrays["background_upper"]))
    return {**document, "survey": {} if table is None else {"selection": table}, "background": box}
