"""Files of a store that are damaged, missing or of another place: found and named by whoever reads them."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from writers import SCHEMA, rows, run, said, store

from dgmmis.chunk import CHUNK_ROWS
from dgmmis.cli import program
from dgmmis.dataset.checkpoint import write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.manifest import DOCUMENT, Manifest
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.verify import damages
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import StoreError
from dgmmis.execution.serial import Serial
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.prediction import predict_run, score_run

N = 5 * CHUNK_ROWS  # two files: of four chunks, and of one


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two surveys of the same shape, and a run."""
    folder = tmp_path_factory.mktemp("whole")
    for name, seed in (("s", 1), ("other", 2)):
        points, noise = rows(N, seed)
        with SurveyWriter(folder / f"{name}.zarr", SCHEMA) as writer:
            writer.write(points, noise)
    write_run(folder / "x.run", run(rows(3, 1)[0]))
    return folder


@pytest.fixture
def scene(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(whole, tmp_path / "scene"))


def flip(scene: Path) -> None:
    file = scene / "s.zarr/segments/000000/points/c.0.0"
    content = bytearray(file.read_bytes())
    content[1000] ^= 16
    file.write_bytes(content)


def cut(scene: Path) -> None:
    file = scene / "s.zarr/segments/000000/points/c.0.0"
    file.write_bytes(file.read_bytes()[:-1000])


def empty(scene: Path) -> None:
    (scene / "s.zarr/segments/000000/points/c.0.0").write_bytes(b"")


def swap_stores(scene: Path) -> None:
    file = "segments/000000/points/c.0.0"
    shutil.copy(scene / "other.zarr" / file, scene / "s.zarr" / file)


def swap_arrays(scene: Path) -> None:
    """With its document, which is as whole as the one that was there."""
    folder = "segments/000000/points"
    shutil.rmtree(scene / "s.zarr" / folder)
    shutil.copytree(scene / "other.zarr" / folder, scene / "s.zarr" / folder)


def swap_segments(scene: Path) -> None:
    folder = "segments/000000"
    shutil.rmtree(scene / "s.zarr" / folder)
    shutil.copytree(scene / "other.zarr" / folder, scene / "s.zarr" / folder)


def spoil_document(scene: Path) -> None:
    file = scene / "s.zarr/segments/000000/points/zarr.json"
    document = json.loads(file.read_text())
    document["codecs"] = [{"name": "nonsense"}]
    file.write_text(json.dumps(document))


DAMAGE = [flip, cut, empty, swap_stores, swap_arrays, swap_segments, spoil_document]


def named(damage: Callable[[Path], None]) -> str:
    return "points/zarr.json" if damage is spoil_document else "points/c.0.0"


def score(scene: Path) -> None:
    score_run(scene / "x.run", scene / "s.zarr")


def predict(scene: Path) -> None:
    predict_run(scene / "x.run", scene / "s.zarr", scene / "out")


def fitted(scene: Path) -> None:
    fit(Dataset.open(scene / "s.zarr"), Start(2, method="grid"), executor=Serial())


@pytest.mark.parametrize("read", [score, predict, fitted])
@pytest.mark.parametrize("damage", DAMAGE)
def test_it_is_found(scene: Path, damage: Callable[[Path], None], read: Callable[[Path], None]) -> None:
    damage(scene)
    unreadable = rf"rows 0 to 65535 cannot be read from .*{named(damage)}.*--verify"
    unfit = rf"missing or do not fit: .*{named(damage)}.*not whole"  # seen before a row is read
    with pytest.raises(StoreError, match=unfit if damage is spoil_document else unreadable) as caught:
        read(scene)
    assert caught.value.exit_code == 74
    assert not (scene / "out").exists()
    assert not list(scene.glob(".*"))


