"""Job: a job file, read and checked as a whole before anything runs. Unknown keys are errors that name the nearest."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.background import Uniform
from dgmmis.em import Stopping
from dgmmis.errors import DgmmisError, JobError, nearest_name
from dgmmis.execution.cluster import ClusterSpec
from dgmmis.initialize import Start
from dgmmis.job.selection_table import selection_from_table
from dgmmis.mixture import GaussianMixture
from dgmmis.prior import Constraints, Frozen, InverseWishart
from dgmmis.survey import Survey, as_noise_law

NUMBER = (int, float)


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
    """[model]: how many components, of what structure, from which start (kmeans, random, or the path of a run)."""

    n_components: int = _key(int)
    covariance_type: str = _key(str, "full")
    init: str = _key(str, "kmeans")
    prior_scale: float | Sequence[Sequence[float]] | None = _key((*NUMBER, list), None)
    frozen: Mapping[str, Sequence[int]] = _key(dict, {})


@dataclass(frozen=True, slots=True)
class NoiseTable:
    """[noise]: the covariance of the noise of objects that were not seen; left out: that of the data, if shared."""

    unseen: Sequence[Sequence[float]] | None = _key(list, None)


@dataclass(frozen=True, slots=True)
class BackgroundTable:
    """[background]: a uniform background on a box, its first fraction, and the fractions it may have."""

    lower: Sequence[float] = _key(list)
    upper: Sequence[float] = _key(list)
    fraction: float = _key(NUMBER, 0.1)
    bounds: Sequence[float] = _key(list, [0.0, 0.999])


@dataclass(frozen=True, slots=True)
class FitTable:
    """[fit]: when to stop, and the seed of everything random."""

    tol: float = _key(NUMBER, 1e-6)
    max_iter: int = _key(int, 1000)
    seed: int = _key(int, 0)


@dataclass(frozen=True, slots=True)
class ClusterTable:
    """[cluster]: where the work runs (see ClusterSpec)."""

    kind: str = _key(str, "auto")
    workers: int | None = _key(int, None)
    memory_limit: str | None = _key(str, None)
    address: str | None = _key(str, None)
    timeout: float = _key(NUMBER, 60.0)


@dataclass(frozen=True, slots=True)
class OutputTable:
    """[output]: where the run is written, relative to the job file; left out: beside it, with the suffix .run."""

    path: str | None = _key(str, None)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A job file's tables, and the values they stand for."""

    path: Path
    text: str
    data: DataTable
    model: ModelTable
    selection: Mapping[str, Any] | None = None
    noise: NoiseTable = field(default_factory=NoiseTable)
    background: BackgroundTable | None = None
    fit: FitTable = field(default_factory=FitTable)
    cluster: ClusterTable = field(default_factory=ClusterTable)
    output: OutputTable = field(default_factory=OutputTable)

    def resolve(self, path: str) -> Path:
        """A path of the job file: relative ones are relative to it."""
        return (self.path.parent / path).absolute()

    @property
    def output_path(self) -> Path:
        return self.resolve(self.output.path) if self.output.path else self.path.with_suffix(".run").absolute()

    def start(self, mixture: GaussianMixture | None = None) -> Start:
        """How to find the first model; `mixture` is that of the run which `init` names."""
        background = (
            None if self.background is None else Uniform(_vector(self.background.lower), _vector(self.background.upper))
        )
        fraction = 0.1 if self.background is None else float(self.background.fraction)
        method: Any = mixture if mixture is not None else self.model.init
        return Start(self.model.n_components, method, background, fraction)

    def survey(self) -> Survey:
        selection = None if self.selection is None else selection_from_table(self.selection)
        law = None if self.noise.unseen is None else as_noise_law(_vector(self.noise.unseen))
        return Survey(selection, law)

    def constraints(self) -> Constraints:
        scale = self.model.prior_scale
        prior = None if scale is None else InverseWishart(_vector(scale) if isinstance(scale, list) else float(scale))  # type: ignore[arg-type]
        bounds = (0.0, 0.999)
        if self.background is not None:
            low, high = (float(b) for b in self.background.bounds)
            bounds = (low, high)
        return Constraints(
            covariance_type=self.model.covariance_type,
            prior=prior,
            frozen=Frozen.parse(self.model.frozen, self.model.n_components),
            background_bounds=bounds,
        )

    def stopping(self) -> Stopping:
        return Stopping(tol=float(self.fit.tol), max_iter=self.fit.max_iter)

    def cluster_spec(self) -> ClusterSpec:
        table, address = self.cluster, self.cluster.address
        if table.kind == "scheduler-file" and address is not None:
            address = str(self.resolve(address))
        return ClusterSpec(table.kind, table.workers, table.memory_limit, address, float(table.timeout))


TABLES: Mapping[str, Any] = {
    "data": DataTable,
    "model": ModelTable,
    "selection": None,
    "noise": NoiseTable,
    "background": BackgroundTable,
    "fit": FitTable,
    "cluster": ClusterTable,
    "output": OutputTable,
}


def read_job(path: str | Path) -> Job:
    """Read a job file and check every table.

    Raises:
        JobError: it cannot be read, is not TOML, lacks or has too many keys, or a value is wrong; it says which.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError as error:
        raise JobError(f"no job file '{path}'", do="`dgmmis simulate` writes one to start from") from error
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"cannot read job file '{path}': {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"'{path}' is not TOML: {error}") from error
    tables: dict[str, Any] = {}
    for name, values in document.items():
        if name not in TABLES:
            raise JobError(f"unknown table [{name}]", do=nearest_name(name, TABLES))
        if not isinstance(values, dict):
            raise JobError(f"[{name}] must be a table", got=values)
        tables[name] = values if TABLES[name] is None else _read_table(name, values, TABLES[name])
    for name in ("data", "model"):
        if name not in tables:
            raise JobError(f"the job file lacks the table [{name}]", do=f"add [{name}]")
    job = Job(path=path.absolute(), text=text, **tables)
    _check(job)
    return job


def _read_table(name: str, values: Mapping[str, Any], table: Any) -> Any:
    keys: dict[str, Field[Any]] = {f.name: f for f in fields(table)}
    for key, value in values.items():
        if key not in keys:
            raise JobError(f"[{name}] has no key '{key}'", do=nearest_name(key, keys))
        kind = keys[key].metadata["kind"]
        if not isinstance(value, kind) or isinstance(value, bool):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise JobError(f"[{name}] {key} has the wrong type", expected=names, got=f"{value!r}")
    for key, f in keys.items():
        if f.default is MISSING and f.default_factory is MISSING and key not in values:
            raise JobError(f"[{name}] lacks the key '{key}'", do=f"add {key} = ...")
    return table(**values)


def _check(job: Job) -> None:
    """Make every value once, so that what is wrong is said now."""
    try:
        if job.model.init in ("kmeans", "random"):
            job.start()
        job.survey()
        job.constraints()
        job.stopping()
        if job.fit.seed < 0:
            raise JobError("[fit] seed must not be negative", got=job.fit.seed)
        job.cluster_spec()
    except JobError:
        raise
    except (DgmmisError, TypeError, ValueError) as error:
        raise JobError(f"in '{job.path.name}': {error}") from error


def _vector(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=float)
