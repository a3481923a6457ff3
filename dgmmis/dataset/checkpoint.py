"""The run store: what a fit leaves behind.

RUN/model.npz is the whole truth, in one file replaced in one step; RUN/fit.json repeats the numbers for people and
other programs.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis import __version__
from dgmmis.background import Uniform
from dgmmis.dataset.publish import replace_file
from dgmmis.errors import DgmmisError, StoreError
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model

FORMAT = "dgmmis-run"
VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A fitted model and the numbers around it.

    Args:
        model: the model.
        features, units: names and units of the model's features, in order.
        document: JSON values: status, objective, completeness, history, job, versions.
    """

    model: Model
    features: tuple[str, ...]
    units: tuple[str, ...]
    document: Mapping[str, Any]

    def numbers(self) -> dict[str, Any]:
        """The model's parameters as JSON values."""
        mixture, background = self.model.mixture, self.model.background
        numbers: dict[str, Any] = {
            "weights": mixture.weights.tolist(),
            "means": mixture.means.tolist(),
            "covariances": mixture.covariances.tolist(),
            "background_fraction": self.model.background_fraction,
        }
        if background is not None:
            numbers["background"] = {"lower": background.lower.tolist(), "upper": background.upper.tolist()}
        return numbers

    @property
    def completeness(self) -> float:
        return float(self.document.get("completeness", 1.0))


def prepare_run(path: str | Path) -> None:
    """Make sure that a run can be written at a path, before the work that leads to it.

    Raises:
        StoreError: something else is there, or nothing may be written.
    """
    path = Path(path)
    try:
        if path.exists() and not (path.is_dir() and ((path / "model.npz").exists() or not any(path.iterdir()))):
            raise StoreError(f"'{path}' is there and is not a run", do="choose another output, or move it away")
        was_there = path.exists()
        path.mkdir(parents=True, exist_ok=True)
        replace_file(path / ".writable", b"")
        (path / ".writable").unlink()
        if not was_there:
            path.rmdir()
    except DgmmisError:
        raise
    except OSError as error:
        raise StoreError(f"the run '{path}' cannot be written: {error}", do="choose another output") from error


def write_run(path: str | Path, run: Run) -> None:
    """Write a run, in the place of the one that is there.

    Raises:
        StoreError: something else is there, or the disk refuses.
    """
    path = Path(path)
    prepare_run(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        document = {"format": FORMAT, "version": VERSION, "dgmmis": __version__, **run.document}
        document |= {"features": list(run.features), "units": list(run.units)}
        arrays: dict[str, Any] = {
            "weights": run.model.mixture.weights,
            "means": run.model.mixture.means,
            "covariances": run.model.mixture.covariances,
            "background_fraction": np.float64(run.model.background_fraction),
            "document": np.array(json.dumps(document)),
        }
        if run.model.background is not None:
            arrays |= {"background_lower": run.model.background.lower, "background_upper": run.model.background.upper}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        replace_file(path / "model.npz", buffer.getvalue())
        replace_file(path / "fit.json", (json.dumps(document | run.numbers(), indent=1) + "\n").encode())
    except DgmmisError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write the run '{path}': {error}") from error


def read_run(path: str | Path) -> Run:
    """Read a run.

    Raises:
        StoreError: there is none, it cannot be read, or another version wrote it.
    """
    file = Path(path) / "model.npz"
    if not file.exists():
        raise StoreError(
            f"no run at '{path}'", expected="a folder with model.npz", do="`dgmmis fit JOB.toml` writes one"
        )
    try:
        with np.load(file, allow_pickle=False) as arrays:
            document = json.loads(str(arrays["document"]))
            if document.get("format") != FORMAT or document.get("version") != VERSION:
                got = f"{document.get('format')} {document.get('version')}"
                raise StoreError(f"'{path}' has another format", expected=f"{FORMAT} {VERSION}", got=got)
            background = None
            if "background_lower" in arrays:
                background = Uniform(arrays["background_lower"], arrays["background_upper"])
            mixture = GaussianMixture(arrays["weights"], arrays["means"], arrays["covariances"])
            model = Model(mixture, background, float(arrays["background_fraction"]))
    except DgmmisError:
        raise
    except Exception as error:
        raise StoreError(f"the run '{path}' cannot be read: {error}", do="fit it again") from error
    return Run(model, tuple(document["features"]), tuple(document["units"]), document)
