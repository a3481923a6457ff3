"""Job: a job file, read and checked as a whole before anything runs. Unknown keys are errors that name the nearest."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dgmmis.background import Background
from dgmmis.dataset.place import place_of
from dgmmis.em import Stopping
from dgmmis.errors import DgmmisError, JobError, nearest_name
from dgmmis.execution.cluster import ClusterSpec
from dgmmis.initialize import START_METHODS, Start
from dgmmis.interchange import mixture_at
from dgmmis.job.cluster_spec import cluster_spec, read_cluster
from dgmmis.job.job_tables import (
    BackgroundTable,
    ClusterTable,
    DataTable,
    FitTable,
    ModelTable,
    OutputTable,
    ReprocessTable,
    read_table,
)
from dgmmis.job.prior_table import prior_of
from dgmmis.job.toml import toml_text
from dgmmis.mixture import GaussianMixture
from dgmmis.prior import Constraints, Frozen
from dgmmis.search import Search
from dgmmis.survey import Survey
from dgmmis.tables import background_from_table, survey_from_tables


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A job file's tables, and the values they stand for. [selection] and [noise]: see tables.survey.

    `segments`, by name and identity, are those of the survey that are fitted; None: all there are. In
    `performance_report` dask's own report of the cluster is written; None: nowhere.
    """

    path: Path
    text: str
    data: DataTable
    model: ModelTable
    selection: Mapping[str, Any] | None = None
    noise: Mapping[str, Any] | None = None
    background: BackgroundTable | None = None
    fit: FitTable = field(default_factory=FitTable)
    cluster: ClusterTable = field(default_factory=ClusterTable)
    output: OutputTable = field(default_factory=OutputTable)
    reprocess: ReprocessTable | None = None
    allow_code: bool = False
    segments: tuple[tuple[str, str], ...] | None = None
    performance_report: Path | None = None

    @property
    def essence(self) -> str:
        """What decides the answer, as JSON text: not where the work runs, nor where rows come from and the run goes."""
        told = tomllib.loads(self.text).items()
        tables = {name: table for name, table in told if name not in ("cluster", "output", "reprocess")}
        return json.dumps(tables, sort_keys=True, default=str)

    def resolve(self, path: str) -> Path:
        """A path of the job file, or a URL: relative ones are relative to it."""
        return (self.path.parent / place_of(path)).absolute()

    @property
    def output_path(self) -> Path:
        return self.resolve(self.output.path) if self.output.path else self.path.with_suffix(".run").absolute()

    @property
    def log_path(self) -> str | None:
        """Where what happens is logged; "-": stderr."""
        return self.output.log if self.output.log in (None, "-") else str(self.resolve(str(self.output.log)))

    @property
    def metrics_path(self) -> Path | None:
        return None if self.output.metrics is None else self.resolve(self.output.metrics)

    @property
    def models_path(self) -> Path:
        """Of the model store that reprocessing publishes in."""
        named = None if self.reprocess is None else self.reprocess.models
        return self.resolve(named) if named else self.path.with_suffix(".models").absolute()

    def start(self, mixture: GaussianMixture | None = None) -> Start:
        """How to find the first model; `mixture` is that of the run or model which `init` names."""
        fraction = 0.1 if self.background is None else float(self.background.fraction)
        method: Any = mixture if mixture is not None else self.model.init
        cutoff = None if self.model.cutoff is None else float(self.model.cutoff)
        return Start(self.model.n_components, method, self.shape_of_background(), fraction, cutoff)

    def first_mixture(self) -> GaussianMixture | None:
        """The mixture of the run, or of the saved model, that `init` names; None where it names a way to start.

        Raises:
            JobError: it names neither.
            StoreError: it cannot be read.
        """
        if self.model.init in START_METHODS:
            return None
        return mixture_at(self.model.init, self.path.parent, allow_code=self.allow_code)

    def shape_of_background(self) -> Background | None:
        table = self.background
        return None if table is None else background_from_table(table.shape, allow_code=self.allow_code)

    def survey(self) -> Survey:
        """How the catalogue was made; the paths of its files are relative to the job file."""
        folder = self.path.parent
        return survey_from_tables(self.selection, self.noise, folder=folder, allow_code=self.allow_code)

    def constraints(self) -> Constraints:
        bounds = (0.0, 0.999)
        if self.background is not None:
            low, high = (float(b) for b in self.background.bounds)
            bounds = (low, high)
        return Constraints(
            covariance_type=self.model.covariance_type,
            prior=prior_of(self.model),
            frozen=Frozen.parse(self.model.frozen, self.model.n_components),
            background_bounds=bounds,
        )

    def stopping(self) -> Stopping:
        fit = self.fit
        return Stopping(float(fit.tol), fit.max_iter, float(fit.imputation_error), float(fit.arrived))

    def search(self) -> Search:
        return Search(self.fit.n_starts, self.fit.split_merge)

    def with_model(self, n_components: int, covariance_type: str) -> "Job":
        """The same job for another model: its text has the same tables, without their comments.

        Raises:
            RefusedError: a value that cannot be written again.
        """
        tables = tomllib.loads(self.text)
        tables["model"] |= {"n_components": n_components, "covariance_type": covariance_type}
        job = parse_job(toml_text(tables).lstrip(), self.path, allow_code=self.allow_code)
        return replace(job, segments=self.segments)

    def cluster_spec(self) -> ClusterSpec:
        """Where the work runs; the paths of its files are relative to the job file."""
        spec = cluster_spec(self.cluster, folder=self.path.parent, allow_code=self.allow_code)
        return replace(spec, performance_report=self.performance_report)


