"""Subject: what a report is on, and what there is of it: a run, finished or not, its survey, its choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmmis.chosen import TABLE, read_choice
from dgmmis.dataset.checkpoint import Run, is_run, is_unfinished, latest_name, read_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.model_store import ModelStore
from dgmmis.dataset.place import place_of
from dgmmis.dataset.under_way import last_checkpoint, unfinished
from dgmmis.errors import DgmmisError


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What there is.

    Args:
        path: as it was named.
        run: the run, or the last checkpoint of one that is not finished; None: it has none yet.
        is_finished: whether the fit is.
        version: of a model store, the name of the one that holds; else empty.
        job: text of the job file; empty if it is not known.
        data_path: of the survey; empty if it is not known.
        data: the survey; None: it is not there.
        without_data: why it is not.
        choice: what `select` found; None: the run did not come of it.
        manifest: what made a version of a model store; None: it is none.
    """

    path: str
    run: Run | None
    is_finished: bool
    version: str
    job: str
    data_path: str
    data: Dataset | None
    without_data: str
    choice: Mapping[str, Any] | None
    manifest: Mapping[str, Any] | None

    @classmethod
    def of(cls, path: str | Path, data: str | Path | None = None, *, allow_code: bool = False) -> "Subject":
        """Read what there is at the path of a run or a model store.

        Raises:
            StoreError: there is neither, or it cannot be read; no survey at `data`.
            JobError: a background that is a function, and that is not allowed.
        """
        place, manifest, version, task = place_of(path), None, "", None
        if is_unfinished(place):
            task, run = unfinished(place), last_checkpoint(place, allow_code=allow_code)
        else:
            run = read_run(place, allow_code=allow_code)
            if not is_run(place):
                version = latest_name(place) or ""
                manifest = ModelStore(place).version(version).manifest
        document: Mapping[str, Any] = {} if run is None else run.document
        own = str(document.get("data") or ("" if task is None else task.data))
        survey, why = _survey(own, data)
        return cls(
            str(path),
            run,
            task is None,
            version,
            str(document.get("job") or ("" if task is None else task.text)),
            own if data is None else str(data),
            survey,
            why,
            read_choice(place) if (place / TABLE).is_file() else None,
            manifest,
        )

    @property
    def document(self) -> Mapping[str, Any]:
        """What the run says of itself; empty if there is none."""
        return {} if self.run is None else self.run.document


def _survey(own: str, data: str | Path | None) -> tuple[Dataset | None, str]:
    if data is not None:
        return Dataset.open(data), ""
    if not own:
        return None, "The run does not say what its survey was; --data names it."
    try:
        if not place_of(own).exists():
            return None, f"The survey '{own}' is not there any more; --data names another place."
        return Dataset.open(own), ""
    except (DgmmisError, OSError) as error:
        return None, f"The survey '{own}' cannot be read: {error}"
