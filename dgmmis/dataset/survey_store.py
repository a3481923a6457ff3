"""The survey of a run as it is stored: tables, the arrays that are too long for them, and the noise classes.

By value, so that a run can be scored, sampled and predicted from whatever became of its job file; but a function is
kept by its path, and imported again only where that is allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import packed_size, unpack
from dgmmis.noise import NoNoise, SharedNoise, check_noise
from dgmmis.noise_classes import NoiseClass
from dgmmis.noise_law import NearestNoise
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.tables import noise_law_to_table, selection_to_table, survey_from_tables
from dgmmis.types import Vector

LONG: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "injections": ("selection", ("points", "found", "log_density")),
        "nearest": ("noise", ("points", "covariances")),
    }
)
"""Kind -> its table, and its arrays, which lie beside the tables."""

CLASSES = "classes"


@dataclass(frozen=True, slots=True, eq=False)
class SurveyRecord:
    """A survey that can be written down.

    Args:
        tables: `selection` and `noise`, as in a job file, as JSON values.
        arrays: of the kinds in LONG, "injections.points" and so on.
    """

    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, survey: Survey) -> "SurveyRecord":
        """The record of a survey.

        Raises:
            RefusedError: a function without a path.
        """
        tables: dict[str, dict[str, Any]] = {}
        arrays: dict[str, np.ndarray] = {}
        selection, law = survey.selection, survey.noise_law
        if selection is not None:
            is_long = isinstance(selection, Injections)
            tables["selection"] = {"injections": {}} if is_long else selection_to_table(selection)
            tables["selection"]["on"] = survey.selection_on
        if law is not None:
            tables["noise"] = {"nearest": {}} if isinstance(law, NearestNoise) else noise_law_to_table(law)
        for value, kind in ((selection, "injections"), (law, "nearest")):
            if kind in tables.get(LONG[kind][0], {}):
                arrays |= {f"{kind}.{name}": np.asarray(getattr(value, name)) for name in LONG[kind][1]}
        return cls(tables, arrays)

    @classmethod
    def read(cls, tables: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "SurveyRecord":
        """The record in a run's tables and arrays, among others.

        Raises:
            ValueError: tables that are not a survey's.
        """
        said: object = tables
        if not isinstance(said, Mapping) or not all(isinstance(table, Mapping) for table in said.values()):
            raise ValueError("the survey must be tables")
        if "noise" in tables and "selection" not in tables:
            raise ValueError("the survey has a noise law and no selection")
        own = {
            f"{kind}.{name}": arrays[f"{kind}.{name}"]
            for kind, (table, names) in LONG.items()
            for name in names
            if kind in tables.get(table, {})
        }
        return cls(tables, own)

    def survey(self, *, allow_code: bool = False) -> Survey:
        """The survey itself.

        Raises:
            JobError: it has a function, to be imported, and that is not allowed or does not work.
        """
        tables = {name: dict(table) for name, table in self.tables.items()}
        for kind, (table, names) in LONG.items():
            if kind in tables.get(table, {}):
                tables[table][kind] = {name: self.arrays[f"{kind}.{name}"] for name in names}
        return survey_from_tables(tables.get("selection"), tables.get("noise"), allow_code=allow_code)


def class_arrays(classes: Sequence[NoiseClass], by_class: Vector) -> dict[str, np.ndarray]:
    """The noise classes of a fit, and Z of each, as arrays to store."""
    if not classes:
        return {}
    width = classes[0].width
    measured = np.zeros((len(classes), width), dtype=bool)
    for c, of in enumerate(classes):
        measured[c, of.measured] = True
    arrays = {
        "share": np.array([of.share for of in classes]),
        "completeness": np.asarray(by_class, dtype=float),
        "measured": measured,
        "noise": np.stack([of.noise.packed(range(width))[:, 0] for of in classes]),
    }
    projections = [of.projection for of in classes if of.projection is not None]
    if projections:
        arrays["projection"] = np.stack(projections)
    return {f"{CLASSES}.{name}": array for name, array in arrays.items()}


def classes_from(arrays: Mapping[str, np.ndarray], d: int) -> tuple[tuple[NoiseClass, ...], Vector]:
    """The noise classes among a run's arrays, of a model of d features, and Z of each; none where everything was seen.

    Raises:
        KeyError: one of the arrays is not there.
        ShapeError, DataError: they do not fit one another, or are no classes.
    """
    if f"{CLASSES}.share" not in arrays:
        return (), np.ones(1)
    shares, completeness, measured, noise = (
        arrays[f"{CLASSES}.{name}"] for name in ("share", "completeness", "measured", "noise")
    )
    given = arrays.get(f"{CLASSES}.projection")
    _check_classes(shares, completeness, measured, noise, given, d)
    projections = [None] * len(shares) if given is None else given
    classes = tuple(
        NoiseClass(
            float(share),
            measured.shape[1],
            np.flatnonzero(there),
            SharedNoise(unpack(packed)) if np.any(packed) else NoNoise(),
            R,
        )
        for share, there, packed, R in zip(shares, measured, noise, projections, strict=True)
    )
    return classes, completeness


def _check_classes(
    shares: np.ndarray,
    completeness: np.ndarray,
    measured: np.ndarray,
    noise: np.ndarray,
    projections: np.ndarray | None,
    d: int,
) -> None:
    g, m = len(shares), measured.shape[-1]
    wanted = {"share": (g,), "completeness": (g,), "measured": (g, m), "noise": (g, packed_size(m))}
    got = {"share": shares, "completeness": completeness, "measured": measured, "noise": noise}
    if projections is not None:
        wanted["projection"], got["projection"] = (g, m, d), projections
    for name, shape in wanted.items():
        if got[name].shape != shape or got[name].dtype.kind not in ("b" if name == "measured" else "f"):
            raise ShapeError(f"noise classes: '{name}' does not fit", expected=shape, got=got[name].shape)
    if projections is None and m != d:
        raise ShapeError("noise classes do not fit the model", expected=f"{d} features", got=m)
    fine = np.all(shares > 0) and np.all((completeness > 0) & (completeness < np.inf))
    if not (g and fine and measured.any() and np.all([np.isfinite(array).all() for array in (shares, noise)])):
        raise DataError("noise classes must have positive shares and completenesses, and finite noise")
    for packed in noise:
        check_noise(SharedNoise(unpack(packed)), np.zeros((1, m)))