MOST_BYTES = 16 * 2**20
"""Of a job file."""

TABLES: Mapping[str, Any] = {
    "data": DataTable,
    "model": ModelTable,
    "selection": None,
    "noise": None,
    "background": BackgroundTable,
    "fit": FitTable,
    "cluster": ClusterTable,
    "output": OutputTable,
    "reprocess": ReprocessTable,
}


def read_job(path: str | Path, *, allow_code: bool = False) -> Job:
    """Read a job file and check every table.

    Args:
        path: of the file.
        allow_code: whether it may name functions and classes to import and call: selections, noise laws, backgrounds,
            clusters.

    Raises:
        JobError: it cannot be read, is not TOML, lacks or has too many keys, or a value is wrong; it says which.
    """
    path = Path(path)
    return parse_job(_text(path), path, allow_code=allow_code)


def parse_job(text: str, path: Path, *, allow_code: bool = False) -> Job:
    """The job of a file's text; `path` is what its relative paths are relative to. Raises as `read_job` does."""
    job = _of_tables(text, path, allow_code=allow_code)
    _check(job)
    return job


def constraints_of(text: str) -> Constraints:
    """The constraints of a job file's text, wherever its files are by now. Raises as `read_job` does."""
    return _of_tables(text, Path("job.toml"), allow_code=False).constraints()


def stopping_of(text: str) -> Stopping:
    """When the fit of a job file's text stops. Raises as `read_job` does."""
    return _of_tables(text, Path("job.toml"), allow_code=False).stopping()


def _of_tables(text: str, path: Path, *, allow_code: bool) -> Job:
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise JobError(f"'{path}' is nested too deeply", do="write lists and tables in fewer levels") from error
    except ValueError as error:  # TOML's own, and Python's of numbers with too many digits
        raise JobError(f"'{path}' is not TOML", got=error, do="correct that line") from error
    tables: dict[str, Any] = {}
    for name, values in document.items():
        if name not in TABLES:
            raise JobError(f"unknown table [{name}]", do=nearest_name(name, TABLES))
        if not isinstance(values, dict):
            raise JobError(f"[{name}] must be a table", got=values)
        match TABLES[name]:
            case None:
                tables[name] = values
            case table if table is BackgroundTable:
                tables[name] = BackgroundTable.read(values)
            case table if table is ClusterTable:
                tables[name] = read_cluster(values)
            case table:
                tables[name] = read_table(name, values, table)
    for name in ("data", "model"):
        if name not in tables:
            raise JobError(f"the job file lacks the table [{name}]", do=f"add [{name}]")
    return Job(path=path.absolute(), text=text, allow_code=allow_code, **tables)


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a folder cannot be read, and a pipe would be waited for
            raise JobError(f"job file '{path}' is not a file", do="give the path of a TOML file")
        if path.stat().st_size > MOST_BYTES:
            raise JobError(
                f"job file '{path}' is too large",
                expected=f"at most {MOST_BYTES} bytes",
                got=path.stat().st_size,
                do="put long tables into an npz file (grid, injections), or check the path",
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise JobError(f"no job file '{path}'", do="`dgmmis simulate` writes one to start from") from error
    except UnicodeDecodeError as error:
        raise JobError(
            f"job file '{path}' is not text in UTF-8",
            got=error,
            do="check the path, or convert it, for example with iconv",
        ) from error
    except JobError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise JobError(f"cannot read job file '{path}'", got=error, do="check the path") from error


def _check(job: Job) -> None:
    """Make every value once, so that what is wrong is said now."""
    try:
        job.shape_of_background()
        if job.model.init in START_METHODS:
            job.start()
        job.survey()
        job.constraints()
        job.stopping()
        job.search()
        if job.fit.bootstrap < 0 or job.fit.bootstrap == 1:
            raise JobError("[fit] bootstrap must be 0, or 2 or more replicates", got=job.fit.bootstrap)
        if not 0 <= job.output.checkpoint_seconds < math.inf:
            raise JobError(
                "[output] checkpoint_seconds", expected="0 or more seconds", got=job.output.checkpoint_seconds
            )
        if job.fit.seed < 0:
            raise JobError("[fit] seed must not be negative", got=job.fit.seed)
        job.cluster_spec()
        if job.reprocess is not None:
            job.reprocess.check()
    except JobError:
        raise
    except RecursionError as error:
        raise JobError(f"'{job.path.name}' is nested too deeply", do="write its tables in fewer levels") from error
    except (DgmmisError, TypeError, ValueError, OverflowError) as error:
        raise JobError(f"in '{job.path.name}': {error}") from error
