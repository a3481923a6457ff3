"""The tables of a job file: their keys, what these hold, and their values if left out."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, cast

from dgmmis.dataset.columns import Columns
from dgmmis.errors import JobError, nearest_name

NUMBER = (int, float)

COLUMN_KEYS = tuple(of.name for of in fields(Columns))
"""What a job may say of the columns of its sources."""

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
    """[model]: how many components, of what structure, from which start: kmeans, random, grid, or the path of a run
    or of a saved model."""

    n_components: int = _key(int)
    covariance_type: str = _key(str, "full")
    init: str = _key(str, "kmeans")
    prior_scale: float | Sequence[Sequence[float]] | None = _key((*NUMBER, list), None)
    prior: Mapping[str, Any] | None = _key(dict, None)
    frozen: Mapping[str, Sequence[int]] = _key(dict, {})
    cutoff: float | None = _key(NUMBER, None)


@dataclass(frozen=True, slots=True)
class PriorTable:
    """[model.prior]: of the weights (see Dirichlet), and of means and covariances: `scale` alone is an InverseWishart,
    all four of them are a NormalInverseWishart."""

    concentration: float | Sequence[float] | None = _key((*NUMBER, list), None)
    scale: float | Sequence[Sequence[float]] | None = _key((*NUMBER, list), None)
    mean: Sequence[float] | None = _key(list, None)
    mean_precision: float | None = _key(NUMBER, None)
    degrees_of_freedom: float | None = _key(NUMBER, None)


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
    arrived: float = _key(NUMBER, 0.03)
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
    many seconds of work may be lost at most by what kills it; 0: no pass over the data. And where its log ("-": stderr)
    and its metrics go, also of `dgmmis reprocess`."""

    path: str | None = _key(str, None)
    log: str | None = _key(str, None)
    metrics: str | None = _key(str, None)
    checkpoint_seconds: float = _key(NUMBER, 10.0)


@dataclass(frozen=True, slots=True)
class GateTable:
    """[reprocess.gate]: what a new model may not exceed to be published; inf: whatever it is.

    Args:
        fall: of the normalised mean log-likelihood of held-out objects that the model which holds knew, in standard
            errors of the difference.
        jump: of a parameter, in the standard errors that it had. N objects more among n move it by about
            sqrt(N / (n + N)) of them.
        completeness: change of Z.
        arrivals: by how much the rows that came in are less probable, in the mean of log L under the model that holds,
            than held-out ones of before.
    """

    fall: float = _key(NUMBER, 3.0)
    jump: float = _key(NUMBER, 5.0)
    completeness: float = _key(NUMBER, 0.05)
    arrivals: float = _key(NUMBER, 1.0)

    def check(self) -> None:
        for of in fields(self):
            if not getattr(self, of.name) > 0:
                raise JobError(f"[reprocess.gate] {of.name} must be positive", got=getattr(self, of.name))


@dataclass(frozen=True, slots=True)
class ReprocessTable:
    """[reprocess]: what `dgmmis reprocess` takes in, what it leaves out of the fit, and what it keeps.

    Args:
        sources: files, or patterns such as "nights/*.csv", relative to the job file.
        columns: as `dgmmis ingest` has them (see Columns); left out, those that made the survey.
        grows: whether sources grow at their end: then their new rows are taken in, by number.
        order, float32: as for `dgmmis ingest`, of a survey that is made.
        models: the model store, relative to the job file; left out: beside it, with the suffix .models.
        held_out: share of the rows that no fit sees, by which models are compared.
        keep, keep_days: how many versions are kept, and how old they may become.
        gate: what a new model may not exceed (see GateTable).
    """

    sources: Sequence[str] = _key(list)
    columns: Mapping[str, Any] = _key(dict, {})
    grows: bool = _key(bool, False)
    order: bool = _key(bool, False)
    float32: bool = _key(bool, False)
    models: str | None = _key(str, None)
    held_out: float = _key(NUMBER, 0.05)
    keep: int = _key(int, 10)
    keep_days: float | None = _key(NUMBER, None)
    gate: Mapping[str, Any] = _key(dict, {})

    @property
    def n_folds(self) -> int:
        """Of the folds of which one is held out."""
        return round(1 / float(self.held_out))

    def limits(self) -> GateTable:
        return cast(GateTable, read_table("reprocess.gate", self.gate, GateTable))

    def check(self) -> None:
        """Make every value once.

        Raises:
            JobError: one that cannot be.
        """
        if not self.sources or any(not source or type(source) is not str for source in self.sources):
            raise JobError("[reprocess] sources must be names of files, or patterns", got=self.sources)
        if not 0 < self.held_out <= 0.5:
            raise JobError("[reprocess] held_out", expected="a share of more than 0, up to 0.5", got=self.held_out)
        if self.keep < 1 or (self.keep_days is not None and not self.keep_days > 0):
            raise JobError("[reprocess] keep and keep_days must be positive", got=f"{self.keep} and {self.keep_days}")
        for key in self.columns:
            if key not in COLUMN_KEYS:
                raise JobError(f"[reprocess.columns] has no key '{key}'", do=nearest_name(key, COLUMN_KEYS))
        self.limits().check()


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


CALLED = {
    bool: "true or false",
    dict: "a table",
    float: "a number",
    int: "a whole number",
    list: "a list",
    str: "text",
}
"""Kinds of values, in the words of TOML."""


def _check_kind(name: str, key: "Field[Any]", value: Any) -> None:
    kind = key.metadata["kind"]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(CALLED[k] for k in kinds if k is not int or float not in kinds)
        raise JobError(f"[{name}] {key.name} has the wrong type", expected=names, got=f"{value!r}")
    if isinstance(value, str) and not value.isprintable():
        raise JobError(f"[{name}] {key.name} has a character that cannot be printed", got=f"{value!r}")
