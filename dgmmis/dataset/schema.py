"""Schema: what the rows of a survey store hold, and in which arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmmis.errors import DataError, RefusedError, ShapeError, StoreError
from dgmmis.linalg import packed_size
from dgmmis.noise import SharedNoise, check_noise

FORMAT = "dgmmis survey"
NOISE_KINDS = ("none", "shared", "diagonal", "full")
STORAGES = ("float64", "float32")
READABLE = (1, 2)
"""Versions of the format. A store that does without what version 2 added is written as version 1: storage as float32,
and rows in another order than the catalogue's."""


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """The columns of a survey.

    Args:
        features: names of the model's features x (d).
        units: their units, "" where unknown; () for all unknown.
        noise: "none", "shared" (one covariance), "diagonal" (variances per row) or "full" (a covariance per row).
        shared_covariance: S (m, m) where noise is "shared", in the squared units of the measured values; else None.
        weighted: whether each row has a weight.
        measured: names of the m measured values y = R x + e where each row has a projection R (m, d); None where the
            features themselves are measured.
        storage: of the numbers on the disk: "float64", or "float32", rounded by up to 6e-8 of each. In memory they are
            float64.

    Raises:
        DataError, ShapeError: names or units that do not fit, or a shared covariance that no noise can have.
        RefusedError: more measured values than features without noise, whose covariance R C R' would be singular.
    """

    features: tuple[str, ...]
    units: tuple[str, ...] = ()
    noise: str = "none"
    shared_covariance: np.ndarray | None = None
    weighted: bool = False
    measured: tuple[str, ...] | None = None
    storage: str = "float64"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "units", tuple(self.units) or ("",) * len(self.features))
        object.__setattr__(self, "measured", None if self.measured is None else tuple(self.measured))
        for what, names in (("features", self.features), ("measured", self.measured)):
            if names is None:
                continue
            if not all(map(_is_name, names)):
                raise DataError(f"{what} must have names", expected="words, without control characters", got=names)
            if not names or len(set(names)) < len(names):
                raise DataError(f"{what} must have distinct names, at least one", got=names)
        if not all(unit == "" or _is_name(unit) for unit in self.units):
            raise DataError("units must be words", expected='"" where unknown', got=self.units)
        if not isinstance(self.weighted, bool):
            raise DataError("weighted", expected="true or false", got=self.weighted)
        if len(self.units) != len(self.features):
            raise ShapeError("units", expected=f"one for each of {len(self.features)} features", got=self.units)
        if self.noise not in NOISE_KINDS:
            raise DataError("noise", expected=" or ".join(NOISE_KINDS), got=repr(self.noise))
        if self.storage not in STORAGES:
            raise DataError("storage", expected=" or ".join(STORAGES), got=repr(self.storage))
        if (self.shared_covariance is not None) != (self.noise == "shared"):
            raise DataError(
                f"shared_covariance with noise '{self.noise}'",
                do="give the covariance (m, m) where noise is 'shared', and only there",
            )
        m = self.n_measured
        if self.shared_covariance is not None:
            covariance = np.array(self.shared_covariance, dtype=float)
            if covariance.shape != (m, m):
                raise ShapeError("shared_covariance has the wrong shape", expected=(m, m), got=covariance.shape)
            check_noise(SharedNoise(covariance), np.zeros((1, m)))
            object.__setattr__(self, "shared_covariance", covariance)
        if m > self.n_features and self.noise == "none":
            raise RefusedError(
                "more measured values than features, without noise", do="give the noise: R C R' alone is singular"
            )

    @property
    def n_features(self) -> int:
        """d"""
        return len(self.features)

    @property
    def n_measured(self) -> int:
        """m"""
        return len(self.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the m measured values: those of the features where there is no projection."""
        return self.features if self.measured is None else self.measured

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """The arrays of a segment, of numbers as `storage` says, and their shapes after the row axis."""
        m = self.n_measured
        arrays: dict[str, tuple[int, ...]] = {"points": (m,)}
        if self.noise == "diagonal":
            arrays["noise"] = (m,)
        elif self.noise == "full":
            arrays["noise"] = (packed_size(m),)
        if self.weighted:
            arrays["weights"] = ()
        if self.measured is not None:
            arrays["projection"] = (m, self.n_features)
        return arrays

    @property
    def row_nbytes(self) -> int:
        """Bytes of a decoded row, without its number."""
        return 8 * sum(int(np.prod(tail)) for tail in self.arrays.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schema):
            return NotImplemented
        return self.to_attributes() == other.to_attributes()

    def __hash__(self) -> int:
        return hash((self.features, self.units, self.noise, self.weighted, self.measured))

    def differences(self, other: "Schema") -> tuple[str, ...]:
        """What another schema says differently, in words; empty where they are equal."""
        mine, theirs = self.to_attributes()["schema"], other.to_attributes()["schema"]
        for schema, entry in ((self, mine), (other, theirs)):
            entry["storage"] = schema.storage
        return tuple(f"{name} {mine[name]} != {theirs[name]}" for name in mine if mine[name] != theirs[name])

    def to_attributes(self) -> dict[str, Any]:
        """As JSON values, with the name and version of the format."""
        covariance = self.shared_covariance
        plain = self.storage == "float64"
        return {
            "format": FORMAT,
            "version": 1 if plain else 2,
            "schema": {
                "features": list(self.features),
                "units": list(self.units),
                "noise": self.noise,
                "shared_covariance": None if covariance is None else covariance.tolist(),
                "weighted": self.weighted,
                "measured": None if self.measured is None else list(self.measured),
                **({} if plain else {"storage": self.storage}),
            },
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Schema":
        """The reverse of `to_attributes`.

        Raises:
            StoreError: attributes of something else, of another version, or damaged.
        """
        if attributes.get("format") != FORMAT:
            raise StoreError("not a dgmmis survey", do="make one with `dgmmis ingest SOURCE OUT.zarr --features a,b`")
        if attributes.get("version") not in READABLE:
            raise StoreError(
                "survey store of another version",
                expected=" or ".join(map(str, READABLE)),
                got=attributes.get("version"),
                do="ingest it again, or use the dgmmis that wrote it",
            )
        try:
            entry = dict(attributes["schema"])
            covariance = entry.pop("shared_covariance")
            for key in ("features", "units", "measured"):
                if not isinstance(entry[key], list) and not (key == "measured" and entry[key] is None):
                    raise TypeError(f"{key} must be a list, not {entry[key]!r}")
            entry = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
            return cls(shared_covariance=None if covariance is None else np.array(covariance, dtype=float), **entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StoreError("the schema of the survey store is damaged", got=error, do="ingest it again") from error


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and bool(name.strip())
