"""A survey that is written over, removed, appended to, joined or thinned out while it is read: the old rows throughout,
or an error.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from writers import FEATURES, SCHEMA, nights, rows, run, store

from dgmmis.callback import Callback, Step
from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.checkpoint import write_run
from dgmmis.dataset.compact import compact
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.lock import LOCK
from dgmmis.dataset.withdraw import withdraw
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.em import Stopping
from dgmmis.errors import StoreError
from dgmmis.execution.executor import Resources
from dgmmis.execution.serial import Serial
from dgmmis.fit import Fit, evaluate, fit
from dgmmis.initialize import Start
from dgmmis.plan import Work, make_plan
from dgmmis.prediction import predict_run

N = 2 * CHUNK_ROWS + 10


def overwritten(path: Path) -> None:
    store(path, N, 2, overwrite=True)


def made_anew(path: Path) -> None:
    """Of the same shape, with folders and files of the same names."""
    shutil.rmtree(path)
    store(path, N, 2)


def removed(path: Path) -> None:
    shutil.rmtree(path)


def appended(path: Path) -> None:
    with SurveyWriter(path, SCHEMA, append=True) as writer:
        writer.write(*rows(N, 2), row_ids=np.arange(N))


def withdrawn(path: Path) -> None:
    withdraw(path, [5, N - 5])


def compacted(path: Path) -> None:
    compact(path)


REPLACED = [overwritten, made_anew, removed, withdrawn, compacted]


def survey(path: Path) -> Dataset:
    """N rows of two nights."""
    return nights(path, n=N // 2, count=2)


@pytest.mark.parametrize("meanwhile", [*REPLACED, appended])
def test_a_running_prediction(tmp_path: Path, meanwhile: Callable[[Path], None]) -> None:
    path, out = tmp_path / "s.zarr", tmp_path / "out"
    survey(path)
    write_run(tmp_path / "x.run", run(np.eye(3)))
    predict_run(tmp_path / "x.run", path, tmp_path / "expected")
    left = [meanwhile]

    def between(*_: object) -> None:
        while left:
            left.pop()(path)

    if meanwhile is appended:
        predict_run(tmp_path / "x.run", path, out, on_batch=between)
        groups = [zarr.open_group(place, mode="r") for place in (tmp_path / "expected", out)]
        for name in ("label", "log_density"):
            np.testing.assert_array_equal(*(np.asarray(group[name]) for group in groups))
        return
    with pytest.raises(StoreError, match=r"s\.zarr' was replaced or removed while it was read\. Run again"):
        predict_run(tmp_path / "x.run", path, out, on_batch=between)
    assert not out.exists()


@pytest.mark.parametrize("meanwhile", [*REPLACED, appended])
def test_a_survey_that_was_opened(tmp_path: Path, meanwhile: Callable[[Path], None]) -> None:
    path, model = tmp_path / "s.zarr", run(np.eye(3)).model
    data = survey(path)
    data.references[0].load()  # its arrays are open
    expected = evaluate(data, model, executor=Serial()).log_likelihood
    meanwhile(path)
    if meanwhile is appended:
        assert evaluate(data, model, executor=Serial()).log_likelihood == expected
        assert Dataset.open(path).n_rows == 2 * N
        return
    with pytest.raises(StoreError, match="was replaced or removed while it was read"):
        evaluate(data, model, executor=Serial())


def test_rows_of_segments_that_do_not_change_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    data = survey(path)
    withdraw(path, [N - 5])
    np.testing.assert_array_equal(data.references[0].load().points, rows(N // 2, 0)[0][:CHUNK_ROWS])
    with pytest.raises(StoreError, match="was replaced or removed while it was read"):
        data.references[-1].load()
    first = [(segment.name, segment.identity) for segment in data.segments[:1]]
    np.testing.assert_array_equal(Dataset.open(path).as_of(first).points.compute(), rows(N // 2, 0)[0])
    compact(path)
    with pytest.raises(StoreError, match=r"is not the one that it was: .* joined, or rows were withdrawn"):
        Dataset.open(path).as_of(first)


class _Does(Callback):
    """Something to the survey, after the second pass."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what, self.count = what, 0

    def on_step(self, step: Step) -> None:
        del step
        self.count += 1
        if self.count == 2:
            self._what()


