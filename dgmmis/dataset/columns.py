"""Columns: which columns of a source are features, their noise, weights and row numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from dgmmis.errors import JobError
from dgmmis.linalg import packed_size
from dgmmis.noise import SharedNoise
from dgmmis.reals import real

NOISE_FORMS = ("errors", "variances", "covariances", "noise", "shared_noise")


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The roles of a source's columns. "X:0" names the first column of an array X (n, d).

    Args:
        features: names of the features: columns of the source, or free names where `points` is given.
        errors: columns of one-sigma errors, one a feature; their squares are the variances.
        variances: columns of variances, one a feature.
        covariances: columns of covariances, the packed lower triangle row by row: aa, ba, bb, ca, cb, cc ...
        shared_noise: one covariance (m, m) for all rows, in the units after scaling.
        weight: column of sample weights.
        row_id: column of whole numbers that name the rows.
        units: of the features; () takes those of the source where it has any.
        scale: factors for columns, by name. That of a feature applies to its errors, variances and covariances as well,
            unless these have factors of their own.
        points: array (n, m) with all features, in the place of columns; empty `features` takes the names "X:0", ...
        noise: with points, array of variances (n, m) or covariances (n, m, m) or packed (n, t).
        projection: with points, array R (n, m, d) with y = R x + e: then `features` names x (d).

    Raises:
        JobError: roles that do not go together.
    """

    features: Sequence[str] = ()
    errors: Sequence[str] = ()
    variances: Sequence[str] = ()
    covariances: Sequence[str] = ()
    shared_noise: np.ndarray | None = None
    weight: str | None = None
    row_id: str | None = None
    units: Sequence[str] = ()
    scale: Mapping[str, float] = field(default_factory=dict)
    points: str | None = None
    noise: str | None = None
    projection: str | None = None

    def __post_init__(self) -> None:
        for name in ("features", "errors", "variances", "covariances", "units"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise JobError(f"{name} must be a list of names", got=repr(value), do=f"write {value.split(',')}")
            if not isinstance(value, Iterable) or not all(isinstance(entry, str) for entry in value):
                raise JobError(f"{name} must be a list of names", got=repr(value), do="write ['a', 'b']")
            object.__setattr__(self, name, tuple(value))
        for name in ("weight", "row_id", "points", "noise", "projection"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise JobError(f"{name} must be the name of a column", got=repr(value), do="name it, or leave it out")
        scale: object = self.scale
        if not isinstance(scale, Mapping) or not all(isinstance(name, str) for name in scale):
            raise JobError("scale must be factors by name", expected="{'a': 0.1}", got=repr(scale))
        for name, factor in scale.items():
            if not np.isfinite(real(factor, f"scale of '{name}'")) or factor == 0:
                raise JobError(f"scale of '{name}' must be a finite number, not zero", got=factor)
        if self.shared_noise is not None:
            object.__setattr__(self, "shared_noise", SharedNoise(self.shared_noise).covariance)
        if not self.features and self.points is None:
            raise JobError("no features", do="name the columns that are features: --features a,b")
        if len(set(self.features)) < len(self.features):
            raise JobError("features must be distinct", got=self.features)
        given = [name for name in NOISE_FORMS if getattr(self, name) is not None and len(getattr(self, name))]
        if len(given) > 1:
            raise JobError(f"noise is given twice, as {' and '.join(given)}", do="keep one of them")
        d = len(self.features)
        wanted = {"errors": d, "variances": d, "covariances": packed_size(d)}
        for name in given:
            if name in wanted and (self.points is not None or len(getattr(self, name)) != wanted[name]):
                raise JobError(
                    f"{name} do not go with the features",
                    expected="noise='NAME' with points" if self.points else f"{wanted[name]} columns for {d} features",
                    got=getattr(self, name),
                )
        if self.points is None and (self.noise or self.projection):
            raise JobError("noise and projection are arrays that go with points", do="give points='NAME' too")

    def uses(self, name: str) -> bool:
        """Whether a column or array has a role; "X:0" has one if X has."""
        listed = (*self.features, *self.errors, *self.variances, *self.covariances)
        used = {*listed, self.weight, self.row_id, self.points, self.noise, self.projection}
        return name in used or name.rpartition(":")[0] in used

    def to_attributes(self) -> dict[str, Any]:
        """What was given, as JSON values."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        given["scale"] = dict(self.scale)
        return {name: value for name, value in given.items() if value is not None and len(value)}
