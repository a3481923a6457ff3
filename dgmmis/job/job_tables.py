"""The tables of a job file: their keys, what these hold, and their values if left out."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from dgmmis.errors import JobError, nearest_name

NUMBER = (int, float)

SHAPE_KEYS = ("lower", "upper", "uniform", "mixture", "function")
"""What a background may be."""


def _key(kind: type | tuple[type, ...], default: Any = MISSING) -> Any:
    """A key of a table: what it holds, and its value if left out."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default, metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind}) if default is not MISSING else field(metadata={"kind": kind})


@dataclass(frozen=True, slots=True)
class DataTable:
    """[data]: the survey store, relative to the job file."""

    path: str = _key(str)


@dataclass(frozen=True, slots=True)
class ModelTable:
    """[model]: how many components, of what structure, from which start: kmeans, random, grid, or the path of a run."""

    n_components: int = _key(int)
    covariance_type: str = _key(str, "full")
    init: str = _key(str, "kmeans")
    prior_scale: float | Sequence[Sequence[float]] | None = _key((*NUMBER, list), None)
    frozen: Mapping[str, Sequence[int]] = _key(dict, {})
    cutoff: float | None = _key(NUMBER, None)


@dataclass(frozen=True, slots=True)
class BackgroundTable:
    """[background]: its first fraction, and the fractions it may have, beside its shape (see tables.background)."""

    shape: Mapping[str, Any]
    fraction: float = _key(NUMBER, 0.1)
    bounds: Sequence[float] = _key(list, [0.0, 0.999])

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "BackgroundTable":
        """Split what is said of the fraction from what is said of the shape."""
        of_fraction = [f for f in fields(cls) if f.name != "shape"]
        known = (*SHAPE_KEYS, *(f.name for f in of_fraction))
        for key in values:
            if key not in known:
                raise JobError(f"[background] has no key '{key}'", do=nearest_name(key, known))
        given = {f.name: values[f.name] for f in of_fraction if f.name in values}
        for f in of_fraction:
            if f.name in given:
                _check_kind("background", f, given[f.name])
        return cls({key: value for key, value in values.items() if key not in given}, **given)


@dataclass(frozen=True, slots=True)
class FitTable:
    """[fit]: when to stop, how hard to search (see Stopping and Search), how many replicates of the
    bootstrap, and the seed of everything random."""

    tol: float = _key(NUMBER, 1e-6)
    max_iter: int = _key(int, 1000)
    imputation_error: float = _key(NUMBER, 0.1)
    n_starts: int = _key(int, 1)
    split_merge: int = _key(int, 0)
    bootstrap: int = _key(int, 0)
    seed: int = _key(int, 0)


@dataclass(frozen=True, slots=True)
class ClusterTable:
    """[cluster]: where the work runs (see ClusterSpec, and Elastic for what starts its own workers)."""

    kind: str = _key(str, "auto")
    workers: int | None = _key(int, None)
    memory_limit: str | None = _key(str, None)
    address: str | None = _key(str, None)
    timeout: float | None = _key(NUMBER, None)
    patience: float = _key(NUMBER, 300.0)
    tls_ca_file: str | None = _key(str, None)
    tls_cert: str | None = _key(str, None)
    tls_key: str | None = _key(str, None)
    minimum: int | None = _key(int, None)
    maximum: int | None = _key(int, None)
    queue: str | None = _key(str, None)
    account: str | None = _key(str, None)
    cores: int | None = _key(int, None)
    memory: str | None = _key(str, None)
    walltime: str | None = _key(str, None)
    path: str | None = _key(str, None)
    arguments: Mapping[str, Any] | None = _key(dict, None)


@dataclass(frozen=True, slots=True)
class OutputTable:
    """[output]: where the run is written, relative to the job file; left out: beside it, with the suffix .run. And how
    many seconds of work may be lost at most by what kills it; 0: no pass over the data."""

    path: str | None = _key(str, None)
    checkpoint_seconds: float = _key(NUMBER, 10.0)


def read_table(name: str, values: Mapping[str, Any], table: Any) -> Any:
    """The values of a table.

    Raises:
        JobError: a key too many or too few, or a value of another type.
    """
    keys: dict[str, Field[Any]] = {f.name: f for f in fields(table)}
    for key, value in values.items():
        if key not in keys:
            raise JobError(f"[{name}] has no key '{key}'", do=nearest_name(key, keys))
        _check_kind(name, keys[key], value)
    for key, f in keys.items():
        if f.default is MISSING and f.default_factory is MISSING and key not in values:
            raise JobError(f"[{name}] lacks the key '{key}'", do=f"add `{key} = ...`")
    return table(**values)


def _check_kind(name: str, key: "Field[Any]", value: Any) -> None:
    kind = key.metadata["kind"]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise JobError(f"[{name}] {key.name} has the wrong type", expected=names, got=f"{value!r}")
    if isinstance(value, str) and not value.isprintable():
        raise JobError(f"[{name}] {key.name} has a character that cannot be printed", got=f"{value!r}")