class _Streams(Serial):
    """A process with room for its tasks, and for no chunk besides: each pass reads."""

    def __init__(self, data: Dataset) -> None:
        self._needed = make_plan(data.references, Work.of(data, 2), Resources(1, 1, 1 << 33)).task_bytes

    @property
    def resources(self) -> Resources:
        return Resources(1, 1, int(self._needed / 0.7) + 1000)


@pytest.mark.parametrize("meanwhile", [withdrawn, compacted])
def test_a_fit_is_of_the_rows_that_were_there_or_ends(tmp_path: Path, meanwhile: Callable[[Path], None]) -> None:
    """Rows that stay in memory are the old ones to the end; those that are read again are an error."""
    path = tmp_path / "s.zarr"
    data = survey(path)

    def fitted(executor: Serial, *callbacks: Callback) -> Fit:
        stopping = Stopping(max_iter=6)
        return fit(data, Start(2, method="grid"), stopping=stopping, executor=executor, callbacks=list(callbacks))

    expected, streams = fitted(Serial()), _Streams(data)
    assert expected.plan.resident
    assert not fitted(streams).plan.resident
    with pytest.raises(StoreError, match=r"was replaced or removed while it was read\. Run again"):
        fitted(streams, _Does(lambda: meanwhile(path)))
    shutil.rmtree(path)
    data = survey(path)
    found = fitted(Serial(), does := _Does(lambda: meanwhile(path)))
    assert does.count > 2
    assert (found.n_samples, found.objective) == (N, expected.objective)
    assert found.model.mixture.means.tobytes() == expected.model.mixture.means.tobytes()
    assert Dataset.open(path).n_rows == N - (2 if meanwhile is withdrawn else 0)


class _Appends(Callback):
    """After every pass."""

    def __init__(self, path: Path) -> None:
        self._path, self.count = path, 0

    def on_step(self, step: Step) -> None:
        self.count += 1
        store(self._path, 1000, step.record.iteration, append=True)


def test_a_fit_is_of_the_rows_that_were_there(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    store(path, N, 1)
    found = []
    for callback in (Callback(), appending := _Appends(path)):
        result = fit(
            Dataset.open(path),
            Start(2, method="grid"),
            stopping=Stopping(max_iter=4),
            executor=Serial(),
            callbacks=[callback],
        )
        found.append((result.n_samples, result.model.mixture.means.tobytes(), result.objective))
    assert appending.count == 4
    assert found[0] == found[1]
    assert Dataset.open(path).n_rows == N + 4000


WRITE = """
import shutil, sys
from pathlib import Path
import numpy as np
from writers import SCHEMA
from dgmmis.dataset.writer import SurveyWriter
path, mode = Path(sys.argv[1]), sys.argv[2]
for number in range(1, 1 + int(sys.argv[3])):
    target = path.with_name("next.zarr") if mode == "anew" else path
    with SurveyWriter(target, SCHEMA, overwrite=mode == "over") as writer:
        for _ in range(2):
            writer.write(np.full((65536, 3), float(number)), np.ones((65536, 3)))
    if mode == "anew":
        shutil.rmtree(path)
        target.rename(path)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["over", "anew"])
def test_readers_race_with_a_writer(tmp_path: Path, mode: str) -> None:
    """Each survey has one value in all of its rows: a reader sees one, or an error that says to run again."""
    path = tmp_path / "s.zarr"
    store(path, 10, 1)
    command = [sys.executable, "-c", WRITE, str(path), mode, "40"]
    clean, refused = set(), []
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[1]) as writer:
        while writer.poll() is None:
            try:
                data = Dataset.open(path)
                values = np.concatenate([reference.load().points for reference in data.references])
            except StoreError as error:
                refused.append(str(error))
                continue
            if len(values) > 10:
                assert len(values) == 2 * CHUNK_ROWS
                assert np.ptp(values) == 0
                clean.add(values[0, 0])
    assert writer.returncode == 0
    assert len(clean) > 5
    expected = ["was replaced or removed while it was read"]
    if mode == "anew":  # for a moment it is not there, or in part
        expected += ["no survey store at", "is not whole", "not a dgmmis survey", "missing file", "No such file"]
    assert not [sentence for sentence in refused if not any(words in sentence for words in expected)]
    assert not (path / LOCK).exists()
    assert Dataset.open(path).schema.features == FEATURES
