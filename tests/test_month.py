"""A month of nights, of which half are killed: nothing is lost, nothing is taken twice, and the bad night stays out."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgmmis.dataset.checkpoint import read_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.model_store import ModelStore
from dgmmis.dataset.verify import damages
from dgmmis.job import read_job
from dgmmis.reprocess import reprocess
from tests.nights import JOB, night

pytestmark = pytest.mark.slow

NIGHTS, BAD, LATE, TWICE = 30, 11, 17, 23
"""The night whose calibration is off, the one whose file comes three nights later, and the one that is sent twice."""


def command(folder: Path) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-m", "dgmmis", "reprocess", "--json", "--quiet", str(folder / "job.toml")]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def scheduled(folder: Path) -> tuple[int, dict[str, object]]:
    """One run of the command to its end."""
    process = command(folder)
    out, err = process.communicate()
    assert "Traceback" not in err
    return process.returncode, json.loads(out)


def test_a_month_of_nights(tmp_path: Path, survived: Callable[[str], None]) -> None:
    (tmp_path / "job.toml").write_text(JOB.replace("keep = 3", "keep = 5"))
    night(tmp_path, 0, 2000)
    chance, began = random.Random(0), time.monotonic()
    assert scheduled(tmp_path)[0] == 0
    duration, expected, codes = time.monotonic() - began, 2000, []
    for number in range(1, NIGHTS + 1):
        if number != LATE:
            night(tmp_path, number, shift=6.0 if number == BAD else 0.0)
            expected += 0 if number == BAD else 400
        if number == LATE + 3:
            night(tmp_path, LATE)
            expected += 400
        if number == TWICE:
            night(tmp_path, number, name="sent-again.csv")
        for _ in range(number % 2 * 2):
            process = command(tmp_path)
            time.sleep(chance.uniform(0.2, 1.0) * duration)
            process.kill()
            process.communicate()
            survived("reprocessing killed")
            read_run(tmp_path / "job.models")  # what holds can be read at any moment
        code, report = scheduled(tmp_path)
        codes.append(code)
        assert report["version"] == ModelStore(tmp_path / "job.models").names()[-1]
        assert Dataset.open(tmp_path / "survey.zarr").n_rows == expected
    assert set(codes) <= {0, 1}
    data, store = Dataset.open(tmp_path / "survey.zarr"), ModelStore(tmp_path / "job.models")
    assert damages(tmp_path / "survey.zarr") == []
    ids = np.asarray(data.row_ids)
    assert len(np.unique(ids)) == len(ids) == 2000 + 400 * (NIGHTS - 1)
    assert [entry["source"] for entry in store.set_aside()] == [f"{BAD:03d}.csv"]
    assert len(store.names()) == 5
    inputs = store.latest().manifest["inputs"]
    assert sum(entry["rows"] for entry in inputs) == len(ids)
    assert scheduled(tmp_path)[1]["outcome"] == "nothing new"
    left = {entry.name for entry in store.path.iterdir()}
    assert left <= {"versions", "latest", "set_aside.json", "without_rows.json", "refused", "last.json"}

    followed = read_run(store.path)
    cold = tmp_path / "cold"
    cold.mkdir()
    (tmp_path / "nights" / f"{BAD:03d}.csv").unlink()
    text = JOB.replace('"nights/*.csv"', '"../nights/*.csv"')
    (cold / "job.toml").write_text(text)
    reprocess(read_job(cold / "job.toml"))
    anew = read_run(cold / "job.models")
    order, other = (np.argsort(run.model.mixture.means[:, 0]) for run in (followed, anew))
    errors = np.asarray(anew.document["standard_errors"]["means"])[other]
    shift = followed.model.mixture.means[order] - anew.model.mixture.means[other]
    assert np.abs(shift / errors).max() < 1.0  # other rows are held out: segments have other places