@pytest.mark.parametrize("damage", DAMAGE)
def test_all_of_it_is_listed(scene: Path, damage: Callable[[Path], None]) -> None:
    damage(scene)
    found = damages(scene / "s.zarr")
    there = {one.file.removeprefix("segments/000000/"): (one.first_row, one.last_row) for one in found}
    first, all_rows, last = (0, 4 * CHUNK_ROWS - 1), (0, N - 1), (4 * CHUNK_ROWS, N - 1)
    points = {"points/c.0.0": first, "points/c.1.0": last}
    assert there == {
        flip: {"points/c.0.0": (0, CHUNK_ROWS - 1)},
        swap_arrays: points,
        swap_segments: {**points, "noise/c.0.0": first, "noise/c.1.0": last},
        spoil_document: {"points/zarr.json": all_rows},
    }.get(damage, {"points/c.0.0": first})


def test_rows_in_each_others_place_are_found(tmp_path: Path) -> None:
    """Of wide rows, of which a file holds one chunk."""
    wide = Schema(tuple(f"x{i}" for i in range(40)))
    with SurveyWriter(tmp_path / "w.zarr", wide) as writer:
        for seed in range(2):
            writer.write(np.random.default_rng(seed).normal(size=(CHUNK_ROWS, 40)))
    folder = tmp_path / "w.zarr/segments/000000/points"
    (folder / "c.0.0").rename(folder / "c")
    (folder / "c.1.0").rename(folder / "c.0.0")
    (folder / "c").rename(folder / "c.1.0")
    found = damages(tmp_path / "w.zarr")
    assert [(Path(one.file).name, one.first_row, one.last_row) for one in found] == [
        ("c.0.0", 0, 65535),
        ("c.1.0", 65536, 131071),
    ]
    assert {one.what for one in found} == {"a chunk of another store, or of other rows"}


@pytest.mark.parametrize("order", [False, True])
def test_whole_stores_are_whole(tmp_path: Path, order: bool) -> None:
    for n in (1, 500, CHUNK_ROWS + 1, 2 * CHUNK_ROWS):
        store(tmp_path / "s.zarr", n, n, append=True, order=order)
    seen: list[tuple[int, int]] = []
    assert damages(tmp_path / "s.zarr", lambda *progress: seen.append(progress)) == []
    assert seen[-1] == (3 * CHUNK_ROWS + 502,) * 2


def test_stores_of_earlier_versions_have_no_list(whole: Path, tmp_path: Path) -> None:
    """They are read as before."""
    path = Path(shutil.copytree(whole / "s.zarr", tmp_path / "s.zarr"))
    document = json.loads((path / DOCUMENT).read_text())
    assert set(document["attributes"]["dgmmis"].pop("checksums")) == {"000000"}
    (path / DOCUMENT).write_text(json.dumps(document))
    assert Manifest.read(path).segments[0].checksums is None
    assert damages(path) == []
    code, text = said_of("info", "--verify", str(path))
    assert code == 0
    assert "old segments" in text


def said_of(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, [*arguments, "--quiet"])
    return result.exit_code, result.output


def test_the_command_says_which(scene: Path) -> None:
    command = [sys.executable, "-m", "dgmmis", "info", "--verify", str(scene / "s.zarr"), "--quiet"]
    assert said(command) == (0, "")
    flip(scene)
    (scene / "s.zarr/segments/000000/noise/c.1.0").unlink()
    code, message = said(command)
    assert code == 74
    assert message == f"dgmmis: 2 damaged files in '{scene / 's.zarr'}'. Restore, or ingest again.\n"
    result = said_of("info", "--verify", "--json", str(scene / "s.zarr"))
    listed = json.loads(result[1])["damaged"]
    assert {(one["file"], one["what"] == "missing file") for one in listed} == {
        ("segments/000000/points/c.0.0", False),
        ("segments/000000/noise/c.1.0", True),
    }
    (missing,) = [one for one in listed if "noise" in one["file"]]
    assert (missing["first_row"], missing["last_row"]) == (4 * CHUNK_ROWS, N - 1)
