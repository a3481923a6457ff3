"""A stream of files: each is followed once, in order, whatever ends the process; the run is that of OnlineEM."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from nights import TRUTH, night

from dgmmis.cli import program
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.checkpoint import STREAM, Run, read_run, write_run
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.ingest import ingest
from dgmmis.dataset.survey_store import SurveyRecord
from dgmmis.errors import DataError, DgmmisError, JobError, LockedError, RefusedError, StoreError
from dgmmis.execution.serial import Threads
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.online import OnlineEM
from dgmmis.selection import Box
from dgmmis.stream import Stream
from dgmmis.survey import Survey

FIRST = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [3.0, 0.0]], np.tile(2 * np.eye(2), (2, 1, 1)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    document = {"status": "given", "converged": True, "log_likelihood": 0.0, "n_samples": 0.0}
    write_run(tmp_path / "first.run", Run(Model(FIRST), ("x", "y"), ("", ""), document))
    for number in range(4):
        night(tmp_path, number, 500)
    return tmp_path


def followed(folder: Path, *numbers: int) -> list[float]:
    stream = Stream(folder / "first.run", folder / "out.run")
    found: list[float] = []
    with stream.held():
        patterns = [str(folder / "nights" / f"{number:03d}.csv") for number in numbers]
        stream.follow(patterns or [str(folder / "nights" / "*.csv")], lambda done: found.append(done.log_likelihood))
    return found


def points_of(file: Path) -> np.ndarray:
    return np.loadtxt(file, delimiter=",", skiprows=1)[:, 1:]


def same_model(run: Path, model: Model) -> None:
    mixture = read_run(run).model.mixture
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(mixture, name), getattr(model.mixture, name))


def test_the_run_is_that_of_online_em(folder: Path) -> None:
    online = OnlineEM(Model(FIRST), executor=Threads())
    nights = [points_of(file) for file in sorted((folder / "nights").iterdir())]
    expected = [online.update(ArrayDataset.of(points)).log_likelihood for points in nights]
    assert followed(folder) == expected
    same_model(folder / "out.run", online.average)
    assert followed(folder) == []


def test_followed_in_parts_it_is_the_same(folder: Path) -> None:
    whole = folder / "whole.run"
    stream = Stream(folder / "first.run", whole)
    with stream.held():
        assert stream.follow([str(folder / "nights" / "*.csv")]) == 4
    for number in range(4):
        assert len(followed(folder, number)) == 1
    same_model(folder / "out.run", read_run(whole).model)


def test_a_survey_store_is_followed_chunk_by_chunk(folder: Path) -> None:
    ingest(folder / "nights" / "000.csv", folder / "night.zarr", Columns(["x", "y"]))
    stream = Stream(folder / "first.run", folder / "out.run")
    with stream.held():
        assert stream.follow([str(folder / "night.zarr")]) == 1
    assert len(followed(folder)) == 4  # the same rows from a file are another source


def test_a_process_killed_at_any_moment_counts_no_file_twice(folder: Path, survived: Callable[[str], None]) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom dgmmis.stream import Stream\n"
        "stream = Stream(Path('first.run'), Path('out.run'))\n"
        "with stream.held():\n"
        "    stream.follow(['nights/*.csv'], lambda done: (print(done.source, flush=True), sys.stdin.readline()))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "000.csv\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "001.csv\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    survived("stream killed")
    assert len(followed(folder)) == 2
    online = OnlineEM(Model(FIRST), executor=Threads())
    for file in sorted((folder / "nights").iterdir()):
        online.update(ArrayDataset.of(points_of(file)))
    same_model(folder / "out.run", online.average)


def test_a_bad_file_is_named_and_leaves_the_model_as_it_was(folder: Path) -> None:
    followed(folder, 0)
    before = read_run(folder / "out.run").model
    bad = folder / "nights" / "001.csv"
    bad.write_text("id,x,z\n1,2,3\n")
    with pytest.raises(JobError, match="no column 'y'"):
        followed(folder, 1)
    same_model(folder / "out.run", before)
    (folder / "nights" / "000.csv").write_text("id,x,y\n1,2,3\n")
    with pytest.raises(DataError, match="has changed since it was taken in"):
        followed(folder, 0)


def test_the_constraints_of_the_run_hold(folder: Path) -> None:
    run = read_run(folder / "first.run")
    job = '[data]\npath = "gone.zarr"\n[model]\nn_components = 2\ncovariance_type = "diag"\nfrozen = { means = [0] }\n'
    write_run(folder / "first.run", Run(run.model, run.features, run.units, {**run.document, "job": job}))
    followed(folder)
    mixture = read_run(folder / "out.run").model.mixture
    assert (mixture.covariances[:, 0, 1] == 0).all()
    np.testing.assert_array_equal(mixture.means[0], FIRST.means[0])
    assert (mixture.means[1] != FIRST.means[1]).all()


def test_a_bad_file_does_not_keep_the_others_out(folder: Path) -> None:
    (folder / "nights" / "001.csv").write_text("id,x,z\n1,2,3\n")
    stream = Stream(folder / "first.run", folder / "out.run")
    found: list[str] = []
    with stream.held(), pytest.raises(JobError, match="no column 'y'"):
        stream.follow([str(folder / "nights" / "*.csv")], lambda done: found.append(done.source))
    assert found == ["000.csv", "002.csv", "003.csv"]


def test_a_store_of_other_features_is_refused(folder: Path) -> None:
    ingest(folder / "nights" / "000.csv", folder / "night.zarr", Columns(["y", "x"]))
    stream = Stream(folder / "first.run", folder / "out.run")
    with stream.held(), pytest.raises(JobError, match="has other features than the run"):
        stream.follow([str(folder / "night.zarr")])


def test_what_it_cannot_begin_with(folder: Path) -> None:
    with pytest.raises(JobError, match="no stream at"):
        Stream(None, folder / "other.run")
    with pytest.raises(JobError, match="is a run, and no stream"):
        Stream(None, folder / "first.run")
    run = read_run(folder / "first.run")
    partial = Survey(Box([-9.0, -9.0], [9.0, 9.0]), noise_law=None)
    write_run(folder / "partial.run", Run(run.model, run.features, run.units, run.document, SurveyRecord.of(partial)))
    with pytest.raises(RefusedError, match="reprocess"):
        Stream(folder / "partial.run", folder / "out.run")
    followed(folder)
    stream = Stream(None, folder / "out.run")
    with stream.held(), pytest.raises(LockedError), Stream(None, folder / "out.run").held():
        pass
    (folder / "out.run" / STREAM).write_bytes(b"rubbish")
    with pytest.raises(StoreError, match="damaged"):
        followed(folder)


def test_the_command(folder: Path) -> None:
    out, pattern = str(folder / "out.run"), str(folder / "nights" / "*.csv")
    arguments = ["follow", out, pattern, "--start", str(folder / "first.run")]
    result = CliRunner().invoke(program, [*arguments, "--memory", "300"])
    assert result.exit_code == 0, result.output
    assert result.output.count("500 objects") == 4
    assert "nothing new" in CliRunner().invoke(program, ["follow", out, pattern]).output
    error = CliRunner().invoke(program, [*arguments, "--watch", "0"]).exception
    assert isinstance(error, DgmmisError)
    followed_means = np.sort(read_run(folder / "out.run").model.mixture.means[:, 0])
    np.testing.assert_allclose(followed_means, np.sort(TRUTH.means[:, 0]), atol=0.5)


def test_a_folder_is_watched(folder: Path) -> None:
    command = [sys.executable, "-m", "dgmmis", "follow", "out.run", "nights/*.csv", "--start", "first.run"]
    process = subprocess.Popen(
        [*command, "--watch", "0.1"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline()[:7] for _ in range(4)] == [f"{number:03d}.csv" for number in range(4)]
    night(folder, 4, 500)
    assert process.stdout.readline().startswith("004.csv")
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 75, err
    assert followed(folder) == []
