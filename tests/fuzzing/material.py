"""Good surveys, runs and files, small, from which the bad ones are made."""

import atexit
import io
import json
import shutil
import zipfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from dgmmis.background import Uniform
from dgmmis.dataset.checkpoint import Run, write_run
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import SharedNoise
from dgmmis.noise_classes import NoiseClass
from dgmmis.noise_law import ConstantNoise
from dgmmis.selection import Box
from dgmmis.survey import Survey

N_ROWS = 60


def write_store(path: Path, noise: str = "diagonal", *, n: int = N_ROWS, **options: Any) -> Path:
    """A survey of two features, a and b, with weights and row numbers."""
    rng = np.random.default_rng(1)
    schema = Schema(("a", "b"), ("mag", ""), noise, np.eye(2) * 0.1 if noise == "shared" else None, weighted=True)
    with SurveyWriter(path, schema, provenance={"made": "up"}, **options) as writer:
        points = rng.normal(3, 1, (n, 2))
        points[3, 0] = np.nan
        values = {"diagonal": rng.uniform(0.1, 0.2, (n, 2)), "full": np.tile([0.1, 0.0, 0.2], (n, 1))}.get(noise)
        writer.write(points, values, weights=np.ones(n), row_ids=np.arange(n))
    return path


def write_model(path: Path, *, selected: bool = True) -> Path:
    """A run of two components and a background, of the survey's features."""
    mixture = GaussianMixture([0.4, 0.6], [[3.0, 3.0], [2.5, 4.0]], [np.eye(2), 2 * np.eye(2)])
    survey = Survey(Box([-50, -50], [50, 50]), ConstantNoise(0.1 * np.eye(2))) if selected else Survey()
    classes = (NoiseClass(1.0, 2, np.array([0, 1]), SharedNoise(0.1 * np.eye(2))),) if selected else ()
    document = {
        "status": "converged",
        "converged": True,
        "log_likelihood": -3.0,
        "objective": -3.0,
        "n_samples": 60.0,
        "completeness": 0.9,
        "completeness_error": 0.01,
        "background_fraction": 0.1,
        "n_objects": 66.0,
        "n_passes": 5,
        "candidates": [],
        "seconds": 1.0,
        "repairs": [],
        "data": "survey.zarr",
        "measured": None,
        "job": "",
        "history": [],
    }
    model = Model(mixture, Uniform([-50, -50], [50, 50]), 0.1)
    write_run(path, Run(model, ("a", "b"), ("mag", ""), document, SurveyRecord.of(survey), classes, np.array([0.9])))
    return path


@cache
def good() -> Path:
    """A folder with a survey of each kind, a run of each, and files of each format; never changed."""
    folder = Path(mkdtemp(prefix="dgmmis-fuzzing-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for noise in ("none", "shared", "diagonal", "full"):
        write_store(folder / f"{noise}.zarr", noise)
    write_store(folder / "ordered.zarr", order=True)
    write_model(folder / "selected.run")
    write_model(folder / "plain.run", selected=False)
    write_tables(folder)
    return folder


def write_tables(folder: Path) -> None:
    """The same table in each format."""
    rng = np.random.default_rng(2)
    a, b, e, i = rng.normal(size=20), rng.normal(size=20), rng.uniform(0.1, 1, 20), np.arange(20)
    rows = "\n".join(f"{x!r},{y!r},{z!r},{w}" for x, y, z, w in zip(*(v.tolist() for v in (a, b, e, i)), strict=True))
    (folder / "t.csv").write_text(f"a,b,e,i\n{rows}\n")
    np.savez(folder / "t.npz", a=a, b=b, e=e, i=i, X=np.stack([a, b], 1))
    np.savez_compressed(folder / "c.npz", a=a, b=b, e=e, i=i, X=np.stack([a, b], 1))
    np.save(folder / "t.npy", np.stack([a, b], 1))
    import pyarrow
    import pyarrow.parquet
    from astropy.table import Table

    pyarrow.parquet.write_table(pyarrow.table({"a": a, "b": b, "e": e, "i": i}), folder / "t.parquet")
    Table({"a": a, "b": b, "e": e, "i": i}).write(folder / "t.fits")
    import zarr

    group = zarr.create_group(folder / "three.zarr")
    old = zarr.create_group(folder / "two.zarr", zarr_format=2)
    for into in (group, old):
        for name, values in {"a": a, "b": b, "e": e, "i": i, "X": np.stack([a, b], 1)}.items():
            into.create_array(name, data=values, chunks=(7, *values.shape[1:]))


def copied(name: str, folder: Path) -> Path:
    """A copy of something good, to be spoilt; in the place of the last one."""
    target = folder / name
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if (good() / name).is_dir():
        shutil.copytree(good() / name, target)
    else:
        shutil.copy(good() / name, target)
    return target


def run_arrays(name: str = "selected.run") -> dict[str, np.ndarray]:
    """What is in a good run."""
    with np.load(good() / name / "model.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def run_document(name: str = "selected.run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(str(run_arrays(name)["document"]))
    return found


def npz(arrays: dict[str, Any], *, pickled: bool = False) -> bytes:
    """An npz file of the arrays, of objects too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=pickled)
            archive.writestr(f"{name}.npy", member.getvalue())
    return buffer.getvalue()
