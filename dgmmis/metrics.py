"""Metrics: the numbers of a job as Prometheus has them, and the textfile that node_exporter's collector reads."""

import math
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgmmis.account import Account
from dgmmis.callback import Callback, Record, Step
from dgmmis.dataset.disk import writing
from dgmmis.dataset.publish import replace_file
from dgmmis.errors import StoreError

INTERVAL = 10.0
"""Seconds between two replacements of the file while passes go on: about as often as it is read."""

EXIT_CODE, SUCCESS = "dgmmis_last_exit_code", "dgmmis_last_success_timestamp_seconds"
"""Those that outlive a run that fails, or is under way."""

VERSION, ENDED = "dgmmis_published_version", "dgmmis_last_end_timestamp_seconds"

HELP: Mapping[str, str] = {
    "dgmmis_iteration": "Number of the last pass over the data, from 0.",
    "dgmmis_round": "Of imputed points.",
    "dgmmis_objective": "Mean over objects of log p - log Z, with the prior.",
    "dgmmis_distance": "From where the maximum is expected, in standard errors.",
    "dgmmis_completeness": "Share of the objects that the survey sees.",
    "dgmmis_n_samples": "Sum of the weights of the observed objects.",
    "dgmmis_pass_seconds": "That the last pass took.",
    "dgmmis_rows_per_second": "Rows over the seconds of the last pass.",
    "dgmmis_passes": "Over the data, of this run.",
    "dgmmis_workers_lost": "Workers that were lost, and survived, in this run.",
    "dgmmis_retries": "Tasks that were done again for lost workers in this run.",
    VERSION: "Number of the version of the model that holds.",
    EXIT_CODE: "Of the last run that ended.",
    ENDED: "When the last run ended, unix time.",
    SUCCESS: "When a run last ended well, unix time: a fit converged, or nothing new, or a new version.",
}

FIRST = b"# HELP dgmmis_"
"""How a file of them begins."""

SAMPLE = re.compile(r'^(\w+)\{job="((?:[^"\\]|\\.)*)"\} (\S+)$', re.ASCII)


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number for Prometheus: its name, what it is, and its value."""

    name: str
    help: str
    value: float


def of_record(account: Account, record: Record) -> list[Gauge]:
    """The numbers of a run after a pass; those that are not known are left out."""
    values = {
        "iteration": record.iteration,
        "round": record.round,
        "objective": record.objective,
        "distance": record.distance,
        "completeness": record.completeness,
        "n_samples": record.n_samples,
        "pass_seconds": record.seconds,
        "rows_per_second": account.numbers(record).get("rows_per_second", math.nan),
        "passes": account.n_passes,
        "workers_lost": account.survived.workers_lost,
        "retries": account.survived.tasks_again,
    }
    return [gauge(f"dgmmis_{name}", value) for name, value in values.items() if math.isfinite(value)]


def gauge(name: str, value: float) -> Gauge:
    return Gauge(name, HELP[name], float(value))


def text(gauges: Iterable[Gauge], job: str) -> str:
    """Gauges in the text format of Prometheus, version 0.0.4, labelled by the job."""
    label = job.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = []
    for one in gauges:
        lines += [f"# HELP {one.name} {one.help}", f"# TYPE {one.name} gauge"]
        lines.append(f'{one.name}{{job="{label}"}} {one.value!r}')
    return "\n".join(lines) + "\n"


class MetricsFile(Callback):
    """A textfile of a job, of its own, replaced in one step while the job runs and when it ends, however it ends.

    What is there of before is kept until a run says otherwise: when one last succeeded, and how the last one ended.

    Args:
        path: of the file; node_exporter reads those named *.prom.
        account: what is known of the run; it hears of events before.

    Raises:
        StoreError: the file cannot be written, or is something else.
    """

    def __init__(self, path: Path, account: Account) -> None:
        self._path, self._account = path, account
        _require_place(path)
        kept = _read(path, account.job)
        self._kept = {name: kept[name] for name in (EXIT_CODE, SUCCESS, VERSION, ENDED) if name in kept}
        self._written, self._is_lost = time.monotonic(), False
        with writing(f"the metrics '{path}'"):
            self._write()

    def on_step(self, step: Step) -> None:
        if time.monotonic() - self._written >= INTERVAL:
            self._rewrite()

    def ended(self, exit_code: int) -> None:
        """The run has ended."""
        self._kept |= {EXIT_CODE: exit_code, ENDED: time.time()}
        succeeded = self._account.succeeded
        if exit_code == 0 if succeeded is None else succeeded:
            self._kept[SUCCESS] = time.time()
        if self._account.version is not None:
            self._kept[VERSION] = int(self._account.version)
        self._rewrite()

    def _rewrite(self) -> None:
        """Replace the file; a disk that fails now does not end the fit, and is said once."""
        self._written = time.monotonic()
        try:
            self._write()
        except OSError as error:
            if not self._is_lost:
                sys.stderr.write(f"dgmmis: the metrics '{self._path}' are not written: {error}\n")
            self._is_lost = True

    def _write(self) -> None:
        record = self._account.record
        gauges = [] if record is None else of_record(self._account, record)
        gauges += [gauge(name, value) for name, value in self._kept.items()]
        replace_file(self._path, text(gauges, self._account.job).encode())


def _require_place(path: Path) -> None:
    """Refuse what is there and is something else: a job from somebody else may name any file."""
    with writing(f"the metrics '{path}'"):
        if not path.exists():
            return
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(FIRST)) in (b"", b"\n", FIRST):
                    return
        raise StoreError(f"'{path}' is there and is not metrics", do="choose another path, or move it away")


def _read(path: Path, job: str) -> dict[str, float]:
    """The samples of a job in a textfile that this module wrote; nothing where there is none, or something else."""
    try:
        lines: Sequence[str] = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for line in lines:
        sample = SAMPLE.match(line)
        if sample and re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], sample[2]) == job:
            try:
                found[sample[1]] = float(sample[3])
            except ValueError:
                continue
    return found
