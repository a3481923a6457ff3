"""[cluster] of a job file: which keys go with which kind, no secrets, and what it all stands for."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dgmmis.errors import JobError
from dgmmis.execution.cluster import CLUSTER_KINDS, ELASTIC_KINDS, ClusterSpec
from dgmmis.execution.elastic import Elastic
from dgmmis.execution.tls import Tls
from dgmmis.job.job_tables import ClusterTable, read_table
from dgmmis.tables.code import require_allowed

SLURM_KEYS = ("queue", "account", "cores", "memory", "walltime")
CLASS_KEYS = ("path", "arguments")
KINDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("minimum", "maximum"), ELASTIC_KINDS),
    **dict.fromkeys(SLURM_KEYS, ("slurm",)),
    **dict.fromkeys(CLASS_KEYS, ("class",)),
}
"""Of keys, those they go with."""

SECRET = re.compile(r"pass(wo?r?d|phrase)|token|secret|credential|(api|access|private)_?key", re.IGNORECASE)
USER_AND_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def read_cluster(values: Mapping[str, Any]) -> ClusterTable:
    """The table, once it is seen that nobody has written a secret into it.

    Raises:
        JobError: somebody has, or as in `read_table`; a secret is not repeated.
    """
    for name in _secrets(values):
        raise JobError(
            f"[cluster] has a secret, '{name}': job files are copied into runs",
            do="leave it to dask's own configuration (~/.config/dask/*.yaml), or to the environment",
        )
    table: ClusterTable = read_table("cluster", values, ClusterTable)
    return table


def cluster_spec(table: ClusterTable, *, folder: Path, allow_code: bool) -> ClusterSpec:
    """What the table stands for.

    Args:
        table: as it was read.
        folder: what paths are relative to.
        allow_code: whether it may name a class to import.

    Raises:
        JobError: keys that do not go together, or a class that is not allowed.
    """
    address = table.address
    if table.kind == "scheduler-file" and address is not None:
        address = str((folder / address).absolute())
    return ClusterSpec(
        table.kind,
        table.workers,
        table.memory_limit,
        address,
        timeout=None if table.timeout is None else float(table.timeout),
        patience=float(table.patience),
        tls=_tls(table, folder),
        elastic=_elastic(table, allow_code),
    )


def _tls(table: ClusterTable, folder: Path) -> Tls | None:
    files = {"tls_ca_file": table.tls_ca_file, "tls_cert": table.tls_cert, "tls_key": table.tls_key}
    given = [str((folder / path).absolute()) for path in files.values() if path is not None]
    if given and len(given) < len(files):
        lacking = ", ".join(name for name, path in files.items() if path is None)
        raise JobError(f"[cluster] lacks {lacking}", do=f"certificates are three files: {', '.join(files)}")
    return Tls(*given) if given else None


def _elastic(table: ClusterTable, allow_code: bool) -> Elastic | None:
    if table.kind not in CLUSTER_KINDS:  # which is said in a moment
        return None
    for name, kinds in KINDS.items():
        if getattr(table, name) is not None and table.kind not in kinds:
            raise JobError(f"cluster kind '{table.kind}' takes no `{name}`", do=f"it goes with {', '.join(kinds)}")
    if table.kind not in ELASTIC_KINDS:
        return None
    if table.maximum is None:
        raise JobError("[cluster] lacks the key 'maximum'", do="add `maximum = ...`, of worker processes")
    minimum, maximum = table.minimum or 0, table.maximum
    if table.kind == "slurm":
        job = {name: getattr(table, name) for name in SLURM_KEYS}
        return Elastic.slurm(**job, minimum=minimum, maximum=maximum)
    if table.path is None:
        raise JobError("[cluster] lacks the key 'path'", do='add `path = "module:Class"`, of a class of dask clusters')
    require_allowed("cluster", table.path, what="path", allow_code=allow_code)
    return Elastic(table.path, table.arguments or {}, minimum, maximum)


def _secrets(values: Any, name: str = "") -> Iterator[str]:
    """The names under which values look like secrets, at any depth."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if SECRET.search(key):
                yield key
            yield from _secrets(value, key)
    elif isinstance(values, list):
        for value in values:
            yield from _secrets(value, name)
    elif isinstance(values, str) and USER_AND_PASSWORD.search(values):
        yield name
